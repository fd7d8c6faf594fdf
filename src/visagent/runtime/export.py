"""`visagent-export`: a trained network as a file that other programs run, checked against the network it came from.

A method whose networks can be exported has a class method `exportable`, which says what they are
(`visagent.networks.deploy.Exportable`).
"""

from __future__ import annotations

import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from visagent.config.schemas import ExportConfig
from visagent.config.validation import check_targets, validate
from visagent.errors import ConfigError
from visagent.runtime.building import make
from visagent.runtime.record import RunFolder, find_run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visagent.networks.deploy import Exportable

TOLERANCE = 1e-3
"""Of what the file computes, relative to its largest output."""
OPSET = 18


def export(config: DictConfig) -> Path:
    """Write a run's network, or a checkpoint's of the released format, as ONNX or as a PyTorch 2 archive.

    Args:
        config: composed from conf/export.yaml.

    Returns:
        The file. Beside it lies a JSON file with what its users must know, such as the classes, the input's shape and
        its normalisation.

    Raises:
        ConfigError: when there is no such run or checkpoint, its method has nothing to export, or the written file
            computes something else.
    """
    asked = validate(config, ExportConfig)
    if (asked["run"] is None) == (asked["checkpoint"] is None):
        raise ConfigError("expected either run=SIGNATURE or checkpoint=FILE.pth.tar (RubiksNet's released format)")
    folder = find_run(Path(asked["paths"]["outputs"]) / "runs", asked["run"]) if asked["run"] is not None else None
    stored = folder.runnable(asked["allow_targets"]) if folder is not None else {}
    from visagent.runtime.fitting import prepare

    prepare(asked["threads"])
    import torch

    exportable, default = _load(asked, folder, stored)
    x = torch.randn(asked["batch"], *exportable.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = exportable.network(x)
    target = Path(asked["output"] or default.with_suffix(f".{asked['format']}"))
    target.parent.mkdir(parents=True, exist_ok=True)
    run = (
        _onnx(exportable, x, target, asked["threads"])
        if asked["format"] == "onnx"
        else _pt2(exportable.network, x, target)
    )
    error = float((run(x) - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not error < TOLERANCE:
        target.unlink()
        raise ConfigError(
            f"what the exported network computes differs by {error:.2g} of the largest, expected less than "
            f"{TOLERANCE:g}; nothing was kept"
        )
    description = {"input": ["N", *exportable.shape], **exportable.description}
    target.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")
    print(
        f"{target}: {target.stat().st_size / 1e6:.1f} MB; {exportable.output} within {error:.1e} of the network's, "
        "relative to the largest"
    )
    with torch.no_grad():
        rows = (("exported", lambda: run(x)), ("PyTorch", lambda: exportable.network(x)))
        for name, function in rows:
            print(
                f"{name:>9}: {_milliseconds(function, asked['trials']):.1f} ms for {exportable.input} "
                f"{list(x.shape)} on {asked['threads']} CPU thread(s), median"
            )
    return target


def _load(asked: dict[str, Any], folder: RunFolder | None, stored: dict[str, Any]) -> tuple[Exportable, Path]:
    """What is to be exported, and where the file goes unless said otherwise."""
    from visagent.networks.deploy import released

    if folder is None:
        path = Path(asked["checkpoint"])
        return released(path), Path(asked["paths"]["outputs"]) / "exported" / path.name.split(".")[0]
    return exportable_of(folder, stored), folder.path / "network"


def exportable_of(folder: RunFolder, stored: dict[str, Any]) -> Exportable:
    """A run's network as other programs run it; its data need not be there.

    Args:
        folder: of the run.
        stored: its config.

    Raises:
        ConfigError: when its method has nothing to export, or there is no checkpoint yet.
    """
    from visagent.runtime.checkpoints import check_checkpoint

    check_targets({group: stored[group] for group in ("algorithm", "network")})
    from hydra.utils import get_class

    describe = getattr(get_class(stored["algorithm"]["_target_"]), "exportable", None)
    if describe is None:
        raise ConfigError(
            f"run {folder.path}: {stored['name']} has no exported form; expected a run of a method that has one "
            "(experiment=rubiksnet/...)"
        )
    if not folder.checkpoint.is_file():
        raise ConfigError(f"the run in {folder.path} has no checkpoint yet: finish its first epoch")
    exportable: Exportable = describe(
        make("network", stored["network"]), stored["datamodule"], check_checkpoint(folder)
    )
    return exportable


def _onnx(exportable: Exportable, x: Tensor, target: Path, threads: int) -> Callable[[Tensor], Tensor]:
    """Write ONNX with any batch size; returns a function that runs it."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (the exporter needs it and says so less clearly)
    except ImportError as error:
        raise ConfigError(f"format=onnx needs more packages ({error}): pip install 'visagent[export]'") from error
    import torch

    for noisy in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        try:
            program = torch.onnx.export(
                exportable.plain,
                (_several(x),),
                dynamo=True,
                opset_version=OPSET,
                input_names=[exportable.input],
                output_names=[exportable.output],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ConfigError(
                f"{type(exportable.network).__name__} cannot be written as ONNX ({reason}); type format=pt2"
            ) from error
    assert program is not None
    program.save(str(target))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {exportable.input: x.numpy()})[0])


def _pt2(network: nn.Module, x: Tensor, target: Path) -> Callable[[Tensor], Tensor]:
    """Write a PyTorch 2 archive, which holds the project's own operators and so needs `import cuda_ext.ops` where it is
    loaded.
    """
    import torch

    torch.export.save(
        torch.export.export(network, (_several(x),), dynamic_shapes=({0: torch.export.Dim.AUTO},)), target
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*buffer is not writable.*")
        loaded = torch.export.load(target).module()

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            output: Tensor = loaded(x)
        return output

    return run


def _several(x: Tensor) -> Tensor:
    """At least two inputs: the exporters would take a batch of one for a constant."""
    return x if len(x) > 1 else x.repeat(2, *[1] * (x.dim() - 1))


def _milliseconds(function: Callable[[], object], trials: int) -> float:
    function()
    durations = []
    for _ in range(trials):
        began = time.perf_counter()
        function()
        durations.append(1e3 * (time.perf_counter() - began))
    return statistics.median(durations)
