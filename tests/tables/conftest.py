"""Finished, failed and cut-off runs without any training: folders and records as the runtime writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import yaml
from tiny_table import make_spec, numbers

from visagent.config.composition import Composed, compose_run
from visagent.config.table_schemas import TableRootConfig
from visagent.runtime.record import Record
from visagent.tables.grid import Grid, expand
from visagent.tables.runs import TableRun, plan

Finish = Callable[..., None]
ANYWHERE = "/in/the/folder/of/a/test"
_GROUPS: Composed = {}


@cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    return compose_run(overrides, _GROUPS)


def _replaced(node: Any, one: str, other: str) -> Any:
    if isinstance(node, dict):
        return {key: _replaced(value, one, other) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, one, other) for value in node]
    return node.replace(one, other) if isinstance(node, str) else node


@pytest.fixture(autouse=True)
def composed_once(tmp_path, monkeypatch) -> None:
    """Runs that differ by the test's folder alone are composed once: a third of a second each."""

    def compose(overrides: Sequence[str], known: object) -> dict[str, Any]:
        config = _composed(tuple(_replaced(list(overrides), str(tmp_path), ANYWHERE)))
        return _replaced(config, ANYWHERE, str(tmp_path))

    monkeypatch.setattr("visagent.tables.runs.compose_run", compose)


@pytest.fixture
def root() -> TableRootConfig:
    return make_spec()


@pytest.fixture
def grid(root) -> Grid:
    return expand("nobody/tiny", root, "smoke")


@pytest.fixture
def extra(tmp_path) -> tuple[str, ...]:
    return (f"paths.outputs={tmp_path}/outputs", "logger=none")


@pytest.fixture
def finish() -> Finish:
    """Write a run's folder as it would be after training."""

    def write(run: TableRun, metrics=None, status="FINISHED", error=None, history=None, **changes) -> None:
        run.folder.path.mkdir(parents=True, exist_ok=True)
        (run.folder.path / "config.yaml").write_text(yaml.safe_dump(dict(run.config)))
        facts = {
            "signature": run.signature,
            "name": "x",
            "command": "visagent-train ...",
            "seed": run.seed,
            "scale": run.config["scale"],
        }
        hardware = {"cpu": "abacus", "cores": "2", "memory": "1 GiB", "device": "1 x cpu"}
        record = Record(
            **{
                **facts,
                "status": status,
                "error": error,
                "commit": "c0ffee",
                "finished": "2026-01-02T03:04:05+00:00",
                "hardware": hardware,
                **changes,
            }
        )
        record.versions, record.seconds = {"torch": "2.0"}, 60.0
        record.metrics, record.history = metrics or {}, history or {}
        run.folder.save(record)

    return write


@pytest.fixture
def whole(grid, extra, finish):
    """All runs of the tiny table finished: rates of seed s are 0.8 + s/100 for cloning, 0.1 more for DAgger."""
    for (overrides, seed), run in plan(grid, extra).items():
        better = 0.1 if "navigation/dagger" in overrides[0] else 0.0
        history = (
            {
                "0": {"data/expert_queries": 0.0},
                "1": {"data/expert_queries": 1.0 + seed},
                "2": {"data/expert_queries": 100.0 + seed},
            }
            if better
            else {"0": {}}
        )
        finish(run, numbers(0.8 + 0.01 * seed + better), history=history)
    return plan(grid, extra)
