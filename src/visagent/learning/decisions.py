"""What is known of the decisions of all ranks together."""

from __future__ import annotations

import torch
from torch import Tensor

from visagent.experience.option_decisions import OptionBatch
from visagent.learning.ranks import Ranks


def choosers_of_all(batch: OptionBatch, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """How many agents chose in each decision of all ranks, and which decisions are this rank's.

    Args:
        batch: of this rank, all of which have one shape `[K, B]`.
        ranks: who decided.

    Returns:
        Both `[R]`, of the decisions in the order of `[K, B]` with the worlds of all ranks; the second bool, on the CPU.
    """
    choosers = torch.cat(ranks.all_gather(batch.valid * batch.choosing.sum(dim=-1)), dim=1)
    owned = torch.zeros(choosers.shape, dtype=torch.bool)
    owned[:, ranks.own(batch.valid.shape[1])] = True
    decided = choosers > 0
    return choosers[decided], owned[decided.cpu()]


def decision_metrics(batch: OptionBatch, ranks: Ranks) -> dict[str, Tensor | float]:
    """Means over the decisions of all ranks, to be logged."""
    valid, agents = batch.valid, range(1, batch.choosing.shape[-1] + 1)
    choosers = batch.choosing.sum(dim=-1)[valid]
    rewards = [batch.last_reward[valid].sum(), batch.total_reward.sum()]
    sums = [batch.length.sum(), batch.duration.sum(), *rewards, *((choosers == n).sum() for n in agents)]
    decisions, steps, last, total, *by_number = ranks.sum(torch.stack([part.float() for part in sums]))
    return {
        "data/decisions": decisions,
        "data/duration": steps / decisions,
        "data/paper_metric": last / decisions,
        "data/reward_per_step": total / steps,
        **{f"data/choosing_{n}": number / decisions for n, number in zip(agents, by_number, strict=True)},
    }
