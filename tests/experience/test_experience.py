"""Samples, aggregation, minibatches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visagent.envs.navigation import NavigationObservation
from visagent.experience.navigation import Aggregate, NavigationBatch, NavigationSamples, minibatch_count, minibatches


def samples(count: int, seed: int = 0) -> NavigationSamples:
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(50, (count,), generator=rng)
    observation = NavigationObservation(torch.randint(50, (count, 4), generator=rng), target, target // 25)
    return NavigationSamples.pack(
        observation, torch.randint(4, (count,), generator=rng), torch.rand(count, 4, generator=rng) < 0.5
    )


def test_packing_loses_nothing():
    rng = torch.Generator().manual_seed(1)
    target = torch.randint(50, (9,), generator=rng)
    observation = NavigationObservation(torch.randint(50, (9, 4), generator=rng), target, target // 25)
    action, optimal = torch.randint(4, (9,), generator=rng), torch.rand(9, 4, generator=rng) < 0.5
    batch = NavigationSamples.pack(observation, action, optimal).batch(torch.arange(9), torch.arange(50) // 25)
    assert torch.equal(batch.observation.history, observation.history) and torch.equal(
        batch.observation.scene, observation.scene
    )
    assert torch.equal(batch.action, action) and torch.equal(batch.optimal, optimal)


def test_a_dagger_2_data_set_is_small():
    aggregate = Aggregate()
    aggregate.append(samples(48_000))
    aggregate.append(samples(67_000))
    assert len(aggregate) == 115_000 and aggregate.nbytes < 10e6


def test_aggregate_state_round_trip():
    aggregate = Aggregate()
    for seed in range(3):
        aggregate.append(samples(5 + seed, seed))
    other = Aggregate()
    other.append(samples(2))
    other.load_state_dict(aggregate.state_dict())
    assert [len(r) for r in other.rounds] == [5, 6, 7]
    assert all(torch.equal(a, b) for a, b in zip(aggregate.samples.tensors(), other.samples.tensors(), strict=True))


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 3), st.integers(1, 4))
def test_ranks_share_every_batch(count, size, passes, world):
    shares = [
        list(minibatches(count, size, passes, torch.Generator().manual_seed(0), rank, world)) for rank in range(world)
    ]
    assert len({len(share) for share in shares}) == 1 and len(shares[0]) == minibatch_count(count, size, passes, world)
    whole = list(minibatches(count, size, passes, torch.Generator().manual_seed(0)))
    whole = [batch[: len(batch) - len(batch) % world] for batch in whole if len(batch) >= world]
    for batch, parts in zip(whole, zip(*shares, strict=True), strict=True):
        assert sorted(torch.cat(parts).tolist()) == sorted(batch.tolist())
    if world == 1:
        assert sorted(torch.cat(whole).tolist()) == sorted(list(range(count)) * passes)


def test_shapes_are_checked():
    observation = NavigationObservation(
        torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    )
    with pytest.raises(ValueError, match="batch: expected action"):
        NavigationBatch(observation, torch.zeros(2, dtype=torch.int64), torch.zeros(3, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="samples: expected history"):
        NavigationSamples(torch.zeros(3, 3), torch.zeros(3), torch.zeros(3), torch.zeros(3))
