"""One item of a catalogue, before it is encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashsearch.images import ImageSource

__all__ = ["Item"]


@dataclass(frozen=True)
class Item:
    """What a source says about one image.

    Attributes:
        id: unique within its source.
        image: anything that :func:`hashsearch.images.read_image` reads.
        label: its type, or None.
        path: where its file lies, or None.
    """

    id: str
    image: ImageSource
    label: str | None = None
    path: str | None = None
