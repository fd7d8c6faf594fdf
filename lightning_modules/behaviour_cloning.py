"""Behaviour cloning for target-driven navigation (the paper, Section 3.2): classify the expert's action."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.making import make_network, make_optimizer
from lightning_modules.path_examples import PathExample, drawn, examples_of
from lightning_modules.schedules import rate, scale_learning_rates
from visagent.actors.evaluation import PictureFilm, Played
from visagent.actors.navigation_rollout import follow, rollout
from visagent.config.navigation_schemas import BehaviourCloningSettings
from visagent.envs.navigation import NavigationWorld, SceneTables
from visagent.errors import ConfigError
from visagent.experience.navigation import NavigationBatch
from visagent.learning.sources import DemonstrationSource
from visagent.metrics.navigation import NavigationMetrics
from visagent.networks.deploy import Exportable
from visagent.networks.deploy_policies import navigating
from visagent.networks.navigation import NavigationNetwork, NavigationPolicy
from visagent.objectives.imitation import agreement, expert_cross_entropy, optimal_set_loss
from visagent.seeding import derive_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS_PER_SECOND = 2
"""Of films: a step turns by a right angle or goes half a metre."""
GAP = 8
"""Pixels between what an agent saw and its target."""
NetworkFactory = Callable[[SceneTables], NavigationNetwork]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class BehaviourCloning(pl.LightningModule):
    """Supervised learning of the expert's actions, evaluated by rollouts.

    Args:
        settings: of the method.
        network: makes the network from the scenes.
        optimizer: makes the optimizer from the parameters.
    """

    env_steps: Tensor
    samples_seen: Tensor
    clock = "samples_seen"

    def __init__(
        self, settings: BehaviourCloningSettings, network: NetworkFactory, optimizer: OptimizerFactory
    ) -> None:
        super().__init__()
        self.settings: Any = settings
        self._make_network, self._make_optimizer = network, optimizer
        self.register_buffer("env_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))
        self.examples: list[PathExample] = []

    @property
    def data(self) -> DemonstrationSource:
        """The DataModule."""
        return self.trainer.datamodule  # type: ignore[attr-defined, no-any-return]

    def remedies(self) -> list[str]:
        """Overrides, beside a smaller learning rate, that may keep the method from diverging."""
        return ["trainer.gradient_clip_val=1.0"] if self.trainer.gradient_clip_val is None else []

    def setup(self, stage: str) -> None:
        """Build the network for the DataModule's scenes, once."""
        if not hasattr(self, "network"):
            self.tables: SceneTables = self.data.tables
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(self.settings.seed, "weights", 0))
                self.network = make_network(self._make_network, self.tables)
                self.build_heads()
            rooms = sorted(set(self.tables.room_types))
            self.rooms = torch.tensor([rooms.index(kind) for kind in self.tables.room_types])
            self.metrics = nn.ModuleDict({mode: NavigationMetrics(rooms) for mode in ("sampled", "argmax")})

    def build_heads(self) -> None:
        """Further modules of a method; drawn from the same seed as the network."""

    def policy(self) -> NavigationPolicy:
        """The current policy, frozen and made fast."""
        self.network.refresh_table()
        return NavigationPolicy(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["scene_names"] = list(self.tables.names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint["scene_names"] != list(self.tables.names):
            trained, got = ", ".join(checkpoint["scene_names"]), ", ".join(self.tables.names)
            raise ConfigError(
                f"this run was trained on the scenes {trained}, got {got}: its scene layers fit no others; leave "
                "datamodule.scene_names out"
            )

    def on_fit_start(self) -> None:
        self.network.refresh_table()  # a checkpoint may have brought another normaliser

    def on_train_batch_start(self, batch: NavigationBatch, batch_index: int) -> None:
        scale_learning_rates(self.trainer.optimizers[0], rate(self.settings.schedule, batch.progress))

    def training_step(self, batch: NavigationBatch, batch_index: int) -> Tensor | None:
        return self.imitate(batch)

    def imitate(self, batch: NavigationBatch) -> Tensor:
        """The imitation loss of one batch, logged."""
        logits = self.network(batch.observation).logits
        if self.settings.labels == "optimal_set":
            loss = optimal_set_loss(logits, batch.optimal)
        else:
            loss = expert_cross_entropy(logits, batch.action, self.settings.label_smoothing)
        self.samples_seen += len(batch) * self.trainer.world_size
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(batch))
        agreed = agreement(logits.detach(), batch.optimal)
        self.log("train/agreement", agreed, on_step=False, on_epoch=True, batch_size=len(batch))
        self.log_time()
        return loss

    def log_time(self) -> None:
        """The x-axis of every curve: samples presented so far, as env steps stand still while imitation learns."""
        self.log("step", self.samples_seen.float(), on_step=True, on_epoch=False)

    def on_train_epoch_end(self) -> None:
        self.env_steps.fill_(self.data.env_steps)
        self.log_dict(self.data.statistics())
        self.log("step", self.samples_seen.float(), on_step=False, on_epoch=True)

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self.evaluate(batch, "val")

    def test_step(self, batch: Any, batch_index: int) -> None:
        self.evaluate(batch, "test")

    def evaluate(self, batch: Any, split: str) -> None:
        """Run the episodes in each action mode and log `<split>/<set><mode>/<room>/<metric>`."""
        policy = self.policy()
        tables = self.tables.to(self.device)
        for mode in batch.modes:
            world = NavigationWorld(tables, batch.max_steps)
            rng = torch.Generator().manual_seed(batch.seed)
            path = rollout(follow(policy, deterministic=mode == "argmax"), world, batch.starts, batch.targets, rng)
            metric: Any = self.metrics[mode]
            scene = tables.scene_of[path.target]
            metric.reset()
            metric.update(
                self.rooms.to(self.device)[scene],
                path.success,
                tables.distance(path.states[0].long(), path.target),
                path.length,
                path.collisions,
            )
            values: Mapping[str, Tensor] = metric.compute()
            self.log_dict({f"{split}/{batch.name}{mode}/{key}": value for key, value in values.items()}, batch_size=1)
            if not batch.name and mode == batch.modes[0]:
                self.log(f"{split}/success_rate", values["all/success_rate"], prog_bar=True, batch_size=1)
            if split == "test" and not batch.name:
                self.examples += examples_of(path, scene, {example.success for example in self.examples})
        self.log("step", self.samples_seen.float(), batch_size=1)

    def exported(self) -> Exportable:
        """The trained network for other programs, which gives it features in place of states."""
        return navigating(copy.deepcopy(self.network).cpu(), self.tables)

    def play(self, seeds: Sequence[int]) -> Iterator[Played]:
        """Test episodes of the trained policy, each seed's own, as pictures of what it saw, the target beside them."""
        data: Any = self.data
        batch = next(iter(data.test_dataloader()))
        for seed in seeds:
            index = derive_seed(seed, "episode") % len(batch.starts)
            world = NavigationWorld(self.tables.to(self.device), batch.max_steps)
            acting = follow(self.policy(), deterministic=batch.modes[0] == "argmax")
            start, target = batch.starts[index : index + 1], batch.targets[index : index + 1]
            path = rollout(acting, world, start, target, torch.Generator().manual_seed(seed))
            scene = int(self.tables.scene_of[path.target[0]])
            first, length = int(self.tables.first[scene]), int(path.length[0])
            states = [int(state) - first for state in path.states[: length + 1, 0]]
            shown = self.tables.scenes[scene].observation([*states, int(path.target[0]) - first])
            beside = np.broadcast_to(shown[-1:], shown[:-1].shape)
            gap = np.full((len(beside), beside.shape[1], GAP, 3), 255, np.uint8)
            numbers = {
                "steps": float(length),
                "shortest": float(self.tables.distance(path.states[0].long(), path.target)[0]),
                "success": float(path.success[0]),
            }
            yield Played(
                seed, numbers, PictureFilm(np.concatenate([shown[:-1], gap, beside], axis=2), STEPS_PER_SECOND)
            )

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Top views of a success and a failure with the shortest path beside them; after `test`."""
        return drawn(self.examples, self.tables)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        learned = (parameter for parameter in self.parameters() if parameter.requires_grad)
        optimizer: torch.optim.Optimizer = make_optimizer(self._make_optimizer, learned)
        return optimizer
