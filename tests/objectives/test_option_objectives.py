"""Conditionals of a joint distribution and semi-MDP returns against brute force (properties of Lyu et al. 2023)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from visagent.networks.conditional import conditional_log_probs, joint_index, joint_slice, masked_entropy, separate
from visagent.objectives.option_advantages import clipped_value_loss, semi_markov_advantages
from visagent.objectives.policy_gradient import generalized_advantages

SIZES = [(2, 3), (3, 3, 6), (2, 4, 1, 3)]


def problem(sizes, rows, seed, every=False):
    """Random logits, options, choosers and availability; somebody always chooses, and has something to choose."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, math.prod(sizes), generator=rng, dtype=torch.float64)
    options = torch.stack([torch.randint(size, (rows,), generator=rng) for size in sizes], dim=1)
    choosing = torch.rand(rows, len(sizes), generator=rng) < 0.5
    choosing[torch.arange(rows), torch.randint(len(sizes), (rows,), generator=rng)] = True
    parts = []
    for agent, size in enumerate(sizes):
        part = torch.rand(rows, size, generator=rng) < (2.0 if every else 0.6)
        # what was chosen was available; what runs needs not be
        part[torch.arange(rows), options[:, agent]] |= choosing[:, agent]
        parts.append(part)
    return logits, options, choosing, torch.cat(parts, dim=1)


@pytest.mark.parametrize("sizes", SIZES)
def test_index_is_row_major(sizes):
    every = torch.tensor(list(itertools.product(*map(range, sizes))))
    assert joint_index(every, sizes).tolist() == list(range(math.prod(sizes)))
    assert torch.equal(separate(torch.arange(math.prod(sizes)), sizes), every)


@pytest.mark.parametrize("sizes", SIZES)
def test_conditionals_by_brute_force(sizes):
    """They sum to one over the slice and are zero outside; Bayes: log p(w^Z | w^C) = log p(w) - log p(w^C) among what
    is available.
    """
    logits, options, choosing, available = problem(sizes, 40, 0)
    log_probs = conditional_log_probs(logits, joint_slice(options, choosing, available, sizes))
    assert torch.allclose(log_probs.exp().sum(dim=1), torch.ones(40, dtype=torch.float64))
    joint = logits.softmax(dim=1)
    for row in range(40):
        offered = [part.tolist() for part in available[row].split(list(sizes))]
        within = []
        for index, candidate in enumerate(itertools.product(*map(range, sizes))):
            pairs = enumerate(zip(candidate, options[row].tolist(), choosing[row].tolist(), strict=True))
            if all(offered[agent][new] if chooses else new == old for agent, (new, old, chooses) in pairs):
                within.append(index)
        assert sorted(within) == (log_probs[row] > -torch.inf).nonzero()[:, 0].tolist()
        mine = int(joint_index(options[row], sizes))
        assert float(log_probs[row, mine]) == pytest.approx(
            float(joint[row, mine].log() - joint[row, within].sum().log()), abs=1e-12
        )


def test_all_choosing_from_everything_is_the_joint_distribution():
    logits, options, choosing, available = problem((3, 3, 6), 10, 1, every=True)
    everyone = joint_slice(options, torch.ones_like(choosing), available, (3, 3, 6))
    assert torch.allclose(conditional_log_probs(logits, everyone), logits.log_softmax(dim=1))


def test_chain_rule():
    """Z = {0, 2}: choosing both equals choosing 0 with 2 summed out, then 2 given 0."""
    sizes = (3, 2, 4)
    logits, options, _, available = problem(sizes, 30, 2, every=True)

    def chances(*choosers):
        choosing = torch.zeros(30, 3, dtype=torch.bool)
        choosing[:, list(choosers)] = True
        return conditional_log_probs(logits, joint_slice(options, choosing, available, sizes))

    rows, mine = torch.arange(30), joint_index(options, sizes)
    both = chances(0, 2).exp().view(30, *sizes)
    first = both[rows, options[:, 0], options[:, 1]].sum(dim=1)
    assert torch.allclose(chances(0, 2)[rows, mine], first.log() + chances(2)[rows, mine])


