"""The `pairs` protocol: whether judgements of people agree with the ball."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.quality import json_number
from hashsearch.bench.statistics import pooled_shares
from hashsearch.codes import hamming_distance, split_codes
from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from hashsearch.bench.statistics import PooledShares
    from hashsearch.datasets.pairs import JudgedPairs

__all__ = ["judged_pairs", "pair_distances", "separation"]

Distances = npt.NDArray[np.int32]


def pair_distances(
    codes: npt.NDArray[np.uint8], pairs: JudgedPairs, n_bits: int
) -> tuple[Distances, Distances]:
    """The distance and the full distance of each pair.

    Args:
        codes: ``uint8 (n, code_bytes)``.
        pairs: their places are rows of the codes.
        n_bits: length of the semantic code.

    Returns:
        Twice ``int32 (p,)``, in bits: of the semantic codes, and of the whole codes.

    Raises:
        ArgumentError: a row that there is no code for.
    """
    _check_rows(pairs, len(codes))
    distance, full_distance = np.empty((2, len(pairs)), dtype=np.int32)
    order = np.argsort(pairs.queries, kind="stable")
    rows, starts = np.unique(pairs.queries[order], return_index=True)
    for row, members in zip(rows.tolist(), np.split(order, starts[1:]), strict=True):
        query, items = codes[row : row + 1], codes[pairs.items[members]]
        full_distance[members] = hamming_distance(query, items)[0]
        semantic = [split_codes(part, n_bits)[0] for part in (query, items)]
        distance[members] = hamming_distance(*semantic)[0]
    return distance, full_distance


def _check_rows(pairs: JudgedPairs, n_items: int) -> None:
    rows = np.concatenate([pairs.queries, pairs.items])
    wrong = rows[(rows < 0) | (rows >= n_items)]
    if len(wrong):
        raise ArgumentError(
            f"a pair names row {wrong[0]} of {n_items} items; read the pairs with the ids of the "
            "gallery that they judge"
        )


def separation(relevant: npt.ArrayLike, irrelevant: npt.ArrayLike) -> float | None:
    """How well a distance tells relevant pairs from irrelevant ones: the area under the ROC.

    The probability that a relevant pair is nearer than an irrelevant one, both drawn at
    random; at equal distance, half. 1: every relevant pair is nearer; 0.5: chance. Empty: None
    where there is no relevant or no irrelevant pair.

    Args:
        relevant: ``int (d,)``, the relevant pairs at each distance from 0 to ``d - 1``.
        irrelevant: ``int (d,)``, the irrelevant pairs at each distance.

    Source: Hanley & McNeil, "The meaning and use of the area under a receiver operating
    characteristic (ROC) curve", 1982.

    Relevant at 0 and 1, irrelevant at 1 and 2: of 4 comparisons 3 are won and 1 is a tie.

    >>> separation([1, 1, 0], [0, 1, 1])
    0.875
    """
    near, far = np.asarray(relevant, dtype=np.int64), np.asarray(irrelevant, dtype=np.int64)
    comparisons = int(near.sum()) * int(far.sum())
    if not comparisons:
        return None
    beyond = far.sum() - np.cumsum(far)
    return int((near * (2 * beyond + far)).sum()) / (2 * comparisons)


def judged_pairs(
    codes: npt.NDArray[np.uint8],
    pairs: JudgedPairs,
    *,
    n_bits: int,
    radius: int,
    seed: int = 0,
) -> dict[str, Any]:
    """On which side of the radius the judged pairs lie, by the semantic code.

    A relevant pair outside the radius is one that a search of the ball misses: many of them
    refute that people's judgements agree with the codes.

    Args:
        codes: ``uint8 (n, code_bytes)``.
        pairs: their places are rows of the codes.
        n_bits: length of the semantic code.
        radius: of the ball, in bits; ``distance <= radius`` is inside.
        seed: of the bootstrap over queries.

    Returns:
        Ready for JSON: ``neighbours``, the rule; ``file``, ``radius``, the numbers ``pairs``,
        ``queries``, ``relevant``, ``irrelevant``; ``relevant_outside`` and ``irrelevant_inside``:
        shares over all such pairs with their interval (see
        :func:`hashsearch.bench.statistics.pooled_shares`) and the number of ``queries`` with such
        pairs; ``curve``: both shares and their intervals for each radius from 0 to ``n_bits``;
        ``separation`` of ``distance`` and ``full_distance`` (see :func:`separation`);
        ``at_distance``: the numbers of ``relevant`` and ``irrelevant`` pairs at each ``distance``
        and ``full_distance``. None
        where there is nothing to measure.

    Raises:
        ArgumentError: a radius below 0, or a row that there is no code for.
    """
    if radius < 0:
        raise ArgumentError(f"radius must be 0 or more, not {radius}")
    distance, full_distance = pair_distances(codes, pairs, n_bits)
    rows, query = np.unique(pairs.queries, return_inverse=True)
    # int (q, 2, n_bits + 1): of each query the irrelevant and the relevant pairs at each distance.
    place = (2 * query + pairs.relevant) * (n_bits + 1) + distance
    shape = (len(rows), 2, n_bits + 1)
    counts = np.bincount(place, minlength=math.prod(shape)).reshape(shape)
    within = np.cumsum(counts, axis=2)
    of_kind = within[:, :, -1]
    outside = pooled_shares(of_kind[:, 1, None] - within[:, 1], of_kind[:, 1], seed=seed)
    inside = pooled_shares(within[:, 0], of_kind[:, 0], seed=seed)
    used = min(radius, n_bits)
    at_distance = {
        name: {
            kind: np.bincount(bits[pairs.relevant == judged], minlength=longest + 1).tolist()
            for kind, judged in (("relevant", True), ("irrelevant", False))
        }
        for name, bits, longest in (
            ("distance", distance, n_bits),
            ("full_distance", full_distance, 8 * codes.shape[1]),
        )
    }
    return {
        "neighbours": "pairs",
        "file": pairs.name,
        "radius": radius,
        "pairs": len(pairs),
        "queries": len(rows),
        "relevant": int(of_kind[:, 1].sum()),
        "irrelevant": int(of_kind[:, 0].sum()),
        "relevant_outside": _at(used, outside, of_kind[:, 1]),
        "irrelevant_inside": _at(used, inside, of_kind[:, 0]),
        "separation": {name: separation(**kinds) for name, kinds in at_distance.items()},
        "curve": {
            "radius": list(range(n_bits + 1)),
            "relevant_outside": _curve(outside),
            "irrelevant_inside": _curve(inside),
        },
        "at_distance": at_distance,
    }


def _at(radius: int, shares: PooledShares, of_kind: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The share at one radius, of so many pairs of each query."""
    numbers = {name: values[radius] for name, values in _curve(shares).items()}
    return {**numbers, "queries": int(np.count_nonzero(of_kind))}


def _curve(shares: PooledShares) -> dict[str, list[float | None]]:
    """Shares and their intervals as lists that JSON can hold."""
    return {
        name: [json_number(value) for value in values.tolist()]
        for name, values in shares._asdict().items()
    }
