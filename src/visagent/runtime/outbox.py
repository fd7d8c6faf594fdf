"""What MLflow is to be told of a run: in memory, in the run folder once sending has failed, and gone when it is sent.

A file of JSON lines: the first holds the run's id, each other one a thing to do. All of them can be done twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import posixpath
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.errors import ConfigError
from visagent.runtime.record import write_atomically
from visagent.runtime.run_folder import UNSENT, RunFolder
from visagent.runtime.tracking import TrackingUnavailable, connect, reason, store_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
BATCH = {"metrics": 900, "params": 100, "tags": 100}
NAME_LENGTH, RUN_NAME_LENGTH, PARAM_LENGTH, TAG_LENGTH = 200, 250, 500, 5000
FORBIDDEN = re.compile(r"[^/\w.\- :]")
CLAIMED = ".sending."


class Refused(Exception):
    """MLflow will never take this; the message says why."""


def safe_name(name: str) -> str:
    """A name as MLflow takes it: itself where it can be; else without the signs it refuses, told apart by a hash of the
    original.
    """
    safe = FORBIDDEN.sub("_", name)
    if safe.startswith(("/", "..")) or posixpath.normpath(safe) != safe:  # MLflow might take it for a path
        safe = "/".join(part if part.strip(".") else "_" * len(part) for part in safe.split("/") if part) or "_"
    if len(safe) > NAME_LENGTH or safe != name:
        safe = f"{safe[:NAME_LENGTH]}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"
    return safe


def names_tags(names: Mapping[str, str]) -> dict[str, str]:
    """Tags that keep the originals of names that were made safe (`safe -> original`)."""
    return {f"visagent.name/{safe}": original[:TAG_LENGTH] for safe, original in names.items() if safe != original}


def outbox_path(folder: Path, uri: str, outputs: Path) -> Path:
    """Where a run keeps what the MLflow at an address has not taken yet."""
    return folder / f"{UNSENT}{store_name(uri, outputs)}.jsonl"


class Store:
    """One MLflow, reached when it is first needed and again after a failure.

    Args:
        uri: with credentials, where it needs them.
        experiment: its name.
        outputs: the outputs folder.
    """

    def __init__(self, uri: str, experiment: str, outputs: Path) -> None:
        self.uri, self.experiment, self.outputs = uri, experiment, outputs
        self._connected: tuple[MlflowClient, str] | None = None

    def connected(self) -> tuple[MlflowClient, str]:
        """A client and the experiment's id.

        Raises:
            TrackingUnavailable: when there is no MLflow.
        """
        if self._connected is None:
            self._connected = connect(self.uri, self.experiment, self.outputs)
        return self._connected


class Outbox:
    """One run's unsent things. `add` and `keep` may be called from any thread, `send` from one.

    Args:
        path: the file; what lies there is read.
        run_id: the MLflow run, where it is known.
    """

    def __init__(self, path: Path, run_id: str | None = None) -> None:
        self.path, self.run_id = path, run_id
        self.pending: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._complained: set[str] = set()
        self._on_disk = 0  # so many of the pending ones lie in the file already
        if path.is_file():
            self._read()

    def _read(self) -> None:
        for number, line in enumerate(self.path.read_text().splitlines()):
            try:
                content = json.loads(line)
            except ValueError:  # the process ended while it wrote: the last line
                break
            if number == 0:
                self.run_id = content.get("run_id") or self.run_id
            else:
                self.pending.append(content)
        self._on_disk = 0  # written anew, should it be kept: the last line may be cut

    def add(self, *things: dict[str, Any]) -> None:
        """Append to what is to be sent."""
        with self._lock:
            self.pending += things

    def keep(self) -> None:
        """Have everything that is not sent in the file, or no file where there is nothing."""
        with self._lock:
            if not self.pending:
                self.path.unlink(missing_ok=True)
                self._on_disk = 0
                return
            fresh = self.pending[self._on_disk :]
            if not fresh:
                return
            try:
                if self._on_disk and self.path.is_file():
                    with self.path.open("a") as file:
                        file.write("".join(json.dumps(thing) + "\n" for thing in fresh))
                        file.flush()
                        os.fsync(file.fileno())
                else:
                    write_atomically(
                        self.path,
                        "".join(json.dumps(thing) + "\n" for thing in [{"run_id": self.run_id}, *self.pending]),
                    )
            except OSError as error:
                self._complain(
                    f"what MLflow has not taken cannot be kept in {self.path} ({error.strerror}): it stays in memory"
                )
                return
            self._on_disk = len(self.pending)

    def safe(self) -> bool:
        """Whether all metrics are sent, or lie in the file."""
        with self._lock:
            return not any(thing["do"] == "metrics" for thing in self.pending[self._on_disk :])

    def send(self, store: Store) -> None:
        """Do what is pending, in its order. An artifact that fails stays for later and holds nothing up.

        Raises:
            TrackingUnavailable: when MLflow does not answer; what is not done stays.
        """
        client, experiment = store.connected()
        left: set[int] = set()
        while (thing := self._next(left)) is not None:
            following: list[dict[str, Any]] = []
            try:
                following = self._do(client, experiment, thing)
            except Refused as refusal:
                self._complain(f"MLflow refuses {refusal}; record.json has it")
            except Exception as error:  # whatever a server, a driver or a disk says, the training goes on
                if thing["do"] != "artifact":
                    raise TrackingUnavailable(reason(error)) from error
                self._complain(
                    f"MLflow does not take {thing['file']} ({reason(error)}); it lies in {self.path.parent}, and is "
                    "offered again at the next start"
                )
                left.add(id(thing))
                continue
            with self._lock:
                place = next(number for number, other in enumerate(self.pending) if other is thing)
                self.pending[place : place + 1] = following
                self._on_disk = 0  # the file's beginning is not what is pending any more

    def _next(self, left: set[int]) -> dict[str, Any] | None:
        with self._lock:
            return next((thing for thing in self.pending if id(thing) not in left), None)

    def _do(self, client: MlflowClient, experiment: str, thing: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Do one thing; returns what is to be done next because of it."""
        match thing["do"]:
            case "open":
                return self._open(client, experiment, thing)
            case "metrics" | "params" | "tags" as what:
                for batch in _batches(thing["items"], BATCH[what]):
                    self._log(client, what, batch)
            case "artifact":
                path = self.path.parent / thing["file"]
                if path.is_file():  # gone since: nothing to show
                    client.log_artifact(self.run_id, str(path), thing["folder"])
            case "status":
                client.set_terminated(str(self.run_id), thing["status"], end_time=thing["time"])
            case unknown:
                raise Refused(f"{unknown!r}, which a later version of visagent kept")
        return []

    def _open(self, client: MlflowClient, experiment: str, thing: Mapping[str, Any]) -> list[dict[str, Any]]:
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        if self.run_id is not None:
            try:
                if client.get_run(self.run_id).info.lifecycle_stage == "deleted":
                    client.restore_run(self.run_id)
                client.set_terminated(self.run_id, "RUNNING", end_time=0)
                client.update_run(self.run_id, status="RUNNING")
                client.log_batch(
                    self.run_id, tags=[RunTag(key, value[:TAG_LENGTH]) for key, value in thing["tags"].items()]
                )
                return []
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        # None yet, or another database than before: a run begins there, unless it was made and the answer was lost.
        tags = {key: value[:TAG_LENGTH] for key, value in thing["tags"].items()}
        self.run_id = _made_before(client, experiment, tags)
        if self.run_id is not None:
            return [dict(thing), *_beginning(thing)]
        self.run_id = str(
            client.create_run(experiment, run_name=thing["name"][:RUN_NAME_LENGTH], tags=tags).info.run_id
        )
        return _beginning(thing)

    def _log(self, client: MlflowClient, what: str, items: list[list[Any]]) -> None:
        """Log a batch; where MLflow refuses it, its halves, so that one thing that it refuses keeps nothing else
        back.
        """
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException

        entity, run_id = {"metrics": Metric, "params": Param, "tags": RunTag}[what], str(self.run_id)
        entities: dict[str, Any] = {what: [entity(*item) for item in items]}
        try:
            client.log_batch(run_id, **entities)
        except MlflowException as error:
            if not _refusal(error):
                raise
            if client.get_run(run_id).info.lifecycle_stage == "deleted":
                client.restore_run(run_id)
                return self._log(client, what, items)
            if len(items) == 1:
                self._complain(
                    f"MLflow refuses the {what.removesuffix('s')} {items[0][0]!r} ({reason(error)}); the run folder "
                    "has it",
                    items[0][0],
                )
                return None
            self._log(client, what, items[: len(items) // 2])
            self._log(client, what, items[len(items) // 2 :])
        return None

    def _complain(self, message: str, subject: str | None = None) -> None:
        """Say it once."""
        if (subject or message) not in self._complained:
            self._complained.add(subject or message)
            log.warning("%s", message)


def _beginning(opening: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is to be done once a run is made."""
    return [{"do": "params", "items": opening["params"]}, *opening["then"]]


def _made_before(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> str | None:
    """The run of this very start."""
    if not {"visagent.signature", "visagent.created"} <= tags.keys():
        return None
    runs = client.search_runs([experiment], f"tags.`visagent.signature` = '{tags['visagent.signature']}'")
    return next(
        (str(run.info.run_id) for run in runs if run.data.tags.get("visagent.created") == tags["visagent.created"]),
        None,
    )


def _refusal(error: Exception) -> bool:
    """Whether MLflow has understood and says no, so that saying it again is of no use."""
    code = getattr(error, "error_code", "")
    return code in ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS") or (
        code == "BAD_REQUEST" and type(error.__cause__).__name__ in ("IntegrityError", "DataError")
    )


def _batches(items: list[list[Any]], size: int) -> Iterator[list[list[Any]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def deliver_ended(store: Store, runs: Path, enough: Callable[[], bool] = lambda: False) -> int:
    """Send what runs that have ended could not; returns of how many.

    One that is not finished and that MLflow does not know yet sends it all when it goes on: two processes could make
    two runs of it.

    Args:
        store: where to.
        runs: the folder of run folders.
        enough: asked before each run, whether to leave the others for another time.

    Raises:
        TrackingUnavailable: when MLflow does not answer; what is not sent stays in its folder.
    """
    sent = 0
    name = outbox_path(Path(), store.uri, store.outputs).name
    for path in sorted(runs.glob(f"*/{name}*")):
        folder = RunFolder(path.parent)
        try:
            record = folder.load()
        except ConfigError:  # whoever looks at the run is told
            continue
        if enough():
            break
        if record is None or folder.is_locked() or not (path.name == name or _left_behind(path)):
            continue
        if record.status == "RUNNING" or (record.status != "FINISHED" and record.mlflow_run_id is None):
            continue
        claimed = path.with_name(f"{name}{CLAIMED}{os.getpid()}")  # so that no two processes send the same
        try:
            path.rename(claimed)
        except FileNotFoundError:
            continue
        outbox = Outbox(claimed, record.mlflow_run_id)
        try:
            outbox.send(store)
        finally:
            if record.mlflow_run_id != outbox.run_id:
                record.mlflow_run_id = outbox.run_id
                folder.save(record)
            outbox.keep()
            if claimed.is_file():
                claimed.rename(path.with_name(name))
        sent += 1
    return sent


def _left_behind(path: Path) -> bool:
    """Whether the process that claimed a file is gone."""
    number = path.name.partition(CLAIMED)[2]
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (ValueError, PermissionError):
        return False
    return False
