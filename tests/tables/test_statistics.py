"""Statistics against hand values, and against scipy's trimmed mean, which rliable's IQM is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from visagent.tables.statistics import interquartile_mean, mean, standard_deviation, stratified_bootstrap


def test_mean_and_standard_deviation_by_hand():
    values = np.array([1.0, 2.0, 6.0])
    assert mean(values) == 3.0
    assert standard_deviation(values) == pytest.approx(np.sqrt((4 + 1 + 9) / 2))
    assert standard_deviation(np.array([5.0])) is None


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([100.0, 1.0, 2.0, 3.0])) == 2.5
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == 3.0
    assert interquartile_mean(np.arange(8.0)) == 3.5
    np.testing.assert_allclose(interquartile_mean(np.array([[0.0, 1.0, 2.0, 9.0], [4.0, 4.0, 4.0, 4.0]])), [1.5, 4.0])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_interquartile_mean_is_scipys_trimmed_mean(values):
    assert interquartile_mean(np.array(values)) == pytest.approx(trim_mean(values, 0.25), abs=1e-9)


def test_bootstrap_of_three_values_is_that_of_all_27_resamples():
    values = np.array([0.0, 0.3, 0.9])
    every = np.array([np.mean(draw) for draw in itertools.product(values, repeat=3)])
    low, high = stratified_bootstrap([values], mean, np.random.default_rng(1), 200_000, 0.8)
    assert (low, high) == pytest.approx(
        (np.quantile(every, 0.1, method="inverted_cdf"), np.quantile(every, 0.9, method="inverted_cdf")), abs=1e-9
    )


def test_strata_are_resampled_apart():
    """Runs differ between tasks alone: resampling within tasks leaves nothing to vary."""
    strata = [np.full(3, 0.1), np.full(3, 0.9)]
    assert stratified_bootstrap(strata, mean, np.random.default_rng(0), 500, 0.95) == pytest.approx((0.5, 0.5))
    pooled = stratified_bootstrap([np.concatenate(strata)], mean, np.random.default_rng(0), 500, 0.95)
    assert pooled is not None and pooled[1] - pooled[0] > 0.3


def test_intervals_of_a_large_sample_approach_the_normal_ones():
    values = np.random.default_rng(3).normal(0.0, 1.0, 400)
    low, high = stratified_bootstrap([values], mean, np.random.default_rng(0), 5000, 0.95)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_the_generator_decides_and_two_seeds_have_no_interval():
    values = np.array([0.1, 0.2, 0.4, 0.8])
    first, again = (
        stratified_bootstrap([values], interquartile_mean, np.random.default_rng(7), 300, 0.9) for _ in range(2)
    )
    assert first == again
    assert stratified_bootstrap([values], mean, np.random.default_rng(8), 300, 0.9) != first
    assert stratified_bootstrap([values, values[:2]], mean, np.random.default_rng(0), 300, 0.9) is None
    assert stratified_bootstrap([], mean, np.random.default_rng(0), 300, 0.9) is None
