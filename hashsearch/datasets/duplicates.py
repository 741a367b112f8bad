"""Images that are in two sets: exactly, or nearly.

A data set's splits may share images. Then a test image was trained on, whatever its
number says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError

__all__ = ["Duplicates", "duplicates"]

_BLOCK = 2**23  # distances held at once: 64 MB of float64


@dataclass(frozen=True)
class Duplicates:
    """Images of one set that have a copy in another.

    Attributes:
        exact: bool ``(n,)``: some image of the other set has the same pixels.
        near: bool ``(n,)``: some image of it, but none with the same pixels, differs by
            no more than the tolerance.
    """

    exact: npt.NDArray[np.bool_]
    near: npt.NDArray[np.bool_]


def duplicates(
    images: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8], *, tolerance: float = 8.0
) -> Duplicates:
    """Which images have a copy among others.

    Args:
        images: ``uint8 (n, h, w)``.
        others: ``uint8 (m, h, w)``.
        tolerance: root mean square difference of the pixels, in grey levels of 255, up to
            which two images count as nearly the same.

    Raises:
        ArgumentError: images of another size, or a negative tolerance.
    """
    if images.shape[1:] != others.shape[1:]:
        raise ArgumentError(
            f"images of {images.shape[1:]} and {others.shape[1:]} pixels cannot be compared; "
            "bring them to one size"
        )
    if tolerance < 0:
        raise ArgumentError(f"tolerance must be 0 or more, not {tolerance}")
    nearest = np.empty(len(images), dtype=np.float64)
    n_pixels = math.prod(images.shape[1:])
    flat = others.reshape(len(others), n_pixels).astype(np.float32)
    squares = np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
    step = max(1, _BLOCK // max(len(others), 1))
    for start in range(0, len(images), step):
        block = images[start : start + step].reshape(-1, n_pixels).astype(np.float32)
        own = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        squared = own[:, None] + squares[None, :] - 2 * (block @ flat.T)
        nearest[start : start + step] = squared.min(axis=1, initial=np.inf)
    there = {image.tobytes() for image in others}
    exact = np.array([image.tobytes() in there for image in images], dtype=bool)
    near = nearest <= tolerance**2 * n_pixels
    return Duplicates(exact, near & ~exact)
