"""What one system does with one task: an encoder's codes, or plain pixel differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from hashsearch.bench.pairs import judged_pairs
from hashsearch.bench.quality import (
    count_neighbours,
    estimate,
    listed,
    order_blocks,
    per_query,
    quality_of,
    recall_of_own,
    recalls_of_own,
)
from hashsearch.metrics import DistanceHistogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hashsearch.bench.protocols import Task
    from hashsearch.encoder import Encoder

__all__ = ["EVALUATION", "evaluate_encoder", "evaluate_pixel_sad"]

EVALUATION = 2
"""To be raised whenever a task or a figure comes to mean something else: what was measured
before is then measured anew."""

_BLOCK = 2**22  # distances held at once: 32 MB of float64
_CUTS = (10, 100)


def evaluate_encoder(task: Task, encoder: Encoder, *, radius: int) -> dict[str, Any]:
    """Quality of an encoder's codes on a task.

    Args:
        task: what searches, and what is searched.
        encoder: that takes images of this size.
        radius: of the ball, in bits.

    Returns:
        As :func:`hashsearch.bench.quality.quality` gives it, or, where queries are views of
        gallery items, as :func:`hashsearch.bench.quality.same_item_recall` does, or, where people
        judged pairs, as :func:`hashsearch.bench.pairs.judged_pairs`; and ``per_query``: by figure
        (``average_precision``, ``precision_within`` and ``recall_within``, or ``recall_at_1`` and
        ``recall_at_10``, or none) one value a query, to four digits, None where undefined. Ready
        for JSON.
    """
    gallery = encoder.encode_pixels(task.gallery.pixels)
    n_bits = encoder.n_bits
    if task.pairs is not None:
        measured = judged_pairs(gallery, task.pairs, n_bits=n_bits, radius=radius)
        return {**measured, "per_query": {}}
    queries = encoder.encode_pixels(task.queries.pixels)
    if task.items is not None:
        blocks = order_blocks(queries, gallery, n_bits, radius)
        return {"radius": radius, **_same_item(blocks, task.items, len(gallery))}
    histogram = count_neighbours(
        queries,
        task.queries.facts,
        gallery,
        task.gallery.facts,
        n_bits=n_bits,
        rule=task.rule,
    )
    return {
        **quality_of(histogram, radius=radius, neighbours=str(task.rule)),
        "per_query": per_query(histogram, radius),
    }


def evaluate_pixel_sad(task: Task) -> dict[str, Any]:
    """Quality of the sum of absolute pixel differences: no code, no ball, nothing learned.

    Args:
        task: what searches, and what is searched.

    Returns:
        What :func:`evaluate_encoder` does, without what belongs to a ball.
    """
    if task.items is not None:
        return _same_item(_pixel_distances(task), task.items, len(task.gallery))
    precisions: list[npt.NDArray[np.float64]] = []
    first: dict[int, list[npt.NDArray[np.float64]]] = {k: [] for k in _CUTS}
    asked, known = task.queries.facts, task.gallery.facts
    start = 0
    for distance in _pixel_distances(task):
        rows = np.arange(start, start + len(distance))
        relevant = task.rule.relevance(asked[rows], known)
        # Ranks in place of distances: a histogram of 200,000 grey levels has nothing to tell.
        histogram = DistanceHistogram.of(_dense(distance), relevant)
        precisions.append(histogram.average_precision())
        for k, blocks in first.items():
            blocks.append(histogram.precision_at(k))
        start += len(distance)
    values = np.concatenate(precisions)
    return {
        "neighbours": str(task.rule),
        "queries": len(task.queries),
        "items": len(task.gallery),
        "map": estimate(values),
        "precision_at": {str(k): estimate(np.concatenate(parts)) for k, parts in first.items()},
        "per_query": {"average_precision": listed(values)},
    }


def _same_item(
    blocks: Iterable[npt.NDArray[np.int32]], items: npt.NDArray[np.int64], n_items: int
) -> dict[str, Any]:
    recalls = recalls_of_own(blocks, items)
    values = {f"recall_at_{k}": listed(shares) for k, shares in recalls.items()}
    return {**recall_of_own(recalls, n_items), "per_query": values}


def _pixel_distances(task: Task) -> Iterator[npt.NDArray[np.int32]]:
    """``int32 (b, n)``, block by block of queries."""
    gallery = task.gallery.images.reshape(len(task.gallery), -1)
    queries = task.queries.images.reshape(len(task.queries), -1)
    step = max(1, _BLOCK // len(gallery))
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        yield cdist(block, gallery, "cityblock").astype(np.int32)


def _dense(distance: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The rank of each distance among the different ones of its row, from 0."""
    return np.stack([np.unique(row, return_inverse=True)[1] for row in distance])
