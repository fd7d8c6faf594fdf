"""Soft actor-critic's losses against hand values."""

from __future__ import annotations

import math

import torch

from visagent.objectives.soft_actor_critic import policy_loss, soft_target, temperature_loss


def test_the_target_is_rewarded_for_entropy_where_the_episode_goes_on():
    rewards = torch.tensor([[1.0, 2.0], [1.0, 0.0], [5.0, 0.0]])
    steps, terminated = torch.tensor([2, 1, 1]), torch.tensor([False, False, True])
    following, log_prob = torch.tensor([10.0, 10.0, math.inf]), torch.tensor([-4.0, 2.0, 1.0])
    target = soft_target(rewards, steps, terminated, following, log_prob, torch.tensor(0.5), 0.5)
    assert target.tolist() == [1 + 1 + 0.25 * (10 + 2), 1 + 0.5 * (10 - 1), 5.0]


def test_the_policys_loss_leaves_the_temperature_alone():
    temperature = torch.tensor(0.5, requires_grad=True)
    log_prob, values = torch.tensor([2.0, -4.0], requires_grad=True), torch.tensor([3.0, 5.0], requires_grad=True)
    loss = policy_loss(log_prob, values, temperature)
    loss.backward()
    assert loss.item() == (1 - 3 - 2 - 5) / 2 and temperature.grad is None
    assert log_prob.grad.tolist() == [0.25, 0.25] and values.grad.tolist() == [-0.5, -0.5]


def test_the_temperature_rises_where_the_entropy_is_too_low():
    for log_prob, sign in ((3.0, -1), (-3.0, 1)):  # entropies of -3 and 3 nats, where -1 is wanted
        log_temperature = torch.tensor(0.0, requires_grad=True)
        entropies = torch.full((4,), log_prob, requires_grad=True)
        temperature_loss(log_temperature.exp(), entropies, -1.0).backward()
        assert math.copysign(1, log_temperature.grad.item()) == sign and entropies.grad is None
