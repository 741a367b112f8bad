"""What one system does with one task: an encoder's codes, or plain pixel differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from hashsearch.bench.quality import (
    count_distances,
    estimate,
    quality_of,
    recall_of_own,
    same_item_recall,
)
from hashsearch.metrics import DistanceHistogram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashsearch.bench.protocols import Task
    from hashsearch.encoder import Encoder

__all__ = ["evaluate_encoder", "evaluate_pixel_sad"]

_BLOCK = 2**22  # distances held at once: 32 MB of float64
_CUTS = (10, 100)
_DIGITS = 6


def evaluate_encoder(task: Task, encoder: Encoder, *, radius: int) -> dict[str, Any]:
    """Quality of an encoder's codes on a task.

    Args:
        task: what searches, and what is searched.
        encoder: that takes images of this size.
        radius: of the ball, in bits.

    Returns:
        As :func:`hashsearch.bench.quality.quality` gives it, with
        ``average_precision``, one value a query, None where undefined; or, where the
        neighbours are the same item, as
        :func:`hashsearch.bench.quality.same_item_recall` does. Ready for JSON.
    """
    queries = encoder.encode_pixels(task.queries[:, None])
    gallery = encoder.encode_pixels(task.gallery.pixels)
    n_bits = encoder.n_bits
    if task.items is not None:
        return same_item_recall(queries, task.items, gallery, n_bits=n_bits, radius=radius)
    histogram = count_distances(queries, task.query_labels, gallery, task.gallery.labels, n_bits)
    return {
        **quality_of(histogram, radius=radius),
        "average_precision": _listed(histogram.average_precision()),
    }


def evaluate_pixel_sad(task: Task) -> dict[str, Any]:
    """Quality of the sum of absolute pixel differences: no code, no ball, nothing learned.

    Args:
        task: what searches, and what is searched.

    Returns:
        What :func:`evaluate_encoder` does, without what belongs to a ball.
    """
    if task.items is not None:
        return recall_of_own(_pixel_distances(task), task.items, len(task.gallery))
    precisions: list[npt.NDArray[np.float64]] = []
    first: dict[int, list[npt.NDArray[np.float64]]] = {k: [] for k in _CUTS}
    start = 0
    for distance in _pixel_distances(task):
        labels = task.query_labels[start : start + len(distance)]
        relevant = labels[:, None] == task.gallery.labels[None, :]
        # Ranks in place of distances: a histogram of 200,000 grey levels has nothing to tell.
        histogram = DistanceHistogram.of(_dense(distance), relevant)
        precisions.append(histogram.average_precision())
        for k, blocks in first.items():
            blocks.append(histogram.precision_at(k))
        start += len(distance)
    values = np.concatenate(precisions)
    return {
        "neighbours": "same-type",
        "queries": len(task.queries),
        "items": len(task.gallery),
        "map": estimate(values),
        "precision_at": {str(k): estimate(np.concatenate(parts)) for k, parts in first.items()},
        "average_precision": _listed(values),
    }


def _pixel_distances(task: Task) -> Iterator[npt.NDArray[np.int32]]:
    """``int32 (b, n)``, block by block of queries."""
    gallery = task.gallery.images.reshape(len(task.gallery), -1)
    queries = task.queries.reshape(len(task.queries), -1)
    step = max(1, _BLOCK // len(gallery))
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        yield cdist(block, gallery, "cityblock").astype(np.int32)


def _dense(distance: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The rank of each distance among the different ones of its row, from 0."""
    return np.stack([np.unique(row, return_inverse=True)[1] for row in distance])


def _listed(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), _DIGITS) for value in values]
