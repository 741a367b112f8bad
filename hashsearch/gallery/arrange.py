"""Codes and what belongs to them, in the caller's order -> the arrays of a gallery."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.codes import check_bit_counts, check_codes, split_codes
from hashsearch.errors import ArgumentError
from hashsearch.gallery.content import RESERVED, Content, column_datasets, now
from hashsearch.gallery.hamming_index import index_datasets
from hashsearch.gallery.texts import pack_texts
from hashsearch.gallery.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Sized

__all__ = ["arrange"]


def arrange(
    codes: npt.ArrayLike,
    *,
    n_bits: int,
    fine_bits: int,
    ids: Sequence[str] | None,
    labels: Sequence[str | None] | None,
    paths: Sequence[str | None] | None,
    thumbnails: Sequence[bytes | None] | Thumbnails | None,
    columns: Mapping[str, Sequence[str | None]] | None,
    stamps: npt.NDArray[np.uint64] | None,
    encoder_fingerprint: str | None,
    encoder_name: str | None,
    source: str | None,
    indexes: Sequence[str] | None,
) -> Content:
    """Sort the items by semantic code, then by id, and index the distinct codes.

    Args and errors are those of :meth:`hashsearch.gallery.Gallery.from_codes`, and ``stamps``,
    ``uint64 (n, 2)``: what the images were encoded of (:mod:`hashsearch.gallery.stamps`), and
    ``source``: the path of what they were read from.
    """
    check_bit_counts(n_bits, fine_bits)
    codes = check_codes(codes, n_bits, fine_bits)
    n_items = len(codes)
    if n_items == 0:
        raise ArgumentError("a gallery needs at least one item, but codes is empty")
    semantic, fine = split_codes(codes, n_bits)
    id_column = _default_ids(n_items) if ids is None else _id_column(ids, n_items)

    # What is done with is let go at once: the peak is what limits a large gallery.
    by_id = np.lexsort(_sort_words(id_column.view(np.uint8).reshape(n_items, -1)))
    id_rank = np.empty(n_items, np.uint32)
    id_rank[by_id] = np.arange(n_items, dtype=np.uint32)
    words = _sort_words(semantic)[:, by_id]
    by_code = np.lexsort(words)
    order = by_id[by_code]
    del by_id
    changes = _changes(words, by_code)
    del words, by_code
    begins = np.flatnonzero(changes)
    begins += 1
    offsets = np.empty(len(begins) + 2, np.uint64)
    offsets[0], offsets[1:-1], offsets[-1] = 0, begins, n_items
    del changes, begins
    distinct = semantic[order[offsets[:-1].view(np.int64)]]

    datasets: dict[str, npt.NDArray[Any]] = {
        "codes/distinct": distinct,
        "codes/offsets": offsets,
        "items/id": id_column[order],
        "items/id_rank": id_rank[order],
    }
    del id_column, id_rank
    if fine_bits:
        datasets["items/fine"] = np.ascontiguousarray(fine[order])
    if stamps is not None:
        datasets["items/stamp"] = stamps[order]
    if labels is not None:
        names, numbers = _coded(labels, "labels", order)
        if names:
            datasets["labels/name"] = _text_column(names, "labels", None)
            datasets["items/label"] = numbers
    for name, values in (columns or {}).items():
        _check_name(name)
        texts, numbers = _coded(values, f"column {name!r}", order)
        if texts:
            at, values_at, offsets_at = column_datasets(name)
            datasets[at] = numbers
            datasets[values_at], datasets[offsets_at] = pack_texts(texts)
    if paths is not None:
        column = _text_column(["" if path is None else path for path in paths], "paths", n_items)
        datasets["items/path"] = column[order]
    if thumbnails is not None:
        _check_length(thumbnails, "thumbnails", n_items)
        if not isinstance(thumbnails, Thumbnails):
            thumbnails = Thumbnails.of(thumbnails)
        thumbnails = thumbnails.take(order)
    del order
    datasets.update(index_datasets(distinct, indexes))
    return Content(
        n_bits=n_bits,
        fine_bits=fine_bits,
        n_items=n_items,
        n_distinct=len(distinct),
        encoder_fingerprint=encoder_fingerprint or None,
        encoder_name=encoder_name or None,
        created=now(),
        datasets=datasets,
        thumbnails=thumbnails,
        source=source,
    )


def _changes(words: npt.NDArray[np.uint64], by_code: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which of the sorted codes differ from the one before: ``bool (n - 1,)``.

    Args:
        words: ``uint64 (w, n)``; not to be used after that.
        by_code: ``(n,)``, what sorts them.
    """
    changes = np.zeros(len(by_code) - 1, bool)
    for word in words:
        if len(words) == 1:
            word.sort()
            ordered = word
        else:
            ordered = word[by_code]
        changes |= ordered[1:] != ordered[:-1]
    return changes


