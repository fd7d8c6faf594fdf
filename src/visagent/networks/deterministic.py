"""A deterministic policy and its critics (SURREAL-DDPG, dissertation Section 2.5.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from visagent.envs.spaces import WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.mixed_precision import through_stem
from visagent.networks.mlp import mlp
from visagent.networks.pixels import convolutions, flattened
from visagent.networks.policy import Memoryless, PolicyStep

Observation = Mapping[str, Tensor]


def hidden_layers(inputs: int, widths: Sequence[int], layer_norm: bool) -> nn.Sequential:
    """Layers with ReLU, and normalisation before it where asked for."""
    return mlp(inputs, widths, None, "relu", norm="before" if layer_norm else None)


class Critic(nn.Module):
    """Q(s, a): the action joins at the second layer."""

    def __init__(self, inputs: int, actions: int, hidden: Sequence[int], layer_norm: bool) -> None:
        super().__init__()
        self.first = hidden_layers(inputs, hidden[:1], layer_norm)
        self.rest = nn.Sequential(hidden_layers(hidden[0] + actions, hidden[1:], layer_norm), nn.Linear(hidden[-1], 1))
        small(self.rest[1])

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """`[N]` of features `[N, F]` and actions `[N, A]`."""
        value: Tensor = self.rest(torch.cat([self.first(features), action], dim=-1))[:, 0]
        return value


def small(layer: nn.Module) -> None:
    """Weights of a last layer from +-0.003 (Lillicrap et al. 2016, Section 7): first actions and values are near
    zero.
    """
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -3e-3, 3e-3)


class DeterministicActorCritic(Memoryless):
    """mu(s) and one or two Q(s, a), behind a stem that the critics train where there are pixels.

    Args:
        spaces: of the worlds; continuous actions.
        actor_hidden, critic_hidden: widths of the hidden layers; the critic has at least one.
        critics: 1, or 2 for TD3.
        pixel_channels, pixel_kernels, pixel_strides: of the convolutions.
        pixel_features: units after the convolutions.
        layer_norm: normalise the hidden layers.

    Raises:
        ConfigError: for discrete actions.
    """

    mixed = False
    """Whether the stem computes in bfloat16 while the network learns; acting does so in float32."""

    def __init__(
        self,
        spaces: WorldSpaces,
        actor_hidden: Sequence[int],
        critic_hidden: Sequence[int],
        critics: int,
        pixel_channels: Sequence[int],
        pixel_kernels: Sequence[int],
        pixel_strides: Sequence[int],
        pixel_features: int,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        if spaces.action.kind != "continuous":
            raise ConfigError(
                f"network: a deterministic policy needs continuous actions, got {spaces.action.kind} ones; type "
                "env=pendulum or algorithm=ppo"
            )
        self.spaces = spaces
        shapes, width = spaces.observation, 0
        self.stem: nn.Sequential | None = None
        if "pixels" in shapes:
            layers = convolutions([shapes["pixels"][0], *pixel_channels], pixel_kernels, pixel_strides)
            flat = flattened(layers, shapes["pixels"])
            self.stem = nn.Sequential(*layers, nn.Linear(flat, pixel_features), nn.ReLU())
            width += pixel_features
        width += shapes["state"][0] if "state" in shapes else 0
        self.actor = nn.Sequential(
            hidden_layers(width, actor_hidden, layer_norm),
            nn.Linear([width, *actor_hidden][-1], spaces.action.size),
            nn.Tanh(),
        )
        small(self.actor[1])
        self.critics = nn.ModuleList(
            Critic(width, spaces.action.size, critic_hidden, layer_norm) for _ in range(critics)
        )

    def features(self, observation: Observation) -> Tensor:
        """`[N, F]` of observations `[N, ...]`."""
        parts = []
        if self.stem is not None:
            parts.append(through_stem(self.stem, observation["pixels"].float() / 255.0, self.mixed and self.training))
        if "state" in observation:
            parts.append(observation["state"])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def values(self, features: Tensor, action: Tensor) -> Tensor:
        """`[critics, N]`."""
        return torch.stack([critic(features, action) for critic in self.critics])

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the critics and the stem."""
        yield from self.critics.parameters()
        if self.stem is not None:
            yield from self.stem.parameters()

    def act(
        self,
        observation: Observation,
        state: Any = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Act on observations `[B, ...]`, always without noise."""
        with torch.inference_mode():
            action = self.actor(self.features(observation))
            return PolicyStep(action, None, torch.zeros(action.shape[0]))
