"""RubiksNet: the shift op against a copy and against plain PyTorch, and the blocks of Table 6.6."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from benchmarks.report import Part, Row, alternating_medians
from cuda_ext import ops
from cuda_ext.reference import working_precision
from visagent.networks.blocks import Block
from visagent.runtime.memory import keep_memory

SHAPE = (8, 8, 72, 56, 56)
"""Of Table 6.6: N, T, C, H, W."""
LARGE = 32
"""Clips on a GPU, so that no cache holds them."""
REPEATS = 31


def parts(device: str, long: bool) -> list[Part]:
    """All rows of the area."""
    if device != "cpu":
        goals = {"conv3d": 8.9, "conv2d_shift": 4.0}
        return [Part("bandwidth", 5, lambda: _bandwidth(device)), Part("blocks", 5, lambda: _blocks(device, goals))]
    torch.set_num_threads(2)
    keep_memory()
    print(f"shift op: {ops.BACKEND} ({ops.WHY}), {torch.get_num_threads()} threads")
    goals = {"conv3d": 5.5, "conv2d_shift": 3.5}
    return [
        Part("copies", 10, _copies),
        Part("plain PyTorch", 60, _plain_pytorch),
        Part("blocks", 60, lambda: _blocks(device, goals)),
    ]


def _problem(
    dtype: torch.dtype, device: str = "cpu", clips: int = SHAPE[0]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(clips, *SHAPE[1:]).to(device, dtype)
    return x, (torch.rand(3, SHAPE[2]) * 2 - 1).to(device, working_precision(dtype)), torch.randn_like(x)


def _forward(x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = torch.ops.visagent.rubiks_shift(x, shift, [1, 1, 1], [0, 0, 0], False, False)
    return out


def _backward(grad: torch.Tensor, x: torch.Tensor, shift: torch.Tensor) -> object:
    return torch.ops.visagent.rubiks_shift_backward(grad, x, shift, [1, 1, 1], [0, 0, 0], False, False)


def _copies() -> Iterator[Row]:
    for dtype, goals in ((torch.float32, (1.5, 3.0)), (torch.bfloat16, (2.0, None))):
        x, shift, grad = _problem(dtype)
        warm = torch.empty_like(x)
        functions: dict[str, Callable[[], object]] = {
            "copy": lambda w=warm, x=x: w.copy_(x),
            "forward": lambda x=x, s=shift: _forward(x, s),
        }
        if goals[1] is not None:
            functions["backward"] = lambda g=grad, x=x, s=shift: _backward(g, x, s)
        found = alternating_medians(functions, REPEATS)
        for name, limit in zip(("forward", "backward"), goals, strict=True):
            if limit is not None:
                label = f"shift op {name}, {str(dtype).removeprefix('torch.')}"
                yield Row(
                    label,
                    1e3 * found[name],
                    1e3 * found["copy"],
                    1 / limit,
                    "min",
                    "ms",
                    f"warm copy of the tensor; at most {limit:g} of it",
                )


def _plain_pytorch() -> Iterator[Row]:
    """Formulations that users write: the best of them is the peer."""
    x, shift, grad = _problem(torch.float32)
    flat = x.transpose(1, 2).contiguous()
    kernel = _kernel(shift)
    formulations: dict[str, Callable[[], object]] = {
        "depthwise 3D convolution": lambda: nn.functional.conv3d(flat, kernel, padding=1, groups=SHAPE[2]),
        "three depthwise convolutions": lambda: _separable(flat, shift),
        "padding, slices and eight taps": lambda: _taps(x, shift),
        "matrix products": lambda: ops.reference.forward(x, shift, [1, 1, 1], [0, 0, 0], False, False),
    }
    expected = _forward(x, shift)
    for name, function in formulations.items():
        got = function()
        assert isinstance(got, torch.Tensor)
        got = got.transpose(1, 2) if "convolution" in name else got
        assert torch.allclose(got, expected, atol=1e-4), name
    found = alternating_medians({"ours": lambda: _forward(x, shift), **formulations}, 5)
    best = min(formulations, key=found.__getitem__)
    yield Row(
        "shift op forward, float32",
        1e3 * found["ours"],
        1e3 * found[best],
        20.0,
        "min",
        "ms",
        f"best plain PyTorch: {best}",
    )

    def both(
        function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], upstream: torch.Tensor
    ) -> Callable[[], object]:
        def run() -> object:
            inputs, moves = (x if upstream is grad else flat).detach().requires_grad_(), shift.detach().requires_grad_()
            return torch.autograd.grad(function(inputs, moves), (inputs, moves), upstream)

        return run

    up = grad.transpose(1, 2).contiguous()
    trained = {
        "ours": both(lambda v, s: ops.rubiks_shift_3d(v, s), grad),
        "depthwise 3D convolution": both(
            lambda v, s: nn.functional.conv3d(v, _kernel(s), padding=1, groups=SHAPE[2]), up
        ),
        "three depthwise convolutions": both(_separable, up),
        "padding, slices and eight taps": both(_taps, grad),
    }
    found = alternating_medians(trained, 3)
    best = min((name for name in trained if name != "ours"), key=found.__getitem__)
    yield Row(
        "shift op forward and backward, float32",
        1e3 * found["ours"],
        1e3 * found[best],
        20.0,
        "min",
        "ms",
        f"best plain PyTorch: {best}",
    )


def _weights(shift: torch.Tensor) -> list[torch.Tensor]:
    """For each axis, `[C, 3]`: the share that the places -1, 0 and 1 have in an output (for shifts between them)."""
    places = torch.tensor([-1.0, 0.0, 1.0])
    return [(1 - (row[:, None] - places).abs()).clamp_min(0) for row in shift]


def _kernel(shift: torch.Tensor) -> torch.Tensor:
    time, height, width = _weights(shift)
    return torch.einsum("ct,ch,cw->cthw", time, height, width).unsqueeze(1)


def _separable(x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    for axis, weight in enumerate(_weights(shift)):
        shape, padding = [1, 1, 1], [0, 0, 0]
        shape[axis], padding[axis] = 3, 1
        x = nn.functional.conv3d(x, weight.view(-1, 1, *shape), padding=padding, groups=len(weight))
    return x


def _taps(x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """One axis at a time: two shifted views of the padded tensor, weighted."""
    for row, axis in zip(shift, (1, 3, 4), strict=True):
        weight = [1, 1, len(row), 1, 1]
        low = torch.floor(row)
        rest = (row - low).view(weight)
        padding = [0, 0] * (4 - axis) + [1, 1]
        padded = nn.functional.pad(x, padding)
        length = x.shape[axis]
        before, here, after = (padded.narrow(axis, start, length) for start in (0, 1, 2))
        negative = (low < 0).view(weight)
        x = (1 - rest) * torch.where(negative, before, here) + rest * torch.where(negative, here, after)
    return x


def _blocks(device: str, goals: dict[str, float]) -> Iterator[Row]:
    torch.manual_seed(0)
    x = torch.randn(SHAPE, device=device)
    blocks = {kind: Block(kind, SHAPE[2], SHAPE[1]).to(device) for kind in ("rubiks_shift", *goals)}
    with torch.no_grad():
        inference = alternating_medians(
            {kind: lambda block=block: block(x) for kind, block in blocks.items()}, 7, device
        )
    upstream = torch.randn(SHAPE, device=device)
    training = alternating_medians({kind: _trained(block, x, upstream) for kind, block in blocks.items()}, 3, device)
    for kind, goal in goals.items():
        name = {"conv3d": "3D convolution", "conv2d_shift": "2D convolution and fixed shift (TSM)"}[kind]
        yield Row(
            "block of Table 6.6, inference",
            1e3 * inference["rubiks_shift"],
            1e3 * inference[kind],
            goal,
            "min",
            "ms",
            name,
        )
        yield Row(
            "block of Table 6.6, forward and backward",
            1e3 * training["rubiks_shift"],
            1e3 * training[kind],
            1.0,
            "min",
            "ms",
            name,
        )


def _trained(block: Block, x: torch.Tensor, upstream: torch.Tensor) -> Callable[[], object]:
    def run() -> None:
        inputs = x.detach().requires_grad_()
        out = block(inputs)
        out.backward(upstream.view_as(out))

    return run


def _bandwidth(device: str) -> Iterator[Row]:
    for dtype in (torch.float32, torch.bfloat16):
        x, shift, grad = _problem(dtype, device, LARGE)
        warm = torch.empty_like(x)
        found = alternating_medians(
            {
                "copy": lambda w=warm, x=x: w.copy_(x),
                "forward": lambda x=x, s=shift: _forward(x, s),
                "backward": lambda g=grad, x=x, s=shift: _backward(g, x, s),
                "forward by columns": partial(_by_columns, partial(_forward, x, shift)),
                "backward by columns": partial(_by_columns, partial(_backward, grad, x, shift)),
            },
            REPEATS,
            device,
        )
        size, name = x.numel() * x.element_size() / 1e9, str(dtype).removeprefix("torch.")
        copied = 2 * size / found["copy"]
        yield Row(f"shift op forward, {name}", 2 * size / found["forward"], copied, 0.85, "max", "GB/s", "device copy")
        yield Row(
            f"shift op backward, {name}", 3 * size / found["backward"], copied, 0.70, "max", "GB/s", "device copy"
        )
        for part in ("forward", "backward"):
            before = 1e3 * found[f"{part} by columns"]
            yield Row(f"shift op {part}, {name}", 1e3 * found[part], before, 1.0, "min", "ms", "without strips")


def _by_columns(call: Callable[[], object]) -> None:
    """Without strips of several columns, as before there were some."""
    os.environ["VISAGENT_OP_COLUMNS"] = "1"
    try:
        call()
    finally:
        del os.environ["VISAGENT_OP_COLUMNS"]
