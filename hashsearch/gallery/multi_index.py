"""Multi-index hashing: an exact search that looks at few of the codes.

The bits of the distinct codes are cut into ``m`` substrings, and one table for each lists the
codes by their substring. A code that differs from the query in at most ``m * (f + 1) - 1`` bits
has a substring that differs in at most ``f``: else there were ``m * (f + 1)`` at least. So the
buckets whose substrings differ in up to ``f`` bits from the query's, of all tables, hold every code
within that radius, and the distances of those codes sort out the rest (Norouzi, Punjani & Fleet
2014, "Fast Exact Search in Hamming Space with Multi-Index Hashing").

All tables are one array of places in the order of table and substring, and one of where the places
of each begin; so the probes of many queries are looked up at once.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hashsearch.gallery.threads import in_threads, parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MultiIndex", "NearCodes", "code_words", "distances", "n_offsets", "table_datasets"]

Words = npt.NDArray[np.unsignedinteger]
Integers = npt.NDArray[np.int64]

# What a probe and a candidate cost, in codes' words that a scan compares in the same time:
# measured on one core, 20 ns and 12 ns beside 1 ns.
_PROBE = 20
_CANDIDATE = 12
# Pairs of codes whose distances tell how many codes to expect within a radius.
_SAMPLE_QUERIES = 64
_SAMPLE_CODES = 1 << 16
_AT_ONCE = 1 << 15  # 8 bytes each: they fit a core's cache
_CODES_A_THREAD = 1 << 21  # fewer are sooner compared by one
_PROBES_AT_ONCE = 1 << 18  # some 60 bytes each
_MOST_PROBES = 1 << 22
_CODES_AT_ONCE = 1 << 18  # put into tables; some 30 bytes each
_CANDIDATES_AT_ONCE = 1 << 20  # some 60 bytes each


_NONE = np.zeros(0, np.int64)


class NearCodes(NamedTuple):
    """The distinct codes within a radius of some queries, by query, then by place.

    All are ``int64 (found,)``; ``distance`` is in bits.
    """

    query: Integers
    place: Integers
    distance: Integers

    @classmethod
    def joined(cls, parts: Sequence[NearCodes]) -> NearCodes:
        """What was found in several searches, one after another."""
        return parts[0] if len(parts) == 1 else cls(*map(np.concatenate, zip(*parts, strict=True)))


def _cuts(n_bits: int, n_tables: int) -> list[tuple[int, int]]:
    """Where each substring of a code begins, and how many bits it has: as even as can be."""
    ends = [n_bits * table // n_tables for table in range(n_tables + 1)]
    return [(begin, end - begin) for begin, end in itertools.pairwise(ends)]


def _substring(words: Words, begin: int, width: int) -> Integers:
    """Some bits of each code as a number, ``int64 (n,)``; words are those of :func:`code_words`."""
    word, shift = divmod(begin, 64)
    bits = words[word] >> np.uint64(shift)
    if shift + width > 64:
        bits |= words[word + 1] << np.uint64(64 - shift)
    bits &= np.uint64((1 << width) - 1)
    numbers: Integers = bits.view(np.int64)
    return numbers


class _Probes(NamedTuple):
    """Where the tables are looked up; all ``int64 (probes,)``."""

    table: Integers
    flipped: Integers
    """The bits of the substring that differ from the query's."""
    first: Integers
    """The table's first bucket."""


