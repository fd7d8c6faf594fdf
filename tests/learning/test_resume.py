"""Every family resumes bitwise: stopped inside its last epoch and started again, a run ends as an unbroken one does."""

from __future__ import annotations

import pytest
import torch
from hydra.utils import get_class

from comparing import assert_same, checkpoint
from slow import only
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.train import train
from visagent.runtime.weight_average import WHILE_TRAINED

LAST = 2
FEW = ("datamodule.batch_size=8",)  # several batches in an epoch
SPOTS = (
    "env=own", "datamodule.env._target_=visagent.testing.worlds.SpotWorlds", "datamodule.env.frame_stack=2",
    "+datamodule.env.look=train", "datamodule.test_looks=[any]", "network.hidden=[16]",
)  # fmt: skip
SPOTTED = ["experiment=secant/expert_from_states", *SPOTS[:2], "+datamodule.env.observe=state"]
OF_SPOTS = f"algorithm.expert.overrides=[{','.join(map(repr, SPOTTED))}]"
TOOLS, CLIPS = "option_mappo/tool_delivery", "rubiksnet/something_v2"
CASES = [
    ("navigation/behaviour_cloning", FEW),
    ("navigation/dagger", FEW),
    ("navigation/safe_dagger", FEW),
    ("ppo/pendulum", ("algorithm.normalize_rewards=true",)),
    ("ppo/pendulum", ("network.lstm=6", "algorithm.variant=adaptive_kl", "algorithm.publish_every=2")),
    ("evolution/cartpole", ()),
    ("ddpg/pendulum", ("datamodule.shards=2", "algorithm.smoothing=0.2", "network.critics=2")),
    ("ddpg/pendulum", ("datamodule.prefetch=false", "datamodule.env.frame_stack=2")),
    ("secant/expert_from_states", ("algorithm.actor_every=2", "datamodule.n_step=3")),
    (
        "secant/student_from_states",
        (*SPOTS, OF_SPOTS, "network.pixel_strides=[2,1,1,1]", "algorithm.distractor_speed=0.1"),
    ),
    ("secant/expert", (*SPOTS, "algorithm.views=2", "algorithm.target_views=2", "network.frame_differences=true")),
    ("secant/network_randomization", SPOTS),
    ("secant/inverse_dynamics", SPOTS),
    ("secant/parallel", (*SPOTS, "algorithm.student_augmentation=combo2")),
    (TOOLS, ("network.coupling=partial",)),
    (TOOLS, ("algorithm.schedule=linear",)),
    (TOOLS, ("datamodule.actors=2", "algorithm.minibatches=2")),
    ("option_mappo/mac_dqn_tool_delivery", ("algorithm.target_every=500",)),
    ("ppo/pendulum", ("trainer.ema=0.9", "checkpoint.monitor=val/return", "checkpoint.keep=2")),
    (CLIPS, ("network.variant=rubiks3d-aq", "trainer.ema=0.9", "checkpoint.monitor=val/validation/top5")),
    (CLIPS, ("network.variant=rubiks3d",)),
    (CLIPS, ("network.variant=rubiks3d-iq",)),
]
HEAVY = ("secant/student_from_states", "secant/network_randomization", "secant/inverse_dynamics", "secant/parallel")
SLOW = [*CASES[-2:], *(case for case in CASES if case[0] in HEAVY)]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("preset", "changes"), only(lambda case: case not in SLOW, CASES))
def test_resume_is_bitwise(preset, changes, compose, tmp_path, monkeypatch):
    def run(outputs):
        return compose(preset, f"trainer.max_epochs={LAST + 1}", *changes, f"paths.outputs={tmp_path}/{outputs}")

    unbroken = train(run("a"))
    method, trained = get_class(run("b").algorithm._target_), []
    original = method.training_step

    def failing(self, batch, batch_index):
        if self.current_epoch == LAST and batch_index == 1:
            raise RuntimeError("power cut")
        return original(self, batch, batch_index)

    def watched(self, batch, batch_index):
        trained.append(self.current_epoch)
        return original(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(method, "training_step", failing)
        with pytest.raises(RuntimeError, match="power cut"):
            train(run("b"))
    folder = tmp_path / "b" / "runs" / unbroken.signature  # beside which its expert's may lie
    stopped = RunFolder(folder).load()
    assert stopped.status == "FAILED" and "power cut" in stopped.error
    written = RunFolder(folder).episodes
    if written.is_file():
        with written.open("a") as file:
            file.write("999999,1.0,1,\n")  # as of an epoch whose checkpoint was never written
    torch.manual_seed(123)  # a new process would not have this one's random state
    with monkeypatch.context() as patch:
        patch.setattr(method, "training_step", watched)
        resumed = train(run("b"))
    assert set(trained) == {LAST}  # the finished epochs were not trained again
    assert (resumed.status, resumed.attempts, resumed.env_steps) == ("FINISHED", 2, unbroken.env_steps)
    one, again = checkpoint(unbroken, tmp_path / "a"), checkpoint(resumed, tmp_path / "b")
    assert one.keys() == again.keys()
    more = [key for key in one if key.endswith("DataModule") or key == WHILE_TRAINED]
    for part in ("state_dict", "optimizer_states", "random_state", *more):
        assert_same(one[part], again[part], part)
    assert_same(unbroken.metrics, resumed.metrics)
    assert unbroken.tested == resumed.tested
    assert_same(without_times(unbroken.history), without_times(resumed.history))
    others = tmp_path / "a" / "runs" / unbroken.signature / written.name
    assert (
        written.is_file()
        == others.is_file()
        == any("data/episode_return" in epoch for epoch in unbroken.history.values())
    )
    if written.is_file():
        assert written.read_text() == others.read_text()
    assert not (folder / "replay").exists()  # given back with the end of the training


def without_times(history):
    return {
        epoch: {name: value for name, value in numbers.items() if not name.startswith("time/")}
        for epoch, numbers in history.items()
    }
