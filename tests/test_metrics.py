from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from hashsearch import metrics
from hashsearch.errors import ArgumentError
from hashsearch.metrics import DistanceHistogram, Mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

N_BITS = 8
Ranking = tuple[list[int], list[bool]]
Measured = tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]


@st.composite
def measured(draw: st.DrawFn, min_items: int = 0, max_items: int = 40) -> Measured:
    """``distance int32 (q, n)`` and ``relevant bool (q, n)``, with many ties."""
    shape = draw(st.integers(1, 4)), draw(st.integers(min_items, max_items))
    largest, share = draw(st.integers(0, N_BITS)), draw(st.floats(0, 1))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    distance = generator.integers(0, largest + 1, shape, dtype=np.int32)
    return distance, generator.random(shape) < share


# Slow transcriptions of the definitions, one query at a time.


def plain_average_precision(ranked: Sequence[bool]) -> Fraction:
    """AP of one strict order, divided by all relevant items."""
    found, total = 0, Fraction(0)
    for rank, is_relevant in enumerate(ranked, start=1):
        if is_relevant:
            found += 1
            total += Fraction(found, rank)
    return total / found


def sorted_orders(distance: list[int], relevant: list[bool]) -> list[list[bool]]:
    """The relevance of every order of the items that respects the distance."""
    return [
        [relevant[i] for i in order]
        for order in permutations(range(len(distance)))
        if all(distance[i] <= distance[j] for i, j in pairwise(order))
    ]


def tied_average_precision(distance: list[int], relevant: list[bool]) -> Fraction | None:
    """The formula of McSherry & Najork, position by position."""
    if not any(relevant):
        return None
    total, items_before, relevant_before = Fraction(0), 0, 0
    for level in sorted(set(distance)):
        group = [flag for d, flag in zip(distance, relevant, strict=True) if d == level]
        t, r = len(group), sum(group)
        for i in range(1, t + 1):
            others = Fraction((i - 1) * (r - 1), t - 1) if t > 1 else Fraction(0)
            total += Fraction(r, t) * (relevant_before + 1 + others) / (items_before + i)
        items_before, relevant_before = items_before + t, relevant_before + r
    return total / sum(relevant)


def tied_hits(distance: list[int], relevant: list[bool], k: int) -> Fraction:
    """The relevant items expected among the first k, item by item."""
    total = Fraction(0)
    for d, flag in zip(distance, relevant, strict=True):
        nearer = sum(other < d for other in distance)
        tied = distance.count(d)
        chance = Fraction(min(max(k - nearer, 0), tied), tied)
        total += chance * flag
    return total


def positional_average_precision(
    distance: list[int], relevant: list[bool], cutoff: int, denominator: str
) -> Fraction | None:
    """AP of the first ``cutoff`` items in a stable sort."""
    if not any(relevant):
        return None
    order = sorted(range(len(distance)), key=lambda i: distance[i])[:cutoff]
    found, total = 0, Fraction(0)
    for rank, i in enumerate(order, start=1):
        if relevant[i]:
            found += 1
            total += Fraction(found, rank)
    divisor = found if denominator == "hits" else min(cutoff, sum(relevant))
    return total / divisor if divisor else total


def by_query(
    slow: Callable[..., Fraction | None], data: Measured, *arguments: Any
) -> npt.NDArray[np.float64]:
    """The slow function over the rows, ``float64 (q,)``, None as NaN."""
    values = [
        slow(distance, relevant, *arguments)
        for distance, relevant in zip(data[0].tolist(), data[1].tolist(), strict=True)
    ]
    return np.array([math.nan if value is None else float(value) for value in values])


def ratio(numerator: int | Fraction, denominator: int) -> Fraction | None:
    return Fraction(numerator) / denominator if denominator else None


# The tie-aware average precision


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_average_precision_is_the_mean_over_all_orders_of_ties(
    items: list[tuple[int, bool]],
) -> None:
    distance, relevant = [d for d, _ in items], [flag for _, flag in items]
    value = metrics.average_precision([distance], [relevant])
    if any(relevant):
        orders = sorted_orders(distance, relevant)
        expected = sum(map(plain_average_precision, orders), Fraction(0)) / len(orders)
        assert_allclose(value, [float(expected)], rtol=1e-12)
    else:
        assert np.isnan(value).all()