class MultiIndex:
    """Hash tables over the distinct semantic codes of a gallery.

    Args:
        words: the codes as :func:`code_words` gives them, ``(w, u)``.
        n_bits: of a code.
        datasets: the tables as :func:`table_datasets` gives them.
    """

    def __init__(self, words: Words, n_bits: int, datasets: Mapping[str, npt.NDArray[Any]]) -> None:
        self._words = words
        self._n_bits = n_bits
        self._places = datasets["mih/places"]
        self._offsets = datasets["mih/offsets"]
        self.n_tables: int = len(self._places) // words.shape[1]
        self._cuts = _cuts(n_bits, self.n_tables)
        sizes = (1 << width for _, width in self._cuts)
        self._first_buckets = [0, *itertools.accumulate(sizes)][:-1]
        self._n_probes: dict[int, int] = {}
        self._probes: dict[int, _Probes] = {}

    def certified(self, flips: int) -> int:
        """The radius in bits within which a search with so many flips finds every code."""
        return min(self.n_tables * (flips + 1) - 1, self._n_bits)

    def flips(self, radius: int, wanted: float = 0) -> int:
        """The fewest flips that are sure of a radius, and are expected to find enough codes.

        Args:
            radius: in bits.
            wanted: how many codes are enough.
        """
        if wanted:
            radius = max(radius, int(np.searchsorted(self._expected, wanted)))
        return min(radius, self._n_bits) // self.n_tables

    def n_probes(self, flips: int) -> int:
        """How many buckets a search with so many flips looks up."""
        if flips not in self._n_probes:
            self._n_probes[flips] = sum(
                math.comb(width, flipped) for _, width in self._cuts for flipped in range(flips + 1)
            )
        return self._n_probes[flips]

    def cost(self, flips: int) -> float:
        """What a search costs a query, if its buckets hold what those of the codes do on average.

        Returns:
            In words of codes that a scan compares in the same time; infinite where the probes
            would not fit the memory.
        """
        n_probes = self.n_probes(flips)
        if n_probes > _MOST_PROBES:
            return math.inf
        return (_PROBE + _CANDIDATE * self.bucket) * n_probes

    def search(
        self, queries: Words, flips: int, radius: int, budget: float
    ) -> tuple[NearCodes, npt.NDArray[np.bool_]]:
        """All codes within a radius of each query.

        Args:
            queries: words, ``(w, q)``, at least one.
            flips: bits in which a substring may differ from the query's.
            radius: in bits, at most the certified one.
            budget: as :meth:`cost`, of a query. One whose buckets hold more is not answered.

        Returns:
            What was found, and ``bool (q,)``: which queries were answered.
        """
        step = max(1, _PROBES_AT_ONCE // self.n_probes(flips))
        found, answered = [], []
        for first in range(0, queries.shape[1], step):
            near, done = self._looked_up(queries[:, first : first + step], flips, radius, budget)
            found.append(near._replace(query=near.query + first))
            answered.append(done)
        return NearCodes.joined(found), np.concatenate(answered)

    def _looked_up(
        self, queries: Words, flips: int, radius: int, budget: float
    ) -> tuple[NearCodes, npt.NDArray[np.bool_]]:
        """What :meth:`search` gives, of so few queries that their probes fit the memory."""
        if flips == 0 and queries.shape[1] == 1:
            return self._own_buckets(queries, radius, budget)
        probes = self._probes_of(flips)
        own = np.stack([_substring(queries, begin, width) for begin, width in self._cuts])
        bucket = (own.T[:, probes.table] ^ probes.flipped) + probes.first
        begin = self._offsets[bucket].astype(np.int64)
        count = self._offsets[bucket + 1].astype(np.int64) - begin
        held = count.sum(axis=1)
        answered = _PROBE * len(probes.table) + _CANDIDATE * held < budget
        asked = np.flatnonzero(answered)
        reach = np.cumsum(held[asked])
        if len(asked) == 0 or reach[-1] <= _CANDIDATES_AT_ONCE:
            return self._compared(queries, asked, begin[asked], count[asked], radius), answered
        cuts = np.flatnonzero(np.diff(reach // _CANDIDATES_AT_ONCE)) + 1
        found = [
            self._compared(queries, some, begin[some], count[some], radius)
            for some in np.split(asked, cuts)
        ]
        return NearCodes.joined(found), answered

    def _own_buckets(
        self, query: Words, radius: int, budget: float
    ) -> tuple[NearCodes, npt.NDArray[np.bool_]]:
        """What :meth:`_looked_up` gives of one query and no flips.

        They are so few buckets that each is sooner looked up by itself.
        """
        code = sum(word << 64 * number for number, word in enumerate(query[:, 0].tolist()))
        slices = []
        for (begin, width), first in zip(self._cuts, self._first_buckets, strict=True):
            bucket = first + (code >> begin & (1 << width) - 1)
            slices.append(self._places[self._offsets[bucket] : self._offsets[bucket + 1]])
        held = sum(map(len, slices))
        if _PROBE * len(slices) + _CANDIDATE * held >= budget:
            return NearCodes(_NONE, _NONE, _NONE), np.array([False])
        place = np.concatenate(slices).astype(np.int64)
        near = self._within(query, np.zeros(len(place), np.int64), place, radius)
        return near, np.array([True])

    def _compared(
        self, queries: Words, asked: Integers, begin: Integers, count: Integers, radius: int
    ) -> NearCodes:
        """The codes of some buckets that lie within the radius.

        Args:
            queries: words, ``(w, q)``.
            asked: ``int64 (a,)``, the numbers of those whose buckets these are.
            begin: ``int64 (a, probes)``, where each bucket begins.
            count: ``int64 (a, probes)``, how many codes it holds.
            radius: in bits.
        """
        place = self._places[_ranges(begin.ravel(), count.ravel())].astype(np.int64)
        return self._within(queries, np.repeat(asked, count.sum(axis=1)), place, radius)

    def _within(self, queries: Words, query: Integers, place: Integers, radius: int) -> NearCodes:
        """Those of some codes that lie within the radius, once each.

        Args:
            queries: words, ``(w, q)``.
            query: ``int64 (m,)``, which of them each code is a candidate of, ascending.
            place: ``int64 (m,)``, of the codes; one may be listed for each table.
            radius: in bits.
        """
        n_codes = self._words.shape[1]
        distance = np.zeros(len(place), np.int64)
        for words, asked_words in zip(self._words, queries, strict=True):
            distance += np.bitwise_count(words[place] ^ asked_words[query])
        near = np.flatnonzero(distance <= radius)
        key = query[near] * n_codes + place[near]
        if len(key) > 1:
            # A code is listed once for each table that it was found in.
            key, once = np.unique(key, return_index=True)
            near = near[once]
        return NearCodes(query[near], place[near], distance[near])

    def _probes_of(self, flips: int) -> _Probes:
        if flips not in self._probes:
            table, flipped, first = [], [], []
            for number, (_, width) in enumerate(self._cuts):
                patterns = np.flatnonzero(np.bitwise_count(np.arange(1 << width)) <= flips)
                flipped.append(patterns)
                table.append(np.full(len(patterns), number))
                first.append(np.full(len(patterns), self._first_buckets[number]))
            self._probes[flips] = _Probes(*map(np.concatenate, (table, flipped, first)))
        return self._probes[flips]

    @cached_property
    def bucket(self) -> float:
        """How many codes share the bucket of a code; where they bunch, more than a bucket holds."""
        counts = np.diff(self._offsets).astype(np.float64)
        return float(counts @ counts) / len(self._places)

    @cached_property
    def _expected(self) -> npt.NDArray[np.float64]:
        """``float64 (n_bits + 1,)``: codes within each distance of a code, itself left out."""
        n_codes = self._words.shape[1]
        sample = np.ascontiguousarray(self._words[:, :: max(1, n_codes // _SAMPLE_CODES)])
        asked = self._words[:, :: max(1, n_codes // _SAMPLE_QUERIES)]
        counts = np.zeros(self._n_bits + 1, np.int64)
        for query in asked.T:
            counts += np.bincount(distances(sample, query), minlength=len(counts))
        counts[0] = 0
        share = n_codes / sample.shape[1] / asked.shape[1]
        expected: npt.NDArray[np.float64] = np.cumsum(counts) * share
        return expected


def table_datasets(distinct: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Tables over these codes, as a gallery holds them.

    Args:
        distinct: ``uint8 (u, n_bits // 8)``.

    Returns:
        ``mih/places`` ``uint32 (m * u,)``: the places of the codes by table, then by substring;
        ``mih/offsets`` ``uint32`` or ``uint64``, one more than there are substrings of all
        tables: where in ``mih/places`` those of each begin.
    """
    n_codes, n_bits = len(distinct), 8 * distinct.shape[1]
    # Substrings of about log2(u) bits, so that a bucket of evenly spread codes holds about one
    # (section 3.3); no fewer tables than that, as their buckets would outnumber the codes.
    n_tables = max(1, math.ceil(n_bits / max(1.0, math.log2(n_codes))))
    places, offsets = np.empty(n_tables * n_codes, np.uint32), []
    for number, (begin, width) in enumerate(_cuts(n_bits, n_tables)):
        # Substring and place in one word: to sort words takes no memory beside them.
        entry = np.empty(n_codes, np.uint64)
        for first in range(0, n_codes, _CODES_AT_ONCE):
            some = slice(first, min(first + _CODES_AT_ONCE, n_codes))
            entry[some] = _substring(code_words(distinct[some]), begin, width)
            entry[some] <<= np.uint64(32)
            entry[some] |= np.arange(some.start, some.stop, dtype=np.uint64)
        entry.sort()
        least = np.arange(1 << width, dtype=np.uint64) << np.uint64(32)
        offsets.append(np.searchsorted(entry, least) + number * n_codes)
        entry &= np.uint64((1 << 32) - 1)
        places[number * n_codes : (number + 1) * n_codes] = entry
    offsets.append(np.array([len(places)]))
    wide_enough = np.min_scalar_type(max(len(places), 1 << 16))
    return {"mih/places": places, "mih/offsets": np.concatenate(offsets).astype(wide_enough)}


def n_offsets(n_bits: int, n_tables: int) -> int:
    """The length of ``mih/offsets`` for so many tables."""
    return 1 + sum(1 << width for _, width in _cuts(n_bits, n_tables))


def code_words(codes: npt.NDArray[np.uint8]) -> Words:
    """Codes as numbers: one each where its bytes are as many as a number has, without a copy.

    Args:
        codes: ``uint8 (n, width)``.

    Returns:
        ``(1, n)`` of ``uint8``, ``uint16``, ``uint32`` or ``uint64`` where the width is 1, 2, 4 or
        8; else ``uint64 (ceil(width / 8), n)``, zeros behind the last bit.
    """
    count, width = codes.shape
    if width in (1, 2, 4, 8):
        return np.ascontiguousarray(codes).view(f"<u{width}").T
    padded = np.zeros((count, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = codes
    return np.ascontiguousarray(padded.view("<u8").T)


def distances(words: Words, query: Words) -> npt.NDArray[np.uint8 | np.uint16]:
    """The distance of every code to one query.

    Args:
        words: as :func:`code_words` gives them, ``(w, n)``.
        query: those of one code, ``(w,)``.

    Returns:
        ``(n,)``, in bits; ``uint8`` where it holds them.
    """
    n_words, n_codes = words.shape
    if n_words == 1 and n_codes <= _AT_ONCE:
        bits: npt.NDArray[np.uint8] = np.bitwise_count(words[0] ^ query[0])
        return bits
    distance = np.empty(n_codes, np.min_scalar_type(64 * n_words))

    def fill(part: slice) -> None:
        for begin in range(part.start, part.stop, _AT_ONCE):
            here = slice(begin, min(begin + _AT_ONCE, part.stop))
            np.bitwise_count(words[0, here] ^ query[0], out=distance[here])
            for row, word in zip(words[1:], query[1:], strict=True):
                distance[here] += np.bitwise_count(row[here] ^ word)

    in_threads(fill, parts(n_codes, _CODES_A_THREAD))
    return distance


def _ranges(begin: Integers, count: Integers) -> Integers:
    """``begin[i]`` up to ``begin[i] + count[i]``, one range after another."""
    end = np.cumsum(count)
    return np.repeat(begin - end + count, count) + np.arange(end[-1] if len(end) else 0)
