"""A student and the expert that it imitates."""

from __future__ import annotations

import pytest
import torch

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.imitation import PixelPolicy, StudentAndExpert
from visagent.networks.pixels import centred
from visagent.networks.soft_actor_critic import SoftActorCritic

CONVOLUTIONS = {
    "pixel_channels": [4, 5], "pixel_kernels": [3, 3], "pixel_strides": [2, 1], "projection": 6,
    "frame_differences": False,
}  # fmt: skip
ACTIONS = ActionSpace("continuous", 2)
STACKED = WorldSpaces({"state": (9,), "pixels": (9, 20, 20)}, ACTIONS, 3)


def test_the_expert_sees_its_parts_of_the_newest_frames():
    torch.manual_seed(0)
    sees = WorldSpaces({"state": (3,)}, ACTIONS)
    expert = SoftActorCritic(sees, hidden=[7], log_std_range=[-5.0, 2.0], **CONVOLUTIONS)
    both = StudentAndExpert(PixelPolicy(STACKED, [8], **CONVOLUTIONS), expert, sees)
    shown = {"state": torch.randn(4, 9), "pixels": torch.randint(0, 256, (4, 9, 20, 20), dtype=torch.uint8)}
    expected = expert.act({"state": shown["state"][:, 6:]}, deterministic=True).action
    assert torch.equal(both.expert_action(shown), expected)
    assert torch.equal(both.act(shown).action, both.student(shown["pixels"]))
    assert not any(parameter.requires_grad for parameter in both.expert.parameters())
    both.student(shown["pixels"]).sum().backward()
    assert all(parameter.grad is not None for parameter in both.student.parameters())


def test_the_same_picture_is_the_same_action_as_uint8_and_as_float():
    torch.manual_seed(0)
    student = PixelPolicy(STACKED, [8], **CONVOLUTIONS)
    pictures = torch.randint(0, 256, (4, 9, 20, 20), dtype=torch.uint8)
    assert torch.equal(student(pictures), student(pictures.float())) and student(pictures).abs().max() < 1


@pytest.mark.parametrize(
    "spaces", [WorldSpaces({"state": (3,)}, ACTIONS), WorldSpaces(STACKED.observation, ActionSpace("discrete", 2))]
)
def test_it_needs_pictures_and_continuous_actions(spaces):
    with pytest.raises(ConfigError, match="a policy of pictures needs pictures and continuous actions, got"):
        PixelPolicy(spaces, [8], **CONVOLUTIONS)


def test_frame_differences_are_of_each_frame_to_the_next():
    pictures = torch.randint(0, 256, (2, 9, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    plain, changes = centred(pictures, False), centred(pictures, True)
    assert torch.equal(plain, pictures.float() / 255.0 - 0.5)
    assert torch.equal(changes[:, 6:], plain[:, 6:])  # the newest stays
    torch.testing.assert_close(changes[:, :3], 2 * (plain[:, 3:6] - plain[:, :3]))
    torch.testing.assert_close(changes[:, 3:6], 2 * (plain[:, 6:] - plain[:, 3:6]))
    one = pictures[:, :3]
    assert torch.equal(centred(one, True), centred(one, False))
