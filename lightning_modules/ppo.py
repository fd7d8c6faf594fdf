"""Proximal policy optimisation (Schulman et al. 2017; SURREAL-PPO, dissertation Section 2.3.2)."""

from __future__ import annotations

import logging
from typing import cast

import torch
from torch import Tensor

from lightning_modules.reinforcement import Metrics, NetworkFactory, OptimizerFactory, ReinforcementModule
from visagent.config.reinforcement_schemas import PPOSettings
from visagent.experience.rollouts import PolicySamples, RolloutBatch
from visagent.learning.adaptive_penalty import AdaptivePenalty
from visagent.learning.cloning import Cloning
from visagent.learning.decoupled import decoupled
from visagent.learning.descent import Descent
from visagent.learning.fast_gradients import FastPPO
from visagent.learning.passes import Minibatch, mean_of_all, one_pass, sizes_of
from visagent.learning.published import Publications, frozen
from visagent.learning.ranks import ALONE, Ranks
from visagent.learning.sources import RolloutSource
from visagent.learning.targets import generalized_targets
from visagent.networks.normalizers import RewardNormalizer
from visagent.objectives import policy_gradient as objectives

log = logging.getLogger(__name__)


class PPO(ReinforcementModule):
    """PPO with the clipped objective (Eq. 7), or with an adaptive penalty on the divergence from who acted (Eq. 8).

    SURREAL's penalty is on the divergence from the policy published last; with synchronous actors that is the same one.
    """

    settings: PPOSettings
    data: RolloutSource
    former_keys = {"beta": "penalty.beta", "divergences": "penalty.divergences"}

    def __init__(self, settings: PPOSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__(settings, network, optimizer)
        self.returns = RewardNormalizer(settings.gamma) if settings.normalize_rewards else None
        self.penalty = AdaptivePenalty(settings)
        self.cloned: Metrics = {}

    def build(self) -> None:
        self.reference = frozen(self.network)
        self.publications = Publications(self.settings.publish_every, after_first=self.network.normalizer is not None)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())

    def on_fit_start(self) -> None:
        if self.settings.cloning.demonstrations is not None and not int(self.iterations):
            self._clone()
        parameters, norm = self.network.parameters(), self.settings.max_grad_norm
        self.descent = Descent(self.own_optimizers()[0], parameters, self.ranks, max_norm=norm)
        self.fast = FastPPO(self.network, self.settings) if FastPPO.serves(self.network) else None

    def _clone(self) -> None:
        """Imitate demonstrations, before anybody has acted."""
        settings, cloning = self.settings, cast(Cloning, self.settings.cloning)  # what its settings name
        assert cloning.demonstrations is not None
        shown = self.data.demonstrated(cloning.demonstrations, cloning.episodes)
        returns = None if settings.normalize_rewards else settings.reward_scale * shown.returns(settings.gamma)
        self.cloned = {
            f"train/{name}": value
            for name, value in cloning.run(self.network, shown, returns, self.generator("cloning")).items()
        }
        log.info("imitated %d steps of %d episodes of %s", len(shown), shown.episodes, shown.name)
        if self.reference is not None:
            self.reference.load_state_dict(self.network.state_dict())

    def learn(self, batch: RolloutBatch) -> Metrics:
        settings, worlds = self.settings, self.ranks.own(batch.reward.shape[1])
        reward, discounts = self.reward(batch), (settings.gamma, settings.lam)
        advantage, returns, value = generalized_targets(batch, reward, *discounts, self.ranks)
        standard = advantage if settings.standardize == "none" else objectives.standardized(advantage)
        observation = self.network.normalized(batch.observation)
        samples = PolicySamples.of(batch, observation, standard[:, worlds], returns[:, worlds])
        if not self.is_current(batch.version) and (settings.variant == "clip" or settings.kl_stop is not None):
            samples = decoupled(samples, self.network, settings.variant == "clip")
        everyone, owned, size = samples.across_ranks(advantage, worlds, settings.minibatch_size)
        order, steps, measured = self.generator("order"), 0, dict[str, Tensor]()
        for number in range(settings.passes):
            for part in one_pass(samples, everyone, owned, sizes_of(len(owned), size), order):
                self.descend(part)
                steps += 1
            if number == settings.passes - 1 or settings.kl_stop is not None:
                measured = mean_of_all(samples, size, lambda part: self.loss(part, ALONE)[1], self.ranks)
                if settings.kl_stop is not None and measured["update_kl"] > settings.kl_stop * settings.kl_target:
                    break
        self.penalty.observe(measured["kl"])
        unexplained = (returns - value).var(unbiased=False) / returns.var(unbiased=False).clamp_min(1e-8)
        measured |= {"optimizer_steps": torch.tensor(float(steps)), "explained_variance": 1.0 - unexplained}
        measured["gradient_norm"] = self.descent.norm()
        if (log_std := self.network.log_std) is not None:
            measured["action_std"] = log_std.detach().exp().mean()
        return {f"train/{name}": value for name, value in measured.items()}

    def reward(self, batch: RolloutBatch) -> Tensor:
        """`[T, B]`, as the critic learns it."""
        reward = batch.reward * self.settings.reward_scale
        return reward if self.returns is None else self.returns.normalize(reward, batch.first, self.ranks)

    def descend(self, part: Minibatch[PolicySamples]) -> None:
        """One step of the optimizer; small networks have the gradient of `loss` by hand (`FastPPO`)."""
        per_minibatch = self.settings.standardize == "minibatch"
        advantage = part.own(objectives.standardized(part.everyone)) if per_minibatch else part.samples.advantage
        part = Minibatch(part.samples.with_advantage(advantage), part.everyone, part.owned)
        if self.fast is not None:
            self.fast.backward(part, self.penalty.beta, self.descent.ranks)
            self.descent.apply()
        else:
            self.descent.step(self.loss(part, self.descent.ranks)[0])
        self.network.keep_bounds()

    def loss(self, part: Minibatch[PolicySamples], ranks: Ranks) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's part of the loss, and of what it is made of; a penalty sees the divergence of all `ranks`."""
        settings, samples, distribution = self.settings, part.samples, self.network.distribution
        now = self.network.evaluate(samples.observation, samples.state, samples.first)
        log_prob = distribution.log_prob(now.parameters, samples.action)
        kl = part.mean(distribution.divergence(samples.parameters, now.parameters))
        if settings.variant == "clip":
            surrogate = objectives.clipped_surrogate(log_prob, samples.log_prob, samples.advantage, settings.clip)
            policy = -part.mean(surrogate)
        else:  # adaptive_kl
            everyones = kl + (ranks.sum(kl.detach().clone()) - kl.detach())  # with the gradient of this rank's part
            policy = -part.mean(objectives.importance_ratio(log_prob, samples.log_prob) * samples.advantage)
            policy = policy + self.penalty(everyones)
        value = part.mean(0.5 * (now.value - samples.returns).square())
        entropy = part.mean(distribution.entropy(now.parameters))
        moved = kl if samples.began is None else part.mean(distribution.divergence(samples.began, now.parameters))
        parts = {"policy_loss": policy, "value_loss": value, "entropy": entropy, "kl": kl, "update_kl": moved}
        if settings.variant == "clip":
            ratio = objectives.importance_ratio(log_prob.detach(), samples.log_prob)
            parts["clip_fraction"] = part.mean(((ratio - 1.0).abs() > settings.clip).float())
        return policy + settings.value_weight * value - settings.entropy_weight * entropy, parts

    def skip(self, batch: RolloutBatch) -> None:
        self.reward(batch)

    def on_publish(self) -> None:
        self.penalty.adapt()

    def describe(self, batch: RolloutBatch) -> Metrics:
        first = {} if int(self.iterations) > 1 else self.cloned
        return {"train/beta": self.penalty.beta, **first}

    def remedies(self) -> list[str]:
        rewards = [] if self.settings.normalize_rewards else ["algorithm.normalize_rewards=true"]
        return rewards + (["algorithm.max_grad_norm=0.5"] if self.settings.max_grad_norm is None else [])
