"""Where a run happens: the launcher that starts it, and the machine, a site's own names for what it has. Neither is
part of a run's identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from visagent.config.settings import MOST_PROCESSES, require, setting

KINDS = ("local", "parallel", "submitit_local", "slurm")
MINUTES_OF_A_YEAR = 366 * 24 * 60


@dataclass
class LauncherConfig:
    """What starts the runs of a command; see docs/cluster.md."""

    kind: str = setting("what starts runs", among=KINDS)
    at_once: int | None = setting("runs at a time; null for no limit, with launcher=parallel -1 for all processors")
    nodes: int | None = setting("nodes of a job; null for trainer.num_nodes", least=1, most=MOST_PROCESSES)
    cpus_per_task: int | None = setting(
        "processors of a task; null for as many as it has processes and threads", least=1, most=MOST_PROCESSES
    )
    mem_gb: float | None = setting("memory of a job on each node, in GB; null for the site's usual", above=0)
    timeout_min: int = setting("time limit of an attempt, in minutes", least=1, most=MINUTES_OF_A_YEAR)
    signal_delay_s: int = setting("seconds before the time limit at which a run is told to stop", least=1)
    meeting_s: float = setting(
        "seconds for which the tasks of a job wait for each other before they train", above=0, as_before=300.0
    )
    partition: str | None = setting("Slurm's partition")
    account: str | None = setting("who pays")
    qos: str | None = setting("Slurm's quality of service")
    constraint: str | None = setting("features that nodes must have")
    nodelist: str | None = setting("nodes to use")
    exclude: str | None = setting("nodes not to use")
    exclusive: bool = setting("whether no other job shares the nodes")
    dependency: str | None = setting("jobs to wait for, as sbatch writes them")
    setup: list[str] = setting("lines of the batch script before Python starts, in front of the machine's own last")
    srun_args: list[str] = setting("further arguments of srun")
    sbatch: dict[str, Any] = setting("further options of sbatch, without dashes")

    def check(self) -> None:
        """A job has to have some time before it is told to stop."""
        least = -1 if self.kind == "parallel" else 1
        require(
            self.at_once is None or (self.at_once >= least and self.at_once != 0),
            "launcher.at_once",
            self.at_once,
            "at least 1",
        )
        for name in ("nodes", "partition", "qos", "account", "constraint", "nodelist", "exclude", "dependency"):
            value, usual = getattr(self, name), name in ("partition", "qos", "account")  # which a machine may say
            require(
                value is None or usual or self.kind == "slurm", f"launcher.{name}", value, "null without launcher=slurm"
            )
        require(
            not self.setup or self.kind == "slurm",
            "launcher.setup",
            self.setup,
            "none without launcher=slurm: jobs of this machine have this environment",
        )
        most = self.timeout_min * 60
        require(
            self.kind != "slurm" or self.signal_delay_s < most,
            "launcher.signal_delay_s",
            self.signal_delay_s,
            f"fewer seconds than the time limit has, {most}",
        )


@dataclass
class MachineConfig:
    """A site: what its Slurm calls things, and what its nodes have."""

    partition: str | None = setting("the usual partition")
    preemptible_partition: str | None = setting("the partition whose jobs make way for others")
    account: str | None = setting("who pays")
    qos: str | None = setting("Slurm's quality of service")
    setup: list[str] = setting("lines of a batch script before Python starts: modules, an environment")
    cpus_per_node: int | None = setting("processors of a node", least=1)
    gpus_per_node: int | None = setting("GPUs of a node", least=0)
    mem_gb: float | None = setting("memory of a job on each node, in GB", above=0)
    tracking_uri: str | None = setting("the MLflow of all who work there")

    def check(self) -> None:
        """Names that go into a batch script are words."""
        for name in ("partition", "preemptible_partition", "account", "qos"):
            value = getattr(self, name)
            require(
                value is None or re.fullmatch(r"[\w.,@:+/-]+", value) is not None,
                f"machine.{name}",
                value,
                "a name without spaces",
            )
