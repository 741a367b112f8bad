"""A labelled set of images of one size, in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.item import Item
from hashsearch.datasets.neighbours import Facts
from hashsearch.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ImageSet"]


@dataclass(frozen=True)
class ImageSet:
    """Images, what they show, and what they are called.

    Attributes:
        images: ``uint8 (n, h, w)``, grey.
        labels: ``int64 (n,)``, indices into ``class_names``.
        class_names: one name a class.
        ids: one unique id an image.
        class_attributes: of each class, what all that belongs to it has; none unless told.

    Raises:
        DatasetError: the parts do not fit together.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    class_attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise DatasetError(
                f"{len(self.images)} images, {len(self.labels)} labels and {len(self.ids)} ids: "
                "there must be one of each for every item"
            )
        if len(set(self.ids)) != len(self.ids):
            raise DatasetError("two items have the same id; ids must be unique")
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise DatasetError(
                f"images must be uint8 (n, height, width), not {self.images.dtype} "
                f"{self.images.shape}"
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(
            self.class_names
        ):
            raise DatasetError(f"labels must lie between 0 and {len(self.class_names) - 1}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The images as an encoder takes them: ``uint8 (n, 1, h, w)``, a view."""
        return self.images[:, None]

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """One image as an encoder takes it: ``uint8 (1, h, w)``, a view."""
        pixels: npt.NDArray[np.uint8] = self.images[row][None]
        return pixels

    @property
    def facts(self) -> Facts:
        """What is known of the images: their types, and the attributes of those."""
        of_types = Facts.of_types(self.labels)
        names = self.attribute_names
        has = np.zeros((len(self.class_names), len(names)), bool)
        for number, name in enumerate(self.class_names):
            for attribute in self.class_attributes.get(name, ()):
                has[number, names.index(attribute)] = True
        return replace(of_types, attributes=has[self.labels])

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Of the attributes, by their column in the facts."""
        of_classes = (self.class_attributes.get(name, ()) for name in self.class_names)
        return tuple(sorted({attribute for names in of_classes for attribute in names}))

    @property
    def digests(self) -> dict[str, str]:
        """What tells the images from others: ``images_sha256``, of their pixels."""
        return {"images_sha256": hashlib.sha256(self.images.tobytes()).hexdigest()}

    def contents(self) -> Iterator[bytes]:
        """All that is learnt from: the pixels, then the labels."""
        yield self.images.tobytes()
        yield self.labels.tobytes()

    @property
    def label_names(self) -> list[str]:
        """One class name an image."""
        return [self.class_names[label] for label in self.labels]

    def items(self) -> list[Item]:
        """The images as items of a catalogue, in their order."""
        return [
            Item(id=name, image=image, label=label)
            for name, image, label in zip(self.ids, self.images, self.label_names, strict=True)
        ]

    def of_types(self, names: Sequence[str]) -> ImageSet:
        """The images of these types alone, their labels numbered anew in the order of ``names``.

        Raises:
            DatasetError: there is no type of such a name.
        """
        unknown = [name for name in names if name not in self.class_names]
        if unknown:
            raise DatasetError(
                f"no type {', '.join(unknown)}; there are: {', '.join(self.class_names)}"
            )
        old = np.array([self.class_names.index(name) for name in names], dtype=np.int64)
        rows = np.flatnonzero(np.isin(self.labels, old))
        number = np.full(len(self.class_names), -1, dtype=np.int64)
        number[old] = np.arange(len(old))
        kept = self.subset(rows)
        return replace(kept, labels=number[kept.labels], class_names=tuple(names))

    def subset(self, rows: npt.NDArray[np.int64]) -> ImageSet:
        """The images at ``rows`` (``int64 (m,)``), in that order."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            ids=tuple(self.ids[row] for row in rows),
        )
