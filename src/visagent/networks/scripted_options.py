"""Policies over options that learn nothing: what every learned one is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from visagent.envs.option_worlds import OptionSpaces
from visagent.errors import ConfigError
from visagent.networks.conditional import open_options
from visagent.networks.distributions import sample_categorical
from visagent.networks.option_policies import OptionChoice, Situation


class UniformOptions(nn.Module):
    """Agents that choose draw from what is available, even where the most probable option is asked for.

    Args:
        spaces: of the world.
    """

    memory_size = 0

    def __init__(self, spaces: OptionSpaces) -> None:
        super().__init__()
        self.sizes = spaces.sizes

    def choose(
        self, situation: Situation, deterministic: bool = False, generator: torch.Generator | None = None
    ) -> OptionChoice:
        """Joint options, with their log-probabilities."""
        chosen, log_prob = [], []
        for offered in open_options(situation.options, situation.choosing, situation.available, self.sizes):
            log_probs = torch.zeros(offered.shape).masked_fill(~offered, -torch.inf).log_softmax(dim=-1)
            chosen.append(sample_categorical(log_probs, generator))
            log_prob.append(log_probs.gather(1, chosen[-1][:, None]))
        return OptionChoice(torch.stack(chosen, dim=1), torch.cat(log_prob, dim=1).sum(dim=1, keepdim=True))


class RoundRobin(nn.Module):
    """Every agent takes options in turn.

    Args:
        spaces: of the world.
        order: numbers of options, over and over.
    """

    memory_size = 0

    def __init__(self, spaces: OptionSpaces, order: Sequence[int]) -> None:
        super().__init__()
        self.order = torch.tensor(list(order))
        if not 0 <= int(self.order.min()) <= int(self.order.max()) < min(spaces.sizes):
            raise ConfigError(
                f"network.order: expected options from 0 to {min(spaces.sizes) - 1}, which every agent has, got "
                f"{list(order)}"
            )

    def choose(
        self, situation: Situation, deterministic: bool = False, generator: torch.Generator | None = None
    ) -> OptionChoice:
        """Joint options, certain ones."""
        assert situation.taken is not None
        chosen = torch.where(situation.choosing, self.order[situation.taken % len(self.order)], situation.options)
        return OptionChoice(chosen, torch.zeros(len(chosen), 1))
