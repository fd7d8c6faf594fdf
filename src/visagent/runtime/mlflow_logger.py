"""Lightning's side of MLflow: a logger that hands everything to a thread of its own, so that no training waits for a
server.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger

from visagent.runtime.credentials import without_credentials
from visagent.runtime.journal import Journal
from visagent.runtime.outbox import PARAM_LENGTH, Outbox, Store, deliver_ended, names_tags, outbox_path, safe_name
from visagent.runtime.record import PARENT_VARIABLE
from visagent.runtime.tracking import TrackingUnavailable, end_cut_off, patience, settle

log = logging.getLogger(__name__)
FLUSH_COUNT, FLUSH_SECONDS = 900, 10.0
PAUSES = (10.0, 20.0, 40.0, 60.0)
"""Seconds until the next try, after one failure, two, ..."""
START_SECONDS, CLOSE_SECONDS = 12.0, 15.0
"""How long a run waits for a server when it begins, and at its end without anything being taken."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`a.b.c` keys and values as text."""
    for key, value in config.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            yield from flatten(value, path)
        else:
            yield path, str(value)


def _told(history: Mapping[str, Mapping[str, float]], known: Container[tuple[str, int]]) -> list[dict[str, Any]]:
    """What an MLflow is told of epochs that were done before it knew the run, besides what is kept for it anyway."""
    moment = int(time.time() * 1000)
    items = [
        [safe_name(key), value, moment, int(values["step"])]
        for values in history.values()
        if "step" in values
        for key, value in values.items()
        if key != "step" and (safe_name(key), int(values["step"])) not in known
    ]
    return [{"do": "metrics", "items": items}] if items else []


