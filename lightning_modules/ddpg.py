"""Deep deterministic policy gradient (Lillicrap et al. 2016; SURREAL-DDPG, dissertation Sections 2.3.3 and 2.5.2), with TD3's options."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory, ReinforcementModule, in_full_precision
from visagent.errors import ConfigError
from visagent.experience.transitions import TransitionBatch
from visagent.objectives.deterministic_policy_gradient import n_step_target, smoothed
from visagent.seeding import generator


class DDPG(ReinforcementModule):
    """Learns Q by n-step temporal differences and a policy that maximises it, both with target networks.

    Args:
        network: makes policy and critics, a `visagent.networks.deterministic.DeterministicActorCritic`, from the worlds' spaces.
        optimizer: makes the optimizers from parameter groups; its rate is the critics'.
        actor_lr_factor: rate of the policy, as a multiple of the critics'.
        gamma: discount of a step.
        target_every: updates after which the target networks become the learned ones (`tau` 1) or move towards them.
        tau: how far, in (0, 1].
        actor_every: updates of the critics for one of the policy.
        smoothing, smoothing_clip: noise on the target policy's actions; 0 for none.
        actor_clip: gradients of the policy are cut at this value; None for never.
        reward_scale: factor of the rewards that the learner sees.
        seed: of the weights and of the noise.
    """

    updates: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        optimizer: OptimizerFactory,
        actor_lr_factor: float,
        gamma: float,
        target_every: int,
        tau: float,
        actor_every: int,
        smoothing: float,
        smoothing_clip: float,
        actor_clip: float | None,
        reward_scale: float,
        seed: int,
    ) -> None:
        super().__init__(network, optimizer, seed)
        self.actor_lr_factor, self.gamma, self.target_every, self.tau, self.actor_every = actor_lr_factor, gamma, target_every, tau, actor_every
        self.smoothing, self.smoothing_clip, self.actor_clip, self.reward_scale = smoothing, smoothing_clip, actor_clip, reward_scale
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def prepare(self) -> None:
        if not hasattr(self.network, "critics"):
            name = type(self.network).__name__
            raise ConfigError(f"network: DDPG needs a deterministic policy with critics, got {name}; type network=deterministic")
        self.target = copy.deepcopy(self.network).requires_grad_(False)

    def remedies(self) -> list[str]:
        return [f"algorithm.reward_scale={self.reward_scale / 10:g}"]

    @in_full_precision
    def training_step(self, batch: TransitionBatch, batch_index: int) -> None:
        sums: dict[str, Tensor] = {}
        noise = generator(self.seed, "smoothing", int(self.iterations))
        for update in range(len(batch.steps)):
            for name, value in self._update(batch, update, noise).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
            self.updates += 1
            if int(self.updates) % self.target_every == 0:
                self._follow()
        lag = float(int(self.iterations) - batch.version)
        self.env_steps += batch.env_steps * self.trainer.world_size
        self.iterations += 1
        parts = self.sum_over_ranks(torch.stack(list(sums.values()))) * self.share / len(batch.steps) if sums else torch.zeros(0)
        self.log_dict({f"train/{name}": value for name, value in zip(sums, parts, strict=True)})
        self.log("train/updates", self.updates.float())
        self.report(batch.episodes, batch.timing, lag)

    @property
    def done(self) -> int:
        return int(self.updates)

    def _update(self, batch: TransitionBatch, update: int, noise: torch.Generator) -> dict[str, Tensor]:
        observation = {name: part[update] for name, part in batch.observation.items()}
        with torch.no_grad():
            goal = self._goal(batch, update, noise)
        critic, actor = self.pair
        features = self.network.features(observation)
        values = self.network.values(features, batch.action[update])
        critic_loss = (values - goal).square().mean(dim=1).sum()
        self.descend(critic, critic_loss, list(self.network.critic_parameters()), self.share)
        found = {"critic_loss": critic_loss.detach(), "q": values.detach().mean()}
        if int(self.updates) % self.actor_every == 0:
            with torch.no_grad():
                features = self.network.features(observation)
            actor_loss = -self.network.critics[0](features, self.network.actor(features)).mean()
            self.descend(actor, actor_loss, list(self.network.actor.parameters()), self.share, max_value=self.actor_clip)
            found["actor_loss"] = actor_loss.detach() * self.actor_every
        return found

    @property
    def pair(self) -> Any:
        """The optimizers of the critics and of the policy."""
        return self.optimizers(use_pl_optimizer=False)

    @property
    def share(self) -> float:
        """Of this rank in the draws of an update."""
        return 1.0 / self.trainer.world_size

    def _goal(self, batch: TransitionBatch, update: int, noise: torch.Generator) -> Tensor:
        features = self.target.features({name: part[update] for name, part in batch.next_observation.items()})
        action = self.target.actor(features)
        if self.smoothing:
            drawn = torch.randn(self.trainer.world_size, *action.shape, generator=noise)[self.global_rank]
            action = smoothed(action, self.smoothing * drawn.to(action.device), self.smoothing_clip)
        following = self.target.values(features, action).amin(dim=0)
        return n_step_target(batch.rewards[update] * self.reward_scale, batch.steps[update], batch.terminated[update], following, self.gamma)

    @torch.no_grad()
    def _follow(self) -> None:
        """The target networks move towards the learned ones."""
        for kept, learned in zip(self.target.parameters(), self.network.parameters(), strict=True):
            kept.lerp_(learned, self.tau) if self.tau < 1 else kept.copy_(learned)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        critic = self.make_optimizer(self.network.critic_parameters())
        actor = self.make_optimizer(self.network.actor.parameters())
        for group in actor.param_groups:
            group["lr"] = group["lr"] * self.actor_lr_factor
        return [critic, actor]
