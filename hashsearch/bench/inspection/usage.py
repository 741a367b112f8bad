"""How the items of a gallery share its codes, and how many of them lie in a ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from hashsearch.bench.inspection.bits import entropy
from hashsearch.gallery.duplicates import find_duplicates

if TYPE_CHECKING:
    from hashsearch.gallery import Gallery

__all__ = ["CodeUse", "measure_use"]

Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CodeUse:
    """Which codes are in use, by how many items; exact, over all items.

    Attributes:
        sizes: ``int64 (u,)``, how many items have each distinct semantic code, descending.
        n_whole: how many different whole codes there are.
        others: ``int64 (q,)``, how many *other* items lie in the ball of each query.
    """

    sizes: Integers
    n_whole: int
    others: Integers

    @property
    def n_items(self) -> int:
        """Of the gallery."""
        return int(self.sizes.sum())

    @property
    def largest(self) -> float:
        """The share of the items that has the most frequent semantic code."""
        return float(self.sizes[0]) / self.n_items

    @property
    def entropy(self) -> float:
        """Of the semantic code of an item drawn at random, in bits; at most log2 of the items."""
        return entropy(self.sizes / self.n_items)


def measure_use(gallery: Gallery, queries: Integers, radius: int) -> CodeUse:
    """Count items by code, and search for the size of the balls.

    Args:
        gallery: whose codes.
        queries: ``int64 (q,)``, rows of the items whose balls are counted.
        radius: of the ball, in bits.
    """
    found = gallery.within(gallery.codes(queries), radius, limit=0)
    n_whole = gallery.n_distinct
    if gallery.fine_bits:
        n_whole = len(gallery) - len(find_duplicates(gallery, 0).extras)
    # Each query lies in its own ball.
    return CodeUse(np.sort(gallery.content.items_per_code)[::-1], n_whole, found.ball_size - 1)
