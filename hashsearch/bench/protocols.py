"""Which items are queries and which are searched: the protocols that every number names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.deform import deformed
from hashsearch.datasets.parts import unseen_type_names
from hashsearch.errors import ArgumentError, LeakError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from hashsearch.datasets.image_set import ImageSet

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "SameItem",
    "Split",
    "Task",
    "check_no_leak",
    "held_out",
    "make_task",
    "same_item",
    "stratified_order",
]


@dataclass(frozen=True)
class Protocol:
    """What is trained on, what searches what, and what counts as found.

    Attributes:
        name: as every result names it.
        training: a key of :data:`~hashsearch.datasets.parts.TRAINING_PARTS`.
        searched: the images of the gallery: of the test split (less the queries, where
            those are of it), of the whole training split, or of the test split's
            unseen types alone.
        neighbours: the rule.
        gallery_was_trained_on: the leak that the protocol is known for; no other one
            lets a gallery image take part in training.
        says: what it is, in a line.
    """

    name: str
    training: str
    searched: Literal["test", "train", "unseen types"]
    neighbours: Literal["same-type", "same-item"]
    says: str
    gallery_was_trained_on: bool = False


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "held-out",
            "all-labels",
            "test",
            "same-type",
            "100 test images a type search the other test images; none was seen in training",
        ),
        Protocol(
            "seen-gallery",
            "all-labels",
            "train",
            "same-type",
            "the same queries search the training images: most papers report this, and it leaks",
            gallery_was_trained_on=True,
        ),
        Protocol(
            "few-labels",
            "few-labels",
            "test",
            "same-type",
            "as held-out, trained on 500 images a type, which the seed chooses",
        ),
        Protocol(
            "unseen-types",
            "seen-types",
            "unseen types",
            "same-type",
            "trained without three types, which the seed chooses; their test images search "
            "each other",
        ),
        Protocol(
            "same-item",
            "all-labels",
            "test",
            "same-item",
            "deformed views of 2,000 test images look for their own image among all of them",
        ),
    )
}


@dataclass(frozen=True)
class Task:
    """A protocol on a data set: the images that search, and those that are searched.

    Attributes:
        protocol: what it is.
        queries: ``uint8 (q, h, w)``.
        query_ids: of the images that search, or that the views show.
        query_labels: ``int64 (q,)``, indices into the gallery's class names.
        gallery: what is searched.
        items: ``int64 (q,)``, the gallery item that each query shows; None unless the
            neighbours are the same item.
    """

    protocol: Protocol
    queries: npt.NDArray[np.uint8]
    query_ids: tuple[str, ...]
    query_labels: npt.NDArray[np.int64]
    gallery: ImageSet
    items: npt.NDArray[np.int64] | None = None


def make_task(protocol: Protocol, train: ImageSet, test: ImageSet, *, seed: int = 0) -> Task:
    """The queries and the gallery of a protocol.

    Args:
        protocol: which one.
        train: the whole training split; looked at where it is what is searched.
        test: the test split.
        seed: of the run; it chooses the unseen types. Queries are the same for all.
    """
    if protocol.neighbours == "same-item":
        found = same_item(test.images)
        shown = test.subset(found.items)
        return Task(protocol, found.views, shown.ids, shown.labels, test, found.items)
    if protocol.searched == "unseen types":
        test = test.of_types(unseen_type_names(test.class_names, seed=seed))
    split = held_out(test.labels)
    queries = test.subset(split.queries)
    gallery = train if protocol.searched == "train" else test.subset(split.gallery)
    return Task(protocol, queries.images, queries.ids, queries.labels, gallery)


def check_no_leak(task: Task, trained_on: AbstractSet[str]) -> None:
    """Refuse to measure on images that took part in training, unless the protocol says so.

    Args:
        task: what shall be measured.
        trained_on: ids of the images that trained the encoder, or chose its best epoch.

    Raises:
        LeakError: some query, or some gallery image where the protocol does not allow
            it, is among them.
    """
    parts = [("queries", task.query_ids)]
    if not task.protocol.gallery_was_trained_on:
        parts.append(("gallery images", task.gallery.ids))
    for what, ids in parts:
        leaked = [name for name in ids if name in trained_on]
        if leaked:
            raise LeakError(
                f"{len(leaked)} of {len(ids)} {what} of {task.protocol.name} took part in "
                f"training ({leaked[0]} is one); train on other images, or measure with a "
                "protocol that names the leak (seen-gallery)"
            )


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
    chosen = [rng.permutation(rows)[: min(per_class, len(rows) // 5)] for rows in members]
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