def _sort_words(texts: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """``uint8 (n, width)`` as numbers that are ordered like the bytes, the first byte first.

    Returns:
        ``uint64 (ceil(width / 8), n)``, the last word first, as ``np.lexsort`` wants them.
    """
    n_texts, width = texts.shape
    padded = np.zeros((n_texts, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = texts
    words = padded.view(np.uint64)
    if sys.byteorder == "little":
        words.byteswap(inplace=True)
    return words.T[::-1]


def _default_ids(n_items: int) -> npt.NDArray[Any]:
    """``S (n)``: "0", "1", ...; ``np.arange(n).astype("S")`` takes several times as long."""
    width = len(str(n_items - 1))
    digits = np.zeros((n_items, width), np.uint8)
    for length in range(1, width + 1):
        first, end = 10 ** (length - 1) if length > 1 else 0, min(10**length, n_items)
        number = np.arange(first, end)
        for place in reversed(range(length)):
            tens = number // 10
            digits[first:end, place] = number - 10 * tens + ord("0")
            number = tens
    return digits.view(f"S{width}")[:, 0]


def _id_column(ids: Sequence[str], n_items: int) -> npt.NDArray[Any]:
    ids = list(ids)
    column = _text_column(ids, "ids", n_items)
    seen: set[str] = set(ids)
    if "" in seen:
        raise ArgumentError(f"ids[{ids.index('')}] is empty; every item needs an id")
    if len(seen) < n_items:
        seen.clear()
        for place, name in enumerate(ids):
            if name in seen:
                raise ArgumentError(
                    f"ids must be unique, but {name!r} is both ids[{ids.index(name)}] "
                    f"and ids[{place}]; rename or drop one"
                )
            seen.add(name)
    return column


def _text_column(values: Sequence[str], what: str, n_items: int | None) -> npt.NDArray[Any]:
    """``S (n)``: the values as fixed-width UTF-8."""
    if n_items is not None:
        _check_length(values, what, n_items)
    encoded = [_encoded(value, f"{what}[{place}]") for place, value in enumerate(values)]
    width = max(map(len, encoded))
    return np.array(encoded, dtype=f"S{width or 1}")  # HDF5 has no strings of width 0


def _encoded(value: str, what: str) -> bytes:
    if not isinstance(value, str):
        raise ArgumentError(f"{what} must be a str, not {type(value).__name__}")
    if "\0" in value:
        raise ArgumentError(f"{what} holds a NUL character: {value!r}; remove it")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"{what} cannot be written as UTF-8: {value!r}; rename it") from None


def _coded(
    values: Sequence[str | None], what: str, order: npt.NDArray[np.intp]
) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The distinct values of a column, sorted, and the place of each item's among them."""
    _check_length(values, what, len(order))
    given = {value for value in values if value is not None}
    for value in given:
        _encoded(value, what)  # refuses what cannot be sorted or written
    distinct = sorted(given)
    number: dict[str | None, int] = {value: place for place, value in enumerate(distinct)}
    number[None] = -1
    return distinct, np.array([number[value] for value in values], np.int32)[order]


def _check_name(name: str) -> None:
    if not name or name in RESERVED:
        taken = ", ".join(sorted(RESERVED))
        raise ArgumentError(f"a column cannot be called {name!r}; give it a name but {taken}")
    _encoded(name, "the name of a column")


def _check_length(values: Sized, what: str, n_items: int) -> None:
    if len(values) != n_items:
        raise ArgumentError(f"{what} has {len(values)} entries for {n_items} codes; give one each")
