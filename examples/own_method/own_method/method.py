"""Advantage-weighted regression (Peng et al. 2019, Algorithm 1), on the newest rollouts alone."""

import torch
from torch import Tensor

from lightning_modules.reinforcement import Metrics, ReinforcementModule
from visagent.experience.rollouts import PolicySamples, RolloutBatch
from visagent.learning.descent import Descent
from visagent.learning.passes import Minibatch, one_pass, sizes_of
from visagent.learning.targets import generalized_targets
from visagent.objectives.policy_gradient import standardized


class AdvantageWeightedRegression(ReinforcementModule):
    """Imitates what was done, the more the better it was."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())

    def on_fit_start(self) -> None:
        self.descent = Descent(self.own_optimizers()[0], self.network.parameters(), self.ranks)

    def learn(self, batch: RolloutBatch) -> Metrics:
        settings, worlds = self.settings, self.ranks.own(batch.reward.shape[1])
        advantage, returns, _ = generalized_targets(batch, batch.reward, settings.gamma, settings.lam, self.ranks)
        seen, standard = self.network.normalized(batch.observation), standardized(advantage)
        samples = PolicySamples.of(batch, seen, standard[:, worlds], returns[:, worlds])
        everyone, owned, size = samples.across_ranks(standard, worlds, settings.minibatch_size)
        order = self.generator("order")
        for _ in range(settings.passes):
            for part in one_pass(samples, everyone, owned, sizes_of(len(owned), size), order):
                self.descent.step(loss := self.loss(part))
        return {"train/loss": loss.detach()}

    def loss(self, part: Minibatch[PolicySamples]) -> Tensor:
        """This rank's part of the regressions of the policy (Eq. 6) and of the critic (Eq. 5)."""
        samples, now = part.samples, self.network.evaluate(part.samples.observation)
        weight = (samples.advantage / self.settings.temperature).exp().clamp_max(self.settings.largest_weight)
        log_prob = self.network.distribution.log_prob(now.parameters, samples.action)
        return part.mean(0.5 * (now.value - samples.returns).square() - weight * log_prob)
