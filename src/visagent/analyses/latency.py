"""Seconds that an action takes, without the world (dissertation Section 5.5.4, Figure 5.6)."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from visagent.envs.spaces import WorldSpaces
from visagent.seeding import generator

WARM_UP = 10


def analyse(policy: nn.Module, spaces: WorldSpaces, steps: int) -> dict[str, float]:
    """The mean time of an action on one observation, as `seconds_cpu` and `seconds_cuda`; NaN where there is no GPU.

    Args:
        policy: acts; one that adapts does so.
        spaces: of the worlds; observations are noise.
        steps: that are averaged over (the paper: 1,000).
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    return {
        f"seconds_{device}": _seconds(policy.to(device), spaces, steps, device) if here else math.nan
        for device, here in there.items()
    }


def _seconds(policy: Any, spaces: WorldSpaces, steps: int, device: str) -> float:
    rng = torch.Generator().manual_seed(0)
    seen = {
        name: torch.randint(0, 256, (1, *shape), dtype=torch.uint8, generator=rng).to(device)
        if name == "pixels"
        else torch.randn(1, *shape, generator=rng).to(device)
        for name, shape in spaces.observation.items()
    }
    state, acting, times = policy.initial_state(1), generator(0, "act"), []
    for _ in range(WARM_UP + steps):
        _wait(device)
        began = time.perf_counter()
        step = policy.act(seen, state, True, acting)
        _wait(device)
        times.append(time.perf_counter() - began)
        state = step.state
    return float(np.mean(times[WARM_UP:]))


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