@given(measured())
def test_average_precision_is_the_formula(data: Measured) -> None:
    expected = by_query(tied_average_precision, data)
    assert_allclose(metrics.average_precision(*data), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("before", "tied"),
    [((999, 100), (1, 1)), ((1000, 1), (3, 2)), ((10**6, 10), (5000, 700)), ((10**8, 0), (2, 2))],
)
def test_average_precision_keeps_its_digits_deep_in_a_large_gallery(
    before: tuple[int, int], tied: tuple[int, int]
) -> None:
    items = np.array([[before[0], tied[0]]])
    relevant = np.array([[before[1], tied[1]]])
    t, r = tied
    deep = math.fsum(
        r / t * (before[1] + 1 + (i - 1) * (r - 1) / max(t - 1, 1)) / (before[0] + i)
        for i in range(1, t + 1)
    )
    first = DistanceHistogram(items[:, :1], relevant[:, :1]).average_precision()
    expected = (before[1] * np.nan_to_num(first) + deep) / (before[1] + r)
    value = DistanceHistogram(items, relevant).average_precision()
    # The closed form cancels, but by no more than the last digit of 1.
    assert_allclose(value, expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    ("distance", "relevant", "expected"),
    [
        ([5], [True], 1),
        ([0, 1], [False, True], 1 / 2),
        ([0, 1, 2, 3], [True, False, True, False], (1 + 2 / 3) / 2),
        ([4, 4], [True, False], (1 + 1 / 2) / 2),
        # The stranger is third, second or first.
        ([4, 4, 4], [True, False, True], (1 + (1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 3),
    ],
)
def test_average_precision_by_hand(
    distance: list[int], relevant: list[bool], expected: float
) -> None:
    assert_allclose(metrics.average_precision([distance], [relevant]), [expected], rtol=1e-14)


@given(measured(min_items=1))
def test_a_perfect_ranking_scores_1_and_a_stranger_in_front_costs(data: Measured) -> None:
    _, relevant = data
    relevant[:, 0] = True
    perfect = np.where(relevant, 2, 5)
    assert_array_equal(metrics.average_precision(perfect, relevant), 1.0)
    assert_array_equal(metrics.average_precision_at(perfect, relevant, cutoff=3), 1.0)
    assert_array_equal(metrics.precision_within(perfect, relevant, radius=2), 1.0)
    assert_array_equal(metrics.recall_within(perfect, relevant, radius=2), 1.0)
    assert_array_equal(metrics.precision_at(perfect, relevant, k=1), 1.0)
    front = np.pad(perfect, [(0, 0), (1, 0)], constant_values=1)
    strangers = np.pad(relevant, [(0, 0), (1, 0)], constant_values=False)
    assert np.all(metrics.average_precision(front, strangers) < 1)


# The other metrics against their transcriptions


@given(measured(), st.integers(1, 45), st.sampled_from(["hits", "relevant"]))
def test_average_precision_at(data: Measured, cutoff: int, denominator: Any) -> None:
    expected = by_query(positional_average_precision, data, cutoff, denominator)
    value = metrics.average_precision_at(*data, cutoff, denominator)
    assert_allclose(value, expected, rtol=1e-12)


def test_average_precision_at_is_average_precision_where_nothing_ties_or_is_cut() -> None:
    generator = np.random.default_rng(0)
    # Above 16 bits, too, where the sort is another one.
    distance = 900 * np.stack([generator.permutation(100) for _ in range(5)])
    relevant = generator.random((5, 100)) < 0.2
    expected = metrics.average_precision(distance, relevant)
    for denominator in ("hits", "relevant"):
        value = metrics.average_precision_at(distance, relevant, 100, denominator)
        assert_allclose(value, expected, rtol=1e-12)


def test_average_precision_at_by_hand() -> None:
    distance = [[3, 0, 0, 1]]
    # Position breaks the tie: stranger, relevant, relevant.
    relevant = [[True, False, True, True]]
    cut = metrics.average_precision_at(distance, relevant, 2)
    assert_allclose(cut, [1 / 2])
    cut = metrics.average_precision_at(distance, relevant, 2, "relevant")
    assert_allclose(cut, [1 / 2 / 2])
    cut = metrics.average_precision_at(distance, relevant, 3)
    assert_allclose(cut, [(1 / 2 + 2 / 3) / 2])
    # Relevant items that are all beyond the cut score 0; none at all scores nothing.
    cut = metrics.average_precision_at([[0, 1], [0, 1]], [[False, True], [False, False]], 1)
    assert_array_equal(cut, [0.0, np.nan])
    both = metrics.map_at([[0, 1], [0, 1]], [[False, True], [True, False]], 1, "relevant")
    assert both == Mean(0.5, 2, 0)


@given(measured(), st.integers(0, 12))
def test_metrics_within_a_radius(data: Measured, radius: int) -> None:
    def ball(distance: list[int], relevant: list[bool]) -> list[bool]:
        return [flag for d, flag in zip(distance, relevant, strict=True) if d <= radius]

    def precision(distance: list[int], relevant: list[bool]) -> Fraction | None:
        inside = ball(distance, relevant)
        return ratio(sum(inside), len(inside)) if inside else Fraction(0)

    def recall(distance: list[int], relevant: list[bool]) -> Fraction | None:
        return ratio(sum(ball(distance, relevant)), sum(relevant))

    def size(distance: list[int], relevant: list[bool]) -> Fraction | None:
        return Fraction(len(ball(distance, relevant)))

    assert_array_equal(metrics.precision_within(*data, radius), by_query(precision, data))
    assert_array_equal(metrics.recall_within(*data, radius), by_query(recall, data))
    assert_array_equal(metrics.ball_size(data[0], radius), by_query(size, data))
    assert_array_equal(DistanceHistogram.of(*data).ball_size(radius), by_query(size, data))


@given(measured(), st.integers(1, 45))
def test_metrics_of_the_nearest_k(data: Measured, k: int) -> None:
    def precision(distance: list[int], relevant: list[bool]) -> Fraction | None:
        return tied_hits(distance, relevant, k) / k

    def recall(distance: list[int], relevant: list[bool]) -> Fraction | None:
        return ratio(tied_hits(distance, relevant, k), sum(relevant))

    assert_allclose(metrics.precision_at(*data, k), by_query(precision, data), rtol=1e-12)
    assert_allclose(metrics.recall_at(*data, k), by_query(recall, data), rtol=1e-12)


def test_recall_at_is_the_chance_to_find_one_item_among_its_ties() -> None:
    distance = [[0, 3, 3, 3, 3, 7]]
    relevant = [[False, False, True, False, False, False]]
    found = [metrics.recall_at(distance, relevant, k).item() for k in (1, 2, 3, 5, 6)]
    assert_allclose(found, [0, 1 / 4, 2 / 4, 1, 1])


def test_precision_at_divides_by_k_even_above_the_gallery_size() -> None:
    assert_array_equal(metrics.precision_at([[0, 1]], [[True, True]], k=8), [0.25])


@given(measured())
def test_the_curve_is_the_means_within_each_radius(data: Measured) -> None:
    precision, recall = metrics.precision_recall_curve(*data, n_bits=N_BITS)
    radii = range(N_BITS + 1)
    means = [metrics.mean_precision_within(*data, radius).value for radius in radii]
    assert_array_equal(precision, means)
    means = [metrics.mean_recall_within(*data, radius).value for radius in radii]
    assert_array_equal(recall, means)
    assert np.isnan(recall).all() or recall[-1] == 1


# What holds for every ranking


def all_values(data: Measured) -> dict[str, npt.NDArray[np.float64]]:
    return {
        "average_precision": metrics.average_precision(*data),
        "precision_at": metrics.precision_at(*data, 5),
        "recall_at": metrics.recall_at(*data, 5),
        "precision_within": metrics.precision_within(*data, 2),
        "recall_within": metrics.recall_within(*data, 2),
        "ball_size": metrics.ball_size(data[0], 2).astype(np.float64),
    }


@given(measured(), st.integers(0, 2**32))
def test_shuffling_the_gallery_changes_nothing(data: Measured, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(data[0].shape[1])
    shuffled = all_values((data[0][:, order], data[1][:, order]))
    for name, value in all_values(data).items():
        assert_array_equal(shuffled[name], value, err_msg=name)


@given(measured(), st.integers(0, 4))
def test_chunks_of_queries_concatenate(data: Measured, cut: int) -> None:
    first = all_values((data[0][:cut], data[1][:cut]))
    second = all_values((data[0][cut:], data[1][cut:]))
    for name, value in all_values(data).items():
        assert_array_equal(np.concatenate([first[name], second[name]]), value, err_msg=name)


@given(measured())
def test_recall_and_the_ball_grow_with_the_radius_and_with_k(data: Measured) -> None:
    radii = range(N_BITS + 1)
    within = np.array([metrics.recall_within(*data, radius) for radius in radii])
    at = np.array([metrics.recall_at(*data, k) for k in range(1, 42)])
    sizes = np.array([metrics.ball_size(data[0], radius) for radius in radii])
    for recall in (np.nan_to_num(within), np.nan_to_num(at)):
        assert np.all(np.diff(recall, axis=0) >= -1e-15)
    assert np.all(np.diff(sizes, axis=0) >= 0)
    has_relevant = data[1].any(axis=1)
    assert_array_equal(within[-1], np.where(has_relevant, 1.0, np.nan))
    assert_array_equal(at[-1], np.where(has_relevant, 1.0, np.nan))
    assert_array_equal(sizes[-1], data[0].shape[1])


# Histograms


@given(measured(), st.integers(0, 40), st.integers(0, 4))
def test_histograms_of_blocks_join_to_that_of_the_whole(
    data: Measured, item: int, query: int
) -> None:
    distance, relevant = data

    def blocks(rows: slice) -> DistanceHistogram:
        left, right = np.s_[rows, :item], np.s_[rows, item:]
        return DistanceHistogram.of(
            distance[left], relevant[left], n_bits=N_BITS
        ) + DistanceHistogram.of(distance[right], relevant[right], n_bits=N_BITS)

    whole = DistanceHistogram.of(distance, relevant, n_bits=N_BITS)
    joined = DistanceHistogram.concatenate([blocks(slice(query)), blocks(slice(query, None))])
    assert_array_equal(joined.items, whole.items)
    assert_array_equal(joined.relevant, whole.relevant)
    assert_array_equal(whole.items, (distance[:, :, None] == np.arange(N_BITS + 1)).sum(axis=1))
    # Empty distances at the end change no metric.
    assert_allclose(whole.average_precision(), metrics.average_precision(*data), rtol=1e-14)
    assert_array_equal(whole.recall_at(3), metrics.recall_at(*data, 3))


def test_every_integer_dtype_counts_the_same() -> None:
    distance = np.random.default_rng(0).integers(0, 100, (3, 200))
    relevant = distance % 3 == 0
    expected = all_values((distance.astype(np.int32), relevant))
    for dtype in (np.int8, np.uint8, np.uint16, np.int64, np.uint64):
        got = all_values((distance.astype(dtype), relevant))
        for name, value in expected.items():
            assert_array_equal(got[name], value, err_msg=f"{name} {dtype}")


def test_an_empty_gallery_and_no_query_at_all() -> None:
    empty = np.zeros((2, 0), dtype=np.int32), np.zeros((2, 0), dtype=bool)
    undefined = {"average_precision", "recall_at", "recall_within"}
    for name, value in all_values(empty).items():
        assert_array_equal(value, [np.nan if name in undefined else 0.0] * 2, err_msg=name)
    assert_array_equal(metrics.average_precision_at(*empty, 3), [np.nan] * 2)
    none = np.zeros((0, 5), dtype=np.int32), np.zeros((0, 5), dtype=bool)
    for name, value in all_values(none).items():
        assert value.shape == (0,), name
    assert np.isnan(metrics.precision_recall_curve(*none, n_bits=4)).all()


# Means and intervals


def test_mean_counts_the_undefined_apart() -> None:
    assert metrics.mean([0.25, math.nan, 0.75]) == Mean(value=0.5, defined=2, undefined=1)
    for values in ([], [math.nan, math.nan]):
        nothing = metrics.mean(values)
        assert math.isnan(nothing.value)
        assert (nothing.defined, nothing.undefined) == (0, len(values))


def test_means_over_queries_by_hand() -> None:
    distance = [[0, 2, 3], [0, 1, 2], [4, 4, 4]]
    relevant = [[True, False, True], [False, False, False], [True, False, False]]
    total = metrics.mean_average_precision(distance, relevant)
    assert (total.defined, total.undefined) == (2, 1)
    assert_allclose(total.value, ((1 + 2 / 3) / 2 + (1 + 1 / 2 + 1 / 3) / 3) / 2)
    precision = metrics.mean_precision_within(distance, relevant, 2)
    assert precision == Mean((1 / 2 + 0 + 0) / 3, 3, 0)
    assert metrics.mean_recall_within(distance, relevant, 2) == Mean((1 / 2 + 0) / 2, 2, 1)


def test_the_bootstrap_interval_is_that_of_the_normal_theory_for_many_values() -> None:
    values = np.random.default_rng(1).normal(3, 2, 2000)
    low, high = metrics.bootstrap_interval(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(values.size)
    assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=half / 10)
    narrow = metrics.bootstrap_interval(values, confidence=0.5)
    assert low < narrow[0] < values.mean() < narrow[1] < high


def test_the_bootstrap_interval_repeats_and_leaves_nan_out() -> None:
    values = np.random.default_rng(2).random(50)
    first = metrics.bootstrap_interval(values, resamples=100, seed=5)
    assert metrics.bootstrap_interval(values, resamples=100, seed=5) == first
    assert metrics.bootstrap_interval(values, resamples=100, seed=6) != first
    gaps = np.insert(values, [0, 10, 50], np.nan)
    assert metrics.bootstrap_interval(gaps, resamples=100, seed=5) == first
    assert metrics.bootstrap_interval([0.5], resamples=10) == (0.5, 0.5)
    assert np.isnan(metrics.bootstrap_interval([math.nan])).all()


# Errors


@pytest.mark.parametrize(
    ("distance", "relevant", "said"),
    [
        ([[0.0, 1.0]], [[True, False]], "integer array"),
        ([0, 1], [True, False], "integer array"),
        ([[0, 1]], [[1, 0]], "bool array"),
        ([[0, 1]], [[True]], "bool array"),
        ([[0, -1]], [[True, False]], "0 or more, not -1"),
    ],
)
def test_wrong_arrays_are_refused_by_every_metric(
    distance: list[Any], relevant: list[Any], said: str
) -> None:
    for metric in (
        metrics.average_precision,
        lambda d, r: metrics.average_precision_at(d, r, 1),
        lambda d, r: metrics.precision_within(d, r, 1),
        lambda d, r: metrics.recall_at(d, r, 1),
        lambda d, r: metrics.precision_recall_curve(d, r, 1),
    ):
        with pytest.raises(ArgumentError, match=said):
            metric(distance, relevant)


def test_wrong_numbers_are_refused() -> None:
    data = np.array([[0, 1]]), np.array([[True, False]])
    with pytest.raises(ArgumentError, match="radius must be at least 0, not -1"):
        metrics.precision_within(*data, radius=-1)
    with pytest.raises(ArgumentError, match="radius must be at least 0"):
        metrics.recall_within(*data, radius=-1)
    with pytest.raises(ArgumentError, match="radius must be at least 0"):
        metrics.ball_size(data[0], radius=-1)
    with pytest.raises(ArgumentError, match="0 or more, not -1"):
        metrics.ball_size([[-1]], radius=1)
    with pytest.raises(ArgumentError, match="k must be at least 1, not 0"):
        metrics.precision_at(*data, k=0)
    with pytest.raises(ArgumentError, match="k must be at least 1"):
        metrics.recall_at(*data, k=-3)
    with pytest.raises(ArgumentError, match="cutoff must be at least 1"):
        metrics.average_precision_at(*data, cutoff=0)
    unknown: Any = "all"
    with pytest.raises(ArgumentError, match=r"denominator must be .* not 'all'"):
        metrics.map_at(*data, 1, unknown)
    with pytest.raises(ArgumentError, match="above n_bits = 0"):
        metrics.precision_recall_curve(*data, n_bits=0)
    with pytest.raises(ArgumentError, match="confidence must lie between 0 and 1"):
        metrics.bootstrap_interval([1.0], confidence=95)
    with pytest.raises(ArgumentError, match="resamples must be at least 1"):
        metrics.bootstrap_interval([1.0], resamples=0)
    for values in (1.0, [[1.0]]):
        with pytest.raises(ArgumentError, match="one value a query"):
            metrics.mean(values)


def test_padding_is_refused_before_it_fills_the_memory() -> None:
    padded = np.array([[3, np.iinfo(np.int32).max]])
    with pytest.raises(ArgumentError, match="leave padding out"):
        metrics.average_precision(padded, padded == 3)


def test_histograms_that_do_not_fit_are_refused() -> None:
    four = DistanceHistogram.of([[0]], [[True]], n_bits=4)
    eight = DistanceHistogram.of([[0]], [[True]], n_bits=8)
    with pytest.raises(ArgumentError, match="cannot be added"):
        four + eight
    with pytest.raises(ArgumentError, match="same n_bits"):
        DistanceHistogram.concatenate([four, eight])
    with pytest.raises(ArgumentError, match="one block or more"):
        DistanceHistogram.concatenate([])
    with pytest.raises(ArgumentError, match="shape"):
        DistanceHistogram(four.items, eight.relevant)
    with pytest.raises(ArgumentError, match="between 0 and items"):
        DistanceHistogram(four.items, four.items + 1)
