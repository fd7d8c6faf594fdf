"""A stochastic policy squashed into its bounds, and twin critics (Haarnoja et al. 2018; with pictures as in DrQ,
Kostrikov et al. 2020; dissertation Section 5.5.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from visagent.envs.spaces import WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.mixed_precision import through_stem
from visagent.networks.mlp import mlp
from visagent.networks.pixels import begin_orthogonal, centred, convolutions, flattened
from visagent.networks.policy import Memoryless, PolicyStep

Observation = Mapping[str, Tensor]


def squashed_sample(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions tanh(u), u normal, and their log-probabilities `[N]` (Haarnoja et al. 2018, Appendix C).

    log(1 - tanh(u)^2) is taken as 2 (log 2 - u - softplus(-2 u)), which is finite for every u.

    Args:
        mean, log_std: of u, `[N, A]`.
        noise: `[N, A]`, standard normal.
    """
    before = mean + log_std.exp() * noise
    normal = -0.5 * (noise.square() + math.log(2 * math.pi)) - log_std
    slope = 2 * (math.log(2) - before - softplus(-2 * before))
    return before.tanh(), (normal - slope).sum(dim=-1)


class Trunk(nn.Module):
    """What an actor or a critic makes of convolutions' features: a projection, then a normalisation; where there are no
    pictures, nothing.

    Args:
        flat: features of the convolutions; 0 for none.
        projection: units that they are projected to.
    """

    def __init__(self, flat: int, projection: int) -> None:
        super().__init__()
        self.projection = (
            nn.Sequential(nn.Linear(flat, projection), nn.LayerNorm(projection), nn.Tanh()) if flat else None
        )

    def forward(self, features: Tensor | None, state: Tensor | None) -> Tensor:
        """`[N, F]` of the convolutions' features and the state, each None where there is none."""
        parts = [] if self.projection is None else [self.projection(features)]
        if state is not None:
            parts.append(state)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class SquashedGaussianActor(nn.Module):
    """Mean and standard deviation of the policy's normal distribution before tanh.

    Args:
        trunk: before the hidden layers.
        width: of what the trunk makes.
        hidden: widths of the hidden layers.
        actions: A.
        log_std_range: bounds of the logarithm of the standard deviation.
    """

    def __init__(
        self, trunk: Trunk, width: int, hidden: Sequence[int], actions: int, log_std_range: Sequence[float]
    ) -> None:
        super().__init__()
        self.trunk, self.range = trunk, (float(log_std_range[0]), float(log_std_range[1]))
        self.layers = mlp(width, hidden, 2 * actions, "relu")

    def forward(self, features: Tensor | None, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-standard deviation, `[N, A]`; the latter reaches its bounds through tanh."""
        mean, raw = self.layers(self.trunk(features, state)).chunk(2, dim=-1)
        low, high = self.range
        return mean, low + 0.5 * (high - low) * (raw.tanh() + 1)


class TwinCritics(nn.Module):
    """Two Q(s, a) behind one trunk."""

    def __init__(self, trunk: Trunk, width: int, hidden: Sequence[int], actions: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.critics = nn.ModuleList(mlp(width + actions, hidden, 1, "relu") for _ in range(2))

    def forward(self, features: Tensor | None, state: Tensor | None, action: Tensor) -> Tensor:
        """`[2, N]`."""
        joined = torch.cat([self.trunk(features, state), action], dim=-1)
        return torch.stack([critic(joined)[:, 0] for critic in self.critics])


class SoftActorCritic(Memoryless):
    """A squashed Gaussian policy and twin critics, behind convolutions that the critics train where there are pixels.

    Args:
        spaces: of the worlds; continuous actions.
        hidden: widths of the hidden layers, of actor and critics.
        log_std_range: bounds of the logarithm of the policy's standard deviation.
        pixel_channels, pixel_kernels, pixel_strides: of the convolutions.
        projection: units that actor and critics each project the convolutions' features to.
        frame_differences: whether they see what changes between frames; see `visagent.networks.pixels.centred`.

    Raises:
        ConfigError: for discrete actions.
    """

    mixed = False
    """Whether the stem computes in bfloat16 while the network learns; acting does so in float32."""

    def __init__(
        self,
        spaces: WorldSpaces,
        hidden: Sequence[int],
        log_std_range: Sequence[float],
        pixel_channels: Sequence[int],
        pixel_kernels: Sequence[int],
        pixel_strides: Sequence[int],
        projection: int,
        frame_differences: bool,
    ) -> None:
        super().__init__()
        self.differences = frame_differences
        if spaces.action.kind != "continuous":
            raise ConfigError(
                f"network: a squashed Gaussian policy needs continuous actions, got {spaces.action.kind} ones; type "
                "env=pendulum or algorithm=ppo"
            )
        self.spaces = spaces
        shapes, actions, flat = spaces.observation, spaces.action.size, 0
        self.stem: nn.Sequential | None = None
        if "pixels" in shapes:
            self.stem = convolutions([shapes["pixels"][0], *pixel_channels], pixel_kernels, pixel_strides)
            flat = flattened(self.stem, shapes["pixels"])
        width = (projection if flat else 0) + (shapes["state"][0] if "state" in shapes else 0)
        self.actor = SquashedGaussianActor(Trunk(flat, projection), width, hidden, actions, log_std_range)
        self.critic = TwinCritics(Trunk(flat, projection), width, hidden, actions)
        begin_orthogonal(self)

    def features(self, observation: Observation) -> Tensor | None:
        """The convolutions' features `[N, F]`; None where there are no pictures."""
        if self.stem is None:
            return None
        return through_stem(self.stem, self.centred(observation["pixels"]), self.mixed and self.training)

    def centred(self, pixels: Tensor) -> Tensor:
        """Pictures `[N, C, H, W]` in [0, 255] as its convolutions want them."""
        return centred(pixels, self.differences)

    def state(self, observation: Observation) -> Tensor | None:
        """The part of an observation that is no picture; None where there is none."""
        return observation["state"] if "state" in self.spaces.observation else None

    def values(self, observation: Observation, action: Tensor) -> Tensor:
        """Q of both critics, `[2, N]`."""
        values: Tensor = self.critic(self.features(observation), self.state(observation), action)
        return values

    def embedding(self, observation: Observation) -> Tensor:
        """What the policy's hidden layers see of observations `[B, ...]`: the projection of pictures, and the state."""
        embedding: Tensor = self.actor.trunk(self.features(observation), self.state(observation))
        return embedding

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the critics and the convolutions."""
        yield from self.critic.parameters()
        if self.stem is not None:
            yield from self.stem.parameters()

    def act(
        self,
        observation: Observation,
        state: Any = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Act on observations `[B, ...]`: a sample, or tanh of the mean."""
        with torch.inference_mode():
            return self.choose(self.features(observation), self.state(observation), deterministic, generator)

    def choose(
        self, features: Tensor | None, state: Tensor | None, deterministic: bool, generator: torch.Generator | None
    ) -> PolicyStep:
        """Act on the convolutions' features, and the state."""
        mean, log_std = self.actor(features, state)
        if deterministic:
            return PolicyStep(mean.tanh(), None, torch.zeros(mean.shape[0]))
        action, log_prob = squashed_sample(mean, log_std, torch.randn(mean.shape, generator=generator))
        return PolicyStep(action, None, log_prob)
