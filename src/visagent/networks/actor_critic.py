"""Policies with a critic for continuous and discrete actions: MLP, CNN, and CNN with LSTM (dissertation, Section
2.5.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visagent.envs.spaces import WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.distributions import ActionDistribution, distribution_of, valid
from visagent.networks.mixed_precision import through_stem
from visagent.networks.mlp import make_orthogonal, mlp
from visagent.networks.normalizers import RunningNormalizer
from visagent.networks.pixels import convolutions, flattened
from visagent.networks.policy import PolicyStep

Observation = Mapping[str, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What a policy says of N observations: parameters of the action's distribution `[..., P]`, values `[...]`, the
    recurrent state afterwards.
    """

    parameters: Tensor
    value: Tensor
    state: tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class Choice:
    """What a policy chooses for B observations, before the critic is asked.

    Attributes:
        action: `[B]` or `[B, A]`.
        parameters: `[B, P]` of its distribution.
        features: `[B, F]` that the critic reads; they may share memory with the observations.
        state: the recurrent state afterwards.
    """

    action: Tensor
    parameters: Tensor
    features: Tensor
    state: tuple[Tensor, Tensor] | None


class PixelStem(nn.Module):
    """Convolutions 8x8 stride 4 with 16 channels, 4x4 stride 2 with 32, and 256 units (Section 2.5.1)."""

    def __init__(self, shape: tuple[int, ...], features: int) -> None:
        super().__init__()
        self.convolutions = convolutions([shape[0], 16, 32], [8, 4], [4, 2])
        flat = flattened(self.convolutions, shape)
        self.linear = nn.Sequential(nn.Linear(flat, features), nn.ReLU())

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 `[N, C, H, W]` to `[N, features]`."""
        features: Tensor = self.linear(self.convolutions(pixels.float() / 255.0))
        return features


class ActorCritic(nn.Module):
    """A policy and its critic; both read the same stem where there are pixels or an LSTM.

    Args:
        spaces: of the world.
        actor_hidden, critic_hidden: widths of the hidden layers.
        activation: `tanh` or `relu`.
        squash_mean: the mean of a continuous action goes through tanh (Section 2.5.1).
        init_log_std: the logarithm of the standard deviation that learning begins with; a parameter, the same in all
            states.
        normalize: put `state` through a z-filter.
        pixel_features: units after the convolutions.
        lstm: units of an LSTM after the stem; 0 for none.
        orthogonal_init: orthogonal weights instead of PyTorch's own.
        min_log_std, max_log_std: what it does not fall below, and not rise above; None for no such bound.
        distribution: of continuous actions: `gaussian`, or `squashed_gaussian`, tanh of one.

    Raises:
        ConfigError: when a squashed Gaussian is asked for where actions are discrete.
    """

    mixed = False
    """Whether the stem computes in bfloat16 while the network learns; acting does so in float32."""

    def __init__(
        self,
        spaces: WorldSpaces,
        actor_hidden: Sequence[int],
        critic_hidden: Sequence[int],
        activation: str,
        squash_mean: bool,
        init_log_std: float,
        normalize: bool,
        pixel_features: int,
        lstm: int,
        orthogonal_init: bool,
        min_log_std: float | None = None,
        max_log_std: float | None = None,
        distribution: str = "gaussian",
    ) -> None:
        super().__init__()
        self.spaces, self.squash_mean = spaces, squash_mean
        self.min_log_std, self.max_log_std = min_log_std, max_log_std
        shapes = spaces.observation
        self.normalizer = RunningNormalizer(shapes["state"][0]) if normalize and "state" in shapes else None
        self.stem = PixelStem(shapes["pixels"], pixel_features) if "pixels" in shapes else None
        width = (pixel_features if self.stem is not None else 0) + (shapes["state"][0] if "state" in shapes else 0)
        self.lstm = nn.LSTM(width, lstm) if lstm else None
        width = lstm or width
        self.continuous = spaces.action.kind == "continuous"
        squashed = distribution == "squashed_gaussian"
        if squashed and not self.continuous:
            raise ConfigError(
                f"network.distribution: expected gaussian where actions are {spaces.action.kind}, got {distribution}; "
                "type network.distribution=gaussian"
            )
        self.distribution: ActionDistribution = distribution_of(spaces.action, squashed)
        self.actor = mlp(width, actor_hidden, spaces.action.outputs, activation)
        self.critic = mlp(width, critic_hidden, 1, activation)
        if orthogonal_init:
            make_orthogonal(self.actor, 0.01)
            make_orthogonal(self.critic, 1.0)
        self.log_std = nn.Parameter(torch.full((spaces.action.size,), float(init_log_std))) if self.continuous else None

    @property
    def recurrent(self) -> bool:
        """Whether `act` needs a state."""
        return self.lstm is not None

    def initial_state(self, count: int) -> tuple[Tensor, Tensor] | None:
        """Zeros `[count, units]` twice (hidden, cell), or None."""
        if self.lstm is None:
            return None
        return torch.zeros(count, self.lstm.hidden_size), torch.zeros(count, self.lstm.hidden_size)

    @torch.no_grad()
    def keep_bounds(self) -> None:
        """Put parameters back to their bounds, after a step of an optimizer: held there, they go on to learn, as a
        clamped output would not.
        """
        bounded = self.min_log_std is not None or self.max_log_std is not None
        if bounded and self.log_std is not None:
            self.log_std.clamp_(self.min_log_std, self.max_log_std)

    def normalized(self, observation: Observation) -> dict[str, Tensor]:
        """Observations with their states through the z-filter, for `evaluate`."""
        if self.normalizer is None:
            return dict(observation)
        return {**observation, "state": self.normalizer(observation["state"])}

    def features(self, normalized: Observation) -> Tensor:
        """`[N, F]` of normalised observations `[N, ...]`, before the LSTM."""
        parts = []
        if self.stem is not None:
            parts.append(through_stem(self.stem, normalized["pixels"], self.mixed and self.training))
        if "state" in normalized:
            parts.append(normalized["state"])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def parameters_of(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Parameters of the action's distribution `[..., P]` of features `[..., F]`; where `mask` `[..., P]` is 0, an
        action is not valid.
        """
        parameters: Tensor = self.actor(features)
        if mask is not None:
            return valid(parameters, mask)
        if self.log_std is not None:
            mean = parameters.tanh() if self.squash_mean else parameters
            parameters = torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)
        return parameters

    def values_of(self, features: Tensor) -> Tensor:
        """Values `[...]` of features `[..., F]`."""
        values: Tensor = self.critic(features)[..., 0]
        return values

    def forward(
        self, observation: Observation, state: tuple[Tensor, Tensor] | None = None, first: Tensor | None = None
    ) -> Evaluation:
        """Judge observations.

        Args:
            observation: parts `[N, ...]`; with an LSTM `[T, B, ...]`.
            state: with an LSTM, hidden and cell `[B, units]` before the first step.
            first: with an LSTM, `[T, B]` bool where an episode begins: the state is zero there.
        """
        return self.evaluate(self.normalized(observation), state, first)

    def evaluate(
        self, observation: Observation, state: tuple[Tensor, Tensor] | None = None, first: Tensor | None = None
    ) -> Evaluation:
        """Like `forward`, for observations that are normalised already."""
        features, after = self._remembered(observation, state, first)
        return Evaluation(self.parameters_of(features, observation.get("mask")), self.values_of(features), after)

    def _remembered(
        self, observation: Observation, state: tuple[Tensor, Tensor] | None, first: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Features of observations that are normalised already, after the LSTM where there is one, and its state
        afterwards.
        """
        if self.lstm is None:
            return self.features(observation), None
        assert state is not None and first is not None
        steps, batch = first.shape
        features = self.features({name: part.flatten(0, 1) for name, part in observation.items()}).unflatten(
            0, (steps, batch)
        )
        hidden, cell = state
        outputs = []
        for t in range(steps):
            keep = (~first[t]).to(features.dtype)[:, None]
            output, (h, c) = self.lstm(features[t : t + 1], ((hidden * keep)[None], (cell * keep)[None]))
            hidden, cell = h[0], c[0]
            outputs.append(output)
        return torch.cat(outputs), (hidden, cell)

    def choose(
        self,
        observation: Observation,
        state: tuple[Tensor, Tensor] | None = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> Choice:
        """Choose actions for observations `[B, ...]`; a state is zeroed by the caller where an episode begins."""
        with torch.inference_mode():
            seen = self.normalized(observation)
            if self.lstm is None:
                features, after = self.features(seen), None
            else:
                batch = next(iter(seen.values())).shape[0]
                features, after = self._remembered(
                    {name: part[None] for name, part in seen.items()}, state, torch.zeros(1, batch, dtype=torch.bool)
                )
                features = features[0]
            parameters = self.parameters_of(features, seen.get("mask"))
            action = (
                self.distribution.mode(parameters) if deterministic else self.distribution.sample(parameters, generator)
            )
            return Choice(action, parameters, features, after)

    def act(
        self,
        observation: Observation,
        state: tuple[Tensor, Tensor] | None = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Like `choose`, with log-probabilities and values."""
        chosen = self.choose(observation, state, deterministic, generator)
        with torch.inference_mode():
            log_prob, value = (
                self.distribution.log_prob(chosen.parameters, chosen.action),
                self.values_of(chosen.features),
            )
            return PolicyStep(chosen.action, chosen.state, log_prob, value, parameters=chosen.parameters)
