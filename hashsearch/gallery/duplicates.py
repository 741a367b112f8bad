"""Groups of items whose whole codes are equal, or differ in a few bits.

How near ones are found, all of them (``N``: the largest distance, in bits):

1. Items of one whole code are one point; only distinct codes are compared.
2. The bits are dealt into ``N + t`` substrings. Two codes that differ in at most ``N`` bits agree
   in ``t`` substrings at least, as each bit spoils but one. So for each choice of ``t`` substrings,
   codes are sorted by them, and those that agree are compared (Manku, Jain & Das Sarma 2007,
   "Detecting Near-Duplicates for Web Crawling", with ``t = 1`` the pigeonhole principle). Sorting
   is by a hash of the substrings: what collides by chance is compared in vain, nothing is lost.
3. A larger ``t`` makes more sortings with fewer codes to compare in each. What a sample of the
   codes shares tells which one is the least work. Learned bits are skewed, so each substring gets
   its share of bits of high entropy, and the bytes of most entropy are compared first.
4. Codes that are known to be of one group are not compared again: in each sorting they stand side
   by side, and are compared with those of other groups only.

So it grows a little faster than the items, and with the distance: past about a tenth of the bits,
the codes of one bucket are many, and it goes towards comparing all with all. Seconds on 2 cores of
a Xeon for codes of 32 + 64 bits, and the power of the number of items (between 10,000 and
1,000,000) that they grow with, by :mod:`hashsearch.bench.duplicates`; memory is 60 to 230 bytes an
item of a million beside the gallery:

============  ======  =======  =======  =========  ========
codes         within   10,000  100,000  1,000,000  exponent
============  ======  =======  =======  =========  ========
learned            0    0.004     0.03       0.35      0.96
learned            2    0.01      0.06       1.0       0.97
learned            4    0.01      0.13       2.9       1.15
learned            8    0.09      0.68       9.6       1.02
uniform            0    0.004     0.04       0.48      1.07
uniform            2    0.007     0.05       0.53      0.94
uniform            4    0.007     0.06       0.91      1.05
uniform            8    0.01      0.23       5.7       1.33
============  ======  =======  =======  =========  ========

To deal bits by entropy is what makes learned codes quick: cut where they lie, the substrings of the
semantic code alone are shared by so many that a million items within 4 bits took over 100 s.
"""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hashsearch.errors import ArgumentError
from hashsearch.gallery.threads import in_threads, parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashsearch.gallery.gallery import Gallery

__all__ = ["Duplicates", "find_duplicates"]

Words: TypeAlias = npt.NDArray[np.uint64]
Integers: TypeAlias = npt.NDArray[np.int64]
_Pairs: TypeAlias = tuple[Integers, Integers]
_Run: TypeAlias = Integers
_Tile: TypeAlias = tuple[slice, slice]

_SAMPLE = 1 << 16  # codes that tell entropies and the work ahead
# Nanoseconds, measured: what a code costs in a sorting, a pair of codes in a small and in a large
# bucket. Only their ratios matter.
_SORTED, _IN_SMALL, _IN_LARGE = 80.0, 5.0, 1.2
_LARGE_BUCKET = 256  # from so many on, it is compared as tiles of a matrix
_TILE_PAIRS = 1 << 16  # 8 bytes each: they fit a core's cache
_TILE_ROWS = 16  # at least
_RUN_PAIRS = 1 << 18  # some 30 bytes each
_PAIRS_AT_ONCE = 1 << 22  # some 60 bytes each where all are near; then they are united
_EDGES_AT_ONCE = 1 << 21  # 16 bytes each
_DENSE = 4  # sortings' time that the pairs of a first look may take
_WORTH_A_LOOK = 2  # times what a first look takes
_MIXERS = tuple(
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93)
)
_HALF = np.uint64(32)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Groups of near-identical items, the largest first, then by the first id.

    Attributes:
        max_distance: in bits; items of one group are joined by steps of no more.
        offsets: ``int64 (g + 1,)``: where each group begins and ends in ``rows``.
        rows: ``int64 (m,)``: the items of each group by id, two or more.
        distance: ``int32 (m,)``: of each item to the first of its group, by the whole code, in
            bits. It may exceed ``max_distance``, as a chain of steps may lead far.
    """

    max_distance: int
    offsets: Integers
    rows: Integers
    distance: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Integers:
        """``int64 (g,)``: how many items each group has."""
        return np.diff(self.offsets)

    @property
    def group(self) -> Integers:
        """``int64 (m,)``: the number of each item's group, from 0 on."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @property
    def extras(self) -> Integers:
        """``int64 (m - g,)``: the rows beyond the first of each group."""
        return np.delete(self.rows, self.offsets[:-1])

    @property
    def widest(self) -> npt.NDArray[np.int32]:
        """``int32 (g,)``: the largest distance of each group to its first item, in bits."""
        if not len(self):
            return np.zeros(0, np.int32)
        return np.maximum.reduceat(self.distance, self.offsets[:-1])


