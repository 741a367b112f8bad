"""What values of some queries and some trainings say of others: intervals and tests.

Every function takes one value, or one count, a query, and is deterministic. The values of
several trainings stand in rows: ``float64 (seeds, q)``, the same queries in every row.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from hashsearch.bench.quality import estimate
from hashsearch.errors import ArgumentError

__all__ = [
    "Interval",
    "OverSeeds",
    "PairedDifference",
    "PairedTest",
    "PooledShares",
    "holm",
    "over_seeds",
    "paired_difference",
    "paired_test",
    "pooled_shares",
]

Values = npt.NDArray[np.float64]

_TAIL = 0.025  # of a 95 % interval, at either end
_RESAMPLES = 2000  # as many as metrics.bootstrap_interval draws
_FLIPS = 99_999
_EXACT_QUERIES = 13  # 2 ** 13 patterns of signs: no more than are drawn beyond
_BLOCK = 2**22  # numbers held at once: 32 MB of float64


class Interval(TypedDict):
    """A mean and the ends of its 95 % interval, ready for JSON; None where unknown."""

    value: float | None
    low: float | None
    high: float | None


class OverSeeds(Interval):
    """A mean over queries and trainings; see :func:`over_seeds`."""

    defined: int
    undefined: int
    seeds: int
    std_across_seeds: float | None
    covers: str


class PairedDifference(Interval):
    """How two methods differ; see :func:`paired_difference`."""

    p_value: float | None


class PairedTest(PairedDifference):
    """How two methods differ on the same queries; see :func:`paired_test`."""

    flips: int
    defined: int
    undefined: int


class PooledShares(NamedTuple):
    """Shares over all pairs with their 95 % intervals; see :func:`pooled_shares`."""

    value: Values
    """``float64 (m,)``, NaN where there is no pair."""
    low: Values
    """``float64 (m,)``, NaN where fewer than two queries have pairs."""
    high: Values
    """``float64 (m,)``, NaN where ``low`` is."""


def over_seeds(values: npt.ArrayLike, *, seed: int = 0) -> OverSeeds:
    """The mean over queries and trainings, with a 95 % interval for both being samples.

    All trainings answer the same queries, so a value is ``m + training + query + rest``,
    with both effects random (crossed). With the mean squares of the two-way analysis of
    variance, T of the s trainings, Q of the q queries and R of the rest, the variance of the
    mean is ``(T + Q - R) / (s q)``; T and Q count as R where they are below it, as no effect
    varies by less than nothing. The interval is the mean plus and minus that variance's root
    times Student's t, of ``(T + Q - R)**2 / (T**2 / (s - 1) + Q**2 / (q - 1) +
    R**2 / ((s - 1) (q - 1)))`` degrees of freedom. A bootstrap over the trainings is no
    substitute: of three it covers less than it says, and one that draws other queries for each
    training takes shared queries for independent ones.

    One training: the bootstrap interval over queries, as :func:`hashsearch.bench.quality.estimate`
    gives it. Nothing is known of other trainings then; ``covers`` says so.

    Empty: a query that is NaN in any training is left out of all, so that the trainings are
    compared on the same queries.

    Args:
        values: ``float (seeds, q)``, at least one seed, NaN where undefined.
        seed: of the bootstrap.

    Returns:
        ``value``, ``low``, ``high`` (None where no query is defined); ``defined`` and
        ``undefined``, the numbers of queries; ``seeds``; ``std_across_seeds``, of the means of
        the trainings, with ``seeds - 1`` below the line (None for one seed); ``covers``,
        ``"queries and trainings"`` or ``"queries"``: what the interval is about.

    Raises:
        ArgumentError: not two-dimensional, or no seed.

    Source: Cornfield & Tukey, "Average values of mean squares in factorials", 1956 (the mean
    squares); Satterthwaite, "An approximate distribution of estimates of variance
    components", 1946 (the degrees of freedom).

    Two trainings, two queries: T = 0.04, Q = 0.01, R = 0. So the variance is 0.05 / 4 and the
    degrees of freedom are 0.0025 / 0.0017, for which t is 6.19.

    >>> summary = over_seeds([[0.4, 0.5], [0.6, 0.7]])
    >>> round(summary["value"], 2), round(summary["std_across_seeds"], 4), summary["covers"]
    (0.55, 0.1414, 'queries and trainings')
    >>> round(summary["low"], 2), round(summary["high"], 2)
    (-0.14, 1.24)
    >>> over_seeds([[1.0, 1.0, np.nan]])["covers"]
    'queries'
    """
    array = _by_seed(values)
    n_seeds, n_queries = array.shape
    defined = array[:, ~np.isnan(array).any(axis=0)]
    value = low = high = spread = None
    if n_seeds == 1:
        summary = estimate(array[0], seed=seed)
        value, low, high = summary["value"], summary["low"], summary["high"]
    elif defined.size:
        value = float(defined.mean())
        low, high = _interval(value, *_crossed_error(defined))
        spread = float(defined.mean(axis=1).std(ddof=1))
    return {
        "value": value,
        "low": low,
        "high": high,
        "defined": defined.shape[1],
        "undefined": n_queries - defined.shape[1],
        "seeds": n_seeds,
        "std_across_seeds": spread,
        "covers": "queries" if n_seeds == 1 else "queries and trainings",
    }


def paired_test(first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0) -> PairedTest:
    """Whether two methods differ on queries like these: a paired sign-flip test.

    The difference of a query is its mean over the trainings of ``first`` less that of
    ``second``. Interval: the percentile bootstrap of the mean difference over queries. p: were
    the methods alike, each difference could as well have the other sign; p is the share of the
    sign patterns whose mean is at least as far from 0, of all of them up to 13 queries, else
    of 99,999 drawn at random and the observed one. It takes the trainings as they are; what
    others would give, :func:`over_seeds` of ``first - second`` says.

    Empty: a query that is NaN in any training of either is left out and counted.

    Args:
        first: ``float (seeds, q)``, NaN where undefined.
        second: ``float (seeds, q)``, the same queries in the same order; the number of seeds
            may differ.
        seed: of the bootstrap and of the sign patterns.

    Returns:
        ``value``, the mean difference, ``low``, ``high`` and ``p_value`` (None where no query
        is defined); ``flips``, the sign patterns that p counts, so that 1 / flips is the least
        it can be; ``defined`` and ``undefined``, the numbers of queries.

    Raises:
        ArgumentError: not two-dimensional, no seed, or different numbers of queries.

    Source: Smucker, Allan & Carterette, "A comparison of statistical significance tests for
    information retrieval evaluation", CIKM 2007; Phipson & Smyth, "Permutation p-values should
    never be zero", 2010 (the observed pattern counts as one drawn).

    Of the 8 sign patterns of three differences, two are all of one sign.

    >>> test = paired_test([[0.5, 0.75, 1.0]], [[0.25, 0.5, 0.25]])
    >>> round(test["value"], 4), test["p_value"], test["flips"]
    (0.4167, 0.25, 8)
    """
    one, other = _by_seed(first), _by_seed(second)
    if one.shape[1] != other.shape[1]:
        raise ArgumentError(
            f"{one.shape[1]} queries cannot be paired with {other.shape[1]}; give both methods "
            "the same queries in the same order"
        )
    difference = one.mean(axis=0) - other.mean(axis=0)
    summary = estimate(difference, seed=seed)
    p_value, flips = _sign_flip(difference[~np.isnan(difference)], seed)
    return {
        "value": summary["value"],
        "low": summary["low"],
        "high": summary["high"],
        "p_value": p_value,
        "flips": flips,
        "defined": summary["defined"],
        "undefined": summary["undefined"],
    }


def paired_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0
) -> PairedDifference:
    """How two methods differ on queries and in trainings like these: interval and test.

    Over several trainings, the model of :func:`over_seeds` for ``first - second``: the 95 %
    interval, and the two-sided p of a mean of 0 by the same t, so that p is below 0.05 just
    where the interval leaves 0 out. Of one training, :func:`paired_test`, which says nothing of
    others.

    Empty: a query that is NaN in any training of either is left out.

    Args:
        first: ``float (seeds, q)``, NaN where undefined.
        second: ``float (seeds, q)``, the same seeds and queries in the same order.
        seed: of the bootstrap and of the sign patterns, where there is one training.

    Returns:
        ``value``, the mean difference, ``low``, ``high`` and ``p_value``; None where no query
        is defined.

    Raises:
        ArgumentError: not two-dimensional, no seed, or shapes that differ.

    Source: as of :func:`over_seeds`.

    >>> difference = paired_difference([[0.5, 0.6], [0.7, 0.8]], [[0.1, 0.1], [0.1, 0.1]])
    >>> round(difference["value"], 2), round(difference["low"], 2), round(difference["p_value"], 3)
    (0.55, -0.14, 0.069)
    """
    one, other = _by_seed(first), _by_seed(second)
    if one.shape != other.shape:
        raise ArgumentError(
            f"{one.shape} values cannot be paired with {other.shape}; give both methods the same "
            "seeds and queries in the same order"
        )
    if len(one) == 1:
        test = paired_test(one, other, seed=seed)
        return {
            "value": test["value"],
            "low": test["low"],
            "high": test["high"],
            "p_value": test["p_value"],
        }
    difference = one - other
    difference = difference[:, ~np.isnan(difference).any(axis=0)]
    if not difference.size:
        return {"value": None, "low": None, "high": None, "p_value": None}
    mean, (error, degrees) = float(difference.mean()), _crossed_error(difference)
    low, high = _interval(mean, error, degrees)
    # Without any spread a mean is 0 or it is not.
    p_value = float(2 * stdtr(degrees, -abs(mean) / error)) if error else float(mean == 0)
    return {"value": mean, "low": low, "high": high, "p_value": p_value}


def holm(p_values: npt.ArrayLike) -> Values:
    """The p values adjusted for their number, so that any false finding is rare (Holm).

    With m tests in ascending order of p, the adjusted p of the i-th is the largest
    ``(m - j + 1) p_j`` of ``j = 1..i``, at most 1. Rejecting where it is at most a level keeps
    the chance of one false rejection or more below that level, however the tests depend on
    each other. Ties: equal p are adjusted alike.

    Args:
        p_values: ``float (m,)``, from 0 to 1.

    Returns:
        ``float64 (m,)``, in the order given.

    Raises:
        ArgumentError: not one-dimensional, or a value outside 0 to 1 (or NaN).

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6, 1979.

    In order, 3 * 0.01 = 0.03, 2 * 0.03 = 0.06, and 0.04, which may not fall below 0.06.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    >>> holm([0.5, 0.125, 0.125, 0.75])
    array([1. , 0.5, 0.5, 1. ])
    """
    array = np.asarray(p_values, dtype=np.float64)
    if array.ndim != 1 or not np.all((array >= 0) & (array <= 1)):
        raise ArgumentError("p_values must be one-dimensional, each from 0 to 1; leave NaN out")
    order = np.argsort(array, kind="stable")
    stepped = array[order] * np.arange(array.size, 0, -1)
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def pooled_shares(hits: npt.ArrayLike, totals: npt.ArrayLike, *, seed: int = 0) -> PooledShares:
    """Shares of all pairs, with a 95 % interval that keeps the pairs of a query together.

    ``sum of hits / sum of totals``. Pairs of one query are not independent, so the interval is
    the percentile bootstrap over whole queries, 2,000 times; all columns see the same draws.
    A share of 0 or 1 is the same in every draw; there the other end is that of Clopper and
    Pearson for n queries of one pair each, ``1 - 0.025**(1 / n)`` or ``0.025**(1 / n)``. Empty:
    queries without pairs are left out; NaN as :class:`PooledShares` says.

    Args:
        hits: ``int (q, m)``, the pairs of each query that count, for each of m questions.
        totals: ``int (q,)``, all pairs of each query, at least as many as its hits.
        seed: the same seed draws the same queries.

    Raises:
        ArgumentError: shapes that do not fit, or hits below 0 or above the totals.

    Source: Field & Welsh, "Bootstrapping clustered data", 2007; Clopper & Pearson, "The use
    of confidence or fiducial limits illustrated in the case of the binomial", 1934.

    None of 20 queries was hit: 1 - 0.025 ** (1 / 20) is 0.168.

    >>> shares = pooled_shares([[0]] * 20, [3] * 20)
    >>> shares.value.item(), shares.low.item(), round(shares.high.item(), 3)
    (0.0, 0.0, 0.168)
    """
    counted, pairs = np.asarray(hits), np.asarray(totals)
    if counted.ndim != 2 or pairs.shape != counted.shape[:1]:
        raise ArgumentError(
            f"hits {counted.shape} and totals {pairs.shape} must have the shapes (queries, m) "
            "and (queries,)"
        )
    if np.any(counted < 0) or np.any(counted > pairs[:, None]):
        raise ArgumentError("hits must lie between 0 and the totals of each query")
    counted, pairs = counted[pairs > 0].astype(np.float64), pairs[pairs > 0].astype(np.float64)
    n_queries, n_questions = counted.shape
    nothing = np.full(n_questions, np.nan)
    if not n_queries:
        return PooledShares(nothing, nothing, nothing)
    value = counted.sum(axis=0) / pairs.sum()
    if n_queries == 1:
        return PooledShares(value, nothing, nothing)
    generator = np.random.default_rng(seed)
    drawn = np.empty((_RESAMPLES, n_questions))
    step = max(1, _BLOCK // n_queries)
    for start in range(0, _RESAMPLES, step):
        block = drawn[start : start + step]
        chosen = generator.integers(n_queries, size=(len(block), n_queries))
        # How often each query was drawn, a row a draw.
        chosen += n_queries * np.arange(len(block))[:, None]
        times = np.bincount(chosen.ravel(), minlength=chosen.size).reshape(chosen.shape)
        block[:] = (times @ counted) / (times @ pairs)[:, None]
    low, high = np.quantile(drawn, [_TAIL, 1 - _TAIL], axis=0)
    one_sided = _TAIL ** (1 / n_queries)
    return PooledShares(
        value, np.where(value == 1, one_sided, low), np.where(value == 0, 1 - one_sided, high)
    )


def _by_seed(values: npt.ArrayLike) -> Values:
    """The values as an array ``(seeds, q)``, or an error that says what is wrong."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not len(array):
        raise ArgumentError(
            "values must be an array of shape (seeds, queries) with one seed or more, not "
            f"{array.shape}"
        )
    return array


