"""Deep deterministic policy gradient (Lillicrap et al. 2016; SURREAL-DDPG, dissertation Sections 2.3.3 and 2.5.2), with
TD3's options (Fujimoto et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.reinforcement import Metrics, NetworkFactory, OptimizerFactory, ReinforcementModule
from visagent.config.reinforcement_schemas import DDPGSettings
from visagent.errors import ConfigError
from visagent.experience.transitions import TransitionBatch, Transitions
from visagent.learning.descent import Descent
from visagent.learning.published import frozen
from visagent.objectives.deterministic_policy_gradient import n_step_target, smoothed


class DDPG(ReinforcementModule):
    """Learns Q by n-step temporal differences and a policy that maximises it, both with target networks.

    Its network is a `visagent.networks.deterministic.DeterministicActorCritic`.
    """

    settings: DDPGSettings
    updates: Tensor

    def __init__(self, settings: DDPGSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__(settings, network, optimizer)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def build(self) -> None:
        if not hasattr(self.network, "critics"):
            name = type(self.network).__name__
            raise ConfigError(
                f"network: DDPG needs a deterministic policy with critics, got {name}; type network=deterministic"
            )
        self.target = frozen(self.network)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        critic = self.make_optimizer(self.network.critic_parameters())
        actor = self.make_optimizer(self.network.actor.parameters())
        for group in actor.param_groups:
            group["lr"] = group["lr"] * self.settings.actor_lr_factor
        return [critic, actor]

    def on_fit_start(self) -> None:
        critic, actor = self.own_optimizers()
        self.critic_descent = Descent(critic, self.network.critic_parameters(), self.ranks)
        self.actor_descent = Descent(
            actor, self.network.actor.parameters(), self.ranks, max_value=self.settings.actor_clip
        )

    def learn(self, batch: TransitionBatch) -> Metrics:
        sums: dict[str, Tensor] = {}
        noise = self.generator("smoothing")
        for drawn in batch.updates():
            for name, value in self.update(drawn, noise).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
            self.updates += 1
            if int(self.updates) % self.settings.target_every == 0:
                self.follow()
        if not sums:
            return {"train/updates": self.updates.float()}
        means = self.ranks.sum(torch.stack(list(sums.values()))) / (self.ranks.count * len(batch.steps))
        return {f"train/{name}": mean for name, mean in zip(sums, means, strict=True)} | {
            "train/updates": self.updates.float()
        }

    def update(self, drawn: Transitions, noise: torch.Generator) -> dict[str, Tensor]:
        """One update of the critics and, where it is its turn, of the policy; this rank's parts of what is measured."""
        with torch.no_grad():
            target = self.targets(drawn, noise)
        features = self.network.features(drawn.observation)
        values = self.network.values(features, drawn.action)
        critic_loss = (values - target).square().mean(dim=1).sum()
        self.critic_descent.step(critic_loss / self.ranks.count)
        measured = {"critic_loss": critic_loss.detach(), "q": values.detach().mean()}
        if int(self.updates) % self.settings.actor_every == 0:
            with torch.no_grad():
                features = self.network.features(drawn.observation)
            actor_loss = -self.network.critics[0](features, self.network.actor(features)).mean()
            self.actor_descent.step(actor_loss / self.ranks.count)
            measured["actor_loss"] = actor_loss.detach() * self.settings.actor_every
        return measured

    def targets(self, drawn: Transitions, noise: torch.Generator) -> Tensor:
        """What the critics learn, `[N]`: rewards of n steps, then the smaller one of the target critics' values."""
        settings = self.settings
        features = self.target.features(drawn.next_observation)
        action = self.target.actor(features)
        if settings.smoothing:
            everyones = torch.randn(self.ranks.count, *action.shape, generator=noise)
            action = smoothed(
                action, settings.smoothing * everyones[self.ranks.rank].to(action.device), settings.smoothing_clip
            )
        following = self.target.values(features, action).amin(dim=0)
        return n_step_target(
            drawn.rewards * settings.reward_scale, drawn.steps, drawn.terminated, following, settings.gamma
        )

    @torch.no_grad()
    def follow(self) -> None:
        """The target networks move towards the learned ones."""
        tau = self.settings.tau
        for kept, learned in zip(self.target.parameters(), self.network.parameters(), strict=True):
            kept.lerp_(learned, tau) if tau < 1 else kept.copy_(learned)

    @property
    def done(self) -> int:
        return int(self.updates)

    def remedies(self) -> list[str]:
        return [f"algorithm.reward_scale={self.settings.reward_scale / 10:g}"]