class MLflowTracker(Logger):
    """A Lightning logger that never waits for MLflow and never closes the run (the runtime knows how it ended).

    What MLflow does not take is kept in the run folder and sent later, at the latest when the same command is typed
    again.

    Args:
        store: where to.
        outbox: what was not sent before, and the run's id where there is one.
        on_run: called with the MLflow run's id as soon as it is known, in another thread.
    """

    def __init__(self, store: Store, outbox: Outbox, on_run: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.store, self.outbox, self._on_run = store, outbox, on_run
        self.journal = Journal(outbox.path.parent)
        self._metrics: list[list[Any]] = []
        self._names: dict[str, str] = {}
        self._condition = threading.Condition()
        self._wanted, self._rounds, self._failures = False, 0, 0
        self._closing = self._done = False
        self._down: str | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    @classmethod
    def open(
        cls,
        store: Store,
        folder: Path,
        run_id: str | None,
        name: str,
        config: Mapping[str, Any],
        tags: Mapping[str, str],
        on_run: Callable[[str], None] | None = None,
        history: Mapping[str, Mapping[str, float]] | None = None,
    ) -> MLflowTracker:
        """Go on with `run_id`, or create a run with the config's parameters; waits for MLflow's first answer, but not
        long.

        Args:
            store: where to.
            folder: the run's.
            run_id: of MLflow's run, where there is one.
            name: of a new one.
            config: of the run.
            tags: of it.
            on_run: see the class.
            history: of epochs that are done, which an MLflow gets that does not know the run.
        """
        tags = {
            **tags,
            **({"mlflow.parentRunId": os.environ[PARENT_VARIABLE]} if os.environ.get(PARENT_VARIABLE) else {}),
        }
        params = {key: safe_name(key) for key, _ in flatten(config)}
        tags |= names_tags({safe: key for key, safe in params.items()})
        outbox = Outbox(outbox_path(folder, store.uri, store.outputs), run_id)
        tracker = cls(store, outbox, on_run)
        kept = [item for thing in outbox.pending if thing["do"] == "metrics" for item in thing["items"]]
        known = {(item[0], item[3]) for item in [*kept, *tracker.journal.before]}
        opening = {
            "do": "open",
            "name": name,
            "tags": {key: without_credentials(value) for key, value in tags.items()},
            "params": [[params[key], without_credentials(value)[:PARAM_LENGTH]] for key, value in flatten(config)],
            "then": [{"do": "artifact", "file": "config.yaml", "folder": None}, *_told(history or {}, known)],
        }
        # What an earlier attempt could not send follows; how that one began and ended does not matter any more.
        outbox.pending = [opening, *(thing for thing in outbox.pending if thing["do"] not in ("open", "status"))]
        if tracker.journal.before:
            outbox.add({"do": "metrics", "items": tracker.journal.before})
        settle()
        import mlflow  # noqa: F401 (takes seconds, which are not the server's)

        tracker._thread.start()
        seconds = patience(store.uri, START_SECONDS)
        tracker._wait(lambda: tracker._rounds > 0, seconds)
        if tracker._rounds == 0:
            tracker._fail(f"no answer within {seconds:.0f} seconds")
        return tracker

    @property
    def name(self) -> str:
        return "mlflow"

    @property
    def version(self) -> str:
        return self.run_id or ""

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, once it is known."""
        return self.outbox.run_id

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log nothing: the config was logged at creation."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Queue metrics; `step` is the run's own time (see the glossary), not Lightning's."""
        with self._condition:
            self._metrics += self.journal.fresh(self._items(metrics, step))
            if len(self._metrics) >= FLUSH_COUNT and not self._failures:
                self._wanted = True
                self._condition.notify_all()

    @rank_zero_only
    def log_early(self, metrics: Mapping[str, float], step: int) -> None:
        """Queue what Lightning logs only after an epoch's checkpoint: of a run that is killed in between, nobody would
        log it again.
        """
        with self._condition:
            items = self._items(metrics, step)
            self._metrics += self.journal.fresh(items)
            self.journal.expect_again(items)

    def _items(self, metrics: Mapping[str, float], step: int | None) -> list[list[Any]]:
        """Metrics as MLflow takes them; the lock is held."""
        moment = int(time.time() * 1000)
        for key in metrics:
            if key not in self._names:
                self._names[key] = safe_name(key)
                if changed := names_tags({self._names[key]: key}):
                    self.outbox.add({"do": "tags", "items": [[tag, value] for tag, value in changed.items()]})
        return [
            [self._names[key], float(value), moment, int(step or 0)] for key, value in metrics.items() if key != "epoch"
        ]

    @rank_zero_only
    def before_checkpoint(self) -> None:
        """Have all that was logged on the disk: with the checkpoint it is not logged again."""
        with self._condition:
            self._collect()

    @rank_zero_only
    def after_checkpoint(self) -> None:
        """What was logged so far is of an epoch that is done."""
        with self._condition:
            self.journal.mark()

    @rank_zero_only
    def save(self) -> None:
        """Do nothing: the thread sends when it is time."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Have what is queued sent; the run stays open."""
        self.flush()

    def flush(self) -> None:
        """Have what is queued sent soon."""
        with self._condition:
            self._wanted = True
            self._condition.notify_all()

    def save_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file of the run folder with the run."""
        self.outbox.add({"do": "artifact", "file": str(path.relative_to(self.outbox.path.parent)), "folder": folder})

    def close(self, status: str) -> None:
        """End the MLflow run as FINISHED, FAILED or KILLED; waits as long as MLflow takes what is left, and not for one
        that is silent.
        """
        with self._condition:
            self._collect()
            self.outbox.add({"do": "status", "status": status, "time": int(time.time() * 1000)})
            if status == "FINISHED":  # nothing will be logged again
                self.journal.mark()
            self._closing = True
            self._condition.notify_all()
        left = -1
        while not self._done and left != (left := len(self.outbox.pending)):
            self._wait(lambda: self._done, patience(self.store.uri, CLOSE_SECONDS))
        if self.outbox.pending:
            self.outbox.keep()
            log.warning(
                "what MLflow has not taken lies in %s: the same command sends it, as does the next run's start",
                self.outbox.path,
            )

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        with self._condition:
            self._condition.wait_for(condition, seconds)

    def _collect(self) -> None:
        """Hand the queued metrics to the outbox; the lock is held."""
        if self._metrics:
            self.journal.write(self._metrics)
            self.outbox.add({"do": "metrics", "items": self._metrics})
            self._metrics = []

    def _work(self) -> None:
        """The thread: send, wait until it is time again or something is wanted, until the run ends."""
        known = self.run_id if self._on_run is None else None
        while True:
            with self._condition:
                self._collect()
                closing, self._wanted = self._closing, False
            try:
                self.outbox.send(self.store)
            except TrackingUnavailable as error:
                self._fail(str(error))
            else:
                self._recover()
            if self.run_id is not None and self.run_id != known and self._on_run is not None:
                known = self.run_id
                self._on_run(known)
            if self._down is not None or closing:
                self.outbox.keep()
            with self._condition:
                if self.outbox.safe():
                    self.journal.forget_marked()
                self._rounds += 1
                self._done = closing
                self._condition.notify_all()
                if closing:
                    return
            if self._rounds == 1 and self._down is None:
                self._help_others()
            with self._condition:
                pause = PAUSES[min(self._failures, len(PAUSES)) - 1] if self._failures else FLUSH_SECONDS
                self._condition.wait_for(lambda: self._closing or self._wanted, pause)

    def _help_others(self) -> None:
        """Once, when there is time: what runs before this one have left undone."""
        try:
            end_cut_off(*self.store.connected(), self.store.outputs)
            if (sent := deliver_ended(self.store, self.store.outputs / "runs", lambda: self._closing)) > 0:
                log.info("MLflow has now what it had missed of %d runs that have ended", sent)
        except Exception as error:  # noqa: BLE001 (whatever it is, another start tries again)
            log.debug("MLflow is not told of other runs: %s", error)

    def _fail(self, why: str) -> None:
        """Count a failure, and say so when it is the first."""
        with self._condition:
            self._failures += 1
            first, self._down = self._down is None, why
        if first:
            where = without_credentials(self.store.uri)
            log.warning(
                "MLflow at %s cannot be used now (%s): the training goes on, and what it logs is kept in %s and sent "
                "later; logger=none trains without MLflow",
                where,
                why,
                self.outbox.path,
            )

    def _recover(self) -> None:
        with self._condition:
            again, self._failures, self._down = self._down is not None, 0, None
        if again:
            log.info("MLflow answers again, and has what was kept")
