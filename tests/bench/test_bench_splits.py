from __future__ import annotations

import numpy as np
import pytest
from bench_cases import image_set
from hypothesis import given
from hypothesis import strategies as st

from hashsearch.bench.splits import held_out, same_item, stratified_order
from hashsearch.errors import ArgumentError

LABELS = st.lists(st.integers(0, 4), min_size=30, max_size=200)


@given(LABELS, st.integers(1, 50), st.integers(0, 5))
def test_held_out_parts_the_items_and_takes_its_share_of_each_class(
    labels: list[int], per_class: int, seed: int
) -> None:
    split = held_out(labels, per_class, seed)
    both = np.concatenate([split.queries, split.gallery])
    assert sorted(both.tolist()) == list(range(len(labels)))
    for label in set(labels):
        chosen = sum(labels[item] == label for item in split.queries)
        assert chosen == min(per_class, labels.count(label) // 5)


@given(LABELS)
def test_held_out_is_the_same_for_names_and_numbers(labels: list[int]) -> None:
    names = ["zebra", "yak", "ant", "fox", "newt"]
    by_name = held_out([names[label] for label in labels], seed=3)
    assert np.array_equal(by_name.queries, held_out(labels, seed=3).queries)


def test_held_out_over_ten_classes_of_a_thousand_is_the_headline_protocol() -> None:
    split = held_out(np.arange(10_000) % 10)
    assert len(split.queries) == 1000
    assert len(split.gallery) == 9000
    assert np.array_equal(np.bincount(split.queries % 10), np.full(10, 100))
    assert not np.array_equal(split.queries, held_out(np.arange(10_000) % 10, seed=1).queries)


def test_what_cannot_be_held_out_is_refused() -> None:
    with pytest.raises(ArgumentError, match="five items"):
        held_out([0, 0, 0, 0, 1, 1])
    with pytest.raises(ArgumentError, match="per_class"):
        held_out([0] * 10, per_class=0)
    with pytest.raises(ArgumentError, match="labels"):
        held_out([])


@given(LABELS, st.integers(0, 5))
def test_every_prefix_of_the_stratified_order_is_a_fair_sample(
    labels: list[int], seed: int
) -> None:
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    shares = np.bincount(labels) / len(labels)
    for length in (len(labels) // 3, len(labels) // 2):
        counts = np.bincount(np.array(labels)[order[:length]], minlength=len(shares))
        assert np.abs(counts - shares * length).max() <= len(shares)


def test_same_item_shows_each_item_at_most_once_and_remembers_which() -> None:
    images = image_set().images
    task = same_item(images, n_queries=50, seed=5)
    again = same_item(images, n_queries=50, seed=5)
    assert len(np.unique(task.items)) == 50
    assert np.array_equal(task.views, again.views)
    away = np.abs(task.views.astype(int)[:, None] - images[task.items][None]).mean(axis=(2, 3))
    assert np.mean(away.argmin(axis=1) == np.arange(50)) > 0.5
    assert len(same_item(images, n_queries=10**6).items) == len(images)
    with pytest.raises(ArgumentError, match="n_queries"):
        same_item(images, n_queries=0)
