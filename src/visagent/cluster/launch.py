"""Submits the runs of a sweep that are neither finished nor under way, and waits for all of them in the order in which
they end.
"""

from __future__ import annotations

import logging
import pickle
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from visagent.cluster.job import Job
from visagent.cluster.resources import MANY_TIMES, Resources, resources
from visagent.config.composition import Composed, compose_run, config_folder
from visagent.config.signature import signature
from visagent.errors import ConfigError, UserError
from visagent.runtime.failures import by_table
from visagent.runtime.locking import NETWORK, file_system
from visagent.runtime.queue import remember, remembered, tail
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.slurm import QueueSilent, last_state, live_jobs
from visagent.runtime.tracking import database_file, tracking_uri

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
"""Between two looks at the jobs."""
GONE_LOOKS, LATE_LOOKS = 3, 90
"""Looks at which a job is neither in the queue nor has a result before it counts as lost; and where Slurm says that it
has completed, as a file system of several nodes may show files a minute late.
"""
EXECUTORS = {"slurm": "slurm", "submitit_local": "local"}


class JobLost(UserError):
    """A job ended without a result."""


class RunsFailed(UserError):
    """Some runs of a sweep failed; each was reported as it ended."""

    status = 1


@dataclass
class Planned:
    """A run of a sweep.

    Attributes:
        number: its place in the sweep.
        overrides: of the run.
        config: resolved.
        folder: the run's.
        asked: of the cluster.
        job: submitit's, once there is one; None where another process works on the run.
        found: whether the job was submitted by an earlier command.
        gone: looks at which there was nothing to be seen of it.
    """

    number: int
    overrides: list[str]
    config: Mapping[str, Any]
    folder: RunFolder
    asked: Resources
    job: Any = None
    found: bool = False
    gone: int = 0

    @property
    def label(self) -> str:
        """The overrides, as they were typed."""
        return " ".join(self.overrides)


