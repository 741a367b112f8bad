from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from hashsearch.bench.quality import estimate
from hashsearch.bench.statistics import (
    holm,
    over_seeds,
    paired_difference,
    paired_test,
    pooled_shares,
)
from hashsearch.errors import ArgumentError
from hashsearch.metrics import bootstrap_interval

Values = npt.NDArray[np.float64]


def interval(summary: Any) -> tuple[float, float]:
    return summary["low"], summary["high"]


def p_value(difference: Any) -> float:
    return float(difference["p_value"])


# Over seeds


def crossed_interval(values: Values) -> tuple[float, float]:
    """The two-way analysis of variance, one cell at a time."""
    n_seeds, n_queries = values.shape
    mean = sum(map(float, values.ravel())) / values.size
    rows = [sum(row) / n_queries for row in values.tolist()]
    columns = [sum(column) / n_seeds for column in values.T.tolist()]
    training = sum(n_queries * (row - mean) ** 2 for row in rows) / (n_seeds - 1)
    query = sum(n_seeds * (column - mean) ** 2 for column in columns) / (n_queries - 1)
    rest = 0.0
    for (i, j), value in np.ndenumerate(values):
        rest += (value - rows[i] - columns[j] + mean) ** 2
    rest /= (n_seeds - 1) * (n_queries - 1)
    training, query = max(training, rest), max(query, rest)
    total = training + query - rest
    below = training**2 / (n_seeds - 1) + query**2 / (n_queries - 1)
    below += rest**2 / ((n_seeds - 1) * (n_queries - 1))
    half = scipy.stats.t.ppf(0.975, total**2 / below) * math.sqrt(total / values.size)
    return mean - half, mean + half


