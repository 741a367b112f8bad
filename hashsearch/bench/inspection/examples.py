"""Queries to look at: those that rank best and worst, with what they find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ImageError
from hashsearch.gallery.distinct import nearest_others
from hashsearch.images import read_image, thumbnail

if TYPE_CHECKING:
    from hashsearch.bench.inspection.queries import Drawn
    from hashsearch.gallery import Gallery, Matches
    from hashsearch.metrics import DistanceHistogram

__all__ = ["Example", "choose_examples", "picture"]

_MATCHES = 8


@dataclass(frozen=True)
class Example:
    """A query, how well its neighbours rank, and the first of the other items.

    Attributes:
        row: of the item that asks.
        average_precision: over the items that were searched.
        precision: the share of its ball that is of its type.
        recall: the share of its type that is in its ball.
        matches: the best others of the whole gallery by the one order.
    """

    row: int
    average_precision: float
    precision: float
    recall: float
    matches: Matches


def choose_examples(
    gallery: Gallery,
    drawn: Drawn,
    labels: npt.NDArray[np.int32],
    histogram: DistanceHistogram,
    *,
    radius: int,
    n_each: int = 5,
) -> tuple[list[Example], list[Example]]:
    """The worst and the best queries by average precision, one of a type.

    Without that rule all would be of one type: the hardest, and the easiest.

    Args:
        gallery: whose items.
        drawn: the queries.
        labels: ``int32 (n,)``, of every row of the gallery.
        histogram: of those queries.
        radius: of the ball, in bits.
        n_each: how many, at most.

    Returns:
        The worst, the very worst first, and the best, the very best first. Where types are few,
        a query may be among both.
    """
    average = histogram.average_precision()
    precision, recall = histogram.precision_within(radius), histogram.recall_within(radius)
    defined = np.flatnonzero(~np.isnan(average))
    # Of equal ones, those with the better ball are better.
    ascending = defined[np.lexsort((recall[defined], precision[defined], average[defined]))]
    types = labels[drawn.queries]

    def shown(order: npt.NDArray[np.int64]) -> list[Example]:
        chosen = _one_a_type(order, types, n_each)
        rows = drawn.queries[chosen]
        found = nearest_others(gallery, gallery.codes(rows), _MATCHES, radius, own=rows)
        figures = (average[chosen], precision[chosen], recall[chosen])
        columns = (rows.tolist(), *(values.tolist() for values in figures), found)
        return [Example(*facts) for facts in zip(*columns, strict=True)]

    return shown(ascending), shown(ascending[::-1])


def picture(gallery: Gallery, row: int) -> bytes | None:
    """A small JPEG of an item: its thumbnail, else one of its file, else None."""
    stored = gallery.thumbnail(row)
    if stored is not None:
        return stored
    (path,) = gallery.paths([row])
    try:
        return None if path is None else thumbnail(read_image(path))
    except ImageError:
        return None


def _one_a_type(
    order: npt.NDArray[np.int64], types: npt.NDArray[np.int32], most: int
) -> npt.NDArray[np.int64]:
    """The first query of each type in this order, so many at most."""
    _, first = np.unique(types[order], return_index=True)
    return order[np.sort(first)[:most]]
