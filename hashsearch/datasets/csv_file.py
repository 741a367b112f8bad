"""Text files of data sets, whose errors name the file, the line and the mend; CSV above all."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hashsearch.errors import DatasetError, DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["read_records", "read_table", "read_text", "wrong"]

_LONGEST = 2**27  # characters of a value: where a quote is not closed, all that follows is one


def read_table(
    path: Path, *, mend_empty: str, delimiter: str = ","
) -> tuple[int, list[str], Iterator[tuple[int, list[str]]]]:
    """The header of a CSV file, and under it records that are as wide.

    Args:
        path: the file; see :func:`read_records`.
        mend_empty: what an error tells to do with a file without a header.
        delimiter: what stands between two values.

    Returns:
        The number of the header's line, its values, and of each further record the number of
        the line that it begins on (from 1) and its values, read as they are asked for.

    Raises:
        DatasetMissing: no such file.
        DatasetError: it is empty, no CSV in UTF-8, or a record is not as wide as the header.
    """
    records = read_records(path, delimiter=delimiter)
    line, header = next(records, (1, None))
    if header is None:
        raise DatasetError(f"{path} is empty; {mend_empty}")
    return line, header, _of_width(path, records, len(header), delimiter)


def _of_width(
    path: Path, records: Iterator[tuple[int, list[str]]], width: int, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    for line, record in records:
        if len(record) != width:
            name = {",": "comma", ";": "semicolon", "\t": "tab"}[delimiter]
            raise wrong(
                path,
                line,
                f"the number of values is {len(record)}, that of columns {width}; give "
                f"each column one, and put one that holds a {name} in quotes",
            )
        yield line, record


def read_records(path: Path, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file in UTF-8 that are not empty, a few in memory at a time.

    Yields:
        The number of the line that it begins on, from 1, and its values.

    Raises:
        DatasetMissing: no such file.
        DatasetError: it cannot be read, or is no CSV in UTF-8.
    """
    line = 1
    # utf-8-sig: spreadsheets put a mark in front of UTF-8.
    with _told(path, "CSV file"), path.open(encoding="utf-8-sig", newline="") as file:
        csv.field_size_limit(_LONGEST)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise wrong(path, line, f"is not CSV ({error}); mend the quotes") from error


def read_text(path: Path) -> str:
    """A file as text, without the mark that some programs put in front of UTF-8.

    Raises:
        DatasetMissing: no such file.
        DatasetError: it cannot be read, or is not UTF-8.
    """
    with _told(path, "file"):
        return path.read_text(encoding="utf-8-sig")


def wrong(path: Path, line: int, what: str) -> DatasetError:
    """The error of a line, counted from 1."""
    return DatasetError(f"{path}, line {line}: {what}")


@contextmanager
def _told(path: Path, kind: str) -> Iterator[None]:
    """What goes wrong in reading, as an error with a mend."""
    try:
        yield
    except IsADirectoryError as error:
        raise DatasetError(f"{path} is a folder; name a {kind} in it") from error
    except FileNotFoundError as error:
        raise DatasetMissing(f"{path}: no such file; check its name") from error
    except OSError as error:
        raise DatasetError(
            f"cannot read {path}: {error.strerror}; check its permissions"
        ) from error
    except UnicodeDecodeError as error:
        what = "is not UTF-8 text; save the file as UTF-8"
        raise wrong(path, _undecodable_line(path), what) from error


def _undecodable_line(path: Path) -> int:
    """The first line that is not UTF-8: what read the file knew its place in a part only."""
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return content.count(b"\n", 0, error.start) + 1
    return 1