@given(st.integers(2, 6), st.integers(2, 20), st.integers(0, 1000), st.sampled_from([0, 0.1, 1]))
@settings(max_examples=60)
def test_several_seeds_equal_the_analysis_of_variance_by_cell(
    n_seeds: int, n_queries: int, seed: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((n_seeds, n_queries)) + spread * rng.random((n_seeds, 1))
    summary = over_seeds(values)
    assert_allclose(interval(summary), crossed_interval(values), rtol=1e-9)
    assert summary["value"] == pytest.approx(values.mean())
    assert summary["std_across_seeds"] == pytest.approx(np.std(values.mean(axis=1), ddof=1))
    assert (summary["seeds"], summary["covers"]) == (n_seeds, "queries and trainings")


def test_several_seeds_by_hand() -> None:
    # Queries alike, trainings apart: T = 2 * 0.02, the rest 0; one degree of freedom, where
    # t is 12.7062; the variance of the mean is 0.04 / 4.
    summary = over_seeds([[0.4, 0.4], [0.6, 0.6]])
    assert_allclose(interval(summary), [0.5 - 1.27062, 0.5 + 1.27062], rtol=1e-5)
    assert summary["std_across_seeds"] == pytest.approx(math.sqrt(0.02))
    # Trainings alike: Student's interval over the three queries, t = 4.30265.
    summary = over_seeds([[0.0, 0.5, 1.0]] * 4)
    half = 4.30265 * 0.5 / math.sqrt(3)
    assert_allclose(interval(summary), [0.5 - half, 0.5 + half], rtol=1e-5)
    assert summary["std_across_seeds"] == 0


def test_one_seed_is_the_bootstrap_over_queries_and_says_no_more() -> None:
    values = np.random.default_rng(0).random(40)
    values[7] = np.nan
    summary = over_seeds(values[None], seed=3)
    assert interval(summary) == bootstrap_interval(values, seed=3)
    assert interval(summary) != interval(over_seeds(values[None], seed=4))
    assert (summary["seeds"], summary["std_across_seeds"]) == (1, None)
    assert summary["covers"] == "queries"


def test_a_query_that_one_training_leaves_undefined_is_left_out_of_all() -> None:
    values = np.random.default_rng(1).random((3, 30))
    gaps = np.insert(values, [0, 10, 30], 0.5, axis=1)
    gaps[[0, 1, 2], [0, 11, 32]] = np.nan
    with_gaps = over_seeds(gaps)
    assert {**with_gaps, "undefined": 0} == over_seeds(values)
    assert (with_gaps["defined"], with_gaps["undefined"]) == (30, 3)


@pytest.mark.parametrize("values", [np.full((3, 2), np.nan), np.zeros((2, 0)), np.zeros((1, 0))])
def test_no_defined_query_gives_no_value(values: Values) -> None:
    summary = over_seeds(values)
    assert (summary["value"], summary["low"], summary["high"]) == (None, None, None)
    assert summary["std_across_seeds"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_no_spread_gives_no_width_and_one_query_that_of_the_trainings() -> None:
    assert interval(over_seeds(np.full((3, 5), 0.5))) == (0.5, 0.5)
    low, high = interval(over_seeds([[0.25], [0.75]]))
    # Student's t for two values: 12.7062 times 0.25.
    assert_allclose([low, high], [0.5 - 3.17655, 0.5 + 3.17655], rtol=1e-5)


def test_the_interval_covers_other_trainings_where_that_over_queries_does_not() -> None:
    rng = np.random.default_rng(5)
    covered = {"both": 0, "queries": 0}
    for _ in range(300):
        values = 0.05 * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(1, 60))
        values = values + 0.1 * rng.normal(size=(3, 60))
        low, high = interval(over_seeds(values))
        covered["both"] += low <= 0 <= high
        mean = values.mean(axis=0)
        covered["queries"] += abs(mean.mean()) <= 1.96 * mean.std(ddof=1) / math.sqrt(60)
    assert 0.90 <= covered["both"] / 300 <= 0.99
    assert covered["queries"] / 300 < 0.88


# Paired tests


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=20)
def test_the_paired_test_counts_every_sign_pattern_of_few_queries(
    n_queries: int, n_first: int, n_second: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Eighths: so that patterns tie, and sums are exact.
    first = rng.integers(0, 9, (n_first, n_queries)) / 8
    second = rng.integers(0, 9, (n_second, n_queries)) / 8
    difference = first.mean(axis=0) - second.mean(axis=0)
    reached = sum(
        abs(np.dot(signs, difference)) >= abs(difference.sum()) - 1e-12
        for signs in itertools.product([-1, 1], repeat=n_queries)
    )
    test = paired_test(first, second)
    assert test["p_value"] == reached / 2**n_queries
    assert test["flips"] == 2**n_queries
    assert test["value"] == pytest.approx(difference.mean())
    assert interval(test) == interval(estimate(difference))


@pytest.mark.parametrize("n_queries", [6, 13])
def test_the_exact_paired_test_is_that_of_scipy(n_queries: int) -> None:
    rng = np.random.default_rng(n_queries)
    first, second = rng.random((2, 2, n_queries))
    reference = scipy.stats.permutation_test(
        (first.mean(axis=0) - second.mean(axis=0),),
        np.mean,
        permutation_type="samples",
        n_resamples=2**n_queries,
    )
    assert paired_test(first, second)["p_value"] == pytest.approx(reference.pvalue)


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.06])
def test_the_drawn_paired_test_agrees_with_scipy(shift: float) -> None:
    rng = np.random.default_rng(8)
    first, second = rng.random((1, 50)) + 2 * shift, rng.random((1, 50))
    # SciPy's own draws have no seed here: so many that chance stays far below the tolerance.
    reference = scipy.stats.permutation_test(
        (first[0] - second[0],),
        np.mean,
        permutation_type="samples",
        n_resamples=99_999,
        vectorized=True,
    )
    test = paired_test(first, second)
    assert test["flips"] == 100_000
    assert test["p_value"] == pytest.approx(reference.pvalue, abs=0.02)


def test_the_paired_test_by_hand() -> None:
    # 1, 1, 2: of 8 patterns, those of one sign alone reach 4.
    test = paired_test([[1.0, 1.0, 2.0]], [[0.0, 0.0, 0.0]])
    assert test["value"] == pytest.approx(4 / 3)
    assert test["p_value"] == 2 / 8
    # 2, 1, -1, 0: a sum of 2 or more for +++, ++-, +-+ and their mirrors; the 0 doubles all.
    test = paired_test([[2.0, 1.0, 0.0, 5.0]], [[0.0, 0.0, 1.0, 5.0]])
    assert (test["value"], test["p_value"]) == (0.5, 12 / 16)


def test_methods_that_are_alike_and_methods_that_are_not() -> None:
    values = np.random.default_rng(2).random((2, 300))
    same = paired_test(values, values)
    assert (same["value"], same["p_value"]) == (0.0, 1.0)
    better = paired_test(values + 0.1, values)
    # None of the patterns drawn reaches it: the observed one alone.
    assert better["p_value"] == 1 / 100_000
    worse = paired_test(values, values + 0.1)
    assert worse["p_value"] == better["p_value"]
    assert worse["value"] == pytest.approx(-0.1)


def test_a_difference_over_seeds_has_the_interval_and_the_p_of_one_model() -> None:
    rng = np.random.default_rng(6)
    first, second = rng.random((2, 4, 60))
    for shift in (0.0, 0.03, 0.2):
        difference = paired_difference(first + shift, second)
        expected = over_seeds(first + shift - second)
        assert {key: difference[key] for key in ("value", "low", "high")} == pytest.approx(
            {key: expected[key] for key in ("value", "low", "high")}
        )
        low, high = interval(expected)
        assert (p_value(difference) < 0.05) == (not low <= 0 <= high)
        back = paired_difference(second, first + shift)
        assert back["p_value"] == pytest.approx(difference["p_value"])


