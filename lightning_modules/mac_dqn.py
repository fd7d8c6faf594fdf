"""Mac-Cen-DDRQN (Xiao et al. 2019): double Q-learning over joint options, the value-based rival of option-MAPPO."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from lightning_modules.option_learner import OptionLearner
from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory
from visagent.errors import ConfigError
from visagent.experience.option_episodes import EpisodeBatch
from visagent.networks.conditional import joint_slice
from visagent.networks.option_q import OptionQNetwork, q_of


class MacDQN(OptionLearner):
    """Learns Q of joint options from whole episodes, bootstrapping from the best joint option that agrees with those that run then.

    Args:
        network: makes the values, a `visagent.networks.option_q.OptionQNetwork`, from the worlds' spaces.
        optimizer: makes the optimizer from parameter groups.
        gamma: discount of a low-level step.
        target_every: low-level steps after which the target network becomes the learned one.
        epsilon: probability that an agent that chooses takes any option, in the beginning.
        final_epsilon: the same in the end.
        exploring_steps: low-level steps over which the one becomes the other.
        max_grad_norm: gradients are scaled down to it; None for never.
        reward_scale: factor of the rewards that the learner sees.
        seed: of the weights.
    """

    copied: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        optimizer: OptimizerFactory,
        gamma: float,
        target_every: int,
        epsilon: float,
        final_epsilon: float,
        exploring_steps: int,
        max_grad_norm: float | None,
        reward_scale: float,
        seed: int,
    ) -> None:
        super().__init__(network, optimizer, seed)
        self.gamma, self.target_every, self.max_grad_norm, self.reward_scale = gamma, target_every, max_grad_norm, reward_scale
        self.epsilon, self.final_epsilon, self.exploring_steps = epsilon, final_epsilon, exploring_steps
        self.register_buffer("copied", torch.zeros((), dtype=torch.int64))  # low-level steps when the target was copied last

    def prepare(self) -> None:
        if not isinstance(self.network, OptionQNetwork):
            got = type(self.network).__name__
            raise ConfigError(f"network: algorithm=mac_dqn expects values of joint options, got {got}; type network=option_q datamodule=option_replay")
        if not hasattr(self.data, "buffer"):
            raise ConfigError("datamodule: algorithm=mac_dqn expects whole episodes, got single batches; type datamodule=option_replay")
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.network.epsilon.fill_(self.epsilon)

    def remedies(self) -> list[str]:
        return [f"algorithm.reward_scale={self.reward_scale / 10:g}"] + (["algorithm.max_grad_norm=1.0"] if self.max_grad_norm is None else [])

    def training_step(self, batch: EpisodeBatch, batch_index: int) -> None:
        version, optimizer = int(self.iterations), self.optimizers().optimizer  # type: ignore[union-attr]
        losses, parameters = [], list(self.network.parameters())
        for update in range(len(batch.valid)):
            columns = {name: part[update] for name, part in batch.columns.items()}
            loss, q = self._loss(columns, batch.valid[update], batch.terminated[update])
            self.descend(optimizer, loss, parameters, 1.0, self.max_grad_norm)
            losses.append(torch.stack([loss.detach(), q]))
        self.env_steps += batch.env_steps
        self.iterations += 1
        if int(self.env_steps - self.copied) >= self.target_every:
            self.target.load_state_dict(self.network.state_dict())
            self.copied.copy_(self.env_steps)
        progress = min(1.0, float(self.env_steps) / self.exploring_steps)
        self.network.epsilon.fill_(self.epsilon + (self.final_epsilon - self.epsilon) * progress)
        if losses:
            loss, q = torch.stack(losses).mean(dim=0)
            self.log_dict({"train/critic_loss": loss, "train/q": q})
        self.log_dict({"train/epsilon": self.network.epsilon, "train/kept_episodes": float(len(self.data.buffer))})
        self.report(batch.episodes, batch.timing, float(version - batch.version))

    def _loss(self, columns: dict[str, Tensor], valid: Tensor, terminated: Tensor) -> tuple[Tensor, Tensor]:
        """Squared differences of an update's episodes `[L, B, ...]`, and the mean Q of what was chosen."""
        sizes = self.network.sizes
        q, _ = self.network(columns["observation"])
        chosen = q_of(q, columns["options"], sizes)
        with torch.no_grad():
            later, _ = self.target(columns["observation"])
            # At the next decision the others go on with the options of this one.
            running = columns["options"].roll(1, dims=0).flatten(0, 1)
            choosing, available = (columns[name].flatten(0, 1) for name in ("choosing", "available"))
            allowed = joint_slice(running, choosing, available, sizes).view(q.shape)
            best = q.masked_fill(~allowed, -torch.inf).argmax(dim=-1, keepdim=True)
            following = later.gather(-1, best)[..., 0].roll(-1, dims=0)
            discount = self.gamma ** columns["duration"].to(q.dtype)
            target = self.reward_scale * columns["reward"] + discount * following.masked_fill(terminated, 0.0)
        weight = valid.to(q.dtype)
        loss = ((chosen - target).square() * weight).sum() / weight.sum().clamp_min(1.0)
        return loss, (chosen.detach() * weight).sum() / weight.sum().clamp_min(1.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())
