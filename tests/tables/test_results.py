"""What enters a table: finished runs of the very same signature, and nothing else."""

from __future__ import annotations

import dataclasses
import fcntl
import math

import numpy as np
import pytest
from tiny_table import make_spec, numbers

from visagent.config.table_schemas import ClaimConfig, ColumnConfig, MeasureConfig, RowConfig
from visagent.errors import ConfigError
from visagent.tables.claims import check_claims
from visagent.tables.grid import expand
from visagent.tables.results import BETTER, CLOSE, WORSE, collect, mark
from visagent.tables.runs import check_overrides, plan
from visagent.tables.text import missing, ours

CELL = ("sampled actions", "cloning", "rate", "Bath.")


def by_seed(runs, preset):
    return {seed: run for (overrides, seed), run in runs.items() if overrides[0] == f"experiment=navigation/{preset}"}


def test_a_whole_table(grid, whole):
    results = collect(grid, whole)
    cell = results.cells[CELL]
    assert cell.values == {0: pytest.approx(0.80), 1: pytest.approx(0.81), 2: pytest.approx(0.82)}
    assert cell.value == pytest.approx(0.81) and cell.std == pytest.approx(0.01) and cell.iqm == pytest.approx(0.81)
    assert cell.interval == pytest.approx((0.80, 0.82))
    assert cell.paper == 0.8 and cell.difference == pytest.approx(0.01) and cell.mark == BETTER
    assert results.cells[("argmax actions", "DAgger (1)", "length", "Kitchen")].value == 14.0
    assert results.cells[("argmax actions", "DAgger (1)", "length", "Kitchen")].paper is None
    assert not results.unfinished and len(results.finished) == 6


def test_the_aggregate_is_over_seeds_and_columns(grid, whole):
    results = collect(grid, whole)
    both = results.aggregates[("sampled actions", "cloning", "rate")]
    assert both.values == {seed: pytest.approx(0.7 + 0.01 * seed) for seed in range(3)}
    assert both.value == pytest.approx(0.71) and both.std == pytest.approx(0.01) and both.paper == pytest.approx(0.65)
    assert both.interval is not None and 0.70 <= both.interval[0] < 0.71 < both.interval[1] <= 0.72
    assert results.aggregates[("sampled actions", "cloning", "length")].paper is None  # the paper lacks one of the two


def test_nothing_there_is_a_dash(grid, extra):
    results = collect(grid, plan(grid, extra))
    assert all(
        cell.value is None and cell.mark == "" and ours(cell) == "—"
        for cell in [*results.cells.values(), *results.aggregates.values()]
    )
    assert [m.why for m in missing(results)] == ["not started"] * 6
    assert all(
        m.command is not None and m.command.startswith("visagent-train experiment=navigation/")
        for m in missing(results)
    )


def test_a_failed_seed_is_left_out_with_its_reason(grid, whole, extra, finish):
    failed = by_seed(whole, "behaviour_cloning")[1]
    finish(failed, status="FAILED", error="Traceback\n  ...\nRuntimeError: out of paper\n", metrics=numbers(0.0))
    results = collect(grid, plan(grid, extra))
    cell = results.cells[CELL]
    assert (
        cell.values == {0: pytest.approx(0.80), 2: pytest.approx(0.82)}
        and cell.value == pytest.approx(0.81)
        and cell.interval is None
    )
    assert ours(cell) == "0.810 ± 0.014 (2/3)" and cell.missing == {1: "failed: RuntimeError: out of paper"}
    (line,) = missing(results)
    assert "RuntimeError: out of paper" in line.why and line.command == failed.command
    assert results.aggregates[("sampled actions", "cloning", "rate")].values.keys() == {0, 2}
    assert [run.signature for run in results.to_launch] == [failed.signature]


def test_all_seeds_failed_is_no_zero(grid, whole, extra, finish):
    for run in by_seed(whole, "behaviour_cloning").values():
        finish(run, status="FAILED", error="boom")
    assert ours(collect(grid, plan(grid, extra)).cells[CELL]) == "— (0/3)"


@pytest.mark.parametrize(("status", "state"), [("RUNNING", "cut off"), ("KILLED", "cut off"), ("FAILED", "failed")])
def test_unfinished_runs_give_no_number(status, state, grid, whole, extra, finish):
    run = by_seed(whole, "behaviour_cloning")[0]
    finish(run, numbers(0.5), status=status)
    again = by_seed(plan(grid, extra), "behaviour_cloning")[0]
    assert again.state == state and again.record is None
    assert 0 not in collect(grid, plan(grid, extra)).cells[CELL].values


