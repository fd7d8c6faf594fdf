"""Many runs that write into one MLflow at once lose nothing, in a file and in a server's database."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

import processes  # noqa: F401 (the server that forks processes has MLflow in it then)
from chromium import free_port, wait_for
from visagent import cli
from visagent.runtime import mlflow_logger
from visagent.runtime.mlflow_logger import MLflowTracker
from visagent.runtime.mlflow_server import command
from visagent.runtime.outbox import Store
from visagent.runtime.tracking import connect

pytestmark = [pytest.mark.cluster, pytest.mark.process, pytest.mark.xdist_group("cluster")]
RUNS, METRICS, STEPS = 16, 12, 40


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL of the tests' own, of Debian's package."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or os.geteuid() != 0 or shutil.which("runuser") is None:
        pytest.skip("no PostgreSQL of Debian's package here, or not root, whom it refuses")
    folder, port = Path(tempfile.mkdtemp(prefix="visagent-postgres-")), free_port()
    shutil.chown(folder, "postgres")

    def run(program: str, *arguments: str) -> None:
        line = ["runuser", "-u", "postgres", "--", str(programs[-1] / program), *arguments]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder, timeout=120)
        assert done.returncode == 0, program

    run("initdb", "-D", f"{folder}/data", "--auth=trust", "--no-sync")
    listening = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", listening, "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "mlflow")
        yield f"postgresql://postgres@127.0.0.1:{port}/mlflow"
    finally:
        run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def write(uri: str, outputs: Path, number: int) -> None:
    """One run: a process of its own writes its metrics, and has patience with a machine that has other things to do."""
    mlflow_logger.START_SECONDS = mlflow_logger.CLOSE_SECONDS = 300.0
    folder = outputs / "runs" / f"r{number}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}\n")
    tracker = MLflowTracker.open(Store(uri, "many", outputs), folder, None, f"r{number}", {}, {})
    for step in range(STEPS):
        tracker.log_metrics({f"m/{metric}": float(metric * step) for metric in range(METRICS)}, step)
        if step % 10 == 9:
            tracker.flush()
    tracker.close("FINISHED")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_sixteen_runs_lose_no_metric(database, tmp_path, request):
    uri = f"sqlite:///{tmp_path}/mlflow.db" if database == "sqlite" else request.getfixturevalue("postgres")
    connect(uri, "many", tmp_path)  # as a server does that was started before: it makes the tables
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=write, args=(uri, tmp_path, number)) for number in range(RUNS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(600)
        assert writer.exitcode == 0
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("many").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * RUNS
    assert {run.info.artifact_uri.split("/mlflow-artifacts/")[0] for run in runs} == {tmp_path.as_uri()}
    for run in runs:
        for metric in range(METRICS):
            history = client.get_metric_history(run.info.run_id, f"m/{metric}")
            assert [(each.step, each.value) for each in sorted(history, key=lambda each: each.step)] == [
                (step, float(metric * step)) for step in range(STEPS)
            ]
    assert not list(tmp_path.glob("runs/*/mlflow-*")), "nothing is left unsent"


def test_the_server_answers_at_this_machine_alone(tmp_path, monkeypatch):
    port = free_port()
    monkeypatch.chdir(tmp_path)
    line = command(["--database", f"sqlite:///{tmp_path}/mlflow.db", "--port", str(port), "--", "--workers=1"])
    assert "--host=127.0.0.1" in line and line[-1] == "--workers=1"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            client = MlflowClient(f"http://127.0.0.1:{port}")

            def answers() -> bool:
                try:
                    return bool(client.search_experiments())
                except Exception:  # noqa: BLE001 (whatever it says before it is up)
                    return False

            wait_for(answers, "the server to answer", 240)
        finally:
            os.killpg(server.pid, 15)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "type --open too"),
        (["--database", "sqlite:mlflow.db"], "expected sqlite:///FILE"),
        (["--database", "mysql://me:secret@there/mlflow"], "expected the Python module MySQLdb"),
    ],
)
def test_what_the_server_refuses(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["visagent-mlflow-server", *arguments])
    with pytest.raises(SystemExit):
        cli.mlflow_server()
    shown = capsys.readouterr().err
    assert said in shown and "secret" not in shown and not list(tmp_path.iterdir())
