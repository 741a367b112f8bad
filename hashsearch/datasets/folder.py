"""A folder of image files; each sub-folder is a type."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.item import Item
from hashsearch.errors import DatasetError, DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["SUFFIXES", "folder_items", "read_folder"]

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
    | {".heic", ".heif"}  # photos, too: whoever reads them says that they must be saved otherwise
)
"""Files with other endings are passed over."""

# One for all items: a million empty ones would take 64 MB.
_NO_COLUMNS: Mapping[str, str] = {}


def read_folder(folder: Path) -> Catalogue:
    """The items of :func:`folder_items` under the name of the folder.

    Raises:
        DatasetMissing: no such folder.
        DatasetError: no image file in it, or a folder that may not be read.
    """
    items, others = _read_items(folder)
    here = folder if folder.name not in {"", ".."} else folder.resolve()
    notes = []
    if others:
        shown = ", ".join(
            f"{ending or 'none'} ({count:,})" for ending, count in others.most_common(5)
        )
        notes.append(f"{folder}: passes over {others.total():,} files with other endings: {shown}")
    return Catalogue(here.name or str(here), items, tuple(notes))


def folder_items(folder: Path) -> list[Item]:
    """The image files of a folder and its sub-folders, in the order of their names.

    The files of a folder stand before those of its sub-folders. The id of an item is its
    path relative to the folder, with forward slashes. Its label is the sub-folder that it
    lies in, None at the top. Hidden files and folders are passed over. A link to a file that
    is gone is an item: whoever reads it says so.

    A link to a folder is followed, and stands where its name does, but no folder is read
    twice: where one lies in the tree itself, it is read there and not through a link; and of
    several links to one, that which is met first is followed, those of the tree itself before
    those of folders that were linked.

    Args:
        folder: where the images are.

    Returns:
        At least one item; paths are absolute.

    Raises:
        DatasetMissing: no such folder.
        DatasetError: no image file in it, or a folder that may not be read.
    """
    return _read_items(folder)[0]


def _read_items(folder: Path) -> tuple[list[Item], Counter[str]]:
    """The items, and how many files have which other ending."""
    if not folder.is_dir():
        raise DatasetMissing(f"{folder} is not a folder; name a folder of image files")
    others: Counter[str] = Counter()
    top = str(folder.absolute()).rstrip("/")
    items = []
    for relative, names in _tree(top or "/", others).files(""):
        prefix = f"{relative}/" if relative else ""
        label = relative or None
        for name in names:
            path = f"{top}/{prefix}{name}"
            items.append(Item(prefix + name, path, label, path, columns=_NO_COLUMNS))
    if not items:
        raise DatasetError(
            f"no image files in {folder}; known endings: {', '.join(sorted(SUFFIXES))}"
        )
    return items, others


@dataclass(eq=False)
class _Folder:
    """The image files of a folder by name, and the folders that are read as parts of it."""

    path: str
    names: list[str] = field(default_factory=list)
    folders: dict[str, _Folder] = field(default_factory=dict)

    def files(self, relative: str) -> Iterator[tuple[str, list[str]]]:
        """The relative path of this folder and of each in it, with the names of its files."""
        waiting = [(relative, self)]
        while waiting:
            relative, here = waiting.pop()
            yield relative, sorted(here.names)
            waiting += [
                (f"{relative}/{name}" if relative else name, here.folders[name])
                for name in sorted(here.folders, reverse=True)
            ]


def _tree(path: str, others: Counter[str]) -> _Folder:
    """What lies in a folder; the links are followed only once the folders have been read."""
    known: set[tuple[int, int]] = set()
    top = _Folder(path)
    _is_new(path, known)
    links = _read(top, known, others)
    while links:
        further = []
        for parent, name in links:
            linked = _Folder(f"{parent.path}/{name}")
            if _is_new(linked.path, known):
                parent.folders[name] = linked
                further += _read(linked, known, others)
        links = further
    return top


def _read(
    top: _Folder, known: set[tuple[int, int]], others: Counter[str]
) -> list[tuple[_Folder, str]]:
    """Fill in a folder and those in it; return the links to folders, parent and name."""
    links = []
    waiting = [top]
    while waiting:
        here = waiting.pop()
        folders = []
        try:
            with os.scandir(here.path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    elif _is_link_to_folder(entry):
                        links.append((here, entry.name))
                    elif _ending(entry.name) not in SUFFIXES:
                        others[_ending(entry.name)] += 1
                    elif _is_file(entry):
                        here.names.append(entry.name)
        except OSError as error:
            raise DatasetError(
                f"cannot read the folder {here.path}: {error.strerror}; check its permissions, "
                "or move it elsewhere"
            ) from error
        for name in sorted(folders, reverse=True):
            inner = _Folder(f"{here.path}/{name}")
            if _is_new(inner.path, known):
                here.folders[name] = inner
                waiting.append(inner)
    return sorted(links, key=lambda link: f"{link[0].path}/{link[1]}")


def _is_new(path: str, known: set[tuple[int, int]]) -> bool:
    """Whether a folder is met for the first time."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - a Path each would take as long as the rest
    except OSError as error:
        raise DatasetError(
            f"cannot read the folder {path}: {error.strerror}; check its permissions, or move it "
            "elsewhere"
        ) from error
    place = facts.st_dev, facts.st_ino
    if place in known:
        return False
    known.add(place)
    return True


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # a loop of links
        return False


def _ending(name: str) -> str:
    """The ending of a file's name, in lower case: ``.jpg``; empty: it has none."""
    _, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if dot else ""


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Not a pipe or the like: to open it could be to wait for ever."""
    if entry.is_file(follow_symlinks=False):
        return True
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:  # a link to what is gone
        return entry.is_symlink()
