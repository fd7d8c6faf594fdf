"""Cycle consistency: by hand, and what it is without any skill."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.metrics.cycle_consistency import cycle_consistency, levels_without_skill, nearest, returned


def line(*places):
    return np.array(places, float)[:, None]


def test_by_hand():
    u, v = line(0, 10, 20, 30), line(1, 2, 21, 90)
    assert nearest(u, v).tolist() == [0, 1, 2, 2]
    # 0 -> 1 -> 0; 10 -> 2 -> 0, one beside; 20 -> 21 -> 20; 30 -> 21 -> 20, one beside
    assert returned([u, v]).tolist() == [True, True, True, True]
    assert returned([v, u]).tolist() == [True, True, True, True]  # 90 -> 30 -> 21, one beside
    far = line(0, 0, 0, 0)
    assert returned([u, far]).tolist() == [True, True, False, False]


def test_along_both_ways_through_a_third_one():
    u, v, w = line(0, 10, 20, 30), line(0, 10, 20, 30), line(0, 1, 2, 3)
    two, three = cycle_consistency([u, v, w])
    # with w: 0 -> 0 -> 0, 10, 20, 30 -> 3 -> 0: two of four; from w all come to 0: two of four
    assert two == pytest.approx((1 + 1 + 4 * 0.5) / 6)
    assert three == pytest.approx(0.5)


def test_the_same_embeddings_are_consistent_and_any_number_but_three_is_refused():
    same = np.random.default_rng(0).standard_normal((15, 50))
    assert cycle_consistency([same] * 3) == (1.0, 1.0)
    with pytest.raises(ValueError, match="expected three trajectories, got 2"):
        cycle_consistency([same] * 2)


def test_levels_without_skill():
    levels = levels_without_skill(15, 50)
    assert levels["random"] == pytest.approx((0.43, 0.07), abs=0.02)
    # all come back to one place: 3 of 15 within, 2 of 15 at an end
    assert levels["collapsed"] == pytest.approx(((13 * 3 + 2 * 2) / 15 / 15,) * 2)
    rng = np.random.default_rng(1)
    clouds = [rng.standard_normal((15, 50)) + 100 * rng.standard_normal(50) for _ in range(3)]
    assert cycle_consistency(clouds)[0] == pytest.approx(levels["collapsed"][0], abs=0.06)
