"""Some of the items of a gallery, or further ones: its next generation, or a view to search.

All work on the sorted arrays of :mod:`hashsearch.gallery.content` and keep them sorted:
nothing is sorted anew but what comes in. What has other codes than before holds no index over
them; who writes it adds that (:func:`indexed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError
from hashsearch.gallery.content import LABEL, column_datasets, find_sorted, now
from hashsearch.gallery.hamming_index import index_datasets
from hashsearch.gallery.texts import pack_texts
from hashsearch.gallery.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.gallery.content import Content

__all__ = ["as_texts", "compacted", "indexed", "merged", "selected"]

Column = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


class _Lazy(Mapping[str, Column]):
    """Datasets that are made when they are first used: a search needs few of them."""

    def __init__(self, makers: Mapping[str, Callable[[], Column]]) -> None:
        self._makers = makers
        self._made: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def selected(content: Content, keep: npt.NDArray[np.bool_]) -> Content:
    """The items of some rows.

    Args:
        content: is left as it is.
        keep: ``bool (n,)``.

    Raises:
        ArgumentError: none is kept.
    """
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise ArgumentError("no item is left, and a gallery needs at least one")
    old = content.datasets
    count = np.add.reduceat(keep, content.offsets[:-1], dtype=np.int64)
    remain = count > 0

    def id_rank() -> Column:
        present = np.zeros(content.n_items, np.uint32)
        present[old["items/id_rank"][rows]] = 1
        rank: Column = np.cumsum(present, dtype=np.uint32)[old["items/id_rank"][rows]]
        return rank - np.uint32(1)

    makers: dict[str, Callable[[], Column]] = {
        "codes/distinct": lambda: old["codes/distinct"][remain],
        "codes/offsets": lambda: _offsets(count[remain]),
        "items/id_rank": id_rank,
    }
    for name in ("items/fine", "items/id", "items/path", "items/stamp"):
        if name in old:
            makers[name] = partial(lambda name: old[name][rows], name)
    for name in content.column_names:
        makers.update(_selected_column(content, name, rows))
    return replace(
        content,
        n_items=len(rows),
        n_distinct=int(remain.sum()),
        created=now(),
        datasets=_Lazy(makers),
        thumbnails=content.thumbnails and content.thumbnails.take(rows),
        file_bytes=None,
    )


def merged(old: Content, new: Content) -> Content:
    """The items of both.

    Args:
        old: any number of items; it is left as it is.
        new: further ones, of the same bit counts.

    Raises:
        ArgumentError: they have an id in common.
    """
    old_ids, new_ids = _of_one_width(old.datasets["items/id"], new.datasets["items/id"])
    before = old.ids_before(new.datasets["items/id"])
    old_codes, new_codes = (as_texts(each.datasets["codes/distinct"]) for each in (old, new))
    place, known = find_sorted(old_codes, new_codes)
    # Rows in order as numbers: the code, of which new ones lie between the old, then the id.
    old_place = np.repeat(2 * np.arange(old.n_distinct) + 1, old.items_per_code)
    new_place = np.repeat(2 * place + known, new.items_per_code)
    at = np.searchsorted(
        (old_place << 32) + old.datasets["items/id_rank"], (new_place << 32) + before
    )

    def both(name: str, one: Column, other: Column) -> None:
        datasets[name] = np.insert(one, at, other, axis=0)

    count = old.items_per_code.copy()
    count[place[known]] += new.items_per_code[known]
    fresh = place[~known]
    datasets: dict[str, Column] = {
        "codes/distinct": np.insert(
            old.datasets["codes/distinct"], fresh, new.datasets["codes/distinct"][~known], axis=0
        ),
        "codes/offsets": _offsets(np.insert(count, fresh, new.items_per_code[~known])),
    }
    both("items/id", old_ids, new_ids)
    ahead = np.cumsum(np.bincount(before, minlength=old.n_items)).astype(np.uint32)
    old_rank, new_rank = (each.datasets["items/id_rank"] for each in (old, new))
    both("items/id_rank", old_rank + ahead[old_rank], new_rank + before.astype(np.uint32))
    if old.fine_bits:
        both("items/fine", old.datasets["items/fine"], new.datasets["items/fine"])
    if any("items/path" in each.datasets for each in (old, new)):
        both("items/path", *_of_one_width(_paths(old), _paths(new)))
    if any("items/stamp" in each.datasets for each in (old, new)):
        both("items/stamp", *(_stamps(each) for each in (old, new)))
    for name in dict.fromkeys([*old.column_names, *new.column_names]):
        distinct = sorted({*old.values(name), *new.values(name)})
        numbers_at, *values_at = _datasets_of(name)
        datasets.update(zip(values_at, _values_as_stored(name, distinct), strict=True))
        both(numbers_at, *(_numbers(each, name, distinct) for each in (old, new)))
    source = np.insert(np.arange(old.n_items), at, old.n_items + np.arange(new.n_items))
    return replace(
        old,
        n_items=old.n_items + new.n_items,
        n_distinct=len(datasets["codes/distinct"]),
        created=now(),
        datasets=datasets,
        thumbnails=_merged_thumbnails(old, new, source),
        source=None,
        path=None,
        file_bytes=None,
    )


def compacted(content: Content) -> Content:
    """The same items in less space: their texts are no wider than the longest."""
    datasets = dict(content.datasets)
    if "items/path" in datasets and not datasets["items/path"].any():
        del datasets["items/path"]
    for name in ("items/id", "items/path", "labels/name"):
        if name in datasets:
            width = int(np.char.str_len(datasets[name]).max())
            datasets[name] = datasets[name].astype(f"S{max(width, 1)}")
    return replace(content, created=now(), datasets=datasets, file_bytes=None)


def indexed(content: Content, kinds: Sequence[str] | None) -> Content:
    """The same items with what searches their codes, as they are to be written."""
    datasets = {
        name: content.datasets[name]
        for name in content.datasets
        if not name.startswith(("faiss/", "mih/"))
    }
    datasets.update(index_datasets(datasets["codes/distinct"], kinds))
    return replace(content, datasets=datasets, file_bytes=None)


def _selected_column(content: Content, name: str, rows: Rows) -> dict[str, Callable[[], Column]]:
    """A column of these rows, and those of its values that any of them has."""
    number = content.numbers(name)[rows]
    used = np.bincount(number[number >= 0], minlength=content.n_values(name)) > 0
    if not used.any():
        return {}
    place = np.append(np.cumsum(used) - 1, -1).astype(np.int32)  # -1 stays -1
    numbers_at, *values_at = _datasets_of(name)
    made = cache(lambda: _values_as_stored(name, content.values(name, np.flatnonzero(used))))
    return {
        numbers_at: lambda: place[number],
        **{dataset: partial(lambda at: made()[at], at) for at, dataset in enumerate(values_at)},
    }


def _datasets_of(name: str) -> tuple[str, ...]:
    """Of a column: that of its numbers, then those of its values."""
    return ("items/label", "labels/name") if name == LABEL else column_datasets(name)


def _values_as_stored(name: str, values: list[str]) -> tuple[Column, ...]:
    """What is in the datasets of a column's values."""
    if name == LABEL:
        return (np.array([value.encode() for value in values]),)
    return pack_texts(values)


