"""An expert that still learns, and the student that imitates it (SECANT-Parallel; dissertation Section 5.5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from visagent.envs.spaces import WorldSpaces
from visagent.networks.imitation import PixelPolicy
from visagent.networks.policy import PolicyStep
from visagent.networks.soft_actor_critic import Observation, SoftActorCritic


class ExpertWithStudent(SoftActorCritic):
    """A soft actor-critic, the expert, beside a student with convolutions of the same kind, who is what is tested.

    Args:
        spaces: of the worlds; continuous actions, pictures.
        student_hidden: widths of the student's hidden layers.
        settings: as `SoftActorCritic` has them.
    """

    sees = ("pixels",)
    """Parts of an observation that it acts on."""

    def __init__(self, spaces: WorldSpaces, student_hidden: Sequence[int], **settings: Any) -> None:
        super().__init__(spaces, **settings)
        shared = ("pixel_channels", "pixel_kernels", "pixel_strides", "projection", "frame_differences")
        self.student = PixelPolicy(spaces, student_hidden, **{name: settings[name] for name in shared})

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

    def embedding(self, observation: Observation) -> Tensor:
        """The student's, of observations `[B, ...]`."""
        return self.student.embedding(observation["pixels"])

    def expert_action(self, observation: Observation) -> Tensor:
        """The expert's deterministic action `[N, A]`."""
        return super().act(observation, deterministic=True).action

    def expert_sample(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """An action `[N, A]` of the expert's policy."""
        return super().act(observation, generator=generator).action
