"""A table's experts are finished before the students who imitate them begin."""

from __future__ import annotations

import pytest
from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.visagent_table import TableSweeper
from visagent.config.table_schemas import (
    ColumnConfig,
    MeasureConfig,
    RowConfig,
    ScaleConfig,
    TableConfig,
    TableRootConfig,
)
from visagent.tables.grid import expand
from visagent.tables.results import collect
from visagent.tables.runs import plan

STUDENT, EXPERT = "experiment=secant/student_from_states", "experiment=secant/expert_from_states"
SEVENTH = f"algorithm.expert.overrides=['{EXPERT}','seed=7']"


@pytest.fixture
def grid():
    columns = {"strong": [STUDENT], "weak": [STUDENT, "algorithm.augmentation=crop"], "expert": [EXPERT]}
    spec = TableConfig(
        title="students and their expert",
        paper="Nobody",
        place="Table 0",
        measures={"return": MeasureConfig("return", "test/return", "max", 0.0)},
        columns=[ColumnConfig(name, overrides=told) for name, told in columns.items()],
        rows=[RowConfig("swingup")],
        scales={"smoke": ScaleConfig(overrides=["debug=smoke"], seeds=[0, 1])},
    )
    spec.columns.append(ColumnConfig("another's", overrides=[STUDENT, SEVENTH]))
    return expand("nobody/students", TableRootConfig(0.9, 200, 0, spec), "smoke")


def test_experts_come_first_each_once(grid, extra, finish):
    first, second = collect(grid, plan(grid, extra)).waves
    assert sorted(run.label for run in first) == [
        "expert: secant/expert_from_states seed=7 debug=smoke",
        "secant/expert_from_states debug=smoke seed=0",
        "secant/expert_from_states debug=smoke seed=1",
    ]
    assert len(second) == 6 and {run.expert.signature for run in second} == {run.signature for run in first}
    seventh = next(run for run in first if run.seed == 7)
    assert set(extra) <= set(seventh.overrides)  # its folder is where the students look for it
    on_gpus = plan(grid, (*extra, "trainer.accelerator=gpu", "optimizer.lr=0.5"))
    others = [run.expert for run in on_gpus.values() if run.expert is not None]
    assert others and all("trainer.accelerator=gpu" in run.overrides for run in others)
    assert not any("optimizer.lr=0.5" in run.overrides for run in others)  # what an expert is, its overrides say
    finish(first[0])
    finish(next(run for run in second if run.expert.signature == first[0].signature))
    again = collect(grid, plan(grid, extra)).waves
    assert [len(wave) for wave in again] == [3, 4]  # one student's expert is there: it can begin at once


def test_who_has_no_expert_is_not_started(grid, extra, finish, monkeypatch, capsys):
    """The sweep launches wave after wave; who imitates an expert that failed is left out and named."""
    launched = []

    class Launcher:
        def launch(self, overrides, initial_job_idx):
            launched.append((initial_job_idx, overrides))
            failed = ["seed=1" in told and EXPERT in told for told in overrides]
            return [
                JobReturn(status=JobStatus.FAILED if bad else JobStatus.COMPLETED, _return_value="why it failed")
                for bad in failed
            ]

    monkeypatch.setattr("visagent.tables.grid.load_grid", lambda *_: grid)
    sweeper = TableSweeper("nobody/students", "smoke", [], extra)
    sweeper.launcher = Launcher()
    returned = sweeper.sweep([])
    assert [(number, len(told)) for number, told in launched] == [(0, 3), (3, 4)] and len(returned) == 7
    assert not any("seed=1" in told and SEVENTH not in told for told in launched[1][1])
    said = capsys.readouterr().err
    assert "failed: secant/expert_from_states debug=smoke seed=1: why it failed" in said
    assert said.count("its expert failed") == 2 and "not started: secant/student_from_states debug=smoke seed=1" in said
