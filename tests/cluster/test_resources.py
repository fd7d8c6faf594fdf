"""What runs ask of a cluster follows from what trains them; no Slurm is needed."""

from __future__ import annotations

import pytest

from visagent.cluster.resources import resources
from visagent.config.composition import compose_run, config_folder
from visagent.config.presets import options
from visagent.config.signature import signature
from visagent.errors import ConfigError

RUN = ("experiment=ppo/cartpole", "debug=smoke")


def composed(*overrides):
    with config_folder():
        return compose_run([*RUN, *overrides])


def asked(*overrides):
    return resources(composed("launcher=slurm", *overrides), "a run")


def test_no_launcher_and_no_machine_changes_what_a_run_is():
    plain = signature(composed())
    for launcher in options("launcher"):
        assert signature(composed(f"launcher={launcher}", "machine.partition=gpu")) == plain


def test_nodes_tasks_and_gpus_are_the_trainers():
    found = asked("trainer.num_nodes=2", "trainer.devices=4", "trainer.accelerator=gpu", "machine.gpus_per_node=8")
    assert (found.nodes, found.tasks_per_node, found.gpus_per_node) == (2, 4, 4)
    told = found.parameters("slurm")
    assert told["nodes"] == 2 and told["tasks_per_node"] == 4 and told["gpus_per_node"] == 4
    assert asked("trainer.accelerator=cpu", "machine.gpus_per_node=8").gpus_per_node is None
    assert asked().gpus_per_node is None, "nobody says that there are any"
    assert asked("machine.gpus_per_node=8").gpus_per_node == 1, "the trainer takes what there is"


def test_a_task_has_a_processor_for_each_of_its_processes():
    assert asked().cpus_per_task == 1
    assert asked("actors=process", "datamodule.actors=4", "threads=2").cpus_per_task == 6
    assert asked("launcher.cpus_per_task=3").cpus_per_task == 3
    lent = asked("actors=ray", "datamodule.actors=4", "launcher.nodes=2")
    assert (lent.nodes, lent.tasks_per_node, lent.cpus_per_task) == (2, 1, 3)
    assert lent.parameters("slurm")["slurm_additional_parameters"]["no-kill"] is True


def test_learners_are_spread_over_nodes():
    four = ("learners=gossip", "learners.count=4")
    spread = asked(*four, "launcher.nodes=2", "actors=process", "datamodule.actors=2")
    assert (spread.nodes, spread.tasks_per_node, spread.cpus_per_task) == (2, 1, 6)
    assert asked(*four).cpus_per_task == 4 and asked(*four).nodes == 1
    with_gpus = ("trainer.accelerator=gpu", "machine.gpus_per_node=8")
    assert asked(*four, "launcher.nodes=2", *with_gpus).gpus_per_node == 2
    assert asked(*four, "trainer.accelerator=gpu", "machine.gpus_per_node=3").gpus_per_node == 3


def test_a_sites_names_and_lines_reach_the_batch_script(tmp_path):
    found = asked(
        "machine.partition=gpu",
        "machine.account=lab",
        "machine.setup=[module load cuda]",
        'launcher.setup=["export A=1"]',
    )
    told = found.parameters("slurm")
    assert told["slurm_partition"] == "gpu" and told["slurm_account"] == "lab"
    assert told["slurm_setup"] == ["module load cuda", "export A=1", "export OMP_NUM_THREADS=1"]
    assert told["slurm_additional_parameters"] == {"requeue": True}
    preemptible = composed("launcher=slurm_preemptible", "machine.preemptible_partition=spare")
    assert resources(preemptible, "a run").parameters("slurm")["slurm_partition"] == "spare"
    local = resources(composed("launcher=submitit_local"), "a run").parameters("local")
    assert not any(key.startswith("slurm_") for key in local)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("launcher.nodes=2",), "type trainer.num_nodes=2"),
        (("trainer.devices=auto",), "type trainer.devices=1"),
        (
            ("trainer.devices=3", "trainer.accelerator=gpu", "machine.gpus_per_node=2"),
            "type trainer.devices=2 trainer.num_nodes=2",
        ),
        (("launcher.cpus_per_task=9", "machine.cpus_per_node=8"), "type launcher.cpus_per_task=8"),
        (("actors=ray", "launcher.nodes=2", "trainer.num_nodes=2"), "type trainer.num_nodes=1 trainer.devices=1"),
        (("launcher=submitit_local", "trainer.num_nodes=2"), "type launcher=slurm"),
        (("learners=gossip", "launcher.nodes=3"), "type learners.count=3"),
        (("learners=gossip", "launcher.nodes=2", "actors=ray"), "type actors=process"),
    ],
)
def test_contradictions_are_refused(overrides, said):
    with pytest.raises(ConfigError) as refused:
        asked(*overrides)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("launcher.timeout_min=0", "launcher.timeout_min: expected in"),
        ("launcher.signal_delay_s=86400", "launcher.signal_delay_s: expected fewer seconds"),
        ("launcher.at_once=0", "launcher.at_once"),
        ("machine.partition='a b'", "machine.partition: expected a name without spaces"),
        ("launcher.partiton=gpu", "launcher.partiton"),
    ],
)
def test_settings_out_of_bounds_are_refused(override, said):
    with pytest.raises(Exception) as refused:
        composed("launcher=slurm", override)
    assert said in str(refused.value)
