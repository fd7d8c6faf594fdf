"""Whole networks of videos: clips a second, in inference and in training, and the memory that training takes, all tiers
of RubiksNet against our own TSM and TSN at equal input.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.report import Part, Row, alternating_medians
from visagent.networks.rubiksnet import RubiksNet
from visagent.networks.video_resnet import VideoResNet
from visagent.runtime.memory import keep_memory

CLASSES = 174
FRAMES = 8
PEERS = {"TSM": partial(VideoResNet, temporal="shift"), "TSN": VideoResNet}


@dataclass(frozen=True)
class Problem:
    """What is measured.

    Attributes:
        tiers: of RubiksNet.
        depth: of the peers' ResNet.
        clips, side: of a batch, and of a frame in pixels.
        autocast: half precision, bfloat16.
        channels_last: layout of pictures.
        repeats: calls of each network.
    """

    device: str
    tiers: tuple[str, ...]
    depth: int
    clips: int
    side: int
    autocast: bool = False
    channels_last: bool = False
    repeats: int = 5

    def __str__(self) -> str:
        kind = ("bfloat16" if self.autocast else "float32") + (", channels last" if self.channels_last else "")
        return f"{self.clips} x {FRAMES} x {self.side} x {self.side}, {kind}"


def parts(device: str, long: bool) -> list[Part]:
    """All rows of the area; on a CPU those of the smallest network alone, at a quarter of the pixels."""
    if device == "cpu":
        torch.set_num_threads(2)
        keep_memory()
        problem = Problem(device, ("tiny",), 50, 1, 112)
        return [Part("inference", 20, lambda: _inference(problem)), Part("training", 40, lambda: _training(problem))]
    torch.backends.cudnn.benchmark = True
    problem = Problem(device, ("tiny", "small", "medium", "large"), 50, 32, 224, autocast=True, repeats=11)
    last = replace(problem, channels_last=True)
    out = [
        Part("inference", 20, lambda: _inference(problem)),
        Part("inference, channels last", 20, lambda: _inference(last)),
        Part("training", 40, lambda: _training(problem)),
        Part("training, channels last", 40, lambda: _training(last)),
        Part("memory", 20, lambda: _memory(problem)),
    ]
    return [*out, Part("compiled", 180, lambda: _compiled(problem))] if long else out


def _networks(problem: Problem) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    made: dict[str, nn.Module] = {
        f"RubiksNet-{tier.capitalize()}": RubiksNet(tier, CLASSES, FRAMES) for tier in problem.tiers
    }
    made |= {f"{name}-{problem.depth}": make(problem.depth, CLASSES, FRAMES) for name, make in PEERS.items()}
    layout = torch.channels_last if problem.channels_last else torch.contiguous_format
    return {name: network.to(problem.device, memory_format=layout) for name, network in made.items()}  # type: ignore[call-overload]


def _clips(problem: Problem) -> Tensor:
    return torch.randn(problem.clips, FRAMES, 3, problem.side, problem.side, device=problem.device)


def _precision(problem: Problem) -> contextlib.AbstractContextManager[object]:
    if not problem.autocast:
        return contextlib.nullcontext()
    return torch.autocast(problem.device, torch.bfloat16)


def _look(network: nn.Module, clips: Tensor, problem: Problem) -> None:
    with torch.no_grad(), _precision(problem):
        network(clips)


def _learn(network: nn.Module, optimizer: torch.optim.Optimizer, clips: Tensor, labels: Tensor, of: Problem) -> None:
    optimizer.zero_grad(set_to_none=True)
    with _precision(of):
        loss = nn.functional.cross_entropy(network(clips), labels)
    loss.backward()
    optimizer.step()


def _learner(network: nn.Module, clips: Tensor, problem: Problem) -> Callable[[], None]:
    labels = torch.arange(problem.clips, device=problem.device) % CLASSES
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    return partial(_learn, network.train(), optimizer, clips, labels, problem)


def _pairs(found: dict[str, float]) -> Iterator[tuple[str, str]]:
    """Each tier with each peer."""
    tiers = [name for name in found if name.startswith("RubiksNet")]
    return product(tiers, [name for name in found if name not in tiers])


def _against(found: dict[str, float], problem: Problem, what: str) -> Iterator[Row]:
    """Clips a second of all tiers against each peer: fewer multiply-adds are to be less time."""
    for name, peer in _pairs(found):
        ours, against = problem.clips / found[name], problem.clips / found[peer]
        yield Row(f"{name}, {what}: {problem}", ours, against, 1.0, "max", "clips/s", peer)


def _inference(problem: Problem) -> Iterator[Row]:
    clips, networks = _clips(problem), _networks(problem)
    calls = {name: partial(_look, network.eval(), clips, problem) for name, network in networks.items()}
    yield from _against(alternating_medians(calls, problem.repeats, problem.device), problem, "inference")


def _training(problem: Problem) -> Iterator[Row]:
    clips, networks = _clips(problem), _networks(problem)
    calls = {name: _learner(network, clips, problem) for name, network in networks.items()}
    yield from _against(alternating_medians(calls, problem.repeats, problem.device), problem, "training")


def _memory(problem: Problem) -> Iterator[Row]:
    """Most of the device's memory that a step of training takes, each network alone."""
    clips, taken = _clips(problem), dict[str, float]()
    for name, network in _networks(replace(problem, device="cpu")).items():
        call = _learner(network.to(problem.device), clips, problem)
        call()
        torch.cuda.reset_peak_memory_stats()
        call()
        taken[name] = torch.cuda.max_memory_allocated() / 2**20
        network.to("cpu")
        del call
        gc.collect()
        torch.cuda.empty_cache()
    for name, peer in _pairs(taken):
        yield Row(f"{name}, training: {problem}", taken[name], taken[peer], 1.0, "min", "MiB", peer)


def _compiled(problem: Problem) -> Iterator[Row]:
    """The largest RubiksNet and TSM as torch.compile makes them, against themselves."""
    clips, networks = _clips(problem), _networks(replace(problem, tiers=problem.tiers[-1:]))
    for name, network in networks.items():
        began = time.perf_counter()
        compiled = cast(nn.Module, torch.compile(network.eval(), mode="reduce-overhead"))
        _look(compiled, clips, problem)
        print(f"  {name}: compiled in {time.perf_counter() - began:.0f} s")
        calls = {
            "eager": partial(_look, network, clips, problem),
            "compiled": partial(_look, compiled, clips, problem),
        }
        found = alternating_medians(calls, problem.repeats, problem.device)
        ours, against = problem.clips / found["compiled"], problem.clips / found["eager"]
        yield Row(f"{name}, compiled: {problem}", ours, against, 1.0, "max", "clips/s", "eager")
