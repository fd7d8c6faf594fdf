"""The shift op against reference numbers, hand values, finite differences, and PyTorch's compilers."""

from __future__ import annotations

import os
import subprocess
from itertools import product

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad, gradcheck

from cuda_ext import build, ops, reference
from cuda_ext.ops import DTYPES, normalize_shift_grad, rubiks_shift_2d, rubiks_shift_3d
from slow import first
from visagent.networks.shift import RubiksShift2D, RubiksShift3D

OPS = {2: rubiks_shift_2d, 3: rubiks_shift_3d}
COUNTS = {2: 17, 3: 22}


@pytest.fixture(scope="module")
def cases(golden):
    return {axes: np.load(golden / "rubiksnet" / f"rubiks_shift_{axes}d_cases.npz") for axes in OPS}


def run(axes, case, dtype, device):
    x, shift, grad = (torch.as_tensor(case[name]).to(device, dtype) for name in ("x", "shift", "grad_out"))
    x.requires_grad_(True)
    shift.requires_grad_(True)
    out = OPS[axes](x, shift, case["stride"].tolist(), case["padding"].tolist(), bool(case["quantize"]))
    by_x, by_shift = torch.autograd.grad(out, (x, shift), grad)
    return out.detach().cpu().numpy(), by_x.cpu().numpy(), by_shift.cpu()


