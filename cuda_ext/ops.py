"""The shift op's Python face: checked arguments, autograd, shapes for compilation and export.

Registered through `torch.library` as `visagent::rubiks_shift` and `visagent::rubiks_shift_backward`. The kernels that
`cuda_ext.build` has compiled are loaded at import; `cuda_ext.reference` serves every device for which there is none, or
all with `VISAGENT_OP=reference`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from cuda_ext import build, reference

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ARGUMENTS = "Tensor x, Tensor shift, int[] stride, int[] padding, bool quantize, bool away"

torch.library.define("visagent::rubiks_shift", f"({ARGUMENTS}) -> Tensor")
torch.library.define("visagent::rubiks_shift_backward", f"(Tensor grad, {ARGUMENTS}) -> (Tensor, Tensor)")
torch.library.impl("visagent::rubiks_shift", "CompositeExplicitAutograd", reference.forward)
torch.library.impl("visagent::rubiks_shift_backward", "CompositeExplicitAutograd", reference.backward)


_SLOW: list[str] = []


def warn_where_slow() -> None:
    """Warn of slow kernels, once in a process: networks that shift call it when they are made."""
    while _SLOW:
        warnings.warn(_SLOW.pop(), stacklevel=3)


def _load() -> tuple[str, str]:
    """Load the compiled kernels; (backend, why)."""
    if os.environ.get("VISAGENT_OP") == "reference":
        return "reference", "VISAGENT_OP=reference"
    built = build.last()
    if built is not None and built.library is not None:
        torch.ops.load_library(built.library)
        return "compiled", f"CPU kernels by {Path(built.compiler or 'a compiler').name}; {_load_cuda(built)}"
    reason = "not built for these sources" if built is None or built.reason is None else built.reason
    mend = "python -m cuda_ext.build compiles it"
    _SLOW.append(f"the shift op runs in plain PyTorch, many times slower: {reason}; {mend}")
    return "reference", reason


def _load_cuda(built: build.Built) -> str:
    """Load the CUDA kernels where there are any for this PyTorch; in words, what GPUs run."""
    if torch.version.cuda is None:
        return "this PyTorch has no CUDA"
    if built.cuda_library is None:
        reason = "nvcc failed, python -m cuda_ext.build says why" if built.cuda_reason else "no nvcc when it was built"
    else:
        try:
            torch.ops.load_library(built.cuda_library)
            return "CUDA kernels by nvcc"
        except OSError as error:
            reason = str(error).splitlines()[0]
    if torch.cuda.is_available():
        _SLOW.append(f"the shift op runs in plain PyTorch on GPUs, many times slower: {reason}")
    return f"GPUs use the reference ({reason})"


BACKEND, WHY = _load()
"""`compiled` or `reference`, and why; `visagent-info` shows them."""


@torch.library.register_fake("visagent::rubiks_shift")  # type: ignore[untyped-decorator]
def _fake(
    x: Tensor, shift: Tensor, stride: Sequence[int], padding: Sequence[int], quantize: bool, away: bool
) -> Tensor:
    time, height, width = (
        reference.output_length(n, s, p)
        for n, s, p in zip((x.shape[1], x.shape[3], x.shape[4]), stride, padding, strict=True)
    )
    return x.new_empty(x.shape[0], time, x.shape[2], height, width)


@torch.library.register_fake("visagent::rubiks_shift_backward")  # type: ignore[untyped-decorator]
def _fake_backward(grad: Tensor, x: Tensor, shift: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), shift.new_empty(shift.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, shift, *settings = inputs
    ctx.save_for_backward(x, shift)
    ctx.settings = settings


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, shift = ctx.saved_tensors
    by_x, by_shift = torch.ops.visagent.rubiks_shift_backward(grad, x, shift, *ctx.settings)
    return by_x, by_shift, None, None, None, None


def _no_second_backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
    raise NotImplementedError(
        "rubiks_shift: its gradient cannot be differentiated again; take gradients without create_graph=True"
    )


torch.library.register_autograd("visagent::rubiks_shift", _backward, setup_context=_setup_context)
torch.library.register_autograd("visagent::rubiks_shift_backward", _no_second_backward)


def _per_axis(name: str, value: int | Sequence[int], axes: int, least: int) -> list[int]:
    values = list(value) if isinstance(value, Sequence) else [value] * axes
    if len(values) != axes or any(not isinstance(v, int) or v < least for v in values):
        raise ValueError(
            f"rubiks_shift: expected {name} to be a whole number of at least {least}, or {axes} of them, got {value!r}"
        )
    return values


def _check(x: Tensor, shift: Tensor, axes: int) -> None:
    layout, channel = ("[N, T, C, H, W]", 2) if axes == 3 else ("[N, C, H, W]", 1)
    if not isinstance(x, Tensor) or not isinstance(shift, Tensor):
        raise ValueError(
            f"rubiks_shift_{axes}d: expected tensors x and shift, got {type(x).__name__} and {type(shift).__name__}"
        )
    if x.dim() != axes + 2:
        raise ValueError(f"rubiks_shift_{axes}d: expected x {layout}, got {list(x.shape)}")
    if 0 in x.shape[1:]:
        raise ValueError(
            f"rubiks_shift_{axes}d: expected at least one of everything but N in x {layout}, got {list(x.shape)}"
        )
    if shift.shape != (axes, x.shape[channel]):
        raise ValueError(
            f"rubiks_shift_{axes}d: expected shift [{axes}, {x.shape[channel]}] for x with {x.shape[channel]} "
            f"channels, got {list(shift.shape)}"
        )
    for name, dtype in (("x", x.dtype), ("shift", shift.dtype)):
        if dtype not in DTYPES:
            raise ValueError(
                f"rubiks_shift_{axes}d: expected {name} of a floating dtype ({', '.join(str(d) for d in DTYPES)}), "
                f"got {dtype}"
            )
    if shift.device != x.device:
        raise ValueError(f"rubiks_shift_{axes}d: expected x and shift on one device, got {x.device} and {shift.device}")
    if (
        not torch.compiler.is_compiling()
        and forward_ad._current_level >= 0
        and any(forward_ad.unpack_dual(t).tangent is not None for t in (x, shift))
    ):
        raise NotImplementedError(f"rubiks_shift_{axes}d: no forward-mode derivative; use reverse mode")


def _in_working_precision(x: Tensor, shift: Tensor) -> Tensor:
    """The shift in the precision that kernels compute in: rounded to a half precision of x, 3.3 pixels would be 3.297
    and its gradient as coarse.
    """
    return shift.to(reference.working_precision(x.dtype))


def rubiks_shift_3d(
    x: Tensor, shift: Tensor, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0, quantize: bool = False
) -> Tensor:
    """Shift every channel by its own vector in time and space (Fan et al. 2020, Section 3; trilinear interpolation,
    zeros outside).

    Args:
        x: `[N, T, C, H, W]`, floating.
        shift: `[3, C]`, floating, rows T, H, W, in frames and pixels; +1 reads the next one. Its dtype may be another
            one than x's (float32 beside bfloat16, as under autocast); both are computed in float32, or in float64 where
            x is. A channel whose shift is infinite or not a number becomes NaN.
        stride: of T, H, W, or one for all.
        padding: zeros put before and after each axis.
        quantize: round shifts to whole numbers, halves up; the gradient by the shift stays that of the interpolation.

    Returns:
        `[N, T', C, H', W']` in x's dtype, with `n' = (n + 2 padding - 1) // stride + 1`.

    Raises:
        ValueError: when a shape, dtype or setting does not fit.
    """
    _check(x, shift, 3)
    settings = (_per_axis("stride", stride, 3, 1), _per_axis("padding", padding, 3, 0), quantize, False)
    shifted: Tensor = torch.ops.visagent.rubiks_shift(x, _in_working_precision(x, shift), *settings)
    return shifted


def rubiks_shift_2d(
    x: Tensor, shift: Tensor, stride: int | Sequence[int] = 1, padding: int | Sequence[int] = 0, quantize: bool = False
) -> Tensor:
    """Shift every channel by its own vector in space: `rubiks_shift_3d` without time.

    Args:
        x: `[N, C, H, W]`, floating.
        shift: `[2, C]`, floating, rows H, W; of its own dtype, as in 3D.
        stride: of H, W, or one for both.
        padding: zeros put before and after each axis.
        quantize: round the place that is read, halves away from zero (the 3D op rounds the shift, halves up).

    Returns:
        `[N, C, H', W']`.

    Raises:
        ValueError: when a shape, dtype or setting does not fit.
    """
    _check(x, shift, 2)
    moves = _in_working_precision(x, shift)
    still = torch.cat([torch.zeros_like(moves[:1]), moves])
    settings = ([1, *_per_axis("stride", stride, 2, 1)], [0, *_per_axis("padding", padding, 2, 0)], quantize, True)
    shifted: Tensor = torch.ops.visagent.rubiks_shift(x.unsqueeze(1), still, *settings)
    return shifted.squeeze(1)


def normalize_shift_grad(grad: Tensor, t_factor: float = 1.0) -> Tensor:
    """The shift's gradient as a unit vector per channel (Eq. 6.9; with the temporal factor, Eq. 6.10).

    Args:
        grad: `[3, C]` (rows T, H, W), or `[2, C]` of the 2D op, for which `t_factor` is 1.
        t_factor: multiplies the temporal part before the norm is taken; negative: only time moves.

    Returns:
        the same shape; a channel whose gradient is zero stays as it is.
    """
    vector = grad
    if grad.shape[0] == 3 and t_factor != 1.0:
        vector = (
            torch.cat([grad[:1], torch.zeros_like(grad[1:])])
            if t_factor < 0
            else torch.cat([t_factor * grad[:1], grad[1:]])
        )
    norm = vector.norm(dim=0, keepdim=True)
    return torch.where(norm > 0, vector / norm.clamp_min(torch.finfo(grad.dtype).tiny), grad)
