"""Proximal policy optimisation (Schulman et al. 2017; SURREAL-PPO, dissertation Section 2.3.2)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory, ReinforcementModule
from lightning_modules.schedules import scale_learning_rates
from visagent.errors import ConfigError
from visagent.experience.rollouts import RolloutBatch
from visagent.networks.actor_critic import ActorCritic
from visagent.networks.by_hand import ActorCriticByHand
from visagent.objectives.policy_gradient import (
    adapted_beta,
    clipped_slope,
    clipped_surrogate,
    generalized_advantages,
    penalized_slope,
    penalized_surrogate,
    standardized,
)
from visagent.seeding import generator

PREFIX = "observation."
PARTS = ("policy_loss", "value_loss", "entropy", "kl")
MEASURED = 256
"""Samples whose losses are measured at once, at least."""


class PPO(ReinforcementModule):
    """PPO with a clipped objective, or with an adaptive penalty on the divergence from the policy that acted.

    SURREAL's penalty is on the divergence from the policy that was published last; with synchronous actors that is the same one.

    Args:
        network: makes policy and critic from the worlds' spaces.
        optimizer: makes the optimizer from parameter groups.
        variant: `clip` or `adaptive_kl`.
        gamma, lam: discount of a step, lambda of GAE.
        epochs, minibatch_size: passes over each batch, and samples of a step of the optimizer (with an LSTM: worlds times steps).
        clip: epsilon of the clipped objective.
        kl_target, kl_cutoff, beta, beta_range, beta_factor: of the penalty: its target (nats), eta, its first weight, that weight's range and factor.
        kl_stop: passes end when the mean divergence exceeds this multiple of the target; None for never.
        publish_every: iterations after which the actors get the policy.
        value_weight, entropy_weight: of the critic's loss and the entropy.
        max_grad_norm: gradients are scaled down to it; None for never.
        standardize: advantages of each `batch`, of each `minibatch`, or `none`.
        schedule: of the learning rate over the run: `constant` or `linear` to `final_rate` of it.
        final_rate: see `schedule`.
        reward_scale: factor of the rewards that the learner sees.
        seed: of the weights and the order of samples.
    """

    beta: Tensor
    divergences: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        optimizer: OptimizerFactory,
        variant: str,
        gamma: float,
        lam: float,
        epochs: int,
        minibatch_size: int,
        clip: float,
        kl_target: float,
        kl_cutoff: float,
        beta: float,
        beta_range: Sequence[float],
        beta_factor: float,
        kl_stop: float | None,
        publish_every: int,
        value_weight: float,
        entropy_weight: float,
        max_grad_norm: float | None,
        standardize: str,
        schedule: str,
        final_rate: float,
        reward_scale: float,
        seed: int,
    ) -> None:
        super().__init__(network, optimizer, seed)
        self.variant, self.gamma, self.lam, self.epochs, self.minibatch_size = variant, gamma, lam, epochs, minibatch_size
        self.clip, self.kl_target, self.kl_cutoff, self.kl_stop = clip, kl_target, kl_cutoff, kl_stop
        self.beta_range, self.beta_factor, self.publish_every = tuple(beta_range), beta_factor, publish_every
        self.value_weight, self.entropy_weight, self.max_grad_norm, self.standardize = value_weight, entropy_weight, max_grad_norm, standardize
        self.schedule, self.final_rate, self.reward_scale = schedule, final_rate, reward_scale
        self.register_buffer("beta", torch.tensor(float(beta)))
        self.register_buffer("divergences", torch.zeros(2))  # sum and number since the last publication

    def prepare(self) -> None:
        if self.trainer.world_size > 1:
            raise ConfigError(f"PPO learns in one process so far: expected trainer.devices=1 trainer.num_nodes=1, got {self.trainer.world_size} ranks")
        self.reference = copy.deepcopy(self.network).requires_grad_(False)

    def acting_policy(self) -> ActorCritic:
        policy: ActorCritic = copy.deepcopy(self.reference).cpu().eval()
        return policy

    def published(self) -> tuple[dict[str, Tensor], int]:
        return self.reference.state_dict(), int(self.iterations) // self.publish_every

    def training_step(self, batch: RolloutBatch, batch_index: int) -> None:
        reward = batch.reward * self.reward_scale
        version = int(self.iterations) // self.publish_every
        with torch.no_grad():
            advantage = generalized_advantages(
                reward, batch.value, batch.last_value, batch.final_value, batch.terminated, batch.truncated, self.gamma, self.lam
            )
            returns = advantage + batch.value
            if self.standardize == "batch":
                advantage = standardized(advantage)
        progress = float(self.env_steps) / self.total_steps
        if self.schedule == "linear":
            scale_learning_rates(self.optimizers().optimizer, 1.0 + (self.final_rate - 1.0) * progress)  # type: ignore[union-attr]
        self._passes(batch, advantage, returns)
        self.env_steps += batch.env_steps * self.trainer.world_size
        self.iterations += 1
        if self.network.normalizer is not None:
            self.network.normalizer.update(batch.observation["state"])
        if int(self.iterations) % self.publish_every == 0:
            self._publish()
        self._report(batch, returns, version)

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run."""
        return int(self.data.steps_per_batch * self.data.iterations_per_epoch * (self.trainer.max_epochs or 1))

    def _passes(self, batch: RolloutBatch, advantage: Tensor, returns: Tensor) -> None:
        """The passes over a batch; of an LSTM's minibatches each holds whole segments."""
        recurrent = self.network.recurrent
        columns = {"action": batch.action, "log_prob": batch.log_prob, "parameters": batch.parameters, "advantage": advantage, "returns": returns}
        columns |= {f"{PREFIX}{name}": part for name, part in self.network.normalized(batch.observation).items()}  # the filter rests meanwhile
        if recurrent:
            columns["first"] = batch.first
            count, size, axis = batch.reward.shape[1], max(1, self.minibatch_size // len(batch.reward)), 1
        else:
            columns = {name: tensor.flatten(0, 1) for name, tensor in columns.items()}
            count, size, axis = batch.env_steps, self.minibatch_size, 0
        rng = generator(self.seed, "order", int(self.iterations), self.global_rank)
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        parameters = list(self.network.parameters())
        by_hand = ActorCriticByHand(self.network) if ActorCriticByHand.serves(self.network) else None
        steps = 0
        for number in range(self.epochs):
            order = torch.randperm(count, generator=rng).to(self.device)
            shuffled = {name: tensor.index_select(axis, order) for name, tensor in columns.items()}
            states = None if batch.state is None else tuple(tensor[order] for tensor in batch.state)
            for part, state in minibatches(shuffled, states, axis, size):
                if by_hand is not None:
                    self._step_by_hand(by_hand, optimizer, part)
                else:
                    self.descend(optimizer, self._loss(part, state)[0], parameters, self.max_grad_norm)
                steps += 1
            if number == self.epochs - 1 or self.kl_stop is not None:
                found = self._measure(columns, batch.state, axis, max(size, MEASURED))
                if self.kl_stop is not None and found["kl"] > self.kl_stop * self.kl_target:
                    break
        self.divergences += torch.tensor([found["kl"], 1.0], device=self.device)
        self.log_dict({f"train/{name}": value for name, value in found.items()})
        self.log("train/optimizer_steps", float(steps))

    @torch.no_grad()
    def _measure(self, columns: Mapping[str, Tensor], state: Any, axis: int, size: int) -> dict[str, float]:
        """The `PARTS` of the loss over a whole batch, with the policy as it is now."""
        total, count = torch.zeros(len(PARTS), device=self.device), columns["action"].shape[axis]
        for part, own in minibatches(columns, state, axis, size):
            total += self._loss(part, own)[1] * (part["action"].shape[axis] / count)
        self.average(total)
        return dict(zip(PARTS, total.tolist(), strict=True))

    def _loss(self, part: Mapping[str, Tensor], state: Any) -> tuple[Tensor, Tensor]:
        """A minibatch's loss, and its `PARTS`."""
        observation = {name.removeprefix(PREFIX): tensor for name, tensor in part.items() if name.startswith(PREFIX)}
        found = self.network.judge(observation, state, part.get("first"))
        distribution = self.network.distribution
        advantage = standardized(part["advantage"]) if self.standardize == "minibatch" else part["advantage"]
        log_prob = distribution.log_prob(found.parameters, part["action"])
        divergence = distribution.divergence(part["parameters"], found.parameters)
        if self.variant == "clip":
            policy = clipped_surrogate(log_prob, part["log_prob"], advantage, self.clip)
        else:
            policy = penalized_surrogate(log_prob, part["log_prob"], advantage, divergence, self.beta, self.kl_cutoff, self.kl_target)
        value = 0.5 * (found.value - part["returns"]).square().mean()
        entropy = distribution.entropy(found.parameters).mean()
        loss = policy + self.value_weight * value - self.entropy_weight * entropy
        return loss, torch.stack([policy.detach(), value.detach(), entropy.detach(), divergence.detach().mean()])

    @torch.no_grad()
    def _step_by_hand(self, by_hand: ActorCriticByHand, optimizer: torch.optim.Optimizer, part: Mapping[str, Tensor]) -> None:
        """The step that `_loss` and autograd make, several times faster for small networks."""
        distribution, acted = self.network.distribution, part["parameters"]
        parameters, values = by_hand.forward(part[f"{PREFIX}state"])
        advantage = standardized(part["advantage"]) if self.standardize == "minibatch" else part["advantage"]
        log_prob, slope = distribution.log_prob_and_slope(parameters, part["action"])
        if self.variant == "clip":
            slope.mul_(clipped_slope(log_prob, part["log_prob"], advantage, self.clip)[:, None])
        else:
            divergence = distribution.divergence(acted, parameters)
            weight, penalty = penalized_slope(log_prob, part["log_prob"], advantage, divergence, self.beta, self.kl_cutoff, self.kl_target)
            slope.mul_(weight[:, None]).add_(distribution.divergence_slope(acted, parameters) * penalty)
        if self.entropy_weight:
            slope.sub_(distribution.entropy_slope(parameters), alpha=self.entropy_weight / len(log_prob))
        by_hand.backward(slope, (values - part["returns"]).mul_(self.value_weight / len(values)))
        self.average(by_hand.gradients.vector)
        if self.max_grad_norm is not None:
            by_hand.gradients.clip(self.max_grad_norm)
        optimizer.step()

    def _publish(self) -> None:
        """The reference policy becomes the learner's; with it the penalty's weight may change."""
        if self.variant == "adaptive_kl":
            mean = float(self.divergences[0] / self.divergences[1])
            self.beta.fill_(adapted_beta(float(self.beta), mean, self.kl_target, self.beta_factor, *self.beta_range))
        self.divergences.zero_()
        self.reference.load_state_dict(self.network.state_dict())

    def _report(self, batch: RolloutBatch, returns: Tensor, version: int) -> None:
        spread = returns.var(unbiased=False)
        found: dict[str, Any] = {
            "train/explained_variance": 1.0 - (returns - batch.value).var(unbiased=False) / spread.clamp_min(1e-8),
            "train/beta": self.beta,
        }
        self.log_dict(found)
        self.report(batch.episodes, batch.timing, float(version - batch.version))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())


def minibatches(columns: Mapping[str, Tensor], state: Any, axis: int, size: int) -> Iterator[tuple[dict[str, Tensor], Any]]:
    """Parts of columns along an axis, in order, with those of a recurrent state `[B, ...]`."""
    count = columns["action"].shape[axis]
    for start in range(0, count, size):
        wide = min(size, count - start)
        part = {name: tensor.narrow(axis, start, wide) for name, tensor in columns.items()}
        yield part, None if state is None else tuple(tensor.narrow(0, start, wide) for tensor in state)
