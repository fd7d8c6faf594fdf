"""SECANT-Parallel (dissertation Section 5.5.2, "Ablation on the parallel-distillation variant"): expert and student
learn at the same time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.sac import SAC
from visagent.augment.pools import AugmentationPool
from visagent.config.secant_schemas import ParallelCloningSettings
from visagent.experience.transitions import Transitions
from visagent.learning.descent import Descent
from visagent.networks.expert_with_student import ExpertWithStudent
from visagent.objectives.distillation import imitation_loss


class ParallelCloning(SAC):
    """SAC, the expert's, and after each of its updates one of the student that imitates it as it is then.

    Its network is a `visagent.networks.expert_with_student.ExpertWithStudent`. With `datamodule.collect=both` episodes
    of expert and student take turns, and both learn from all of them.
    """

    settings: ParallelCloningSettings
    network: ExpertWithStudent

    def build(self) -> None:
        super().build()
        settings, side = self.settings, self.data.spaces.observation["pixels"][-1]
        self.strong = AugmentationPool(
            settings.student_augmentation, side, settings.seed, settings.distractor_speed, settings.distractors
        )

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        student = self.make_optimizer(self.network.student.parameters())
        return [*super().configure_optimizers(), student]

    def on_fit_start(self) -> None:
        *own, student = self.own_optimizers()
        self.make_descents(own)
        self.student_descent = Descent(student, self.network.student.parameters(), self.ranks)

    def update(self, drawn: Transitions, rng: torch.Generator) -> dict[str, Tensor]:
        measured = super().update(drawn, rng)
        labels = self.network.expert_action(drawn.observation).clone()  # inference tensors have no gradient
        pictures = self.strong(drawn.observation["pixels"], rng)
        loss = imitation_loss(self.network.student(pictures), labels, self.settings.loss)
        self.student_descent.step(loss / self.ranks.count)
        return measured | {"imitation_loss": loss.detach()}
