"""Searches that give each article once, against a plain loop over the whole order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashsearch.errors import ArgumentError
from hashsearch.gallery import Gallery
from hashsearch.gallery import distinct as module
from hashsearch.gallery.distinct import nearest_others

N_BITS, FINE_BITS = 8, 8


def made(seed: int, n_items: int, n_articles: int | None) -> Gallery:
    """Bunched codes; articles for two thirds of the items, or no such column."""
    rng = np.random.default_rng(seed)
    articles = [
        f"article {rng.integers(n_articles or 1)}" if rng.random() < 0.67 else None
        for _ in range(n_items if n_articles else 0)
    ]
    return Gallery.from_codes(
        rng.integers(0, 3, (n_items, 2), dtype=np.uint8),
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        columns={"item": articles} if n_articles else None,
    )


def expected(gallery: Gallery, code: np.ndarray, k: int, own: int, *, distinct: bool) -> list[int]:
    (every,) = gallery.nearest(code[None], len(gallery), 2)
    articles = gallery.column("item")
    codes = [code.tobytes() for code in gallery.codes()]

    def article(row: int) -> object:
        if "item" not in gallery.column_names:
            return codes[row]
        return articles[row] or row

    seen = {article(own)} if distinct and own >= 0 else set()
    found = []
    for row in every.rows.tolist():
        if row == own or (distinct and article(row) in seen):
            continue
        seen.add(article(row))
        found.append(row)
    return found[:k]


@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.sampled_from([None, 1, 4, 30]),
    st.integers(1, 12),
    st.booleans(),
)
def test_the_answer_is_that_of_a_plain_loop(
    seed: int, n_items: int, n_articles: int | None, k: int, distinct: bool
) -> None:
    gallery = made(seed, n_items, n_articles)
    rng = np.random.default_rng(seed + 1)
    own = rng.integers(-1, n_items, 5)
    codes = np.where(
        own[:, None] >= 0,
        gallery.codes(np.maximum(own, 0)),
        rng.integers(0, 3, (5, 2), dtype=np.uint8),
    ).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        # A few matches at once, so that queries are searched in parts.
        patch.setattr(module, "_MATCHES", 20)
        found = nearest_others(gallery, codes, k, own=own, distinct=distinct)
    assert [match.rows.tolist() for match in found] == [
        expected(gallery, code, k, row, distinct=distinct)
        for code, row in zip(codes, own.tolist(), strict=True)
    ]


def test_the_ball_is_that_of_all_items() -> None:
    gallery = made(0, 40, 3)
    (match,) = nearest_others(gallery, gallery.codes([0]), 2, distinct=True)
    assert match.ball_size.tolist() == gallery.nearest(gallery.codes([0]), 1).ball_size.tolist()
    assert len(match) == 1
    assert match.offsets.tolist() == [0, 2]


def test_fewer_than_one_match_is_refused() -> None:
    gallery = made(0, 4, None)
    with pytest.raises(ArgumentError, match="k must be 1 or more"):
        nearest_others(gallery, gallery.codes([0]), 0)
