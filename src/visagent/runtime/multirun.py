"""A sweep's parent run in MLflow; the children find it through the environment, in this process and in launched ones."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from visagent.errors import ConfigError
from visagent.runtime.record import PARENT_VARIABLE

LOCAL_LAUNCHERS = ("basic", "joblib")
"""They run jobs in this process or its children; submitit's give each rank a process of its own."""
WATCHER, WATCH_SECONDS, GRACE_SECONDS = "end-with-parent", 2.0, 30.0


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
        raise ConfigError(f"a sweep (-m) with trainer.devices={devices} cannot run in this process: type trainer.devices=1, or one command per run without -m")


def settle_in_worker() -> None:
    """In a joblib worker of a sweep: behave like a process of one's own.

    joblib leaves its own start method behind as multiprocessing's default, which processes that a run starts (scene makers, data loaders)
    cannot find: the platform's is put back. And its workers outlive a parent that was killed, holding memory and the run's lock for ever:
    they end with it, a training as a KILLED run that can be resumed.
    """
    if not HydraConfig.initialized() or str(HydraConfig.get().runtime.choices.get("hydra/launcher")) != "joblib":
        return
    if any(thread.name == WATCHER for thread in threading.enumerate()):
        return
    multiprocessing.set_start_method(None, force=True)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(143)

    threading.Thread(target=watch, name=WATCHER, daemon=True).start()


class MultirunParent(Callback):
    """Opens the parent when a multirun starts and closes it at the end; the same sweep again goes on with the same parent.

    Where the environment names a parent already (a table's run), that one is the parent and is left open.
    """

    def __init__(self) -> None:
        self.client: Any = None
        self.run_id: str | None = None
        self.failed = False

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if not config.logger.enabled or os.environ.get(PARENT_VARIABLE):
            return
        from visagent.runtime.tracking import connect, tracking_uri

        overrides = sorted(config.hydra.overrides.task)
        sweep = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:10]
        outputs = Path(str(config.paths.outputs))
        logger = OmegaConf.to_container(config.logger, resolve=True)
        assert isinstance(logger, dict)
        uri = tracking_uri({str(k): v for k, v in logger.items()}, outputs)
        self.client, experiment = connect(uri, str(config.logger.experiment), outputs)
        found = self.client.search_runs([experiment], f"tags.`visagent.sweep` = '{sweep}'", max_results=1)
        if found:
            self.run_id = str(found[0].info.run_id)
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            tags = {"visagent.sweep": sweep, "visagent.kind": "multirun", "visagent.overrides": " ".join(overrides)}
            self.run_id = str(self.client.create_run(experiment, run_name="sweep " + " ".join(overrides)[:200], tags=tags).info.run_id)
        os.environ[PARENT_VARIABLE] = self.run_id

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        self.failed = self.failed or job_return.status == JobStatus.FAILED
        if self.failed and self.run_id is not None:
            # Hydra does not call on_multirun_end after a failure: say so now, a later job's success does not change it.
            self.client.set_terminated(self.run_id, "FAILED")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self.run_id is not None:
            os.environ.pop(PARENT_VARIABLE, None)
            self.client.set_terminated(self.run_id, "FAILED" if self.failed else "FINISHED")
