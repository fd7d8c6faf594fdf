"""`visagent-train`: one config, one recorded run."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from visagent.config.composition import signed
from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.trust import literal
from visagent.config.validation import check_targets, validate
from visagent.errors import ConfigError, OthersGone, UserError, machine_message
from visagent.lifeline import end_with_parent
from visagent.runtime.allocation import check_tasks, global_rank, in_a_queue, several_processes
from visagent.runtime.credentials import public, without_credentials
from visagent.runtime.experts import have_expert
from visagent.runtime.extending import begun
from visagent.runtime.fitting import fit
from visagent.runtime.learners import (
    STOP_SECONDS,
    Learner,
    Place,
    another_learner,
    in_the_background,
    learner_of,
    serve_learners,
)
from visagent.runtime.provenance import command, commit, hardware, versions
from visagent.runtime.record import Record, now
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.run_log import RunLog, logged
from visagent.runtime.run_page import write_page
from visagent.runtime.stopping import Cancelled, Preempted, Pruned, signals_cancel
from visagent.runtime.system_use import SystemUse
from visagent.runtime.tracking import TrackingUnavailable, ask, check_tracking, tracking_uri

if TYPE_CHECKING:
    from visagent.runtime.mlflow_logger import MLflowTracker

log = logging.getLogger(__name__)


__all__ = ["Cancelled", "train"]
IDLE_ATTEMPTS = 2
"""In a row, without an epoch, after which a run that is to make way is not put back into the queue."""
LAST_WORDS_SECONDS = 5.0
"""How long the first rank waits for what another one, whose end ended it too, has to say."""


def train(config: DictConfig) -> Record:
    """Validate a composed config, then train, resume or report the run that it names.

    Args:
        config: composed from conf/train.yaml, without the `hydra` node.

    Returns:
        The finished run's record.

    Raises:
        UserError: for anything that the user can mend.
    """
    resolved = signed(validate(config, TrainConfig))
    check_tasks(resolved["trainer"], None if resolved["learners"] is None else resolved["learners"]["count"])
    outputs = Path(resolved["paths"]["outputs"])
    check_tracking(resolved["logger"], outputs)
    name = signature(resolved)
    folder = RunFolder(resolved["paths"]["run"] or outputs / "runs" / name)
    folder.check(resolved)
    record = folder.load()
    rank = global_rank(resolved["trainer"])
    if record is not None and record.status == "FINISHED":
        return _finished(resolved, record, folder, outputs, rank)
    if resolved["scale"] == "paper" and resolved["datamodule"].get("root") == "embedded":
        raise ConfigError(
            "paths.videos: expected the real data set's folder at paper scale, got embedded; type paths.videos=DIR, "
            "or scale=laptop"
        )
    check_targets(resolved)
    if (pictures := resolved["algorithm"].get("distractors")) is not None:
        from visagent.augment.distractors import pictures_below

        pictures_below(pictures)  # before an expert is trained
    alone = rank == 0 and not _several()
    have_expert(resolved, alone, lambda needed: train(OmegaConf.create(literal(needed))))
    folder.create(resolved)
    if rank > 0:  # the first one keeps the record
        return _followed(resolved, folder, record or _new_record(resolved, name), rank)
    with folder.locked():
        record = folder.load()
        if record is not None and record.status == "FINISHED":  # by another process, meanwhile
            return _finished(resolved, record, folder, outputs, rank)
        if record is None:
            record = begun(resolved, folder, _new_record(resolved, name))
        return _tracked(resolved, folder, record, outputs)


def _finished(config: dict[str, Any], record: Record, folder: RunFolder, outputs: Path, rank: int) -> Record:
    """Say what a finished run has come to."""
    log.info("this run is finished (change seed=... or name=... for another)")
    if rank == 0:
        _deliver(config, folder, outputs)
    _summarise(config, record, folder)
    return record


def _new_record(config: dict[str, Any], name: str) -> Record:
    return Record(
        signature=name,
        name=str(config["name"]),
        command=command(),
        seed=int(config["seed"]),
        scale=str(config["scale"]),
    )


def _title(folder: RunFolder, attempt: int) -> str:
    return f"{now()}  attempt {attempt} of the run in {folder.path}: {command()}"


def _followed(config: dict[str, Any], folder: RunFolder, record: Record, rank: int) -> Record:
    """Run as a rank other than the first; why it fails is left in the run folder."""
    with logged(folder.log(rank), _title(folder, record.attempts + 1)) as written:
        try:
            with signals_cancel([]):
                if config["learners"] is None:
                    fit(config, folder, record, None)
                else:
                    serve_learners(config, folder, learn_too, rank)
        except (KeyboardInterrupt, SystemExit) as error:
            if _makes_way(error):
                raise Preempted from error
            raise
        except Exception as error:  # whatever it is, the first rank's record shall say it
            cause = _cause(error)
            written.write(f"{cause}\n")
            folder.failed(rank, cause)
            raise
    return record


def _cause(error: BaseException) -> str:
    """What a record says of an error: its message where a user can mend it, else all of it."""
    message = machine_message(error) or (str(error) if isinstance(error, UserError) else None)
    return without_credentials(message or "".join(traceback.format_exception(error)))


def learn_too(config: dict[str, Any], number: int, place: Place) -> None:
    """What a learner of a run does that is not the first, in a process of its own.

    Args:
        config: resolved, of this learner; see `visagent.runtime.learners.config_of`.
        number: of the learner.
        place: where it finds the others.
    """
    end_with_parent(grace=STOP_SECONDS)
    folder = RunFolder(config["paths"]["run"])
    in_the_background(folder.log())
    learner = another_learner(config, number, place)
    try:
        with folder.locked():
            folder.create(config)
            record = folder.load() or _new_record(config, signature(config))
            _tracked(config, folder, record, Path(config["paths"]["outputs"]), learner)
            learner.stay()
    except Exception as error:
        if not isinstance(error, OthersGone):
            learner.failed(_cause(error))
        raise
    finally:
        learner.learners.leave()


def _tracked(
    config: dict[str, Any], folder: RunFolder, record: Record, outputs: Path, learner: Learner | None = None
) -> Record:
    """Run with the record, the log and the tracker kept true, however it ends.

    Args:
        config: resolved.
        folder, record: of the run.
        outputs: where all runs are.
        learner: this process's part, where it is one of the run's other learners.
    """
    with logged(folder.log(), _title(folder, record.attempts + 1)) as written:
        if not record.attempts:
            log.info("%s, seed %d, %s scale; run folder %s", record.name, record.seed, record.scale, folder.path)
        else:
            status = "cut off" if record.status == "RUNNING" else record.status
            log.info("resuming the run in %s (%s, %d epochs done)", folder.path, status, len(record.history))
        folder.forget_failures()
        record.status, record.error, record.command = "RUNNING", None, command()
        record.commit, record.versions, record.hardware = commit(), versions(), hardware()
        record.attempts += 1
        record.idle_attempts += in_a_queue()  # until an epoch is done
        began, before = time.monotonic(), record.seconds
        trackers: list[MLflowTracker] = []
        received: list[int] = []
        try:
            with signals_cancel(received):
                _check_progress(record, IDLE_ATTEMPTS)
                folder.save(record)
                if config["logger"]["enabled"]:
                    trackers.append(_tracker(config, folder, record, outputs))
                with (
                    SystemUse(folder.system),
                    nullcontext(learner) if learner else learner_of(config, folder, learn_too) as one,
                ):
                    fit(config, folder, record, next(iter(trackers), None), one)
                record.status = "FINISHED"
        except Pruned as error:
            record.status, record.error = "KILLED", str(error)
            log.info("%s", error)
        except BaseException as error:  # noqa: BLE001 (goes on, once the record says it)
            if _makes_way(error) or (received and _for_another()):
                _wait(record, written)
            record.idle_attempts = 0
            _failed(error, folder, record, written, received)
        finally:
            record.seconds, record.finished = before + time.monotonic() - began, now()
            write_page(folder, record, config)
            _finish(folder, record, trackers, written)
        _summarise(config, record, folder)
    return record


def _failed(error: BaseException, folder: RunFolder, record: Record, written: RunLog, received: list[int]) -> NoReturn:
    """Put into the record how a run has ended, and go on as an error of the kind that the commands show."""
    stopped = isinstance(error, (KeyboardInterrupt, SystemExit))  # Lightning turns the former into the latter
    elsewhere = folder.failure_of_ranks() if stopped and not received else _last_words(error, folder)
    if elsewhere is not None:  # that this one has ended too is what came of it
        record.status, record.error = "FAILED", elsewhere
        written.write(f"{elsewhere}\n")
        raise UserError(elsewhere) from error
    if stopped:
        record.status = "KILLED"
        written.write("stopped\n")
        raise Cancelled(*received) from error
    record.status, record.error = "FAILED", _cause(error)
    written.write(f"{record.error}\n")
    if (message := machine_message(error)) is not None:
        raise UserError(message) from error
    raise error


def _makes_way(error: BaseException) -> bool:
    """Whether a run ends because the scheduler wants it to make way, which Lightning turns into an end of its own."""
    return isinstance(error, Preempted) or isinstance(error.__context__, Preempted)


def _for_another() -> bool:
    """Whether Slurm ends this job for another one, though it has sent no more than any end of a job."""
    from visagent.runtime.preemption import for_another

    return for_another()


def _check_progress(record: Record, most: int) -> None:
    """Refuse to go on in a job whose attempts finish no epoch: it would go back into the queue for ever.

    Args:
        record: of the run.
        most: attempts in a row without an epoch, this one among them, that are all right.

    Raises:
        UserError: naming what to type.
    """
    if record.idle_attempts > most:
        raise UserError(
            f"{IDLE_ATTEMPTS} attempts in a row ended before they had finished an epoch: give each more time with "
            "launcher.timeout_min=MINUTES, or make epochs shorter"
        )


def _wait(record: Record, written: RunLog) -> NoReturn:
    """Put into the record that a run goes on later; one that does not get on has failed."""
    try:
        _check_progress(record, IDLE_ATTEMPTS - 1)
    except UserError as error:
        record.status, record.error, record.idle_attempts = "FAILED", str(error), 0
        written.write(f"{error}\n")
        raise
    record.status = "KILLED"
    written.write("makes way, and goes on when its job's turn comes again\n")
    raise Preempted


def _last_words(error: BaseException, folder: RunFolder) -> str | None:
    """Why another rank failed, where this one's error may come of that: the other one may write a moment later."""
    if isinstance(error, UserError) or not _several():
        return None
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    while (said := folder.failure_of_ranks()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return said


def _several() -> bool:
    """Whether there are other processes of this run; Lightning takes WORLD_SIZE out of the environment when a training
    fails.
    """
    torch = sys.modules.get("torch")
    joined = torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
    return joined or several_processes()


def _finish(folder: RunFolder, record: Record, trackers: list[MLflowTracker], written: RunLog) -> None:
    """Write the record a last time and close the tracker, even where the record cannot be written.

    Raises:
        UserError: when a run that was well has no place for its record.
    """
    refused: OSError | None = None
    try:
        folder.save(record)
    except OSError as error:
        refused = error
        said = (
            f"the record cannot be written ({machine_message(error) or error}): it says that the run is RUNNING; it "
            f"is {record.status}"
        )
        log.error("%s", said)
    known = record.mlflow_run_id
    for tracker in trackers:
        tracker.save_artifact(folder.path / "record.json")
        if folder.page.is_file():
            tracker.save_artifact(folder.page)
        tracker.close(record.status if refused is None or record.status != "FINISHED" else "FAILED")
    if refused is None and record.mlflow_run_id != known:  # MLflow has answered only now
        folder.save(record)
    if refused is not None and record.status == "FINISHED":
        raise UserError(machine_message(refused) or str(refused)) from refused


def _summarise(config: dict[str, Any], record: Record, folder: RunFolder) -> None:
    if config["progress"]["summary"]:
        from visagent.runtime.report import print_table

        print_table(record, folder, full=config["progress"]["summary"] == "full")


def _tracker(config: dict[str, Any], folder: RunFolder, record: Record, outputs: Path) -> MLflowTracker:
    from visagent.runtime.mlflow_logger import MLflowTracker
    from visagent.runtime.outbox import Store

    uri = tracking_uri(config["logger"], outputs)
    tags = {
        "visagent.signature": record.signature,
        "visagent.created": record.created,
        "visagent.kind": "run",
        "visagent.scale": record.scale,
        "visagent.commit": record.commit,
        "visagent.folder": str(folder.path.resolve()),
        "visagent.command": record.command,
    }

    def known(run_id: str) -> None:
        record.mlflow_run_id, record.tracking_uri = run_id, without_credentials(uri)

    store = Store(uri, config["logger"]["experiment"], outputs)
    tracker = MLflowTracker.open(
        store,
        folder.path,
        record.mlflow_run_id,
        f"{record.name}-s{record.seed}",
        public(config),
        tags,
        known,
        record.history,
    )
    folder.save(record)
    return tracker


def _deliver(config: dict[str, Any], folder: RunFolder, outputs: Path) -> None:
    """Send what MLflow has not taken of a finished run."""
    if not config["logger"]["enabled"]:
        return
    from visagent.runtime.outbox import Store, deliver_ended, outbox_path

    uri = tracking_uri(config["logger"], outputs)
    if not outbox_path(folder.path, uri, outputs).is_file():
        return
    try:
        ask(lambda: deliver_ended(Store(uri, config["logger"]["experiment"], outputs), folder.path.parent), uri)
        log.info("MLflow has now what it had missed of this run")
    except TrackingUnavailable as error:
        log.warning(
            "MLflow at %s still cannot be used (%s); what it misses stays in %s",
            without_credentials(uri),
            error,
            folder.path,
        )
