"""A Ray cluster of a job's own: the first task is the learner and Ray's head, the others lend their nodes to actors.

Each `ray start` is a child of its task and ends with it, by its process id: `ray stop` would end every Ray of the host.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visagent.errors import UserError
from visagent.runtime.allocation import SERVED, node_address, this_task

log = logging.getLogger(__name__)
HEAD_SECONDS, NODES_SECONDS, STOP_SECONDS, LOOK_SECONDS = 180.0, 120.0, 15.0, 0.5
STARTED = "Ray runtime started."
"""What `ray start` says once a node has joined."""
STORE_BYTES = 200_000_000
"""Of the object store on each node, in shared memory; batches are read at once."""
TOKEN, MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"
PR_SET_PDEATHSIG = 1


def wants_nodes(config: Mapping[str, Any]) -> bool:
    """Whether a run's actors are to be on all nodes of its job."""
    data, nodes = config["datamodule"], config["launcher"]["nodes"]
    return data.get("pool") == "ray" and data.get("address") is None and nodes is not None and nodes > 1


@contextmanager
def head(folder: Path, cpus: int) -> Iterator[None]:
    """Within it, Ray runs on this node, and this process and the other tasks know where.

    Args:
        folder: of the job's files, that all its nodes see.
        cpus: actors that a node may take: all of them, where the other nodes are gone.

    Raises:
        UserError: when Ray does not start.
    """
    address, port, token = node_address(), _free_port(), secrets.token_hex(32)
    place = _place(folder)
    place.unlink(missing_ok=True)
    temporary = Path(f"/tmp/visagent-ray-{os.environ.get('SLURM_JOB_ID', os.getpid())}")
    before = {name: os.environ.get(name) for name in (TOKEN, MODE, "RAY_ADDRESS", SERVED)}
    os.environ |= {TOKEN: token, MODE: "token"}
    settings = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={temporary}"]
    try:
        with _started(settings, address, cpus, folder / "ray-head.log") as process:
            _await(lambda: _listens(address, port), process, folder / "ray-head.log")
            place.touch(mode=0o600)
            place.write_text(json.dumps({"address": f"{address}:{port}", "token": token}))
            _meet(place)
            os.environ |= {"RAY_ADDRESS": f"{address}:{port}", SERVED: "1"}
            yield
    finally:
        place.unlink(missing_ok=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def serve(folder: Path, cpus: int) -> None:
    """Lend this node to the actors of the job's learner, until that ends.

    Args:
        folder, cpus: see `head`.

    Raises:
        UserError: when there is no learner.
    """
    place = _place(folder)
    deadline = time.monotonic() + HEAD_SECONDS
    while (found := _read(place)) is None:
        if time.monotonic() > deadline:
            raise UserError(f"no Ray of the job's first task after {HEAD_SECONDS:.0f} seconds; see {folder}")
        time.sleep(LOOK_SECONDS)
    os.environ |= {TOKEN: found["token"], MODE: "token"}
    task = this_task()
    number = 0 if task is None else task.number
    said = folder / f"ray-node{number}.log"
    said.unlink(missing_ok=True)
    with _started([f"--address={found['address']}"], node_address(), cpus, said) as process:
        while process.poll() is None and place.is_file():
            if STARTED in said.read_text(errors="replace"):
                _mark(place, number).touch()
            time.sleep(LOOK_SECONDS)
    _mark(place, number).unlink(missing_ok=True)


def _meet(place: Path) -> None:
    """Wait for the other tasks' nodes, so that actors are spread over all: not for ever, as one may have failed."""
    task = this_task()
    others = range(1, 1 if task is None else task.count)
    deadline = time.monotonic() + NODES_SECONDS
    while absent := [number for number in others if not _mark(place, number).is_file()]:
        if time.monotonic() > deadline:
            log.warning("no Ray on the nodes of the job's tasks %s: the run goes on without them", absent)
            return
        time.sleep(LOOK_SECONDS)


def _mark(place: Path, number: int) -> Path:
    """A file that says that a task's node has joined."""
    return place.with_suffix(f".node{number}")


def _place(folder: Path) -> Path:
    """Where the head says where it is: a file of this attempt, for its owner's eyes."""
    return folder / f"ray-{os.environ.get('SLURM_RESTART_COUNT', '0')}.json"


def _read(place: Path) -> dict[str, str] | None:
    try:
        found: dict[str, str] = json.loads(place.read_text())
    except (OSError, ValueError):  # not yet, or not all of it
        return None
    return found


@contextmanager
def _started(settings: list[str], address: str, cpus: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `ray start` that lasts as long as the block, or this process."""
    usual = [f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats", "--block"]
    command = [str(Path(sys.executable).with_name("ray")), "start", *settings, f"--node-ip-address={address}", *usual]
    library = ctypes.CDLL(None)

    def end_with_this() -> None:
        library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, preexec_fn=end_with_this)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(ready: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + HEAD_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise UserError(f"Ray does not start: see {log}")
        time.sleep(LOOK_SECONDS)


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
