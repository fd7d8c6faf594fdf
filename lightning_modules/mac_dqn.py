"""Mac-Cen-DDRQN (Xiao et al. 2019): double Q-learning over joint options, the value-based rival of option-MAPPO."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.option_learner import OptionLearner
from lightning_modules.reinforcement import Metrics, NetworkFactory, OptimizerFactory
from visagent.config.option_schemas import MacDQNSettings
from visagent.experience.option_episodes import EpisodeBatch, EpisodeSamples
from visagent.learning.descent import Descent
from visagent.learning.published import frozen
from visagent.learning.sources import EpisodeSource
from visagent.networks.conditional import joint_slice
from visagent.networks.option_q import OptionQNetwork, q_of


class MacDQN(OptionLearner):
    """Learns Q of joint options from whole episodes, bootstrapping from the best joint option that agrees with those
    that run then.

    Its network is a `visagent.networks.option_q.OptionQNetwork`.
    """

    settings: MacDQNSettings
    copied: Tensor

    @property
    def data(self) -> EpisodeSource:
        """The DataModule."""
        return self.trainer.datamodule  # type: ignore[attr-defined, no-any-return]

    def __init__(self, settings: MacDQNSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__(settings, network, optimizer)
        # low-level steps when the target was copied last
        self.register_buffer("copied", torch.zeros((), dtype=torch.int64))

    def build(self) -> None:
        self.expect(OptionQNetwork, whole_episodes=True, remedy="network=option_q datamodule=option_replay")
        self.target = frozen(self.network)
        self.network.epsilon.fill_(self.settings.epsilon)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())

    def on_fit_start(self) -> None:
        self.descent = Descent(
            self.own_optimizers()[0], self.network.parameters(), max_norm=self.settings.max_grad_norm
        )

    def learn(self, batch: EpisodeBatch) -> Metrics:
        losses = []
        for drawn in batch.updates():
            loss, q = self.loss(drawn)
            self.descent.step(loss)
            losses.append(torch.stack([loss.detach(), q]))
        if not losses:
            return {}
        loss, q = torch.stack(losses).mean(dim=0)
        return {"train/critic_loss": loss, "train/q": q}

    def loss(self, drawn: EpisodeSamples) -> tuple[Tensor, Tensor]:
        """The mean squared difference to the target, and the mean Q of what was chosen, of an update's episodes `[L, B,
        ...]`.
        """
        settings, sizes = self.settings, self.network.sizes
        q, _ = self.network(drawn.observation)
        chosen = q_of(q, drawn.options, sizes)
        with torch.no_grad():
            later, _ = self.target(drawn.observation)
            # At the next decision the others go on with the options of this one.
            running = drawn.options.roll(1, dims=0).flatten(0, 1)
            allowed = joint_slice(running, drawn.choosing.flatten(0, 1), drawn.available.flatten(0, 1), sizes).view(
                q.shape
            )
            best = q.masked_fill(~allowed, -torch.inf).argmax(dim=-1, keepdim=True)
            following = later.gather(-1, best)[..., 0].roll(-1, dims=0)
            discount = settings.gamma ** drawn.duration.to(q.dtype)
            target = settings.reward_scale * drawn.reward + discount * following.masked_fill(drawn.terminated, 0.0)
        weight = drawn.valid.to(q.dtype)
        loss = ((chosen - target).square() * weight).sum() / weight.sum().clamp_min(1.0)
        return loss, (chosen.detach() * weight).sum() / weight.sum().clamp_min(1.0)

    def on_publish(self) -> None:
        """The target follows, and exploration goes down, as steps of the worlds pass."""
        settings = self.settings
        if int(self.env_steps - self.copied) >= settings.target_every:
            self.target.load_state_dict(self.network.state_dict())
            self.copied.copy_(self.env_steps)
        progress = min(1.0, float(self.env_steps) / settings.exploring_steps)
        self.network.epsilon.fill_(settings.epsilon + (settings.final_epsilon - settings.epsilon) * progress)

    def describe(self, batch: EpisodeBatch) -> Metrics:
        return {"train/epsilon": self.network.epsilon, "train/kept_episodes": float(len(self.data.buffer))}

    def remedies(self) -> list[str]:
        clip = ["algorithm.max_grad_norm=1.0"] if self.settings.max_grad_norm is None else []
        return [f"algorithm.reward_scale={self.settings.reward_scale / 10:g}", *clip]
