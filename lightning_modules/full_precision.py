"""Steps that the trainer's mixed precision leaves alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


def in_full_precision(step: Callable[..., None]) -> Callable[..., None]:
    """A step of a module outside the trainer's mixed precision, which would reach into losses and values; the network
    says what is computed in less.
    """

    @functools.wraps(step)
    def run(self: Any, *arguments: Any) -> None:
        with torch.autocast(self.device.type, enabled=False):
            step(self, *arguments)

    return run
