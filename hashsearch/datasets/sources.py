"""Opens what a path names as a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.folder import folder_items

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["open_source"]


def open_source(
    path: Path, *, kind: str | None = None, columns: Mapping[str, str] | None = None
) -> Catalogue:
    """The items of a folder of image files."""
    del kind, columns
    return Catalogue(path.resolve().name, folder_items(path))