def test_a_run_at_work_is_not_launched_again(grid, whole, extra, finish):
    run = by_seed(whole, "behaviour_cloning")[0]
    finish(run, status="RUNNING")
    with (run.folder.path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = collect(grid, plan(grid, extra))
        assert [r.state for r in results.unfinished] == ["running"] and not results.to_launch
    assert len(collect(grid, plan(grid, extra)).to_launch) == 1


def test_numbers_of_another_scale_or_config_never_enter(root, grid, whole, extra, tmp_path):
    """The same table at another scale, with another override, or after a changed default asks for other signatures."""
    laptop = plan(expand("nobody/tiny", root, "laptop"), extra)
    changed = plan(grid, [*extra, "optimizer.lr=0.5"])
    assert {run.state for run in [*laptop.values(), *changed.values()]} == {"not started"}
    assert not {run.signature for run in whole.values()} & {
        run.signature for run in [*laptop.values(), *changed.values()]
    }


@pytest.mark.parametrize("change", ["scale", "seed", "config", "signature"])
def test_a_folder_that_holds_another_run_than_its_name_says_is_refused(change, grid, whole, extra, finish):
    run = by_seed(whole, "behaviour_cloning")[0]
    if change == "config":
        text = (run.folder.path / "config.yaml").read_text()
        (run.folder.path / "config.yaml").write_text(text.replace("batch_size: 128", "batch_size: 64"))
        assert "batch_size: 128" in text
    else:
        finish(run, numbers(1.0), **{change: {"scale": "laptop", "seed": 7, "signature": "r000000000"}[change]})
    again = by_seed(plan(grid, extra), "behaviour_cloning")[0]
    assert again.state == "failed" and "another run" in str(again.reason)
    assert 0 not in collect(grid, plan(grid, extra)).cells[CELL].values


def test_a_record_that_does_not_read_is_named(grid, whole, extra):
    run = by_seed(whole, "behaviour_cloning")[0]
    (run.folder.path / "record.json").write_text("{")
    assert "record.json" in str(by_seed(plan(grid, extra), "behaviour_cloning")[0].reason)


def test_undefined_and_absent_numbers_are_left_out_with_the_reason(grid, whole, extra, finish):
    runs = by_seed(whole, "behaviour_cloning")
    finish(runs[0], {**numbers(0.8), "test/sampled/bathroom/average_successful_length": math.nan})
    finish(runs[1], {key: value for key, value in numbers(0.8).items() if "sampled/bathroom" not in key})
    cell = collect(grid, plan(grid, extra)).cells[("sampled actions", "cloning", "length", "Bath.")]
    assert set(cell.values) == {2}
    assert (
        cell.missing[0] == "no successful episode"
        and "no such metric (test/sampled/bathroom/average_successful_length)" in cell.missing[1]
    )
    assert cell.std is None and ours(cell) == "12.0 (1/3)"


def test_history_serves_where_the_final_metrics_lack_a_number(grid, whole):
    run = by_seed(whole, "dagger")[2]
    assert run.value(["data/expert_queries"]) == 102.0  # of the last epoch
    assert run.value(["data/expert_queries", "test/sampled/bathroom/success_rate"]) == pytest.approx(102.92)
    assert run.value(["data/nothing"]) is None


def test_epochs_are_numbers_not_words(grid, whole, extra, finish):
    """Epoch 10 comes after epoch 9."""
    run = by_seed(whole, "dagger")[0]
    finish(run, history={str(epoch): {"data/expert_queries": float(epoch)} for epoch in range(12)})
    assert by_seed(plan(grid, extra), "dagger")[0].value(["data/expert_queries"]) == 11.0


@pytest.mark.parametrize(
    ("better", "ours", "theirs", "expected"),
    [("max", 0.9, 0.9, BETTER), ("max", 0.85, 0.9, CLOSE), ("max", 0.84, 0.9, WORSE), ("min", 7.0, 10.0, BETTER),
     ("min", 10.05, 10.0, CLOSE), ("min", 11.0, 10.0, WORSE), ("same", 9.95, 10.0, CLOSE), ("same", 10.05, 10.0, CLOSE),
     ("same", 10.06, 10.0, WORSE), ("max", 0.5, None, "")],
)  # fmt: skip
def test_marks(better, ours, theirs, expected):
    assert mark(MeasureConfig("m", "m", better, 0.05), ours, theirs) == expected


@pytest.mark.parametrize("printed", [n / 100 for n in range(5, 101)])
def test_marks_at_a_boundary_are_not_decided_by_single_precision(printed):
    spec = MeasureConfig("m", "m", "max", 0.05)
    assert mark(spec, float(np.float32(printed)), printed) == BETTER
    assert mark(spec, float(np.float32(printed - 0.05)), printed) == CLOSE
    assert mark(spec, float(np.float32(printed - 0.051)), printed) == WORSE


OWN = [
    "seed=1",
    "scale=paper",
    "+name=x",
    "experiment=navigation/dagger",
    "debug=smoke",
    "paths.run=here",
    "trainer.max_epochs=1",
    "word",
]


@pytest.mark.parametrize("override", OWN)
def test_what_the_table_sets_cannot_be_overridden(override, grid):
    with pytest.raises(ConfigError, match=r"a table sets|expected NAME"):
        check_overrides([override], grid)


def test_rows_that_are_the_same_run_launch_it_once(root, extra):
    twice = [root.table.rows[0], dataclasses.replace(root.table.rows[0], name="again", overrides=["optimizer.lr=1e-3"])]
    grid = expand("nobody/tiny", make_spec(rows=twice, claims=[]), "smoke")
    results = collect(grid, plan(grid, extra))
    assert len(results.runs) == 6 and len(results.to_launch) == 3


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.yaml", "a: ["), ("config.yaml", ""), ("config.yaml", None), ("record.json", '{"metrics": {"a": "b"}}')],
)
def test_a_damaged_folder_is_one_failed_run(file, content, grid, whole, extra):
    run = by_seed(whole, "behaviour_cloning")[0]
    if content is None:
        (run.folder.path / file).unlink()
    else:
        (run.folder.path / file).write_text(content)
    results = collect(grid, plan(grid, extra))
    assert (
        len(results.finished) == 5
        and results.cells[CELL].missing[0].startswith("failed: ")
        and file in results.cells[CELL].missing[0]
    )


def claim(left, relation, right=None, factor=1.0):
    return ClaimConfig("it is so", "Section 1", left, relation, right or {}, factor)


def verdict(one, whole_runs, **changes):
    grid = expand("nobody/tiny", make_spec(claims=[one], **changes), "smoke")
    return check_claims(collect(grid, whole_runs))[0]


def test_a_claim_that_comes_out(whole):
    better = verdict(claim({"row": "DAgger (1)", "measure": "rate"}, ">", {"row": "cloning", "measure": "rate"}), whole)
    assert [round(c.margin, 9) for c in better.comparisons] == [0.1] * 4 and all(c.clear for c in better.comparisons)
    assert better.summary() == "sampled actions: comes out in all 2; argmax actions: comes out in all 2"


def test_a_claim_that_does_not(whole):
    worse = verdict(claim({"row": "DAgger (1)", "measure": "rate"}, "<", {"row": "cloning", "measure": "rate"}), whole)
    assert (
        worse.summary()
        == "sampled actions: does not come out in any of 2; argmax actions: does not come out in any of 2"
    )


def test_a_claim_against_a_number_within_the_noise(whole):
    one = verdict(claim({"row": "cloning", "measure": "rate", "column": "Bath."}, ">", {"value": 0.809}), whole)
    assert one.summary() == "sampled actions: comes out, within the noise; argmax actions: does not come out"
    mixed = verdict(claim({"row": "cloning", "measure": "rate"}, ">", {"value": 0.65}), whole)
    assert "(within the noise" not in mixed.summary()
    assert mixed.summary().startswith("sampled actions: comes out in 1 of 2, not in Kitchen;")


@pytest.mark.parametrize(("relation", "expected"), [(">", False), (">=", True), ("<", False), ("<=", True)])
def test_claims_at_equality(relation, expected, grid, extra, finish):
    """In single precision, as metrics are."""
    for run in plan(grid, extra).values():
        finish(run, {key: float(np.float32(0.8)) for key in numbers(0.0)})
    (first, *_) = verdict(
        claim({"row": "cloning", "measure": "rate"}, relation, {"value": 0.8}), plan(grid, extra)
    ).comparisons
    assert first.holds is expected and first.clear is True and abs(first.margin) < 1e-6


def test_factors_and_trends(whole):
    assert (
        verdict(
            claim({"row": "cloning", "measure": "length"}, ">", {"row": "cloning", "measure": "rate"}, factor=10.0),
            whole,
        )
        .summary()
        .count("all 2")
        == 2
    )
    trend = verdict(claim({"row": "cloning", "measure": "rate"}, "trend>"), whole)
    assert [c.where for c in trend.comparisons] == [
        "Bath. to Kitchen"
    ] * 2 and trend.summary() == "sampled actions: comes out; argmax actions: comes out"
    assert "does not come out" in verdict(claim({"row": "cloning", "measure": "rate"}, "trend<"), whole).summary()


def test_claims_pair_the_seeds_and_say_what_is_missing(grid, whole, extra, finish):
    for seed in (0, 1):
        finish(by_seed(whole, "dagger")[seed], status="KILLED")
    found = check_claims(collect(grid, plan(grid, extra)))[0]
    assert [round(c.margin, 9) for c in found.comparisons] == [0.1] * 4 and {c.clear for c in found.comparisons} == {
        None
    }
    assert found.summary().endswith("comes out in all 2 (at least 1 of 3 seeds; fewer than 3 seeds: noise not judged)")
    finish(by_seed(whole, "dagger")[2], status="KILLED")
    assert check_claims(collect(grid, plan(grid, extra)))[0].summary() == "not known: its numbers are missing"


def test_intervals_do_not_depend_on_other_cells(root, grid, whole):
    alone = expand("nobody/tiny", make_spec(rows=root.table.rows[:1], claims=[]), "smoke")
    assert collect(alone, whole).cells[CELL].interval == collect(grid, whole).cells[CELL].interval
    assert np.isfinite(collect(grid, whole).cells[CELL].interval).all()


def test_the_peak_of_a_run_and_when_it_reached_a_level(extra, finish):
    levels = {
        "rate": MeasureConfig("peak", "val/rate", "max", 0.0, over="peak"),
        "when": MeasureConfig("steps", "val/rate", "min", 0.0, over="reached"),
    }
    levels["when"].level = "{level}"
    rows = [
        RowConfig("low", {"preset": "behaviour_cloning", "level": "0.5"}),
        RowConfig("high", {"preset": "behaviour_cloning", "level": "0.9"}),
    ]
    columns = [ColumnConfig("only", {"room": "bathroom"})]
    grid = expand(
        "nobody/tiny",
        make_spec(measures=levels, rows=rows, columns=columns, panels=[], aggregate=None, figures=[], claims=[]),
        "smoke",
    )
    for (_, seed), run in plan(grid, extra).items():
        rates = (math.nan, 0.6, 0.8 + 0.1 * seed, 0.7)  # before the first one nothing was measured
        finish(
            run,
            {"val/rate": 0.7},
            history={str(10 * epoch): {"val/rate": rate, "step": 100.0 * epoch} for epoch, rate in enumerate(rates)},
        )
    cells = collect(grid, plan(grid, extra)).cells
    assert cells[("", "low", "rate", "only")].values == {seed: pytest.approx(0.8 + 0.1 * seed) for seed in range(3)}
    assert cells[("", "low", "when", "only")].values == {0: 100.0, 1: 100.0, 2: 100.0}
    assert cells[("", "high", "when", "only")].values == {1: 200.0, 2: 200.0}
    assert cells[("", "high", "when", "only")].missing == {0: "undefined in this run"}


def test_numbers_of_analyses_are_read_from_the_runs_folders(extra, finish):
    spec = make_spec(
        measures={"rate": MeasureConfig("seconds", "analysis/latency/seconds_cpu", "min", 0.0)}, figures=[]
    )
    spec.table.claims, spec.table.panels, spec.table.aggregate = [], [], None
    spec.table.rows = [RowConfig("cloning", {"preset": "behaviour_cloning"})]
    tiny = expand("nobody/tiny", spec, "smoke")
    for run in plan(tiny, extra).values():
        finish(run, {"test/return": 1.0})
    results = collect(tiny, plan(tiny, extra))
    assert [kind for kind, _ in results.to_analyse] == ["latency"] * 3
    one = results.to_analyse[0][1]
    said = next(iter(results.cells.values())).missing[one.seed]
    assert said == f"not analysed yet: visagent-analyse latency run={one.signature}"
    one.folder.analyses.mkdir()
    one.folder.keep_analysis("latency", {"seconds_cpu": 0.25}, {})
    again = collect(tiny, plan(tiny, extra))
    assert [run.seed for _, run in again.to_analyse] == [1, 2]
    assert next(iter(again.cells.values())).values == {0: 0.25}