def test_what_depends_on_the_running_options_alone_changes_nothing():
    sizes = (2, 3)
    logits, options, _, available = problem(sizes, 20, 3)
    choosing = torch.tensor([[True, False]]).expand(20, 2)
    allowed = joint_slice(options, choosing, available, sizes)
    moved = (logits.view(20, *sizes) + torch.randn(20, 1, 3, dtype=torch.float64)).flatten(1) + 7.0
    kept, again = conditional_log_probs(logits, allowed), conditional_log_probs(moved, allowed)
    assert torch.allclose(kept.masked_fill(~allowed, 0.0), again.masked_fill(~allowed, 0.0))


def test_small_probabilities_of_the_running_options_do_no_harm():
    logits = torch.tensor([[0.0, 0.0, -400.0, -401.0]])
    allowed = joint_slice(
        torch.tensor([[1, 0]]), torch.tensor([[False, True]]), torch.ones(1, 4, dtype=torch.bool), (2, 2)
    )
    found = conditional_log_probs(logits, allowed)
    assert found[0, 2:].exp().tolist() == pytest.approx([1 / (1 + math.exp(-1)), 1 - 1 / (1 + math.exp(-1))])


def test_gradient_and_entropy():
    """d log p(w) / d L_u = 1[u = w] - p(u) within the slice and 0 outside; entropies of nothing to choose are 0,
    without NaN.
    """
    sizes = (3, 3, 6)
    logits, options, choosing, available = problem(sizes, 25, 4)
    choosing[0] = torch.tensor([True, False, False])
    available[0] = False
    available[0, options[0, 0]] = True  # one possibility
    logits.requires_grad_()
    allowed = joint_slice(options, choosing, available, sizes)
    log_probs = conditional_log_probs(logits, allowed)
    mine = joint_index(options, sizes)[:, None]
    (slope,) = torch.autograd.grad(log_probs.gather(1, mine).sum(), logits, retain_graph=True)
    expected = (-log_probs.exp()).scatter_add(1, mine, torch.ones_like(log_probs[:, :1])) * allowed
    assert torch.allclose(slope, expected, atol=1e-12) and torch.allclose(
        slope.sum(dim=1), torch.zeros(25, dtype=torch.float64), atol=1e-12
    )
    entropy = masked_entropy(log_probs)
    (slope,) = torch.autograd.grad(entropy.sum(), logits)
    assert torch.isfinite(slope).all() and entropy[0].item() == 0.0
    assert bool((entropy.detach() <= allowed.sum(dim=1).log() + 1e-12).all())


def test_the_policy_gradient_by_enumeration():
    """Two agents with 2 and 3 options that last (1, 3) and (2, 1, 3) steps of four: the estimator with conditionals is
    the gradient of the return exactly; with joint log-probabilities it is not."""
    sizes, lasts, horizon = (2, 3), ((1, 3), (2, 1, 3)), 4
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(horizon, 6, generator=rng, dtype=torch.float64).requires_grad_()
    pays = torch.randn(horizon, 6, generator=rng, dtype=torch.float64)
    everything = torch.ones(1, 5, dtype=torch.bool)

    def trajectories(second, running, left):
        """(probability, score with conditionals, score with joint log-probabilities, return) of all ways on."""
        if second == horizon:
            zero = torch.zeros((), dtype=torch.float64)
            return [(zero + 1.0, zero, zero, 0.0)]
        found = []
        choosing = torch.tensor([[remaining == 0 for remaining in left]])
        allowed = joint_slice(torch.tensor([running]), choosing, everything, sizes)
        conditional, joint = (
            conditional_log_probs(logits[second : second + 1], allowed)[0],
            logits[second].log_softmax(dim=0),
        )
        for index in allowed[0].nonzero()[:, 0].tolist():
            options = separate(torch.tensor(index), sizes).tolist()
            remaining = [
                lasts[agent][option] if new else old
                for agent, (option, new, old) in enumerate(zip(options, choosing[0], left, strict=True))
            ]
            until = min(*remaining, horizon - second)
            paid = float(pays[second : second + until, index].sum())
            for chance, score, biased, later in trajectories(
                second + until, options, [rest - until for rest in remaining]
            ):
                found.append(
                    (conditional[index].exp() * chance, conditional[index] + score, joint[index] + biased, paid + later)
                )
        return found

    ways = trajectories(0, [0, 0], [0, 0])
    assert sum(way[0].item() for way in ways) == pytest.approx(1.0)
    gradients = []
    for loss in (
        sum(chance * total for chance, _, _, total in ways),
        sum(chance.detach() * total * score for chance, score, _, total in ways),
        sum(chance.detach() * total * biased for chance, _, biased, total in ways),
    ):
        gradients.append(torch.autograd.grad(loss, logits, retain_graph=True)[0])
    assert torch.allclose(gradients[0], gradients[1], atol=1e-12)
    assert float((gradients[0] - gradients[2]).norm()) > 0.1 * float(gradients[0].norm())


