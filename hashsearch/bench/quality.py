"""How good the codes of a gallery are, from codes and labels alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.codes import hamming_distance, split_codes
from hashsearch.errors import ArgumentError
from hashsearch.metrics import DistanceHistogram, bootstrap_interval, mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hashsearch.datasets.neighbours import Facts, NeighbourRule

__all__ = [
    "count_distances",
    "count_neighbours",
    "estimate",
    "json_number",
    "listed",
    "one_order_keys",
    "one_order_map",
    "order_blocks",
    "per_query",
    "quality",
    "quality_of",
    "recall_of_own",
    "recalls_of_own",
    "same_item_recall",
]

Codes = npt.NDArray[np.uint8]
Labels = npt.NDArray[Any]

_BLOCK = 2**22  # distances held at once: 16 MB of int32
_CUTS = (10, 100)
_SAME_ITEM_CUTS = (1, 10)
_DIGITS = 4


def estimate(values: npt.NDArray[np.float64], *, seed: int = 0) -> dict[str, Any]:
    """The mean over queries with its 95 % bootstrap interval, ready for JSON.

    Args:
        values: ``float64 (q,)``, NaN where undefined.
        seed: of the bootstrap.

    Returns:
        ``value``, ``low``, ``high`` (None where no query is defined), ``defined`` and
        ``undefined``, the numbers of queries.

    >>> estimate(np.array([1.0, 1.0, np.nan]))
    {'value': 1.0, 'low': 1.0, 'high': 1.0, 'defined': 2, 'undefined': 1}
    """
    average = mean(values)
    low, high = bootstrap_interval(values, seed=seed)
    return {
        "value": json_number(average.value),
        "low": json_number(low),
        "high": json_number(high),
        "defined": average.defined,
        "undefined": average.undefined,
    }


def count_distances(
    queries: Codes, query_labels: Labels, gallery: Codes, gallery_labels: Labels, n_bits: int
) -> DistanceHistogram:
    """Gallery items, and those of the query's own class, at each semantic distance.

    Distances are taken to the distinct semantic codes alone and weighted by how many
    items, and how many of each class, share a code: the same counts as over all items,
    at a fraction of the work where many share one.

    Args:
        queries: ``uint8 (q, code_bytes)``.
        query_labels: ``(q,)``, of the dtype of ``gallery_labels``.
        gallery: ``uint8 (n, code_bytes)``.
        gallery_labels: ``(n,)``.
        n_bits: length of the semantic code.

    Raises:
        ArgumentError: numbers of codes and labels that differ.
    """
    if len(queries) != len(query_labels) or len(gallery) != len(gallery_labels):
        raise ArgumentError(
            f"{len(queries)} queries with {len(query_labels)} labels and {len(gallery)} items "
            f"with {len(gallery_labels)}: give one label each"
        )
    distinct, code_of = np.unique(split_codes(gallery, n_bits)[0], axis=0, return_inverse=True)
    # bincount takes weights as float64, which is exact for counts below 2**53.
    items_of_code = np.bincount(code_of).astype(np.float64)
    classes, class_of = np.unique(gallery_labels, return_inverse=True)
    in_class = [
        np.unique(code_of[class_of == number], return_counts=True) for number in range(len(classes))
    ]
    own_class = {label: number for number, label in enumerate(classes.tolist())}
    semantic = split_codes(queries, n_bits)[0]

    items = np.zeros((len(queries), n_bits + 1), dtype=np.int64)
    relevant = np.zeros_like(items)
    step = max(1, _BLOCK // len(distinct))
    labels = query_labels.tolist()
    for start in range(0, len(queries), step):
        block = hamming_distance(semantic[start : start + step], distinct)
        for query, distance in enumerate(block, start):
            items[query] = np.bincount(distance, items_of_code, n_bits + 1)
            number = own_class.get(labels[query])
            if number is not None:
                rows, counts = in_class[number]
                relevant[query] = np.bincount(distance[rows], counts, n_bits + 1)
    return DistanceHistogram(items, relevant)


def count_neighbours(
    queries: Codes,
    asked: Facts,
    gallery: Codes,
    known: Facts,
    *,
    n_bits: int,
    rule: NeighbourRule,
) -> DistanceHistogram:
    """As :func:`count_distances`, by any rule: every pair of query and item is looked at.

    Args:
        queries: ``uint8 (q, code_bytes)``.
        asked: what is known of the queries.
        gallery: ``uint8 (n, code_bytes)``.
        known: what is known of its items, numbered alike.
        n_bits: length of the semantic code.
        rule: who is a neighbour of whom.
    """
    semantic, searched = (split_codes(codes, n_bits)[0] for codes in (queries, gallery))
    step = max(1, _BLOCK // max(len(searched), 1))
    blocks = []
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        distance = hamming_distance(semantic[rows], searched)
        blocks.append(DistanceHistogram.of(distance, rule.relevance(asked[rows], known), n_bits))
    return DistanceHistogram.concatenate(blocks)


def quality(
    queries: Codes,
    query_labels: Labels,
    gallery: Codes,
    gallery_labels: Labels,
    *,
    n_bits: int,
    radius: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Ranking and ball by the semantic code; items of the query's class are its neighbours.

    Args:
        queries: ``uint8 (q, code_bytes)``.
        query_labels: ``(q,)``.
        gallery: ``uint8 (n, code_bytes)``.
        gallery_labels: ``(n,)``.
        n_bits: length of the semantic code.
        radius: of the ball, in bits.
        seed: of the bootstrap.

    Returns:
        Ready for JSON: ``map`` (tie-aware), ``precision_within``, ``recall_within``,
        ``precision_at`` (by k), each as :func:`estimate` gives it; ``empty_balls`` (a
        share), ``mean_ball_size`` (items); ``curve``: mean precision and recall within
        each radius from 0 to ``n_bits``.
    """
    histogram = count_distances(queries, query_labels, gallery, gallery_labels, n_bits)
    return quality_of(histogram, radius=radius, seed=seed)


