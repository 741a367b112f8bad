"""What a source gives: items, and what they are called together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.datasets.item import Item

__all__ = ["Catalogue"]


@dataclass(frozen=True)
class Catalogue:
    """The items of a source.

    Attributes:
        name: of the data set, for records: ``mvc``, or the name of a folder or file.
        items: at least one, with unique ids.
        notes: what whoever gave it should know, a line each: what was passed over, what was taken
            for what.
    """

    name: str
    items: Sequence[Item]
    notes: tuple[str, ...] = ()

    def split(self, part: str) -> list[Item]:
        """The items of one part of the official split; empty where the source has none."""
        return [item for item in self.items if item.split == part]

    @property
    def has_splits(self) -> bool:
        """Whether the source says which items train and which search."""
        return any(item.split is not None for item in self.items)
