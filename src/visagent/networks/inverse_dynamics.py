"""Inverse dynamics: which action led from one picture to the next (Pathak et al. 2017; as the auxiliary task of Hansen
et al. 2021, PAD).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visagent.networks.mlp import mlp
from visagent.networks.pixels import begin_orthogonal
from visagent.networks.soft_actor_critic import Trunk


class InverseDynamics(nn.Module):
    """The action between two observations, from features of shared convolutions.

    Args:
        flat: features of the convolutions.
        projection: units that they are projected to.
        hidden: widths of the hidden layers.
        actions: A.
    """

    def __init__(self, flat: int, projection: int, hidden: Sequence[int], actions: int) -> None:
        super().__init__()
        self.trunk = Trunk(flat, projection)
        self.layers = mlp(2 * projection, hidden, actions, "relu")
        begin_orthogonal(self)

    def forward(self, features: Tensor, following: Tensor) -> Tensor:
        """Actions `[N, A]` between observations with features `[N, F]`."""
        joined = torch.cat([self.trunk(features, None), self.trunk(following, None)], dim=-1)
        action: Tensor = self.layers(joined).tanh()
        return action
