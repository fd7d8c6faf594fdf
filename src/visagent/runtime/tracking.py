"""MLflow: the view for browsing; the record is the truth.

One SQLite file under outputs/ by default (MLflow refuses its old file store), `MLFLOW_TRACKING_URI` or
`logger.tracking_uri` elsewhere.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar
from urllib.parse import unquote

from visagent.errors import ConfigError, UserError
from visagent.runtime.credentials import HIDDEN, without_credentials
from visagent.runtime.locking import take
from visagent.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes the UI open on runs and curves, not on its pages for language models."""
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing leaves the machine unasked
    # MLflow's own are meant for a program that can do nothing else: 120 seconds, seven times over. What is not sent is
    # kept, so it may fail soon.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",  # it would be drawn from the generator that the training draws from
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "30",
}
"""Of MLflow's environment; a user's own values stay."""
DATABASES = ("mysql", "mssql", "sqlite", "postgresql")
SCHEMES = ("http", "https", "databricks", *DATABASES)
EXPERIMENT_LENGTH = 500
LOCK_SECONDS = 30.0
ANSWER_SECONDS, DATABASE_SECONDS = 20.0, 120.0
"""How long a command waits for a server, and for a file: on a busy machine the tables of a new one take their time, but
they come.
"""


class TrackingUnavailable(UserError):
    """MLflow cannot be reached, or is not what it should be; the message says why in one line."""


def tracking_uri(config: Mapping[str, Any], outputs: Path) -> str:
    """Where to track: the config's address, the environment's, or `outputs/mlflow.db`."""
    return (
        config.get("tracking_uri")
        or os.environ.get("MLFLOW_TRACKING_URI")
        or f"sqlite:///{(outputs / 'mlflow.db').resolve()}"
    )


def check_tracking(config: Mapping[str, Any], outputs: Path) -> None:
    """Refuse an address or an experiment that MLflow cannot have; nothing is asked of it.

    Raises:
        ConfigError: naming the setting, and what to type.
    """
    if not config["enabled"]:
        return
    experiment = str(config["experiment"])
    if not experiment.strip() or len(experiment) > EXPERIMENT_LENGTH:
        got = f"{len(experiment)} characters" if experiment.strip() else repr(experiment)
        raise ConfigError(
            f"logger.experiment: expected a name of at most {EXPERIMENT_LENGTH} characters, got {got}; type "
            "logger.experiment=NAME"
        )
    where = "logger.tracking_uri" if config.get("tracking_uri") else "MLFLOW_TRACKING_URI"
    uri = tracking_uri(config, outputs)
    if problem := _problem(uri):
        raise ConfigError(f"{where}: got {without_credentials(uri)!r}, {problem} (or type logger=none)")


def _problem(uri: str) -> str | None:
    """What is wrong with an address, and what to type instead."""
    if uri in ("databricks", "databricks-uc", "uc") or uri.startswith("arn:"):
        return None
    scheme, separator, rest = uri.partition(":")
    if not separator or "/" in scheme or scheme == "file":
        path = re.sub(r"^file:(//)?", "", uri).rstrip("/") or "."
        database = path if path.endswith((".db", ".sqlite", ".sqlite3")) else f"{path}/mlflow.db"
        return (
            "a path, and MLflow no longer keeps runs in folders; expected an address: type "
            f"logger.tracking_uri=sqlite:///{database}"
        )
    name = scheme.split("+")[0]
    plugins = [point.name for point in entry_points(group="mlflow.tracking_store")]
    if name not in (*SCHEMES, *plugins) and scheme not in plugins:
        near = difflib.get_close_matches(name, SCHEMES, 1)
        hint = (
            f"did you mean {without_credentials(f'{near[0]}:{rest}')}?"
            if near
            else f"expected one that begins with {', '.join(f'{s}:' for s in SCHEMES)}"
        )
        return f"an address of an unknown kind, {name}; {hint}"
    if name == "sqlite" and (not rest.startswith("///") or rest.strip("/") in ("", ":memory:")):
        return f"expected sqlite:///FILE: type logger.tracking_uri=sqlite:///{rest.strip('/') or 'mlflow.db'}"
    if name in ("http", "https", "mysql", "postgresql", "mssql") and (not rest.startswith("//") or not rest.strip("/")):
        return f"expected {scheme}://HOST"
    return None


