"""Weights that a network begins with (`network.weights`): files of other projects, of torchvision, of our own runs.

What a file calls its weights and what a network does may differ. A network that knows how others name its layers has a
method `place_of(name, value, about)`: its own name for a weight, and the value as it takes it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visagent.errors import ConfigError

CONTAINERS = ("model", "state_dict", "model_state_dict", "network")
"""Where files keep weights beside other things."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
OF_RUNS = "network."
"""What the checkpoints of runs put before the names of their network's weights."""
UNLEARNED = (".num_batches_tracked", ".offsets")
"""Ends of the names of what no training changes the results by, counters and fixed shifts: files may lack it."""
CLASSIFIER = ("new_fc.", "fc.")
"""Beginnings of the names of what other classes have another of."""
FILTER = "normalizer."
"""How the names of a z-filter's statistics begin, of which one without the others is none."""
MADE = "choose the network, with its sizes, that it was made with"
SHOWN = 6
"""Names that a line of the report holds."""

Place = Callable[[str, Tensor, Mapping[str, Any]], "tuple[str, Tensor]"]


@dataclass(frozen=True)
class Taken:
    """What became of a file's weights.

    Attributes:
        path: of the file.
        taken: name in the network -> name in the file.
        left_out: name in the file -> why.
        kept: names in the network whose values stay as they were drawn.
        share: of the network's values that come from the file.
        classes: that the file's network tells apart, where it says so.
    """

    path: str
    taken: Mapping[str, str]
    left_out: Mapping[str, str]
    kept: tuple[str, ...]
    share: float
    classes: tuple[str, ...] | None

    @property
    def renamed(self) -> dict[str, str]:
        """Those of `taken` that have another name in the file."""
        return {own: name for own, name in self.taken.items() if own != name}

    def table(self) -> str:
        """Every weight in a line of its own: what it is in the network, in the file, and what became of it."""
        rows = [(own, name, "renamed" if own != name else "loaded") for own, name in self.taken.items()]
        rows += [("-", name, f"left out: {why}") for name, why in self.left_out.items()]
        rows += [(own, "-", "as initialised") for own in self.kept]
        head = ("network", self.path, "")
        widths = [max(len(row[column]) for row in (head, *rows)) for column in (0, 1)]
        return "".join(
            f"{own:{widths[0]}}  {name:{widths[1]}}  {what}".rstrip() + "\n" for own, name, what in [head, *rows]
        )

    def lines(self) -> list[str]:
        """A summary: how many of which kind, and the first names of those that are not in both."""
        total = len(self.taken) + len(self.left_out)
        lines = [
            f"weights of {self.path}: {len(self.taken)} of {total} loaded, {len(self.renamed)} of them renamed, "
            f"{self.share:.0%} of the network"
        ]
        if self.left_out:
            lines.append(f"left out: {_some(f'{name} ({why})' for name, why in self.left_out.items())}")
        if self.kept:
            lines.append(f"as initialised: {_some(self.kept)}")
        return lines


def _some(names: Iterable[str]) -> str:
    there = list(names)
    return ", ".join(there[:SHOWN]) + (f" and {len(there) - SHOWN} more" if len(there) > SHOWN else "")


