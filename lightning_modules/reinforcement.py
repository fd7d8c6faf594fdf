"""What methods share that learn from acting: a network for the worlds' spaces, the loop, time in steps of the
worlds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.actor_report import ActorReport
from lightning_modules.full_precision import in_full_precision
from lightning_modules.making import make_network, make_optimizer
from lightning_modules.schedules import linear, scale_learning_rates
from visagent.config.reinforcement_schemas import LearnerSettings, ScheduledSettings
from visagent.envs.spaces import WorldSpaces
from visagent.errors import ConfigError
from visagent.learning.published import Publications
from visagent.seeding import derive_seed, generator

NetworkFactory = Callable[[WorldSpaces], nn.Module]
OptimizerFactory = Callable[[Sequence[Mapping[str, Any]]], torch.optim.Optimizer]
Metrics = dict[str, Tensor | float]


class ReinforcementModule(ActorReport):
    """The loop of a method that learns from acting; a subclass writes `learn` and `configure_optimizers`.

    Time is `env_steps`, of the worlds of all ranks; `iterations` counts batches.

    Args:
        settings: of the method.
        network: makes a policy, with whatever else the method learns, from the worlds' spaces.
        optimizer: makes an optimizer from parameter groups.
    """

    env_steps: Tensor
    iterations: Tensor
    publications = Publications(every=1)
    former_keys: Mapping[str, str] = {}
    """Names in checkpoints of earlier versions, and those of today."""
    reference: nn.Module | None
    """What actors run, where that is not the policy as it is after every iteration."""

    def __init__(self, settings: LearnerSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings: Any = settings
        self._make_network, self._make_optimizer = network, optimizer
        self.reference = None
        self.register_buffer("env_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("iterations", torch.zeros((), dtype=torch.int64))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give what an earlier version has saved its names of today."""
        state = checkpoint["state_dict"]
        for former, name in self.former_keys.items():
            if former in state:
                state[name] = state.pop(former)

    def setup(self, stage: str) -> None:
        """Build the network for the DataModule's worlds, once."""
        if not hasattr(self, "network"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(self.settings.seed, "weights"))
                self.network = make_network(self._make_network, self.data.spaces)
            self._set_precision()
            self.build()

    def _set_precision(self) -> None:
        """Have the network compute in the trainer's precision.

        Raises:
            ConfigError: where that does not pay: all networks of reinforcement learning are small, but for convolutions
                over pictures.
        """
        precision, pictures = self.trainer.precision, getattr(self.network, "stem", None) is not None
        if precision == "bf16-mixed" and pictures:
            self.network.mixed = True
        elif precision != "32-true":
            expected = (
                "32-true or bf16-mixed" if pictures else "32-true, as this network has no convolutions over pictures"
            )
            raise ConfigError(
                f"trainer.precision: expected {expected}, got {precision}; type trainer.precision=32-true"
            )

    def build(self) -> None:
        """Build what the method needs beside its network."""

    def learn(self, batch: Any) -> Metrics:
        """Learn from a batch; returns what is logged of it."""
        raise NotImplementedError

    def skip(self, batch: Any) -> None:
        """Take note of a batch that serves the z-filter alone."""

    def update_normalizer(self, batch: Any) -> None:
        """Take the batch's observations into the z-filter, where the network has one."""
        if getattr(self.network, "normalizer", None) is not None:
            self.network.normalizer.update(batch.observation["state"], self.ranks)

    def on_publish(self) -> None:
        """What changes with a new version of the policy that actors get."""

    def describe(self, batch: Any) -> Metrics:
        """What is logged of a batch besides what was learned from it."""
        return {}

    def remedies(self) -> list[str]:
        """Overrides, beside a smaller learning rate, that may keep the method from diverging."""
        return []

    @property
    def version(self) -> int:
        """Version of the policy that actors get."""
        return self.publications.version(int(self.iterations))

    def is_current(self, version: int) -> bool:
        """Whether a version of the policy is the one as it is now."""
        return version == self.version and self.publications.is_due(int(self.iterations))

    def acting_policy(self) -> Any:
        """A copy on the CPU of what actors run."""
        return copy.deepcopy(self._actors_policy).cpu().eval()

    def published(self) -> tuple[dict[str, Tensor], int]:
        """The weights for the actors, and their version."""
        return self._actors_policy.state_dict(), self.version

    @property
    def _actors_policy(self) -> nn.Module:
        return self.network if self.reference is None else self.reference

    def publish(self) -> None:
        """Give actors the policy as it is now, where that is due."""
        if self.publications.is_due(int(self.iterations)):
            self.on_publish()
            if self.reference is not None:
                self.reference.load_state_dict(self.network.state_dict())

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers of this iteration, on the CPU, the same on every rank."""
        return generator(self.settings.seed, purpose, int(self.iterations))

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer that the config names.

        Raises:
            ConfigError: when it refuses its settings.
        """
        optimizer: torch.optim.Optimizer = make_optimizer(self._make_optimizer, [{"params": list(parameters)}])
        return optimizer

    def own_optimizers(self) -> list[torch.optim.Optimizer]:
        """PyTorch's optimizers, without Lightning's wrappers, which cost more than a small network's step."""
        optimizers = self.optimizers(use_pl_optimizer=False)
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def only_for_the_filter(self, version: int) -> bool:
        """Whether a batch serves the z-filter alone: the first policy acted, or one of its kind on another rank, whose
        filter had seen nothing.

        What is learned of raw observations does not hold for standardised ones: the first values that such a filter
        gives move a value function by more than its own variance.

        Args:
            version: of the policy that acted.
        """
        return getattr(self.network, "normalizer", None) is not None and self.ranks.total(version == 0, self.device) > 0

    @in_full_precision
    def training_step(self, batch: Any, batch_index: int) -> None:
        lag, metrics = float(self.version - batch.version), Metrics()
        self._follow_schedule()
        if self.only_for_the_filter(batch.version):
            self.skip(batch)
        else:
            metrics = self.learn(batch)
        self.env_steps += int(self.ranks.total(batch.env_steps, self.device))
        self.iterations += 1
        self.update_normalizer(batch)
        self.publish()
        self.log_dict(metrics | self.describe(batch))
        self.report(batch.episodes, batch.timing, lag)

    def _follow_schedule(self) -> None:
        settings = self.settings
        if isinstance(settings, ScheduledSettings) and settings.schedule == "linear":
            progress = int(self.iterations) / (self.data.iterations_per_epoch * (self.trainer.max_epochs or 1))
            for optimizer in self.own_optimizers():
                scale_learning_rates(optimizer, linear(progress, settings.final_rate))