def own_database(uri: str, outputs: Path) -> bool:
    """Whether an address is the database in the outputs folder, which moves with the folder."""
    path = database_file(uri)
    return path is not None and path.resolve() == (outputs / "mlflow.db").resolve()


def database_file(uri: str) -> Path | None:
    """The file of a SQLite address."""
    return Path(unquote(uri.removeprefix("sqlite:///").split("?", 1)[0])) if uri.startswith("sqlite:///") else None


def store_name(uri: str, outputs: Path) -> str:
    """A short name of a tracker for file names, the same after the outputs folder has moved; tells nothing of the
    credentials.
    """
    return (
        "own"
        if own_database(uri, outputs)
        else hashlib.sha256(without_credentials(uri).replace(f"{HIDDEN}@", "").encode()).hexdigest()[:8]
    )


def reason(error: BaseException) -> str:
    """Why MLflow failed, in one line without credentials."""
    text = str(error)
    for known in (
        r"Connection refused",
        r"Name or service not known",
        r"No route to host",
        r"timed? ?out",
        r"\(sqlite3\.\w+\) [^\n]*",
    ):
        if match := re.search(known, text, re.IGNORECASE):
            text = match.group(0)
            break
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return without_credentials(lines[0][:300] if lines else type(error).__name__)


def settle() -> None:
    """MLflow's settings and the levels of its loggers, for this process."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # what they say is said once, and shorter, by us
    for name in ("mlflow.store.db.utils", "mlflow.utils.rest_utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def connect(uri: str, experiment: str, outputs: Path) -> tuple[MlflowClient, str]:
    """A client and the id of the experiment, created when missing.

    Raises:
        TrackingUnavailable: when there is no MLflow at the address.
    """
    settle()
    try:
        _check_database(uri)
        with _making_tables(uri, outputs):
            from mlflow import MlflowClient

            client = MlflowClient(uri)
            existing = client.get_experiment_by_name(experiment)
        if own_database(uri, outputs):
            anchor_artifacts(outputs)
        return client, _experiment(client, existing, uri, experiment, outputs)
    except TrackingUnavailable:
        raise
    except Exception as error:  # whatever a server, a database driver or a proxy answers, a run does not end for it
        raise TrackingUnavailable(reason(error)) from error


def _experiment(client: MlflowClient, existing: Any, uri: str, name: str, outputs: Path) -> str:
    from mlflow.exceptions import MlflowException

    if existing is not None:
        if existing.lifecycle_stage == "deleted":
            client.restore_experiment(existing.experiment_id)
        return str(existing.experiment_id)
    # a server has a place of its own; without one MLflow would take a folder below the working directory
    location = (outputs / "mlflow-artifacts").resolve().as_uri() if uri.startswith(DATABASES) else None
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=KIND))
    except MlflowException:  # another process was faster
        existing = client.get_experiment_by_name(name)
        if existing is None:
            raise
        return str(existing.experiment_id)


def _check_database(uri: str) -> None:
    """Refuse a file that is no database, or another program's: MLflow would try for minutes, or add its tables.

    Raises:
        TrackingUnavailable: naming the file.
    """
    path = database_file(uri)
    if path is None or not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    try:
        # Not read-only: where a writer was killed in the middle, whoever reads first has to put things back.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=5.0)) as database:
            tables = {row[0] for row in database.execute("select name from sqlite_master where type = 'table'")}
    except sqlite3.Error as error:
        raise TrackingUnavailable(f"{path} is no database that can be read: {error}") from error
    if tables and "experiments" not in tables:
        raise TrackingUnavailable(
            f"{path} is another program's database, with the tables {', '.join(sorted(tables)[:3])}"
        )


@contextmanager
def _making_tables(uri: str, outputs: Path) -> Iterator[None]:
    """One process at a time: MLflow's making of a SQLite file's tables fails where two runs begin at once. No server is
    waited for with the lock held.

    Raises:
        TrackingUnavailable: when another process holds it for too long.
    """
    if not uri.startswith("sqlite:"):
        yield
        return
    outputs.mkdir(parents=True, exist_ok=True)
    with (outputs / "mlflow.lock").open("w") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            with suppress(BlockingIOError):
                take(lock, fcntl.LOCK_EX)
                break
            if time.monotonic() > deadline:
                raise TrackingUnavailable(f"another process has held {lock.name} for {LOCK_SECONDS:.0f} seconds")
            time.sleep(0.05)
        yield


def anchor_artifacts(outputs: Path) -> int:
    """Have the artifacts in the outputs folder found after it was moved; returns how many runs were led back to it.

    MLflow keeps absolute paths of artifacts and has no call that changes them, so they are changed in its database.
    """
    path, here = outputs / "mlflow.db", (outputs / "mlflow-artifacts").resolve().as_uri()
    if not path.is_file():
        return 0
    changed = 0
    with closing(sqlite3.connect(path, timeout=5.0)) as database, database:
        tables = {row[0] for row in database.execute("select name from sqlite_master where type = 'table'")}
        for table, column, key in (
            ("experiments", "artifact_location", "experiment_id"),
            ("runs", "artifact_uri", "run_uuid"),
        ):
            if table not in tables:
                continue
            for number, place in database.execute(
                f"select {key}, {column} from {table} where {column} like '%/mlflow-artifacts%'"
            ).fetchall():
                before, folder, rest = str(place).partition("/mlflow-artifacts")
                there = f"{before}{folder}"
                if there == here or (rest and not rest.startswith("/")):
                    continue
                # Another outputs folder may be tracked here too: what is where its path says, and not here, is left
                # alone.
                if _local(here + rest).exists() or not _local(there).exists():
                    database.execute(f"update {table} set {column} = ? where {key} = ?", (here + rest, number))
                    changed += table == "runs"
    return changed


def _local(uri: str) -> Path:
    return Path(unquote(re.sub(r"^file:(//)?", "", uri)))


def patience(uri: str, for_server: float) -> float:
    """How many seconds to wait for what is at an address."""
    return DATABASE_SECONDS if database_file(uri) is not None else for_server


def ask(question: Callable[[], T], uri: str, seconds: float = ANSWER_SECONDS) -> T:
    """The answer of MLflow to something that a command waits for, within a limited time.

    Args:
        question: what asks it.
        uri: where.
        seconds: that a server has.

    Raises:
        TrackingUnavailable: when it fails, or does not come in time.
    """
    settle()
    import mlflow  # noqa: F401 (takes seconds, which are not the server's)

    seconds = patience(uri, seconds)
    answer: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            answer.append(question())
        except Exception as error:  # noqa: BLE001 (handed to the thread that waits)
            failure.append(error)

    # a driver that hangs does not keep the process
    thread = threading.Thread(target=work, name="ask-mlflow", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise (
            failure[0] if isinstance(failure[0], TrackingUnavailable) else TrackingUnavailable(reason(failure[0]))
        ) from failure[0]
    if not answer:
        raise TrackingUnavailable(f"no answer within {seconds:.0f} seconds")
    return answer[0]


LOCK_TAG = "visagent.lock"
"""Tag of an MLflow run that other runs belong to: the name of the file that its process holds."""


def hold(outputs: Path, name: str) -> TextIO | None:
    """Hold a lock as long as the returned file is open: it tells whether the process behind a parent run lives.

    None where another process has it.
    """
    path = outputs / "multirun" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        take(file, fcntl.LOCK_EX)
    except BlockingIOError:
        file.close()
        return None
    return file


def end_cut_off(client: MlflowClient, experiment: str, outputs: Path) -> int:
    """Say KILLED of what MLflow shows as RUNNING though its process, which worked in this outputs folder, is gone;
    returns of how many.
    """
    ended = 0
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if (name := tags.get(LOCK_TAG)) and (outputs / "multirun" / f"{name}.lock").is_file():
            held = hold(outputs, name)
            gone = held is not None
            if held is not None:
                held.close()
        elif tags.get("visagent.kind") == "run" and (name := tags.get("visagent.signature")):
            folder = RunFolder(outputs / "runs" / name)
            gone = (
                folder.path.is_dir()
                and not folder.is_locked()
                and tags.get("visagent.folder") == str(folder.path.resolve())
            )
        else:
            gone = False
        if gone:
            client.set_terminated(run.info.run_id, "KILLED")
            ended += 1
    return ended


def tend(outputs: Path) -> None:
    """Before the outputs folder's own database is looked at: artifacts where the folder is now, and no run RUNNING
    whose process is gone.

    Raises:
        TrackingUnavailable: when it cannot be read.
    """
    from mlflow import MlflowClient

    settle()
    uri = f"sqlite:///{(outputs / 'mlflow.db').resolve()}"
    _check_database(uri)
    anchor_artifacts(outputs)
    client = MlflowClient(uri)
    for experiment in client.search_experiments():
        end_cut_off(client, experiment.experiment_id, outputs)