def quality_of(
    histogram: DistanceHistogram, *, radius: int, seed: int = 0, neighbours: str = "same-type"
) -> dict[str, Any]:
    """As :func:`quality`, of what :func:`count_distances` counted by that rule of neighbours."""
    n_items = int(histogram.items[0].sum())
    balls = histogram.ball_size(radius)
    precision, recall = histogram.precision_recall_curve()
    return {
        "neighbours": neighbours,
        "queries": len(histogram.items),
        "items": n_items,
        "radius": radius,
        "map": estimate(histogram.average_precision(), seed=seed),
        "precision_within": estimate(histogram.precision_within(radius), seed=seed),
        "recall_within": estimate(histogram.recall_within(radius), seed=seed),
        "empty_balls": float(np.mean(balls == 0)),
        "mean_ball_size": float(np.mean(balls)),
        "precision_at": {
            str(k): estimate(histogram.precision_at(k), seed=seed) for k in _CUTS if k <= n_items
        },
        "curve": {
            "radius": list(range(len(precision))),
            "precision": [json_number(value) for value in precision],
            "recall": [json_number(value) for value in recall],
        },
    }


def per_query(histogram: DistanceHistogram, radius: int) -> dict[str, list[float | None]]:
    """The figures by which systems are compared, one value a query, to four digits.

    Args:
        histogram: of the distances.
        radius: of the ball, in bits.

    Returns:
        ``average_precision``, ``precision_within`` and ``recall_within``, None where undefined.
        Ready for JSON.
    """
    return {
        "average_precision": listed(histogram.average_precision()),
        "precision_within": listed(histogram.precision_within(radius)),
        "recall_within": listed(histogram.recall_within(radius)),
    }


def listed(values: npt.NDArray[np.float64]) -> list[float | None]:
    """One value a query, to four digits, None where it is NaN; ready for JSON."""
    return [None if np.isnan(value) else round(float(value), _DIGITS) for value in values]


def one_order_keys(
    queries: Codes, gallery: Codes, n_bits: int, radius: int
) -> npt.NDArray[np.int32]:
    """The place of every item in the one order, as one integer; equal where only ids decide.

    Args:
        queries: ``uint8 (q, code_bytes)``.
        gallery: ``uint8 (n, code_bytes)``.
        n_bits: length of the semantic code.
        radius: of the ball, in bits.

    Returns:
        ``int32 (q, n)``: bits outside the ball, times the code's length plus one, plus
        the full distance.
    """
    query_parts, gallery_parts = split_codes(queries, n_bits), split_codes(gallery, n_bits)
    distance = hamming_distance(query_parts[0], gallery_parts[0])
    full = distance + hamming_distance(query_parts[1], gallery_parts[1])
    outside: npt.NDArray[np.int32] = np.maximum(distance - radius, 0)
    outside *= 8 * queries.shape[1] + 1
    outside += full
    return outside


