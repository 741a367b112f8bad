"""Some of the items of a gallery, or further ones: its next generation, or a view to search.

All work on the sorted arrays of :mod:`hashsearch.gallery.content` and keep them sorted:
nothing is sorted anew but what comes in. What has other codes than before holds no index over
them; who writes it adds that (:func:`indexed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError
from hashsearch.gallery.content import find_sorted, now
from hashsearch.gallery.hamming_index import index_datasets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.gallery.content import Content

__all__ = ["compacted", "indexed", "merged", "selected"]

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
    for name in ("items/fine", "items/id", "items/path"):
        if name in old:
            makers[name] = partial(lambda name: old[name][rows], name)
    if "items/label" in old:
        makers.update(_selected_labels(old, rows))
    if "items/thumbnail" in old:
        ends = old["items/thumbnail_offsets"]
        sizes = np.diff(ends)[rows]
        if sizes.any():
            makers["items/thumbnail"] = lambda: _runs(old["items/thumbnail"], ends, rows)
            makers["items/thumbnail_offsets"] = lambda: _offsets(sizes)
    return replace(
        content,
        n_items=len(rows),
        n_distinct=int(remain.sum()),
        created=now(),
        datasets=_Lazy(makers),
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
    old_codes, new_codes = (_as_texts(each.datasets["codes/distinct"]) for each in (old, new))
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
    if any("items/label" in each.datasets for each in (old, new)):
        names = sorted({*old.label_names(), *new.label_names()})
        datasets["labels/name"] = np.array([name.encode() for name in names])
        both("items/label", _label_numbers(old, names), _label_numbers(new, names))
    if any("items/thumbnail" in each.datasets for each in (old, new)):
        datasets.update(_merged_thumbnails(old, new, at))
    return replace(
        old,
        n_items=old.n_items + new.n_items,
        n_distinct=len(datasets["codes/distinct"]),
        created=now(),
        datasets=datasets,
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


def _selected_labels(old: Mapping[str, Column], rows: Rows) -> dict[str, Callable[[], Column]]:
    """Labels of these rows, and the names of those labels that any of them has."""
    label = old["items/label"][rows]
    used = np.bincount(label[label >= 0], minlength=len(old["labels/name"])) > 0
    if not used.any():
        return {}
    place = np.append(np.cumsum(used) - 1, -1).astype(np.int32)  # -1 stays -1
    return {
        "items/label": lambda: place[label],
        "labels/name": lambda: old["labels/name"][used],
    }


def _of_one_width(*columns: Column) -> list[Column]:
    width = max(column.itemsize for column in columns)
    return [column.astype(f"S{width}", copy=False) for column in columns]


def _as_texts(codes: npt.NDArray[np.uint8]) -> Column:
    """``uint8 (u, width)`` as ``S (u)``: one value a code, ordered by its bytes."""
    return np.ascontiguousarray(codes).view(f"S{codes.shape[1]}")[:, 0]


def _paths(content: Content) -> Column:
    return content.datasets.get("items/path", np.zeros(content.n_items, "S1"))


def _label_numbers(content: Content, names: list[str]) -> Column:
    """``int32 (n,)``: the labels as places in another list of names."""
    if "items/label" not in content.datasets:
        return np.full(content.n_items, -1, np.int32)
    place = np.searchsorted(names, content.label_names())
    numbers: Column = np.append(place, -1).astype(np.int32)[content.datasets["items/label"]]
    return numbers


def _offsets(sizes: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Where slices of these sizes begin and end: ``uint64 (len(sizes) + 1,)``."""
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(sizes, dtype=np.uint64)])


def _runs(blob: Column, offsets: npt.NDArray[np.uint64], rows: Rows) -> Column:
    """The bytes of these rows, ascending, copied a run of neighbours at a time."""
    breaks = np.flatnonzero(np.diff(rows) > 1)
    first = rows[np.concatenate([[0], breaks + 1])]
    last = rows[np.append(breaks, len(rows) - 1)]
    bounds = zip(offsets[first].tolist(), offsets[last + 1].tolist(), strict=True)
    return np.concatenate([blob[begin:end] for begin, end in bounds])


def _merged_thumbnails(old: Content, new: Content, at: Rows) -> dict[str, Column]:
    blobs, sizes = zip(*(_thumbnails(each) for each in (old, new)), strict=True)
    cuts = _offsets(sizes[0])[at].tolist()
    new_ends = _offsets(sizes[1]).tolist()
    parts, done = [], 0
    for number, cut in enumerate(cuts):
        parts.append(blobs[0][done:cut])
        parts.append(blobs[1][new_ends[number] : new_ends[number + 1]])
        done = cut
    parts.append(blobs[0][done:])
    return {
        "items/thumbnail": np.concatenate(parts),
        "items/thumbnail_offsets": _offsets(np.insert(sizes[0], at, sizes[1])),
    }


def _thumbnails(content: Content) -> tuple[Column, npt.NDArray[np.uint64]]:
    """The bytes of all, and how many each has."""
    if "items/thumbnail" not in content.datasets:
        return np.zeros(0, np.uint8), np.zeros(content.n_items, np.uint64)
    return content.datasets["items/thumbnail"], np.diff(content.datasets["items/thumbnail_offsets"])
