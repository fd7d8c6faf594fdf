"""Navigation data: scenes, targets, starts, evaluation episodes, and the expert's demonstrations (behaviour
cloning).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.ranks import next_epoch, shard
from visagent.actors.navigation_rollout import Rollout
from visagent.config.navigation_schemas import NavigationDataSettings
from visagent.config.quoting import quoted
from visagent.envs.navigation import SceneTables
from visagent.errors import ConfigError
from visagent.experience.navigation import Aggregate, NavigationBatch, NavigationSamples, minibatch_count, minibatches
from visagent.experts.shortest_path import ShortestPathExpert
from visagent.scenes.dump import Scene, list_dumps, read_dump
from visagent.scenes.make import make_scenes, recipe_for
from visagent.scenes.targets import pick_targets, targets_at_distance
from visagent.seeding import derive_seed, generator

log = logging.getLogger(__name__)
EMBEDDED = "embedded"


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes to evaluate a policy on.

    Attributes:
        name: where the numbers go: `""` for trained targets, else for example `new_targets_4/`.
        starts, targets: `[B]` int64 global states.
        max_steps: cut-off.
        modes: action modes, `sampled` and `argmax`.
        seed: of the sampled actions.
    """

    name: str
    starts: Tensor
    targets: Tensor
    max_steps: int
    modes: tuple[str, ...]
    seed: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> EpisodeBatch:
        """The episodes on another device."""
        return EpisodeBatch(
            self.name, self.starts.to(device), self.targets.to(device), self.max_steps, self.modes, self.seed
        )


class SampleLoader:
    """A sized, repeatable iterable of minibatches: the order depends on (seed, pass) alone, however often it is
    iterated.

    Args:
        samples: what to train on.
        scene_of: scene of each global state.
        batch_size: global.
        passes: numbers of the passes of this epoch; pass p shuffles with a generator of (seed, p).
        phase: numbers of all passes of the training phase, for the batches' `progress`.
        seed: of the order.
        shard: (rank, world size).
    """

    def __init__(
        self,
        samples: NavigationSamples,
        scene_of: Tensor,
        batch_size: int,
        passes: range,
        phase: range,
        seed: int,
        shard: tuple[int, int],
    ) -> None:
        self.samples, self.scene_of, self.batch_size = samples, scene_of, batch_size
        self.passes, self.phase, self.seed, self.shard = passes, phase, seed, shard

    def __len__(self) -> int:
        return len(self.passes) * self._per_pass()

    def _per_pass(self) -> int:
        return minibatch_count(len(self.samples), self.batch_size, 1, self.shard[1])

    def __iter__(self) -> Iterator[NavigationBatch]:
        count = self._per_pass()
        for number in self.passes:
            batches = minibatches(
                len(self.samples), self.batch_size, 1, generator(self.seed, "shuffle", number), *self.shard
            )
            for position, index in enumerate(batches):
                progress = (number - self.phase.start + position / count) / len(self.phase)
                yield self.samples.batch(index, self.scene_of, progress=progress)


