"""Which training images a network learns from, and which validate it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hashsearch.datasets.fashion_mnist import training_splits
from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.datasets.image_set import ImageSet

__all__ = [
    "TRAINING_PARTS",
    "all_labels",
    "few_labels",
    "seen_types",
    "type_count",
    "unseen_type_names",
]

_UNSEEN_TYPES = 3


def all_labels(images: ImageSet, *, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """All training images but those that validate.

    Args:
        images: the training split.
        seed: nothing is drawn here.

    Returns:
        The images to train on, and those to validate on; see
        :func:`~hashsearch.datasets.fashion_mnist.training_splits`.
    """
    del seed
    return training_splits(images)


def few_labels(
    images: ImageSet, per_class: int = 500, *, validating: int = 100, seed: int = 0
) -> tuple[ImageSet, ImageSet]:
    """A few images of each class to train on, and fewer to validate on.

    Args:
        images: the training split.
        per_class: images of each class to train on, which the seed chooses.
        validating: images of each class to validate on, always the same: the last of those
            that :func:`all_labels` validates on.
        seed: of the choice.

    Raises:
        ArgumentError: a class has fewer images.
    """
    train, held = training_splits(images)
    available = len(held) // len(images.class_names)
    if validating > available:
        raise ArgumentError(
            f"each class has {available} images to validate on, fewer than {validating}; "
            "ask for fewer"
        )
    rng = np.random.default_rng(seed)
    chosen = []
    for label, name in enumerate(train.class_names):
        rows = np.flatnonzero(train.labels == label)
        if len(rows) < per_class:
            raise ArgumentError(
                f"{name} has {len(rows)} images to train on, fewer than {per_class}; ask for fewer"
            )
        chosen.append(rng.permutation(rows)[:per_class])
    _, validation = training_splits(images, validating * len(images.class_names))
    return train.subset(np.sort(np.concatenate(chosen))), validation


def unseen_type_names(
    class_names: Sequence[str], count: int = _UNSEEN_TYPES, *, seed: int = 0
) -> list[str]:
    """The types that :func:`seen_types` leaves out, chosen by chance, in their usual order.

    >>> from hashsearch.datasets.fashion_mnist import CLASS_NAMES
    >>> unseen_type_names(CLASS_NAMES, seed=1)
    ['Coat', 'Sneaker', 'Bag']
    """
    chosen = np.random.default_rng(seed).permutation(len(class_names))[:count]
    return [class_names[label] for label in np.sort(chosen)]


def seen_types(images: ImageSet, *, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """As :func:`all_labels`, without every image of the :func:`unseen_type_names`.

    Args:
        images: the training split.
        seed: of the choice of types.
    """
    unseen = unseen_type_names(images.class_names, seed=seed)
    seen = [name for name in images.class_names if name not in unseen]
    train, validation = training_splits(images)
    return train.of_types(seen), validation.of_types(seen)


def type_count(part: str, class_names: Sequence[str]) -> int:
    """How many types a part of the training images has.

    >>> type_count("seen-types", ["boot", "bag", "coat", "dress", "shirt"])
    2
    """
    return len(class_names) - (_UNSEEN_TYPES if part == "seen-types" else 0)


TRAINING_PARTS = {"all-labels": all_labels, "few-labels": few_labels, "seen-types": seen_types}