def take_weights(network: nn.Module, path: Path | str, strict: bool = False, whole: bool = False) -> Taken:
    """Give a network the weights of a file, those that have a place in it and its shape.

    Args:
        network: changed in place.
        path: see `weights_of`.
        strict: refuse a file that lacks any of the network's weights or holds others.
        whole: refuse one that lacks any.

    Raises:
        ConfigError: when nothing of the file fits, or not all of it, where that is asked for.
    """
    state, about = weights_of(path)
    target = network.state_dict()
    place: Place = getattr(network, "place_of", _same_place)
    values: dict[str, Tensor] = {}
    taken: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, value in state.items():
        if name not in target and name.endswith(UNLEARNED):
            continue
        own, fitted = place(name, value, about)
        if own not in target:
            left_out[name] = "the network has no such weight"
        elif fitted.shape != target[own].shape:
            left_out[name] = f"{list(value.shape)}, the network's is {list(target[own].shape)}"
        elif own in taken:
            left_out[name] = f"{own} is {taken[own]}"
        else:
            values[own], taken[own] = fitted, name
    for own in [own for own in taken if own.startswith(FILTER)]:
        if any(name.startswith(FILTER) and name not in taken for name in target):  # its count says how sure it is
            left_out[taken.pop(own)] = "the z-filter is taken as a whole or not at all"
            del values[own]
    kept = tuple(own for own in target if own not in taken and not own.endswith(UNLEARNED))
    learned = {own: value.numel() for own, value in target.items() if not own.endswith(UNLEARNED)}
    share = sum(learned.get(own, 0) for own in taken) / max(1, sum(learned.values()))
    classes = about.get("classes")
    report = Taken(str(path), taken, left_out, kept, share, None if classes is None else tuple(map(str, classes)))
    if all(own.startswith(CLASSIFIER) for own in taken):
        raise ConfigError(
            f"network.weights: expected some that fit {type(network).__name__}, got {'; '.join(report.lines())}; {MADE}"
        )
    if strict and (left_out or kept):
        raise ConfigError(
            f"network.weights: expected all of {type(network).__name__}'s and no others, as network.strict=true asks, "
            f"got {'; '.join(report.lines())}; type network.strict=false to take what fits, or {MADE}"
        )
    if whole and kept:
        raise ConfigError(
            f"network.weights: expected all of {type(network).__name__}'s, as nothing is learned, got "
            f"{'; '.join(report.lines())}; {MADE}, or data with its classes"
        )
    network.load_state_dict({**target, **values})
    return report


def initialize_from(network: nn.Module, path: Path | str) -> list[str]:
    """Take over pretrained weights: all of them but the classifier's, where the classes are others.

    Returns:
        Names of the weights that kept their initial values.

    Raises:
        ConfigError: when the file holds other weights that the network has no place for.
    """
    report = take_weights(network, path)
    for name, why in report.left_out.items():
        if not name.startswith(CLASSIFIER):
            raise ConfigError(f"checkpoint {path}: got {name} ({why}); {MADE}")
    return sorted(report.kept)


def _same_place(name: str, value: Tensor, about: Mapping[str, Any]) -> tuple[str, Tensor]:
    return name, value


def weights_of(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights in a file, by the names that they have there without wrappers, and what else it holds.

    Read are a state dict (`.pth`, `.pt`), one under `state_dict`, `model` or the like beside other things (as training
    scripts save it), a run's checkpoint (of which the network's weights are taken), and `.safetensors`.

    Raises:
        ConfigError: when there are none.
    """
    content = read_checkpoint(path)
    key = next((key for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
    state: Mapping[str, Any] = content if key is None else content[key]
    about = {} if key is None else {name: value for name, value in content.items() if name != key}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(
            f"checkpoint {path}: expected weights by name, or those under one of {', '.join(CONTAINERS)}, got "
            f"{_some(map(str, content)) or 'nothing'}"
        )
    if any(name.startswith(OF_RUNS) for name in state):  # a module's, of which the network is a part
        state = {name.removeprefix(OF_RUNS): value for name, value in state.items() if name.startswith(OF_RUNS)}
    while wrapper := next((each for each in WRAPPERS if all(name.startswith(each) for name in state)), None):
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return dict(state), about


def read_checkpoint(path: Path | str) -> Mapping[str, Any]:
    """A checkpoint's content, tensors and plain Python only.

    Raises:
        ConfigError: when it is missing or holds anything else.
    """
    if not Path(path).is_file():
        raise ConfigError(f"checkpoint {path}: no such file")
    if Path(path).suffix == ".safetensors":
        return _safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # whatever the bytes lead it to
    except (
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        LookupError,
        ValueError,
        AttributeError,
        TypeError,
    ) as error:
        raise ConfigError(
            f"checkpoint {path}: expected a PyTorch file of tensors and plain values, which it is not "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"checkpoint {path}: expected a mapping, got {type(content).__name__}")
    return content


def _safetensors(path: Path | str) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ConfigError(f"checkpoint {path}: its format needs one more package: pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConfigError(f"checkpoint {path}: expected the safetensors format, got an error ({error})") from error
