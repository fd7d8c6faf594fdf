"""A sweep's parent run in MLflow; the children find it through the environment, in this process and in launched
ones.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import multiprocessing
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from visagent.errors import ConfigError
from visagent.lifeline import end_with_parent
from visagent.runtime.credentials import without_credentials
from visagent.runtime.outbox import TAG_LENGTH
from visagent.runtime.record import PARENT_VARIABLE, write_atomically
from visagent.runtime.stopping import last_words, signals_cancel
from visagent.runtime.tracking import (
    LOCK_TAG,
    TrackingUnavailable,
    ask,
    check_tracking,
    connect,
    end_cut_off,
    hold,
    tracking_uri,
)

log = logging.getLogger(__name__)
LOCAL_LAUNCHERS = ("basic", "joblib")
"""They run jobs in this process or its children; submitit's give each rank a process of its own."""
GRACE_SECONDS = 30.0


def refuse_local_ddp(config: DictConfig) -> None:
    """Several devices in one local sweep: each rank would run the whole sweep again.

    Raises:
        ConfigError: in a multirun with a launcher of this machine and more than one device.
    """
    if not HydraConfig.initialized() or config.get("trainer") is None:
        return
    hydra = HydraConfig.get()
    devices, nodes = config.trainer.get("devices", 1), config.trainer.get("num_nodes", 1)
    many = devices not in (1, "1", "auto") or nodes not in (1, "1")
    if hydra.mode == RunMode.MULTIRUN and many and str(hydra.runtime.choices.get("hydra/launcher")) in LOCAL_LAUNCHERS:
        raise ConfigError(
            f"a sweep (-m) with trainer.devices={devices} cannot run in this process: type trainer.devices=1, or one "
            "command per run without -m"
        )


def settle_in_worker() -> None:
    """Behave like a process of one's own in a joblib worker of a sweep.

    joblib leaves its own start method behind as multiprocessing's default, which processes that a run starts (scene
    makers, data loaders) cannot find: the platform's is put back. And its workers outlive a parent that was killed,
    holding memory and the run's lock for ever: they end with it, a training as a KILLED run that can be resumed.
    """
    if not HydraConfig.initialized() or str(HydraConfig.get().runtime.choices.get("hydra/launcher")) != "joblib":
        return
    multiprocessing.set_start_method(None, force=True)
    end_with_parent(GRACE_SECONDS)


class MultirunParent(Callback):
    """Opens the parent when a multirun starts and closes it at the end; the same sweep again goes on with the same
    parent.

    Where the environment names a parent already (a table's run), that one is the parent and is left open. Where MLflow
    cannot be used there is none: the runs are what counts.
    """

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.failed = False
        self._where: tuple[str, str, Path] | None = None
        self._until_the_end = ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        """What joblib's workers need to say that a job has failed."""
        return {**vars(self), "_until_the_end": None}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        # joblib would kill its workers where this process ends like after Ctrl-C; where it is just gone they notice,
        # and end their runs properly.
        joblib = str(config.hydra.runtime.choices.get("hydra/launcher")) == "joblib"
        self._until_the_end.enter_context(last_words(self._stopped) if joblib else signals_cancel([]))
        if not config.logger.enabled or os.environ.get(PARENT_VARIABLE):
            return
        logger = OmegaConf.to_container(config.logger, resolve=True)
        assert isinstance(logger, dict)
        settings = {str(key): value for key, value in logger.items()}
        outputs = Path(str(config.paths.outputs))
        try:
            check_tracking(settings, outputs)
        except ConfigError:  # which the first run says
            return
        self._where = uri, name, outputs = tracking_uri(settings, outputs), str(config.logger.experiment), outputs
        overrides = sorted(without_credentials(override) for override in config.hydra.overrides.task)
        try:
            self.run_id = ask(lambda: self._opened(uri, name, outputs, overrides), uri)
        except TrackingUnavailable as error:
            where = without_credentials(uri)
            log.warning(
                "MLflow at %s cannot be used now (%s): the sweep has no run of its own there; logger=none sweeps "
                "without it",
                where,
                error,
            )
            return
        atexit.register(self._stopped)
        os.environ[PARENT_VARIABLE] = self.run_id

    def _opened(self, uri: str, name: str, outputs: Path, overrides: list[str]) -> str:
        client, experiment = connect(uri, name, outputs)
        end_cut_off(client, experiment, outputs)
        sweep = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:10]
        if (held := hold(outputs, sweep)) is not None:
            self._until_the_end.enter_context(held)
        runs = client.search_runs([experiment], f"tags.`visagent.sweep` = '{sweep}'", max_results=1)
        if runs:
            run_id = str(runs[0].info.run_id)
            client.update_run(run_id, status="RUNNING")
            client.set_tag(run_id, LOCK_TAG, sweep)
        else:
            tags = {
                "visagent.sweep": sweep,
                "visagent.kind": "multirun",
                "visagent.overrides": " ".join(overrides)[:TAG_LENGTH],
                LOCK_TAG: sweep,
            }
            run_id = str(
                client.create_run(experiment, run_name="sweep " + " ".join(overrides)[:200], tags=tags).info.run_id
            )
        return run_id

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra has written the sweep's settings as they were typed: without a server's password they may stay."""
        path = Path(str(config.hydra.sweep.dir)) / "multirun.yaml"
        if path.is_file() and (text := path.read_text()) != (public := without_credentials(text)):
            write_atomically(path, public)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        self.failed = self.failed or job_return.status == JobStatus.FAILED
        if self.failed:
            # Hydra does not call on_multirun_end after a failure: say so now, a later job's success does not change it.
            self._say("FAILED")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self._say("FAILED" if self.failed else "FINISHED")
        self._close()

    def _stopped(self) -> None:
        """At the program's end, where nothing said how the sweep ended: Ctrl-C, a signal, an error between jobs."""
        self._say("KILLED", only_running=True)
        self._close()

    def _say(self, status: str, only_running: bool = False) -> None:
        where, run_id = self._where, self.run_id
        if where is None or run_id is None:
            return

        def say() -> None:
            client, _ = connect(*where)
            if not only_running or client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, status)

        try:
            ask(say, where[0])
        except TrackingUnavailable as error:
            log.warning("MLflow does not take the end of the sweep (%s); the next tracked run's start says it", error)

    def _close(self) -> None:
        atexit.unregister(self._stopped)
        if self.run_id is not None:
            os.environ.pop(PARENT_VARIABLE, None)
        self.run_id = None
        self._until_the_end.close()
