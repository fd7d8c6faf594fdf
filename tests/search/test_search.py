"""Searches for settings: what is asked for, that it goes on and repeats nothing, what is said of it."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from visagent.errors import ConfigError
from visagent.runtime.pruning import PruneByMedian
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.stopping import Pruned
from visagent.search.report import importances, write_report
from visagent.search.space import Space
from visagent.search.study import Search, SearchSettings

SETTINGS = {
    "sampler": "tpe", "trials": 12, "at_once": 1, "direction": "maximize", "seed": 0, "startup": 4, "prune": "none",
    "warmup": 1,
}  # fmt: skip


def space(*overrides):
    return Space.of(OverridesParser.create().parse_overrides(list(overrides)))


def search(tmp_path, *overrides, **settings):
    """A search whose runs are named by their overrides."""

    def compose(given):
        name = "r" + hashlib.sha256(" ".join(sorted(given)).encode()).hexdigest()[:9]
        return {"checkpoint": {"monitor": None, "mode": "max"}}, name

    where = space(*(overrides or ("lr=tag(log,interval(1e-4,1e-1))", "passes=2,4,8")))
    return Search(SearchSettings(**{**SETTINGS, **settings}), where, ["experiment=e"], "val/return", compose, tmp_path)


def finish(found, trial, value, status="FINISHED", error=None):
    """Leave what a run of the trial would."""
    history = {"0": {"val/return": value / 2}, "1": {"val/return": value}}
    folder = RunFolder(found.outputs / "runs" / trial.signature)
    folder.path.mkdir(parents=True, exist_ok=True)
    record = Record(signature=trial.signature, name="n", command="c", seed=0, scale="smoke", status=status, error=error)
    record.history = history
    folder.save(record)


def worth(params):
    return -((math.log10(float(params["lr"])) + 2.5) ** 2) + (params["passes"] == "4")


def run_all(found):
    asked = []
    while batch := found.next():
        for trial in batch:
            asked.append(trial)
            finish(found, trial, worth(trial.params))
    return asked


def test_the_space_is_said_in_hydras_words():
    found = space(
        "lr=tag(log,interval(1e-4,1e-1))", "x=range(2,10,2)", "y=choice(a,b,'c d')", "n=int(interval(1,5))", "z=1,2"
    )
    assert found.dimensions == {
        "lr": FloatDistribution(1e-4, 1e-1, log=True), "x": IntDistribution(2, 8, step=2),
        "y": CategoricalDistribution(("a", "b", "c\\ d")), "n": IntDistribution(1, 5),
        "z": CategoricalDistribution(("1", "2")),
    }  # fmt: skip
    rounded = found.rounded({"lr": 0.0012345678, "x": 4, "y": "c\\ d", "n": 3, "z": "2"})
    assert found.overrides(rounded) == ["lr=0.0012346", "x=4", "y=c\\ d", "n=3", "z=2"]
    (again,) = OverridesParser.create().parse_overrides(["y=c\\ d"])
    assert again.value() == "c d"
    assert len(space("x=range(0,1,0.25)", "y=a,b").grid()) == 8
    assert space("x=range(9,1,-2)").dimensions == {"x": IntDistribution(3, 9, step=2)}
    for wrong, said in (
        (["lr=0.1"], "expected something to search"),
        (["lr=tag(other,interval(1,2))"], "expected no tag but log, got other"),
        (["lr=interval(2,1)"], r"lr=interval\(2,1\)"),
        (["lr=glob(a*)"], r"expected choice\(...\), range"),
    ):
        with pytest.raises(ConfigError, match=said):
            space(*wrong)
    with pytest.raises(ConfigError, match=r"sampler=grid: expected choice\(...\) or range\(...\) for lr"):
        space("lr=interval(0,1)").grid()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_killed_search_asks_for_the_same_again(sampler, tmp_path):
    unbroken = [(t.number, t.params) for t in run_all(search(tmp_path / "a", sampler=sampler))]
    asked = []
    for number in range(20):
        found = search(tmp_path / "b", sampler=sampler)  # a new process
        if not (batch := found.next()):
            break
        if number % 3 != 2:  # else killed before the run is finished
            asked.append((batch[0].number, batch[0].params))
            finish(found, batch[0], worth(batch[0].params))
    assert asked == unbroken and len(asked) == 12
    signatures = [json.loads(line)["signature"] for line in (found.ledger).read_text().splitlines()]
    assert len(set(signatures)) == 12


def test_tpe_finds_better_runs_than_chance(tmp_path):
    best = {}
    for sampler in ("tpe", "random"):
        values = []
        for seed in range(3):
            found = search(tmp_path / f"{sampler}{seed}", sampler=sampler, seed=seed, trials=25)
            values.append(sorted(worth(t.params) for t in run_all(found))[-8:])
        best[sampler] = sum(map(sum, values)) / 24
    assert best["tpe"] > best["random"] + 0.1


def test_a_grid_is_gone_through_once(tmp_path):
    found = search(tmp_path, "a=1,2", "b=range(0,3)", sampler="grid", at_once=4)
    batches = []
    while batch := found.next():
        batches.append(len(batch))
        for trial in batch:
            finish(found, trial, 1.0)
    assert batches == [4, 2] and len({t.signature for t in found.known()}) == 6


def refusing(found, refused):
    def compose(given, made=found.compose):
        if refused(given):
            raise ConfigError("a and b do not go together")
        return made(given)

    found.compose = compose
    return found


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_points_that_are_refused_are_left_out(sampler, tmp_path, caplog):
    found = search(tmp_path, "a=1,2", "b=range(0,3)", sampler=sampler)
    refusing(found, lambda given: {"a=2", "b=1"} <= set(given))
    while batch := found.next():
        finish(found, batch[0], 1.0)
    assert len(found.known()) == 5
    assert [record.getMessage() for record in caplog.records] == ["left out: a=2 b=1: a and b do not go together"]
    with pytest.raises(ConfigError, match="do not go together"):  # nothing else: it is the command that is wrong
        refusing(search(tmp_path / "all", "a=1,2", sampler=sampler), lambda _: True).next()


def test_several_at_once_are_different_ones(tmp_path):
    found = search(tmp_path, at_once=4)
    first = found.next()
    assert len({t.signature for t in first}) == 4 and found.next() == first  # until they are finished
    for trial in first:
        finish(found, trial, 1.0)
    assert len(found.next()) == 4


def test_a_line_that_was_cut_off_costs_nothing(tmp_path):
    found = search(tmp_path, trials=3)
    (first,) = found.next()
    finish(found, first, 1.0)
    with found.ledger.open("a") as file:
        file.write('{"params": {"lr"')
    assert len(run_all(search(tmp_path, trials=3))) == 2 and len(found.known()) == 3


@pytest.mark.parametrize("at_once", [1, 3])
def test_tpe_sees_all_of_a_small_space(at_once, tmp_path):
    found = search(tmp_path, "lr=range(0.1,0.31,0.05)", "passes=int(interval(1,4))", trials=40, at_once=at_once)
    points = {(t.params["lr"], t.params["passes"]) for t in run_all(found)}
    assert points == {(lr, passes) for lr in (0.1, 0.15, 0.2, 0.25, 0.3) for passes in (1, 2, 3, 4)}


def test_a_small_space_comes_to_its_end(tmp_path):
    assert len(run_all(search(tmp_path, "lr=0.1,0.01", "passes=4,8"))) == 4


def test_runs_that_are_there_already_count(tmp_path):
    found = search(tmp_path, "lr=0.1,0.01", "passes=4,8", sampler="grid", trials=4)
    for overrides in (["experiment=e", "lr=0.1", "passes=4"], ["experiment=e", "lr=0.1", "passes=8"]):
        finish(found, SimpleNamespace(signature=found.compose(overrides)[1]), 2.0)
    assert [t.params for t in run_all(found)] == [{"lr": "0.01", "passes": "4"}, {"lr": "0.01", "passes": "8"}]
    assert [t.value for t in found.known()][:2] == [2.0, 2.0]


def test_failed_and_pruned_runs_are_not_asked_for_again(tmp_path):
    found = search(tmp_path, trials=6)
    for number in range(6):
        (trial,) = found.next()
        status = {1: ("FAILED", "diverged"), 2: ("KILLED", "pruned after epoch 1: worse")}.get(
            number, ("FINISHED", None)
        )
        finish(found, trial, float(number), *status)
    assert found.next() == [] and [t.state for t in found.known()][:3] == ["finished", "failed", "pruned"]
    states = [trial.state.name for trial in found.study(found.known()).trials]
    assert states == ["COMPLETE", "FAIL", "PRUNED", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_the_report_names_the_best(tmp_path):
    found = search(tmp_path, trials=10)
    run_all(found)
    said = write_report(found, None, OmegaConf.create({}))
    best = max(found.known(), key=lambda t: t.value)
    assert best.signature in said and f"lr={best.params['lr']}" in said
    with (found.folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 and max(float(row["val/return"]) for row in rows) == best.value
    page = (found.folder / "index.html").read_text()
    assert page.count("data:image/png;base64") == 3 and best.signature in page and "Parallel coordinates" in page
    shares = importances(found, found.known())
    assert set(shares) == {"lr", "passes"} and math.isclose(sum(shares.values()), 1.0, rel_tol=1e-6)


def test_settings_are_checked():
    for wrong, said in (
        ({"sampler": "cma"}, "sampler: expected tpe, random or grid, got cma"),
        ({"trials": 0}, "trials: expected at least 1, got 0"),
        ({"prune": "hyperband"}, "prune: expected none or median"),
    ):
        with pytest.raises(ConfigError, match=f"hydra.sweeper.{said}"):
            SearchSettings(**{**SETTINGS, **wrong})


@pytest.mark.parametrize(("value", "pruned"), [(4.0, True), (6.0, False)])
def test_a_run_below_the_median_ends_early(value, pruned, tmp_path):
    others = [{"0": float(worth), "1": 10.0} for worth in range(3, 8)]
    content = {"metric": "val/return", "direction": "maximize", "startup": 3, "warmup": 1, "others": others}
    path = tmp_path / "pruning.json"
    path.write_text(json.dumps(content))
    record = Record(signature="r", name="n", command="c", seed=0, scale="smoke")
    record.history = {"0": {"val/return": value}}
    callback, at = PruneByMedian(str(path), record), SimpleNamespace(current_epoch=0, max_epochs=3)
    if pruned:
        with pytest.raises(Pruned, match="pruned after epoch 1: val/return has come to 4, worse than the median of 5"):
            callback.on_train_epoch_end(at, None)
    else:
        callback.on_train_epoch_end(at, None)
    callback.on_train_epoch_end(SimpleNamespace(current_epoch=0, max_epochs=1), None)  # the last one is not ended early
    with pytest.raises(ConfigError, match=r"prune=.*expected the file of a search"):
        PruneByMedian(str(tmp_path / "none.json"), record)
