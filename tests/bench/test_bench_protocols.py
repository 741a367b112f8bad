from __future__ import annotations

import numpy as np
import pytest
from bench_cases import image_set
from hypothesis import given
from hypothesis import strategies as st

from hashsearch.bench.protocols import (
    PROTOCOLS,
    check_no_leak,
    held_out,
    make_task,
    same_item,
    stratified_order,
)
from hashsearch.datasets.image_set import ImageSet
from hashsearch.datasets.parts import unseen_type_names
from hashsearch.errors import ArgumentError, LeakError

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


def set_of(n_items: int, first: str, seed: int = 0) -> ImageSet:
    """Images of five types in turn, whose ids begin with ``first``."""
    pixels = np.random.default_rng(seed).integers(0, 256, (n_items, 4, 4), dtype=np.uint8)
    names = ("ant", "bee", "cat", "dog", "eel")
    ids = tuple(f"{first}-{row}" for row in range(n_items))
    return ImageSet(pixels, np.arange(n_items) % 5, names, ids)


TRAIN, TEST = set_of(100, "train"), set_of(60, "test", 1)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_task_holds_what_its_protocol_says(name: str) -> None:
    protocol = PROTOCOLS[name]
    task = make_task(protocol, TRAIN, TEST, seed=2)
    assert task.protocol is protocol
    assert len(task.queries) == len(task.query_ids) == len(task.query_labels) > 0
    row_of = {image: row for row, image in enumerate(TEST.ids)}
    shown = [row_of[image] for image in task.query_ids]
    if task.items is None:
        assert np.array_equal(task.queries, TEST.images[shown])
        assert not {*task.query_ids} & {*task.gallery.ids}
    else:
        assert [task.gallery.ids[item] for item in task.items] == list(task.query_ids)
    types = [task.gallery.class_names[label] for label in task.query_labels]
    assert types == [TEST.label_names[row] for row in shown]


def test_what_each_protocol_searches() -> None:
    held = make_task(PROTOCOLS["held-out"], TRAIN, TEST)
    assert {*held.query_ids, *held.gallery.ids} == {*TEST.ids}
    seen = make_task(PROTOCOLS["seen-gallery"], TRAIN, TEST)
    assert seen.query_ids == held.query_ids
    assert seen.gallery.ids == TRAIN.ids
    unseen = make_task(PROTOCOLS["unseen-types"], TRAIN, TEST, seed=1)
    assert unseen.gallery.class_names == tuple(unseen_type_names(TEST.class_names, seed=1))
    assert len(unseen.gallery) + len(unseen.queries) == 36
    same = make_task(PROTOCOLS["same-item"], TRAIN, TEST)
    assert same.gallery.ids == TEST.ids


def test_a_leak_is_refused_unless_the_protocol_is_known_for_it() -> None:
    trained_on = {*TRAIN.ids}
    for name in PROTOCOLS:
        check_no_leak(make_task(PROTOCOLS[name], TRAIN, TEST), trained_on)
    held = make_task(PROTOCOLS["held-out"], TRAIN, TEST)
    with pytest.raises(LeakError, match=r"1 of 50 gallery images of held-out took part .* \(test-"):
        check_no_leak(held, {*TRAIN.ids, held.gallery.ids[5]})
    seen = make_task(PROTOCOLS["seen-gallery"], TRAIN, TEST)
    with pytest.raises(LeakError, match="2 of 10 queries of seen-gallery"):
        check_no_leak(seen, {*TRAIN.ids, *seen.query_ids[:2]})
