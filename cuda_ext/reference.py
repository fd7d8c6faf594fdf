"""The shift op in plain PyTorch: the specification that kernels are tested against, and what runs where none is
registered.

The op is separable per channel (Fan et al. 2020, *RubiksNet*): `out[n, :, c] = (M_T x M_H x M_W) x[n, :, c]`, where
along an axis with shift `a`, stride `s` and padding `p`

    M[i, j] = (1 - r) [j = b(i) + f] + r [j = b(i) + f + 1],    b(i) = i s - p,  f = floor(a),  r = a - f,

so that a shift of +1 reads the next frame, row or column, and what lies outside is zero. A channel with a shift that is
infinite or not a number becomes NaN as a whole. Written as batched matrix products, which cost more arithmetic than a
kernel but run at the speed of the matrix library.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

AXES = 3


def output_length(length: int, stride: int, padding: int) -> int:
    """Output length of an axis: that of a window of size one."""
    return (length + 2 * padding - 1) // stride + 1


def _base(count: int, stride: int, padding: int, shift: Tensor) -> Tensor:
    """`b(i)`, `[1, count, 1]`, in the shift's precision."""
    return (torch.arange(count, device=shift.device, dtype=shift.dtype) * stride - padding).view(1, -1, 1)


def _one_hot(place: Tensor, length: int) -> Tensor:
    """1 where the input's index is `place` (`[C, count, 1]`, whole numbers), else 0: `[C, count, length]`."""
    return (place == torch.arange(length, device=place.device, dtype=place.dtype)).to(place.dtype)


def interpolation(shift: Tensor, length: int, stride: int, padding: int) -> Tensor:
    """M of one axis for shifts `[C]`: `[C, output length, length]`."""
    base = _base(output_length(length, stride, padding), stride, padding, shift)
    floor = torch.floor(shift).view(-1, 1, 1)
    remainder = shift.view(-1, 1, 1) - floor
    return (1 - remainder) * _one_hot(base + floor, length) + remainder * _one_hot(base + floor + 1, length)


def rounding(shift: Tensor, length: int, stride: int, padding: int, away: bool) -> Tensor:
    """M of one axis with the shift rounded to a whole number, `[C, output length, length]`.

    Halves go up (the 3D op), or with `away` the place that is read, `b(i) + a`, is rounded with halves away from zero
    (the 2D op).
    """
    base = _base(output_length(length, stride, padding), stride, padding, shift)
    place = base + shift.view(-1, 1, 1)
    if away:
        return _one_hot(torch.trunc(place + torch.where(place >= 0, 0.5, -0.5).to(place.dtype)), length)
    floor = torch.floor(shift).view(-1, 1, 1)
    nearest = torch.where(shift.view(-1, 1, 1) - floor < 0.5, floor, floor + 1)
    return _one_hot(base + nearest, length)


def slope(shift: Tensor, length: int, stride: int, padding: int) -> Tensor:
    """The derivative of M by the shift, `[C, output length, length]`; at a whole shift, where M has a kink, the central
    difference.
    """
    base = _base(output_length(length, stride, padding), stride, padding, shift)
    floor = torch.floor(shift).view(-1, 1, 1)
    between = _one_hot(base + floor + 1, length) - _one_hot(base + floor, length)
    central = 0.5 * (_one_hot(base + floor + 1, length) - _one_hot(base + floor - 1, length))
    return torch.where(shift.view(-1, 1, 1) == floor, central, between)


def apply(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """`(M_T x M_H x M_W) x` for x `[N, T, C, H, W]` and matrices `[C, out, in]`."""
    time, height, width = matrices
    x = torch.einsum("ntchw,cow->ntcho", x, width)
    x = torch.einsum("ntchw,coh->ntcow", x, height)
    return torch.einsum("ntchw,cot->nochw", x, time)


def working_precision(dtype: torch.dtype) -> torch.dtype:
    """What the op computes in for x of a dtype, and the dtype of the shifts that kernels take: half precisions are
    computed in float32.
    """
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _matrices(
    shift: Tensor, sizes: Sequence[int], stride: Sequence[int], padding: Sequence[int], quantize: bool, away: bool
) -> list[Tensor]:
    if quantize:
        return [rounding(shift[d], sizes[d], stride[d], padding[d], away) for d in range(AXES)]
    return [interpolation(shift[d], sizes[d], stride[d], padding[d]) for d in range(AXES)]


def _defined(values: Tensor, shift: Tensor, axis: int) -> Tensor:
    """Values whose axis of channels is `axis`, NaN where a component of the channel's shift is no finite number:
    rounding would hide it.
    """
    undefined = shift.isfinite().logical_not().any(dim=0).view([-1 if d == axis else 1 for d in range(values.dim())])
    return values.masked_fill(undefined, float("nan"))


def forward(
    x: Tensor, shift: Tensor, stride: Sequence[int], padding: Sequence[int], quantize: bool, away: bool
) -> Tensor:
    """The op; x `[N, T, C, H, W]`, shift `[3, C]` with rows T, H, W."""
    dtype = working_precision(x.dtype)
    values, moves = x.to(dtype), shift.to(dtype)
    sizes = (x.shape[1], x.shape[3], x.shape[4])
    return (
        _defined(apply(values, _matrices(moves, sizes, stride, padding, quantize, away)), moves, 2)
        .to(x.dtype)
        .contiguous()
    )


def backward(
    grad: Tensor, x: Tensor, shift: Tensor, stride: Sequence[int], padding: Sequence[int], quantize: bool, away: bool
) -> tuple[Tensor, Tensor]:
    """The op's true gradients by x (the adjoint, also of a quantised forward) and by the shift.

    Rounding has no useful derivative: quantised or not, the shift's gradient is that of the interpolation (straight
    through).
    """
    dtype = working_precision(x.dtype)
    upstream, values, moves = grad.to(dtype), x.to(dtype), shift.to(dtype)
    sizes = (x.shape[1], x.shape[3], x.shape[4])
    adjoint = [matrix.transpose(1, 2) for matrix in _matrices(moves, sizes, stride, padding, quantize, away)]
    linear = _matrices(moves, sizes, stride, padding, False, away)
    by_shift = []
    for axis in range(AXES):
        matrices = list(linear)
        matrices[axis] = slope(moves[axis], sizes[axis], stride[axis], padding[axis])
        by_shift.append((upstream * apply(values, matrices)).sum(dim=(0, 1, 3, 4)))
    by_x = _defined(apply(upstream, adjoint), moves, 2)
    return by_x.to(x.dtype).contiguous(), _defined(torch.stack(by_shift), moves, 1).to(shift.dtype)