def test_a_difference_of_one_training_is_that_of_the_paired_test() -> None:
    first, second = np.random.default_rng(7).random((2, 1, 20))
    test = paired_test(first, second)
    assert paired_difference(first, second) == {
        key: test[key] for key in ("value", "low", "high", "p_value")
    }


def test_a_difference_without_spread_and_one_without_a_query() -> None:
    values = np.random.default_rng(8).random((2, 10))
    assert paired_difference(values, values)["p_value"] == 1
    assert paired_difference(values * 0 + 0.5, values * 0 + 0.25) == {
        "value": 0.25,
        "low": 0.25,
        "high": 0.25,
        "p_value": 0.0,
    }
    unknown = paired_difference([[np.nan, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, np.nan]])
    assert set(unknown.values()) == {None}


def test_trainings_that_differ_by_chance_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(9)
    p_values: dict[str, list[float]] = {"trainings": [], "queries": []}
    for _ in range(200):
        methods = rng.normal(0.6, 0.3, (2, 3, 50)) + rng.normal(0, 0.1, (2, 3, 1))
        p_values["trainings"].append(p_value(paired_difference(*methods)))
        p_values["queries"].append(
            scipy.stats.ttest_rel(*methods.mean(axis=1)).pvalue  # the trainings as they are
        )
    found = {name: np.mean(np.array(values) < 0.05) for name, values in p_values.items()}
    assert found["trainings"] <= 0.08
    assert found["queries"] > 0.2


def test_p_is_uniform_where_the_methods_are_alike() -> None:
    rng = np.random.default_rng(3)
    p_values = [
        paired_test(*rng.random((2, 1, 10)), seed=number)["p_value"] for number in range(40)
    ]
    assert scipy.stats.kstest(np.array(p_values, dtype=float), "uniform").pvalue > 0.01


def test_the_paired_test_repeats_and_leaves_nan_pairs_out() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.random((2, 50)), rng.random((3, 50))
    test = paired_test(first, second, seed=1)
    assert paired_test(first, second, seed=1) == test
    assert paired_test(first, second, seed=2)["p_value"] != test["p_value"]
    places = [0, 20, 50]
    first, second = (np.insert(values, places, 0.5, axis=1) for values in (first, second))
    first[0, 0] = second[2, 21] = first[1, 52] = second[0, 52] = np.nan
    assert paired_test(first, second, seed=1) == {**test, "undefined": 3}


def test_the_paired_test_without_a_defined_pair() -> None:
    test = paired_test([[np.nan, 0.5]], [[0.5, np.nan]])
    assert (test["value"], test["p_value"], test["flips"]) == (None, None, 0)
    assert (test["defined"], test["undefined"]) == (0, 2)
    assert json.loads(json.dumps(test, allow_nan=False)) == test


# Many tests


def rejected(p_values: list[float], level: float) -> set[int]:
    """Holm's procedure as he gives it: step down until one is not rejected."""
    left = sorted(range(len(p_values)), key=p_values.__getitem__)
    out: set[int] = set()
    while left and p_values[left[0]] * len(left) <= level:
        out.add(left.pop(0))
    return out


@given(
    st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.25, 0.5, 1.0]), max_size=8),
    st.sampled_from([0.0, 0.01, 0.05, 0.125, 0.3, 0.999]),
)
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float], level: float) -> None:
    adjusted = holm(p_values)
    assert set(np.flatnonzero(adjusted <= level).tolist()) == rejected(p_values, level)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_order_and_ties_and_the_range(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    order = np.argsort(p_values)
    assert np.all(np.diff(adjusted[order]) >= 0)
    assert np.all(adjusted >= p_values)
    assert np.all(adjusted <= 1)
    for value in set(p_values):
        assert len(set(adjusted[np.array(p_values) == value])) == 1


def test_holm_by_hand() -> None:
    assert_allclose(holm([0.01, 0.02, 0.03, 0.04]), [0.04, 0.06, 0.06, 0.06])
    assert_allclose(holm([0.04, 0.01]), [0.04, 0.02])
    assert_allclose(holm([0.3]), [0.3])
    assert holm([]).shape == (0,)


# Shares of pairs that belong to queries


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=9))
@settings(max_examples=30)
def test_pooled_shares_equal_drawing_queries_one_by_one(pairs: list[tuple[int, int]]) -> None:
    hits = np.array([[hit, 0] for hit, _ in pairs])
    totals = np.array([hit + missed for hit, missed in pairs])
    shares = pooled_shares(hits, totals)
    asked = [(hit, hit + missed) for hit, missed in pairs if hit + missed]
    if not asked:
        assert np.isnan(shares).all()
        return
    value = sum(hit for hit, _ in asked) / sum(total for _, total in asked)
    assert_allclose(shares.value, [value, 0])
    if len(asked) < 2:
        assert np.isnan([shares.low, shares.high]).all()
        return
    end = 1 - 0.025 ** (1 / len(asked))
    if 0 < value < 1:
        generator = np.random.default_rng(0)
        drawn = []
        for chosen in generator.integers(len(asked), size=(2000, len(asked))):
            some = [asked[number] for number in chosen]
            drawn.append(sum(hit for hit, _ in some) / sum(total for _, total in some))
        assert_allclose([shares.low[0], shares.high[0]], np.quantile(drawn, [0.025, 0.975]))
    else:
        expected = (0, end) if value == 0 else (1 - end, 1)
        assert_allclose([shares.low[0], shares.high[0]], expected, atol=1e-15)
    assert_allclose([shares.low[1], shares.high[1]], [0, end])


