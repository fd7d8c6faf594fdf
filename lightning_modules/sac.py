"""Soft actor-critic (Haarnoja et al. 2018; dissertation Section 5.4), with pictures as in DrQ (Kostrikov et al.
2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from lightning_modules.off_policy import OffPolicyModule
from visagent.augment.pools import AugmentationPool
from visagent.config.secant_schemas import SACSettings
from visagent.envs.spaces import WorldSpaces
from visagent.errors import ConfigError
from visagent.experience.transitions import Transitions
from visagent.learning.descent import Descent
from visagent.learning.published import approach, frozen
from visagent.networks.soft_actor_critic import Observation, SoftActorCritic, squashed_sample
from visagent.objectives.soft_actor_critic import policy_loss, soft_target, temperature_loss


def augmentation_of(settings: SACSettings, spaces: WorldSpaces) -> AugmentationPool | None:
    """How pictures are augmented before they are learned from; None for not at all.

    Raises:
        ConfigError: where there are no pictures, or views would all be the same.
    """
    if settings.augmentation == "none":
        for key, views in (("views", settings.views), ("target_views", settings.target_views)):
            if views != 1:
                raise ConfigError(
                    f"algorithm.{key}: expected 1 where nothing is augmented, all views being the same, got {views}; "
                    f"type algorithm.{key}=1 or algorithm.augmentation=crop"
                )
        return None
    if "pixels" not in spaces.observation:
        raise ConfigError(
            f"algorithm.augmentation={settings.augmentation}: expected worlds that show pictures, got "
            f"{' and '.join(spaces.observation)}; type algorithm.augmentation=none, or datamodule.env.observe=pixels"
        )
    side = spaces.observation["pixels"][-1]
    return AugmentationPool(settings.augmentation, side, settings.seed, settings.distractor_speed, settings.distractors)


class SAC(OffPolicyModule):
    """Learns Q of a policy that is rewarded for its entropy, the policy, and the weight of the entropy.

    Its network is a `visagent.networks.soft_actor_critic.SoftActorCritic`.
    """

    settings: SACSettings
    network: SoftActorCritic

    def build(self) -> None:
        settings = self.settings
        self.pool = augmentation_of(settings, self.data.spaces)
        self.target = frozen(self.network)
        del self.target.actor  # the policy has no target
        self.log_temperature = nn.Parameter(torch.tensor(math.log(settings.temperature)))
        self.target_entropy = -settings.target_entropy * self.data.spaces.action.size

    @property
    def temperature(self) -> Tensor:
        """The weight of the entropy (alpha)."""
        return self.log_temperature.exp()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        settings = self.settings
        return [
            self.make_optimizer(self.network.critic_parameters()),
            self._slower(self.network.actor.parameters(), settings.actor_lr_factor),
            self._slower([self.log_temperature], settings.temperature_lr_factor),
        ]

    def _slower(self, parameters: Iterable[nn.Parameter], factor: float) -> torch.optim.Optimizer:
        optimizer = self.make_optimizer(parameters)
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        return optimizer

    def on_fit_start(self) -> None:
        self.make_descents(self.own_optimizers())

    def make_descents(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """What steps down each loss, of `configure_optimizers`' optimizers."""
        critic, actor, temperature = optimizers
        self.critic_descent = Descent(critic, self.network.critic_parameters(), self.ranks)
        self.actor_descent = Descent(actor, self.network.actor.parameters(), self.ranks)
        self.temperature_descent = Descent(temperature, [self.log_temperature], self.ranks)

    def update(self, drawn: Transitions, rng: torch.Generator) -> dict[str, Tensor]:
        settings = self.settings
        with torch.no_grad():
            nexts = self.views(drawn.next_observation, settings.target_views, rng)
            target = torch.stack([self.targets(drawn, view, rng) for view in nexts]).mean(dim=0)
        network, views = self.network, self.views(drawn.observation, settings.views, rng)
        features = [network.features(view) for view in views]
        values = [network.critic(each, network.state(drawn.observation), drawn.action) for each in features]
        critic_loss = (torch.stack(values) - target).square().mean(dim=(0, 2)).sum()  # of [M, 2, N]
        further = self.further_loss(features, drawn)
        self.critic_descent.step((critic_loss + further) / self.ranks.count)
        measured = {"critic_loss": critic_loss.detach(), "q": torch.stack(values).detach().mean()}
        if self.is_turn(settings.actor_every):
            turn = self.improve(views[0], rng)
            measured |= {name: value * settings.actor_every for name, value in turn.items()}
        return measured

    def further_loss(self, features: list[Tensor | None], drawn: Transitions) -> Tensor | float:
        """What else the critics' step descends.

        Args:
            features: of each view, `[N, F]`.
            drawn: N draws.
        """
        return 0.0

    def views(self, observation: Observation, count: int, rng: torch.Generator) -> list[Observation]:
        """The same observations `[N, ...]`, augmented anew for each view (DrQ)."""
        if self.pool is None:
            return [observation] * count
        pixels = observation["pixels"]
        return [{**observation, "pixels": self.pool(pixels, rng)} for _ in range(count)]

    def targets(self, drawn: Transitions, observation: Observation, rng: torch.Generator) -> Tensor:
        """What the critics learn, `[N]`, by a view of the next observation."""
        settings, network = self.settings, self.network
        mean, log_std = network.actor(network.features(observation), network.state(observation))
        action, log_prob = squashed_sample(mean, log_std, self.normal(rng, mean))
        following = self.target.values(observation, action).amin(dim=0)
        rewards = drawn.rewards * settings.reward_scale
        return soft_target(
            rewards, drawn.steps, drawn.terminated, following, log_prob, self.temperature, settings.gamma
        )

    def improve(self, observation: Observation, rng: torch.Generator) -> dict[str, Tensor]:
        """One update of the policy and of its temperature; the convolutions are the critics' alone."""
        network = self.network
        with torch.no_grad():
            features = network.features(observation)
        state = network.state(observation)
        mean, log_std = network.actor(features, state)
        action, log_prob = squashed_sample(mean, log_std, self.normal(rng, mean))
        values = network.critic(features, state, action).amin(dim=0)
        actor_loss = policy_loss(log_prob, values, self.temperature)
        self.actor_descent.step(actor_loss / self.ranks.count)
        loss = temperature_loss(self.temperature, log_prob, self.target_entropy)
        self.temperature_descent.step(loss / self.ranks.count)
        return {
            "actor_loss": actor_loss.detach(),
            "entropy": -log_prob.detach().mean(),
            "temperature": self.temperature.detach(),
        }

    def follow(self) -> None:
        if self.is_turn(self.settings.target_every):
            approach(self.target.critic_parameters(), self.network.critic_parameters(), self.settings.tau)

    def remedies(self) -> list[str]:
        return [f"algorithm.reward_scale={self.settings.reward_scale / 10:g}"]
