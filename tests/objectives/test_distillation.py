"""The distance to an expert's actions against hand values."""

from __future__ import annotations

import torch

from visagent.objectives.distillation import imitation_loss


def test_both_losses():
    actions, labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    assert imitation_loss(actions, labels, "squared").item() == (5 + 4) / 2
    assert imitation_loss(actions, labels, "norm").item() == 3.0