def one_order_map(
    queries: Codes,
    query_labels: Labels,
    gallery: Codes,
    gallery_labels: Labels,
    *,
    n_bits: int,
    radius: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Tie-aware mAP of the order that a search returns: ball first, then the whole code.

    Takes and returns what :func:`quality` does, of ``map`` alone. It looks at every pair
    of query and item, so it is for galleries of thousands.
    """
    step = max(1, _BLOCK // (16 * len(gallery)))
    values = [
        DistanceHistogram.of(
            one_order_keys(queries[start : start + step], gallery, n_bits, radius),
            query_labels[start : start + step, None] == gallery_labels[None, :],
        ).average_precision()
        for start in range(0, len(queries), step)
    ]
    return estimate(np.concatenate(values), seed=seed)


def same_item_recall(
    views: Codes,
    items: npt.NDArray[np.int64],
    gallery: Codes,
    *,
    n_bits: int,
    radius: int,
    seed: int = 0,
) -> dict[str, Any]:
    """How often the very item of a deformed view is among the first 1 and 10.

    By the one order. The items that tie with it share the places they take: it is among
    the first k in the share of their orders where it comes that early.

    Args:
        views: ``uint8 (q, code_bytes)``, codes of the views.
        items: ``int64 (q,)``, the gallery item that each view shows.
        gallery: ``uint8 (n, code_bytes)``.
        n_bits: length of the semantic code.
        radius: of the ball, in bits.
        seed: of the bootstrap.

    Returns:
        ``recall_at`` by k, each as :func:`estimate` gives it; ready for JSON.
    """
    recalls = recalls_of_own(order_blocks(views, gallery, n_bits, radius), items)
    return {"radius": radius, **recall_of_own(recalls, len(gallery), seed=seed)}


def order_blocks(
    queries: Codes, gallery: Codes, n_bits: int, radius: int
) -> Iterator[npt.NDArray[np.int32]]:
    """:func:`one_order_keys`, block by block of queries: ``int32 (b, n)``."""
    step = max(1, _BLOCK // len(gallery))
    for start in range(0, len(queries), step):
        yield one_order_keys(queries[start : start + step], gallery, n_bits, radius)


def recalls_of_own(
    blocks: Iterable[npt.NDArray[np.int32]], items: npt.NDArray[np.int64]
) -> dict[int, npt.NDArray[np.float64]]:
    """Whether the one item that a query shows is among the first 1 and 10, in expectation.

    Args:
        blocks: ``int32 (b, n)``, the place of every item in the order of a search, equal
            where they tie; block by block of queries.
        items: ``int64 (q,)``, the item that each query shows.

    Returns:
        By k, ``float64 (q,)``: the share of the orders of ties in which it is.
    """
    before, tied = [], []
    start = 0
    for keys in blocks:
        own = np.take_along_axis(keys, items[start : start + len(keys), None], axis=1)
        before.append((keys < own).sum(axis=1))
        tied.append((keys == own).sum(axis=1))
        start += len(keys)
    ahead, ties = np.concatenate(before), np.concatenate(tied)
    return {k: np.clip((k - ahead) / ties, 0.0, 1.0) for k in _SAME_ITEM_CUTS}


def recall_of_own(
    recalls: dict[int, npt.NDArray[np.float64]], n_items: int, *, seed: int = 0
) -> dict[str, Any]:
    """What :func:`recalls_of_own` found, over all queries.

    Args:
        recalls: by k, ``float64 (q,)``.
        n_items: the size of the gallery.
        seed: of the bootstrap.

    Returns:
        ``recall_at`` by k, as :func:`estimate` gives it, and the rule; ready for JSON.
    """
    return {
        "neighbours": "same-item",
        "queries": len(next(iter(recalls.values()))),
        "items": n_items,
        "recall_at": {str(k): estimate(values, seed=seed) for k, values in recalls.items()},
    }


def json_number(value: float) -> float | None:
    """The value, or None where it is NaN, which JSON cannot hold."""
    return None if math.isnan(value) else float(value)