def test_shares_of_one_pair_a_query_have_the_interval_of_the_mean() -> None:
    hits = np.random.default_rng(1).integers(0, 2, 400)
    shares = pooled_shares(hits[:, None], np.ones(400, dtype=int))
    low, high = bootstrap_interval(hits.astype(np.float64))
    assert_allclose([shares.low[0], shares.high[0]], [low, high], atol=0.005)


def test_pairs_that_agree_within_a_query_make_the_interval_wider() -> None:
    hits = np.random.default_rng(2).integers(0, 2, 100)
    together = pooled_shares(9 * hits[:, None], np.full(100, 9))
    apart = pooled_shares(np.repeat(hits, 9)[:, None], np.ones(900, dtype=int))
    assert_allclose(together.value, apart.value)
    # Nine times the pairs, but not one more query: three times the width.
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(3, rel=0.15)


def test_the_end_of_a_share_of_none_or_all_is_that_of_the_binomial() -> None:
    for n_queries in (2, 30):
        totals = np.full(n_queries, 4)
        shares = pooled_shares(np.stack([0 * totals, totals], axis=1), totals)
        none, every = (
            scipy.stats.binomtest(hits, n_queries).proportion_ci(0.95) for hits in (0, n_queries)
        )
        assert_allclose([shares.low[0], shares.high[0]], [none.low, none.high], atol=1e-12)
        assert_allclose([shares.low[1], shares.high[1]], [every.low, every.high], atol=1e-12)


def test_shares_of_many_queries_are_drawn_in_blocks() -> None:
    hits = np.tile([[1], [0], [1], [0]], (750, 1))
    shares = pooled_shares(hits, np.ones(len(hits), dtype=int), seed=2)
    half = 1.96 * 0.5 / math.sqrt(len(hits))
    assert_allclose([shares.low[0], shares.high[0]], [0.5 - half, 0.5 + half], atol=half / 10)


# Errors


@pytest.mark.parametrize("values", [[0.5], 0.5, np.zeros((0, 4)), np.zeros((2, 2, 2))])
def test_values_of_another_shape_are_refused(values: Any) -> None:
    with pytest.raises(ArgumentError, match=r"of shape \(seeds, queries\) with one seed or more"):
        over_seeds(values)
    with pytest.raises(ArgumentError, match=r"of shape \(seeds, queries\) with one seed or more"):
        paired_test([[0.5]], values)


def test_other_queries_cannot_be_paired() -> None:
    with pytest.raises(ArgumentError, match=r"4 queries cannot be paired with 3; .* same order"):
        paired_test(np.zeros((2, 4)), np.zeros((2, 3)))
    with pytest.raises(ArgumentError, match=r"cannot be paired with \(3, 4\); .* same seeds"):
        paired_difference(np.zeros((2, 4)), np.zeros((3, 4)))


@pytest.mark.parametrize("wrong", [[-0.1], [1.1], [math.nan], [[0.5]], 0.5])
def test_p_values_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="each from 0 to 1; leave NaN out"):
        holm(wrong)


def test_shares_that_cannot_be_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"\(queries, m\) and \(queries,\)"):
        pooled_shares([1, 2], [3, 3])
    with pytest.raises(ArgumentError, match=r"\(queries, m\) and \(queries,\)"):
        pooled_shares([[1], [2]], [3])
    for wrong in (-1, 4):
        with pytest.raises(ArgumentError, match="between 0 and the totals"):
            pooled_shares([[wrong]], [3])
