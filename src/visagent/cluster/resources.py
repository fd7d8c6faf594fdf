"""What a run asks of a cluster: nodes, tasks, GPUs and processors follow from what trains it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visagent.cluster.ray_nodes import wants_nodes
from visagent.errors import ConfigError

MANY_TIMES = 1_000_000
"""Requeueings that submitit allows: a run says itself when it does not get on."""
DIRECT = ("partition", "account", "qos", "constraint", "nodelist", "exclude", "dependency")


@dataclass(frozen=True)
class Resources:
    """What one job asks for; jobs with equal ones can be an array.

    Attributes:
        nodes, tasks_per_node: one task is one of the trainer's processes.
        gpus_per_node: None where none are asked for.
        cpus_per_task: processors.
        settings: the launcher's own, as submitit's executor takes them.
        setup: lines of the batch script before Python starts.
    """

    nodes: int
    tasks_per_node: int
    gpus_per_node: int | None
    cpus_per_task: int
    settings: tuple[tuple[str, Any], ...]
    setup: tuple[str, ...]

    def parameters(self, executor: str) -> dict[str, Any]:
        """What submitit's AutoExecutor is told; what is Slurm's alone has its prefix."""
        asked: dict[str, Any] = {
            "nodes": self.nodes,
            "tasks_per_node": self.tasks_per_node,
            "cpus_per_task": self.cpus_per_task,
            "name": "visagent",
        }
        if self.gpus_per_node:
            asked["gpus_per_node"] = self.gpus_per_node
        asked |= {key: value for key, value in self.settings if executor == "slurm" or not key.startswith("slurm_")}
        # On this machine the jobs have this process's environment.
        return asked | ({"slurm_setup": list(self.setup)} if executor == "slurm" else {})


def resources(config: Mapping[str, Any], label: str) -> Resources:
    """What a run asks for.

    Args:
        config: resolved, of the run.
        label: of the run, for messages.

    Raises:
        ConfigError: where launcher, machine and trainer contradict each other, with what to type.
    """
    launcher, machine, trainer = config["launcher"], config["machine"], config["trainer"]
    learners = _learners(config)
    nodes, devices, lent = trainer.get("num_nodes", 1), _devices(trainer, label), wants_nodes(config)
    if learners > 1 and lent:
        raise ConfigError(
            f"{label}: launcher.nodes={launcher['nodes']} actors=ray: expected one learner, got {learners}; type "
            "actors=process, with which each learner has actors beside it"
        )
    if learners > 1 and launcher["nodes"] is not None:
        if launcher["nodes"] > learners:
            raise ConfigError(
                f"{label}: launcher.nodes={launcher['nodes']}: expected at most as many nodes as there are learners, "
                f"{learners}; type learners.count={launcher['nodes']}"
            )
        lent = True
    elif lent and (nodes, devices) != (1, 1):
        raise ConfigError(
            f"{label}: launcher.nodes={launcher['nodes']} actors=ray: expected one learner, got trainer.num_nodes="
            f"{nodes} trainer.devices={devices}; type trainer.num_nodes=1 trainer.devices=1"
        )
    if not lent and launcher["nodes"] not in (None, nodes):
        raise ConfigError(
            f"{label}: launcher.nodes={launcher['nodes']}: expected the trainer's number of nodes, {nodes}; type "
            f"trainer.num_nodes={launcher['nodes']}, or leave launcher.nodes out, or have actors there (actors=ray) or "
            f"learners (learners=gossip learners.count={launcher['nodes']})"
        )
    nodes = launcher["nodes"] if lent else nodes
    if launcher["kind"] != "slurm" and nodes > 1:
        raise ConfigError(
            f"{label}: trainer.num_nodes={nodes}: expected 1 with launcher={launcher['kind']}, which has this machine "
            "alone; type launcher=slurm"
        )
    there = machine["gpus_per_node"]
    if there is None and launcher["kind"] == "submitit_local" and trainer.get("accelerator") != "cpu":
        there = _gpus_here()
    wants = trainer.get("accelerator") in ("gpu", "cuda") or (trainer.get("accelerator") == "auto" and bool(there))
    if wants and there == 0:
        raise ConfigError(f"{label}: trainer.accelerator=gpu: expected a GPU, got none; type trainer.accelerator=cpu")
    if wants and there is not None and devices > there:
        raise ConfigError(
            f"{label}: trainer.devices={devices}: expected at most the GPUs of a node, {there} (machine.gpus_per_node);"
            f" type trainer.devices={there} trainer.num_nodes={-(-devices * nodes // there)}"
        )
    cpus = launcher["cpus_per_task"] or _processors(config)
    if machine["cpus_per_node"] is not None and cpus * devices > machine["cpus_per_node"]:
        raise ConfigError(
            f"{label}: {devices} tasks a node of {cpus} processors each: expected at most the node's, "
            f"{machine['cpus_per_node']} (machine.cpus_per_node); type launcher.cpus_per_task="
            f"{max(1, machine['cpus_per_node'] // devices)}"
        )
    gpus = devices if learners == 1 else min(-(-learners // nodes), there or 1)
    return Resources(nodes, devices, gpus if wants else None, cpus, _settings(launcher, lent, cpus), _setup(config))


def _devices(trainer: Mapping[str, Any], label: str) -> int:
    devices = trainer.get("devices", 1)
    if isinstance(devices, int) and devices >= 1:
        return devices
    if isinstance(devices, str) and devices.isdigit():
        return int(devices)
    raise ConfigError(
        f"{label}: trainer.devices={devices}: expected a number, which a job is asked for; type trainer.devices=1"
    )


def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count()


def _processors(config: Mapping[str, Any]) -> int:
    """One for each thread of a learner, for each actor in a process of its own, and for each process that reads, as
    many times as there are learners on a node.
    """
    data, learners = config["datamodule"], _learners(config)
    nodes = config["launcher"]["nodes"] or 1
    actors = -(-data.get("actors", 0) // (nodes if learners == 1 else 1))
    actors = actors if data.get("pool") in ("process", "ray") else 0
    return (int(config["threads"]) + int(actors) + int(data.get("workers") or 0)) * -(-learners // nodes)


def _learners(config: Mapping[str, Any]) -> int:
    return int((config.get("learners") or {}).get("count", 1))


def _settings(launcher: Mapping[str, Any], lent: bool, cpus: int) -> tuple[tuple[str, Any], ...]:
    settings: dict[str, Any] = {"timeout_min": launcher["timeout_min"]}
    if launcher["mem_gb"] is not None:
        settings["mem_gb"] = launcher["mem_gb"]
    settings |= {f"slurm_{key}": launcher[key] for key in DIRECT if launcher[key] is not None}
    settings["slurm_signal_delay_s"] = launcher["signal_delay_s"]
    if launcher["at_once"] is not None:
        settings["slurm_array_parallelism"] = launcher["at_once"]
    if launcher["exclusive"]:
        settings["slurm_exclusive"] = True
    settings["slurm_srun_args"] = [f"--cpus-per-task={cpus}", *launcher["srun_args"]]  # not inherited from sbatch
    # A job that is preempted or whose node fails goes back into the queue, whatever the site's default.
    # One whose nodes serve a learner on the first goes on without another that fails.
    going_on = {"no-kill": True} if lent else {}
    settings["slurm_additional_parameters"] = {"requeue": True, **going_on, **launcher["sbatch"]}
    return tuple(settings.items())


def _setup(config: Mapping[str, Any]) -> tuple[str, ...]:
    lines: Sequence[str] = [*config["machine"]["setup"], *config["launcher"]["setup"]]
    return (*lines, f"export OMP_NUM_THREADS={shlex.quote(str(config['threads']))}")
