"""`record.json`: what a run has come to, for resuming it and for tables."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from visagent.errors import ConfigError

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
PARENT_VARIABLE = "VISAGENT_PARENT_RUN"
"""Environment variable with the MLflow run id of the multirun that this process belongs to."""
FORMAT = 1
"""Of record.json: counted up when an older program could no longer read it. New fields alone do not."""
NEWER = (
    "was written by a later version of visagent; nothing is wrong with it: update this one (pip install -U visagent), "
    "or choose another paths.outputs"
)


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Record:
    """`record.json`.

    Attributes:
        status: RUNNING (or cut off: see `RunFolder.is_locked`), FINISHED, FAILED or KILLED.
        idle_attempts: how many in a row, up to this one, have not finished an epoch.
        env_steps: environment steps so far.
        metrics: final numbers, `test/...`.
        tested: of which weights the final numbers are, where not of the last epoch's; see
            `visagent.runtime.report.what_was_tested`.
        history: metrics at the end of each epoch, keyed by the epoch's number as text; NaN where undefined.
        seconds: of all attempts together.
        tracking_uri: without credentials.
        later: fields that a later version added, kept as they are.
    """

    signature: str
    name: str
    command: str
    seed: int
    scale: str
    status: Status = "RUNNING"
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
    created: str = field(default_factory=now)
    finished: str | None = None
    attempts: int = 0
    idle_attempts: int = 0
    seconds: float = 0.0
    env_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, dict[str, float]] = field(default_factory=dict)
    tested: dict[str, Any] = field(default_factory=dict)
    mlflow_run_id: str | None = None
    tracking_uri: str | None = None
    error: str | None = None
    format: int = FORMAT
    later: dict[str, Any] = field(default_factory=dict)


def read_record(content: Any) -> Record:
    """The record that a file's content is.

    Raises:
        ConfigError: for one of a later format.
        ValueError: when it is no record, with the reason.
    """
    if not isinstance(content, dict):
        raise ValueError(f"expected a dictionary, got {type(content).__name__}")
    if isinstance(content.get("format", FORMAT), int) and content.get("format", FORMAT) > FORMAT:
        raise ConfigError(f"its record {NEWER}")
    known = {item.name: item for item in fields(Record) if item.name != "later"}
    absent = [
        name
        for name, item in known.items()
        if name not in content and item.default is MISSING and item.default_factory is MISSING
    ]
    if absent:
        raise ValueError(f"it lacks {', '.join(absent)}")
    for name in ("versions", "hardware", "metrics", "history"):
        if not isinstance(content.get(name, {}), dict):
            raise ValueError(f"{name} is {content[name]!r}")
    record = Record(
        **{name: value for name, value in content.items() if name in known},
        later={k: v for k, v in content.items() if k not in known},
    )
    record.metrics, record.history = (
        from_json(record.metrics),
        {epoch: from_json(values) for epoch, values in record.history.items()},
    )
    return record


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new one, never a part."""
    # not mkstemp: its files are for their owner's eyes only
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say which file
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def to_json(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {key: value if math.isfinite(value) else None for key, value in metrics.items()}


def from_json(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """The inverse of `to_json`."""
    return {key: math.nan if value is None else float(value) for key, value in metrics.items()}
