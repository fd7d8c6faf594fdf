"""The adaptive penalty on how far a policy moves (Schulman et al. 2017, Eq. 8; SURREAL-PPO, dissertation Section
2.3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visagent.objectives.policy_gradient import adapted_beta, divergence_penalty

if TYPE_CHECKING:
    from visagent.config.reinforcement_schemas import PPOSettings


class AdaptivePenalty(nn.Module):
    """A penalty on the mean divergence, whose weight adapts to how far the policy has moved between two publications.

    Args:
        settings: of PPO.
    """

    beta: Tensor
    divergences: Tensor

    def __init__(self, settings: PPOSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("beta", torch.tensor(float(settings.beta)))
        self.register_buffer("divergences", torch.zeros(2))  # their sum and number since the last publication

    def forward(self, mean: Tensor) -> Tensor:
        """The penalty for a mean divergence, nats."""
        return divergence_penalty(mean, self.beta, self.settings.kl_cutoff, self.settings.kl_target)

    def observe(self, mean: Tensor) -> None:
        """Take note of how far the policy is, after a batch, from the one that acted."""
        self.divergences += torch.stack([mean, torch.ones_like(mean)])

    def adapt(self) -> None:
        """The weight for the policy that is published now."""
        settings = self.settings
        if settings.variant == "adaptive_kl" and self.divergences[1] > 0:  # something was learned since
            mean = float(self.divergences[0] / self.divergences[1])
            adapted = adapted_beta(
                float(self.beta), mean, settings.kl_target, settings.beta_factor, *settings.beta_range
            )
            self.beta.fill_(adapted)
        self.divergences.zero_()
