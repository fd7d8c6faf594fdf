"""More epochs for a finished run: a run of its own that goes on where that one ended."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visagent.config.signature import EXCLUDED, signature
from visagent.config.trust import dicts, literal
from visagent.errors import ConfigError
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder, find_run
from visagent.words import counted

log = logging.getLogger(__name__)
FROM_HERE = ("progress", "logger", "paths", "launcher", "machine", "threads", "objective", "prune", "allow_targets")
"""What an extended run has from the command line, as any other; the rest is its source's."""
GONE = ("datamodules.replay.ReplayDataModule", "datamodules.option_replay.OptionReplayDataModule")
"""Experience that is deleted when a training is finished."""


def extended(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config of the run that a command with `extend=SIGNATURE` means; without it the command's own.

    Args:
        config: as it was composed.
        overrides: of the command line.

    Raises:
        ConfigError: when there is no such run, it is not finished, or more than its number of epochs is to change.
    """
    if config.get("extend") is None:
        return config
    source = find_run(Path(config.paths.outputs) / "runs", str(config.extend))
    record, stored = source.load(), source.runnable(list(config.allow_targets))
    if record is None or record.status != "FINISHED":
        state = "not started" if record is None else record.status
        raise ConfigError(
            f"extend={config.extend}: expected a finished run, got one that is {state}: '"
            f"{record.command if record else 'visagent-train'}' goes on with it"
        )
    done = len(record.history)
    if (why := not_to_extend(stored, record)) is not None:
        raise ConfigError(
            f"extend={config.extend}: {why}; expected init_from={source.path.name} with its settings, which begins "
            "with its weights"
        )
    epochs = None
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == "trainer.max_epochs":
            epochs = int(value) if value.isdigit() else value
        elif key != "extend" and key.partition(".")[0] not in FROM_HERE and key not in EXCLUDED:
            raise ConfigError(
                f"extend={config.extend}: the run goes on as it was, got {override}; expected trainer.max_epochs "
                f"alone, or init_from={source.path.name} with the other settings"
            )
    if not isinstance(epochs, int) or epochs <= done:
        raise ConfigError(
            f"trainer.max_epochs: expected more than the {counted(done, 'epoch')} of {source.path.name}, got {epochs}; "
            f"type trainer.max_epochs={2 * done}"
        )
    among = source.path.resolve().parent == (Path(config.paths.outputs) / "runs").resolve()
    stored = dict(stored) | {"extend": source.path.name if among else str(source.path.resolve())}
    stored["trainer"] = dict(stored["trainer"]) | {"max_epochs": epochs}
    merged = OmegaConf.create(literal(stored))
    for name in FROM_HERE:
        if name in config:
            merged[name] = config[name]
    keys = {override: override.lstrip("+~").partition("=")[0] for override in overrides}
    machine = [override for override, key in keys.items() if key in EXCLUDED and key.partition(".")[0] not in FROM_HERE]
    both = OmegaConf.merge(merged, OmegaConf.from_dotlist(machine))
    assert isinstance(both, DictConfig)
    return both


def not_to_extend(config: Mapping[str, Any], record: Record) -> str | None:
    """Why a finished run cannot be gone on with; None where it can."""
    if str(config["datamodule"].get("_target_")) in GONE:
        return "its replay was deleted when it was finished"
    if config["learners"] is not None:
        return "it has several learners"
    if record.tested.get("stopped_early"):
        return f"it ended early, after {counted(len(record.history), 'epoch')}, by checkpoint.patience"
    return None


def begun(config: Mapping[str, Any], folder: RunFolder, record: Record) -> Record:
    """The record of a run that begins: with what another one has, where it extends it. Where it might extend one, that
    is said.

    Args:
        config: resolved.
        folder: new.
        record: of the new run.
    """
    if config["extend"] is not None:
        return _begin_with(config, folder, record)
    if (found := _shorter(config, folder.path.parent)) is not None:
        name, epochs = found
        log.info(
            "a finished run of %d epochs is like this one otherwise; extend=%s trainer.max_epochs=%d would go on with "
            "it, this one trains from the beginning",
            epochs,
            name,
            config["trainer"]["max_epochs"],
        )
    return record


def _begin_with(config: Mapping[str, Any], folder: RunFolder, record: Record) -> Record:
    """Put what the source has into the new run's folder: checkpoints, history, episodes."""
    source = find_run(Path(config["paths"]["outputs"]) / "runs", str(config["extend"]))
    known = source.load()
    assert known is not None
    folder.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    kept = [path for path in source.checkpoint.parent.glob("*.ckpt") if path != source.checkpoint]
    for path in [*kept, source.episodes]:
        if path.is_file():
            shutil.copy2(path, folder.path / path.relative_to(source.path))
    written = folder.checkpoint.with_suffix(".part")
    shutil.copy2(source.checkpoint, written)
    written.rename(folder.checkpoint)
    done, epochs = len(known.history), config["trainer"]["max_epochs"]
    schedules = [
        f"{path}.schedule={node['schedule']}"
        for path, node in dicts(dict(config))
        if node.get("schedule") not in (None, "constant")
    ]
    said = (
        f"; {', '.join(schedules)} follows the share of all {epochs} epochs: {done / epochs:.0%} now, where it had "
        "come to its end"
    )
    before = f"{source.path.name}, finished after {counted(done, 'epoch')}"
    log.info("goes on with %s, until %d%s", before, epochs, said if schedules else "")
    return replace(record, history=dict(known.history), env_steps=known.env_steps)


def _shorter(config: Mapping[str, Any], runs: Path) -> tuple[str, int] | None:
    """The finished run with most epochs that differs from a config in fewer of them alone; None where there is none."""
    for epochs in range(config["trainer"]["max_epochs"] - 1, 0, -1):
        name = signature({**config, "trainer": {**config["trainer"], "max_epochs": epochs}})
        if (runs / name / "record.json").is_file():
            folder = RunFolder(runs / name)
            record = folder.load()
            finished = record is not None and record.status == "FINISHED" and folder.checkpoint.is_file()
            if finished and record is not None and not_to_extend(config, record) is None:
                return name, epochs
    return None
