"""Files that are either the old ones or the new ones, never half of one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_writable", "make_folder", "write_atomically"]


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


def _temporary(path: Path) -> Path:
    """Not tempfile's: a file of theirs is the owner's alone, whatever the umask says."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _refused(path: Path, error: OSError) -> ArgumentError:
    reason = error.strerror or str(error)
    return ArgumentError(f"cannot write {path}: {reason}; choose a writable folder")