def _of_one_width(*columns: Column) -> list[Column]:
    width = max(column.itemsize for column in columns)
    return [column.astype(f"S{width}", copy=False) for column in columns]


def as_texts(codes: npt.NDArray[np.uint8]) -> Column:
    """``uint8 (u, width)`` as ``S (u)``: one value a code, ordered by its bytes."""
    return np.ascontiguousarray(codes).view(f"S{codes.shape[1]}")[:, 0]


def _paths(content: Content) -> Column:
    return content.datasets.get("items/path", np.zeros(content.n_items, "S1"))


def _stamps(content: Content) -> Column:
    return content.datasets.get("items/stamp", np.zeros((content.n_items, 2), np.uint64))


def _numbers(content: Content, name: str, distinct: list[str]) -> Column:
    """``int32 (n,)``: a column's values as places in another list of them."""
    number = {value: place for place, value in enumerate(distinct)}
    place = [number[value] for value in content.values(name)]
    numbers: Column = np.array([*place, -1], np.int32)[content.numbers(name)]
    return numbers


def _merged_thumbnails(old: Content, new: Content, source: Rows) -> Thumbnails | None:
    """Those of the rows of both, where ``source`` says which comes where."""
    if old.thumbnails is None and new.thumbnails is None:
        return None
    one, other = (each.thumbnails or Thumbnails.of([None] * each.n_items) for each in (old, new))
    return one.followed_by(other).take(source)


def _offsets(sizes: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Where slices of these sizes begin and end: ``uint64 (len(sizes) + 1,)``."""
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(sizes, dtype=np.uint64)])
