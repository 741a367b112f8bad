"""What validation says of a semantic code: one figure, alike for all that is trained or fitted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hashsearch.codes import hamming_distance, pack_bits
from hashsearch.errors import TrainingError
from hashsearch.metrics import mean_average_precision

__all__ = ["validation_map", "validation_queries"]

_QUERIES = 1000


def validation_queries(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which validation images query the others: ``bool (n,)``.

    Every so many images of a class do, whatever order they came in.

    Args:
        labels: of the validation images, ``int64 (n,)``.

    Raises:
        TrainingError: no query would find an image of its own type.
    """
    queries = np.zeros(len(labels), dtype=bool)
    stride = max(len(labels) // _QUERIES, 2)
    queries[np.argsort(labels, kind="stable")[::stride]] = True
    if not np.intersect1d(labels[queries], labels[~queries]).size:
        raise TrainingError(
            f"{len(labels)} validation images with no two of one type cannot choose the best "
            "epoch; give more of them"
        )
    return queries


def validation_map(
    bits: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.int64],
    queries: npt.NDArray[np.bool_],
) -> float:
    """Mean average precision of the validation images, tie-aware.

    Args:
        bits: of the semantic code, ``bool (n, n_bits)``.
        labels: ``int64 (n,)``; images of one type are relevant to each other.
        queries: which images query the others, ``bool (n,)``.
    """
    codes = pack_bits(bits)
    relevant = labels[queries, None] == labels[None, ~queries]
    distance = hamming_distance(codes[queries], codes[~queries])
    return mean_average_precision(distance, relevant).value
