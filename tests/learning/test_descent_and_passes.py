"""One descent, one pass over the samples of all ranks, published policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from comparing import assert_same
from ranks import Joined, on_ranks, results
from visagent.experience.samples import Samples
from visagent.learning.descent import Descent
from visagent.learning.passes import equal_parts, in_order, one_pass, sizes_of
from visagent.learning.published import Publications, frozen
from visagent.learning.ranks import Ranks
from visagent.networks.normalizers import RunningNormalizer


def quadratic(network, x):
    return (network(x) - 3.0).square().mean()


@pytest.mark.parametrize(("max_norm", "max_value"), [(None, None), (0.1, None), (None, 0.05), (1e6, None)])
def test_a_descent_is_torchs_own_step(max_norm, max_value):
    """To the bit, also after somebody has set the gradients to None."""
    torch.manual_seed(0)
    ours, theirs = (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizers = [torch.optim.Adam(network.parameters(), 0.01) for network in (ours, theirs)]
    descent = Descent(optimizers[0], ours.parameters(), max_norm=max_norm, max_value=max_value)
    for step in range(4):
        x = torch.randn(6, 4)
        descent.step(quadratic(ours, x))
        optimizers[1].zero_grad()
        quadratic(theirs, x).backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
        if max_value is not None:
            nn.utils.clip_grad_value_(theirs.parameters(), max_value)
        optimizers[1].step()
        if step == 1:
            ours.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(ours.parameters(), theirs.parameters(), strict=True))


def joined(rank):
    """Two ranks in a process group."""
    trainer = Joined(rank)
    return Ranks(trainer.global_rank, trainer.world_size)


def uneven(rank):
    """Two ranks with parts of one minibatch, the second time none on rank 1."""
    torch.manual_seed(0)
    network, ranks = nn.Linear(3, 1), joined(rank)
    descent = Descent(torch.optim.SGD(network.parameters(), 0.1), network.parameters(), ranks, max_norm=0.5)
    x = torch.randn(8, 3)
    for owned in (slice(0, 3) if rank == 0 else slice(3, 8), slice(0, 8) if rank == 0 else None):
        descent.step(None if owned is None else (network(x[owned]) - 3.0).square().sum() / 8)
    return network.weight.tolist()


def test_a_rank_without_samples_joins_every_reduction():
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    descent = Descent(torch.optim.SGD(network.parameters(), 0.1), network.parameters(), max_norm=0.5)
    x = torch.randn(8, 3)
    for _ in range(2):
        descent.step(quadratic(network, x))
    for weight in results(on_ranks(uneven)):
        torch.testing.assert_close(torch.tensor(weight), network.weight.detach())


def gathered(rank):
    ranks = joined(rank)
    normalizer = RunningNormalizer(2)
    normalizer.update(torch.arange(4.0).view(2, 2) + 10 * rank, ranks)
    moments = ranks.moments(torch.full((1 + rank,), 2.0 + rank))
    parts = [int(part) for part in ranks.all_gather(torch.tensor([rank]))]
    return (
        parts,
        ranks.total(rank + 1, "cpu"),
        normalizer.mean.tolist(),
        float(normalizer.count),
        [float(moment) for moment in moments],
    )


def test_what_two_ranks_know_together():
    for parts, total, mean, count, moments in results(on_ranks(gathered)):
        assert parts == [0, 1] and total == 3
        assert mean == [6.0, 7.0] and count == 4
        assert moments == pytest.approx([8 / 3, 22 / 3])
    assert Ranks().all_gather(torch.ones(2))[0].tolist() == [1, 1] and Ranks().total(5, "cpu") == 5
    assert Ranks(1, 3).own(4) == slice(4, 8)


@dataclass(frozen=True)
class Pairs(Samples):
    number: Tensor
    parts: dict
    nothing: None = None


@dataclass(frozen=True)
class Rows(Samples):
    axis: ClassVar[int] = 1
    number: Tensor
    state: tuple


def test_samples_are_taken_along_their_axis():
    pairs = Pairs(torch.arange(5), {"double": 2 * torch.arange(5)})
    taken = pairs.take(torch.tensor([3, 1]))
    assert taken.number.tolist() == [3, 1] and taken.parts["double"].tolist() == [6, 2] and taken.nothing is None
    rows = Rows(torch.arange(6).view(2, 3), (torch.arange(3),))
    assert len(rows) == 3
    assert rows.take(torch.tensor([2, 0])).number.tolist() == [[2, 0], [5, 3]]
    assert rows.take(torch.tensor([2, 0])).state[0].tolist() == [2, 0]


@pytest.mark.parametrize("counts", [[2, 1], [0, 3], [3], [1, 0, 2]])
def test_samples_are_split_into_what_taking_gives(counts):
    numbers = torch.arange(3)
    for samples in (Pairs(numbers, {"double": 2 * numbers}), Rows(torch.arange(6).view(2, 3), (numbers, -numbers))):
        parts, begin = list(samples.split(counts)), 0
        assert [len(part) for part in parts] == counts
        for part, count in zip(parts, counts, strict=True):
            assert_same(vars(part), vars(samples.take(torch.arange(begin, begin + count))))
            begin += count


@pytest.mark.parametrize("shuffled", [True, False])
def test_a_pass_is_the_same_for_any_number_of_ranks(shuffled):
    """Every sample once; what several ranks have of a minibatch is what one has; a rank may have none of it."""
    numbers = torch.arange(10.0)
    owners = torch.tensor([0, 0, 1, 2, 0, 1, 0, 0, 1, 0])
    sizes = sizes_of(10, 4)

    def passed(owned):
        generator = torch.Generator().manual_seed(7) if shuffled else None
        samples = Pairs(numbers[owned], {"double": 2 * numbers[owned]})
        return list(one_pass(samples, numbers, owned, sizes, generator))

    whole = passed(torch.ones(10, dtype=torch.bool))
    assert [len(part.samples) for part in whole] == [4, 4, 2]
    assert sorted(torch.cat([part.samples.number for part in whole]).tolist()) == numbers.tolist()
    by_rank = [passed(owners == rank) for rank in range(3)]
    for number, part in enumerate(whole):
        parts = [passes[number] for passes in by_rank]
        assert all(torch.equal(each.everyone, part.everyone) for each in parts)
        assert sorted(torch.cat([each.samples.number for each in parts]).tolist()) == sorted(
            part.samples.number.tolist()
        )
        assert all(torch.equal(each.own(each.everyone), each.samples.number) for each in parts)
        assert sum(float(each.mean(each.samples.number)) for each in parts) == pytest.approx(
            float(part.samples.number.mean())
        )
    assert any(len(part.samples) == 0 for part in by_rank[2])


def test_sizes_of_minibatches():
    assert sizes_of(10, 4) == [4, 4, 2] and sizes_of(8, 4) == [4, 4] and sizes_of(3, 4) == [3]
    assert equal_parts(10, 3) == [len(part) for part in torch.arange(10).tensor_split(3)] and equal_parts(2, 3) == [
        1,
        1,
        0,
    ]
    samples = Pairs(torch.arange(5), {})
    assert [part.samples.number.tolist() for part in in_order(samples, samples.number, 2)] == [[0, 1], [2, 3], [4]]


def test_when_a_policy_is_published():
    every_other = Publications(2)
    assert [every_other.version(number) for number in range(6)] == [0, 0, 1, 1, 2, 2]
    assert [every_other.is_due(number) for number in range(5)] == [True, False, True, False, True]
    after_first = Publications(2, after_first=True)
    assert [after_first.version(number) for number in range(6)] == [0, 1, 1, 2, 2, 3]
    copy = frozen(nn.Linear(1, 1))
    assert not any(parameter.requires_grad for parameter in copy.parameters())
