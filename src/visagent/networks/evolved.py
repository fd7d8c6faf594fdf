"""Policies for evolution strategies: all weights in one vector, many vectors judged at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from visagent.envs.spaces import WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.normalizers import RunningNormalizer
from visagent.networks.policy import Memoryless, PolicyStep


class EvolvedPolicy(Memoryless):
    """Fully connected layers with tanh, also at the output (dissertation, Section 3.6.2: SURREAL-ES).

    Args:
        spaces: of the world; states only.
        hidden: widths of the hidden layers.
        bins: values that each component of a continuous action can take, evenly from -1 to 1; 0 for any value.
        action_noise: standard deviation that is added to continuous actions unless they are deterministic; not with
            bins.
        normalize: put states through a z-filter.

    Raises:
        ConfigError: when the worlds show pixels or a mask, or take multi-discrete actions.
    """

    def __init__(
        self, spaces: WorldSpaces, hidden: Sequence[int], bins: int, action_noise: float, normalize: bool
    ) -> None:
        super().__init__()
        if set(spaces.observation) != {"state"}:
            remedy = "datamodule.env.action_mask=false" if spaces.masked else "an env=NAME without pixels"
            raise ConfigError(
                f"network: an evolved policy sees states alone, got {', '.join(spaces.observation)}; expected {remedy}"
            )
        if spaces.action.kind == "multi_discrete":
            raise ConfigError(
                f"network: the actions of an evolved policy are continuous or one of several, got {spaces.action.size} "
                "whole numbers; expected another env=NAME, or experiment=ppo/cartpole with these worlds"
            )
        self.spaces, self.bins, self.action_noise = spaces, bins, action_noise
        self.continuous = spaces.action.kind == "continuous"
        size = spaces.observation["state"][0]
        self.normalizer = RunningNormalizer(size) if normalize else None
        widths = [size, *hidden, spaces.action.size * (bins if bins and self.continuous else 1)]
        self.layers = list(pairwise(widths))
        parts: list[Tensor] = []
        for number, (rows, columns) in enumerate(self.layers):
            weight = torch.randn(rows, columns)
            scale = 0.01 if number == len(self.layers) - 1 else 1.0
            parts += [(scale * weight / weight.norm(dim=0)).flatten(), torch.zeros(columns)]
        self.vector = nn.Parameter(torch.cat(parts))

    def outputs(self, vectors: Tensor, state: Tensor) -> Tensor:
        """What each weight vector says of its own observation.

        Args:
            vectors: `[K, N]`.
            state: `[K, D]`.

        Returns:
            `[K, A]`, or `[K, A x bins]`.
        """
        x: Tensor = self.normalizer(state) if self.normalizer is not None else state
        place = 0
        for number, (rows, columns) in enumerate(self.layers):
            weight = vectors[:, place : place + rows * columns].unflatten(1, (rows, columns))
            bias = vectors[:, place + rows * columns : place + (rows + 1) * columns]
            x = torch.baddbmm(bias[:, None], x[:, None], weight)[:, 0]
            place += (rows + 1) * columns
            if number < len(self.layers) - 1 or (self.continuous and not self.bins):
                x = x.tanh()
        return x

    def choose(self, outputs: Tensor, deterministic: bool, generator: torch.Generator | None) -> Tensor:
        """Actions `[K, A]` or `[K]` from what `outputs` says."""
        if not self.continuous:
            return outputs.argmax(dim=-1)
        if self.bins:
            chosen: Tensor = outputs.unflatten(-1, (self.spaces.action.size, self.bins)).argmax(dim=-1)
            return 2.0 * chosen.float() / (self.bins - 1) - 1.0
        if deterministic:
            return outputs
        return outputs + self.action_noise * torch.randn(outputs.shape, generator=generator)

    def act(
        self,
        observation: Mapping[str, Tensor],
        state: Any = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Act on observations `[B, ...]` with the vector that is learned."""
        with torch.inference_mode():
            shown = observation["state"]
            action = self.choose(self.outputs(self.vector.expand(shown.shape[0], -1), shown), deterministic, generator)
            return PolicyStep(action, None, torch.zeros(shown.shape[0]))
