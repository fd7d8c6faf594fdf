"""Weights that a network begins with: their settings, where they lie, and what stands for them in a run's identity."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visagent.config.settings import setting
from visagent.errors import ConfigError

RUN, TORCHVISION = "run:", "torchvision"
SETTINGS = ("weights", "strict", "weights_hash")
EXPECTED = "network.weights=FILE, network.weights=run:SIGNATURE, network.weights=torchvision or null"


@dataclass
class TrainedWeights:
    """What every network may begin with; see `visagent.networks.weights`."""

    weights: str | None = setting(
        "weights to begin with: a file, run:SIGNATURE for those of a run, torchvision for the ImageNet weights in its "
        "cache; null: drawn ones",
        as_before=None,
    )
    strict: bool = setting("whether these must be all of the network's weights, and no others", as_before=False)
    weights_hash: str | None = setting("hash of their file, which is filled in", as_before=None)


def with_weights(config: dict[str, Any]) -> dict[str, Any]:
    """A resolved config that says the hash of the weights that its network begins with, which is part of its signature.

    Raises:
        ConfigError: when there is no such file or run.
    """
    file = weights_file(config)
    if file is None:
        return config
    try:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()[:16]
    except OSError as error:
        raise ConfigError(
            f"network.weights: expected a file, got {file} ({error.strerror}); type {EXPECTED}"
        ) from error
    return {**config, "network": {**config["network"], "weights_hash": digest}}


def weights_file(config: Mapping[str, Any]) -> Path | None:
    """The file of the weights that a run's network begins with; None where they are drawn.

    Args:
        config: resolved, of the run.

    Raises:
        ConfigError: when no run or no file of torchvision is meant.
    """
    named = config["network"].get("weights")
    if named is None:
        return None
    if named.startswith(RUN):
        return _of_run(Path(config["paths"]["outputs"]) / "runs", named.removeprefix(RUN))
    if named.partition(":")[0] == TORCHVISION:
        return _of_torchvision(config["network"].get("depth"), named)
    return Path(named)


def _of_run(runs: Path, wanted: str) -> Path:
    there = sorted(path.parents[1].name for path in runs.glob("*/checkpoints/last.ckpt"))
    matching = [name for name in there if wanted and name.startswith(wanted)]
    if len(matching) != 1 and wanted not in there:
        found = f"{len(matching)} runs" if matching else "none"
        raise ConfigError(
            f"network.weights: expected run:SIGNATURE, or the beginning of one run's, got {RUN}{wanted}, of which "
            f"there is {found} with a checkpoint in {runs}; there are {', '.join(there[:12]) or 'none'}"
        )
    checkpoints = runs / (wanted if wanted in there else matching[0]) / "checkpoints"
    best = checkpoints / "best.ckpt"
    return best if best.is_file() else checkpoints / "last.ckpt"


def _of_torchvision(depth: int | None, named: str) -> Path:
    """A ResNet's ImageNet weights where torchvision leaves them, `resnet18-f37072fd.pth` or the like."""
    if depth is None:
        raise ConfigError(f"network.weights: torchvision's are those of network=tsn and network=tsm, got {named!r}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
    pattern = f"resnet{depth}-{named.partition(':')[2]}*.pth"
    found = sorted(folder.glob(pattern))
    if len(found) == 1:
        return found[0]
    got = f"several: {', '.join(path.name for path in found)}" if found else "none"
    raise ConfigError(
        f"network.weights: expected one {pattern} in torchvision's cache {folder}, got {got}; nothing is downloaded "
        f"here: python -c 'import torchvision; torchvision.models.resnet{depth}(weights=\"DEFAULT\")' brings it, "
        f"network.weights=torchvision:HASH chooses among several, network.weights=FILE takes one from elsewhere"
    )
