"""The run folder: the truth about a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from visagent.config.history import completed
from visagent.config.schemas import REQUIRED_GROUPS
from visagent.config.signature import difference
from visagent.config.trust import refuse_foreign
from visagent.errors import ConfigError
from visagent.runtime.credentials import public
from visagent.runtime.locking import held, is_held
from visagent.runtime.provenance import command, commit, hardware
from visagent.runtime.record import Record, from_json, now, read_record, to_json, write_atomically

UNSENT = "mlflow-unsent."
LOCK_TRIES = 5


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
    def page(self) -> Path:
        """The run as a page that stands alone."""
        return self.path / "report.html"

    @property
    def analyses(self) -> Path:
        """What `visagent-analyse` found."""
        return self.path / "analyses"

    def keep_analysis(self, kind: str, metrics: Mapping[str, float], settings: Mapping[str, Any]) -> None:
        """Keep numbers of an analysis, and how they came about."""
        about = {"command": command(), "commit": commit(), "hardware": hardware(), "created": now()}
        content = {"metrics": to_json(metrics), "settings": settings, **about}
        write_atomically(self.analyses / f"{kind}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

    def analysed(self) -> dict[str, float]:
        """Numbers of all analyses, as `analysis/KIND/NAME`.

        Raises:
            ConfigError: where a file does not read.
        """
        found: dict[str, float] = {}
        for path in sorted(self.analyses.glob("*.json")):
            try:
                metrics = from_json(json.loads(path.read_text())["metrics"])
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
            record = read_record(json.loads(path.read_text()))
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
            to_json(record.metrics),
            {epoch: to_json(values) for epoch, values in record.history.items()},
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
        f"{what}; expected run=SIGNATURE, the beginning of one, or a run folder"
        + ("" if matching else f"; runs there: {', '.join(there[:12]) or 'none'}")
    )
