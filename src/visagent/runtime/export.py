"""`visagent-export`: a trained action network as a file that other programs run, checked against the network it came from."""

from __future__ import annotations

import copy
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
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.record import find_run

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 1e-3
"""Of the exported logits, relative to the largest."""
OPSET = 18


def export(config: DictConfig) -> Path:
    """Write a run's network, or a checkpoint's of the released format, as ONNX or as a PyTorch 2 archive.

    Args:
        config: composed from conf/export.yaml.

    Returns:
        The file. Beside it lies a JSON file with the classes, the input's shape and its normalisation.

    Raises:
        ConfigError: when there is no such run or checkpoint, it is not of an action network, or the written file computes something else.
    """
    asked = validate(config, ExportConfig)
    from visagent.runtime.train import prepare

    prepare(asked["threads"])
    import torch

    from visagent.networks.rubiksnet import RubiksNet

    network, classes, crop, default = _load(asked)
    frames = int(network.num_frames)  # type: ignore[arg-type]
    if isinstance(network, RubiksNet):
        network = copy.deepcopy(network).harden()
    network = network.float().eval()
    clips = torch.randn(asked["batch"], frames, 3, crop, crop, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(clips)
    target = Path(asked["output"] or default.with_suffix(f".{asked['format']}"))
    target.parent.mkdir(parents=True, exist_ok=True)
    run = _onnx(network, clips, target, asked["threads"]) if asked["format"] == "onnx" else _pt2(network, clips, target)
    error = float((run(clips) - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not error < TOLERANCE:
        target.unlink()
        raise ConfigError(f"the exported network's logits differ by {error:.2g} of the largest, expected less than {TOLERANCE:g}; nothing was kept")
    from visagent.video.transforms import MEAN, STD

    description = {"classes": classes, "input": ["N", frames, 3, crop, crop], "mean": MEAN, "std": STD, "range": "RGB in 0..1 before normalisation"}
    target.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB; logits within {error:.1e} of the network's, relative to the largest")
    with torch.no_grad():
        rows = (("exported", lambda: run(clips)), ("PyTorch", lambda: network(clips)))
        for name, function in rows:
            print(f"{name:>9}: {_milliseconds(function, asked['trials']):.1f} ms for clips {list(clips.shape)} on {asked['threads']} CPU thread(s), median")
    return target


def _load(asked: dict[str, Any]) -> tuple[nn.Module, list[str], int, Path]:
    """The network, its classes, the pixels of its input, and where its file goes unless said otherwise."""
    from visagent.networks.rubiksnet import load_official_checkpoint, read_checkpoint, weights_of
    from visagent.runtime.train import check_checkpoint

    outputs = Path(asked["paths"]["outputs"])
    if (asked["run"] is None) == (asked["checkpoint"] is None):
        raise ConfigError("expected either run=SIGNATURE or checkpoint=FILE.pth.tar (the released format)")
    if asked["checkpoint"] is not None:
        path = Path(asked["checkpoint"])
        network = load_official_checkpoint(path)
        return network, [str(number) for number in range(network.num_classes)], 224, outputs / "exported" / path.name.split(".")[0]
    folder = find_run(outputs / "runs", asked["run"])
    stored = folder.config()
    if stored["algorithm"]["_target_"] != "lightning_modules.action_recognition.ActionRecognition":
        raise ConfigError(f"run {folder.path}: expected an action network (experiment=rubiksnet/...), got {stored['name']}, which has no exported form")
    if not folder.checkpoint.is_file():
        raise ConfigError(f"the run in {folder.path} has no checkpoint yet: finish its first epoch")
    check_checkpoint(folder.checkpoint)
    classes = list(read_checkpoint(folder.checkpoint)["classes"])
    from hydra.utils import instantiate

    network = instantiate(stored["network"])(num_classes=len(classes), num_frames=stored["datamodule"]["num_frames"])
    network.load_state_dict(weights_of(folder.checkpoint))
    return network, classes, int(stored["datamodule"]["crop"]), folder.path / "network"


def _onnx(network: nn.Module, clips: Tensor, target: Path, threads: int) -> Callable[[Tensor], Tensor]:
    """Write ONNX with any batch size; returns a function that runs it."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (the exporter needs it and says so less clearly)
    except ImportError as error:
        raise ConfigError(f"format=onnx needs more packages ({error}): pip install 'visagent[export]'") from error
    import torch

    from visagent.networks.deploy import deployable
    from visagent.networks.rubiksnet import RubiksNet

    for noisy in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    plain = deployable(network) if isinstance(network, RubiksNet) else network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        batch = {"clips": {0: torch.export.Dim("batch")}}
        program = torch.onnx.export(
            plain,
            (clips if len(clips) > 1 else clips.repeat(2, 1, 1, 1, 1),),  # a batch of one would be taken for a constant
            dynamo=True,
            opset_version=OPSET,
            input_names=["clips"],
            output_names=["logits"],
            dynamic_shapes=batch,
            verbose=False,
        )
    assert program is not None
    program.save(str(target))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"clips": x.numpy()})[0])


def _pt2(network: nn.Module, clips: Tensor, target: Path) -> Callable[[Tensor], Tensor]:
    """Write a PyTorch 2 archive, which holds the shift op and so needs `import cuda_ext.ops` where it is loaded."""
    import torch

    batch = {"clips": {0: torch.export.Dim.AUTO}}
    inputs = clips if len(clips) > 1 else clips.repeat(2, 1, 1, 1, 1)
    torch.export.save(torch.export.export(network, (inputs,), dynamic_shapes=batch), target)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*buffer is not writable.*")
        loaded = torch.export.load(target).module()

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = loaded(x)
        return logits

    return run


def _milliseconds(function: Callable[[], object], trials: int) -> float:
    function()
    durations = []
    for _ in range(trials):
        began = time.perf_counter()
        function()
        durations.append(1e3 * (time.perf_counter() - began))
    return statistics.median(durations)
