"""Small galleries, images and an encoder, made from a seed."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from tiny_encoder import FINE_BITS, N_BITS, encoder_bytes

from hashsearch.codes import pack_bits
from hashsearch.datasets.image_set import ImageSet
from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery, Matches

CLASSES = ("boot", "coat", "dress", "bag")


def class_codes(
    n_items: int, *, n_bits: int = N_BITS, fine_bits: int = FINE_BITS, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """Codes that bunch: the prototype of the class with few bits flipped, random fine bits."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(CLASSES), n_items)
    prototypes = np.random.default_rng(99).random((len(CLASSES), n_bits)) < 0.5
    flipped = rng.random((n_items, n_bits)) < 0.05
    fine = rng.random((n_items, fine_bits)) < 0.5
    codes = pack_bits(np.hstack([prototypes[label] ^ flipped, fine]))
    return codes, np.array(CLASSES)[label]


def gallery_of(n_items: int, seed: int = 0, n_bits: int = N_BITS) -> Gallery:
    codes, _ = class_codes(n_items, n_bits=n_bits, seed=seed)
    return Gallery.from_codes(codes, n_bits=n_bits, fine_bits=FINE_BITS)


class Forgetful(Gallery):
    """A gallery that loses the last match of every ball."""

    def within(
        self,
        codes: npt.ArrayLike,
        radius: int = 2,
        limit: int | None = None,
        index: str = "auto",
        *,
        ranked: bool = True,
    ) -> Matches:
        del ranked
        size = int(super().within(codes, radius, 0, index).ball_size[0])
        return super().within(codes, radius, max(size - 1, 0), index)


@cache
def image_set(n_items: int = 240) -> ImageSet:
    """Images of bars: where they stand is the class, how thick and bright they are the item."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, len(CLASSES), n_items)
    images = rng.integers(0, 40, (n_items, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        start, thickness = 3 + 6 * label, rng.integers(2, 6)
        image[start : start + thickness, 4:24] = rng.integers(120, 255)
        image[4:24, rng.integers(4, 22)] = 200
    ids = tuple(f"made-{number:04d}" for number in range(n_items))
    return ImageSet(images, labels.astype(np.int64), CLASSES, ids)


@cache
def encoder() -> Encoder:
    """The tiny one, from memory."""
    return Encoder(encoder_bytes(), name="tiny", threads=1)
