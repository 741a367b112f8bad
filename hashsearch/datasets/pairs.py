"""Judged pairs: which images people find alike, from a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.csv_file import read_table, wrong
from hashsearch.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["COLUMNS", "JudgedPairs", "read_pairs"]

COLUMNS = ("query", "gallery", "relevant")
"""The columns that are read; a file may have others."""

_ANSWERS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, eq=False)
class JudgedPairs:
    """Pairs of items, ``p`` in all, and whether each was judged relevant.

    Attributes:
        name: of the file that they come from.
        queries: ``int64 (p,)``, the place of each query among the ids that were known.
        items: ``int64 (p,)``, the place of the item that it was judged against.
        relevant: ``bool (p,)``.
    """

    name: str
    queries: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    relevant: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.relevant)


def read_pairs(path: Path, ids: Sequence[str]) -> JudgedPairs:
    """Read judged pairs: CSV in UTF-8 with the columns ``query``, ``gallery``, ``relevant``.

    The first line names the columns, in any order and case; others are passed over, and so
    are empty lines. ``query`` and ``gallery`` are ids, ``relevant`` is 1 or 0, true or false,
    yes or no. Who judges may answer differently with the two items swapped, so that is another
    pair.

    Args:
        path: the file.
        ids: the items that a pair can name; for a gallery, ``gallery.ids()``, so that
            places are its rows.

    Returns:
        At least one pair, in the order of the file.

    Raises:
        DatasetMissing: no such file.
        DatasetError: the file, or the line that is named, is not of this form; an id that is
            unknown, an item paired with itself, or a pair that stands there twice.
    """
    place_of = {name: place for place, name in enumerate(ids)}
    first: dict[tuple[int, int], tuple[int, bool]] = {}
    for line, query, item, answer in _pairs(path):
        for name in (query, item):
            if name not in place_of:
                raise wrong(
                    path,
                    line,
                    f"the gallery has no item {name!r}; write ids as `hashsearch query` prints "
                    "them, or name the gallery that was judged with --gallery",
                )
        if query == item:
            raise wrong(path, line, f"{query!r} is paired with itself; remove the line")
        relevant = _ANSWERS.get(answer.strip().lower())
        if relevant is None:
            known = ", ".join(_ANSWERS)
            raise wrong(path, line, f"relevant is {answer!r}; write one of {known}")
        pair = place_of[query], place_of[item]
        if pair in first:
            earlier, said = first[pair]
            raise wrong(
                path,
                line,
                f"repeats the pair of line {earlier}; remove one of them"
                if said == relevant
                else f"contradicts line {earlier} about the same pair; keep one of them",
            )
        first[pair] = line, relevant
    if not first:
        raise DatasetError(f"{path} holds no pairs; write one a line under its header")
    places = np.array(list(first), dtype=np.int64)
    return JudgedPairs(
        path.name,
        places[:, 0],
        places[:, 1],
        np.array([relevant for _, relevant in first.values()], dtype=bool),
    )


def _pairs(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Number of the line, query, gallery item and answer of each pair, unchecked."""
    mend_empty = f"write the line {','.join(COLUMNS)} and pairs under it"
    header_line, header, records = read_table(path, mend_empty=mend_empty)
    names = [name.strip().lower() for name in header]
    for column in COLUMNS:
        if names.count(column) != 1:
            raise wrong(
                path,
                header_line,
                f"the header has {'no' if column not in names else 'more than one'} column "
                f"{column}; write {','.join(COLUMNS)}, with commas between",
            )
    query, item, answer = map(names.index, COLUMNS)
    for line, record in records:
        yield line, record[query], record[item], record[answer]
