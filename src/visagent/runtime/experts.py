"""The run that a run needs: the expert that a student imitates is trained first, or waited for, and loaded."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from visagent.config.composition import expert_config, expert_overrides
from visagent.config.signature import signature
from visagent.config.trust import dicts, registered
from visagent.errors import ConfigError
from visagent.runtime.run_folder import RunBusy, RunFolder

log = logging.getLogger(__name__)
WAIT_SECONDS = 2.0
"""Between two looks at a run that another process works on."""


def have_expert(config: Mapping[str, Any], alone: bool, train: Callable[[dict[str, Any]], object]) -> None:
    """Finish the run that a run needs, if it needs one: train it, or wait while another process does.

    Args:
        config: resolved, of the run that needs it.
        alone: whether this process is the only one of its run.
        train: trains the run of a resolved config.

    Raises:
        ConfigError: when it is not to be trained now.
    """
    needed = expert_config(config)
    if needed is None:
        return
    folder = RunFolder(Path(config["paths"]["outputs"]) / "runs" / signature(needed))
    told = f"visagent-train {shlex.join(expert_overrides(config))}"
    waiting = False
    while not _finished(folder):
        if folder.is_locked():
            if not waiting:
                log.info("another process works on the expert's run in %s: waiting for it", folder.path)
            waiting = True
            time.sleep(WAIT_SECONDS)
            continue
        _refuse(config, folder, told, alone)
        log.info("the expert first: %s", told)
        with suppress(RunBusy):  # another one was quicker
            train(needed)


def trained_expert(config: Mapping[str, Any]) -> Any:
    """The trained module of the run that a run needs; None where a policy from elsewhere stands in its place."""
    from visagent.runtime.evaluate import trained

    name = config["algorithm"]["expert"]["signature"]
    if name is None:
        return None
    # It may act in a world of the user's own where this run does.
    targets = {str(node.get("_target_")) for _, node in dicts(config["datamodule"]) if "_target_" in node}
    module, _ = trained(Path(config["paths"]["outputs"]), name, sorted(targets - registered()))
    return module


def _finished(folder: RunFolder) -> bool:
    record = folder.load()
    return record is not None and record.status == "FINISHED"


def _refuse(config: Mapping[str, Any], folder: RunFolder, told: str, alone: bool) -> None:
    """Refuse to train the expert's run where that was not asked for, or where several processes would."""
    expert = config["algorithm"]["expert"]
    if not expert["train"]:
        record = folder.load()
        raise ConfigError(
            f"algorithm.expert: expected a finished run of its overrides, {expert['signature']}, which is "
            f"{'not there' if record is None else record.status}; type {told}, or algorithm.expert.train=true"
        )
    if not alone:
        raise ConfigError(
            f"algorithm.expert: where several processes train a run, its expert's is to be there before, got none that "
            f"is finished; type {told}"
        )
