"""What Slurm says of the processes that it has started: which task this is, of how many, on which nodes."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visagent.errors import ConfigError
from visagent.runtime import slurm

SERVED = "VISAGENT_SERVED"
"""Environment variable of a task that trains alone, as the step's others serve it with actors."""


@dataclass(frozen=True)
class Task:
    """A process that srun has started.

    Attributes:
        job: its job's id, `12_3` in an array.
        number: its place among all, from 0.
        count: of all tasks of its step.
        nodes: of its step.
    """

    job: str
    number: int
    count: int
    nodes: int


def this_task() -> Task | None:
    """This process as one of Slurm's tasks; None where srun has not started it.

    A batch script and an interactive shell have the job's variables too, but are no step's task; one that the others
    serve counts as the only one.
    """
    if SERVED in os.environ or "SLURM_STEP_NUM_TASKS" not in os.environ or "SLURM_PROCID" not in os.environ:
        return None
    variables = os.environ
    return Task(
        this_job() or "?",
        int(variables["SLURM_PROCID"]),
        int(variables["SLURM_STEP_NUM_TASKS"]),
        int(variables.get("SLURM_STEP_NUM_NODES", "1")),
    )


def this_job() -> str | None:
    """The id of the Slurm job that this process belongs to, as its commands write it."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job


def in_a_queue() -> bool:
    """Whether this process is a job that may be put back into a queue; submitit says so in all of its jobs."""
    return "SUBMITIT_EXECUTOR" in os.environ


def this_node() -> str:
    """The name of this machine, as Slurm knows it where it does."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def several_processes() -> bool:
    """Whether other processes train this one's run, too, as far as the environment says."""
    task = this_task()
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 or (task is not None and task.count > 1)


def global_rank(trainer: Mapping[str, Any]) -> int:
    """This process's place among all that train the run together, before Lightning knows it.

    torchrun says it (`RANK`), as does Slurm of a step's tasks; processes that Lightning starts have a `LOCAL_RANK` on
    the node that `NODE_RANK` (or torchrun's `GROUP_RANK`) names. A shell within a Slurm job is its task 0, whatever it
    starts.
    """
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    if task := int(os.environ.get("SLURM_PROCID", "0")):
        return task
    node, local = (
        int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))),
        int(os.environ.get("LOCAL_RANK", "0")),
    )
    devices = str(trainer.get("devices", 1))
    return node * int(os.environ.get("LOCAL_WORLD_SIZE", devices if devices.isdigit() else "1")) + local


def check_tasks(trainer: Mapping[str, Any], learners: int | None = None) -> None:
    """Refuse to train where srun has started another number of tasks than the trainer has processes: each of them would
    train the whole run, in one folder. Several learners may be spread over as many tasks or fewer.

    Raises:
        ConfigError: with what to type.
    """
    if learners is not None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"learners: expected one process, which starts the others, got {os.environ['WORLD_SIZE']} (WORLD_SIZE); "
            "start it without torchrun"
        )
    task = this_task()
    if task is None or "RANK" in os.environ:
        return
    nodes, devices = trainer.get("num_nodes", 1), trainer.get("devices", 1)
    if task.count == 1 and str(nodes) == "1":  # a shell, or one that Lightning starts others from
        return
    if str(nodes).isdigit() and str(devices).isdigit() and (int(nodes), int(nodes) * int(devices)) == _shape(task):
        return
    if learners is not None and (str(nodes), str(devices)) == ("1", "1"):
        if task.count <= learners:
            return
        raise ConfigError(
            f"Slurm job {task.job}: expected at most as many tasks as there are learners, {learners}, got "
            f"{task.count}; type learners.count={task.count}, or srun --ntasks={learners}"
        )
    each = task.count // task.nodes
    raise ConfigError(
        f"Slurm job {task.job}: expected a step with as many tasks as the trainer has processes (trainer.num_nodes="
        f"{nodes}, trainer.devices={devices}), got {task.count} on {task.nodes} node{'s' * (task.nodes > 1)}; type "
        f"trainer.num_nodes={task.nodes} trainer.devices={each}, or srun --nodes={nodes} --ntasks-per-node={devices}"
    )


def _shape(task: Task) -> tuple[int, int]:
    return task.nodes, task.count


def meet() -> None:
    """Have the tasks of a step find each other: at the address of its first node, as Slurm has it.

    Lightning would take the node's name, which need not resolve; its processes then wait for ever.

    Raises:
        ConfigError: where there is no such address.
    """
    task = this_task()
    if task is None or task.count == 1 or "MASTER_ADDR" in os.environ:
        return
    nodes = os.environ.get("SLURM_STEP_NODELIST", os.environ.get("SLURM_NODELIST", ""))
    first = next(iter(slurm.ask("scontrol", "show", "hostnames", nodes).split()), None)
    address = None if first is None else _address(first)
    try:
        socket.getaddrinfo(address, None)
    except OSError as error:
        raise ConfigError(
            f"Slurm job {task.job}: expected an address of its first node that resolves, got {address or nodes!r} "
            f"({error.strerror}); name one with MASTER_ADDR in the environment, for example with "
            "'launcher.setup=[\"export MASTER_ADDR=...\"]'"
        ) from error
    os.environ["MASTER_ADDR"] = str(address)


def node_address() -> str:
    """The IP address of this node, as Slurm has it."""
    return socket.gethostbyname(_address(this_node()) or socket.gethostname())


def _address(node: str) -> str | None:
    words = slurm.ask("scontrol", "show", "node", "-o", node).split()
    return next((word.removeprefix("NodeAddr=") for word in words if word.startswith("NodeAddr=")), None)
