"""The run folder and its record: the truth about a run, for resuming it and for tables."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml

from visagent.config.history import completed
from visagent.config.schemas import REQUIRED_GROUPS
from visagent.config.signature import difference
from visagent.config.trust import refuse_foreign
from visagent.errors import ConfigError
from visagent.runtime.credentials import public, without_credentials
from visagent.runtime.locking import held, is_held

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
PARENT_VARIABLE = "VISAGENT_PARENT_RUN"
"""Environment variable with the MLflow run id of the multirun that this process belongs to."""
UNSENT = "mlflow-unsent."
LOCK_TRIES = 5
SOURCE = "src/visagent/runtime/record.py"
"""This file's place in a checkout."""
FORMAT = 1
"""Of record.json: counted up when an older program could no longer read it. New fields alone do not."""
NEWER = (
    "was written by a later version of visagent; nothing is wrong with it: update this one (pip install -U visagent), "
    "or choose another paths.outputs"
)
PACKAGES = ("visagent", "torch", "pytorch-lightning", "hydra-core", "mlflow", "numpy", "mujoco")


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


def _record(content: Any) -> Record:
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
        _from_json(record.metrics),
        {epoch: _from_json(values) for epoch, values in record.history.items()},
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


def _to_json(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {key: value if math.isfinite(value) else None for key, value in metrics.items()}


def _from_json(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {key: math.nan if value is None else float(value) for key, value in metrics.items()}


class RunBusy(ConfigError):
    """Another process works on a run."""


class RunFolder:
    """`outputs/runs/<signature>/`: config.yaml, record.json, log.txt, checkpoints/, figures/."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def checkpoint(self) -> Path:
        """The last epoch's checkpoint."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """The one of the best epoch, where a run looks for it."""
        return self.checkpoint.with_name("best.ckpt")

    def epoch_checkpoint(self, epoch: int) -> Path:
        """The one of an epoch that is among the best."""
        return self.checkpoint.with_name(f"epoch-{epoch:04d}.ckpt")

    @property
    def tested_checkpoint(self) -> Path:
        """The one that is tested, exported and predicted with."""
        return self.best_checkpoint if self.best_checkpoint.is_file() else self.checkpoint

    @property
    def previous_checkpoint(self) -> Path:
        """The one of the epoch before."""
        return self.checkpoint.with_name("previous.ckpt")

    def log(self, rank: int = 0) -> Path:
        """What the console said, of a rank."""
        return self.path / ("log.txt" if rank == 0 else f"log.rank{rank}.txt")

    def unsent(self) -> list[Path]:
        """What MLflow has not taken yet; see `visagent.runtime.outbox`."""
        return sorted(self.path.glob(f"{UNSENT}*"))

    def failed(self, rank: int, cause: str) -> None:
        """Keep why a rank other than the first failed: the first one's own end, if it comes to one, would hide it."""
        write_atomically(self.path / f"failure.rank{rank}.txt", cause)

    def failure_of_ranks(self) -> str | None:
        """Why other ranks of the last attempt failed."""
        causes = [(path, path.read_text().strip()) for path in sorted(self.path.glob("failure.rank*.txt"))]
        return (
            "\n".join(
                f"the process of rank {path.name.removeprefix('failure.rank').removesuffix('.txt')} failed: {cause}"
                for path, cause in causes
            )
            or None
        )

    def forget_failures(self) -> None:
        """Before another attempt."""
        for path in self.path.glob("failure.rank*.txt"):
            path.unlink(missing_ok=True)

    @property
    def episodes(self) -> Path:
        """The table of its training episodes, where it has some."""
        return self.path / "episodes.csv"

    @property
    def system(self) -> Path:
        """The table of what it took of its machine."""
        return self.path / "system.csv"

    @property
    def figures(self) -> Path:
        """Pictures of the run."""
        return self.path / "figures"

    @property
    def analyses(self) -> Path:
        """What `visagent-analyse` found."""
        return self.path / "analyses"

    def keep_analysis(self, kind: str, metrics: Mapping[str, float], settings: Mapping[str, Any]) -> None:
        """Keep numbers of an analysis, and how they came about."""
        about = {"command": command(), "commit": commit(), "hardware": hardware(), "created": now()}
        content = {"metrics": _to_json(metrics), "settings": settings, **about}
        write_atomically(self.analyses / f"{kind}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

    def analysed(self) -> dict[str, float]:
        """Numbers of all analyses, as `analysis/KIND/NAME`.

        Raises:
            ConfigError: where a file does not read.
        """
        found: dict[str, float] = {}
        for path in sorted(self.analyses.glob("*.json")):
            try:
                metrics = _from_json(json.loads(path.read_text())["metrics"])
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ConfigError(
                    f"{path}: expected what visagent-analyse wrote, got something that does not read ({error}): delete "
                    f"it, or type visagent-analyse {path.stem} run={self.path}"
                ) from error
            found |= {f"analysis/{path.stem}/{name}": value for name, value in metrics.items()}
        return found

    def load(self) -> Record | None:
        """The record, or None before the run was first started."""
        path = self.path / "record.json"
        if not path.is_file():
            return None
        try:
            record = _record(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            if isinstance(error, ConfigError):
                raise ConfigError(f"{path}: {error}") from error
            raise ConfigError(
                f"{path}: expected a run record, got something that does not read ({error}): move the folder away or "
                "delete it"
            ) from error
        if record.status == "RUNNING" and (cause := self.failure_of_ranks()) and not self.is_locked():
            record.status, record.error = "FAILED", cause  # the first rank was ended before it could say so
        return record

    def state(self, record: Record) -> str:
        """The record's status as it is shown: CUT OFF where it says RUNNING and no process works on the run."""
        if record.status != "RUNNING" or self.is_locked():
            return record.status
        ended = self.load()  # it may just have come to its end
        return ended.status if ended is not None and ended.status != "RUNNING" else "CUT OFF"

    def save(self, record: Record) -> None:
        """Write the record atomically."""
        content = asdict(record)
        content |= content.pop("later")
        content["metrics"], content["history"] = (
            _to_json(record.metrics),
            {epoch: _to_json(values) for epoch, values in record.history.items()},
        )
        write_atomically(self.path / "record.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

    def config(self) -> dict[str, Any]:
        """The stored config, with the settings that are younger than it at the values that it ran with.

        Raises:
            ConfigError: when the folder holds none.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            raise ConfigError(
                f"{self.path}: expected a run folder with config.yaml, found none: move the folder away or delete it"
            )
        try:
            stored = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path}: expected a run's config, got something that does not read ({error}): move the folder away "
                "or delete it"
            ) from error
        if not isinstance(stored, dict):
            raise ConfigError(f"{path}: expected a run's config, got {stored!r}: move the folder away or delete it")
        try:
            return completed(stored)
        except RecursionError as error:
            raise ConfigError(
                f"{path}: expected a run's config, got one that contains itself: move the folder away or delete it"
            ) from error

    def runnable(self, allowed: Sequence[str]) -> dict[str, Any]:
        """The stored config where the outputs folder is now, once it is sure that nothing in it runs the code of
        others.

        Args:
            allowed: see `visagent.config.trust.refuse_foreign`.

        Raises:
            ConfigError: when it would, or when the folder holds none.
        """
        stored = self.config_here()
        for group in REQUIRED_GROUPS:
            if not isinstance(stored.get(group), dict):
                raise ConfigError(
                    f"{self.path / 'config.yaml'}: expected a run's config, got {stored.get(group)!r} for {group}: "
                    "the file was changed or cut off"
                )
        refuse_foreign(stored, f"the run in {self.path}", allowed)
        return stored

    def config_here(self) -> dict[str, Any]:
        """The stored config with its caches where the outputs folder is now: it may have been moved, or be looked at
        from another working directory.
        """
        stored = self.config()
        before = stored.get("paths", {}).get("outputs") if isinstance(stored.get("paths"), dict) else None
        if before is None or self.path.resolve().parent.name != "runs":
            return stored
        outputs = str(self.path.resolve().parent.parent)

        def lead(node: Any) -> Any:
            if isinstance(node, dict):
                return {key: lead(value) for key, value in node.items()}
            return (
                f"{outputs}{node.removeprefix(before)}"
                if isinstance(node, str) and (node == before or node.startswith(f"{before}/"))
                else node
            )

        return {key: lead(value) if key in ("paths", "datamodule") else value for key, value in stored.items()}

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse another run's folder; nothing is written.

        Raises:
            ConfigError: when the stored config is another one, with the difference.
        """
        if (self.path / "config.yaml").is_file():
            changed = difference(self.config(), config)
            if changed:
                raise ConfigError(
                    f"the run in {self.path} was started with another config (stored -> asked):\n  "
                    + "\n  ".join(changed)
                    + "\n"
                    "type the stored values to resume it, or leave paths.run out (or change name=...) for a new run"
                )

    def create(self, config: Mapping[str, Any]) -> None:
        """Create the folder with its config where there is none yet."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "config.yaml").is_file():
            write_atomically(self.path / "config.yaml", yaml.safe_dump(public(config), sort_keys=False))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the lock goes with the process, however that ends.

        Raises:
            RunBusy: when another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as until_the_end:
            for left in reversed(range(LOCK_TRIES)):
                try:
                    until_the_end.enter_context(held(self.path / "lock"))
                    break
                except BlockingIOError as error:
                    if left == 0:
                        raise RunBusy(
                            f"the run in {self.path} is being worked on by {error.strerror}: wait for it, or change "
                            "seed=... or name=..."
                        ) from None
                time.sleep(0.1)  # the other process may only be looking whether it is held
            yield

    def is_locked(self) -> bool:
        """Whether a living process works on the run."""
        return is_held(self.path / "lock")


def find_run(runs: Path, wanted: str) -> RunFolder:
    """A run by its folder, its signature or the beginning of one.

    Raises:
        ConfigError: when there is none or more than one.
    """
    if (Path(wanted) / "config.yaml").is_file():
        return RunFolder(wanted)
    there = sorted(path.parent.name for path in runs.glob("*/config.yaml"))
    matching = [runs / name for name in there if wanted and name.startswith(wanted)]
    if len(matching) == 1 or wanted in there:
        return RunFolder(runs / wanted if wanted in there else matching[0])
    what = (
        f"several runs begin with {wanted!r}: {', '.join(p.name for p in matching)}"
        if matching
        else f"no run {wanted!r} in {runs}"
    )
    raise ConfigError(
        f"{what}; expected run=SIGNATURE, the beginning of one, or a run folder; runs there: "
        f"{', '.join(there[:12]) or 'none'}"
    )


def commit() -> str:
    """The commit of the source tree, `+changes` where it differs from it; empty outside a checkout of it, within
    another one too.
    """
    file = Path(__file__).resolve()
    folder = file.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        # installed into someone's own repository
        if git("ls-files", "--full-name", "--error-unmatch", file.name) != SOURCE:
            return ""
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def hardware() -> dict[str, str]:
    """Processor, cores, memory."""
    model = platform.processor() or platform.machine()
    memory = "?"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
        memory = f"{int(Path('/proc/meminfo').read_text().split()[1]) / 2**20:.0f} GiB"
    except (OSError, ValueError, IndexError):
        pass
    return {"cpu": model, "cores": str(os.cpu_count()), "memory": memory}


def command() -> str:
    """The command line to paste, the program by its name; of a sweep's child, the command that starts it alone."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        own = [word for word in HydraConfig.get().overrides.task if not word.startswith("prune=")]  # the search's
        return without_credentials(shlex.join(["visagent-train", *own]))
    return without_credentials(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
