"""MAPPO over options that the agents choose asynchronously (Lyu et al. 2023; Yu et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_modules.option_learner import OptionLearner
from lightning_modules.reinforcement import Metrics, NetworkFactory, OptimizerFactory
from visagent.config.option_schemas import OptionMAPPOSettings
from visagent.experience.option_decisions import DecisionSamples, OptionBatch
from visagent.learning.decisions import choosers_of_all, decision_metrics
from visagent.learning.descent import Descent
from visagent.learning.passes import Minibatch, equal_parts, one_pass
from visagent.networks.normalizers import ValueNormalizer
from visagent.networks.option_policies import OptionActorCritic
from visagent.objectives.option_advantages import clipped_value_loss, mean_where, semi_markov_advantages
from visagent.objectives.policy_gradient import clipped_surrogate

STD_FLOOR = 1e-5
"""Of advantages that are standardised, as in MAPPO's code."""
MEASURED = ("policy_loss", "value_loss", "entropy", "kl")


@dataclass(frozen=True)
class Losses:
    """Losses of a minibatch.

    Attributes:
        policy, value: to be descended.
        measured: what `MEASURED` names.
        ratio_gap: the largest distance of a sample's ratio from 1.
    """

    policy: Tensor
    value: Tensor
    measured: Tensor
    ratio_gap: Tensor


class OptionMAPPO(OptionLearner):
    """PPO whose actions are the options of those agents that choose, given the options of the others (Eq. 4).

    Its network is a `visagent.networks.option_policies.OptionActorCritic`.
    """

    settings: OptionMAPPOSettings

    def __init__(self, settings: OptionMAPPOSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__(settings, network, optimizer)
        self.returns = ValueNormalizer()

    def build(self) -> None:
        self.expect(OptionActorCritic, whole_episodes=False, remedy="network=options datamodule=options")

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.make_optimizer(part.parameters()) for part in (self.network.policy, self.network.critics)]

    def on_fit_start(self) -> None:
        policy, critic = self.own_optimizers()
        norm = self.settings.max_grad_norm
        self.policy_descent = Descent(policy, self.network.policy.parameters(), self.ranks, norm)
        self.critic_descent = Descent(critic, self.network.critics.parameters(), self.ranks, norm)

    def learn(self, batch: OptionBatch) -> Metrics:
        samples, (choosers, owned) = self.samples(batch), choosers_of_all(batch, self.ranks)
        sizes = equal_parts(len(owned), self.settings.minibatches)
        order = self.generator("order") if len(sizes) > 1 else None
        measured, gaps = [], []
        for _ in range(self.settings.passes):
            for part in one_pass(samples, choosers, owned, sizes, order):
                losses = self.losses(part) if len(part.samples) else None
                self.policy_descent.step(losses.policy if losses else None)
                self.critic_descent.step(losses.value if losses else None)
                measured.append(losses.measured if losses else torch.zeros(len(MEASURED), device=self.device))
                gaps.append(losses.ratio_gap if losses else torch.zeros((), device=self.device))
        self.log("train/first_ratio_gap", gaps[0], sync_dist=self.ranks.count > 1, reduce_fx="max")
        means = self.ranks.sum(torch.stack(measured).mean(dim=0))
        return {f"train/{name}": mean for name, mean in zip(MEASURED, means, strict=True)}

    @torch.no_grad()
    def samples(self, batch: OptionBatch) -> DecisionSamples:
        """The batch's decisions with advantages, standardised over all ranks, and normalised targets of the critic."""
        settings = self.settings
        value, last, final = map(self.returns.denormalize, (batch.value, batch.last_value, batch.final_value))
        reward, duration = batch.reward, batch.duration
        if settings.rewards == "paper_code":
            reward, duration = batch.last_reward, torch.ones_like(duration)
        steps = (batch.terminated, batch.truncated, duration, batch.valid)
        discounts = (settings.gamma, settings.lam, settings.lam_by_duration)
        advantage = semi_markov_advantages(reward, value, last, final, *steps, *discounts)
        target = advantage + value
        mean, square = self.ranks.moments(advantage[batch.valid])
        self.returns.update(*self.ranks.moments(target[batch.valid]))
        std = (square - mean.square()).clamp_min(0.0).sqrt()
        standard = ((advantage - mean) / (std + STD_FLOOR)).float()
        return DecisionSamples.of(batch, standard, self.returns.normalize(target))

    def losses(self, part: Minibatch[DecisionSamples]) -> Losses:
        """This rank's parts of the means over a minibatch; `everyone` are numbers of agents that choose."""
        settings, samples, situation = self.settings, part.samples, part.samples.situation
        of_decisions = len(samples) / len(part.owned)
        of_choices = float(part.own(part.everyone).sum() / part.everyone.sum())
        whole = situation.as_a_whole(self.network.spaces.sizes)
        now = self.network.evaluate_options(whole if settings.log_prob == "joint" else situation)
        for_entropy = self.network.evaluate_options(whole) if settings.entropy == "joint" else now
        # a decision counts as one, or as all agents' choices
        rank_weight = of_decisions if self.network.parts == 1 or settings.log_prob == "joint" else of_choices
        surrogate = clipped_surrogate(now.log_prob, samples.log_prob, samples.advantage, settings.clip)
        policy = -mean_where(surrogate, now.counted) * rank_weight
        entropy = for_entropy.entropy
        if settings.entropy == "normalised":
            entropy = torch.where(for_entropy.log_count > 0, entropy / for_entropy.log_count.clamp_min(1e-6), 0.0)
        entropy = mean_where(entropy, for_entropy.counted) * (
            of_decisions if settings.entropy == "joint" else rank_weight
        )
        values = self.network.values(situation)
        value_loss = clipped_value_loss(values, samples.value, samples.target, settings.clip, settings.huber)
        value = value_loss.mean() * of_decisions
        with torch.no_grad():
            log_ratio = now.log_prob - samples.log_prob
            ratio = log_ratio.exp()
            kl = mean_where(ratio - 1 - log_ratio, now.counted) * rank_weight
            gap = ((ratio - 1).abs() * now.counted).max()
        measured = torch.stack([policy, value, entropy, kl]).detach()
        return Losses(policy - settings.entropy_weight * entropy, value, measured, gap)

    def describe(self, batch: OptionBatch) -> Metrics:
        return decision_metrics(batch, self.ranks)

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self.evaluate(batch, "val")
        if batch.deterministic:
            self.evaluate(replace(batch, deterministic=False), "val/sampled")

    def test_step(self, batch: Any, batch_index: int, dataloader_idx: int = 0) -> None:
        super().test_step(batch, batch_index)
        if batch.deterministic:
            self.evaluate(replace(batch, deterministic=False), "test/sampled")

    def remedies(self) -> list[str]:
        return ["algorithm.max_grad_norm=10.0"] if self.settings.max_grad_norm is None else []
