from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hashsearch.bench.protocols import PROTOCOLS, check_no_leak
from hashsearch.bench.suite_data import make_task
from hashsearch.datasets.image_set import ImageSet
from hashsearch.datasets.neighbours import NEIGHBOUR_RULES
from hashsearch.datasets.parts import unseen_type_names
from hashsearch.errors import ArgumentError, LeakError

if TYPE_CHECKING:
    from pathlib import Path


def set_of(n_items: int, first: str, seed: int = 0) -> ImageSet:
    """Images of five types in turn, whose ids begin with ``first``."""
    pixels = np.random.default_rng(seed).integers(0, 256, (n_items, 4, 4), dtype=np.uint8)
    names = ("ant", "bee", "cat", "dog", "eel")
    ids = tuple(f"{first}-{row}" for row in range(n_items))
    return ImageSet(pixels, np.arange(n_items) % 5, names, ids)


TRAIN, TEST = set_of(100, "train"), set_of(60, "test", 1)
OF_FASHION_MNIST = [name for name, one in PROTOCOLS.items() if one.data == "fashion-mnist"]


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    path = tmp_path / "judged.csv"
    path.write_text("query,gallery,relevant\ntest-7,test-3,1\ntest-2,test-9,0\ntest-7,test-9,1\n")
    return path


@pytest.mark.parametrize("name", OF_FASHION_MNIST)
def test_a_task_holds_what_its_protocol_says(name: str, judged: Path) -> None:
    protocol = PROTOCOLS[name]
    task = make_task(protocol, TRAIN, TEST, seed=2, pairs=judged)
    assert (task.protocol, task.rule) == (protocol, protocol.neighbours)
    row_of = {image: row for row, image in enumerate(TEST.ids)}
    shown = [row_of[image] for image in task.queries.ids]
    if task.items is not None:
        assert [task.gallery.ids[item] for item in task.items] == list(task.queries.ids)
    else:
        assert np.array_equal(task.queries.images, TEST.images[shown])
        if task.pairs is None:
            assert not {*task.queries.ids} & {*task.gallery.ids}
    assert task.queries.label_names == [TEST.label_names[row] for row in shown]
    assert task.queries.class_names == task.gallery.class_names


def test_what_each_protocol_searches(judged: Path) -> None:
    held = make_task(PROTOCOLS["held-out"], TRAIN, TEST)
    assert {*held.queries.ids, *held.gallery.ids} == {*TEST.ids}
    seen = make_task(PROTOCOLS["seen-gallery"], TRAIN, TEST)
    assert seen.queries.ids == held.queries.ids
    assert seen.gallery.ids == TRAIN.ids
    unseen = make_task(PROTOCOLS["unseen-types"], TRAIN, TEST, seed=1)
    assert unseen.gallery.class_names == tuple(unseen_type_names(TEST.class_names, seed=1))
    assert len(unseen.gallery) + len(unseen.queries) == 36
    same = make_task(PROTOCOLS["same-item"], TRAIN, TEST)
    assert same.gallery.ids == TEST.ids
    pairs = make_task(PROTOCOLS["pairs"], TRAIN, TEST, pairs=judged)
    assert pairs.queries.ids == ("test-2", "test-7")
    assert pairs.gallery.ids == TEST.ids
    assert pairs.pairs is not None
    assert pairs.pairs.items.tolist() == [3, 9, 9]


def test_every_protocol_names_a_rule_that_exists_or_leaves_it_to_whoever_measures() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.neighbours is None or protocol.neighbours.name in NEIGHBOUR_RULES
        assert (protocol.neighbours is None) == (
            protocol.data != "fashion-mnist" and "pairs" not in name
        )
        assert protocol.leaks == ("seen" in name.split("-"))


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ArgumentError, match="the protocol pairs needs a file"):
        make_task(PROTOCOLS["pairs"], TRAIN, TEST)
    with pytest.raises(ArgumentError, match="official is no protocol of Fashion-MNIST"):
        make_task(PROTOCOLS["official"], TRAIN, TEST)


def test_a_leak_is_refused_unless_the_protocol_is_known_for_it(judged: Path) -> None:
    def check(name: str, *trained_on: str) -> None:
        task = make_task(PROTOCOLS[name], TRAIN, TEST, pairs=judged)
        check_no_leak(task.protocol, task.queries.ids, task.gallery.ids, {*TRAIN.ids, *trained_on})

    for name in OF_FASHION_MNIST:
        check(name)
    held = make_task(PROTOCOLS["held-out"], TRAIN, TEST)
    with pytest.raises(LeakError, match=r"1 of 50 gallery images of held-out took part .* \(test-"):
        check("held-out", held.gallery.ids[5])
    with pytest.raises(LeakError, match="2 of 10 queries of seen-gallery"):
        check("seen-gallery", *held.queries.ids[:2])
    with pytest.raises(LeakError, match=r"1 of 2 queries of pairs .* \(test-7 is one\)"):
        check("pairs", "test-7")
    with pytest.raises(LeakError, match=r"of official took part .*; train on other images$"):
        check_no_leak(PROTOCOLS["official"], ["a"], ["b"], {"b"})
    check_no_leak(PROTOCOLS["own-split-seen"], ["a"], ["b"], {"a", "b"})
