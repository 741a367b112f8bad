from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from bench_cases import class_codes
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoder import FINE_BITS, N_BITS

from hashsearch.bench.quality import (
    count_distances,
    estimate,
    one_order_keys,
    one_order_map,
    quality,
    same_item_recall,
)
from hashsearch.codes import hamming_distance, pack_bits
from hashsearch.errors import ArgumentError
from hashsearch.metrics import DistanceHistogram, average_precision


def bits_apart(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int:
    return sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(one, other, strict=True))


@given(
    st.integers(1, 60),
    st.integers(1, 8),
    st.integers(2, 5),
    st.sampled_from([8, 16, 24]),
    st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_counting_over_distinct_codes_equals_counting_over_items(
    n_items: int, n_queries: int, n_classes: int, n_bits: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    few = pack_bits(rng.random((5, n_bits + 8)) < 0.5)
    gallery, queries = few[rng.integers(0, 5, n_items)], few[rng.integers(0, 5, n_queries)]
    labels, asked = rng.integers(0, n_classes, n_items), rng.integers(0, n_classes + 1, n_queries)
    counted = count_distances(queries, asked, gallery, labels, n_bits)
    distance = hamming_distance(queries[:, : n_bits // 8], gallery[:, : n_bits // 8])
    expected = DistanceHistogram.of(distance, asked[:, None] == labels[None, :], n_bits)
    assert np.array_equal(counted.items, expected.items)
    assert np.array_equal(counted.relevant, expected.relevant)


def test_quality_equals_slow_loops() -> None:
    gallery, labels = class_codes(300, seed=1)
    queries, asked = class_codes(40, seed=2)
    radius, width = 2, N_BITS // 8
    measured = quality(queries, asked, gallery, labels, n_bits=N_BITS, radius=radius)
    precision, recall, empty, sizes = [], [], 0, []
    for query, label in zip(queries, asked, strict=True):
        ball = [bits_apart(query[:width], code[:width]) <= radius for code in gallery]
        right = sum(inside and other == label for inside, other in zip(ball, labels, strict=True))
        sizes.append(sum(ball))
        empty += not any(ball)
        precision.append(right / sum(ball) if any(ball) else 0.0)
        recall.append(right / int((labels == label).sum()))
    distance = hamming_distance(queries[:, :width], gallery[:, :width])
    assert measured["map"]["value"] == pytest.approx(
        average_precision(distance, asked[:, None] == labels[None, :]).mean()
    )
    assert measured["precision_within"]["value"] == pytest.approx(np.mean(precision))
    assert measured["recall_within"]["value"] == pytest.approx(np.mean(recall))
    assert measured["empty_balls"] == pytest.approx(empty / len(queries))
    assert measured["mean_ball_size"] == pytest.approx(np.mean(sizes))
    assert measured["curve"]["precision"][radius] == measured["precision_within"]["value"]
    assert measured["curve"]["recall"][-1] == 1.0
    assert measured["map"]["low"] <= measured["map"]["value"] <= measured["map"]["high"]
    assert measured["neighbours"] == "same-type"


def test_a_query_of_an_unknown_class_has_no_neighbours_and_is_counted_apart() -> None:
    gallery, labels = class_codes(50)
    asked = np.array([labels[0], "hat"])
    measured = quality(gallery[:2], asked, gallery, labels, n_bits=N_BITS, radius=2)
    assert measured["map"]["defined"] == 1
    assert measured["map"]["undefined"] == 1
    assert estimate(np.array([np.nan]))["value"] is None


def test_codes_without_a_label_each_are_refused() -> None:
    codes, labels = class_codes(10)
    with pytest.raises(ArgumentError, match="one label each"):
        count_distances(codes, labels, codes, labels[:-1], N_BITS)


@pytest.mark.parametrize("radius", [0, 2, 5])
def test_the_keys_sort_as_the_one_order(radius: int) -> None:
    gallery, _ = class_codes(60, seed=3)
    query, _ = class_codes(1, seed=4)
    width = N_BITS // 8
    order = [
        (
            max(bits_apart(query[0, :width], code[:width]) - radius, 0),
            bits_apart(query[0], code),
        )
        for code in gallery
    ]
    keys = one_order_keys(query, gallery, N_BITS, radius)[0].tolist()
    assert keys == [outside * (N_BITS + FINE_BITS + 1) + full for outside, full in order]


def test_the_map_of_the_one_order_is_that_of_its_keys() -> None:
    gallery, labels = class_codes(80, seed=3)
    queries, asked = class_codes(10, seed=4)
    measured = one_order_map(queries, asked, gallery, labels, n_bits=N_BITS, radius=2)
    keys = one_order_keys(queries, gallery, N_BITS, 2)
    expected = average_precision(keys, asked[:, None] == labels[None, :])
    assert measured["value"] == pytest.approx(expected.mean())


def test_same_item_recall_is_the_expectation_over_ties() -> None:
    gallery = pack_bits(np.zeros((20, 40), dtype=bool))
    gallery[5] = 255
    views, items = gallery[[3, 5]], np.array([3, 5])
    recall = same_item_recall(views, items, gallery, n_bits=N_BITS, radius=2)["recall_at"]
    # Item 3 is one of 19 equal ones; item 5 is alone with its code.
    assert recall["1"]["value"] == pytest.approx((1 / 19 + 1) / 2)
    assert recall["10"]["value"] == pytest.approx((10 / 19 + 1) / 2)


def test_same_item_recall_equals_shuffling_and_sorting() -> None:
    gallery, _ = class_codes(60, fine_bits=8, seed=5)
    rng = np.random.default_rng(6)
    items = np.arange(0, 60, 3)
    views = gallery[items] ^ pack_bits(rng.random((20, N_BITS + 8)) < 0.1)
    keys = one_order_keys(views, gallery, N_BITS, 2)
    measured = same_item_recall(views, items, gallery, n_bits=N_BITS, radius=2)["recall_at"]
    hits = []
    for _ in range(400):
        shuffled = rng.permutation(60)
        ranked = shuffled[np.argsort(keys[:, shuffled], axis=1, kind="stable")]
        hits.append([(ranked[:, :k] == items[:, None]).any(axis=1).mean() for k in (1, 10)])
    assert [measured["1"]["value"], measured["10"]["value"]] == pytest.approx(
        np.mean(hits, axis=0), abs=0.02
    )
