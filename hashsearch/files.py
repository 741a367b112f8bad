"""Files that are either the old ones or the new ones, never half of one."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING

from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "check_writable",
    "copy_file",
    "csv_text",
    "make_folder",
    "sync_folder",
    "write_atomically",
    "write_csv",
]


def make_folder(path: Path) -> None:
    """Make a folder and those above it; one that is there already is good.

    Raises:
        ArgumentError: there is something else, or the folder above refuses it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(path, error) from error


def check_writable(path: Path) -> None:
    """Make sure, before hours of work, that a file can be written here.

    Raises:
        ArgumentError: the folder refuses it.
    """
    make_folder(path.parent)
    probe = _temporary(path)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _refused(path, error) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside its own, then rename it.

    Raises:
        ArgumentError: the folder or the disk refuses it.
    """
    make_folder(path.parent)
    temporary = _temporary(path)
    try:
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _refused(path, error) from error


def sync_folder(folder: Path) -> None:
    """Have the disk keep what was renamed in a folder.

    Raises:
        OSError: it refuses it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    r"""A table as CSV; None is an empty cell.

    >>> csv_text(("id", "price"), [("a, b", None)])
    'id,price\r\n"a, b",\r\n'
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a :func:`csv_text` in UTF-8, all or nothing.

    Raises:
        ArgumentError: the folder or the disk refuses it.
    """
    # A name of a file that is no UTF-8 comes back as the bytes that it has.
    write_atomically(path, csv_text(columns, rows).encode(errors="surrogateescape"))


def copy_file(source: Path, target: Path) -> str:
    """Copy a file's content; folders above the target are made.

    Returns:
        Why the source cannot be read; empty: it was copied.

    Raises:
        ArgumentError: the folder or the disk refuses the copy.
    """
    make_folder(target.parent)
    try:
        content = source.read_bytes()
    except OSError as error:
        return f"{source} cannot be read ({error.strerror})"
    write_atomically(target, content)
    return ""


def _temporary(path: Path) -> Path:
    """Not tempfile's: a file of theirs is the owner's alone, whatever the umask says."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _refused(path: Path, error: OSError) -> ArgumentError:
    reason = error.strerror or str(error)
    return ArgumentError(f"cannot write {path}: {reason}; choose a writable folder")
