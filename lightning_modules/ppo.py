"""Proximal policy optimisation (Schulman et al. 2017; SURREAL-PPO, dissertation Section 2.3.2)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lightning_modules.reinforcement import Metrics, NetworkFactory, OptimizerFactory, ReinforcementModule
from visagent.config.reinforcement_schemas import PPOSettings
from visagent.experience.rollouts import PolicySamples, RolloutBatch
from visagent.learning.decoupled import decoupled
from visagent.learning.descent import Descent
from visagent.learning.fast_gradients import FastPPO
from visagent.learning.passes import Minibatch, in_order, one_pass, sizes_of
from visagent.learning.published import Publications, frozen
from visagent.learning.ranks import ALONE, Ranks
from visagent.networks.normalizers import RewardNormalizer
from visagent.objectives.policy_gradient import (
    adapted_beta,
    clipped_surrogate,
    divergence_penalty,
    generalized_advantages,
    importance_ratio,
    standardized,
)

MEASURED_AT_ONCE = 256
"""Samples whose losses are measured at once, at least."""


class PPO(ReinforcementModule):
    """PPO with the clipped objective (Eq. 7), or with an adaptive penalty on the divergence from the policy that acted (Eq. 8).

    SURREAL's penalty is on the divergence from the policy published last; with synchronous actors that is the same one.
    """

    settings: PPOSettings
    beta: Tensor
    divergences: Tensor

    def __init__(self, settings: PPOSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__(settings, network, optimizer)
        self.returns = RewardNormalizer(settings.gamma) if settings.normalize_rewards else None
        self.register_buffer("beta", torch.tensor(float(settings.beta)))
        self.register_buffer("divergences", torch.zeros(2))  # their sum and number since the last publication

    def build(self) -> None:
        self.reference = frozen(self.network)
        self.publications = Publications(self.settings.publish_every, after_first=self.network.normalizer is not None)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())

    def on_fit_start(self) -> None:
        parameters, norm = self.network.parameters(), self.settings.max_grad_norm
        self.descent = Descent(self.own_optimizers()[0], parameters, self.ranks, max_norm=norm)
        self.fast = FastPPO(self.network, self.settings) if FastPPO.serves(self.network) else None

    def learn(self, batch: RolloutBatch) -> Metrics:
        settings, worlds = self.settings, self.ranks.own(batch.reward.shape[1])
        advantage, returns, value = self.targets(batch)
        standard = advantage if settings.standardize == "none" else standardized(advantage)
        samples = PolicySamples.of(batch, self.network.normalized(batch.observation), standard[:, worlds], returns[:, worlds])
        if not self.is_current(batch.version) and (settings.variant == "clip" or settings.kl_stop is not None):
            samples = decoupled(samples, self.network, settings.variant == "clip")
        everyone, owned, size = samples.across_ranks(advantage, worlds, settings.minibatch_size)
        order, steps, measured = self.generator("order"), 0, Metrics()
        for number in range(settings.epochs):
            for part in one_pass(samples, everyone, owned, sizes_of(len(owned), size), order):
                self.descend(part)
                steps += 1
            if number == settings.epochs - 1 or settings.kl_stop is not None:
                measured = self.measure(samples, size)
                if settings.kl_stop is not None and measured["train/update_kl"] > settings.kl_stop * settings.kl_target:
                    break
        self.divergences += torch.tensor([float(measured["train/kl"]), 1.0], device=self.device)
        unexplained = (returns - value).var(unbiased=False) / returns.var(unbiased=False).clamp_min(1e-8)
        return measured | {"train/optimizer_steps": float(steps), "train/explained_variance": 1.0 - unexplained}

    @torch.no_grad()
    def targets(self, batch: RolloutBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Advantages, the returns that the critic learns, and its values, `[T, B]` of the worlds of all ranks."""
        ends = (batch.last_value, batch.final_value, batch.terminated, batch.truncated)
        advantage = generalized_advantages(self.reward(batch), batch.value, *ends, self.settings.gamma, self.settings.lam)
        own = torch.stack([advantage, advantage + batch.value, batch.value])
        advantage, returns, value = torch.cat(self.ranks.all_gather(own), dim=2)
        return advantage, returns, value

    def reward(self, batch: RolloutBatch) -> Tensor:
        """`[T, B]`, as the critic learns it."""
        reward = batch.reward * self.settings.reward_scale
        return reward if self.returns is None else self.returns.normalize(reward, batch.first, self.ranks)

    def descend(self, part: Minibatch[PolicySamples]) -> None:
        """One step of the optimizer."""
        samples = part.samples
        if self.settings.standardize == "minibatch":
            samples = replace(samples, advantage=part.own(standardized(part.everyone)))
        if samples.weight is not None:
            samples = replace(samples, advantage=samples.advantage * samples.weight)
        part = replace(part, samples=samples)
        if self.fast is not None:
            self.fast.backward(part, self.beta, self.ranks)
            self.descent.apply()
        else:
            self.descent.step(self.loss(part, self.ranks)[0])
        self.network.keep_bounds()

    def loss(self, part: Minibatch[PolicySamples], ranks: Ranks) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's part of the loss, and of what it is made of; a penalty sees the divergence of all `ranks`."""
        settings, samples, distribution = self.settings, part.samples, self.network.distribution
        now = self.network.evaluate(samples.observation, samples.state, samples.first)
        log_prob = distribution.log_prob(now.parameters, samples.action)
        kl = part.mean(distribution.divergence(samples.parameters, now.parameters))
        if settings.variant == "clip":
            policy = -part.mean(clipped_surrogate(log_prob, samples.log_prob, samples.advantage, settings.clip))
        else:
            everyones = kl + (ranks.sum(kl.detach().clone()) - kl.detach())  # with the gradient of this rank's part
            policy = -part.mean(importance_ratio(log_prob, samples.log_prob) * samples.advantage)
            policy = policy + divergence_penalty(everyones, self.beta, settings.kl_cutoff, settings.kl_target)
        value = part.mean(0.5 * (now.value - samples.returns).square())
        entropy = part.mean(distribution.entropy(now.parameters))
        moved = kl if samples.began is None else part.mean(distribution.divergence(samples.began, now.parameters))
        parts = {"policy_loss": policy, "value_loss": value, "entropy": entropy, "kl": kl, "update_kl": moved}
        return policy + settings.value_weight * value - settings.entropy_weight * entropy, parts

    @torch.no_grad()
    def measure(self, samples: PolicySamples, size: int) -> Metrics:
        """What the loss is made of, over the batches of all ranks, with the policy as it is now."""
        totals: dict[str, Tensor] = {}
        for part in in_order(samples, samples.advantage, max(size, MEASURED_AT_ONCE)):
            for name, value in self.loss(part, ALONE)[1].items():
                totals[name] = totals.get(name, 0.0) + value * (len(part.samples) / len(samples))
        means = self.ranks.sum(torch.stack(list(totals.values())) / self.ranks.count)
        return {f"train/{name}": mean for name, mean in zip(totals, means, strict=True)}

    def skip(self, batch: RolloutBatch) -> None:
        self.reward(batch)

    def on_publish(self) -> None:
        """The penalty's weight adapts to how far the policy has moved since the last publication."""
        settings = self.settings
        if settings.variant == "adaptive_kl" and self.divergences[1] > 0:  # something was learned since
            mean = float(self.divergences[0] / self.divergences[1])
            adapted = adapted_beta(float(self.beta), mean, settings.kl_target, settings.beta_factor, *settings.beta_range)
            self.beta.fill_(adapted)
        self.divergences.zero_()

    def describe(self, batch: RolloutBatch) -> Metrics:
        return {"train/beta": self.beta}

    def remedies(self) -> list[str]:
        rewards = [] if self.settings.normalize_rewards else ["algorithm.normalize_rewards=true"]
        return rewards + (["algorithm.max_grad_norm=0.5"] if self.settings.max_grad_norm is None else [])