@pytest.mark.parametrize(
    ("axes", "number"), [(axes, number) for axes, count in COUNTS.items() for number in range(count)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_golden(axes, number, dtype, cases, device):
    prefix, suffix = f"case{number:02d}_", "" if dtype == torch.float64 else "_f32"
    case = {key.removeprefix(prefix): cases[axes][key] for key in cases[axes] if key.startswith(prefix)}
    out, by_x, by_shift = run(axes, case, dtype, device)
    close = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(out, case[f"out{suffix}"], **close)
    if bool(case["grad_x_is_adjoint"]):
        np.testing.assert_allclose(by_x, case[f"grad_x{suffix}"], **close)
    # At a whole shift the reference numbers are not the true gradient (3D); those channels are checked below.
    between = (case["shift"] != np.floor(case["shift"])).all(axis=0)
    close = {"rtol": 1e-12, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 3e-5}
    np.testing.assert_allclose(by_shift.numpy()[:, between], case[f"grad_shift_raw{suffix}"][:, between], **close)
    if bool(case["normalize_grad"]):
        unit = normalize_shift_grad(by_shift, float(case.get("normalize_t_factor", 1.0))).numpy()
        close = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
        np.testing.assert_allclose(unit[:, between], case[f"grad_shift{suffix}"][:, between], **close)


FRAMES = [
    (2, 5, 7, 56, 56),
    (1, 8, 70, 7, 7),
    (2, 3, 33, 14, 14),
    (1, 4, 3, 112, 112),
    (1, 3, 4, 130, 200),
    (1, 2, 2, 10, 600),
]
"""Frames of networks and odd ones: several channels to a block of GPU threads, rows of one, and too wide for a block.
"""


@pytest.mark.parametrize("sizes", FRAMES)
@pytest.mark.parametrize(
    ("stride", "padding"),
    [([1, 1, 1], [0, 0, 0]), ([1, 2, 2], [0, 0, 0]), ([1, 1, 1], [1, 0, 2]), ([2, 1, 3], [0, 1, 0])],
)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("offset", [0, 1])
def test_frames_of_all_sizes(sizes, stride, padding, dtype, close, offset, device):
    """Also where the tensor does not begin at an aligned address."""
    rng = torch.Generator().manual_seed(0)
    count = int(np.prod(sizes))
    x = torch.randn(count + offset, generator=rng, dtype=torch.float64).to(device, dtype)[offset:].view(sizes)
    shift = (torch.rand(3, sizes[2], generator=rng, dtype=torch.float64) * 2 - 1) * 2.5
    shift = torch.where(torch.rand(shift.shape, generator=rng) < 0.2, shift.round(), shift).to(
        device, reference.working_precision(dtype)
    )
    settings = (stride, padding, False, False)
    expected = reference.forward(x.double(), shift.double(), *settings)
    grad = (
        torch.randn(expected.numel() + offset, generator=rng, dtype=torch.float64)
        .to(device, dtype)[offset:]
        .view(expected.shape)
    )
    by_x, by_shift = reference.backward(grad.double(), x.double(), shift.double(), *settings)
    found = (
        torch.ops.visagent.rubiks_shift(x, shift, *settings),
        *torch.ops.visagent.rubiks_shift_backward(grad, x, shift, *settings),
    )
    for got, wanted in zip(found, (expected, by_x, by_shift), strict=True):
        assert (got.double() - wanted).norm() <= close * wanted.norm()


@pytest.mark.parametrize("number", range(COUNTS[2]))
def test_golden_2d_gradient_at_whole_shifts_is_the_central_difference(number, cases):
    """In 2D the reference takes it too, so every channel agrees."""
    case = {
        key.removeprefix(f"case{number:02d}_"): cases[2][key]
        for key in cases[2]
        if key.startswith(f"case{number:02d}_")
    }
    by_shift = run(2, case, torch.float64, "cpu")[2]
    np.testing.assert_allclose(by_shift.numpy(), case["grad_shift_raw"], rtol=1e-11, atol=1e-11)


def test_where_the_compiled_op_is_required_it_is_the_one_that_runs():
    if os.environ.get(build.REQUIRE) != "1":
        pytest.skip(f"{build.REQUIRE} is not set")
    assert ops.BACKEND == "compiled", ops.WHY


@pytest.mark.parametrize("number", first(12, range(40)))
def test_kernels_are_the_reference(number, device):
    """Random shapes, shifts far outside and whole ones, strides, paddings, rounding with ties, every dtype."""
    rng = torch.Generator().manual_seed(number)

    def pick(low, high):
        return int(torch.randint(low, high, (1,), generator=rng))

    n, t, c, h, w = pick(1, 3), pick(1, 6), pick(1, 6), pick(1, 9), pick(1, 40)
    stride, padding, quantize, away = (
        [pick(1, 4) for _ in range(3)],
        [pick(0, 3) for _ in range(3)],
        number % 3 == 0,
        number % 2 == 0,
    )
    if number % 4 == 0:
        stride = [1, 1, 1]
    dtype = DTYPES[number % 4]
    x = torch.randn(n, t, c, h, w, generator=rng).to(device, dtype)
    shift = (torch.randint(-16, 17, (3, c), generator=rng) / (4 if number % 5 else 1)).to(
        device, reference.working_precision(dtype)
    )
    settings = (stride, padding, quantize, away)
    tight = (
        {"rtol": 1e-12, "atol": 1e-12}
        if dtype == torch.float64
        else {"rtol": 1e-5, "atol": 1e-5}
        if dtype == torch.float32
        else {"rtol": 0.02, "atol": 0.02}
    )
    out = torch.ops.visagent.rubiks_shift(x, shift, *settings)
    torch.testing.assert_close(out, reference.forward(x, shift, *settings), **tight)
    grad = torch.randn(out.shape, generator=rng).to(device, dtype)
    by_x, by_shift = torch.ops.visagent.rubiks_shift_backward(grad, x, shift, *settings)
    want_x, want_shift = reference.backward(grad, x, shift, *settings)
    torch.testing.assert_close(by_x, want_x, **tight)
    scale = float(want_shift.abs().max().clamp_min(1))
    torch.testing.assert_close(by_shift / scale, want_shift / scale, **tight)


def test_an_infinite_neighbour_does_not_leak_into_what_a_whole_shift_reads():
    if ops.BACKEND != "compiled":
        pytest.skip(f"the reference multiplies it by zero; not compiled: {ops.WHY}")
    x = torch.tensor([1.0, float("inf"), 3.0]).view(1, 1, 1, 1, 3)
    assert rubiks_shift_3d(x, torch.zeros(3, 1)).flatten().tolist() == [1.0, float("inf"), 3.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_keeps_what_is_not_finite(dtype, device):
    """Whatever the bits of a NaN are, rounding must not make a number of it."""
    bits = {
        torch.bfloat16: [0x7FFF, -1, 0x7F81, 0x7FC0, 0x7F80, -0x80],
        torch.float16: [0x7FFF, -1, 0x7C01, 0x7E00, 0x7C00, -0x400],
    }[dtype]
    x = torch.ones(20, dtype=dtype)
    x[2:8] = torch.tensor(bits, dtype=torch.int16).view(dtype)

    def shifted(by):
        shift = torch.tensor([[0.0], [0.0], [by]], dtype=dtype, device=device)
        return rubiks_shift_3d(x.view(1, 1, 1, 1, 20).to(device), shift).flatten().cpu()

    still, moved = shifted(0.0), shifted(0.5)
    assert still[2:6].isnan().all() and moved[1:6].isnan().all()
    assert still[6:].tolist() == [float("inf"), -float("inf")] + [1.0] * 12
    assert moved[8:].tolist() == [1.0] * 11 + [0.5]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shift_that_is_not_finite_shows(dtype, quantize, value, device):
    x, shift = (
        torch.ones(2, 3, 3, 4, 5, dtype=dtype, device=device),
        torch.full((3, 3), 0.25, dtype=dtype, device=device),
    )
    shift[1, 0] = value
    theirs = reference.forward(x, shift, [1, 1, 1], [0, 0, 0], quantize, False)
    assert theirs[:, :, 0].isnan().all() and theirs[:, :, 1:].isfinite().all()
    x.requires_grad_(True)
    shift.requires_grad_(True)
    out = rubiks_shift_3d(x, shift, quantize=quantize)
    by_shift = torch.autograd.grad(out.sum(), shift)[0]
    assert out[:, :, 0].isnan().all() and out[:, :, 1:].isfinite().all()
    assert by_shift[:, 0].isnan().all() and by_shift[:, 1:].isfinite().all()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_other_derivatives_are_refused(device):
    x, shift = (
        torch.ones(1, 2, 2, 3, 3, device=device, requires_grad=True),
        torch.full((3, 2), 0.25, device=device, requires_grad=True),
    )
    by_x = torch.autograd.grad(rubiks_shift_3d(x, shift).sum(), x, create_graph=True)[0]
    with pytest.raises(NotImplementedError, match="cannot be differentiated again"):
        torch.autograd.grad(by_x.sum(), shift)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        rubiks_shift_3d(forward_ad.make_dual(x.detach(), x.detach()), shift)


def test_a_build_that_fails_says_why_and_is_no_library(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "BUILD", tmp_path)
    monkeypatch.setattr(build, "INFO", tmp_path / "build_info.json")
    monkeypatch.setenv(build.REQUIRE, "1")
    monkeypatch.setattr(build, "find_compiler", lambda: None)
    assert build.main() == 1 and "no C++ compiler" in capsys.readouterr().err
    monkeypatch.setattr(build, "find_compiler", lambda: "false")

    def fail(command):
        raise subprocess.CalledProcessError(1, command, stderr="kernels.inc:1: error: nonsense")

    monkeypatch.setattr(build, "_run", fail)
    assert build.main() == 1 and "nonsense" in capsys.readouterr().err
    found = build.last()
    assert found is not None and found.library is None and "nonsense" in str(found.reason)
    monkeypatch.delenv(build.REQUIRE)
    assert build.main() == 0


def test_a_shift_of_one_reads_the_next_frame():
    x = torch.tensor([0.0, 4.0, 8.0]).view(1, 3, 1, 1, 1)
    for moved, expected in (
        (1.0, [4.0, 8.0, 0.0]),
        (-1.0, [0.0, 0.0, 4.0]),
        (0.25, [1.0, 5.0, 6.0]),
        (3.0, [0.0, 0.0, 0.0]),
        (-2.5, [0.0, 0.0, 0.0]),
    ):
        shift = torch.tensor([[moved], [0.0], [0.0]])
        assert rubiks_shift_3d(x, shift).flatten().tolist() == expected


def test_halves_round_up_in_3d_and_away_from_zero_in_2d():
    row = torch.arange(1.0, 7.0)
    three, two = torch.tensor([[0.0], [0.0], [-0.5]]), torch.tensor([[0.0], [-0.5]])
    assert rubiks_shift_3d(row.view(1, 1, 1, 1, 6), three, quantize=True).flatten().tolist() == [1, 2, 3, 4, 5, 6]
    assert rubiks_shift_2d(row.view(1, 1, 1, 6), two, quantize=True).flatten().tolist() == [0, 2, 3, 4, 5, 6]


SHAPES_3D = [(2, 3, 2, 4, 5), (1, 1, 3, 1, 1), (1, 2, 1, 5, 1), (2, 5, 2, 3, 4)]


@pytest.mark.parametrize(("shape", "stride", "padding"), list(product(SHAPES_3D, [1, 2, (1, 3, 2)], [0, (2, 0, 1)])))
def test_gradients_are_true(shape, stride, padding, device):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
    shift = (
        (torch.randint(-3, 3, (3, shape[2]), device=device) + 0.2 + 0.6 * torch.rand(3, shape[2], device=device))
        .double()
        .requires_grad_(True)
    )
    assert gradcheck(lambda a, b: rubiks_shift_3d(a, b, stride, padding), (x, shift), atol=1e-7)
    flat = x[:, 0].detach().requires_grad_(True)
    if isinstance(stride, int) and padding == 0:
        assert gradcheck(
            lambda a, b: rubiks_shift_2d(a, b, stride, padding),
            (flat, shift[1:].detach().requires_grad_(True)),
            atol=1e-7,
        )


def test_gradient_at_a_whole_shift_is_the_mean_of_both_sides(device):
    x = torch.randn(1, 4, 3, 5, 5, dtype=torch.float64, device=device)
    whole = torch.tensor([[0.0, 1.0, -2.0], [0.3, 0.0, 1.0], [0.0, 0.7, 0.0]], dtype=torch.float64, device=device)
    weight = torch.randn_like(x)

    def slope(at):
        moved = at.clone().requires_grad_(True)
        return torch.autograd.grad((rubiks_shift_3d(x, moved) * weight).sum(), moved)[0]

    for axis in range(3):
        step = torch.zeros_like(whole)
        step[axis] = 1e-7
        sides = 0.5 * (slope(whole + step) + slope(whole - step))
        torch.testing.assert_close(slope(whole)[axis], sides[axis], atol=1e-5, rtol=1e-5)


def test_quantised_gradient_by_x_is_the_adjoint_and_by_the_shift_straight_through(device):
    torch.manual_seed(1)
    x = torch.randn(2, 4, 6, 5, 5, dtype=torch.float64, device=device, requires_grad=True)
    shift = torch.tensor([[0.5, -0.5, 1.5, 0.2, 0.0, -1.7]] * 3, dtype=torch.float64, device=device, requires_grad=True)
    other = torch.randn_like(x)
    out = rubiks_shift_3d(x, shift, quantize=True)
    by_x, by_shift = torch.autograd.grad(out, (x, shift), other)
    probe = torch.randn_like(x)
    torch.testing.assert_close((rubiks_shift_3d(probe, shift, quantize=True) * other).sum(), (probe * by_x).sum())
    straight = torch.autograd.grad(rubiks_shift_3d(x, shift), shift, other)[0]
    torch.testing.assert_close(by_shift, straight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_as_good_as_pytorchs_own(dtype, device):
    """Twice the error of the same arithmetic, two taps an axis, written in that precision."""
    torch.manual_seed(2)
    x, shift = torch.randn(2, 4, 8, 7, 7, device=device), 2 * torch.rand(3, 8, device=device) - 1
    low_x, low_shift = x.to(dtype), shift.to(dtype)
    exact = rubiks_shift_3d(low_x.double(), low_shift.double())

    def plain(y):
        for axis, where in enumerate((1, 3, 4)):
            floor = torch.floor(low_shift[axis])
            rest = (low_shift[axis] - floor).view(1, 1, -1, 1, 1)
            whole = torch.zeros(3, 8, dtype=torch.float64, device=device)
            taps = []
            for extra in (0, 1):
                whole[axis] = floor.double() + extra
                taps.append(rubiks_shift_3d(y.double(), whole).to(dtype))
            assert where < 5
            y = (1 - rest) * taps[0] + rest * taps[1]
        return y

    ours, theirs = (
        (rubiks_shift_3d(low_x, low_shift).double() - exact).abs().max(),
        (plain(low_x).double() - exact).abs().max(),
    )
    assert ours <= 2 * theirs and ours > 0


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_shift_keeps_its_own_precision(dtype, axes, device):
    """Rounded to bfloat16, 3.3 would be 3.297, and a gradient of 1/3 would be 0.334."""
    x = torch.arange(64, device=device, dtype=dtype).expand((2, 1, 4, 64) if axes == 2 else (1, 2, 1, 4, 64))
    shift = torch.zeros(axes, 1, device=device)
    shift[-1] = 3.3
    shift.requires_grad_(True)
    out = OPS[axes](x, shift)
    assert out.dtype == dtype
    torch.testing.assert_close(
        out[..., :8].double(), (x[..., :8].double() + shift[-1].double()).to(dtype).double(), rtol=0, atol=0
    )
    weight = torch.zeros_like(out)
    weight[..., :3] = 1.0
    by_shift = torch.autograd.grad(out, shift, weight)[0]
    assert by_shift.dtype == torch.float32 and float(by_shift[-1]) == float(weight.sum())
    sums = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    by_shift = torch.autograd.grad(OPS[axes](x, shift), shift, sums)[0]
    exact = torch.autograd.grad(OPS[axes](x.double(), shift), shift, sums.double())[0]
    torch.testing.assert_close(by_shift, exact, rtol=1e-5, atol=1e-4)


def test_layers_keep_the_precision_of_their_shifts_under_autocast(device):
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 1), RubiksShift3D(6, 4, 1, False), RubiksShift2D(6, 1)).to(
        device
    )
    x = torch.randn(8, 3, 12, 40, device=device)
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        middle = layers[0](x)
        out = layers[1:](middle)
    assert middle.dtype == out.dtype == torch.bfloat16
    one = layers[1](middle.double())
    torch.testing.assert_close(layers[1](middle), one.to(torch.bfloat16), rtol=1e-2, atol=1e-3)
    by_shift = torch.autograd.grad(layers[1](middle).double().square().sum(), layers[1].shift)[0]
    exact = torch.autograd.grad(one.square().sum(), layers[1].shift)[0]
    assert by_shift.dtype == torch.float32 and (by_shift - exact).norm() <= 5e-3 * exact.norm()


def test_non_contiguous_inputs(device):
    x = torch.randn(2, 6, 4, 5, 3, device=device).permute(0, 2, 1, 4, 3)
    shift = torch.randn(6, 3, device=device).t()
    torch.testing.assert_close(rubiks_shift_3d(x, shift), rubiks_shift_3d(x.contiguous(), shift.contiguous()))
    grad = torch.randn(2, 5, 6, 3, 4, device=device).transpose(1, 4)
    moved = x.contiguous().requires_grad_(True)
    out = rubiks_shift_3d(moved, shift)
    torch.testing.assert_close(
        torch.autograd.grad(out, moved, grad, retain_graph=True), torch.autograd.grad(out, moved, grad.contiguous())
    )


@pytest.mark.parametrize("axes", [2, 3])
def test_opcheck(axes, device):
    x = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64, device=device, requires_grad=True)
    shift = torch.randn(3, 4, dtype=torch.float64, device=device, requires_grad=True)
    report = torch.library.opcheck(
        torch.ops.visagent.rubiks_shift.default, (x, shift, [1, 2, 2], [0, 1, 0], False, axes == 2)
    )
    assert set(report.values()) == {"SUCCESS"} and len(report) == 4


def test_compile_and_export(device):
    class Moved(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.randn(3, 4))

        def forward(self, x):
            return rubiks_shift_3d(x.relu(), self.shift, (1, 2, 2))

    module, x = Moved().to(device), torch.randn(2, 3, 4, 6, 6, device=device)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    expected, got = module(x), compiled(x)
    torch.testing.assert_close(got, expected)
    want = torch.autograd.grad(expected.square().sum(), module.shift)[0]
    torch.testing.assert_close(torch.autograd.grad(got.square().sum(), module.shift)[0], want)
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(program.module()(x), expected)
    assert "visagent.rubiks_shift" in str(program.graph)


@pytest.mark.parametrize(
    ("t_factor", "expected"),
    [
        (1.0, [[0.6, 0.0, 0.0], [0.8, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        (2.0, [[6 / 52**0.5, 0.0, 0.0], [4 / 52**0.5, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        (-1.0, [[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]),
    ],
)
def test_gradient_normalisation(t_factor, expected):
    """Unit vectors; a zero gradient stays; with a negative factor only time moves, and a channel without any keeps its
    raw gradient.
    """
    grad = torch.tensor([[3.0, 0.0, 0.0], [4.0, 0.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(normalize_shift_grad(grad, t_factor), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rubiks_shift_3d(torch.zeros(2, 3, 4, 5), torch.zeros(3, 3)),
            r"expected x \[N, T, C, H, W\], got \[2, 3, 4, 5\]",
        ),
        (lambda: rubiks_shift_3d(torch.zeros(2, 0, 3, 4, 5), torch.zeros(3, 3)), r"at least one of everything but N"),
        (lambda: rubiks_shift_3d([1.0], torch.zeros(3, 3)), "expected tensors x and shift, got list and Tensor"),
        (
            lambda: rubiks_shift_2d(torch.zeros(1, 3, 4, 5), torch.zeros(2, 3), stride=1.5),
            "expected stride to be a whole number of at least 1",
        ),
        (lambda: rubiks_shift_3d(torch.zeros(1, 2, 3, 4, 5), torch.zeros(2, 3)), r"expected shift \[3, 3\]"),
        (
            lambda: rubiks_shift_2d(torch.zeros(1, 3, 4, 5), torch.zeros(2, 3).long()),
            "expected shift of a floating dtype .*, got torch.int64",
        ),
        (
            lambda: rubiks_shift_2d(torch.zeros(1, 3, 4, 5).long(), torch.zeros(2, 3)),
            "expected x of a floating dtype .*, got torch.int64",
        ),
        (
            lambda: rubiks_shift_2d(torch.zeros(1, 3, 4, 5), torch.zeros(2, 3), stride=0),
            "expected stride to be a whole number of at least 1",
        ),
        (lambda: rubiks_shift_3d(torch.zeros(1, 2, 3, 4, 5), torch.zeros(3, 3), padding=(1, 1)), "or 3 of them, got"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_dtype(device):
    for dtype in DTYPES:
        x, shift = (
            torch.randn(1, 2, 3, 4, 5, device=device).to(dtype).requires_grad_(True),
            torch.randn(3, 3, device=device).to(dtype).requires_grad_(True),
        )
        out = rubiks_shift_3d(x, shift)
        out.sum().backward()
        assert out.dtype == x.grad.dtype == shift.grad.dtype == dtype
