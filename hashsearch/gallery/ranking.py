"""The one order: nearest the ball first, then by the whole code, then by id.

How far back in that order an item lies is one small number, its *key*:
``max(distance - radius, 0) * (total_bits + 1) + full_distance``; equal keys go by id. The items
of a semantic code are one slice of the arrays, so the keys of a ball are made slice by slice,
with nothing looked up. The best few are those up to a key that counting finds, and no more than
they are sorted.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashsearch.gallery.content import Content
    from hashsearch.gallery.hamming_index import Balls

__all__ = ["Ranked", "Ranking", "fine_words"]

Rows = npt.NDArray[np.int64]
Words = npt.NDArray[np.unsignedinteger]
Integers = npt.NDArray[np.integer[Any]]

# Codes of so many items each, or more, have them read where they lie; else they are gathered.
_LARGE_SLICE = 1024
_FEW_ROWS = 1 << 16  # so many of several queries are sorted at once
_FEW_KEYS = 4096  # from so many on, counting beats partitioning
_ROWS_AT_ONCE = 1 << 14  # 8 bytes each: they fit a core's cache beside what is made of them
_WORD_BITS = 63  # of a signed word


class Ranked(NamedTuple):
    """The items of ``q`` queries, those of one after those of another, each in order.

    ``held`` is ``int64 (q,)``, how many each query has; rows are ``int64 (m,)``, and distances in
    bits ``int32 (m,)``.
    """

    held: Rows
    row: Rows
    distance: npt.NDArray[np.int32]
    full_distance: npt.NDArray[np.int32]

    @classmethod
    def nothing(cls, n_queries: int) -> Ranked:
        """No item of any of so many queries."""
        no_bits = np.zeros(0, np.int32)
        return cls(np.zeros(n_queries, np.int64), np.zeros(0, np.int64), no_bits, no_bits)

    @classmethod
    def joined(cls, parts: Sequence[Ranked]) -> Ranked:
        """What was found for some queries after others."""
        if len(parts) > 1:
            return cls(*map(np.concatenate, zip(*parts, strict=True)))
        return parts[0] if parts else cls.nothing(0)


class _Slices(NamedTuple):
    """The rows of the distinct codes of a ball, laid end to end; all ``int64 (codes,)``.

    The rows of code ``i`` are ``begin[i]:end[i]``; laid end to end they end at ``reach[i]``.
    """

    begin: Rows
    end: Rows
    reach: Rows

    @property
    def total(self) -> int:
        """How many rows they are."""
        return int(self.reach[-1]) if len(self.reach) else 0

    @property
    def rows(self) -> Rows:
        """All rows, ``int64 (total,)``."""
        return np.repeat(self.end - self.reach, self.end - self.begin) + np.arange(self.total)

    def pieces(self, values: Integers) -> Iterator[_Piece]:
        """All rows, a piece at a time.

        Large slices come where they lie, in pieces that fit the cache; small ones are
        gathered, all at once.

        Args:
            values: ``int64 (codes,)``, one a code.
        """
        if self.total <= _LARGE_SLICE * len(self.reach):
            yield _Piece(slice(None), self.rows, np.repeat(values, self.end - self.begin))
            return
        place = 0
        for begin, end, value in zip(
            self.begin.tolist(), self.end.tolist(), values.tolist(), strict=True
        ):
            for start in range(begin, end, _ROWS_AT_ONCE):
                stop = min(start + _ROWS_AT_ONCE, end)
                places = slice(place, place + stop - start)
                yield _Piece(places, slice(start, stop), value)
                place = places.stop


class _Piece(NamedTuple):
    """Some rows of a ball."""

    places: slice
    """Where they stand when all are laid end to end."""
    where: slice | Rows
    """What to index an array of the gallery with."""
    value: Any
    """That of their code: one for all of them, or ``int64 (rows,)``."""

    @property
    def rows(self) -> Rows:
        """``int64 (rows,)``."""
        if isinstance(self.where, slice):
            return np.arange(self.where.start, self.where.stop)
        return self.where


class Ranking:
    """Orders the items of a gallery around a query."""

    def __init__(self, content: Content) -> None:
        self._offsets = content.offsets
        self._id_rank = content.datasets["items/id_rank"]
        self._fine_bits = content.fine_bits
        self._step = content.n_bits + content.fine_bits + 1  # of the key, a bit outside the ball
        self._fine = fine_words(content.datasets["items/fine"]) if content.fine_bits else None

    def best(
        self, balls: Balls, radius: int, fine_queries: Words | None, limit: int | None
    ) -> Ranked:
        """The items around each query in the one order, or the first ``limit`` of them.

        Args:
            balls: distinct codes and their distances; may reach past the radius.
            radius: in bits.
            fine_queries: the rows of :func:`fine_words` of the queries; None without a fine code.
            limit: how many at most of each, at least 1; None: all.
        """
        if not len(balls.place):
            return Ranked.nothing(len(balls.limits) - 1)
        slices = self._slices(balls)
        if len(balls.limits) == 2:
            fine_query = None if fine_queries is None else fine_queries[0]
            return self._of_one(slices, balls.distance, radius, fine_query, limit)
        if slices.total <= _FEW_ROWS:
            return self._of_some(slices, balls, radius, fine_queries, limit)
        ranked = [
            self._of_one(own, distance, radius, fine_query, limit)
            for own, distance, fine_query in _one_by_one(slices, balls, fine_queries)
        ]
        return Ranked.joined(ranked)

    def unranked(self, balls: Balls, fine_queries: Words | None) -> Ranked:
        """The items around each query by row.

        Args:
            balls: distinct codes and their distances.
            fine_queries: as for :meth:`best`.
        """
        found = []
        for own, distance, fine_query in _one_by_one(self._slices(balls), balls, fine_queries):
            near = np.repeat(distance.astype(np.int32), own.end - own.begin)
            full = self._keys(own, distance, fine_query).astype(np.int32)
            found.append(Ranked(np.array([own.total]), own.rows, near, full))
        return Ranked.joined(found)

    def _slices(self, balls: Balls) -> _Slices:
        begin, end = self._offsets[balls.place], self._offsets[balls.place + 1]
        return _Slices(begin, end, np.cumsum(end - begin))

    def _of_one(
        self,
        slices: _Slices,
        distance: Rows,
        radius: int,
        fine_query: Words | None,
        limit: int | None,
    ) -> Ranked:
        """What :meth:`best` gives of a single query."""
        outside = np.maximum(distance - radius, 0)
        keys = self._keys(slices, outside * self._step + distance, fine_query)
        if limit is None or limit >= len(keys):
            row, far, key = self._all(slices, distance, keys)
        else:
            row, far, key = self._first(slices, distance, keys, limit)
        near, full = far.astype(np.int32, copy=False), key.astype(np.int32, copy=False)
        if outside.any():
            full -= np.maximum(near - radius, 0) * self._step
        return Ranked(np.array([len(row)]), row, near, full)

    def _of_some(
        self,
        slices: _Slices,
        balls: Balls,
        radius: int,
        fine_queries: Words | None,
        limit: int | None,
    ) -> Ranked:
        """What :meth:`best` gives of many queries with few items each: all sorted at once."""
        count = slices.end - slices.begin
        row = slices.rows
        distance = np.repeat(balls.distance, count)
        n_queries = len(balls.limits) - 1
        query = np.repeat(np.repeat(np.arange(n_queries), np.diff(balls.limits)), count)
        full = distance
        if self._fine is not None and fine_queries is not None:
            full = distance + _popcount(self._fine[row] ^ fine_queries[query])
        key = np.maximum(distance - radius, 0) * self._step + full
        order = np.lexsort((self._id_rank[row], key, query))
        held = np.bincount(query, minlength=n_queries)
        if limit is not None:
            order = order[np.arange(len(order)) - np.repeat(np.cumsum(held) - held, held) < limit]
            held = np.minimum(held, limit)
        return Ranked(
            held, row[order], distance[order].astype(np.int32), full[order].astype(np.int32)
        )

    def _keys(
        self, slices: _Slices, least: npt.NDArray[np.int64], fine_query: Words | None
    ) -> Words:
        """The keys of the items, ``(total,)`` of the smallest dtype that holds them.

        Args:
            slices: where the items lie.
            least: ``int64 (codes,)``, the key of an item whose fine code is the query's.
            fine_query: a row of :func:`fine_words`; None without a fine code.
        """
        key = np.empty(
            slices.total, np.min_scalar_type(int(least.max(initial=0)) + self._fine_bits)
        )

        for piece in slices.pieces(least):
            differing: Any = 0
            if self._fine is not None and fine_query is not None:
                differing = _popcount(self._fine[piece.where] ^ fine_query)
            np.add(differing, piece.value, out=key[piece.places], dtype=key.dtype, casting="unsafe")
        return key

    def _first(
        self, slices: _Slices, distance: Integers, key: Integers, limit: int
    ) -> tuple[Rows, Integers, Integers]:
        """Rows, distances and keys of the first ``limit``, in order."""
        chosen = _shortlist(key, slices.reach, limit)
        code = np.searchsorted(slices.reach, chosen, side="right")
        rows = (slices.end - slices.reach)[code] + chosen
        order = np.lexsort((self._id_rank[rows], key[chosen]))[:limit]
        return rows[order], distance[code[order]], key[chosen[order]]

    def _all(
        self, slices: _Slices, distance: Integers, key: Integers
    ) -> tuple[Rows, Integers, Integers]:
        """Rows, distances and keys of all of them, in order.

        All that matters of an item fits a word: key, id, distance and row. To sort the words
        is several times quicker than to find their order and look up the rest in it.
        """
        row_bits = len(self._id_rank).bit_length()
        distance_bits = int(distance.max(initial=0)).bit_length()
        key_bits = int(key.max(initial=0)).bit_length()
        if key_bits + 2 * row_bits + distance_bits > _WORD_BITS:
            return self._looked_up(slices, distance, key)
        word = np.empty(len(key), np.int64)
        for piece in slices.pieces(distance << row_bits):
            part = word[piece.places]
            part[...] = key[piece.places]
            part <<= row_bits
            part |= self._id_rank[piece.where]
            part <<= distance_bits + row_bits
            part |= piece.rows
            part |= piece.value
        word.sort()
        row = word & ((1 << row_bits) - 1)
        near, far = np.empty((2, len(word)), np.int32)
        word >>= row_bits
        # Into place: an array more costs more to get than to fill.
        np.bitwise_and(word, (1 << distance_bits) - 1, out=near, casting="unsafe")
        np.right_shift(word, distance_bits + row_bits, out=far, casting="unsafe")
        return row, near, far

    def _looked_up(
        self, slices: _Slices, distance: Integers, key: Integers
    ) -> tuple[Rows, Integers, Integers]:
        """What :meth:`_all` gives, of more than fits a word."""
        rows, distances = np.empty((2, len(key)), np.int64)
        for piece in slices.pieces(distance):
            rows[piece.places] = piece.rows
            distances[piece.places] = piece.value
        order = np.lexsort((self._id_rank[rows], key))
        return rows[order], distances[order], key[order]


def _one_by_one(
    slices: _Slices, balls: Balls, fine_queries: Words | None
) -> Iterator[tuple[_Slices, Rows, Words | None]]:
    """The slices, the distances and the fine code of each query."""
    for number, (first, last) in enumerate(itertools.pairwise(balls.limits.tolist())):
        begin, end = slices.begin[first:last], slices.end[first:last]
        own = _Slices(begin, end, np.cumsum(end - begin))
        yield (
            own,
            balls.distance[first:last],
            None if fine_queries is None else fine_queries[number],
        )


def fine_words(fine: npt.NDArray[np.uint8]) -> Words:
    """The same fine codes in the widest words that divide them.

    Args:
        fine: ``uint8 (n, width)``, C-contiguous.

    Returns:
        ``uint64 (n,)`` where the width is 8 bytes, ``uint64 (n, width // 8)`` where 8 divides
        it, else ``uint8 (n, width)``; a view.
    """
    if fine.shape[1] == 8:
        return fine.view(np.uint64)[:, 0]
    return fine.view(np.uint64) if fine.shape[1] % 8 == 0 else fine


def _popcount(words: Words) -> npt.NDArray[np.uint8 | np.int64]:
    bits: npt.NDArray[np.uint8] = np.bitwise_count(words)
    return bits if bits.ndim == 1 else bits.sum(axis=1, dtype=np.int64)


def _shortlist(key: Integers, reach: Rows, limit: int) -> Rows:
    """Places that surely hold the best ``limit`` by key, then by id; few more than that.

    Within one distinct code the rows ascend by id, so of the items that tie at the cut no
    code can give more than its first ones. That spares comparing thousands of ids.

    Args:
        key: ``(total,)``, the smaller the better.
        reach: ``int64 (codes,)``: where the items of each distinct code end in ``key``.
        limit: less than ``total``.
    """
    cut = _smallest_that_holds(key, limit)
    chosen = np.flatnonzero(key <= cut)
    if len(chosen) == limit:
        return chosen
    tie = key[chosen] == cut
    below, tied = chosen[~tie], chosen[tie]
    code = np.searchsorted(reach, tied, side="right")
    rank_in_code = np.arange(len(tied)) - np.searchsorted(code, code)
    return np.concatenate([below, tied[rank_in_code < limit - len(below)]])


def _smallest_that_holds(key: Integers, count: int) -> int:
    """The least value that ``count`` of the keys do not exceed.

    NumPy counts bytes at the speed of memory: to partition many takes longer than to find the
    value by halving.
    """
    if len(key) < _FEW_KEYS:
        return int(np.partition(key, count - 1)[count - 1])
    low, high = int(key.min()), int(key.max())
    while low < high:
        middle = (low + high) // 2
        if np.count_nonzero(key <= middle) >= count:
            high = middle
        else:
            low = middle + 1
    return low
