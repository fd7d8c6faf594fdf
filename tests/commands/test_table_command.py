"""`visagent-table` as a process: launches what is missing, nothing else, on any launcher; failures are reported, not
hidden.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import sys

import pytest
from mlflow import MlflowClient

import processes
from chromium import wait_for
from processes import Command, run
from slow import first

pytestmark = pytest.mark.process


def table(*arguments, cwd, cold=False):
    return run("visagent-table", *arguments, cwd=cwd, check=False, cold=cold)


def records(outputs):
    return {record["signature"]: record for record in processes.records(outputs)}


def is_free(path):
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def stamps(outputs):
    return {path.parent.name: path.stat().st_mtime_ns for path in outputs.glob("runs/*/record.json")}


@pytest.fixture
def ask(dumps):
    """Table 4 (two rows) at smoke scale on the tiny scenes, one seed: two runs."""
    return [
        "navigation/table4",
        "--scale",
        "smoke",
        "--seeds",
        "0",
        f"datamodule.scenes={dumps}",
        "datamodule.scene_names=[]",
    ]


@pytest.mark.slow
def test_run_launches_what_is_missing_and_nothing_else(ask, tmp_path):
    outputs = tmp_path / "outputs"
    first = table(*ask, "--run", "--jobs", "2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "0 of 2 runs are finished, launching 2" in first.stderr and "2/2 finished" in first.stderr
    made = records(outputs)
    assert len(made) == 2 and {record["status"] for record in made.values()} == {"FINISHED"}
    assert all(record["command"].startswith("visagent-train experiment=navigation/") for record in made.values())
    place = outputs / "tables" / "smoke" / "navigation"
    (page,) = place.glob("table4-*.html")  # the scenes are others than the table's own: so is the name
    stem, figure = page.stem, page.stem.replace("table4", "figure7")
    assert {path.name for path in place.iterdir() if path.name[0] != "."} == {
        f"{stem}.{end}" for end in ("html", "md", "csv", "tex", "json")
    } | {f"{figure}.png"}
    assert "navigation/table4" in (outputs / "tables" / "index.html").read_text()

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("visagent").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == f"tables/navigation/{stem}"]
    assert parent.info.status == "FINISHED" and parent.data.tags["visagent.runs"] == "2 of 2"
    kept = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert kept == {f"{stem}.{end}" for end in ("html", "md", "csv", "tex")} | {f"{figure}.png"}
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.data.tags["visagent.signature"] for run in children} == set(made) and len(runs) == 3

    before = stamps(outputs)
    second = table(*ask, "--run", "--format", "csv", cwd=tmp_path, cold=True)
    assert second.returncode == 0 and "launching" not in second.stderr and stamps(outputs) == before
    assert second.stdout == (place / f"{stem}.csv").read_text()

    gone = sorted(made)[0]
    shutil.rmtree(outputs / "runs" / gone)
    third = table(*ask, "--run", cwd=tmp_path)
    assert third.returncode == 0 and "1 of 2 runs are finished, launching 1" in third.stderr
    after = stamps(outputs)
    assert set(after) == set(before) and [name for name in after if after[name] != before[name]] == [gone]
    assert records(outputs)[gone]["metrics"] == made[gone]["metrics"]
    assert (place / f"{stem}.csv").read_text() == second.stdout


@pytest.mark.rendering
@pytest.mark.slow
def test_two_runs_on_a_fresh_machine_make_their_room_once(tmp_path):
    """Both workers want the same embedded room, which processes of their own make: one makes it, the other finds it."""
    done = table(
        "navigation/table4", "--run", "--scale", "smoke", "--seeds", "0", "--jobs", "2", "logger=none", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {record["status"] for record in records(tmp_path / "outputs").values()} == {"FINISHED"}
    assert [path.name for path in (tmp_path / "outputs" / "cache" / "scenes").rglob("*.h5")] == ["bathroom_01.h5"]
    assert (tmp_path / "outputs" / "tables" / "smoke" / "navigation" / "table4.md").is_file()


@pytest.mark.parametrize("launcher", first(1, ["basic", "submitit_local"]))
def test_a_failed_run_is_reported_and_the_others_go_on(launcher, ask, tmp_path):
    shown = table(*ask, "logger=none", cwd=tmp_path)
    assert (
        shown.returncode == 0
        and shown.stdout.count("not started") == 2
        and not (tmp_path / "outputs" / "runs").exists()
    )
    command = next(
        line.strip()
        for line in shown.stdout.splitlines()
        if line.strip().startswith("visagent-train") and "behaviour_cloning" in line
    )
    arguments = [part.strip("'") for part in command.split()[1:]]
    run("visagent-train", *arguments, "progress=none", cwd=tmp_path)
    (name,) = records(tmp_path / "outputs")
    folder = tmp_path / "outputs" / "runs" / name
    record = {**json.loads((folder / "record.json").read_text()), "status": "KILLED", "metrics": {}}
    (folder / "record.json").write_text(json.dumps(record))
    for checkpoint in (folder / "checkpoints").iterdir():
        checkpoint.write_bytes(b"half a file")

    done = table(*ask, "--run", "logger=none", f"hydra/launcher={launcher}", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert {record["status"] for record in records(tmp_path / "outputs").values()} == {"FAILED", "FINISHED"}
    assert "expected a whole file" in done.stdout and "— (0/1)" in done.stdout and command in done.stdout
    assert "1 of 2 finished" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["navigation/tabel1"], "did you mean navigation/table1?"),
        ([], "expected a table's name first"),
        (["navigation/table1", "--seeds", "a"], "--seeds: expected whole numbers"),
        (["navigation/table1", "--jobs", "0"], "--jobs: expected at least 1"),
        (["navigation/table1", "seed=3"], "type --seeds 0,1,2"),
        (["navigation/table1", "optimizer.lrr=3"], "did you mean optimizer.lr?"),
        (["navigation/table1", "trainer.max_epochs=3"], "a table sets trainer.max_epochs itself"),
        (["navigation/table1", "datamodule.scenes=/a b(c"], "cannot read 'datamodule.scenes=/a b(c'"),
        (["navigation/table1", "bootstrap_seed=-1"], "bootstrap_seed: expected a whole number of at least 0"),
        (["navigation/table1", "--to", "x"], "no run of navigation/table1 at laptop scale is finished"),
        (["navigation/table1", "paths.outputs=/proc/nowhere", "logger=none"], "cannot write the table"),
        (["navigation/table1", "confidence=2"], "confidence: expected a number between 0 and 1"),
    ],
)
def test_mistakes_get_one_message(arguments, message, tmp_path, monkeypatch, capsys):
    from visagent.cli import table as main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["visagent-table", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_list_and_help(monkeypatch, capsys):
    from visagent.cli import table as main

    for arguments, shown in (
        (["--list"], "navigation/table1\nnavigation/table2"),
        (["--help"], "launch the runs that are missing"),
    ):
        monkeypatch.setattr(sys, "argv", ["visagent-table", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code and shown in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_workers_and_goes_on(ask, tmp_path):
    """The process that launches is killed outright: its workers stop, their runs can be resumed."""
    outputs, arguments = tmp_path / "outputs", [*ask, "--run", "--jobs", "2", "logger=none"]
    started = Command("visagent-table", *arguments, "datamodule.passes_per_epoch=300", cwd=tmp_path)
    wait_for(
        lambda: len(records(outputs)) == 2 and all(r["history"] for r in records(outputs).values()), "first epochs", 240
    )
    started.end(all_of_it=False)
    wait_for(lambda: {r["status"] for r in records(outputs).values()} == {"KILLED"}, "the workers' end", 60)
    for name in records(outputs):  # a worker holds it until its process is gone
        wait_for(lambda lock=outputs / "runs" / name / "lock": is_free(lock), "the end of a worker's process", 60)
    shown = table(*ask, "logger=none", "datamodule.passes_per_epoch=300", cwd=tmp_path)
    assert shown.stdout.count("cut off") == 2
