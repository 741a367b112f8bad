"""Which distinct semantic codes lie within a radius, or are the nearest ones.

Every answer is complete, whichever way it is found: by a ``scan``, which compares the query with
all codes; by multi-index hashing, ``mih``, certified for the radius (see :mod:`.multi_index`); or
by one of FAISS's indexes (see :mod:`.faiss_indexes`). ``auto`` scans where the codes are few. Of
many, it looks in the tables for as long as that takes no longer than a scan would, by what the
buckets of each query hold, and scans if it has not found enough by then. So a query unlike the
codes of the gallery takes about two scans at most; others take a small part of one.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError
from hashsearch.gallery.faiss_indexes import (
    GPU_MOST,
    INDEX_KINDS,
    FaissIndexes,
    serialised_indexes,
)
from hashsearch.gallery.multi_index import (
    MultiIndex,
    NearCodes,
    code_words,
    distances,
    table_datasets,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["SEARCHES", "Balls", "HammingIndex", "check_index", "default_indexes", "index_datasets"]

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.unsignedinteger]

SEARCHES = ("auto", "scan", "mih", "gpu", *INDEX_KINDS)
"""The ways to search that can be named. ``mih`` looks in tables however long that takes, except
that it scans where more than four million buckets would have to be looked in. ``gpu`` finds the
nearest; what it cannot certify, and whole balls, are found as by ``auto``."""

_FEW_CODES = 1 << 16  # a scan of so many takes about 60 us, as does the least search in tables
_QUERIES_AT_ONCE = 256
_COUNTED_AT_ONCE = 1 << 15  # codes; what counting makes of them fits a core's cache
_USUAL_RADIUS = 2  # whose choice is told
_SECOND_LOOK = 0.25  # of a scan
_GPU_QUERIES = 256  # fewer are not sent to a GPU unless it is named
_GPU_FIRST = 64  # codes that it is asked for first, then all that it can give
_FIRST_QUERIES = 16  # before it is known how much they find
_RESULTS_AT_ONCE = 1 << 22
# A sample of 1,024 codes or more, and no less than every 128th, tells a radius that is surely
# wide enough; a sparser one would tell one far too wide.
_SAMPLE = 1 << 10
_SAMPLE_STEP = 1 << 7


class Balls(NamedTuple):
    """The distinct codes around some queries: ``limits[i]:limits[i + 1]`` are those of query ``i``.

    Those of a query ascend by place. All are ``int64``: ``limits (q + 1,)``, ``place (found,)`` and
    ``distance (found,)``, in bits.
    """

    limits: Integers
    place: Integers
    distance: Integers


def check_index(index: str) -> None:
    """Refuse an index that does not exist.

    Raises:
        ArgumentError: none of :data:`SEARCHES`.
    """
    if index not in SEARCHES:
        raise ArgumentError(f"index must be {', '.join(SEARCHES)}, not {index!r}")


def default_indexes(n_distinct: int) -> tuple[str, ...]:
    """FAISS's indexes that are stored unless others are asked for: none of many codes."""
    return INDEX_KINDS if n_distinct < _FEW_CODES else ()


def index_datasets(
    distinct: npt.NDArray[np.uint8], kinds: Sequence[str] | None
) -> dict[str, npt.NDArray[Any]]:
    """What is stored beside the distinct codes to search them: hash tables, FAISS indexes.

    Args:
        distinct: ``uint8 (u, n_bits // 8)``.
        kinds: FAISS's, some of :data:`INDEX_KINDS`; None: :func:`default_indexes`.

    Returns:
        ``mih/...``, where there are codes enough that it pays, and ``faiss/<kind>``.

    Raises:
        ArgumentError: an unknown kind.
    """
    datasets = {}
    if len(distinct) >= _FEW_CODES:
        datasets.update(table_datasets(distinct))
    kinds = default_indexes(len(distinct)) if kinds is None else kinds
    return datasets | serialised_indexes(distinct, kinds)


