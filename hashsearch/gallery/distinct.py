"""Searches that give each article once: a catalogue has several photos of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError
from hashsearch.gallery.content import ITEM, column_datasets

if TYPE_CHECKING:
    from hashsearch.gallery.gallery import Gallery
    from hashsearch.gallery.matches import Matches

__all__ = ["nearest_others"]

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
    found: dict[int, Matches] = {}
    wanted, waiting = k + 1, np.arange(len(codes))
    while len(waiting):
        wanted = min(wanted * (_MORE if distinct else 1), len(gallery))
        still = []
        for query, matches in zip(
            waiting.tolist(), gallery.nearest(codes[waiting], wanted, radius), strict=True
        ):
            kept = _first_of_each(gallery, matches.rows, int(own[query]), distinct=distinct)
            if len(kept) < k and wanted < len(gallery):
                still.append(query)
            else:
                found[query] = matches.take(kept[:k])
        waiting = np.array(still, np.int64)
    return [found[query] for query in range(len(codes))]


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
    datasets = gallery.content.datasets
    numbers_at, _ = column_datasets(ITEM)
    if numbers_at in datasets:
        numbers = datasets[numbers_at][rows].astype(np.int64)
        # Who shows no article shows one of its own.
        return np.where(numbers < 0, -1 - rows, numbers)
    _, numbers = np.unique(gallery.codes(rows), axis=0, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64)
