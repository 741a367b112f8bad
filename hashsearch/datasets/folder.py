"""A folder of image files; each sub-folder is a type."""

from __future__ import annotations

import os
from pathlib import Path

from hashsearch.datasets.item import Item
from hashsearch.errors import DatasetError, DatasetMissing

__all__ = ["SUFFIXES", "folder_items"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
"""Files with other endings are passed over."""


def folder_items(folder: Path) -> list[Item]:
    """The image files of a folder and its sub-folders, in the order of their names.

    The files of a folder stand before those of its sub-folders. The id of an item is its
    path relative to the folder, with forward slashes. Its label is the sub-folder that it
    lies in, None at the top. Links to folders are not followed; hidden files and folders
    are passed over. A link to a file that is gone is an item: whoever reads it says so.

    Args:
        folder: where the images are.

    Returns:
        At least one item.

    Raises:
        DatasetMissing: no such folder.
        DatasetError: no image file in it, or a folder that may not be read.
    """
    if not folder.is_dir():
        raise DatasetMissing(f"{folder} is not a folder; name a folder of image files")
    items = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent) / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES or _is_device(path):
                continue
            relative = path.relative_to(folder)
            label = relative.parent.as_posix()
            items.append(
                Item(
                    id=relative.as_posix(),
                    image=path,
                    label=None if label == "." else label,
                    path=str(path.absolute()),
                )
            )
    if not items:
        raise DatasetError(
            f"no image files in {folder}; known endings: {', '.join(sorted(SUFFIXES))}"
        )
    return items


def _is_device(path: Path) -> bool:
    """A pipe or the like: to open it could be to wait for ever."""
    return path.exists() and not path.is_file()


def _refuse(error: OSError) -> None:
    raise DatasetError(
        f"cannot read the folder {error.filename}: {error.strerror}; check its permissions, or "
        "move it elsewhere"
    ) from error
