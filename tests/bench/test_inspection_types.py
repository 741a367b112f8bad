"""Who asks, and what the balls of each type hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bench_cases import class_codes
from tiny_encoder import FINE_BITS, N_BITS

from hashsearch.bench.inspection.confusion import measure_confusion
from hashsearch.bench.inspection.queries import draw_queries
from hashsearch.codes import hamming_distance, split_codes
from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Sequence


def gallery_of(labels: Sequence[str | None] | None = None, n_items: int = 200) -> Gallery:
    codes, names = class_codes(n_items)
    return Gallery.from_codes(
        codes,
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        labels=names.tolist() if labels is None else labels,
    )


def test_queries_are_as_many_of_each_type_and_search_the_others() -> None:
    gallery = gallery_of()
    drawn = draw_queries(gallery, 20)
    counts = np.unique(np.array(gallery.labels(drawn.queries)), return_counts=True)[1]
    assert counts.tolist() == [5, 5, 5, 5]
    assert sorted([*drawn.queries, *drawn.searched]) == list(range(200))
    assert drawn.notes == ()
    assert draw_queries(gallery, 20, seed=1).queries.tolist() != drawn.queries.tolist()


def test_queries_do_not_depend_on_the_codes() -> None:
    gallery = gallery_of()
    other = Gallery.from_codes(
        np.random.default_rng(0).permutation(gallery.codes()),
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        ids=gallery.ids(),
        labels=gallery.labels(),
    )
    asked, again = (sorted(of.ids(draw_queries(of, 40).queries)) for of in (gallery, other))
    assert asked == again


def test_no_more_queries_than_asked_for_where_types_are_many() -> None:
    labels = [f"type {row % 40}" for row in range(200)]
    drawn = draw_queries(gallery_of(labels), 10)
    assert len(drawn.queries) == 10


def test_items_without_a_label_neither_ask_nor_are_searched() -> None:
    labels = [*["coat"] * 100, *["bag"] * 60, *["hat"] * 3, *[None] * 37]
    gallery = gallery_of(labels)
    drawn = draw_queries(gallery, 20)
    assert None not in gallery.labels([*drawn.queries, *drawn.searched])
    assert "hat" not in gallery.labels(drawn.queries)
    assert [note[:35] for note in drawn.notes] == [
        "37 of 200 items have no label: what",
        "types of fewer than five items, whi",
    ]


def test_of_many_items_a_sample_is_searched_and_told() -> None:
    codes = np.zeros((101_010, 1), np.uint8)
    for labels in (None, ["a"] * len(codes)):
        gallery = Gallery.from_codes(codes, n_bits=8, fine_bits=0, labels=labels)
        drawn = draw_queries(gallery, 1_000)
        assert (len(drawn.queries), len(drawn.searched)) == (1_000, 100_000)
        assert not set(drawn.queries.tolist()) & set(drawn.searched.tolist())
        assert drawn.notes[-1].startswith("distances are those of 1,000 items to a sample")


@pytest.mark.parametrize(
    ("labels", "why"), [([None] * 20, "no item has a label"), (["a", "b"] * 2, "no type has five")]
)
def test_without_types_any_item_asks(labels: list[str | None], why: str) -> None:
    drawn = draw_queries(gallery_of(labels, len(labels)), 3)
    assert drawn.labels is None
    assert drawn.notes[0].startswith(why)
    assert 1 <= len(drawn.queries) <= 3
    assert sorted([*drawn.queries, *drawn.searched]) == list(range(len(labels)))


@pytest.mark.parametrize("radius", [0, 2, 5])
def test_the_matrix_is_the_mean_composition_of_the_balls(radius: int) -> None:
    gallery = gallery_of()
    drawn = draw_queries(gallery, 40)
    assert drawn.labels is not None
    confusion = measure_confusion(gallery, drawn, drawn.labels, radius)
    asked, searched = (
        split_codes(gallery.codes(rows), N_BITS)[0] for rows in (drawn.queries, drawn.searched)
    )
    inside = hamming_distance(asked, searched) <= radius
    expected = np.zeros((4, 4))
    counts = np.zeros(4, int)
    for query, ball in zip(drawn.queries, inside, strict=True):
        if ball.any():
            own = drawn.labels[query]
            held = np.bincount(drawn.labels[drawn.searched[ball]], minlength=4)
            expected[own] += held / held.sum()
            counts[own] += 1
    assert confusion.queries.tolist() == counts.tolist()
    np.testing.assert_allclose(
        confusion.share.toarray(), expected / np.maximum(counts, 1)[:, None], atol=1e-12
    )


def test_confused_types_are_listed_the_most_confused_first() -> None:
    # Coats and dresses have one code; one dress in five is a bag by its code.
    codes = np.zeros((300, 1), np.uint8)
    labels = ["bag"] * 100 + ["coat"] * 100 + ["dress"] * 100
    codes[:100] = codes[280:] = 255
    gallery = Gallery.from_codes(codes, n_bits=8, fine_bits=0, labels=labels)
    drawn = draw_queries(gallery, 60)
    assert drawn.labels is not None
    confusion = measure_confusion(gallery, drawn, drawn.labels, 0)
    pairs = confusion.pairs()
    assert {pairs[0].asked, pairs[0].found} == {"coat", "dress"}
    assert [pair.share for pair in pairs] == sorted((p.share for p in pairs), reverse=True)
    assert confusion.pairs(least_queries=21) == []
    names, shown = confusion.among(2)
    assert names == ["coat", "dress"]
    assert shown.shape == (2, 2)
    assert confusion.among(20)[0] == ["bag", "coat", "dress"]
