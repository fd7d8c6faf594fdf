"""What methods share that learn from acting: a network for the worlds' spaces, time in steps of the worlds, evaluation on episodes."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.making import made
from visagent.actors.evaluation import AT_ONCE
from visagent.envs.spaces import WorldSpaces
from visagent.errors import ConfigError
from visagent.experience.rollouts import Episode
from visagent.seeding import derive_seed

UNKNOWN = -1.0
"""For the success of an episode whose world does not say."""
NetworkFactory = Callable[[WorldSpaces], nn.Module]
OptimizerFactory = Callable[[Sequence[Mapping[str, Any]]], torch.optim.Optimizer]


def in_full_precision(step: Callable[..., None]) -> Callable[..., None]:
    """A step of a module outside the trainer's mixed precision, which would reach into losses and values; the network says what is computed in less."""

    @functools.wraps(step)
    def run(self: pl.LightningModule, *arguments: Any) -> None:
        with torch.autocast(self.device.type, enabled=False):
            step(self, *arguments)

    return run


class ReinforcementModule(pl.LightningModule):
    """The part of a method that does not say how it learns; a subclass writes `training_step` and `configure_optimizers`.

    Args:
        network: makes a policy, with whatever else the method learns, from the worlds' spaces.
        optimizer: makes an optimizer from parameter groups.
        seed: of the weights and of what the method draws.
    """

    env_steps: Tensor
    iterations: Tensor
    network: Any

    def __init__(self, network: NetworkFactory, optimizer: OptimizerFactory, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._make_network, self._make_optimizer, self.seed = network, optimizer, seed
        self.films: dict[str, Any] = {}
        self._since: tuple[float, int, int] | None = None
        self.register_buffer("env_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("iterations", torch.zeros((), dtype=torch.int64))

    def setup(self, stage: str) -> None:
        """Build the network for the DataModule's worlds, once."""
        if not hasattr(self, "network"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(self.seed, "weights"))
                self.network = made(self._make_network, self.data.spaces)
            self._set_precision()
            self.prepare()

    def _set_precision(self) -> None:
        """Have the network compute in the trainer's precision.

        Raises:
            ConfigError: where that does not pay: all networks of reinforcement learning are small, but for convolutions over pictures.
        """
        precision, pictures = self.trainer.precision, getattr(self.network, "stem", None) is not None
        if precision == "bf16-mixed" and pictures:
            self.network.mixed = True
        elif precision != "32-true":
            expected = "32-true or bf16-mixed" if pictures else "32-true, as this network has no convolutions over pictures"
            raise ConfigError(f"trainer.precision: expected {expected}, got {precision}; type trainer.precision=32-true")

    def prepare(self) -> None:
        """What a method builds from its network."""

    def remedies(self) -> list[str]:
        """Overrides, beside a smaller learning rate, that may keep the method from diverging."""
        return []

    @property
    def data(self) -> Any:
        """The DataModule."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def acting_policy(self) -> Any:
        """A copy on the CPU of what actors run."""
        return copy.deepcopy(self.network).cpu().eval()

    def published(self) -> tuple[dict[str, Tensor], int]:
        """The weights for the actors, and their version."""
        return self.network.state_dict(), int(self.iterations)

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer that the config names.

        Raises:
            ConfigError: when it refuses its settings.
        """
        try:
            return self._make_optimizer([{"params": list(parameters)}])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"optimizer: expected settings that it takes, got an error ({error}); --cfg job shows them") from error

    def descend(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Tensor | None,
        parameters: Sequence[nn.Parameter],
        share: float,
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        """One step of an optimizer, with the gradient of all ranks.

        A method takes thousands of small steps in a training step. Lightning's own way costs more than such a step; it is not needed where numbers
        are not scaled (`setup` refuses precision 16-mixed as others).

        Args:
            optimizer: of `parameters`.
            loss: mean over this rank's samples; None where it has none.
            parameters: whose gradients are computed.
            share: of this rank in all samples.
            max_norm: gradients are scaled down to it.
            max_value: each gradient is cut at it.
        """
        optimizer.zero_grad()
        if loss is not None:
            loss.backward(inputs=parameters)
        if self.trainer.world_size > 1:
            joined = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
            self.sum_over_ranks(joined.mul_(share))
            for parameter, part in zip(parameters, joined.split([parameter.numel() for parameter in parameters]), strict=True):
                parameter.grad = part.view_as(parameter)
        if max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)
        if max_value is not None:
            nn.utils.clip_grad_value_(parameters, max_value)
        optimizer.step()

    def sum_over_ranks(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by the sum of all ranks' own; the same tensor."""
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def of_all_ranks(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, of one shape, in their order."""
        if self.trainer.world_size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather(found, tensor.contiguous())
        return found

    def only_for_the_filter(self, version: int) -> bool:
        """Whether a batch serves the z-filter alone: the first policy acted, or one of its kind on another rank, whose filter had seen nothing.

        What is learned of raw observations does not hold for standardised ones: the first values that such a filter gives move a value function by
        more than its own variance.

        Args:
            version: of the policy that acted.
        """
        if self.network.normalizer is None:
            return False
        return bool(self.sum_over_ranks(torch.tensor(float(version == 0), device=self.device)) > 0)

    def report(self, episodes: Sequence[Episode], timing: Mapping[str, float], lag: float) -> None:
        """Log what the actors say of a batch.

        Args:
            episodes: that ended in it.
            timing: seconds of this rank's actors, by what they did.
            lag: versions of the policy since the one that acted.
        """
        found = {**{f"time/actors_{name}": seconds for name, seconds in timing.items()}, **self.data.statistics()}
        ended = (float(len(episodes)), sum(episode.total_reward for episode in episodes), float(sum(episode.steps for episode in episodes)))
        summed = self.sum_over_ranks(torch.tensor([*found.values(), lag, *ended], dtype=torch.float64).to(self.device, torch.get_default_dtype())).tolist()
        self._log_rates()
        *values, lag, count, total_reward, steps = summed
        found = {**dict(zip(found, values, strict=True)), "data/policy_lag": lag / self.trainer.world_size}
        if count:
            found["data/episode_return"], found["data/episode_steps"] = total_reward / count, steps / count
            self.log("data/return", found["data/episode_return"], prog_bar=True, logger=False)
        self.log_dict(found)
        self.log("step", self.env_steps.float())

    @property
    def done(self) -> int:
        """Iterations of the learner, as the method counts them."""
        return int(self.iterations)

    def _log_rates(self) -> None:
        """Steps of the worlds and iterations of the learner in a second, since the first batch of the epoch."""
        now = (time.perf_counter(), int(self.env_steps), self.done)
        if self._since is None:
            self._since = now
            return
        seconds, steps, iterations = (new - old for new, old in zip(now, self._since, strict=True))
        self.log_dict({"time/env_steps_per_second": steps / seconds, "time/iterations_per_second": iterations / seconds})

    def on_train_epoch_start(self) -> None:
        self._since = None

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Any, batch_index: int) -> None:
        self._evaluate(batch, "test")
        policy = copy.deepcopy(self.network).cpu().eval()
        self.films = {f"test_episode_{number}": batch.film(policy, seed) for number, seed in enumerate(batch.seeds[: batch.films])}

    def videos(self) -> dict[str, Any]:
        """Test episodes to be filmed, by name."""
        return self.films

    @in_full_precision
    def _evaluate(self, batch: Any, split: str) -> None:
        policy = copy.deepcopy(self.network).cpu().eval()
        seeds = [batch.seeds[start : start + AT_ONCE] for start in range(0, len(batch.seeds), AT_ONCE)]  # what runs together stays together
        found = torch.zeros(len(seeds), AT_ONCE, 3 + len(batch.extras), device=self.device)
        for group in range(self.global_rank, len(seeds), self.trainer.world_size):
            episodes = batch.run(policy, seeds[group])
            known = [[e.total_reward, e.steps, UNKNOWN if e.success is None else e.success, *(getattr(e, name) for name in batch.extras)] for e in episodes]
            found[group, : len(episodes)] = torch.tensor(known)
        totals, steps, success, *extras = self.sum_over_ranks(found).flatten(0, 1)[: len(batch.seeds)].cpu().unbind(-1)
        self.log(f"{split}/return", totals.mean(), prog_bar=True, batch_size=1)
        self.log_dict({f"{split}/return_std": totals.std(unbiased=False), f"{split}/episode_steps": steps.mean()}, batch_size=1)
        self.log_dict({f"{split}/{name}": values.mean() for name, values in zip(batch.extras, extras, strict=True)}, batch_size=1)
        if batch.solved_return is not None:
            self.log(f"{split}/solved_rate", (totals >= batch.solved_return).float().mean(), batch_size=1)
        if success.min() > UNKNOWN:
            self.log(f"{split}/success_rate", success.mean(), batch_size=1)
        self.log("step", self.env_steps.float(), batch_size=1)
