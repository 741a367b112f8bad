"""Searches that give each article once: a catalogue has several photos of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError
from hashsearch.gallery.content import ITEM

if TYPE_CHECKING:
    from hashsearch.gallery.gallery import Gallery
    from hashsearch.gallery.matches import Matches

__all__ = ["nearest_others"]

_MATCHES = 1 << 20  # held at once, of some 24 bytes each
_MORE = 4  # times as many are searched for as are wanted, and again as long as they do not do


def nearest_others(
    gallery: Gallery,
    codes: npt.NDArray[np.uint8],
    k: int = 10,
    radius: int = 2,
    *,
    own: npt.NDArray[np.int64] | None = None,
    distinct: bool = False,
) -> list[Matches]:
    """The best ``k`` items of each query by the one order, without some of them.

    Args:
        gallery: to search.
        codes: ``uint8 (q, code_bytes)``.
        k: how many; fewer where there are no more.
        radius: of the ball, in bits of the semantic code.
        own: ``int64 (q,)``, the row of the item that each query is, or -1; it is left out, and
            with ``distinct`` whatever shows its article, too.
        distinct: of each article the best match alone. Articles are the same where the column
            ``item`` says so; in a gallery without that column, where the whole codes are equal.

    Returns:
        The matches of each query, as of a single one; the size of its ball is that of all.

    Raises:
        ArgumentError: ``k`` below 1.
    """
    if k < 1:
        raise ArgumentError(f"k must be 1 or more, not {k}")
    own = np.full(len(codes), -1, np.int64) if own is None else own
    most = _n_articles(gallery) if distinct else len(gallery)
    found: dict[int, Matches] = {}
    wanted, waiting = min(k, most) + 1, np.arange(len(codes))
    while len(waiting):
        wanted = min(wanted * (_MORE if distinct else 1), len(gallery))
        still = []
        # So many matches are held at once, however many queries there are.
        step = max(_MATCHES // wanted, 1)
        for start in range(0, len(waiting), step):
            some = waiting[start : start + step]
            matches = gallery.nearest(codes[some], wanted, radius)
            for query, match in zip(some.tolist(), matches, strict=True):
                row = int(own[query])
                kept = _first_of_each(gallery, match.rows, row, distinct=distinct)
                # What it shows itself is none of the others; a gallery that gives fewer than are
                # wanted has no more to give.
                more = len(match.rows) == wanted < len(gallery)
                if more and len(kept) < min(k, most - (row >= 0)):
                    still.append(query)
                else:
                    found[query] = match.take(kept[:k])
        waiting = np.array(still, np.int64)
    return [found[query] for query in range(len(codes))]


def _n_articles(gallery: Gallery) -> int:
    """How many there are, at most."""
    if ITEM not in gallery.column_names:
        return len(gallery)
    numbers = gallery.content.numbers(ITEM)
    return len(np.unique(numbers[numbers >= 0])) + int((numbers < 0).sum())


def _first_of_each(
    gallery: Gallery, rows: npt.NDArray[np.int64], own: int, *, distinct: bool
) -> npt.NDArray[np.int64]:
    """Which of these rows stay, ascending: ``int64 (kept,)``, places in ``rows``."""
    if not distinct:
        return np.flatnonzero(rows != own)
    with_own = rows if own < 0 else np.append(own, rows)
    articles = _articles(gallery, with_own)
    first = np.sort(np.unique(articles, return_index=True)[1])
    return first if own < 0 else first[first > 0] - 1


def _articles(gallery: Gallery, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A number for each row, the same for the same article."""
    if ITEM in gallery.column_names:
        numbers = gallery.content.numbers(ITEM)[rows].astype(np.int64)
        # Who shows no article shows one of its own.
        return np.where(numbers < 0, -1 - rows, numbers)
    _, numbers = np.unique(gallery.codes(rows), axis=0, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64)
