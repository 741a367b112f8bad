"""Deformed views of images: the same item, photographed a little differently.

The `same-item` protocol queries with such views, and galleries past the size of a data
set are filled with them ("infinite MNIST": Loosli, Canu & Bottou, *Training invariant
support vector machines using selective sampling*, 2007).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hashsearch.errors import ArgumentError, ImageError

__all__ = ["deformed"]

_DRAWS = 6  # random numbers an image: rotation, scale, shear, two shifts, brightness


def deformed(
    images: npt.NDArray[np.uint8],
    *,
    seed: int,
    first: int = 0,
    rotation: float = 10.0,
    scale: float = 0.125,
    shear: float = 0.1,
    shift: float = 1.4,
    brightness: float = 0.15,
) -> npt.NDArray[np.uint8]:
    """One deformed view of each image.

    An affine map about the centre of the image (rotate, scale, shear, shift), bilinear,
    zero outside, then a brightness factor. Each is drawn uniformly, and the draws of an
    image depend only on the seed and its number, so ``deformed(x, seed=s)[a:]`` equals
    ``deformed(x[a:], seed=s, first=a)``.

    Args:
        images: ``uint8 (n, h, w)``.
        seed: of the random draws.
        first: the number of the first image, where a long run is made in parts.
        rotation: at most so many degrees, either way.
        scale: the size changes by at most this share, either way.
        shear: each column moves against the next by at most this many pixels.
        shift: at most so many pixels along each axis.
        brightness: pixel values change by at most this share, either way.

    Returns:
        ``uint8 (n, h, w)``, rounded and cut to 0..255.

    Raises:
        ImageError: the images are not ``uint8 (n, h, w)``.
        ArgumentError: a negative ``first``, seed or extent, or a scale of 1 or more.
    """
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ImageError(
            f"images to deform must be uint8 (n, h, w), not {images.dtype} {images.shape}; "
            "convert them to 8-bit grey first"
        )
    if seed < 0 or first < 0 or not 0 <= scale < 1:
        raise ArgumentError(
            f"seed ({seed}) and first ({first}) must be 0 or more, and scale ({scale}) in [0, 1)"
        )
    extents = np.array([np.deg2rad(rotation), scale, shear, shift, shift, brightness])
    if (extents < 0).any():
        raise ArgumentError("a deformation's extent must be 0 or more, for either direction alike")

    # PCG64 takes one step a double, so image `first` is reached without drawing the rest.
    bits = np.random.PCG64(seed).advance(first * _DRAWS)
    draws = np.random.Generator(bits).random((len(images), _DRAWS))
    angle, growth, slant, down, right, light = ((2 * draws - 1) * extents).T

    # The maps go from output to input coordinates, as ndimage wants them.
    cos, sin = np.cos(angle) / (1 + growth), np.sin(angle) / (1 + growth)
    maps = np.empty((len(images), 2, 2))
    maps[:, 0, 0], maps[:, 0, 1] = cos, cos * slant - sin
    maps[:, 1, 0], maps[:, 1, 1] = sin, sin * slant + cos
    centre = (np.array(images.shape[1:]) - 1) / 2
    offsets = centre - maps @ centre + np.stack([down, right], axis=1)

    views = np.empty(images.shape, dtype=np.float32)
    for image, view, matrix, offset in zip(images, views, maps, offsets, strict=True):
        ndimage.affine_transform(
            image, matrix, offset, output=view, order=1, mode="grid-constant", prefilter=False
        )
    views *= (1 + light).astype(np.float32)[:, None, None]
    return np.rint(np.clip(views, 0, 255, out=views), out=views).astype(np.uint8)
