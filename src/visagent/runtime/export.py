"""`visagent-export`: a trained network as a file that other programs run, checked against the network it came from.

A method whose networks can be exported says what they are (`visagent.networks.deploy.Exportable`): by a static method
`exportable`, of a checkpoint alone, or by a method `exported` of a trained module.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from visagent.config.schemas import ExportConfig
from visagent.config.validation import check_targets, validate
from visagent.errors import ConfigError
from visagent.runtime.building import make
from visagent.runtime.run_folder import RunFolder, find_run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visagent.networks.deploy import Exportable

    Tensors = tuple[Tensor, ...]

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
    generator = torch.Generator().manual_seed(0)
    x, another = (
        tuple(given.example(count, generator) for given in exportable.inputs.values())
        for count in (asked["batch"], asked["batch"] + 2)
    )
    target = Path(asked["output"] or default.with_suffix(f".{asked['format']}"))
    target.parent.mkdir(parents=True, exist_ok=True)
    written = target.with_name(f"{target.stem}.partial{target.suffix}")
    try:
        run = (
            _onnx(exportable, x, written, asked["threads"])
            if asked["format"] == "onnx"
            else _pt2(exportable.network, x, written)
        )
        error = _checked(run, exportable.network, (x, another))
        os.replace(written, target)
    finally:
        written.unlink(missing_ok=True)  # what was there before stays, unless this is right
    inputs = {name: {"shape": ["N", *one.shape], "dtype": one.dtype} for name, one in exportable.inputs.items()}
    with torch.no_grad():
        made = zip(exportable.outputs, _several(exportable.network(*x)), strict=True)
    outputs = {name: {"shape": ["N", *one.shape[1:]], "dtype": str(one.dtype).rpartition(".")[2]} for name, one in made}
    description = {"inputs": inputs, "outputs": outputs, **exportable.description}
    target.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")
    print(
        f"{target}: {target.stat().st_size / 1e6:.1f} MB; {', '.join(exportable.outputs)} within {error:.1e} of the "
        "network's, relative to the largest"
    )
    with torch.no_grad():
        rows = (("exported", lambda: run(x)), ("PyTorch", lambda: exportable.network(*x)))
        digits = 1 if "clips" in exportable.inputs else 3  # policies are small
        for name, function in rows:
            print(
                f"{name:>9}: {_milliseconds(function, asked['trials']):.{digits}f} ms for "
                f"{', '.join(f'{input} {list(part.shape)}' for input, part in zip(exportable.inputs, x, strict=True))} "
                f"on {asked['threads']} CPU thread(s), median"
            )
    return target


def _checked(run: Callable[[Tensors], Tensors], network: nn.Module, inputs: Sequence[Tensors]) -> float:
    """How far what was written is from the network, relative to the largest output.

    Raises:
        ConfigError: where it does not run, or is too far.
    """
    try:
        error = max(_error(run, network, given) for given in inputs)
    except Exception as failure:  # each runtime has its own
        raise ConfigError(
            f"what was written does not run: {str(failure).splitlines()[0]}; type format=pt2, or onnx"
        ) from failure
    if not error < TOLERANCE:
        raise ConfigError(
            f"what the exported network computes differs by {error:.2g} of the largest, expected less than "
            f"{TOLERANCE:g}; nothing was kept"
        )
    return error


def _load(asked: dict[str, Any], folder: RunFolder | None, stored: dict[str, Any]) -> tuple[Exportable, Path]:
    """What is to be exported, and where the file goes unless said otherwise."""
    from visagent.networks.deploy import released

    if folder is None:
        path = Path(asked["checkpoint"])
        return released(path), Path(asked["paths"]["outputs"]) / "exported" / path.name.split(".")[0]
    return exportable_of(folder, stored, asked["allow_targets"]), folder.path / "network"


def exportable_of(folder: RunFolder, stored: dict[str, Any], allowed: Sequence[str] = ()) -> Exportable:
    """A run's network as other programs run it. A video network's data need not be there; a policy's worlds must be.

    Args:
        folder: of the run.
        stored: its config.
        allowed: see `visagent.config.trust.refuse_foreign`.

    Raises:
        ConfigError: when its method has nothing to export, or there is no checkpoint yet.
    """
    from visagent.runtime.checkpoints import check_checkpoint

    check_targets({group: stored[group] for group in ("algorithm", "network")})
    from hydra.utils import get_class

    method = get_class(stored["algorithm"]["_target_"])
    alone, within = getattr(method, "exportable", None), getattr(method, "exported", None)
    if alone is None and within is None:
        raise ConfigError(
            f"run {folder.path}: {stored['name']} has no exported form; expected a run of a method that learns a "
            "network of videos or a policy"
        )
    if not folder.checkpoint.is_file():
        raise ConfigError(f"the run in {folder.path} has no checkpoint yet: finish its first epoch")
    exportable: Exportable
    if alone is not None:
        exportable = alone(make("network", stored["network"]), stored["datamodule"], check_checkpoint(folder))
        return exportable
    from visagent.runtime.evaluate import trained

    module, _ = trained(folder.path.resolve().parent.parent, str(folder.path), allowed)
    exportable = module.exported()
    return exportable


def _onnx(exportable: Exportable, x: Tensors, target: Path, threads: int) -> Callable[[Tensors], Tensors]:
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
                _more_than_one(x),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(exportable.inputs),
                output_names=list(exportable.outputs),
                dynamic_shapes=_batches(exportable.plain, torch.export.Dim("batch"), len(x)),
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
    names = list(exportable.inputs)

    def run(x: Tensors) -> Tensors:
        given = {name: part.numpy() for name, part in zip(names, x, strict=True)}
        return tuple(map(torch.from_numpy, session.run(None, given)))

    return run


def _pt2(network: nn.Module, x: Tensors, target: Path) -> Callable[[Tensors], Tensors]:
    """Write a PyTorch 2 archive, which holds the project's own operators and so needs `import cuda_ext.ops` where it is
    loaded.
    """
    import torch

    shapes = _batches(network, torch.export.Dim.AUTO, len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making: what it writes is checked
        torch.export.save(torch.export.export(network, _more_than_one(x), dynamic_shapes=shapes), target)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*buffer is not writable.*")
        loaded = torch.export.load(target).module()

    def run(x: Tensors) -> Tensors:
        with torch.no_grad():
            return _several(loaded(*x))

    return run


def _batches(network: nn.Module, size: Any, count: int) -> Any:
    """Where the inputs of a network have a batch, in the form that the exporters want of its `forward`."""
    named = inspect.signature(network.forward).parameters.values()
    plain = sum(one.kind is not inspect.Parameter.VAR_POSITIONAL for one in named)
    each = [{0: size} for _ in range(count)]
    return (*each[:plain], tuple(each[plain:])) if count > plain else tuple(each)


def _more_than_one(x: Tensors) -> Tensors:
    """At least two of each input: the exporters would take a batch of one for a constant."""
    return tuple(part if len(part) > 1 else part.repeat(2, *[1] * (part.dim() - 1)) for part in x)


def _several(outputs: Tensor | Tensors) -> Tensors:
    """A network's outputs, one or several."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _error(run: Callable[[Tensors], Tensors], network: nn.Module, x: Tensors) -> float:
    """The difference between what a file and its network compute."""
    import torch

    with torch.no_grad():
        expected = _several(network(*x))
    return max(_difference(mine, theirs) for mine, theirs in zip(run(x), expected, strict=True))


def _difference(mine: Tensor, theirs: Tensor) -> float:
    """The largest, relative to the largest value; of whole numbers 0 or 1, whether any differ."""
    if not theirs.is_floating_point():
        return float((mine != theirs).any())
    return float((mine - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))


def _milliseconds(function: Callable[[], object], trials: int) -> float:
    function()
    durations = []
    for _ in range(trials):
        began = time.perf_counter()
        function()
        durations.append(1e3 * (time.perf_counter() - began))
    return statistics.median(durations)
