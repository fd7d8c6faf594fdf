"""A search: a ledger of the runs that it asked for, and a study that is built anew from their records whenever the next
ones are chosen.

So a search that is killed goes on, on whatever launcher, and no run is made twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from visagent.config.signature import changes_identity
from visagent.errors import ConfigError
from visagent.runtime.objective import objective_of
from visagent.runtime.record import Record, write_atomically
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.stopping import PRUNED
from visagent.search.space import Space

log = logging.getLogger(__name__)
SAMPLERS = ("tpe", "random", "grid")
ATTEMPTS = 50
"""At a point that is not in the ledger yet."""


@dataclass(frozen=True)
class SearchSettings:
    """How to search; `hydra.sweeper` holds these settings.

    Attributes:
        sampler: `tpe` (Bergstra et al. 2011), `random` or `grid`.
        trials: runs in all, those that are there already among them; of a grid, at most.
        at_once: runs that are chosen and launched together.
        direction: `maximize` or `minimize`.
        seed: of what is drawn.
        startup: runs that are drawn at random before `tpe` chooses, and that no run is pruned before.
        prune: `none`, or `median`: a run ends early whose objective is worse than the median of the others' at the
            same epoch.
        warmup: epochs that every run has.
    """

    sampler: str
    trials: int
    at_once: int
    direction: str
    seed: int
    startup: int
    prune: str
    warmup: int

    def __post_init__(self) -> None:
        for name, among in (
            ("sampler", SAMPLERS),
            ("direction", ("maximize", "minimize")),
            ("prune", ("none", "median")),
        ):
            if getattr(self, name) not in among:
                raise ConfigError(
                    f"hydra.sweeper.{name}: expected {', '.join(among[:-1])} or {among[-1]}, got {getattr(self, name)}"
                )
        for name, least in (("trials", 1), ("at_once", 1), ("startup", 0), ("warmup", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"hydra.sweeper.{name}: expected at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Trial:
    """A run that was asked for.

    Attributes:
        number: from 0 on.
        params: of the space.
        overrides: of `visagent-train`.
        signature: of the run.
        record: what is there of it; None before it began.
        value: of the objective, where it is finished, or of the epoch at which it was pruned.
    """

    number: int
    params: dict[str, Any]
    overrides: tuple[str, ...]
    signature: str
    record: Record | None = None
    value: float | None = None

    @property
    def state(self) -> str:
        """`finished`, `pruned`, `failed`, or `open`: begun or not, it is still to be finished."""
        if self.record is None:
            return "open"
        if self.record.status == "FINISHED":
            return "finished"
        if self.record.status == "FAILED":
            return "failed"
        return "pruned" if (self.record.error or "").startswith(PRUNED) else "open"


class Search:
    """What is asked for next, from what is known.

    Args:
        settings: see `SearchSettings`.
        space: what is chosen from.
        fixed: the other overrides, of all runs.
        objective: the metric.
        compose: the resolved config and signature of a run, from its overrides.
        outputs: where runs and searches lie.
    """

    def __init__(
        self,
        settings: SearchSettings,
        space: Space,
        fixed: Sequence[str],
        objective: str,
        compose: Callable[[Sequence[str]], tuple[dict[str, Any], str]],
        outputs: Path,
    ) -> None:
        self.settings, self.space, self.fixed, self.objective = settings, space, list(fixed), objective
        self.compose, self.outputs = compose, outputs
        told = sorted(override for override in fixed if changes_identity(override))
        said = [*told, repr(sorted(space.dimensions.items(), key=str)), objective, settings.direction]
        self.folder = outputs / "searches" / f"s{hashlib.sha256(repr(said).encode()).hexdigest()[:9]}"
        self.ledger = self.folder / "trials.jsonl"
        self._finished: dict[str, Trial] = {}
        self._refused: dict[tuple[str, ...], ConfigError] = {}

    def known(self) -> list[Trial]:
        """All that was asked for so far, with what came of it."""
        if not self.ledger.is_file():
            return []
        trials: list[Trial] = []
        for line in self.ledger.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # cut off in the middle: it was not launched yet
                continue
            trial = Trial(len(trials), entry["params"], tuple(entry["overrides"]), entry["signature"])
            trials.append(self._with_record(trial))
        return trials

    def _with_record(self, trial: Trial) -> Trial:
        if trial.signature in self._finished:
            return self._finished[trial.signature]
        folder = RunFolder(self.outputs / "runs" / trial.signature)
        record = folder.load()
        if record is None:
            return trial
        ended = replace(trial, record=record)
        value = None
        if ended.state == "finished":
            config, _ = self.compose(trial.overrides)
            value = objective_of(record, {**config, "objective": self.objective})
        elif ended.state == "pruned":
            value = next(
                (epoch[self.objective] for epoch in reversed(record.history.values()) if self.objective in epoch), None
            )
        ended = replace(ended, value=value)
        if ended.state == "finished":
            self._finished[trial.signature] = ended
        return ended

    def next(self) -> list[Trial]:
        """The runs to launch now: those that were begun and are not finished, then new ones; none at the end."""
        while True:
            known = self.known()
            waiting = [trial for trial in known if trial.state == "open"][: self.settings.at_once]
            if waiting:
                return waiting
            fresh = self._fresh(known)
            if not fresh:
                return []
            self._note(fresh)  # those that were trained before, whoever asked for them, are known at once

    def _fresh(self, known: Sequence[Trial]) -> list[Trial]:
        fresh: list[Trial] = []
        seen = {trial.signature for trial in known}
        for params in self._proposed(known):
            if len(known) + len(fresh) >= self.settings.trials or len(fresh) == self.settings.at_once:
                break
            overrides = (*self.fixed, *self.space.overrides(params))
            name = self._signature(overrides)
            if name is not None and name not in seen:
                seen.add(name)
                fresh.append(Trial(len(known) + len(fresh), params, overrides, name))
        if self._refused and not known and not fresh:
            raise next(iter(self._refused.values()))
        return fresh

    def _signature(self, overrides: tuple[str, ...]) -> str | None:
        """The signature of a run; None, with a warning, for a point of the space that is refused, as some of a product
        may be.
        """
        if overrides in self._refused:
            return None
        try:
            return self.compose(overrides)[1]
        except ConfigError as error:
            self._refused[overrides] = error
            log.warning("left out: %s: %s", shlex.join(overrides[len(self.fixed) :]), error)
            return None

    def _note(self, trials: Sequence[Trial]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        cut_off = self.ledger.is_file() and not self.ledger.read_text().endswith("\n")
        with self.ledger.open("a") as file:
            file.write("\n" if cut_off else "")
            for trial in trials:
                entry = {"params": trial.params, "overrides": list(trial.overrides), "signature": trial.signature}
                file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _proposed(self, known: Sequence[Trial]) -> Iterator[dict[str, Any]]:
        if self.settings.sampler == "grid":
            yield from self.space.grid()
            return
        # What is drawn follows from what is known, so that a search that is killed asks for the same again. In a small
        # space TPE comes back to where it was: after some attempts chance decides, and then what is left.
        for attempt in range(ATTEMPTS):
            study = self.study(known, self._sampler(len(known), attempt))
            for _ in range(self.settings.at_once):
                yield self.space.rounded(study.ask(dict(self.space.dimensions)).params)
        if self.space.is_finite:
            yield from self.space.grid()

    def _sampler(self, number: int, attempt: int) -> BaseSampler:
        seed = int(hashlib.sha256(repr((self.settings.seed, number, attempt)).encode()).hexdigest()[:8], 16)
        if self.settings.sampler == "random" or attempt >= ATTEMPTS // 5:
            return RandomSampler(seed)
        several = self.settings.at_once > 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return TPESampler(n_startup_trials=self.settings.startup, constant_liar=several, seed=seed)

    def study(self, known: Sequence[Trial], sampler: BaseSampler | None = None) -> optuna.Study:
        """What is known, as Optuna has it, in memory."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction=self.settings.direction, sampler=sampler)
        study.add_trials([frozen for trial in known if (frozen := self._frozen(trial)) is not None])
        return study

    def _frozen(self, trial: Trial) -> FrozenTrial | None:
        states = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        if trial.state not in states or trial.record is None:
            return None
        undefined = trial.value is None or trial.value != trial.value
        state = TrialState.FAIL if undefined else states[trial.state]
        return create_trial(
            params=trial.params,
            distributions=dict(self.space.dimensions),
            value=None if state is TrialState.FAIL else trial.value,
            intermediate_values=values_by_epoch(trial.record, self.objective),
            state=state,
        )

    def write_pruning(self) -> Path | None:
        """The file by which runs judge themselves; None where none is pruned."""
        if self.settings.prune == "none":
            return None
        finished = [trial.record for trial in self.known() if trial.state == "finished" and trial.record is not None]
        content = {
            "metric": self.objective,
            "direction": self.settings.direction,
            "startup": self.settings.startup,
            "warmup": self.settings.warmup,
            "others": [values_by_epoch(record, self.objective) for record in finished],
        }
        path = self.folder.resolve() / "pruning.json"
        write_atomically(path, json.dumps(content) + "\n")
        return path


def values_by_epoch(record: Record, metric: str) -> dict[int, float]:
    """A metric's finite values, by epoch."""
    values = {int(epoch): numbers[metric] for epoch, numbers in record.history.items() if metric in numbers}
    return {epoch: value for epoch, value in sorted(values.items()) if value == value}