class NavigationDataModule(pl.LightningDataModule):
    """Scenes, targets and the expert's demonstrations: all that behaviour cloning needs.

    Args:
        settings: see `visagent.config.navigation_schemas.NavigationDataSettings`.
    """

    def __init__(self, settings: NavigationDataSettings) -> None:
        super().__init__()
        self.settings = settings
        self.data = Aggregate()
        self._tables: SceneTables | None = None

    # Scenes and targets

    @property
    def tables(self) -> SceneTables:
        """The scenes' graphs, distances and features; `setup` must have run."""
        if self._tables is None:
            raise RuntimeError("the DataModule has no scenes yet: call setup() first")
        return self._tables

    def prepare_data(self) -> None:
        """Make the embedded scenes that are missing."""
        if self.settings.scenes != EMBEDDED:
            return
        if not self.settings.scene_names:
            raise ConfigError(
                "zero scenes: with datamodule.scenes=embedded name at least one, for example "
                "datamodule.scene_names=[kitchen_01]"
            )
        extractor, weights = self.settings.extractor, self.settings.extractor_weights
        recipes = [recipe_for(name, extractor=extractor, weights=weights) for name in self.settings.scene_names]
        from rich.progress import track

        making = make_scenes(self._folder(), recipes, self.settings.make_workers or None)
        for recipe, _, new in track(making, "Making scenes", total=len(recipes), transient=True):
            if new:
                log.info("made scene %s", recipe.name)

    def setup(self, stage: str | None = None) -> None:
        """Read the scenes and pick the targets; once."""
        if self._tables is None:
            self._tables = SceneTables(self._read_scenes())
            self.expert = ShortestPathExpert(self._tables)
            self.targets = self._pick_targets()
            if self.settings.disjoint_starts:
                self._test_episodes()  # where there are too few, say so before training

    def _folder(self) -> Path:
        if self.settings.scenes != EMBEDDED:
            return Path(self.settings.scenes)
        extractor, weights = self.settings.extractor, self.settings.extractor_weights
        name = extractor if weights is None else f"{extractor}-{Path(weights).stem}"
        return Path(self.settings.cache) / name

    def _read_scenes(self) -> list[Scene]:
        dumps = list_dumps(self._folder())
        names = tuple(self.settings.scene_names) or tuple(dumps)
        if len(set(names)) != len(names):
            raise ConfigError(f"datamodule.scene_names: expected each scene once, got {list(names)}")
        for name in names:
            if name not in dumps:
                near = difflib.get_close_matches(name, dumps, 1)
                raise ConfigError(
                    f"unknown scene {name!r}: {self._folder()} holds {', '.join(dumps)}"
                    + (
                        f"; did you mean datamodule.scene_names=[{quoted(near[0])}]?"
                        if near
                        else "; choose with datamodule.scene_names=[NAME,...]"
                    )
                )
        return [read_dump(dumps[name], self.settings.recompute_distances) for name in names]

    def _pick_targets(self) -> Tensor:
        unknown = sorted(set(self.settings.targets) - set(self.tables.names))
        if unknown:
            raise ConfigError(
                f"datamodule.targets: unknown scene {unknown[0]!r}: expected some of {', '.join(self.tables.names)}"
            )
        chosen: list[int] = []
        for scene in self.tables.scenes:
            states = self.settings.targets.get(scene.name)
            if states is None:
                states = pick_targets(scene, self.settings.targets_per_scene)
            if not states or len(set(states)) != len(states):
                raise ConfigError(
                    f"datamodule.targets.{scene.name}: expected at least one target and each once, got {list(states)}"
                )
            for state in states:
                target = self.tables.global_state(scene.name, state)
                if not bool((scene.distance[:, state] > 0).any()):
                    raise ConfigError(
                        f"scene {scene.name}: target {state} is unreachable from every other state: choose another "
                        f"with datamodule.targets.{scene.name}=[...]"
                    )
                chosen.append(target)
        if not chosen:
            raise ConfigError("zero targets: set datamodule.targets_per_scene to at least 1")
        return torch.tensor(chosen, dtype=torch.int64)

    # Episodes

    def starts(
        self, targets: Tensor, count: int, *purpose: str | int, avoid: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`count` random starts for each target, any state that can reach it but itself.

        The draw for one target depends on the seed, the purpose, the scene, the target and what is avoided only.

        Args:
            targets: global states.
            count: for each.
            purpose: of the draw.
            avoid: numbers of `_pairs` that are not drawn.

        Returns:
            starts and targets, `[len(targets) * count]`.

        Raises:
            ConfigError: where all states are avoided.
        """
        starts: list[NDArray[np.int64]] = []
        for target in targets.tolist():
            scene = int(self.tables.scene_of[target])
            first = int(self.tables.first[scene])
            able = np.flatnonzero(self.tables.scenes[scene].distance[:, target - first] > 0) + first
            if avoid is not None:
                able = able[~np.isin(self._pairs(torch.from_numpy(able), torch.tensor(target)).numpy(), avoid.numpy())]
            if not len(able):
                raise ConfigError(
                    f"datamodule.disjoint_starts: expected a state of {self.tables.names[scene]} in which no training "
                    f"episode for target {target - first} "
                    "begins, got none; type datamodule.disjoint_starts=false, or fewer datamodule.starts_per_target"
                )
            rng = np.random.default_rng(
                derive_seed(self.settings.seed, *purpose, self.tables.names[scene], target - first)
            )
            starts.append(rng.choice(able, count, replace=count > len(able)))
        return torch.as_tensor(np.concatenate(starts)), targets.repeat_interleave(count)

    def _pairs(self, states: Tensor, targets: Tensor) -> Tensor:
        """Pairs of global states as one number each, int64 on the CPU."""
        return states.long().cpu() * self.tables.count + targets.long().cpu()

    def training_episodes(self, rounds: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Starts and targets of all training episodes of so many rounds."""
        yield self.starts(self.targets, self.settings.starts_per_target, "train")

    def _began(self, rounds: int) -> Tensor:
        """Numbers of the pairs of start and target of `training_episodes`."""
        return torch.cat([self._pairs(*episodes) for episodes in self.training_episodes(rounds)])

    def overlap(self) -> dict[str, float]:
        """Shares of the test starts that training knows with the same target: in which an episode began so far, and
        that were labelled on any path.
        """
        test, samples = self._test_episodes(), self.data.samples
        met = self._pairs(test.starts, test.targets)
        known = {
            "start": self._began(len(self.data.rounds)),
            "state": self._pairs(samples.history[:, -1], samples.target),
        }
        return {f"data/{name}_overlap": float(torch.isin(met, pairs).float().mean()) for name, pairs in known.items()}

    def new_targets(self, distance: int) -> Tensor:
        """Targets `distance` steps from the nearest trained one (Section 4.3), at most so many per scene as
        configured.
        """
        chosen: list[int] = []
        for index, scene in enumerate(self.tables.scenes):
            first = int(self.tables.first[index])
            trained = [int(t) - first for t in self.targets if int(self.tables.scene_of[t]) == index]
            candidates = [
                s for s in targets_at_distance(scene, trained, distance) if bool((scene.distance[:, s] > 0).any())
            ]
            rng = np.random.default_rng(derive_seed(self.settings.seed, "new targets", scene.name, distance))
            size = min(self.settings.new_targets_per_distance, len(candidates))
            chosen += sorted(first + int(s) for s in rng.choice(candidates, size, replace=False)) if size else []
        return torch.tensor(chosen, dtype=torch.int64)

    def _test_episodes(self) -> EpisodeBatch:
        """On the trained targets; where starts are to be disjoint, from those of all rounds of the run."""
        rounds = max(len(self.data.rounds), (self.trainer.max_epochs or 1) if self.trainer else 1)
        return self._episodes(
            "",
            self.targets,
            self.settings.test_starts_per_target,
            self.settings.max_steps,
            "test",
            self._began(rounds) if self.settings.disjoint_starts else None,
        )

    def _episodes(
        self, name: str, targets: Tensor, count: int, max_steps: int, split: str, avoid: Tensor | None = None
    ) -> EpisodeBatch:
        starts, repeated = self.starts(targets, count, split, name, avoid=avoid)
        modes = tuple(self.settings.action_modes)
        return EpisodeBatch(
            name, starts, repeated, max_steps, modes, derive_seed(self.settings.seed, split, name, "actions")
        )

    def val_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """One batch with all validation episodes."""
        starts, max_steps = self.settings.val_starts_per_target, self.settings.max_steps
        return _episode_loader([self._episodes("", self.targets, starts, max_steps, "val")])

    def test_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """Trained targets from another range of starts, then new targets at each distance."""
        batches = [self._test_episodes()]
        for distance in self.settings.new_target_distances:
            targets = self.new_targets(distance)
            if not len(targets):
                log.warning(
                    "no state lies exactly %d steps from the nearest trained target: no new_targets_%d in this run",
                    distance,
                    distance,
                )
            else:
                starts, max_steps = self.settings.new_target_starts, self.settings.new_target_max_steps
                batches.append(self._episodes(f"new_targets_{distance}/", targets, starts, max_steps, "test"))
        return _episode_loader(batches)

    # Training data

    def demonstrations(self) -> NavigationSamples:
        """D_0: the shortest path from every training start (Section 3.1)."""
        starts, targets = self.starts(self.targets, self.settings.starts_per_target, "train")
        states, _, running = self.expert.demonstrate(starts, targets)
        length = running.sum(dim=0)
        path = Rollout(
            states.to(torch.int32),
            targets,
            length,
            torch.ones_like(length, dtype=torch.bool),
            torch.zeros_like(length),
            None,
        )
        observation = path.observations(self.tables)
        label = self.expert.peek(observation.state, observation.target)
        return NavigationSamples.pack(observation, label.action, label.optimal)

    def shard(self) -> tuple[int, int]:
        """(rank, world size); see `datamodules.ranks.shard`."""
        return shard(self.trainer, self.settings.batch_size)

    def train_dataloader(self) -> Any:
        """The passes of the current epoch over the demonstrations."""
        if not self.data.rounds:
            self.data.append(self.demonstrations())
        return self.loader(next_epoch(self.trainer))

    def loader(self, epoch: int) -> SampleLoader:
        """Minibatches of one epoch; the training phase is the whole run."""
        epochs = (
            self.trainer.max_epochs if self.trainer and self.trainer.max_epochs and self.trainer.max_epochs > 0 else 1
        )
        count = self.settings.passes_per_epoch
        passes = range(epoch * count, (epoch + 1) * count)
        return self.sample_loader(passes, range(max(epochs, epoch + 1) * count))

    def sample_loader(self, passes: range, phase: range) -> SampleLoader:
        """Minibatches of all samples so far, for some passes of a training phase."""
        size, seed = self.settings.batch_size, self.settings.seed
        return SampleLoader(self.data.samples, self.tables.scene_of, size, passes, phase, seed, self.shard())

    @property
    def env_steps(self) -> int:
        """Environment steps taken to collect the data."""
        return sum(len(samples) for samples in self.data.rounds) + self.expert.unreachable

    def statistics(self) -> dict[str, float]:
        """What is worth logging about the data, `data/...`; `expert_queries` leaves the demonstrations out, as the
        paper's Table 3 does.
        """
        return {
            "data/samples": float(len(self.data)),
            "data/megabytes": self.data.nbytes / 1e6,
            "data/env_steps": float(self.env_steps),
            "data/demonstration_labels": float(len(self.data.rounds[0])),
            "data/expert_queries": float(self.expert.queries - len(self.data.rounds[0])),
            "data/unreachable": float(self.expert.unreachable),
            **self.overlap(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Data, counters and the fingerprints of the scenes."""
        return {
            "data": self.data.state_dict(),
            "queries": self.expert.queries,
            "unreachable": self.expert.unreachable,
            "scenes": {scene.name: scene.fingerprint() for scene in self.tables.scenes},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue; refuses scenes that are not those the data came from."""
        self.setup()
        now = {scene.name: scene.fingerprint() for scene in self.tables.scenes}
        changed = sorted(
            name for name in {*now, *state_dict["scenes"]} if now.get(name) != state_dict["scenes"].get(name)
        )
        if changed:
            raise ConfigError(
                f"the scenes {', '.join(changed)} in {self._folder()} have changed since this run began: restore "
                "them, or start a new run (name=NEW)"
            )
        self.data.load_state_dict(state_dict["data"])
        self.expert.queries, self.expert.unreachable = state_dict["queries"], state_dict.get("unreachable", 0)


def _episode_loader(batches: list[EpisodeBatch]) -> torch.utils.data.DataLoader[Any]:
    return torch.utils.data.DataLoader(batches, batch_size=None, shuffle=False)  # type: ignore[arg-type]
