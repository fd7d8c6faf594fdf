"""Policies from elsewhere: exported programs."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from visagent.config.composition import with_expert
from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.networks.program import ProgramPolicy
from visagent.runtime.train import train


class Pointer(nn.Module):
    """Of `SpotWorlds`' pictures: the mean place of what is white, which is the action."""

    def forward(self, pixels):
        white = (pixels[:, -3:].float().amin(dim=1) > 250).float().sum(dim=1)  # [N, W]
        places = (torch.arange(16) - 1.5) / 6 - 1  # the spot is four wide, its left side from 0 to 12
        return (white * places).sum(dim=1, keepdim=True) / white.sum(dim=1, keepdim=True).clamp_min(1.0)


def export(module, example, path, dynamic=True):
    shapes = ({0: torch.export.Dim("N")},) if dynamic else None
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), path)
    return str(path)


@pytest.fixture
def pointer(tmp_path):
    return export(Pointer(), torch.zeros(2, 6, 16, 16, dtype=torch.uint8), tmp_path / "pointer.pt2")


def test_it_acts_as_what_was_exported_also_as_a_copy(pointer):
    policy = ProgramPolicy(pointer, 1)
    assert policy.spaces.observation == {"pixels": (6, 16, 16)} and policy.spaces.frames == 2
    shown = torch.randint(0, 256, (5, 6, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shown[:, -3:, 6:10, 3:7] = 255
    expected = Pointer()(shown)
    for one in (policy, copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        assert torch.equal(one.act({"pixels": shown}).action, expected)


@pytest.mark.usefixtures("undrawn")
def test_a_student_imitates_it(pointer, compose):
    spots = ("env=own", "datamodule.env._target_=visagent.testing.worlds.SpotWorlds", "datamodule.env.frame_stack=2")
    told = (
        *spots, "+datamodule.env.look=train", "datamodule.test_looks=[]", "network.hidden=[16]",
        "datamodule.collect=expert", "network.pixel_strides=[2,1,1,1]", f"algorithm.expert_checkpoint={pointer}",
    )  # fmt: skip
    record = train(compose("secant/student_from_states", *told))
    assert record.status == "FINISHED" and record.history["1"]["data/return"] > 7.5  # of 8: it acts


def test_a_signature_is_that_of_the_files_content(pointer, tmp_path, compose):
    def of(path):
        config = compose("secant/student_from_states", f"algorithm.expert_checkpoint={path}")
        return signature(with_expert(validate(config, TrainConfig)))

    moved = tmp_path / "moved.pt2"
    moved.write_bytes((tmp_path / "pointer.pt2").read_bytes())
    assert of(pointer) == of(moved)
    other = export(nn.Linear(4, 1), torch.zeros(2, 4), tmp_path / "other.pt2")
    assert of(other) != of(pointer)
    with pytest.raises(ConfigError, match=r"expected a file, got .*absent.pt2 \(No such file.* or null for the run"):
        of(tmp_path / "absent.pt2")


def test_what_is_no_policy_is_refused(tmp_path):
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(ConfigError, match="expected a PyTorch 2 archive"):
        ProgramPolicy(str(tmp_path / "text.pt2"), 1)
    wide = export(nn.Linear(4, 3), torch.zeros(2, 4), tmp_path / "wide.pt2")
    with pytest.raises(
        ConfigError, match=r"here \[3, 1\] of three observations, got inputs \[4\] and outputs \[3, 3\]"
    ):
        ProgramPolicy(wide, 1)
    fixed = export(nn.Linear(4, 1), torch.zeros(2, 4), tmp_path / "fixed.pt2", dynamic=False)
    with pytest.raises(ConfigError, match="N being dynamic"):
        ProgramPolicy(fixed, 1)
