"""What a run makes of the variables that Slurm, torchrun and Lightning give its processes; no Slurm is needed."""

from __future__ import annotations

import os
import socket

import pytest

from visagent.errors import ConfigError
from visagent.runtime import allocation
from visagent.runtime.allocation import check_tasks, meet, several_processes, this_job, this_task

STEP = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}


@pytest.fixture
def within(monkeypatch):
    """Set Slurm's variables, and no others of its."""

    def set_only(variables):
        for name in [*os.environ]:
            if name.startswith("SLURM") or name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_only


def test_a_task_of_a_step_knows_its_place(within):
    within(STEP | {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"})
    task = this_task()
    assert (task.job, task.number, task.count, task.nodes) == ("5_2", 1, 4, 2) and several_processes()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"},  # a batch script, or an interactive shell
        STEP | {allocation.SERVED: "1"},
    ],
)
def test_what_is_no_task_among_several(variables, within):
    within(variables)
    assert this_task() is None and not several_processes()
    check_tasks({"num_nodes": 1, "devices": 1})


def test_a_job_that_is_no_array_has_its_plain_id(within):
    within({"SLURM_JOB_ID": "7"})
    assert this_job() == "7"


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"num_nodes": 1, "devices": 1}, "got 4 on 2 nodes; type trainer.num_nodes=2 trainer.devices=2"),
        ({"num_nodes": 2, "devices": 1}, "type trainer.num_nodes=2 trainer.devices=2, or srun --nodes=2"),
        ({"num_nodes": 2, "devices": "auto"}, "trainer.devices=2"),
    ],
)
def test_other_numbers_of_tasks_are_refused(trainer, said, within):
    within(STEP)
    with pytest.raises(ConfigError, match="Slurm job 7") as refused:
        check_tasks(trainer)
    assert said in str(refused.value)


def test_the_trainers_own_number_of_tasks_is_right(within):
    within(STEP)
    check_tasks({"num_nodes": 2, "devices": 2})
    check_tasks({"num_nodes": 1, "devices": 1}, learners=4)
    with pytest.raises(ConfigError, match=r"as there are learners, 3, got 4; type learners.count=4"):
        check_tasks({"num_nodes": 1, "devices": 1}, learners=3)
    within({"WORLD_SIZE": "2", "RANK": "1"})
    with pytest.raises(ConfigError, match="start it without torchrun"):
        check_tasks({"num_nodes": 1, "devices": 1}, learners=1)
    within(STEP | {"RANK": "1"})  # torchrun within a step counts by itself
    check_tasks({"num_nodes": 1, "devices": 4})


def answers(monkeypatch, address):
    def ask(*command):
        return "n1\nn2\n" if "hostnames" in command else f"NodeName=n1 Arch=x NodeAddr={address} State=IDLE"

    monkeypatch.setattr(allocation.slurm, "ask", ask)


def test_tasks_meet_at_the_address_that_slurm_has(within, monkeypatch):
    within(STEP | {"SLURM_STEP_NODELIST": "n[1-2]"})
    answers(monkeypatch, "127.0.0.1")
    try:
        meet()
        assert os.environ["MASTER_ADDR"] == "127.0.0.1"
    finally:
        os.environ.pop("MASTER_ADDR", None)


def test_a_users_own_address_is_kept(within, monkeypatch):
    within(STEP | {"MASTER_ADDR": "10.0.0.1"})
    answers(monkeypatch, "127.0.0.1")
    meet()
    assert os.environ["MASTER_ADDR"] == "10.0.0.1"


def test_an_address_that_does_not_resolve_is_said(within, monkeypatch):
    within(STEP | {"SLURM_STEP_NODELIST": "n[1-2]"})
    answers(monkeypatch, "nowhere")

    def resolve(name, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(ConfigError, match=r"got 'nowhere'.*MASTER_ADDR"):
        meet()
