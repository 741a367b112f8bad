"""What validation says of a semantic code: one figure, alike for all that is trained or fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.codes import hamming_distance, pack_bits
from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.errors import TrainingError
from hashsearch.metrics import mean_average_precision

if TYPE_CHECKING:
    from hashsearch.datasets.neighbours import Facts

__all__ = ["validation_map", "validation_queries"]

_QUERIES = 1000
_SAME_TYPE = NeighbourRule()


def validation_queries(facts: Facts, rule: NeighbourRule = _SAME_TYPE) -> npt.NDArray[np.bool_]:
    """Which validation images query the others: ``bool (n,)``.

    Every so many images of a type (or of an article, where that makes neighbours) do, whatever
    order they came in. Where attributes make neighbours, chance says which do, always alike.

    Args:
        facts: of the ``n`` validation images.
        rule: who is a neighbour of whom.

    Raises:
        TrainingError: no query would find a neighbour.
    """
    queries = np.zeros(len(facts), dtype=bool)
    stride = max(len(facts) // _QUERIES, 2)
    if rule.name == "shared-attributes":
        order = np.random.default_rng(0).permutation(len(facts))
    else:
        order = np.argsort(facts.items if rule.name == "same-item" else facts.types, kind="stable")
    queries[order[::stride]] = True
    if not rule.relevance(facts[np.flatnonzero(queries)], facts[np.flatnonzero(~queries)]).any():
        what = "no two of one type" if rule == _SAME_TYPE else f"no two neighbours by {rule}"
        raise TrainingError(
            f"{len(facts)} validation images with {what} cannot choose the best epoch; give more "
            "of them, or another rule with --neighbours"
        )
    return queries


def validation_map(
    bits: npt.NDArray[np.bool_],
    facts: Facts,
    queries: npt.NDArray[np.bool_],
    rule: NeighbourRule = _SAME_TYPE,
) -> float:
    """Mean average precision of the validation images, tie-aware.

    Args:
        bits: of the semantic code, ``bool (n, n_bits)``.
        facts: of the images.
        queries: which images query the others, ``bool (n,)``.
        rule: which images are relevant to each other.

    Returns:
        The mean over the queries that have a relevant image.

    Raises:
        TrainingError: none has.
    """
    codes = pack_bits(bits)
    relevant = rule.relevance(facts[np.flatnonzero(queries)], facts[np.flatnonzero(~queries)])
    if not relevant.any():
        raise TrainingError(
            f"of {len(facts)} validation images that can be read no two are neighbours by {rule}; "
            "mend the files, or give more of them"
        )
    distance = hamming_distance(codes[queries], codes[~queries])
    return mean_average_precision(distance, relevant).value
