"""What a gallery holds: a few facts, and named arrays in memory or mapped from a file.

The names of the arrays are the names of the datasets in a gallery file, so that a gallery
is the same thing before it is saved and after it is opened. ``n`` items have ``u``
distinct semantic codes; a *row* is an item's place, and rows are sorted by semantic code
(as bytes), then by id (as UTF-8 bytes):

- ``codes/distinct`` ``uint8 (u, n_bits // 8)``, ascending
- ``codes/offsets`` ``uint64 (u + 1)``: the rows of code ``i`` are ``offsets[i]:offsets[i + 1]``
- ``items/fine`` ``uint8 (n, fine_bits // 8)``, absent when ``fine_bits`` is 0
- ``items/id`` ``S (n)``, unique UTF-8
- ``items/id_rank`` ``uint32 (n)``: the place of each id among all, sorted
- ``items/label`` ``int32 (n)`` into ``labels/name`` ``S (labels)``, -1: none; absent without labels
- ``items/path`` ``S (n)``, empty: none; absent without paths
- ``items/stamp`` ``uint64 (n, 2)``: see :mod:`hashsearch.gallery.stamps`; absent where unknown
- ``columns/NAME`` ``int32 (n)`` into the values of each further column, -1: none; those are
  ``values/NAME`` ``uint8 (bytes)`` and ``value_offsets/NAME`` ``uint64 (values + 1)``
- ``items/thumbnail`` ``uint8 (bytes)`` and ``items/thumbnail_offsets`` ``uint64 (n + 1)``, in files
  only; see :class:`hashsearch.gallery.thumbnails.Thumbnails`
- ``mih/places`` and ``mih/offsets``: hash tables over ``codes/distinct``, see
  :func:`hashsearch.gallery.multi_index.table_datasets`; absent where they are few
- ``faiss/<kind>`` ``uint8 (bytes)``: a serialised index over ``codes/distinct``
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError, GalleryDamaged
from hashsearch.gallery.texts import unpack_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hashsearch.gallery.thumbnails import Thumbnails

__all__ = [
    "ATTRIBUTES",
    "ITEM",
    "LABEL",
    "RESERVED",
    "SPLIT",
    "Content",
    "HasContent",
    "column_datasets",
    "find_sorted",
    "now",
    "utf8",
]

LABEL, ITEM, ATTRIBUTES, SPLIT = "label", "item", "attributes", "split"
"""Columns that mean something here: what kind of item each is, which article it shows, what it has,
parted by ``|``, and to which part of an official split it belongs."""

RESERVED = frozenset(
    {LABEL, "id", "path", "code", "query", "rank", "distance", "full_distance", "in_ball"}
)
"""Names that no further column can have: a match has these already."""

_COLUMNS, _VALUES, _VALUE_OFFSETS = "columns/", "values/", "value_offsets/"

_FEW_CODES = 1 << 16  # so many counts are sooner looked up than made, and take little memory


@dataclass(frozen=True)
class Content:
    """The facts and the arrays of one gallery, with the look-ups by row."""

    n_bits: int
    fine_bits: int
    n_items: int
    n_distinct: int
    encoder_fingerprint: str | None
    encoder_name: str | None
    created: str
    datasets: Mapping[str, npt.NDArray[Any]]
    thumbnails: Thumbnails | None = None
    source: str | None = None
    path: Path | None = None
    file_bytes: int | None = None

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """``int64 (u + 1)``: where the rows of each distinct code begin and end.

        Raises:
            GalleryDamaged: they are not ascending from 0 to ``n``.
        """
        offsets = self.datasets["codes/offsets"].view(np.int64)
        if offsets[0] != 0 or offsets[-1] != self.n_items or np.any(offsets[1:] <= offsets[:-1]):
            raise GalleryDamaged(
                f"{self.path} is damaged (codes/offsets is not ascending); "
                "rebuild it with `hashsearch build-index`"
            )
        return offsets

    @cached_property
    def items_per_code(self) -> npt.NDArray[np.int64]:
        """``int64 (u,)``: how many items have each distinct code."""
        return np.diff(self.offsets)

    def items_of(self, place: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many items have these distinct codes; of many codes, without a count of each."""
        if self.n_distinct < _FEW_CODES:
            return self.items_per_code[place]
        count: npt.NDArray[np.int64] = self.offsets[place + 1]
        count -= self.offsets[place]
        return count

    @property
    def searched_bytes(self) -> int:
        """Of the arrays that a search reads: no ids, labels, pictures or FAISS indexes."""
        return sum(
            self.datasets[name].nbytes
            for name in self.datasets
            if name.startswith(("codes/", "mih/")) or name in ("items/fine", "items/id_rank")
        )

    @cached_property
    def rows_by_id(self) -> npt.NDArray[np.int64]:
        """``int64 (n,)``: the rows in the order of their ids."""
        rows = np.empty(self.n_items, np.int64)
        rows[self.datasets["items/id_rank"]] = np.arange(self.n_items)
        return rows

    @cached_property
    def _sorted_ids(self) -> npt.NDArray[Any]:
        return self.datasets["items/id"][self.rows_by_id]

    def ids_before(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """How many ids of the gallery come before each of these, which must be new.

        Args:
            ids: ``S (m,)``, UTF-8.

        Returns:
            ``int64 (m,)``.

        Raises:
            ArgumentError: one is in the gallery.
        """
        before, taken = find_sorted(self._sorted_ids, ids)
        if taken.any():
            first = ids[taken.argmax()].decode()
            raise ArgumentError(
                f"{taken.sum():,} of {len(ids):,} ids are in the gallery already "
                f"(first: {first!r}); remove those items first, or rename the new ones"
            )
        return before

    def find(self, ids: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The rows of ids, and which are there: ``int64 (m,)`` and ``bool (m,)``.

        What stands in the place of one that is not there means nothing.
        """
        wanted = utf8(ids)
        # NumPy would widen all ids of the gallery to the longest that is asked for.
        width = self._sorted_ids.dtype.itemsize
        place, found = find_sorted(self._sorted_ids, wanted.astype(f"S{width}"))
        found &= np.char.str_len(wanted) <= width
        return self.rows_by_id[np.minimum(place, self.n_items - 1)], found

    def rows_of(self, ids: Sequence[str], *, strict: bool = True) -> npt.NDArray[np.int64]:
        """The rows of these ids, in their order; of those that are there, if not ``strict``.

        Raises:
            ArgumentError: ``strict``, and an id is not in the gallery.
        """
        rows, found = self.find(ids)
        if strict and not found.all():
            first = ids[int(found.argmin())]
            raise ArgumentError(
                f"{len(ids) - found.sum():,} of {len(ids):,} ids are not in the gallery "
                f"(first: {first!r})"
            )
        return rows[found]

    def codes(self, rows: npt.ArrayLike | None = None) -> npt.NDArray[np.uint8]:
        """The whole codes of these rows, all by default.

        Returns:
            ``uint8 (rows, (n_bits + fine_bits) // 8)``.
        """
        rows = self._rows(rows)
        place = np.searchsorted(self.offsets, rows, side="right") - 1
        parts = [self.datasets["codes/distinct"][place]]
        if self.fine_bits:
            parts.append(self.datasets["items/fine"][rows])
        return np.hstack(parts)

    def ids(self, rows: npt.ArrayLike | None = None) -> list[str]:
        """The ids of these rows, all by default."""
        return _texts(self.datasets["items/id"][self._rows(rows)])

    @property
    def column_names(self) -> list[str]:
        """The columns, sorted; ``label`` comes first where any item has one."""
        names = [_unquoted(name) for name in self.datasets if name.startswith(_COLUMNS)]
        return [LABEL] * ("items/label" in self.datasets) + sorted(names)

    def numbers(self, name: str) -> npt.NDArray[np.int32]:
        """``int32 (n,)``: each item's place among the :meth:`values` of a column; -1: none."""
        dataset = "items/label" if name == LABEL else column_datasets(name)[0]
        if dataset not in self.datasets:
            return np.full(self.n_items, -1, np.int32)
        return self.datasets[dataset]

    def column(self, name: str, rows: npt.ArrayLike | None = None) -> list[str | None]:
        """What these rows, all by default, have in a column; None where an item has nothing."""
        rows = self._rows(rows)
        numbers = self.numbers(name)[rows]
        # Only what is wanted is decoded: a column may have as many values as there are items.
        wanted = np.unique(numbers[numbers >= 0]).astype(np.int64)
        text_of: dict[int, str | None] = dict(
            zip(wanted.tolist(), self.values(name, wanted), strict=True)
        )
        return [text_of.get(number) for number in numbers.tolist()]

    def n_values(self, name: str) -> int:
        """How many distinct values a column has."""
        if name == LABEL:
            return len(self.datasets.get("labels/name", ()))
        return max(len(self.datasets.get(column_datasets(name)[2], ())) - 1, 0)

    def values(self, name: str, places: npt.NDArray[np.int64] | None = None) -> list[str]:
        """The distinct values of a column, sorted; those at these places, all by default."""
        if places is None:
            places = np.arange(self.n_values(name))
        if not len(places):
            return []
        if name == LABEL:
            return _texts(self.datasets["labels/name"][places])
        _, packed, offsets = column_datasets(name)
        return unpack_texts(self.datasets[packed], self.datasets[offsets], places)

    def paths(self, rows: npt.ArrayLike | None = None) -> list[str | None]:
        """The image paths of these rows, all by default; None where an item has none."""
        rows = self._rows(rows)
        if "items/path" not in self.datasets:
            return [None] * len(rows)
        return [path or None for path in _texts(self.datasets["items/path"][rows])]

    def thumbnail(self, row: int) -> bytes | None:
        """The small picture of this row as it was given (JPEG bytes), or None."""
        (row,) = self._rows([row]).tolist()
        return None if self.thumbnails is None else self.thumbnails[row] or None

    def _rows(self, rows: npt.ArrayLike | None) -> npt.NDArray[np.int64]:
        if rows is None:
            return np.arange(self.n_items)
        array = np.asarray(rows)
        if array.size == 0:
            return np.zeros(0, np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ArgumentError(f"rows must be whole numbers (m,), not {array.dtype} {array.shape}")
        if array.min() < 0 or array.max() >= self.n_items:
            raise ArgumentError(
                f"rows must lie in 0 .. {self.n_items - 1}, not {array.min()} .. {array.max()}"
            )
        return array.astype(np.int64, copy=False)


class HasContent(Protocol):
    """Whatever can be written to a gallery file."""

    @property
    def content(self) -> Content:
        """The facts and arrays to write."""
        ...


def column_datasets(name: str) -> tuple[str, str, str]:
    """The datasets of a further column: each item's value by number, the values, their offsets.

    A name may hold what means something to HDF5; that is written as in web addresses.

    >>> column_datasets("price / EUR")[0]
    'columns/price %2F EUR'
    """
    quoted = name.replace("%", "%25").replace("/", "%2F")
    quoted = "%2E" if quoted == "." else quoted
    return f"{_COLUMNS}{quoted}", f"{_VALUES}{quoted}", f"{_VALUE_OFFSETS}{quoted}"


def _unquoted(dataset: str) -> str:
    name = dataset.removeprefix(_COLUMNS)
    return name.replace("%2E", ".").replace("%2F", "/").replace("%25", "%")


def find_sorted(
    ascending: npt.NDArray[Any], wanted: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where values stand in an ascending array that is not empty, or would stand.

    Returns:
        ``int64 (m,)``, how many come before each, and ``bool (m,)``, whether it is there.
    """
    before = np.searchsorted(ascending, wanted)
    return before, ascending[np.minimum(before, len(ascending) - 1)] == wanted


def now() -> str:
    """The time of making, as a gallery holds it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def utf8(ids: Sequence[str]) -> npt.NDArray[Any]:
    """Texts as ``S (m,)`` to look for among ids.

    What no id can be, as it holds a NUL or is not UTF-8, becomes what no id is.
    """
    encoded = [b"\xff" if "\0" in text else text.encode(errors="surrogateescape") for text in ids]
    return np.array(encoded or [b""])[: len(encoded)]


def _texts(column: npt.NDArray[Any]) -> list[str]:
    """Fixed-width UTF-8 to str; NumPy strips the padding."""
    return [value.decode() for value in column.tolist()]
