"""Cases that say once more what others say: they run with `make test SLOW=1` and in CI."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def first(count: int, cases: Iterable[Any]) -> list[Any]:
    """Cases of a parametrised test, of which those after the first `count` are slow."""
    return [case if number < count else _slow(case) for number, case in enumerate(cases)]


def only(usual: Callable[[Any], bool], cases: Iterable[Any]) -> list[Any]:
    """Cases of a parametrised test, of which those are slow that are not `usual`."""
    return [case if usual(case) else _slow(case) for case in cases]


def _slow(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
