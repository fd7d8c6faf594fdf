"""The op at every width from 1 to 300: vectors, their groups and what is left of a row are cases of their own, in every
instruction set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cuda_ext import ops, reference
from cuda_ext.ops import DTYPES

WIDTHS = range(1, 301)
STRIDES = (1, 2, 3)
CLOSE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
"""Greatest error, in units of the greatest value."""
SHIFTS = torch.tensor([[0.0, 0.6, 0.0, -1.0], [0.0, -0.4, 1.3, 1.0], [0.0, 1.7, -2.0, -9.25]])
"""`[3, C]`: none at all, between places, whole in some axes, whole and far."""


def exact_values(rng, *shape):
    """Numbers that every dtype holds as they are."""
    return torch.randint(-64, 65, shape, generator=rng).double() / 16


def run(x, shift, grad, arguments):
    return (
        torch.ops.visagent.rubiks_shift(x, shift, *arguments),
        *torch.ops.visagent.rubiks_shift_backward(grad, x, shift, *arguments),
    )


def wrong_widths(stride, device="cpu", dtypes=DTYPES):
    """`[width, dtype, what]` of all that is wrong: forward, both gradients, and a shift of zero that changes
    anything.
    """
    found = []
    for width in WIDTHS:
        rng = torch.Generator().manual_seed(width)
        x = exact_values(rng, 1, 2, SHIFTS.shape[1], 3, width)
        arguments = ([1, stride, stride], [0, 0, 0], False, False)
        out = reference.forward(x, SHIFTS.double(), *arguments)
        grad = exact_values(rng, *out.shape)
        wanted = (out, *reference.backward(grad, x, SHIFTS.double(), *arguments))
        for dtype in dtypes:
            shift = SHIFTS.to(device, reference.working_precision(dtype))
            got = run(x.to(device, dtype), shift, grad.to(device, dtype), arguments)
            for name, ours, theirs in zip(("forward", "by x", "by shift"), got, wanted, strict=True):
                scale = theirs.abs().max().clamp_min(1)
                if not (ours.cpu().double() - theirs).abs().max() <= CLOSE[dtype] * scale:
                    found.append([width, str(dtype), name])
            if not torch.equal(got[0][:, :, 0].cpu().double(), x[:, :, 0, ::stride, ::stride]):
                found.append([width, str(dtype), "a shift of zero"])
    return found


@pytest.mark.parametrize("stride", STRIDES)
def test_every_width(stride, device):
    assert wrong_widths(stride, device) == []


@pytest.mark.slow
def test_every_width_with_the_instructions_that_any_processor_has():
    """In a process of its own, since a library chooses once."""
    if ops.BACKEND != "compiled":
        pytest.skip(f"not compiled: {ops.WHY}")
    code = (
        "import json; from test_every_width import STRIDES, wrong_widths; print(json.dumps([wrong_widths(stride) for "
        "stride in STRIDES]))"
    )
    environment = {**os.environ, "VISAGENT_ISA": "baseline", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.PIPE, text=True)
    assert json.loads(done.stdout) == [[], [], []]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [64, 100, 136, 200])
def test_results_larger_than_the_caches_are_those_of_their_parts(width, dtype):
    """They are written past the caches, by other instructions."""
    height, channels = 128, SHIFTS.shape[1]
    clips = (26 << 20) // (height * width * channels * dtype.itemsize) + 1
    rng = torch.Generator().manual_seed(width)
    x = exact_values(rng, 1, 1, channels, height, width).to(dtype).repeat(clips, 1, 1, 1, 1)
    shift = SHIFTS.to(reference.working_precision(dtype))
    arguments = ([1, 1, 1], [0, 0, 0], False, False)
    out, by_x, _ = run(x, shift, x, arguments)
    out_of_one, by_x_of_one, _ = run(x[:1], shift, x[:1], arguments)
    assert (out == out_of_one).all() and (by_x == by_x_of_one).all()


@st.composite
def problems(draw):
    size = draw(
        st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 5), st.integers(1, 12), st.integers(1, 300))
    )
    stride = draw(st.tuples(*[st.integers(1, 3)] * 3))
    padding = draw(st.sampled_from([(0, 0, 0), (0, 1, 2), (1, 0, 1)]))
    component = st.one_of(
        st.floats(-12, 12, width=32), st.integers(-4, 4).map(lambda n: n / 2), st.sampled_from([1e6, -1e6])
    )
    shift = draw(st.lists(component, min_size=3 * size[2], max_size=3 * size[2]))
    return size, stride, padding, draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from(DTYPES)), shift


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(problems())
def test_any_shape_and_shift(problem):
    size, stride, padding, quantize, away, dtype, components = problem
    rng = torch.Generator().manual_seed(0)
    x, shift = exact_values(rng, *size), torch.tensor(components, dtype=torch.float32).view(3, -1)
    arguments = (stride, padding, quantize, away)
    out = reference.forward(x, shift.double(), *arguments)
    grad = exact_values(rng, *out.shape)
    by_x, by_shift = reference.backward(grad, x, shift.double(), *arguments)
    got = run(x.to(dtype), shift.to(reference.working_precision(dtype)), grad.to(dtype), arguments)
    for ours, theirs in zip(got, (out, by_x, by_shift), strict=True):
        assert (ours.double() - theirs).abs().max() <= CLOSE[dtype] * theirs.abs().max().clamp_min(1)
