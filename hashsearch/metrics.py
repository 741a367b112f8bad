"""How good a ranking by Hamming distance is: one value a query.

Every metric takes ``distance int (q, n)``, in bits, and ``relevant bool (q, n)`` and
returns ``float64 (q,)``, NaN where it is undefined for a query. A query depends on its
own row alone, so chunks of queries can be measured apart and concatenated.

The items at one distance are tied. All metrics but :func:`average_precision_at` give the
expectation over every order of the tied items, so the order of the gallery cannot change
them. They need no more than the number of items and of relevant items at each distance:
a :class:`DistanceHistogram`, which holds ``2 * (n_bits + 1)`` counts a query, whatever the
size of the gallery. Where ``(q, n)`` does not fit in memory, count it in blocks, join the
blocks of queries with :meth:`DistanceHistogram.concatenate` and add up the blocks of the
gallery with ``+``; its methods are the metrics of the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import digamma

from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DistanceHistogram",
    "Mean",
    "average_precision",
    "average_precision_at",
    "ball_size",
    "bootstrap_interval",
    "map_at",
    "mean",
    "mean_average_precision",
    "mean_precision_within",
    "mean_recall_within",
    "precision_at",
    "precision_recall_curve",
    "precision_within",
    "recall_at",
    "recall_within",
]

Counts: TypeAlias = npt.NDArray[np.int64]
Values: TypeAlias = npt.NDArray[np.float64]

# Pixel distances (28 * 28 * 255) fit; a 2**31 - 1 that pads a short result does not.
_MAX_DISTANCE = 2**20


@dataclass(frozen=True, eq=False)
class DistanceHistogram:
    """The items and the relevant items at each distance from each query.

    Attributes:
        items: ``int64 (q, n_bits + 1)``; column d counts the gallery items at distance d.
        relevant: ``int64 (q, n_bits + 1)``; those of them that are relevant.

    Raises:
        ArgumentError: the shapes differ, or some count is negative or above its items.
    """

    items: Counts
    relevant: Counts

    def __post_init__(self) -> None:
        if self.items.ndim != 2 or self.items.shape != self.relevant.shape:
            raise ArgumentError(
                f"items {self.items.shape} and relevant {self.relevant.shape} must both "
                "have the shape (queries, n_bits + 1)"
            )
        if np.any(self.relevant < 0) or np.any(self.relevant > self.items):
            raise ArgumentError("relevant must lie between 0 and items at every distance")

    @classmethod
    def of(
        cls, distance: npt.ArrayLike, relevant: npt.ArrayLike, n_bits: int | None = None
    ) -> DistanceHistogram:
        """Count one block of queries against one block of the gallery.

        Args:
            distance: ``int (q, n)``, in bits.
            relevant: ``bool (q, n)``.
            n_bits: the largest distance that can be, the same for all blocks that are to be
                joined; the largest in ``distance`` if not given.

        Raises:
            ArgumentError: wrong shape or dtype, or a distance outside 0 to ``n_bits``.

        >>> DistanceHistogram.of([[0, 2, 2]], [[True, False, True]], n_bits=3)
        DistanceHistogram(items=array([[1, 0, 2, 0]]), relevant=array([[1, 0, 1, 0]]))
        """
        distance, relevant = _checked(distance, relevant)
        largest = int(distance.max(initial=0))
        if n_bits is None:
            n_bits = largest
        if largest > n_bits:
            raise ArgumentError(
                f"distance goes up to {largest}, above n_bits = {n_bits}; pass the number of "
                "bits that were compared"
            )
        if n_bits > _MAX_DISTANCE:
            raise ArgumentError(
                f"a distance of {n_bits} is no count of bits (at most {_MAX_DISTANCE}); "
                "leave padding out before measuring"
            )
        counts = np.empty((len(distance), n_bits + 1, 2), dtype=np.int64)
        for query, row in enumerate(distance):
            # One pass counts both kinds: strangers at 2 * distance, relevant ones after them.
            key = 2 * row.astype(np.intp) + relevant[query]
            counts[query] = np.bincount(key, minlength=2 * (n_bits + 1)).reshape(-1, 2)
        return cls(counts.sum(axis=2), counts[:, :, 1].copy())

    @classmethod
    def concatenate(cls, blocks: Sequence[DistanceHistogram]) -> DistanceHistogram:
        """Join blocks of queries that were counted against the same gallery.

        Raises:
            ArgumentError: no block, or blocks of different ``n_bits``.
        """
        if len({block.items.shape[1] for block in blocks}) != 1:
            raise ArgumentError("concatenate needs one block or more, all of the same n_bits")
        return cls(
            np.concatenate([block.items for block in blocks]),
            np.concatenate([block.relevant for block in blocks]),
        )

    def __add__(self, other: DistanceHistogram) -> DistanceHistogram:
        """The same queries against both blocks of the gallery together."""
        if self.items.shape != other.items.shape:
            raise ArgumentError(
                f"histograms of shapes {self.items.shape} and {other.items.shape} cannot be "
                "added; count the same queries with the same n_bits"
            )
        return DistanceHistogram(self.items + other.items, self.relevant + other.relevant)

    def average_precision(self) -> Values:
        """``float64 (q,)``: see :func:`average_precision`."""
        t, r = self.items, self.relevant
        items_before = np.cumsum(t, axis=1) - t
        relevant_before = np.cumsum(r, axis=1) - r
        # The i-th of t tied items is relevant with probability r / t, and then expects
        # R + 1 + a (i - 1) relevant items up to itself among N + i items. Written as
        # a (N + i) + (R + 1 - a (N + 1)), the sum over i needs no more than 1 / (N + i).
        a = (r - 1) / np.maximum(t - 1, 1)
        tied = a * t + (relevant_before + 1 - a * (items_before + 1)) * _harmonic(items_before, t)
        expected = np.sum(r / np.maximum(t, 1) * tied, axis=1)
        return _ratio(expected, r.sum(axis=1), empty=np.nan)

    def ball_size(self, radius: int) -> Counts:
        """``int64 (q,)``: see :func:`ball_size`."""
        return _up_to(radius, self.items)

    def precision_within(self, radius: int) -> Values:
        """``float64 (q,)``: see :func:`precision_within`."""
        found = _up_to(radius, self.relevant)
        return _ratio(found, self.ball_size(radius), empty=0.0)

    def recall_within(self, radius: int) -> Values:
        """``float64 (q,)``: see :func:`recall_within`."""
        found = _up_to(radius, self.relevant)
        return _ratio(found, self.relevant.sum(axis=1), empty=np.nan)

    def precision_at(self, k: int) -> Values:
        """``float64 (q,)``: see :func:`precision_at`."""
        return self._expected_relevant(k) / k

    def recall_at(self, k: int) -> Values:
        """``float64 (q,)``: see :func:`recall_at`."""
        return _ratio(self._expected_relevant(k), self.relevant.sum(axis=1), empty=np.nan)

    def precision_recall_curve(self) -> tuple[Values, Values]:
        """Twice ``float64 (n_bits + 1,)``: see :func:`precision_recall_curve`."""
        radii = range(self.items.shape[1])
        precision = [mean(self.precision_within(radius)).value for radius in radii]
        recall = [mean(self.recall_within(radius)).value for radius in radii]
        return np.array(precision), np.array(recall)

    def _expected_relevant(self, k: int) -> Values:
        """``float64 (q,)``: the relevant items expected among the nearest k."""
        _at_least(1, k=k)
        end = np.cumsum(self.items, axis=1)
        taken = np.minimum(end, k) - np.minimum(end - self.items, k)
        # Multiplied first: a distance that is taken whole then counts exactly.
        expected: Values = np.sum(taken * self.relevant / np.maximum(self.items, 1), axis=1)
        return expected


def average_precision(distance: npt.ArrayLike, relevant: npt.ArrayLike) -> Values:
    """Tie-aware average precision over the full ranking.

    ``AP = 1 / P * sum over relevant items of (relevant up to it) / (its rank)``, P being all
    relevant items of the query. Ties: the exact expectation over every order of the items
    at equal distance: for t of them, r relevant, after N items with R relevant, the sum over
    i = 1..t of ``r / t * (R + 1 + (i - 1) (r - 1) / (t - 1)) / (N + i)``. Empty: NaN where a
    query has no relevant item.

    Args:
        distance: ``int (q, n)``, in bits.
        relevant: ``bool (q, n)``.

    Returns:
        ``float64 (q,)``, from 0 to 1.

    Raises:
        ArgumentError: wrong shape or dtype, or a negative distance.

    Source: McSherry & Najork, "Computing information retrieval performance measures
    efficiently in the presence of tied scores", ECIR 2008.

    The first two items are tied: the relevant one is first or second, 1/1 or 1/2 in equal
    parts; the other relevant one is third, 2/3.

    >>> average_precision([[0, 0, 1], [0, 1, 2]], [[True, False, True], [False] * 3])
    array([0.70833333,        nan])
    """
    return DistanceHistogram.of(distance, relevant).average_precision()


def average_precision_at(
    distance: npt.ArrayLike,
    relevant: npt.ArrayLike,
    cutoff: int,
    denominator: Literal["hits", "relevant"] = "hits",
) -> Values:
    """Average precision of the first ``cutoff`` items, as published tables compute it.

    The sum of :func:`average_precision` over the relevant items among the first ``cutoff``,
    divided by their number (``"hits"``: what deep-hashing code does, so that finding fewer
    can score higher) or by the smaller of ``cutoff`` and all relevant items
    (``"relevant"``). Ties: broken by position in the gallery, so shuffling the gallery
    changes the value. Empty: NaN where a query has no relevant item in the gallery, 0 where
    it has some but none among the first ``cutoff`` (published code is divided: some counts 0,
    some leaves the query out).

    Args:
        distance: ``int (q, n)``, in bits.
        relevant: ``bool (q, n)``.
        cutoff: the R of mAP@R, at least 1; above n the whole ranking counts.
        denominator: ``"hits"`` or ``"relevant"``.

    Returns:
        ``float64 (q,)``, from 0 to 1.

    Raises:
        ArgumentError: wrong shape or dtype, a negative distance, a cutoff below 1, an
            unknown denominator.

    Source: the evaluation code of HashNet (Cao et al., ICCV 2017) for ``"hits"``.

    >>> average_precision_at([[0, 1, 2, 3]], [[True, False, True, True]], cutoff=2)
    array([1.])
    >>> average_precision_at([[0, 1, 2, 3]], [[True, False, True, True]], 2, "relevant")
    array([0.5])
    """
    distance, relevant = _checked(distance, relevant)
    _at_least(1, cutoff=cutoff)
    if denominator not in ("hits", "relevant"):
        raise ArgumentError(f'denominator must be "hits" or "relevant", not {denominator!r}')
    # NumPy's stable sort is a radix sort, many times faster, up to 16 bits.
    narrow = np.uint16 if distance.max(initial=0) < 2**16 else distance.dtype
    values = np.full(len(distance), np.nan)
    for query in np.flatnonzero(relevant.any(axis=1)):
        first = np.argsort(distance[query].astype(narrow), kind="stable")[:cutoff]
        ranks = np.flatnonzero(relevant[query, first]) + 1
        hits = total = len(ranks)
        if denominator == "relevant":
            total = min(cutoff, int(np.count_nonzero(relevant[query])))
        values[query] = np.sum(np.arange(1, hits + 1) / ranks) / max(total, 1)
    return values


def ball_size(distance: npt.ArrayLike, radius: int) -> Counts:
    """The number of gallery items in the ball, ``distance <= radius``.

    The share of empty balls is ``np.mean(ball_size(distance, radius) == 0)``.

    Args:
        distance: ``int (q, n)``, in bits.
        radius: in bits, at least 0.

    Returns:
        ``int64 (q,)``.

    Raises:
        ArgumentError: wrong shape or dtype, a negative distance or radius.

    >>> ball_size([[0, 2, 3], [3, 4, 5]], radius=2)
    array([2, 0])
    """
    array, _ = _checked(distance, np.zeros(np.shape(distance), dtype=bool))
    within: Counts = np.sum(array <= _at_least(0, radius=radius), axis=1, dtype=np.int64)
    return within


def precision_within(distance: npt.ArrayLike, relevant: npt.ArrayLike, radius: int) -> Values:
    """The share of the ball that is relevant.

    ``relevant items with distance <= radius / all items with distance <= radius``. Ties:
    none is cut. Empty: an empty ball has precision 0 (report the share of empty balls
    beside it, see :func:`ball_size`).

    Args:
        distance: ``int (q, n)``, in bits.
        relevant: ``bool (q, n)``.
        radius: in bits, at least 0.

    Returns:
        ``float64 (q,)``, from 0 to 1.

    Raises:
        ArgumentError: wrong shape or dtype, a negative distance or radius.

    Source: the "precision within Hamming radius 2" of deep hashing, e.g. Cao et al., "Deep
    Cauchy hashing for Hamming space retrieval", CVPR 2018.

    >>> precision_within([[0, 2, 3], [3, 4, 5]], [[True, False, True], [True] * 3], radius=2)
    array([0.5, 0. ])
    """
    return DistanceHistogram.of(distance, relevant).precision_within(radius)


def recall_within(distance: npt.ArrayLike, relevant: npt.ArrayLike, radius: int) -> Values:
    """The share of the relevant items that lies in the ball.

    ``relevant items with distance <= radius / all relevant items``. Ties: none is cut.
    Empty: an empty ball has recall 0; NaN where a query has no relevant item.

    Args, returns, raises and source: as :func:`precision_within`.

    >>> recall_within([[0, 2, 3], [3, 4, 5]], [[True, False, True], [False] * 3], radius=2)
    array([0.5, nan])
    """
    return DistanceHistogram.of(distance, relevant).recall_within(radius)


def precision_at(distance: npt.ArrayLike, relevant: npt.ArrayLike, k: int) -> Values:
    """The share of the k nearest items that is relevant.

    ``relevant items among the nearest k / k``; the denominator is k even where the gallery
    has fewer items, as TREC does. Ties: the expectation over their order, so of t items at
    the distance of the cut, r relevant, m of which still fit, ``m * r / t`` count. Empty: 0
    where a query has no relevant item.

    Args:
        distance: ``int (q, n)``, in bits.
        relevant: ``bool (q, n)``.
        k: at least 1.

    Returns:
        ``float64 (q,)``, from 0 to 1.

    Raises:
        ArgumentError: wrong shape or dtype, a negative distance, a k below 1.

    Source: McSherry & Najork 2008, as :func:`average_precision`; ``P_k`` of trec_eval.

    >>> precision_at([[0, 1, 1]], [[True, True, False]], k=2)
    array([0.75])
    """
    return DistanceHistogram.of(distance, relevant).precision_at(k)


def recall_at(distance: npt.ArrayLike, relevant: npt.ArrayLike, k: int) -> Values:
    """The share of the relevant items that is among the k nearest.

    ``relevant items among the nearest k / all relevant items``. Ties: as
    :func:`precision_at`. Empty: NaN where a query has no relevant item. With one relevant
    item a query it is the probability to find that item.

    Args, returns, raises and source: as :func:`precision_at`.

    >>> recall_at([[0, 1, 1]], [[True, True, False]], k=2)
    array([0.75])
    """
    return DistanceHistogram.of(distance, relevant).recall_at(k)


def precision_recall_curve(
    distance: npt.ArrayLike, relevant: npt.ArrayLike, n_bits: int
) -> tuple[Values, Values]:
    """Mean precision and mean recall within each radius from 0 to ``n_bits``.

    Point r is the mean of :func:`precision_within` and the mean of :func:`recall_within` at
    radius r, over the queries where each is defined; ties and empty balls as there.

    Args:
        distance: ``int (q, n)``, in bits.
        relevant: ``bool (q, n)``.
        n_bits: the number of bits that were compared.

    Returns:
        precision and recall, each ``float64 (n_bits + 1,)``; NaN where no query is defined.

    Raises:
        ArgumentError: wrong shape or dtype, or a distance outside 0 to ``n_bits``.

    >>> precision_recall_curve([[0, 1, 2]], [[True, False, True]], n_bits=2)
    (array([1.        , 0.5       , 0.66666667]), array([0.5, 0.5, 1. ]))
    """
    return DistanceHistogram.of(distance, relevant, n_bits).precision_recall_curve()


@dataclass(frozen=True)
class Mean:
    """A mean over queries that says how many it left out.

    Attributes:
        value: mean of the defined values; NaN if there is none.
        defined: how many queries it averages.
        undefined: how many queries had no value (NaN).
    """

    value: float
    defined: int
    undefined: int


def mean(values: npt.ArrayLike) -> Mean:
    """Average what is defined and count what is not.

    Args:
        values: ``float (q,)``, NaN where undefined.

    Raises:
        ArgumentError: not one-dimensional.

    >>> mean([1.0, 0.5, float("nan")])
    Mean(value=0.75, defined=2, undefined=1)
    """
    defined, undefined = _defined(values)
    value = float(defined.mean()) if defined.size else float("nan")
    return Mean(value, defined.size, undefined)


def mean_average_precision(distance: npt.ArrayLike, relevant: npt.ArrayLike) -> Mean:
    """The :func:`mean` of :func:`average_precision`: mAP.

    >>> mean_average_precision([[0, 1], [0, 1]], [[False, True], [False, False]])
    Mean(value=0.5, defined=1, undefined=1)
    """
    return mean(average_precision(distance, relevant))


def map_at(
    distance: npt.ArrayLike,
    relevant: npt.ArrayLike,
    cutoff: int,
    denominator: Literal["hits", "relevant"] = "hits",
) -> Mean:
    """The :func:`mean` of :func:`average_precision_at`: mAP@R, to compare with papers only.

    >>> map_at([[0, 1, 2], [0, 1, 2]], [[True, False, True], [False, False, True]], cutoff=2)
    Mean(value=0.5, defined=2, undefined=0)
    """
    return mean(average_precision_at(distance, relevant, cutoff, denominator))


def mean_precision_within(distance: npt.ArrayLike, relevant: npt.ArrayLike, radius: int) -> Mean:
    """The :func:`mean` of :func:`precision_within`, empty balls counted as 0.

    >>> mean_precision_within([[0, 1], [3, 4]], [[True, True], [True, True]], radius=2)
    Mean(value=0.5, defined=2, undefined=0)
    """
    return mean(precision_within(distance, relevant, radius))


def mean_recall_within(distance: npt.ArrayLike, relevant: npt.ArrayLike, radius: int) -> Mean:
    """The :func:`mean` of :func:`recall_within`.

    >>> mean_recall_within([[0, 3], [0, 3]], [[True, True], [False, False]], radius=2)
    Mean(value=0.5, defined=1, undefined=1)
    """
    return mean(recall_within(distance, relevant, radius))


def bootstrap_interval(
    values: npt.ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean over queries.

    Draws as many queries as are defined, with replacement, ``resamples`` times, and cuts
    ``(1 - confidence) / 2`` of the means off at each end. It covers the choice of queries,
    not the spread between training runs. Empty: NaN values are left out, as by
    :func:`mean`; (NaN, NaN) if none is defined.

    Args:
        values: ``float (q,)``, NaN where undefined.
        confidence: between 0 and 1.
        resamples: at least 1.
        seed: the same seed draws the same queries.

    Returns:
        low and high, in the unit of ``values``.

    Raises:
        ArgumentError: not one-dimensional, or a confidence or resamples out of range.

    Source: Efron & Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.

    >>> low, high = bootstrap_interval([0.0, 1.0] * 50)
    >>> round(low, 2), round(high, 2)
    (0.4, 0.6)
    """
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence must lie between 0 and 1, not {confidence}")
    _at_least(1, resamples=resamples)
    defined, _ = _defined(values)
    if not defined.size:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    means = [
        defined[generator.integers(defined.size, size=defined.size)].mean()
        for _ in range(resamples)
    ]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _checked(
    distance: npt.ArrayLike, relevant: npt.ArrayLike
) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.bool_]]:
    """Both as arrays ``(q, n)``, or an error that says what is wrong."""
    distance, relevant = np.asarray(distance), np.asarray(relevant)
    if distance.ndim != 2 or distance.dtype.kind not in "iu":
        raise ArgumentError(
            "distance must be an integer array of shape (queries, items), not "
            f"{distance.dtype} {distance.shape}"
        )
    if relevant.shape != distance.shape or relevant.dtype != np.bool_:
        raise ArgumentError(
            f"relevant must be a bool array of the shape of distance, {distance.shape}, not "
            f"{relevant.dtype} {relevant.shape}"
        )
    if distance.min(initial=0) < 0:
        raise ArgumentError(
            f"distance must be 0 or more, not {distance.min()}; leave padding out before measuring"
        )
    return distance, relevant


