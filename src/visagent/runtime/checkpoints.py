"""Checkpoint files: which one is whole, and what is said of one that is not, or is not this run's."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from visagent.errors import ConfigError
from visagent.runtime.record import NEWER
from visagent.runtime.run_folder import RunFolder

log = logging.getLogger(__name__)
STAMP, FORMAT = "visagent", 1
"""The key of our own mark in a checkpoint, and the version of what a checkpoint holds: counted up when an older program
could no longer read it.
"""
KEYS = ("state_dict", "epoch", "global_step", "loops", "optimizer_states", "random_state")
"""What every checkpoint of a run has."""
ANEW, DELETED = "move it away to train the run anew", "delete it to train the run anew"
"""What to do about another program's file, and about a broken one."""


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, None when it is whole.

    Checkpoints are zip archives: each part's sum is compared.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, ValueError) as error:
        return f"it is cut off, or no checkpoint ({error})"
    return None if broken is None else f"its part {broken} does not have the sum that it was written with"


def check_checkpoint(folder: RunFolder) -> Path:
    """The checkpoint of what a run has learned: of its best epoch where it looks for that, else of its last.

    Raises:
        ConfigError: when it is not whole, with what to do.
    """
    if (chosen := folder.tested_checkpoint) != folder.checkpoint:
        if (problem := damage(chosen)) is not None:
            raise ConfigError(
                f"checkpoint {chosen}: expected a whole file, got one that does not read: {problem}; delete it to use "
                "the last epoch's"
            )
        return chosen
    if (problem := damage(folder.checkpoint)) is None:
        return folder.checkpoint
    if folder.previous_checkpoint.is_file() and damage(folder.previous_checkpoint) is None:
        instead = (
            f"the one of the epoch before is whole: 'mv {folder.previous_checkpoint} {folder.checkpoint}' has it used"
        )
    else:
        instead = DELETED
    raise ConfigError(
        f"checkpoint {folder.checkpoint}: expected a whole file, got one that does not read: {problem}; {instead}"
    )


def checkpoint_to_resume(folder: RunFolder) -> Path | None:
    """The newest checkpoint that is whole; a broken one is set aside for the one of the epoch before.

    Raises:
        ConfigError: when there are checkpoints and none is whole.
    """
    last, previous = folder.checkpoint, folder.previous_checkpoint
    if not last.is_file() and not previous.is_file():
        return None
    problem = damage(last) if last.is_file() else "it is missing"
    if problem is None:
        return last
    if not previous.is_file() or damage(previous) is not None:
        raise ConfigError(f"checkpoint {last}: expected a whole file, got one that does not read: {problem}; {DELETED}")
    if last.is_file():
        # or it would take the place of the whole one at the next epoch's end
        os.replace(last, last.with_name("broken.ckpt"))
    log.warning("checkpoint %s is not whole (%s): going on from %s, one epoch earlier", last, problem, previous.name)
    return previous


def finished_epochs(folder: RunFolder) -> dict[int, Path]:
    """The checkpoints that are whole, by how many epochs the run had finished."""
    import torch

    there = [path for path in (folder.previous_checkpoint, folder.checkpoint) if path.is_file() and not damage(path)]
    found = {}
    for path in there:
        with reading_checkpoint(path):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        check_content(path, content)
        found[int(content["epoch"]) + 1] = path
    return found


def check_content(path: Path, content: Any) -> None:
    """Refuse what is no checkpoint of a run.

    Raises:
        ConfigError: with the reason, and what to do.
    """
    stamp = content.get(STAMP, {}) if isinstance(content, Mapping) else {}
    kind = stamp.get("format", 0) if isinstance(stamp, Mapping) else 0
    if isinstance(kind, int) and kind > FORMAT:
        raise ConfigError(f"checkpoint {path} {NEWER}")
    lacking = [key for key in KEYS if key not in content] if isinstance(content, Mapping) else ["everything"]
    if lacking:
        raise ConfigError(
            f"checkpoint {path}: expected one that visagent-train wrote, got one that lacks {', '.join(lacking)}; "
            f"{ANEW}"
        )
    from packaging.version import InvalidVersion, Version

    ours = version("pytorch-lightning")
    written = str(content.get("pytorch-lightning_version", ours))
    try:
        older, newer = Version(written) < Version("2"), Version(written).release[:2] > Version(ours).release[:2]
    except InvalidVersion:
        older = newer = False
    if older:
        raise ConfigError(
            f"checkpoint {path}: expected one of Lightning 2, got one of {written}, which no run of visagent wrote; "
            f"{ANEW}"
        )
    if newer:
        log.warning(
            "checkpoint %s was written with Lightning %s, newer than the installed %s: if it does not go on, update it",
            path,
            written,
            ours,
        )


@contextmanager
def reading_checkpoint(path: Path) -> Iterator[None]:
    """Within it, errors of reading a checkpoint's content, and of putting it into a network that it does not fit, say
    what to do.

    Raises:
        ConfigError: instead of those.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        what = next(
            (line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "global" in line),
            "pickled objects",
        )
        raise ConfigError(
            f"checkpoint {path}: expected tensors and plain values, which load without running code, got more "
            f"({what[:200]}); {ANEW}"
        ) from error
    except (RuntimeError, KeyError, ValueError) as error:
        text = str(error)
        if isinstance(error, RuntimeError) and ("PytorchStreamReader" in text or "in archive" in text):
            raise ConfigError(
                f"checkpoint {path}: expected a file of torch.save, got another archive; {ANEW}"
            ) from error
        if isinstance(error, RuntimeError) and "loading state_dict" in text:
            first = text.splitlines()[1].strip()
            raise ConfigError(
                f"expected settings with the run's network ({path}), got another one ({first}); leave out what "
                "changes it"
            ) from error
        if isinstance(error, (KeyError, ValueError)) and _from_restoring(error):
            raise ConfigError(
                f"checkpoint {path}: expected what this version of visagent keeps, got another content ({error!r}); "
                f"{ANEW}"
            ) from error
        raise


def _from_restoring(error: BaseException) -> bool:
    """Whether it was raised while Lightning put a checkpoint back."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith("checkpoint_connector.py"):
            return True
        trace = trace.tb_next
    return False