class HammingIndex:
    """Searches the distinct semantic codes of a gallery.

    Args:
        distinct: ``uint8 (u, n_bits // 8)``, all different.
        datasets: where those of :func:`index_datasets` may lie.
        n_items: that the codes have together.
        items_of: gives how many items some codes have, ``int64``, by their places, ``int64``.
    """

    def __init__(
        self,
        distinct: npt.NDArray[np.uint8],
        datasets: Mapping[str, npt.NDArray[Any]],
        *,
        n_items: int,
        items_of: Callable[[Integers], Integers],
    ) -> None:
        self._distinct = distinct
        self._n_items = n_items
        self._items_of = items_of
        self._n_bits = 8 * distinct.shape[1]
        self._words = code_words(distinct)
        self._datasets = datasets
        self._faiss = FaissIndexes(distinct, datasets)

    @property
    def choice(self) -> str:
        """What ``auto`` does, and why, in one line."""
        codes = f"{self._words.shape[1]:,} distinct codes"
        if "mih/places" in self._datasets:
            tables = self._multi_index
            made = (
                f"{codes} in {tables.n_tables} hash tables of about "
                f"{self._n_bits // tables.n_tables} bits, where {tables.bucket:,.0f} share a bucket"
            )
            if tables.cost(tables.flips(_USUAL_RADIUS)) >= self._words.size:
                return f"scan: {made}, which takes longer for a radius of {_USUAL_RADIUS}"
            return f"mih: {made}; a scan for queries that would take longer so"
        if self._words.shape[1] < _FEW_CODES:
            return f"scan: {codes} are compared in less time than hash tables take"
        return f"scan: {codes} without hash tables; `hashsearch compact` makes them"

    def for_many(self, index: str, n_queries: int, wanted: int) -> str:
        """The way to search that suits so many queries: ``auto`` may become ``gpu``.

        Args:
            index: one of :data:`SEARCHES`.
            n_queries: how many are asked at once.
            wanted: as for :meth:`around`.
        """
        many = n_queries >= _GPU_QUERIES and self._words.shape[1] >= _FEW_CODES
        suits = index == "auto" and many and 0 < wanted <= GPU_MOST
        return "gpu" if suits and self._faiss.has_gpu() else index

    def looks_up(self, index: str) -> bool:
        """Whether this way to search looks in hash tables of our own: work for many cores."""
        return index == "mih" or (index in ("auto", "gpu") and "mih/places" in self._datasets)

    def around(
        self, queries: npt.NDArray[np.uint8], radius: int, wanted: int, index: str
    ) -> Iterator[Balls]:
        """The codes within a radius of the queries, a few queries at a time, in their order.

        Args:
            queries: ``uint8 (q, n_bits // 8)``.
            radius: in bits, at least 0; codes at this distance belong to the ball.
            wanted: a ball that holds fewer items is widened until it holds so many; no more
                than there are.
            index: one of :data:`SEARCHES`.
        """
        radius = min(radius, self._n_bits)
        if index in INDEX_KINDS:
            yield from self._by_faiss(queries, radius, wanted, index)
        elif index == "gpu" and 0 < wanted <= GPU_MOST:
            yield from self._by_gpu(queries, radius, wanted)
        else:
            yield from self._by_core(code_words(queries), radius, wanted, index)

    def histogram(self, queries: npt.NDArray[np.uint8], offsets: Integers) -> Integers:
        """How many items lie at each distance from each query: ``int64 (q, n_bits + 1)``.

        Args:
            queries: ``uint8 (q, n_bits // 8)``.
            offsets: ``int64 (u + 1,)``: the items of code ``i`` are those from ``offsets[i]`` up
                to ``offsets[i + 1]``.
        """
        histogram = np.zeros((len(queries), self._n_bits + 1), np.int64)
        for number, query in enumerate(code_words(queries).T):
            distance = distances(self._words, query)
            for first in range(0, len(distance), _COUNTED_AT_ONCE):
                some = distance[first : first + _COUNTED_AT_ONCE]
                items = np.diff(offsets[first : first + len(some) + 1])
                # Sums of weights are floats, which hold whole numbers up to 2 ** 53.
                held = np.bincount(some, items, self._n_bits + 1)
                histogram[number] += held.astype(np.int64)
        return histogram

    def _by_core(self, queries: Words, radius: int, wanted: int, index: str) -> Iterator[Balls]:
        """Without FAISS; queries as :func:`code_words` gives them."""
        if self.looks_up(index):
            budget = math.inf if index == "mih" else self._words.size
            yield from self._by_tables(queries, radius, wanted, budget)
        else:
            yield from self._by_scan(queries, radius, wanted)

    def _by_scan(self, queries: Words, radius: int, wanted: int) -> Iterator[Balls]:
        found: list[_Ball] = []
        results = 0
        for query in queries.T:
            found.append(self._scan(query, radius, wanted))
            results += len(found[-1].place)
            if len(found) == _QUERIES_AT_ONCE or results > _RESULTS_AT_ONCE:
                yield _together(found)
                found, results = [], 0
        if found:
            yield _together(found)

    def _scan(self, query: Words, radius: int, wanted: int) -> _Ball:
        distance = distances(self._words, query)
        place = np.flatnonzero(distance <= radius)
        if wanted and self._items_of(place).sum() < wanted:
            place = np.flatnonzero(distance <= self._bound(distance, wanted))
            held = _held(distance[place], self._items_of(place))
            place = place[distance[place] <= np.searchsorted(held, wanted)]
        return _Ball(place, distance[place].astype(np.int64))

    def _bound(self, distance: npt.NDArray[Any], wanted: int) -> int:
        """A radius that holds so many items: what holds them among a few codes is enough."""
        for step in (min(max(1, len(distance) // _SAMPLE), _SAMPLE_STEP), 1):
            held = _held(distance[::step], self._items_of(np.arange(0, len(distance), step)))
            if held[-1] >= wanted:
                break
        return int(np.searchsorted(held, wanted))

    def _by_tables(
        self, queries: Words, radius: int, wanted: int, budget: float
    ) -> Iterator[Balls]:
        tables = self._multi_index
        codes = wanted * self._words.shape[1] / self._n_items
        # By chance there may be fewer than expected, which would cost a search in vain.
        flips = tables.flips(radius, codes + math.sqrt(codes))
        if tables.cost(flips) >= budget:
            yield from self._by_scan(queries, radius, wanted)
            return
        begin, step = 0, _FIRST_QUERIES
        while begin < queries.shape[1]:
            some = queries[:, begin : begin + step]
            balls = self._looked_up(some, radius, wanted, flips, budget)
            yield balls
            begin += step
            # What these have found says of how many more the answers fit the memory.
            found = max(1, len(balls.place) // some.shape[1])
            step = max(1, min(_QUERIES_AT_ONCE, _RESULTS_AT_ONCE // found))

    def _looked_up(
        self, queries: Words, radius: int, wanted: int, flips: int, budget: float
    ) -> Balls:
        """The balls of a few queries: from tables within the budget, the rest by a scan."""
        tables = self._multi_index
        n_queries = queries.shape[1]
        parts: list[NearCodes] = []
        left, to_scan = np.arange(n_queries), np.zeros(n_queries, bool)
        while len(left) and tables.cost(flips) < budget:
            certified = tables.certified(flips) if wanted else radius
            found, answered = tables.search(queries[:, left], flips, certified, budget)
            done = answered
            if wanted:
                reach = self._reaches(found, len(left), radius, wanted, certified)
                done = answered & (reach <= certified)
                keep = done[found.query] & (found.distance <= reach[found.query])
                found = NearCodes(*(column[keep] for column in found))
            parts.append(found._replace(query=left[found.query]))
            to_scan[left[~answered]] = True
            left = left[answered & ~done]
            # The first look was to find enough. Where codes bunch elsewhere than around a query,
            # it did not; another look must cost little, as it may be as vain.
            if budget < math.inf:
                budget = min(budget - tables.cost(flips), _SECOND_LOOK * self._words.size)
            flips += 1
        to_scan[left] = True
        for number in np.flatnonzero(to_scan).tolist():
            ball = self._scan(queries[:, number], radius, wanted)
            parts.append(NearCodes(np.full(len(ball.place), number), *ball))
        return _by_query(parts, n_queries)

    def _reaches(
        self, found: NearCodes, n_queries: int, radius: int, wanted: int, certified: int
    ) -> Integers:
        """How far to go for ``wanted`` items, ``int64 (q,)``, in bits.

        Args:
            found: all codes within the certified radius of each query.
            n_queries: how many they are.
            radius: in bits; so far at least.
            wanted: how many items are enough.
            certified: in bits; the answer is more where what was found is not enough.
        """
        cell = found.query * (certified + 1) + found.distance
        items = self._items_of(found.place)
        at = np.bincount(cell, weights=items, minlength=n_queries * (certified + 1))
        held = at.reshape(n_queries, -1).cumsum(axis=1)
        reach: Integers = np.maximum((held < wanted).sum(axis=1), radius)
        return reach

    def _by_faiss(
        self, queries: npt.NDArray[np.uint8], radius: int, wanted: int, kind: str
    ) -> Iterator[Balls]:
        step = max(1, min(_QUERIES_AT_ONCE, _RESULTS_AT_ONCE // self._words.shape[1]))
        for begin in range(0, len(queries), step):
            some = queries[begin : begin + step]
            limits, distance, place = self._faiss.range_search(some, radius, kind)
            found = []
            for number, (first, last) in enumerate(itertools.pairwise(limits.tolist())):
                order = np.argsort(place[first:last])
                ball = _Ball(place[first:last][order], distance[first:last][order].astype(np.int64))
                if wanted and self._items_of(ball.place).sum() < wanted:
                    ball = self._scan(code_words(some[number : number + 1])[:, 0], radius, wanted)
                found.append(ball)
            yield _together(found)

    def _by_gpu(self, queries: npt.NDArray[np.uint8], radius: int, wanted: int) -> Iterator[Balls]:
        for begin in range(0, len(queries), _QUERIES_AT_ONCE):
            some = queries[begin : begin + _QUERIES_AT_ONCE]
            try:
                balls = self._from_gpu(some, radius, wanted)
            except RuntimeError:  # FAISS's, of CUDA: another process may have taken its memory
                self._faiss.without_gpu()
                yield from self._by_core(code_words(queries[begin:]), radius, wanted, "auto")
                return
            yield balls

    def _from_gpu(self, queries: npt.NDArray[np.uint8], radius: int, wanted: int) -> Balls:
        """The balls of some queries: from the GPU where it certifies them, the rest as by auto."""
        n_queries, n_codes = len(queries), self._words.shape[1]
        parts: list[NearCodes] = []
        left = np.arange(n_queries)
        first = max(_GPU_FIRST, 2 * wanted)
        for count in sorted({min(count, GPU_MOST, n_codes) for count in (first, GPU_MOST)}):
            distance, place = self._faiss.nearest(queries[left], count)
            # All codes nearer than the last one are there; of those as far, some may not be.
            certified = distance[:, -1] - 1 if count < n_codes else np.full(len(left), self._n_bits)
            held = self._items_of(place).cumsum(axis=1)
            enough = np.minimum((held < wanted).sum(axis=1), count - 1)
            reach = np.maximum(np.take_along_axis(distance, enough[:, None], 1)[:, 0], radius)
            done = reach <= certified
            query, column = np.nonzero(done[:, None] & (distance <= reach[:, None]))
            near, far = place[query, column], distance[query, column].astype(np.int64)
            order = np.lexsort((near, query))
            parts.append(NearCodes(left[query[order]], near[order], far[order]))
            left = left[~done]
            if not len(left):
                break
        if len(left):
            rest = list(self._by_core(code_words(queries[left]), radius, wanted, "auto"))
            held = np.concatenate([np.diff(balls.limits) for balls in rest])
            parts.append(
                NearCodes(
                    np.repeat(left, held),
                    np.concatenate([balls.place for balls in rest]),
                    np.concatenate([balls.distance for balls in rest]),
                )
            )
        return _by_query(parts, n_queries)

    @cached_property
    def _multi_index(self) -> MultiIndex:
        stored = self._datasets
        if "mih/places" not in stored:
            stored = table_datasets(self._distinct)
        return MultiIndex(self._words, self._n_bits, stored)


class _Ball(NamedTuple):
    """The distinct codes around one query; both ``int64 (found,)``."""

    place: Integers
    distance: Integers


def _by_query(parts: Sequence[NearCodes], n_queries: int) -> Balls:
    """What several searches found, each for some of the queries, as their balls."""
    query, place, distance = NearCodes.joined(parts)
    if len(parts) > 1:
        order = np.argsort(query, kind="stable")
        query, place, distance = query[order], place[order], distance[order]
    return Balls(np.searchsorted(query, np.arange(n_queries + 1)), place, distance)


def _together(found: Sequence[_Ball]) -> Balls:
    """The balls of some queries, at least one."""
    if len(found) == 1:
        return Balls(np.array([0, len(found[0].place)]), *found[0])
    limits = np.cumsum([0, *(len(ball.place) for ball in found)])
    return Balls(limits, *map(np.concatenate, zip(*found, strict=True)))


def _held(distance: npt.NDArray[Any], items: Integers) -> npt.NDArray[np.float64]:
    """How many items lie within each distance, ascending, up to the largest."""
    return np.bincount(distance, weights=items).cumsum()
