"""Losses against hand values."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visagent.objectives.imitation import agreement, expert_cross_entropy, optimal_set_loss
from visagent.objectives.safety import deviation, is_unsafe, safety_loss, threshold_for_recall

LOGITS = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()


def test_cross_entropy():
    assert float(expert_cross_entropy(LOGITS, torch.tensor([1]))) == pytest.approx(math.log(4))
    smooth = 0.6 * math.log(4) + 0.1 * (math.log(2) + math.log(4) + 2 * math.log(8))
    assert float(expert_cross_entropy(LOGITS, torch.tensor([1]), 0.4)) == pytest.approx(smooth)


def test_optimal_set():
    assert float(optimal_set_loss(LOGITS, torch.tensor([[True, False, True, False]]))) == pytest.approx(
        -math.log(0.625)
    )
    assert float(optimal_set_loss(LOGITS, torch.ones(1, 4, dtype=torch.bool))) == pytest.approx(0.0, abs=1e-6)


def test_agreement_scores_against_the_set():
    logits = torch.tensor([[3.0, 1, 0, 0], [0.0, 1, 2, 0]])
    optimal = torch.tensor([[True, True, False, False], [True, True, False, True]])
    assert float(agreement(logits, optimal)) == 0.5


def test_deviation_is_the_probability_of_error():
    optimal = torch.tensor([[True, False, True, False]])
    assert float(deviation(LOGITS, optimal)) == pytest.approx(0.375)
    assert not bool(is_unsafe(LOGITS, optimal, 0.4)) and bool(is_unsafe(LOGITS, optimal, 0.3))


def test_safety_loss_weighs_the_unsafe():
    logit, unsafe = torch.tensor([0.0, 0.0]), torch.tensor([True, False])
    assert float(safety_loss(logit, unsafe, torch.tensor(3.0))) == pytest.approx((3 + 1) / 2 * math.log(2))


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=40), st.floats(0.05, 1.0))
def test_threshold_reaches_the_recall_and_is_the_highest(rows, recall):
    probability = torch.tensor([p for p, _ in rows])
    unsafe = torch.tensor([u for _, u in rows])
    threshold = threshold_for_recall(probability, unsafe, recall)
    if not unsafe.any():
        assert float(threshold) == 0.5
        return
    wanted = probability[unsafe]
    assert float((wanted > threshold).float().mean()) >= recall - 1e-6
    above = wanted[wanted > threshold].min()
    assert float((wanted > above).float().mean()) < recall  # a higher threshold would miss
