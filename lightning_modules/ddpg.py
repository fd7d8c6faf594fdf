"""Deep deterministic policy gradient (Lillicrap et al. 2016; SURREAL-DDPG, dissertation Sections 2.3.3 and 2.5.2), with
TD3's options (Fujimoto et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.off_policy import OffPolicyModule
from visagent.config.reinforcement_schemas import DDPGSettings
from visagent.errors import ConfigError
from visagent.experience.transitions import Transitions
from visagent.learning.descent import Descent
from visagent.learning.published import approach, frozen
from visagent.objectives.deterministic_policy_gradient import n_step_target, smoothed


class DDPG(OffPolicyModule):
    """Learns Q by n-step temporal differences and a policy that maximises it, both with target networks.

    Its network is a `visagent.networks.deterministic.DeterministicActorCritic`.
    """

    settings: DDPGSettings
    purpose = "smoothing"

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

    def update(self, drawn: Transitions, rng: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            target = self.targets(drawn, rng)
        features = self.network.features(drawn.observation)
        values = self.network.values(features, drawn.action)
        critic_loss = (values - target).square().mean(dim=1).sum()
        self.critic_descent.step(critic_loss / self.ranks.count)
        measured = {"critic_loss": critic_loss.detach(), "q": values.detach().mean()}
        if self.is_turn(self.settings.actor_every):
            with torch.no_grad():
                features = self.network.features(drawn.observation)
            actor_loss = -self.network.critics[0](features, self.network.actor(features)).mean()
            self.actor_descent.step(actor_loss / self.ranks.count)
            measured["actor_loss"] = actor_loss.detach() * self.settings.actor_every
        return measured

    def targets(self, drawn: Transitions, rng: torch.Generator) -> Tensor:
        """What the critics learn, `[N]`: rewards of n steps, then the smaller one of the target critics' values."""
        settings = self.settings
        features = self.target.features(drawn.next_observation)
        action = self.target.actor(features)
        if settings.smoothing:
            action = smoothed(action, settings.smoothing * self.normal(rng, action), settings.smoothing_clip)
        following = self.target.values(features, action).amin(dim=0)
        return n_step_target(
            drawn.rewards * settings.reward_scale, drawn.steps, drawn.terminated, following, settings.gamma
        )

    def follow(self) -> None:
        if self.is_turn(self.settings.target_every):
            approach(self.target.parameters(), self.network.parameters(), self.settings.tau)

    def remedies(self) -> list[str]:
        return [f"algorithm.reward_scale={self.settings.reward_scale / 10:g}"]
