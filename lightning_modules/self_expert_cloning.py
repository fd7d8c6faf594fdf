"""Self-expert cloning (SECANT; dissertation Section 5.4, Algorithm 1): a student imitates an expert by DAgger under
strong augmentation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_modules.off_policy import OffPolicyModule
from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory
from visagent.augment.pools import AugmentationPool
from visagent.config.secant_schemas import SelfExpertCloningSettings
from visagent.errors import ConfigError
from visagent.experience.transitions import Transitions
from visagent.learning.descent import Descent
from visagent.networks.imitation import PixelPolicy, StudentAndExpert
from visagent.networks.program import ProgramPolicy
from visagent.objectives.distillation import imitation_loss


class SelfExpertCloning(OffPolicyModule):
    """Learns the actions of a frozen expert, who sees observations as they are, from augmented pictures.

    Args:
        settings: see `visagent.config.secant_schemas.SelfExpertCloningSettings`.
        network: makes a `visagent.networks.imitation.PixelPolicy`.
        optimizer: makes an optimizer from parameter groups.
        expert: the trained module of the expert's run; None for a policy from elsewhere.
    """

    settings: SelfExpertCloningSettings
    network: StudentAndExpert
    pool: AugmentationPool

    def __init__(
        self, settings: SelfExpertCloningSettings, network: NetworkFactory, optimizer: OptimizerFactory, expert: Any
    ) -> None:
        super().__init__(settings, network, optimizer)
        self._expert = [expert]  # in a list, as its module is no part of this one

    def build(self) -> None:
        student, spaces, path = self.network, self.data.spaces, self.settings.expert_checkpoint
        expert = self._expert[0].network if path is None else ProgramPolicy(path, spaces.action.size)
        if not isinstance(student, PixelPolicy):
            name = type(student).__name__
            raise ConfigError(f"network: expected a policy of pictures, got {name}; type network=pixel_policy")
        for name, shape in expert.spaces.frame.items():
            if spaces.frame.get(name) != shape or expert.spaces.frames > spaces.frames:
                raise ConfigError(
                    f"algorithm.expert: its expert sees {expert.spaces.frames} frames of {name} {list(shape)}, got "
                    f"worlds that show {spaces.frames} of {dict(spaces.frame)}; type datamodule.env.observe=both"
                )
        self.network = StudentAndExpert(student, expert, expert.spaces)
        side = spaces.observation["pixels"][-1]
        settings = self.settings
        self.pool = AugmentationPool(
            settings.augmentation, side, settings.seed, settings.distractor_speed, settings.distractors
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.student.parameters())

    def on_fit_start(self) -> None:
        self.descent = Descent(self.own_optimizers()[0], self.network.student.parameters(), self.ranks)

    def update(self, drawn: Transitions, rng: torch.Generator) -> dict[str, Tensor]:
        labels = self.network.expert_action(drawn.observation).clone()  # inference tensors have no gradient
        pictures = self.pool(drawn.observation["pixels"], rng)
        loss = imitation_loss(self.network.student(pictures), labels, self.settings.loss)
        self.descent.step(loss / self.ranks.count)
        return {"imitation_loss": loss.detach()}