def _interval(mean: float, error: float, degrees: float) -> tuple[float, float]:
    """Low and high, by Student's t."""
    half = float(stdtrit(degrees, 1 - _TAIL)) * error
    return mean - half, mean + half


def _crossed_error(values: Values) -> tuple[float, float]:
    """Standard error of the mean and its degrees of freedom, of two seeds or more without NaN."""
    n_seeds, n_queries = values.shape
    mean = values.mean()
    of_seed = values.mean(axis=1) - mean
    of_query = values.mean(axis=0) - mean
    rest = values - mean - of_seed[:, None] - of_query
    # One query has no spread; its sums are 0, whatever they are divided by.
    freedom = np.array(
        [n_seeds - 1, max(n_queries - 1, 1), max((n_seeds - 1) * (n_queries - 1), 1)]
    )
    squares = np.array(
        [n_queries * of_seed @ of_seed, n_seeds * of_query @ of_query, np.sum(rest**2)]
    )
    squares = np.maximum(squares / freedom, (squares / freedom)[2])
    total = squares[0] + squares[1] - squares[2]
    if total == 0:
        return 0.0, 1.0
    degrees = total**2 / np.sum(squares**2 / freedom)
    return float(np.sqrt(total / values.size)), float(degrees)


def _sign_flip(difference: Values, seed: int) -> tuple[float | None, int]:
    """Two-sided p and the number of sign patterns, of ``float64 (q,)`` without NaN."""
    n_queries = difference.size
    if not n_queries:
        return None, 0
    size = np.abs(difference)
    # The same numbers added up in another order differ in their last bits.
    least = abs(difference.sum()) - 1e-12 * size.sum()
    if n_queries <= _EXACT_QUERIES:
        patterns = np.arange(2**n_queries)[:, None] >> np.arange(n_queries) & 1
        return float(np.mean(_reaches(patterns, size, least))), len(patterns)
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK // n_queries)
    reached = 1  # the observed pattern
    for start in range(0, _FLIPS, step):
        shape = (min(step, _FLIPS - start), n_queries)
        patterns = generator.integers(2, size=shape, dtype=np.int8)
        reached += int(np.count_nonzero(_reaches(patterns, size, least)))
    return reached / (_FLIPS + 1), _FLIPS + 1


def _reaches(
    patterns: npt.NDArray[np.integer], size: Values, least: float
) -> npt.NDArray[np.bool_]:
    """``bool (m,)``: whether the sum is as far from 0, of patterns ``(m, q)`` of 0 and 1."""
    reached: npt.NDArray[np.bool_] = np.abs(2 * (patterns @ size) - size.sum()) >= least
    return reached
