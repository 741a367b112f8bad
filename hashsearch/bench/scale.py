"""Galleries of any size from the images at hand, and random codes beside them.

Past the real images come deformed copies of them through the real encoder ("infinite
MNIST"), so that the codes keep the bunching of learned ones: most items share their
semantic code with others. Uniform random codes never do; they are measured beside them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.cache import cache_folder
from hashsearch.datasets.deform import deformed
from hashsearch.errors import ArgumentError
from hashsearch.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.encoder import Encoder

__all__ = [
    "Originals",
    "Progress",
    "ScaledCodes",
    "check_scale",
    "copy_codes",
    "format_scale",
    "parse_scale",
    "scaled_codes",
    "uniform_codes",
]

Progress = Callable[[str, int, int], None]
"""What is being done, how many steps are done, and out of how many."""

_RECIPE = "deformed copies, 1"
_SHARD = 4000  # copies a cache file: seconds of work lost at worst, and 10M copies in 2,500 files
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


@dataclass(frozen=True)
class Originals:
    """What deformed copies are made with.

    Attributes:
        images: of the real items, in the order of their use.
        encoder: the one that made their codes.
    """

    images: ImageSet
    encoder: Encoder


@dataclass(frozen=True)
class ScaledCodes:
    """The codes of a gallery at some scale.

    Attributes:
        codes: ``uint8 (n, code_bytes)``.
        sources: ``int64 (n,)``, the number of the real item that each is or is made from.
        n_real: how many of them, at the front, are real.
    """

    codes: npt.NDArray[np.uint8]
    sources: npt.NDArray[np.int64]
    n_real: int


def parse_scale(text: str) -> int:
    """A number of items such as ``1000``, ``100k`` or ``1m``.

    Raises:
        ArgumentError: anything else, or less than 1.

    >>> parse_scale("100k"), parse_scale("1M"), parse_scale("250")
    (100000, 1000000, 250)
    """
    match = re.fullmatch(r"(\d{1,12})([km]?)", text.strip().lower())
    n_items = int(match[1]) * _UNITS[match[2]] if match else 0
    if n_items < 1:
        raise ArgumentError(f"{text!r} is no scale; give a number of items such as 1000, 10k or 1m")
    return n_items


def format_scale(n_items: int) -> str:
    """The inverse of :func:`parse_scale`, for file names and axes.

    >>> format_scale(100_000), format_scale(9_500)
    ('100k', '9500')
    """
    for unit in ("m", "k"):
        if n_items and n_items % _UNITS[unit] == 0:
            return f"{n_items // _UNITS[unit]}{unit}"
    return str(n_items)


def check_scale(n_items: int, n_real: int, *, can_copy: bool) -> None:
    """Refuse a scale that a gallery cannot reach.

    Args:
        n_items: the scale.
        n_real: real items, less the queries.
        can_copy: whether the encoder and the images of these items are at hand.

    Raises:
        ArgumentError: below 1, or past the real items where copies cannot be made.
    """
    if n_items < 1:
        raise ArgumentError(f"a scale must be 1 item or more, not {n_items}")
    if n_items > n_real and not can_copy:
        raise ArgumentError(
            f"scale {format_scale(n_items)} needs deformed copies, but the images or the encoder "
            f"of this gallery are not at hand; its largest scale is {n_real}"
        )


def copy_codes(
    originals: Originals,
    n_copies: int,
    *,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> npt.NDArray[np.uint8]:
    """The codes of deformed copies; copy ``i`` shows image ``i % len(originals.images)``.

    What is made is kept in the cache folder, in parts, under a key of encoder, images,
    recipe and seed: an interrupted call goes on where it stopped, and a larger one
    starts with what a smaller one made.

    Args:
        originals: images and encoder.
        n_copies: how many.
        seed: of the deformations.
        folder: instead of ``cache_folder() / "copies"``.
        progress: told the number of copies done.

    Returns:
        ``uint8 (n_copies, code_bytes)``.

    Raises:
        ArgumentError: no copies wanted, no images, or a folder that cannot be written.
    """
    images = np.ascontiguousarray(originals.images.images)
    if n_copies < 1 or not len(images):
        raise ArgumentError(f"{n_copies} copies of {len(images)} images: both must be 1 or more")
    recipe = {
        "recipe": _RECIPE,
        "encoder": originals.encoder.fingerprint,
        "images": hashlib.sha256(images.tobytes()).hexdigest(),
        "shape": images.shape,
        "seed": seed,
        "shard": _SHARD,
    }
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:24]
    place = (folder or cache_folder() / "copies") / key
    width = originals.encoder.code_bytes
    codes = np.empty((n_copies, width), dtype=np.uint8)
    for first in range(0, n_copies, _SHARD):
        path = place / f"{first // _SHARD:06d}.npz"
        shard = _cached(path, width)
        if shard is None:
            chosen = np.arange(first, first + _SHARD) % len(images)
            views = deformed(images[chosen], seed=seed, first=first)
            shard = originals.encoder.encode_pixels(views[:, None])
            buffer = io.BytesIO()
            np.savez(buffer, codes=shard)
            write_atomically(path, buffer.getvalue())
        codes[first : first + _SHARD] = shard[: n_copies - first]
        if progress:
            progress("encoding deformed copies", min(first + _SHARD, n_copies), n_copies)
    return codes


def _cached(path: Path, width: int) -> npt.NDArray[np.uint8] | None:
    """The codes in a cache file; None where it is missing or damaged, so made again."""
    try:
        # A zip archive, for its checksum.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            codes: npt.NDArray[np.uint8] = archive["codes"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
    return codes if codes.dtype == np.uint8 and codes.shape == (_SHARD, width) else None


def scaled_codes(
    n_items: int,
    codes: npt.NDArray[np.uint8],
    originals: Originals | None,
    *,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> ScaledCodes:
    """The codes of a gallery of ``n_items``: real items first, deformed copies beyond them.

    Args:
        n_items: the scale.
        codes: ``uint8 (m, code_bytes)``, of the real items, in the order of their use.
        originals: images of the same items, and the encoder that made the codes; None
            where they are not at hand.
        seed: of the deformations.
        folder: see :func:`copy_codes`.
        progress: see :func:`copy_codes`.

    Raises:
        ArgumentError: see :func:`check_scale` and :func:`copy_codes`.
    """
    check_scale(n_items, len(codes), can_copy=originals is not None)
    sources = np.arange(n_items, dtype=np.int64) % len(codes)
    if originals is None or n_items <= len(codes):
        return ScaledCodes(codes[:n_items], sources, n_items)
    copies = copy_codes(
        originals, n_items - len(codes), seed=seed, folder=folder, progress=progress
    )
    return ScaledCodes(np.concatenate([codes, copies]), sources, len(codes))


def uniform_codes(n_items: int, code_bytes: int, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Codes of independent fair bits, ``uint8 (n_items, code_bytes)``."""
    return np.random.default_rng(seed).integers(0, 256, (n_items, code_bytes), dtype=np.uint8)
