"""The table metrics against hand values."""

from __future__ import annotations

import math

import pytest
import torch

from visagent.metrics.navigation import NavigationMetrics


def test_hand_values():
    metric = NavigationMetrics(("bathroom", "kitchen", "bedroom"))
    metric.update(
        torch.tensor([0, 0]),
        torch.tensor([True, False]),
        torch.tensor([4, 6]),
        torch.tensor([8, 300]),
        torch.tensor([1, 40]),
    )
    metric.update(torch.tensor([1]), torch.tensor([True]), torch.tensor([5]), torch.tensor([5]), torch.tensor([0]))
    values = {key: float(value) for key, value in metric.compute().items()}
    assert values["bathroom/success_rate"] == 0.5
    assert values["bathroom/average_shortest_length"] == 5.0
    assert values["bathroom/average_predicted_length"] == 154.0  # failures at the cut-off
    assert values["bathroom/average_successful_length"] == 8.0
    assert values["bathroom/spl"] == 0.25
    assert values["bathroom/collisions"] == 20.5
    assert values["kitchen/spl"] == 1.0
    assert values["all/success_rate"] == pytest.approx(2 / 3) and values["all/average_successful_length"] == 6.5
    assert not any(key.startswith("bedroom") for key in values)  # no episodes, no numbers


def test_no_success_has_no_successful_length():
    metric = NavigationMetrics(("kitchen",))
    metric.update(torch.tensor([0]), torch.tensor([False]), torch.tensor([5]), torch.tensor([9]), torch.tensor([0]))
    assert math.isnan(float(metric.compute()["kitchen/average_successful_length"]))