def find_duplicates(gallery: Gallery, max_distance: int = 0) -> Duplicates:
    """Group the items whose whole codes are within some bits of each other.

    A group is a connected component: items are joined where their whole codes (semantic and fine)
    differ in at most ``max_distance`` bits, and those that are joined to one item are of one
    group. So two items of a group may be farther apart, if others lie between them. The answer is
    exact: no pair within the distance is missed, and none beyond it is joined.

    Args:
        gallery: whose items are grouped.
        max_distance: in bits of the whole code; 0: equal codes alone.

    Raises:
        ArgumentError: ``max_distance`` is below 0, or no whole number.
    """
    try:
        max_distance = operator.index(max_distance)
    except TypeError:
        raise ArgumentError(f"max_distance must be a whole number, not {max_distance!r}") from None
    if max_distance < 0:
        raise ArgumentError(f"max_distance must be 0 or more, not {max_distance}")
    words, code = _distinct(gallery.codes())
    label = _Components(words, max_distance).label if max_distance else np.arange(words.shape[1])
    return _grouped(gallery, max_distance, words, code, label)


def _grouped(
    gallery: Gallery, max_distance: int, words: Words, code: Integers, label: Integers
) -> Duplicates:
    """The groups in their order.

    Args:
        gallery: whose items they are.
        max_distance: in bits.
        words: the distinct whole codes, ``(w, u)``.
        code: ``int64 (n,)``, which of them each item has.
        label: ``int64 (u,)``, less than ``u``: the group of each code.
    """
    by_id = gallery.content.rows_by_id
    label_of = label[code[by_id]]
    n_items = np.bincount(label_of)
    shared = n_items[label_of] > 1
    rows, label_of = by_id[shared], label_of[shared]
    # Items stand by id, so the first of a group is the one that is met first.
    names, first, number, size = np.unique(
        label_of, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -size))
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    rows = rows[np.argsort(rank[number], kind="stable")]
    offsets = np.concatenate([[0], np.cumsum(size[order])])
    heads = np.repeat(code[rows[offsets[:-1]]], size[order])
    return Duplicates(max_distance, offsets, rows, _distances(words, code[rows], heads))


