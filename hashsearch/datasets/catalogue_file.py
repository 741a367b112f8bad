"""A catalogue as a shop has it: a table with a row an image, in CSV, TSV or Parquet."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.csv_file import read_table
from hashsearch.datasets.item import Item
from hashsearch.errors import ArgumentError, DatasetError, DatasetMissing, ExtraMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["DEFAULT_COLUMNS", "SUFFIXES", "read_catalogue_file"]

DEFAULT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "path", "file", "filename", "image_path", "photo"),
    "id": ("id", "sku"),
    "label": ("label", "type", "category"),
    "item": ("item", "article"),
    "split": ("split",),
    "attributes": ("attributes", "tags"),
}
"""What a column can say of an item, its role, and the names that such a column usually has."""

SUFFIXES = (".csv", ".tsv", ".parquet")
"""The endings of the files that are read, in any case."""

_SPLITS = {part: part for part in ("train", "validation", "query", "gallery")}
_SPLITS.update(val="validation", test="gallery")
_BETWEEN_ATTRIBUTES = re.compile("[|;]")
_ROWS_AT_ONCE = 65536
# As many different texts of cells are kept to be shared: types and colours repeat, ids do not.
_MOST_SHARED = 65536


@dataclass(frozen=True)
class _Table:
    """A table of texts, a row at a time.

    Attributes:
        path: of the file.
        header_at: where its header stands, for messages; "" where it has no place.
        names: of the columns.
        unit: what messages count, ``line`` or ``row``.
        rows: the number of each, and its cells.
        unreadable: the columns that hold something else than texts.
    """

    path: Path
    header_at: str
    names: Sequence[str]
    unit: str
    rows: Iterator[tuple[int, Sequence[str]]]
    unreadable: frozenset[str] = frozenset()

    def wrong(self, number: int, what: str) -> DatasetError:
        return DatasetError(f"{self.path}, {self.unit} {number}: {what}")


def read_catalogue_file(path: Path, columns: Mapping[str, str] | None = None) -> Catalogue:
    """The items of a table, one a row, in its order.

    CSV and TSV are UTF-8 text whose first line names the columns, with commas, semicolons or tabs
    between; values that hold the same, a quote or the end of a line stand in quotes; empty lines
    are passed over. Parquet needs pyarrow.

    What the columns say, by role:

    - ``image``: the file, relative to the folder of the table, or absolute. Required. One that
      is not there is an item nevertheless: whoever reads it says so.
    - ``id``: unique. Without such a column, the image as it is written.
    - ``label``: the type. ``item``: the key of the article, which several images may show.
    - ``split``: train, validation (or val), query or gallery (or test), in any case; empty: none.
    - ``attributes``: names with ``|`` or ``;`` between; in Parquet, also a list of texts.

    Other columns are kept in ``Item.columns`` where a row has a value for them, except columns
    without a name.

    Args:
        path: the file; its ending says what it is.
        columns: the column of each role that is named, in any case, or "" where none has it; for
            the other roles, the first of :data:`DEFAULT_COLUMNS` that the table has.

    Raises:
        DatasetMissing: no such file.
        DatasetError: the file, or the line or row that is named, is not of this form; two
            rows have one id, or one has no image or id.
        ArgumentError: no such role or column.
        ExtraMissing: Parquet needs pyarrow.
    """
    table = _open(path)
    place_of = _places(table, columns or {})
    items = list(_items(table, place_of, str(path.absolute().parent)))
    if not items:
        raise DatasetError(f"{path} lists no item; write one a row under its header")
    taken = [f"{table.names[place]} as {role}" for role, place in place_of.items()]
    left = [name for name in table.names if name in table.unreadable]
    notes = [
        f"{path.name}: takes the columns {', '.join(taken)}; --column ROLE=NAME says otherwise"
    ]
    notes += [f"{path.name}: leaves out the column {name}: it holds no texts" for name in left]
    return Catalogue(path.name, items, tuple(notes))


def _items(table: _Table, place_of: Mapping[str, int], base: str) -> Iterator[Item]:
    """The item of each row."""
    image, id_ = place_of["image"], place_of.get("id")
    label, key, split, attributes = map(place_of.get, ("label", "item", "split", "attributes"))
    others = [
        (place, name)
        for place, name in enumerate(table.names)
        if name and place not in place_of.values() and name not in table.unreadable
    ]
    shared: dict[str, str] = {}
    attributes_of: dict[str, tuple[str, ...]] = {}
    first: dict[str, int] = {}

    def text(cells: Sequence[str], place: int | None) -> str:
        if place is None:
            return ""
        cell = cells[place]
        return (shared.setdefault if len(shared) < _MOST_SHARED else shared.get)(cell, cell)

    for number, cells in table.rows:
        file = cells[image]
        name = file if id_ is None else cells[id_]
        for role, cell in (("image", file), ("id", name)):
            if not cell.strip():
                raise table.wrong(number, f"has no {role}; give it one, or remove it")
        earlier = first.setdefault(name, number)
        if earlier != number:
            raise table.wrong(
                number,
                f"repeats the {'image' if id_ is None else 'id'} {name!r} of {table.unit} "
                f"{earlier}; remove one of them, or tell them apart by an id",
            )
        part = text(cells, split).strip().lower()
        if part and part not in _SPLITS:
            raise table.wrong(
                number, f"split is {part!r}; write one of {', '.join(_SPLITS)}, or nothing"
            )
        names = text(cells, attributes)
        if names not in attributes_of:
            attributes_of[names] = _attributes(names)
        # Not a Path: a million of them would take as long as all else.
        path = os.path.join(base, file)  # noqa: PTH118
        yield Item(
            id=name,
            image=path,
            label=text(cells, label) or None,
            path=path,
            key=text(cells, key) or None,
            split=_SPLITS.get(part),
            attributes=attributes_of[names],
            columns={other: text(cells, place) for place, other in others if cells[place]},
        )


def _attributes(text: str) -> tuple[str, ...]:
    """Each name once, in their order."""
    names = (name.strip() for name in _BETWEEN_ATTRIBUTES.split(text))
    return tuple(dict.fromkeys(name for name in names if name))


def _places(table: _Table, columns: Mapping[str, str]) -> dict[str, int]:
    """The place of the column of each role that has one."""
    for role in columns:
        if role not in DEFAULT_COLUMNS:
            known = ", ".join(DEFAULT_COLUMNS)
            raise ArgumentError(f"unknown role {role!r} of a column; known: {known}")
    lower = [name.lower() for name in table.names]
    there = ", ".join(filter(None, table.names))
    for name in filter(None, lower):
        if lower.count(name) > 1:
            raise DatasetError(
                f"{table.path}{table.header_at}: more than one column is called {name}; rename "
                "one of them"
            )
    place_of = {}
    for role, usual in DEFAULT_COLUMNS.items():
        found = [name for name in usual if name in lower]
        if role in columns:
            found = [columns[role].strip().lower()]
            if found[0] and found[0] not in lower:
                raise ArgumentError(
                    f"{table.path} has no column {columns[role]!r} for the {role}; its columns: "
                    f"{there}"
                )
        if found and found[0]:
            place_of[role] = lower.index(found[0])
    if "image" not in place_of:
        usual = DEFAULT_COLUMNS["image"]
        raise DatasetError(
            f"{table.path}{table.header_at}: no column is called {' or '.join(usual)}; say "
            f"which one names the image files with --column image=NAME, of its columns: {there}"
        )
    _check_readable(table, place_of)
    return place_of


def _check_readable(table: _Table, place_of: Mapping[str, int]) -> None:
    for role, place in place_of.items():
        if table.names[place] in table.unreadable:
            raise DatasetError(
                f"{table.path}: the column {table.names[place]}, for the {role}, holds no texts; "
                "write texts or numbers"
            )


def _open(path: Path) -> _Table:
    ending = path.suffix.lower()
    if ending not in SUFFIXES:
        raise DatasetError(
            f"{path} is no catalogue by its ending; give a file that ends in {', '.join(SUFFIXES)}"
        )
    if ending == ".parquet":
        return _open_parquet(path)
    line, header, records = read_table(
        path,
        mend_empty="name its columns in the first line, and write an item a line under it",
        delimiter="\t" if ending == ".tsv" else _delimiter(path),
    )
    return _Table(path, f", line {line}", [name.strip() for name in header], "line", records)


def _delimiter(path: Path) -> str:
    """What parts the names in the first line of a CSV file; spreadsheets may write semicolons."""
    with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8-sig") as file:
        first = file.readline()
        return max(",;\t", key=first.count)
    return ","  # whoever reads it says what is wrong


def _open_parquet(path: Path) -> _Table:
    try:
        from pyarrow import parquet  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ExtraMissing.of("Parquet", error.name, "parquet") from error
    try:
        file = parquet.ParquetFile(path)
    except FileNotFoundError as error:
        raise DatasetMissing(f"{path}: no such file; check its name") from error
    except (OSError, ValueError) as error:  # pyarrow's own errors are such
        why = getattr(error, "strerror", None) or "it is no whole Parquet file"
        raise DatasetError(f"cannot read {path}: {why}; give a Parquet file") from error
    names = [str(name).strip() for name in file.schema_arrow.names]
    kinds = zip(names, file.schema_arrow.types, strict=True)
    unreadable = frozenset(name for name, kind in kinds if not _is_text(kind))
    return _Table(path, "", names, "row", _parquet_rows(path, file), unreadable)


def _parquet_rows(path: Path, file: Any) -> Iterator[tuple[int, Sequence[str]]]:
    number = 0
    batches = file.iter_batches(_ROWS_AT_ONCE)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, ValueError) as error:
            why = " ".join(str(error).split())  # pyarrow's may have several lines
            raise DatasetError(f"cannot read {path}: {why}; write it again") from error
        if batch is None:
            return
        cells = [_texts(column) for column in batch.columns]
        for row in zip(*cells, strict=True):
            number += 1
            yield number, row


def _is_text(kind: Any) -> bool:
    """Whether cells of this Arrow type can be written as text."""
    import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import

    if _is_list(kind):
        return not pa.types.is_nested(kind.value_type)
    return not (pa.types.is_nested(kind) or "binary" in str(kind))


def _is_list(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415 - as above

    return bool(types.is_list(kind) or types.is_large_list(kind))


def _texts(column: Any) -> Iterable[str]:
    """The cells of a column as texts; "" for what is missing, or is none."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    if not _is_text(column.type):
        return [""] * len(column)
    if _is_list(column.type):
        return ["|".join(str(part) for part in cell or ()) for cell in column.to_pylist()]
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return [text or "" for text in texts]
