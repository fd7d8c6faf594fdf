"""What policy and critic learn from rollouts, of the worlds of all ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from visagent.experience.rollouts import RolloutBatch
from visagent.learning.ranks import Ranks
from visagent.objectives.policy_gradient import generalized_advantages


@torch.no_grad()
def generalized_targets(
    batch: RolloutBatch, reward: Tensor, gamma: float, lam: float, ranks: Ranks
) -> tuple[Tensor, Tensor, Tensor]:
    """Advantages by GAE, the returns that the critic learns, and its values, `[T, B]` of the worlds of all ranks.

    Args:
        batch: of this rank.
        reward: `[T, B]` of it, as the critic learns it.
        gamma: discount of a step.
        lam: decay of GAE.
        ranks: whose worlds count.
    """
    ends = (batch.last_value, batch.final_value, batch.terminated, batch.truncated)
    advantage = generalized_advantages(reward, batch.value, *ends, gamma, lam)
    own = torch.stack([advantage, advantage + batch.value, batch.value])
    advantage, returns, value = torch.cat(ranks.all_gather(own), dim=2)
    return advantage, returns, value