def _distinct(codes: npt.NDArray[np.uint8]) -> tuple[Words, Integers]:
    """Each whole code once, and which one each item has.

    Args:
        codes: ``uint8 (n, width)``.

    Returns:
        ``uint64 (w, u)``, the bytes of most entropy in the first word, and ``int64 (n,)``.
    """
    entropy = _entropies(np.unpackbits(codes[_sample(len(codes))], axis=1, bitorder="little"))
    order = np.argsort(-entropy.reshape(-1, 8).sum(axis=1), kind="stable")
    n_words = -(-len(order) // 8)
    padded = np.zeros((len(codes), 8 * n_words), np.uint8)
    padded[:, : len(order)] = codes[:, order]
    words = np.ascontiguousarray(padded.view(np.uint64).T)
    by_code = np.lexsort(words)
    ordered = words[:, by_code]
    new = np.ones(len(codes), bool)
    new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    code = np.empty(len(codes), np.int64)
    code[by_code] = np.cumsum(new) - 1
    return np.ascontiguousarray(ordered[:, new]), code


class _Components:
    """The distinct codes, each with the group that it is known to be of.

    Args:
        words: ``uint64 (w, u)``.
        max_distance: in bits, 1 or more.
    """

    def __init__(self, words: Words, max_distance: int) -> None:
        self._words = words
        self._max_distance = max_distance
        self.label: Integers = np.arange(words.shape[1])
        self._order = self.label
        bits = _varying_bits(words)
        if len(bits) <= max_distance:
            self.label = np.zeros_like(self.label)
            return
        for mask in _plan(words, bits, max_distance):
            self._join(mask)

    def _join(self, mask: Words) -> None:
        """Bring together what is near and has the bits of the mask in common."""
        sorting = _Sorting.of(self._words, mask, self._order, self.label)
        edges: list[_Pairs] = []
        for batch in sorting.batches():
            edges += self._near(sorting, batch)
            if sum(len(left) for left, _ in edges) > _EDGES_AT_ONCE:
                self._unite(edges)
                edges = []
        self._unite(edges)

    def _near(self, sorting: _Sorting, batch: Sequence[_Run | _Tile]) -> list[_Pairs]:
        """The codes that are near each other in some parts of a sorting, and of two groups."""

        def of_part(part: slice) -> list[_Pairs]:
            return [self._near_in(sorting, piece) for piece in batch[part]]

        found = in_threads(of_part, parts(len(batch), 1))
        return [pairs for some in found for pairs in some if len(pairs[0])]

    def _near_in(self, sorting: _Sorting, piece: _Run | _Tile) -> _Pairs:
        left, right = sorting.close(piece, self._max_distance)
        left, right = sorting.place[left], sorting.place[right]
        if len(self._words) > 1:
            near = _distances(self._words, left, right) <= self._max_distance
            left, right = left[near], right[near]
        apart = self.label[left] != self.label[right]
        return left[apart], right[apart]

    def _unite(self, edges: Sequence[_Pairs]) -> None:
        """Make one group of those that an edge joins."""
        if not edges:
            return
        left, right = (self.label[np.concatenate(side)] for side in zip(*edges, strict=True))
        touched = np.zeros(len(self.label), bool)
        touched[left] = touched[right] = True
        names = np.flatnonzero(touched)
        number = np.cumsum(touched) - 1
        graph = coo_array(
            (np.ones(len(left), np.int8), (number[left], number[right])),
            shape=(len(names), len(names)),
        )
        _, component = connected_components(graph, directed=False)
        _, first = np.unique(component, return_index=True)
        becomes = np.arange(len(self.label))
        becomes[names] = names[first[component]]
        self.label = becomes[self.label]
        self._order = np.argsort(self.label, kind="stable")


class _Sorting(NamedTuple):
    """Codes in buckets: those of one bucket have some bits in common, one group after another.

    A bucket of a single group is left out. All arrays but ``first_word``, ``uint64 (m,)``, are
    ``int64 (m,)``, and count in the order of the buckets.
    """

    first_word: Words
    place: Integers
    """Which of the distinct codes it is."""
    others: Integers
    """Where the codes of its group in the bucket end, and those of other groups begin."""
    begin: Integers
    """Where its bucket begins."""
    end: Integers
    """Where its bucket ends."""

    @classmethod
    def of(cls, words: Words, mask: Words, order: Integers, label: Integers) -> _Sorting:
        """Sort codes by the bits of a mask, then by group.

        Args:
            words: ``uint64 (w, u)``.
            mask: ``uint64 (w,)``.
            order: ``int64 (u,)``: the codes in the order of their groups.
            label: ``int64 (u,)``: the group of each.
        """
        n_codes = words.shape[1]
        shift = np.uint64((n_codes - 1).bit_length())
        # Hash and number in one word: to sort words is quicker than to find their order.
        key = _hashed(words, mask)[order]
        key >>= shift
        key <<= shift
        key |= np.arange(n_codes, dtype=np.uint64)
        key.sort()
        place = order[(key & ((np.uint64(1) << shift) - np.uint64(1))).view(np.int64)]
        key >>= shift
        new_bucket = np.ones(n_codes, bool)
        new_bucket[1:] = key[1:] != key[:-1]
        new_run = new_bucket.copy()
        group = label[place]
        new_run[1:] |= group[1:] != group[:-1]
        begins = np.flatnonzero(new_bucket)
        several = np.add.reduceat(new_run, begins, dtype=np.int64) > 1
        kept = np.repeat(several, np.diff(begins, append=n_codes))
        place, new_bucket, new_run = place[kept], new_bucket[kept], new_run[kept]
        begin, end = _extents(new_bucket)
        return cls(words[0, place], place, _extents(new_run)[1], begin, end)

    def batches(self) -> Iterator[list[_Run | _Tile]]:
        """All pairs of two groups in one bucket, in pieces; a batch is some of them."""
        yield from _batches(self._runs(), _PAIRS_AT_ONCE // _RUN_PAIRS)
        yield from _batches(self._tiles(), _PAIRS_AT_ONCE // _TILE_PAIRS)

    def close(self, piece: _Run | _Tile, max_distance: int) -> _Pairs:
        """The pairs of a piece whose first words differ in so many bits at most."""
        if isinstance(piece, tuple):
            return self._close_in_tile(*piece, max_distance)
        count = (self.end - self.others)[piece]
        reach = np.cumsum(count)
        left = np.repeat(piece, count)
        right = np.arange(reach[-1]) + np.repeat(self.others[piece] - reach + count, count)
        differing = np.bitwise_count(self.first_word[left] ^ self.first_word[right])
        near = np.flatnonzero(differing <= max_distance)
        return left[near], right[near]

    def _close_in_tile(self, rows: slice, columns: slice, max_distance: int) -> _Pairs:
        one, other = self.first_word[rows], self.first_word[columns]
        near = np.bitwise_count(one[:, None] ^ other[None, :]) <= max_distance
        left, right = np.divmod(np.flatnonzero(near), len(other))
        return left + rows.start, right + columns.start

    def _runs(self) -> Iterator[_Run]:
        """Codes of small buckets, each to be compared with those of later groups."""
        chosen = np.flatnonzero((self.end > self.others) & (self.end - self.begin < _LARGE_BUCKET))
        reach = np.cumsum((self.end - self.others)[chosen])
        cuts = np.searchsorted(reach, np.arange(0, reach[-1] if len(reach) else 0, _RUN_PAIRS))
        yield from (run for run in np.split(chosen, cuts) if len(run))

    def _tiles(self) -> Iterator[_Tile]:
        """Blocks of large buckets: some codes, and some of those of their groups or later ones."""
        begins = np.flatnonzero(self.begin == np.arange(len(self.begin)))
        sizes = self.end[begins] - begins
        for first, size in zip(
            begins[sizes >= _LARGE_BUCKET].tolist(),
            sizes[sizes >= _LARGE_BUCKET].tolist(),
            strict=True,
        ):
            row, end = first, first + size
            while (others := int(self.others[row])) < end:
                n_rows = max(_TILE_ROWS, _TILE_PAIRS // (end - others))
                n_columns = _TILE_PAIRS // n_rows
                rows = slice(row, min(row + n_rows, end))
                for column in range(others, end, max(n_columns, 1)):
                    yield rows, slice(column, min(column + n_columns, end))
                row = rows.stop
                if row == end:
                    break


def _plan(words: Words, bits: Integers, max_distance: int) -> Iterator[Words]:
    """The masks to sort by, ``uint64 (w,)`` each: together they miss no pair.

    Args:
        words: ``uint64 (w, u)``.
        bits: ``int64 (b,)``, more than ``max_distance``: those in which the codes differ, by
            entropy.
        max_distance: in bits.
    """
    n_codes = words.shape[1]
    sample = words[:, _sample(n_codes)]
    # By brute force: all have no bits in common, and are of one bucket.
    least, masks = _IN_LARGE * n_codes**2 / 2, np.zeros((1, len(words)), np.uint64)
    for shared in range(1, len(bits) - max_distance + 1):
        n_sortings = math.comb(max_distance + shared, shared)
        if n_sortings * n_codes * _SORTED >= least:
            break
        dealt = _dealt(bits, max_distance + shared, len(words))
        chosen = np.array([*itertools.combinations(range(len(dealt)), shared)])
        choices = np.bitwise_or.reduce(dealt[chosen], axis=1)
        work = n_sortings * np.mean([_work(sample, choices[end], n_codes) for end in (0, -1)])
        if work < least:
            least, masks = float(work), choices
    yield from _first_look(sample, bits, n_codes, least)
    yield from masks


def _first_look(sample: Words, bits: Integers, n_codes: int, work: float) -> Iterator[Words]:
    """Masks that bring most together in little time, where all of them take long."""
    for n_masks in range(len(bits), 0, -1):
        dealt = _dealt(bits, n_masks, len(sample))
        look = n_masks * n_codes * _SORTED * _DENSE
        if look * _WORTH_A_LOOK > work:
            continue
        if _work(sample, dealt[0], n_codes) < n_codes * _SORTED * _DENSE:
            yield from dealt
            return


def _work(sample: Words, mask: Words, n_codes: int) -> float:
    """Nanoseconds that a sorting takes, with the comparing of what it brings together."""
    _, count = np.unique(_hashed(sample, mask), return_counts=True)
    scale = n_codes / sample.shape[1]
    pair = np.where(scale * count < _LARGE_BUCKET, _IN_SMALL, _IN_LARGE)
    pairs = scale**2 * count * (count - 1) / 2
    return float(_SORTED * n_codes + (pair * pairs).sum())


def _dealt(bits: Integers, n_masks: int, n_words: int) -> Words:
    """Bits dealt to masks to and fro, so that each gets some of the first and of the last ones.

    Returns:
        ``uint64 (n_masks, n_words)``.
    """
    masks = np.zeros((n_masks, n_words), np.uint64)
    turn, hand = np.divmod(np.arange(len(bits)), n_masks)
    hand = np.where(turn % 2, n_masks - 1 - hand, hand)
    word, bit = np.divmod(bits, 64)
    np.bitwise_or.at(masks, (hand, word), np.uint64(1) << bit.astype(np.uint64))
    return masks


def _hashed(words: Words, mask: Words) -> Words:
    """A number for the bits of each code that are in the mask, ``uint64 (u,)``; equal for equal."""
    hashed = np.zeros(words.shape[1], np.uint64)
    for row, of_row in zip(words, mask, strict=True):
        if of_row:
            hashed ^= row & of_row
            for odd in _MIXERS:
                hashed *= odd
                hashed ^= hashed >> _HALF
    return hashed


def _distances(words: Words, one: Integers, other: Integers) -> npt.NDArray[np.int32]:
    """How many bits differ between some codes and some others, ``int32 (m,)``."""
    distance = np.zeros(len(one), np.int32)
    for row in words:
        distance += np.bitwise_count(row[one] ^ row[other])
    return distance


def _varying_bits(words: Words) -> Integers:
    """The bits in which the codes differ, those of most entropy first."""
    differing = np.bitwise_or.reduce(words ^ words[:, :1], axis=1)
    sample = np.ascontiguousarray(words[:, _sample(words.shape[1])].T)
    varies, entropy = (
        np.unpackbits(each.astype("<u8").view(np.uint8), axis=-1, bitorder="little")
        for each in (differing, sample)
    )
    order = np.argsort(-_entropies(entropy), kind="stable")
    return order[varies[order] > 0]


def _entropies(bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Of each bit, from ``(n, b)`` of 0 and 1: ``float64 (b,)``."""
    ones = bits.mean(axis=0)
    zeros = 1 - ones
    entropy: npt.NDArray[np.float64] = -ones * np.log2(np.where(ones, ones, 1))
    entropy -= zeros * np.log2(np.where(zeros, zeros, 1))
    return entropy


def _sample(count: int) -> slice:
    return slice(None, None, -(-count // _SAMPLE))


def _extents(new: npt.NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Where the run that each is of begins and ends; a run begins where ``new`` says so."""
    begins = np.flatnonzero(new)
    length = np.diff(begins, append=len(new))
    return np.repeat(begins, length), np.repeat(begins + length, length)


def _batches(pieces: Iterator[_Run | _Tile], size: int) -> Iterator[list[_Run | _Tile]]:
    while batch := list(itertools.islice(pieces, size)):
        yield batch
