"""What a GPU thread does, checked without a GPU: the kernels' body compiled for the CPU and run thread by thread
against the reference.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
import torch

from cuda_ext import build, reference
from slow import first

HERE = Path(__file__).parent
pytestmark = pytest.mark.xdist_group("gpu_body")  # one worker compiles it


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    compiler = build.find_compiler()
    if compiler is None:
        pytest.skip("no C++ compiler")
    library = tmp_path_factory.mktemp("body") / "gpu_body.so"
    subprocess.run(
        [
            compiler,
            "-std=c++20",
            "-O1",
            "-Wno-unknown-pragmas",
            "-shared",
            "-fPIC",
            f"-I{build.SOURCES}",
            str(HERE / "gpu_body.cpp"),
            "-o",
            str(library),
        ],
        check=True,
    )
    return ctypes.CDLL(str(library))


def numbers(values):
    return (ctypes.c_int64 * len(values))(*values)


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


PROBLEMS = 60


@pytest.mark.parametrize("seed", first(12, range(PROBLEMS)))
def test_against_the_reference(seed, body):
    rng = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=rng))

    plain = seed % 2 == 0  # without stride and padding: forward and both gradients in one sweep
    sizes = [draw(1, 2), draw(1, 5), draw(1, 4), draw(1, 9), draw(1, 11)]
    stride = [1, 1, 1] if plain else [draw(1, 2), draw(1, 3), draw(1, 3)]
    padding = [0, 0, 0] if plain else [draw(0, 2), draw(0, 2), draw(0, 1)]
    quantize, away = seed % 3 == 0, seed % 6 == 0
    pixels = 1 if stride[2] > 1 else (1, 2, 4)[seed % 3]
    x = torch.randn(sizes, generator=rng, dtype=torch.float64)
    shift = (torch.rand(3, sizes[2], generator=rng, dtype=torch.float64) * 2 - 1) * (8.0 if seed % 5 == 0 else 2.5)
    # whole and half shifts, too
    shift = torch.where(torch.rand(shift.shape, generator=rng) < 0.3, (shift * 2).round() / 2, shift)
    if seed % 7 == 0:
        shift[seed % 3, 0] = (float("nan"), float("inf"), -float("inf"))[seed // 7 % 3]
    settings = (stride, padding, quantize, away)
    expected = reference.forward(x, shift, *settings)
    out = torch.full_like(expected, 77.0)
    body.forward(
        numbers(sizes),
        numbers(stride),
        numbers(padding),
        quantize,
        away,
        pixels,
        pointer(x),
        pointer(shift),
        pointer(out),
    )
    assert torch.allclose(out, expected, atol=1e-12, equal_nan=True)
    grad = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    expected_x, expected_shift = reference.backward(grad, x, shift, *settings)
    by_x, by_shift = torch.full_like(x, 77.0), torch.zeros_like(shift)
    sizes_, stride_, padding_ = numbers(sizes), numbers(stride), numbers(padding)
    body.backward(
        sizes_,
        stride_,
        padding_,
        quantize,
        away,
        pixels,
        plain,
        pointer(grad),
        pointer(x),
        pointer(shift),
        pointer(by_x),
        pointer(by_shift),
    )
    assert torch.allclose(by_x, expected_x, atol=1e-12, equal_nan=True)
    assert torch.allclose(by_shift, expected_shift, atol=1e-10, equal_nan=True)


TYPES = (torch.float64, torch.float32, torch.bfloat16)
ROOMY, NARROW = 1 << 20, 1000
"""Bytes of shared memory: for several channels' whole frames, and for some rows of a tall one."""


