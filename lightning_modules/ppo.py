"""Proximal policy optimisation (Schulman et al. 2017; SURREAL-PPO, dissertation Section 2.3.2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory, ReinforcementModule
from lightning_modules.schedules import scale_learning_rates
from visagent.errors import ConfigError
from visagent.experience.rollouts import RolloutBatch
from visagent.networks.actor_critic import ActorCritic
from visagent.objectives.policy_gradient import adapted_beta, clipped_surrogate, generalized_advantages, penalized_surrogate, standardized
from visagent.seeding import generator


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
        columns |= {f"observation.{name}": part for name, part in batch.observation.items()}
        if recurrent:
            columns["first"] = batch.first
            count, size, axis = batch.reward.shape[1], max(1, self.minibatch_size // len(batch.reward)), 1
        else:
            columns = {name: tensor.flatten(0, 1) for name, tensor in columns.items()}
            count, size, axis = batch.env_steps, self.minibatch_size, 0
        rng = generator(self.seed, "order", int(self.iterations), self.global_rank)
        optimizer: Any = self.optimizers()
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        sums: dict[str, Tensor] = {}
        steps = 0
        for _ in range(self.epochs):
            moved = torch.zeros((), device=self.device)
            chunks = torch.randperm(count, generator=rng).to(self.device).split(size)
            for index in chunks:
                part = {name: tensor.index_select(axis, index) for name, tensor in columns.items()}
                state = tuple(tensor[index] for tensor in batch.state) if recurrent and batch.state is not None else None
                loss, found = self._loss(part, state)
                optimizer.zero_grad()
                self.manual_backward(loss)
                if self.max_grad_norm is not None:
                    nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
                optimizer.step()
                moved += found["kl"]
                steps += 1
                for name, value in found.items():
                    sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
            divergence = float(moved) / len(chunks)
            if self.kl_stop is not None and divergence > self.kl_stop * self.kl_target:
                break
        self.divergences += torch.tensor([divergence, 1.0], device=self.device)
        self.log_dict({f"train/{name}": value / steps for name, value in sums.items()})
        self.log("train/optimizer_steps", float(steps))

    def _loss(self, part: Mapping[str, Tensor], state: Any) -> tuple[Tensor, dict[str, Tensor]]:
        prefix = "observation."
        observation = {name.removeprefix(prefix): tensor for name, tensor in part.items() if name.startswith(prefix)}
        found = self.network(observation, state, part.get("first"))
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
        return loss, {"policy_loss": policy.detach(), "value_loss": value.detach(), "entropy": entropy.detach(), "kl": divergence.detach().mean()}

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