def _at_least(least: int, **named: int) -> int:
    """The one value given by name, or an error that names it."""
    ((name, value),) = named.items()
    if value < least:
        raise ArgumentError(f"{name} must be at least {least}, not {value}")
    return value


def _defined(values: npt.ArrayLike) -> tuple[Values, int]:
    """The values that are not NaN, and how many are."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ArgumentError(f"values must have one value a query, not the shape {array.shape}")
    defined = array[~np.isnan(array)]
    return defined, array.size - defined.size


def _up_to(radius: int, counts: Counts) -> Counts:
    """``int64 (q,)``: what is counted at a distance of at most ``radius``."""
    total: Counts = counts[:, : _at_least(0, radius=radius) + 1].sum(axis=1)
    return total


def _ratio(numerator: Counts | Values, denominator: Counts, empty: float) -> Values:
    """``numerator / denominator``, and ``empty`` where the denominator is 0."""
    out: Values = np.full(denominator.shape, empty)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def _harmonic(before: Counts, count: Counts) -> Values:
    """``1 / (before + 1) + ... + 1 / (before + count)``."""
    # The difference of two digammas loses its digits as they grow; that of their asymptotic
    # series is one log1p, short of digamma by less than 1e-14 from 1,000 on.
    middle = before + 0.5
    series = np.log1p(count / middle) + ((middle + count) ** -2.0 - middle**-2.0) / 24
    exact = digamma(before + count + 1.0) - digamma(before + 1.0)
    difference: Values = np.where(before < 1000, exact, series)
    return difference