def random_steps(seed, durations=None):
    rng = torch.Generator().manual_seed(seed)
    steps, worlds = 9, 4
    reward, value, final = (torch.randn(steps, worlds, generator=rng, dtype=torch.float64) for _ in range(3))
    last = torch.randn(worlds, generator=rng, dtype=torch.float64)
    ends = torch.rand(steps, worlds, generator=rng)
    duration = (
        torch.randint(1, 6, (steps, worlds), generator=rng)
        if durations is None
        else torch.full((steps, worlds), durations)
    )
    return reward, value[..., None], last[:, None], final[..., None], ends < 0.2, (ends > 0.2) & (ends < 0.4), duration


def test_steps_of_one_second_are_ordinary_gae():
    reward, value, last, final, terminated, truncated, duration = random_steps(0, 1)
    valid = torch.ones_like(terminated)
    found = semi_markov_advantages(reward, value, last, final, terminated, truncated, duration, valid, 0.9, 0.8)
    expected = generalized_advantages(reward, value[..., 0], last[:, 0], final[..., 0], terminated, truncated, 0.9, 0.8)
    assert torch.allclose(found[..., 0], expected)


@pytest.mark.parametrize("by_duration", [False, True])
def test_advantages_by_the_definition(by_duration):
    reward, value, last, final, terminated, truncated, duration = random_steps(1)
    lengths = [9, 6, 0, 3]
    valid = torch.arange(9)[:, None] < torch.tensor(lengths)
    gamma, lam = 0.9, 0.7
    found = semi_markov_advantages(
        reward, value, last, final, terminated, truncated, duration, valid, gamma, lam, by_duration
    )
    for world, length in enumerate(lengths):
        for start in range(length):
            total, weight = 0.0, 1.0
            for k in range(start, length):
                d = int(duration[k, world])
                after = float(last[world, 0]) if k + 1 == length else float(value[k + 1, world, 0])
                after = float(final[k, world, 0]) if truncated[k, world] else 0.0 if terminated[k, world] else after
                total += weight * (float(reward[k, world]) + gamma**d * after - float(value[k, world, 0]))
                if terminated[k, world] or truncated[k, world]:
                    break
                weight *= gamma**d * (lam**d if by_duration else lam)
            assert float(found[start, world, 0]) == pytest.approx(total)
        assert not found[length:, world].any()


def test_splitting_an_option_step_changes_nothing_where_lambda_is_one():
    def advantage(rewards, durations, values):
        steps = len(rewards)
        plane = torch.zeros(steps, 1, dtype=torch.bool)
        column = [torch.tensor(part, dtype=torch.float64)[:, None] for part in (rewards, values)]
        arguments = (
            column[0],
            column[1][..., None],
            torch.full((1, 1), 5.0, dtype=torch.float64),
            torch.zeros(steps, 1, 1, dtype=torch.float64),
        )
        found = semi_markov_advantages(*arguments, plane, plane, torch.tensor(durations)[:, None], ~plane, 0.5, 1.0)
        return float(found[0, 0, 0])

    assert advantage([1 + 0.5 * 2 + 0.25 * 4], [3], [7.0]) == pytest.approx(
        advantage([1.0, 2 + 0.5 * 4], [1, 2], [7.0, -3.0])
    )


def test_the_critics_loss_is_the_larger_one():
    value, before, target = torch.tensor([3.0, 0.5]), torch.zeros(2), torch.tensor([0.0, 1.0])
    found = clipped_value_loss(value, before, target, 0.2, 10.0)
    assert found.tolist() == pytest.approx([4.5, 0.5 * 0.8**2])
