"""`visagent-evaluate`: a trained run, tested again, perhaps under other conditions."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visagent.config.schemas import EvaluateConfig, TrainConfig
from visagent.config.signature import difference
from visagent.config.trust import literal, locate
from visagent.config.validation import check_targets, validate
from visagent.errors import ConfigError
from visagent.runtime.checkpoints import check_checkpoint, reading_checkpoint
from visagent.runtime.provenance import command, commit
from visagent.runtime.record import Record, now, write_atomically
from visagent.runtime.run_folder import RunFolder, find_run
from visagent.runtime.tracked_evaluation import track_evaluation
from visagent.words import counted

log = logging.getLogger(__name__)


def evaluate(config: DictConfig) -> dict[str, float]:
    """Test the last checkpoints of runs and keep what comes out in `<run>/evaluations/`.

    Args:
        config: composed from conf/evaluate.yaml; `datamodule` and `trainer` change the runs' own settings.

    Returns:
        The test metrics of the run, or of several what their fusion has, or the last of them.

    Raises:
        ConfigError: when there is no such run, it has no checkpoint yet, or a changed key does not exist.
    """
    asked = validate(config, EvaluateConfig)
    runs = asked["run"] if isinstance(asked["run"], list) else [asked["run"]]
    if asked["fuse"] is not None:
        _check_fusible(asked, runs)
    kept = [_evaluated(asked, run) for run in runs]
    if asked["fuse"] is not None:
        return _fused(asked, [where for where, _ in kept])
    return kept[-1][1]


def _check_fusible(asked: dict[str, Any], runs: Sequence[str]) -> None:
    """Refuse runs that do not tell the same classes apart, before any of them is tested.

    Raises:
        ConfigError: naming the run and the first class that differs.
    """
    import torch

    found: list[tuple[str, list[str]]] = []
    for run in runs:
        folder, _ = _finished_epoch(Path(asked["paths"]["outputs"]), run)
        with reading_checkpoint(folder.tested_checkpoint):
            content = torch.load(folder.tested_checkpoint, map_location="cpu", weights_only=True, mmap=True)
        if "classes" not in content:
            raise ConfigError(f"fuse: expected runs of classifiers, got {run}, which is none")
        found.append((run, [str(name) for name in content["classes"]]))
    (first, classes), *others = found
    for run, theirs in others:
        if theirs != classes:
            differ = [f"{a!r} and {b!r}" for a, b in zip(classes, theirs, strict=False) if a != b]
            raise ConfigError(
                f"fuse: expected runs of the same classes in the same order, got {first} and {run}, which differ "
                f"{f'first at {differ[0]}' if differ else f'in number: {len(classes)} and {len(theirs)}'}"
            )


def _evaluated(asked: dict[str, Any], run: str) -> tuple[Path, dict[str, float]]:
    """Where an evaluation of a run lies, and its metrics."""
    folder, record = _finished_epoch(Path(asked["paths"]["outputs"]), run)
    stored = folder.runnable(asked["allow_targets"])
    for group in ("algorithm", "network"):
        if known := sorted(set(asked[group]) & set(stored[group])):
            raise ConfigError(
                f"{group}.{known[0]}: the trained {group} is evaluated as it is; expected other settings of "
                "datamodule or trainer, or none"
            )
    resolved = _with(
        stored, {group: asked[group] for group in ("algorithm", "network", "datamodule", "trainer", "threads")}
    )

    from visagent.runtime.drawing import save_shown
    from visagent.runtime.progress import is_seen
    from visagent.runtime.report import print_table

    trainer, module, _ = _tested(resolved, folder, resolved["progress"]["bar"] and is_seen())
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}
    changed = difference(stored, resolved)
    state = folder.state(record)
    tested = read_tested(folder.tested_checkpoint) if _learns(resolved) else {}
    unfinished = "" if state == "FINISHED" else f", a run that is {state} after {counted(len(record.history), 'epoch')}"
    print_table(
        record,
        folder,
        metrics,
        f"{record.name}  seed {record.seed}, evaluated again"
        + (f" with {'; '.join(changed)}" if changed else "")
        + unfinished,
    )
    if tested:
        average = ", the moving average of its weights" if tested["averaged"] else ""
        print(f"tested: {tested['checkpoint']}, of epoch {tested['epoch'] + 1}{average}")
    where = folder.path / "evaluations" / hashlib.sha256("\n".join(changed).encode()).hexdigest()[:10]
    epochs = len(record.history)
    _save(where.with_suffix(".json"), metrics, changed=changed, status=state, epochs=epochs, tested=tested)
    about = {"status": state, "epochs": epochs, "tested": tested}
    outputs = Path(asked["paths"]["outputs"])
    track_evaluation(stored, folder, record, where.name, metrics, changed, about, outputs)
    save_shown(module, where)
    return where, metrics


def read_tested(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint holds: its epoch, from 0 on, whether its weights are averaged, and a hash of them."""
    import torch

    from visagent.runtime.weight_average import WHILE_TRAINED

    with reading_checkpoint(checkpoint):
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    digest = hashlib.sha256()
    for name, value in sorted(content["state_dict"].items()):
        digest.update(name.encode() + value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return {
        "checkpoint": checkpoint.name,
        "epoch": int(content["epoch"]),
        "averaged": WHILE_TRAINED in content,
        "weights": digest.hexdigest()[:16],
    }


def _fused(asked: dict[str, Any], evaluations: Sequence[Path]) -> dict[str, float]:
    """Late fusion of what several runs predicted; its numbers and predictions lie in `outputs/fusions/`."""
    from visagent.metrics.predictions import Predictions, fused
    from visagent.runtime.drawing import save_figure
    from visagent.runtime.report import print_metrics
    from visagent.video.figures import draw_confusion

    runs, weights = [where.parents[1].name for where in evaluations], asked["fuse"]
    named = [sorted(path.name for path in (where / "predictions").glob("*.npz")) for where in evaluations]
    common = [name for name in named[0] if all(name in others for others in named)]
    if not common:
        raise ConfigError(
            f"fuse: expected runs of classifiers tested by a protocol that all have, got {', '.join(runs)} with "
            f"{'; '.join(', '.join(names) or 'none' for names in named)}"
        )
    name = "-".join(runs) + "-" + hashlib.sha256(repr((weights, *evaluations)).encode()).hexdigest()[:6]
    where = Path(asked["paths"]["outputs"]) / "fusions" / name
    metrics: dict[str, float] = {}
    for file in common:
        protocol = Path(file).stem
        joined = fused([Predictions.load(each / "predictions" / file) for each in evaluations], weights)
        where.mkdir(parents=True, exist_ok=True)
        joined.save(where / file)
        joined.save_per_class(where / f"{protocol}_per_class.csv")
        save_figure(draw_confusion(joined.confusion(), joined.classes), where / f"{protocol}_confusion.png")
        metrics |= {f"test/{protocol}/{key}": value for key, value in joined.accuracies().items()}
    print_metrics(f"fusion of {' and '.join(runs)}, weights {weights}", metrics)
    _save(where / "fusion.json", metrics, runs=runs, weights=weights)
    return metrics


def _with(stored: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A stored config with changes, validated, its targets imported."""
    merged = OmegaConf.merge(literal(stored), literal(changes))
    assert isinstance(merged, DictConfig)
    resolved = validate(merged, TrainConfig)
    check_targets(resolved)
    return resolved


def _finished_epoch(outputs: Path, run: str) -> tuple[RunFolder, Record]:
    folder = find_run(outputs / "runs", run)
    record = folder.load()
    if record is not None and record.status == "FINISHED" and not folder.checkpoint.is_file():
        raise ConfigError(
            f"the run in {folder.path} ({record.name}) trains nothing that could be evaluated: '{record.command}' "
            "shows its numbers"
        )
    if record is None or not folder.checkpoint.is_file():
        raise ConfigError(
            f"the run in {folder.path} has no checkpoint yet: finish its first epoch with "
            f"'{record.command if record else 'visagent-train'}'"
        )
    return folder, record


def trained(
    outputs: Path, run: str, allowed: Sequence[str] = (), changes: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """A run's module with the weights of its last checkpoint, and its DataModule.

    Args:
        outputs: where runs are.
        run: a signature, the beginning of one, or a folder.
        allowed: see `visagent.config.trust.refuse_foreign`.
        changes: of its config.

    Raises:
        ConfigError: when there is no such run, it has no checkpoint yet, or its config would run the code of others.
    """
    folder = find_run(outputs / "runs", run)
    stored = folder.runnable(allowed)
    if _learns(stored):
        _finished_epoch(outputs, run)
    here = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "limit_test_batches": 0}
    _, module, datamodule = _tested(_with(_with(stored, changes or {}), {"trainer": here}), folder, False)
    return module.cpu().eval(), datamodule


def _learns(config: dict[str, Any]) -> bool:
    """Whether a run has weights of its own."""
    from lightning_modules.untrained import Untrained

    target = locate(str(config["algorithm"]["_target_"]), "algorithm")
    return not (isinstance(target, type) and issubclass(target, Untrained))


def _tested(resolved: dict[str, Any], folder: RunFolder, bar: bool) -> tuple[Any, Any, Any]:
    """Trainer, module and DataModule after a test with the last checkpoint."""
    from visagent.runtime.callbacks import AtomicCheckpointIO
    from visagent.runtime.fitting import build, build_trainer, prepare
    from visagent.runtime.progress import Progress

    checkpoint = check_checkpoint(folder) if _learns(resolved) else None
    prepare(resolved["threads"])
    module, datamodule = build(resolved)
    trainer = build_trainer(
        resolved,
        logger=False,
        enable_checkpointing=False,
        plugins=[AtomicCheckpointIO()],
        callbacks=[Progress()] if bar else [],
        enable_progress_bar=bar,
    )
    with warnings.catch_warnings():
        # they have nothing to do here
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")
        if checkpoint is None:
            trainer.test(module, datamodule, verbose=False)
            return trainer, module, datamodule
        with reading_checkpoint(checkpoint):
            trainer.test(module, datamodule, ckpt_path=str(checkpoint), weights_only=True, verbose=False)
    return trainer, module, datamodule


def _save(path: Path, metrics: dict[str, float], **about: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        **about,
        "command": command(),
        "commit": commit(),
        "time": now(),
        "metrics": metrics,
    }
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    log.info("saved %s", path)
