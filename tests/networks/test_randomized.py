"""Policies that see their pictures through random layers."""

from __future__ import annotations

import torch

from visagent.augment.images import random_network
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.networks.randomized import RandomizedActorCritic

SPACES = WorldSpaces({"pixels": (9, 16, 16)}, ActionSpace("continuous", 2), 3)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_deterministic_action_is_the_mean_over_layers():
    torch.manual_seed(0)
    policy = RandomizedActorCritic(SPACES, [16], [-5.0, 2.0], [8, 8], [3, 3], [2, 2], 10, False, samples=4)
    shown = {"pixels": torch.randint(0, 256, (3, 9, 16, 16), generator=rng(), dtype=torch.uint8)}
    one, again, other = (policy.act(shown, deterministic=True, generator=rng(seed)).action for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    draws, seen = rng(1), []
    for _ in range(4):
        pictures = random_network(shown["pixels"].float(), draws)
        mean, _ = policy.actor(policy.features({"pixels": pictures}), None)
        seen.append(mean.tanh())
    torch.testing.assert_close(one, torch.stack(seen).mean(dim=0).detach(), rtol=1e-5, atol=1e-6)


def test_a_random_layer_is_one_for_all_and_now_and_then_none():
    frame = torch.randint(0, 256, (4, 3, 12, 12), generator=rng()).float()
    stacks, draws = frame.repeat(1, 3, 1, 1), rng(5)
    unchanged = 0
    for _ in range(300):
        changed = random_network(stacks, draws)
        unchanged += torch.equal(changed, stacks)
        assert torch.equal(changed[:, :3], changed[:, 3:6])
    assert 15 <= unchanged <= 48  # a tenth, within about three standard deviations
    # linear, and of all pictures the same: that of a sum is the sum of theirs
    one = random_network(torch.cat([frame, frame.flip(0), frame + frame.flip(0)]), rng(1))
    torch.testing.assert_close(one[:4] + one[4:8], one[8:], rtol=1e-4, atol=1e-2)
