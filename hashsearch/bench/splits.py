"""How items are parted into queries and what they search: by chance, and always alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.deform import deformed
from hashsearch.errors import ArgumentError

__all__ = ["FEWEST", "SameItem", "Split", "held_out", "same_item", "stratified_order"]

FEWEST = 5
"""Of so many items one is a query; of fewer none is."""


@dataclass(frozen=True)
class Split:
    """Items parted into queries and the gallery that they search; no item is in both.

    Attributes:
        queries: ``int64 (q,)``, item numbers, ascending.
        gallery: ``int64 (n - q,)``, item numbers.
    """

    queries: npt.NDArray[np.int64]
    gallery: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SameItem:
    """Deformed views of some items; only the very item is a neighbour of its view.

    Attributes:
        items: ``int64 (q,)``, the item that each view shows, ascending.
        views: ``uint8 (q, h, w)``.
    """

    items: npt.NDArray[np.int64]
    views: npt.NDArray[np.uint8]


def _members(labels: npt.ArrayLike) -> list[npt.NDArray[np.int64]]:
    """The item numbers of each class, classes in order of first appearance.

    That order, unlike an alphabetical one, is the same for class names and for numbers.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or not len(array):
        raise ArgumentError(f"labels must be a non-empty (n,) array, not of shape {array.shape}")
    _, first, inverse = np.unique(array, return_index=True, return_inverse=True)
    return [np.flatnonzero(inverse == c).astype(np.int64) for c in np.argsort(first)]


def held_out(labels: npt.ArrayLike, per_class: int = 100, seed: int = 0) -> Split:
    """The `held-out` protocol: some items of each class are queries, the rest is searched.

    Over the Fashion-MNIST test images: 1,000 queries, 9,000 gallery items. A class gives
    at most a fifth of its items; one of fewer than five gives none.

    Args:
        labels: ``(n,)``, the class of each item, numbers or names.
        per_class: queries a class.
        seed: of the choice.

    Raises:
        ArgumentError: ``per_class`` below 1, no items, or no class of five items.
    """
    if per_class < 1:
        raise ArgumentError(f"per_class must be 1 or more, not {per_class}")
    rng = np.random.default_rng(seed)
    members = _members(labels)
    chosen = [rng.permutation(rows)[: min(per_class, len(rows) // FEWEST)] for rows in members]
    queries = np.sort(np.concatenate(chosen))
    if not len(queries):
        raise ArgumentError(
            "no class has five items, so none can be held out as queries; use a larger gallery"
        )
    n_items = sum(len(rows) for rows in members)
    return Split(queries, np.setdiff1d(np.arange(n_items, dtype=np.int64), queries))


def stratified_order(labels: npt.ArrayLike, seed: int = 0) -> npt.NDArray[np.int64]:
    """A shuffle in which every prefix holds the classes in their overall proportions.

    Args:
        labels: ``(n,)``, the class of each item.
        seed: of the shuffle.

    Returns:
        ``int64 (n,)``, item numbers.
    """
    rng = np.random.default_rng(seed)
    members = [rng.permutation(rows) for rows in _members(labels)]
    place = np.concatenate([(np.arange(len(rows)) + 0.5) / len(rows) for rows in members])
    # Classes of one size share their places; chance says which comes first.
    return np.concatenate(members)[np.lexsort((rng.random(len(place)), place))]


def same_item(images: npt.NDArray[np.uint8], n_queries: int = 2000, seed: int = 5) -> SameItem:
    """The `same-item` protocol: deformed views of some of the images look for their own.

    Args:
        images: ``uint8 (n, h, w)``, the images of the gallery.
        n_queries: how many views; at most one an image.
        seed: of the choice and of the deformation.

    Raises:
        ArgumentError: ``n_queries`` below 1.
    """
    if n_queries < 1:
        raise ArgumentError(f"n_queries must be 1 or more, not {n_queries}")
    rng = np.random.default_rng(seed)
    n_queries = min(n_queries, len(images))
    items = np.sort(rng.choice(len(images), n_queries, replace=False)).astype(np.int64)
    return SameItem(items, deformed(images[items], seed=seed))