def tiled_problem(seed, strides, narrow):
    rng = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=rng))

    dtype = TYPES[seed % 3]
    sizes = [draw(1, 2), draw(1, 5), draw(1, 70 if seed % 4 == 0 else 5), draw(1, 20), draw(1, 18)]
    if narrow:
        sizes[3:] = [draw(30, 50), draw(1, 5)]
    if dtype != torch.float64 and seed % 5 < 3:  # strips of each width: rows and frames of whole vectors
        sizes[2:4] = [8, 8] if seed % 2 else [8, draw(1, 20)]
        sizes[4] = (2, 4, 8, 6, 12, 24)[seed // 5 % 6]
    stride = [1, draw(1, 3), draw(1, 2)] if strides else [1, 1, 1]
    padding = [draw(0, 2), draw(0, 2), draw(0, 1)] if strides else [0, 0, 0]
    shift = (torch.rand(3, sizes[2], generator=rng, dtype=torch.float64) * 2 - 1) * (8.0 if seed % 5 == 0 else 2.5)
    # whole and half shifts, too
    shift = torch.where(torch.rand(shift.shape, generator=rng) < 0.3, (shift * 2).round() / 2, shift)
    if seed % 7 == 0:
        shift[seed % 3, 0] = (float("nan"), float("inf"), -float("inf"))[seed // 7 % 3]
    return (
        rng,
        sizes,
        stride,
        padding,
        torch.randn(sizes, generator=rng, dtype=torch.float64).to(dtype),
        shift.to(reference.working_precision(dtype)),
    )


def same(got, expected):
    close = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 3e-2}[got.dtype]
    return torch.allclose(got, expected, atol=close, rtol=close, equal_nan=True)


@pytest.mark.parametrize("seed", first(12, range(PROBLEMS)))
@pytest.mark.parametrize("bytes_", [ROOMY, NARROW])
def test_tiles_forward(seed, bytes_, body):
    quantize, away = seed % 3 == 0, seed % 6 == 0
    _, sizes, stride, padding, x, shift = tiled_problem(seed, seed % 2 == 1, bytes_ == NARROW)
    expected = reference.forward(x, shift, stride, padding, quantize, away)
    out = torch.full_like(expected, 77.0)
    settings = (
        numbers(sizes),
        numbers(stride),
        numbers(padding),
        quantize,
        away,
        TYPES.index(x.dtype),
        ctypes.c_int64(bytes_),
    )
    fits = body.tiled_forward(*settings, pointer(x), pointer(shift), pointer(out))
    if bytes_ == ROOMY:
        assert fits % 10 == 1  # whole frames
    if fits:
        assert fits > 0 and same(out, expected)
    else:
        assert (out == 77.0).all()


@pytest.mark.parametrize("seed", first(12, range(PROBLEMS)))
@pytest.mark.parametrize("bytes_", [ROOMY, NARROW])
def test_tiles_of_the_gradient_by_x(seed, bytes_, body):
    quantize, away = seed % 2 == 0, seed % 4 == 0
    rng, sizes, stride, padding, x, shift = tiled_problem(seed, True, bytes_ == NARROW)
    stride = stride if seed % 2 else [1, 1, 1]
    settings = (stride, padding, quantize, away)
    grad = torch.randn(reference.forward(x, shift, *settings).shape, generator=rng, dtype=torch.float64).to(x.dtype)
    expected, _ = reference.backward(grad.double(), x.double(), shift.double(), *settings)
    by_x = torch.full_like(x, 77.0)
    numbers_ = numbers(sizes), numbers(stride), numbers(padding)
    type_ = TYPES.index(x.dtype)
    if fits := body.tiled_adjoint(
        *numbers_, quantize, away, type_, ctypes.c_int64(bytes_), pointer(grad), pointer(shift), pointer(by_x)
    ):
        assert fits > 0 and same(by_x, expected.to(x.dtype))
    else:
        assert bytes_ == NARROW or (stride[1] == 1) != (stride[2] == 1)


@pytest.mark.parametrize("seed", first(12, range(PROBLEMS)))
@pytest.mark.parametrize("bytes_", [ROOMY, NARROW])
def test_tiles_of_the_gradient_by_the_shift(seed, bytes_, body):
    quantize, away = seed % 3 == 0, seed % 6 == 0
    rng, sizes, stride, padding, x, shift = tiled_problem(seed, seed % 4 > 1, bytes_ == NARROW)
    settings = (stride, padding, quantize, away)
    grad = torch.randn(reference.forward(x, shift, *settings).shape, generator=rng, dtype=torch.float64).to(x.dtype)
    _, expected = reference.backward(grad.double(), x.double(), shift.double(), *settings)
    by_shift = torch.zeros(shift.shape, dtype=torch.float64)
    numbers_ = numbers(sizes), numbers(stride), numbers(padding)
    type_ = TYPES.index(x.dtype)
    if fits := body.tiled_slope(
        *numbers_,
        quantize,
        away,
        type_,
        ctypes.c_int64(bytes_),
        pointer(grad),
        pointer(x),
        pointer(shift),
        pointer(by_shift),
    ):
        assert fits > 0
        assert torch.allclose(by_shift, expected, atol=1e-10 if x.dtype == torch.float64 else 1e-3, equal_nan=True)
    else:
        assert bytes_ == NARROW


@pytest.mark.parametrize(
    ("dtype", "wide"), [(torch.float32, 2), (torch.float32, 4), (torch.bfloat16, 4), (torch.bfloat16, 8)]
)
def test_strips_where_all_rows_begin_at_aligned_addresses(dtype, wide, body):
    """Frames of 8 rows and of several strips, shifted by every whole number and by something between."""
    rng = torch.Generator().manual_seed(wide)
    sizes, channels = [2, 4, 32, 8, 3 * wide], 32  # an odd number of strips
    shift = torch.stack(
        [torch.arange(channels) % 5 - 2.0, torch.arange(channels) % 7 - 3.0, torch.arange(channels) - 16.0]
    )
    shift = shift + torch.tensor([0.0, 0.3, 0.5, 0.9])[torch.arange(channels) % 4]
    x = torch.randn(sizes, generator=rng).to(dtype)
    grad = torch.randn(sizes, generator=rng).to(dtype)
    plain = (
        numbers(sizes),
        numbers([1, 1, 1]),
        numbers([0, 0, 0]),
        False,
        False,
        TYPES.index(dtype),
        ctypes.c_int64(ROOMY),
    )
    out, by_x, by_shift = torch.empty_like(x), torch.empty_like(x), torch.zeros(shift.shape, dtype=torch.float64)
    kinds = {
        body.tiled_forward(*plain, pointer(x), pointer(shift), pointer(out)),
        body.tiled_adjoint(*plain, pointer(grad), pointer(shift), pointer(by_x)),
        body.tiled_slope(*plain, pointer(grad), pointer(x), pointer(shift), pointer(by_shift)),
    }
    assert kinds == {1 + 10 * wide}
    settings = ([1, 1, 1], [0, 0, 0], False, False)
    expected_x, expected_shift = reference.backward(grad.double(), x.double(), shift.double(), *settings)
    assert same(out, reference.forward(x.double(), shift.double(), *settings).to(dtype))
    assert same(by_x, expected_x.to(dtype)) and torch.allclose(by_shift, expected_shift, atol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "width", "kind"), [(torch.float32, 256, 41), (torch.float32, 400, 42), (torch.bfloat16, 896, 82)]
)
def test_strips_of_frames_that_are_wider_than_a_block_has_threads(dtype, width, kind, body):
    """Whole frames, or some rows of them, as many as a block's shared memory holds."""
    sizes = [1, 2, 2, 9, width]
    x = torch.randn(sizes, generator=torch.Generator().manual_seed(width)).to(dtype)
    shift, out = torch.tensor([[0.3, -0.4], [0.6, -1.5], [3.7, -9.2]]), torch.empty_like(x)
    room = ctypes.c_int64(34 * 1024)  # two of three stages of 51 KiB
    plain = [numbers(sizes), numbers([1, 1, 1]), numbers([0, 0, 0]), False, False, TYPES.index(dtype), room]
    assert body.tiled_forward(*plain, pointer(x), pointer(shift), pointer(out)) == kind
    assert same(out, reference.forward(x, shift, [1, 1, 1], [0, 0, 0], False, False))


def test_what_lies_beside_a_strip_stays_outside(body):
    """Neighbouring rows and channels are all infinite: nothing of them may come in, not even times zero."""
    for row in range(8):
        x = torch.full((1, 2, 4, 8, 8), float("inf"))
        x[:, :, 1, row] = 1.0
        shift = torch.tensor([[0.0] * 4, [0.0] * 4, [0.4, -0.4, 0.0, 9.5]])
        out = torch.empty_like(x)
        plain = numbers(x.shape), numbers([1, 1, 1]), numbers([0, 0, 0]), False, False, 1, ctypes.c_int64(ROOMY)
        assert body.tiled_forward(*plain, pointer(x), pointer(shift), pointer(out)) == 41
        assert torch.equal(out[:, :, 1, row], torch.tensor([0.6] + [1.0] * 7).expand(1, 2, 8))
        assert (out[:, :, 0, :, :7] == float("inf")).all() and not out[:, :, 3].any()