class Sweep:
    """One launch: some runs, by one launcher.

    Args:
        hydra_context, task_function, config: of Hydra.
    """

    def __init__(self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config
        self.job = Job(hydra_context, task_function, config, Singleton.get_state())
        self.outputs = Path(str(config.paths.outputs)).resolve()
        self.returns: dict[int, JobReturn] = {}

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Submit what is to be submitted and wait for all.

        Args:
            jobs: overrides of each.
            first: the number of the first.

        Raises:
            ConfigError: when one of them cannot be run; nothing is submitted then.
            RunsFailed: when some have, unless a table asks, which says it itself.
        """
        planned = self._plan(jobs, first)
        kind = planned[0].config["launcher"]["kind"]
        executor = EXECUTORS[kind]
        if executor == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError("launcher=slurm: expected sbatch on this machine, found none; type launcher=parallel")
        if executor == "slurm":
            _warn_of_files(planned[0].config)
        to_submit = [run for run in planned if not self._known(run, executor)]
        try:
            if executor == "local":
                self._wait([run for run in planned if run.found], to_submit)
            else:
                self._submit(to_submit, executor)
                self._wait([run for run in planned if run.number not in self.returns])
        except KeyboardInterrupt:
            going = [run.job.job_id for run in planned if run.job is not None and run.number not in self.returns]
            if executor == "slurm" and going:
                print(f"jobs {', '.join(going)} go on; the same command waits for them again", file=sys.stderr)
            raise
        returns = [self.returns[run.number] for run in planned]
        failed = sum(returned.status == JobStatus.FAILED for returned in returns)
        if failed and not by_table(self.config):
            raise RunsFailed(
                f"{failed} of {len(returns)} runs failed, as is said above; the same command runs what is not finished"
            )
        return returns

    def _plan(self, jobs: Sequence[Sequence[str]], first: int) -> list[Planned]:
        planned, known, seen = [], Composed(), dict[Path, str]()
        with config_folder():
            for number, overrides in enumerate(jobs, start=first):
                config = compose_run(overrides, known)
                name = signature(config)
                folder = RunFolder(config["paths"]["run"] or Path(config["paths"]["outputs"]) / "runs" / name)
                folder.check(config)
                label = " ".join(overrides)
                if (other := seen.setdefault(folder.path, label)) != label:
                    raise ConfigError(f"{label}: expected another run, got the one that {other} is, too; leave one out")
                asked = resources(config, " ".join(overrides))
                planned.append(Planned(number, list(overrides), config, folder, asked))
        return planned

    def _known(self, run: Planned, executor: str) -> bool:
        """Whether a run is finished or under way, so that it is not to be submitted."""
        record = run.folder.load()
        if record is not None and record.status == "FINISHED":
            self._say(f"finished before: {run.label}")
            self.returns[run.number] = JobReturn(overrides=run.overrides, status=JobStatus.COMPLETED)
            return True
        job = remembered(run.folder)
        if executor == "slurm" and job is not None:
            try:
                alive = job.job in live_jobs()
            except QueueSilent as error:
                raise UserError(
                    f"{run.label}: whether job {job.job} still runs cannot be said ({error}); type the same command "
                    "again once Slurm answers"
                ) from error
            if alive:
                import submitit

                run.job = submitit.SlurmJob(folder=job.folder, job_id=job.job, tasks=list(range(job.tasks)))
                run.found = True
                self._say(f"job {job.job} is under way: {run.label}")
                return True
        if run.folder.is_locked():
            run.found = True
            self._say(f"another process works on it: {run.label}")
            return True
        return False

    def _submit(self, runs: Sequence[Planned], executor: str) -> None:
        """Submit runs; those that ask for the same as an array."""
        groups: dict[str, list[Planned]] = {}
        for run in runs:
            groups.setdefault(repr(run.asked), []).append(run)
        for group in groups.values():
            for run, job in zip(group, self._submitted(group, executor), strict=True):
                run.job = job
                for task in range(job.num_tasks):  # of another job, which had this number before
                    job.task(task).paths.result_pickle.unlink(missing_ok=True)
                if executor == "slurm":
                    remember(run.folder, job.job_id, self.outputs / "jobs" / "%j", job.num_tasks)
                self._say(f"job {job.job_id}: {run.label}\n    log: {_log(job)}")

    def _submitted(self, group: Sequence[Planned], executor: str) -> Sequence[Any]:
        import submitit

        asked = group[0].asked
        slurm = {"slurm_max_num_timeout": MANY_TIMES, "slurm_python": _python()} if executor == "slurm" else {}
        made = submitit.AutoExecutor(folder=self.outputs / "jobs" / "%j", cluster=executor, **slurm)
        made.update_parameters(**asked.parameters(executor))
        try:
            jobs: Sequence[Any] = made.map_array(
                self.job, [run.overrides for run in group], [run.number for run in group]
            )
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f"sbatch refuses {group[0].label}: {str(error).strip().splitlines()[-1]}") from error
        return jobs

    def _wait(self, runs: Sequence[Planned], later: Sequence[Planned] = ()) -> None:
        """Until all have ended.

        Args:
            runs: that are under way.
            later: that this machine begins with as others end, no more at a time than are wanted.
        """
        working, waiting = list(runs), list(later)
        at_once = waiting[0].config["launcher"]["at_once"] if waiting else None
        while waiting or working:
            while waiting and (at_once is None or sum(run.job is not None for run in working) < at_once):
                run = waiting.pop(0)
                self._submit([run], "local")
                working.append(run)
            working = [run for run in working if not self._ended(run)]
            if working:
                time.sleep(LOOK_SECONDS)

    def _ended(self, run: Planned) -> bool:
        """Whether a run has ended; its return is kept then, and said."""
        returned = _outcome(run)
        if returned is None:
            return False
        self.returns[run.number] = returned
        word = "failed" if returned.status == JobStatus.FAILED else "done"
        self._say(f"{len(self.returns)} ended, {word}: {run.label}")
        if run.job is not None and word == "failed":
            # What Hydra does after a job of its own process: it is said, and the sweep's MLflow run has failed.
            config = self.context.config_loader.load_sweep_config(self.config, run.overrides)
            self.context.callbacks.on_job_end(config=config, config_name="train", job_return=returned)
        return True

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _warn_of_files(config: Mapping[str, Any]) -> None:
    """Say so where jobs of several machines would write into one SQLite file over a network."""
    if not config["logger"]["enabled"]:
        return
    file = database_file(tracking_uri(config["logger"], Path(config["paths"]["outputs"])))
    if file is not None and (kind := file_system(file.parent)) in NETWORK:
        log.warning(
            "MLflow's database %s lies on %s, where SQLite's locks are not reliable: type visagent-mlflow-server on a "
            "machine that all nodes reach, and machine.tracking_uri=http://HOST:PORT here",
            file,
            kind,
        )


def _outcome(run: Planned) -> JobReturn | None:
    """What came of a run; None as long as it goes on."""
    if run.job is None:  # another process's
        return None if run.folder.is_locked() else _by_record(run)
    first = run.job.task(0)
    if first.paths.result_pickle.is_file():
        return _result(run, first)
    if not _alive(run.job):
        run.gone += 1
    else:
        run.gone = 0
    if run.gone < GONE_LOOKS:
        return None
    record = run.folder.load()
    if record is not None and record.status == "FINISHED":
        return _by_record(run)
    if not _is_slurm(run.job):
        return _failed(run, f"job {run.job.job_id} is lost, submitit's state of it is {first.state}")
    state = last_state(run.job.job_id)
    if state.startswith("COMPLETED") and run.gone < LATE_LOOKS:
        return None
    return _failed(run, f"job {run.job.job_id} is lost, Slurm's state of it is {state}")


def _is_slurm(job: Any) -> bool:
    import submitit

    return isinstance(job, submitit.SlurmJob)


def _alive(job: Any) -> bool:
    if not _is_slurm(job):
        return not job.done()
    try:
        return job.job_id in live_jobs()
    except QueueSilent:
        return True


def _result(run: Planned, task: Any) -> JobReturn | None:
    try:
        outcome, result = pickle.loads(task.paths.result_pickle.read_bytes())
    except (EOFError, OSError):  # not all of it is there yet
        return None
    except Exception as error:  # noqa: BLE001 (of a class that does not unpickle: whatever it says, the others go on)
        return _failed(run, f"job {run.job.job_id} ended with what cannot be read ({error})")
    if outcome == "success" and isinstance(result, JobReturn):
        return result
    return _failed(run, f"job {run.job.job_id} failed before its run began: {str(result).strip().splitlines()[-1]}")


def _by_record(run: Planned) -> JobReturn:
    record = run.folder.load()
    if record is not None and record.status == "FINISHED":
        return JobReturn(overrides=run.overrides, status=JobStatus.COMPLETED)
    return _failed(run, f"the process that worked on it ended, {record.status if record else 'without a record'}")


def _failed(run: Planned, why: str) -> JobReturn:
    """The return of a run whose job said nothing itself."""
    lines = []
    if run.job is not None:
        log = _log(run.job)
        lines = [f"the end of {log}:", *(f"    {line}" for line in tail(log))]
    return JobReturn(overrides=run.overrides, status=JobStatus.FAILED, _return_value=JobLost("\n".join([why, *lines])))


def _log(job: Any) -> Path:
    """Where a job's first task writes."""
    return Path(job.task(0).paths.stderr)


def _python() -> str:
    """The command that starts Python with submitit's signal held back until there is a handler for it: before that, the
    signal would end the process, and the job for good.
    """
    python = shlex.quote(sys.executable)
    try:
        held = subprocess.run(["env", "--block-signal=USR2", "true"], capture_output=True).returncode == 0
    except OSError:
        held = False
    return f"env --block-signal=USR2 {python}" if held else python
