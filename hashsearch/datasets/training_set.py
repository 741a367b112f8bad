"""What the trainer asks of a set of images, whether it lies in memory or in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from hashsearch.datasets.neighbours import Facts

__all__ = ["TrainingSet"]


class TrainingSet(Protocol):
    """Images, and what is known of them."""

    def __len__(self) -> int:
        """How many images."""

    @property
    def ids(self) -> tuple[str, ...]:
        """One unique id an image."""

    @property
    def facts(self) -> Facts:
        """What a neighbour rule looks at."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the types, by their number in the facts."""

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Of the attributes, by their column in the facts."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | None:
        """All images, ``uint8 (n, channels, h, w)``; None where they are read one by one."""

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """One image, ``uint8 (channels, h, w)``.

        Raises:
            ImageError: it cannot be read.
        """

    @property
    def digests(self) -> dict[str, str]:
        """What tells the images from others, by the name that a record has for it."""

    def contents(self) -> Iterator[bytes]:
        """All that decides what is learnt from the set, for a digest."""
