"""A student that sees pictures, and the expert that it imitates (SECANT; dissertation Section 5.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from visagent.envs.spaces import WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.mixed_precision import through_stem
from visagent.networks.mlp import mlp
from visagent.networks.pixels import begin_orthogonal, centred, convolutions, flattened
from visagent.networks.policy import Memoryless, PolicyStep
from visagent.networks.soft_actor_critic import Trunk

Observation = Mapping[str, Tensor]


class PixelPolicy(nn.Module):
    """A deterministic policy of pictures: convolutions, a projection, hidden layers, tanh (Section 5.5.1).

    Args:
        spaces: of the worlds; continuous actions, pictures.
        hidden: widths of the hidden layers.
        pixel_channels, pixel_kernels, pixel_strides: of the convolutions.
        projection: units that the convolutions' features are projected to.
        frame_differences: whether it sees what changes between frames; see `visagent.networks.pixels.centred`.

    Raises:
        ConfigError: for discrete actions, or where there are no pictures.
    """

    mixed = False
    """Whether the stem computes in bfloat16 while the network learns; acting does so in float32."""

    def __init__(
        self,
        spaces: WorldSpaces,
        hidden: Sequence[int],
        pixel_channels: Sequence[int],
        pixel_kernels: Sequence[int],
        pixel_strides: Sequence[int],
        projection: int,
        frame_differences: bool,
    ) -> None:
        super().__init__()
        self.differences = frame_differences
        shape = spaces.observation.get("pixels")
        if shape is None or spaces.action.kind != "continuous":
            seen = " and ".join(spaces.observation)
            raise ConfigError(
                f"network: a policy of pictures needs pictures and continuous actions, got {seen} and "
                f"{spaces.action.kind} ones; type datamodule.env.observe=both, or another env"
            )
        self.stem = convolutions([shape[0], *pixel_channels], pixel_kernels, pixel_strides)
        self.trunk = Trunk(flattened(self.stem, shape), projection)
        self.layers = mlp(projection, hidden, spaces.action.size, "relu")
        begin_orthogonal(self)

    def embedding(self, pixels: Tensor) -> Tensor:
        """Embedding `[N, projection]` of pictures `[N, C, H, W]` in [0, 255]."""
        features = through_stem(self.stem, centred(pixels, self.differences), self.mixed and self.training)
        embedding: Tensor = self.trunk(features, None)
        return embedding

    def forward(self, pixels: Tensor) -> Tensor:
        """Actions `[N, A]` of pictures `[N, C, H, W]` in [0, 255]."""
        action: Tensor = self.layers(self.embedding(pixels)).tanh()
        return action


class StudentAndExpert(Memoryless):
    """What actors of imitation run: the student acts, the expert can be asked.

    Args:
        student: learns.
        expert: a policy that stays as it is; it may see other parts of an observation than the student, and fewer
            frames.
        expert_spaces: what it sees.
    """

    sees = ("pixels",)
    """Parts of an observation that it acts on."""

    def __init__(self, student: PixelPolicy, expert: nn.Module, expert_spaces: WorldSpaces) -> None:
        super().__init__()
        self.student, self.expert_spaces = student, expert_spaces
        # in training mode, as Lightning wants all modules of a training; nothing depends on it here
        self.expert = expert.requires_grad_(False).train()

    @property
    def stem(self) -> nn.Sequential:
        """The student's convolutions."""
        return self.student.stem

    @property
    def mixed(self) -> bool:
        """Whether the student's convolutions compute in bfloat16 while it learns."""
        return self.student.mixed

    @mixed.setter
    def mixed(self, value: bool) -> None:
        self.student.mixed = value

    def embedding(self, observation: Observation) -> Tensor:
        """The student's, of observations `[B, ...]`."""
        return self.student.embedding(observation["pixels"])

    def expert_action(self, observation: Observation) -> Tensor:
        """The expert's deterministic action `[N, A]`."""
        shapes = self.expert_spaces.observation
        seen = {name: observation[name][:, -shape[0] :] for name, shape in shapes.items()}  # the newest frames
        policy: Any = self.expert
        action: Tensor = policy.act(seen, deterministic=True).action
        return action

    def act(
        self,
        observation: Observation,
        state: Any = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """The student's action on observations `[B, ...]`, always without noise."""
        with torch.inference_mode():
            action = self.student(observation["pixels"])
            return PolicyStep(action, None, torch.zeros(action.shape[0]))
