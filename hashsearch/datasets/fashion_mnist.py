"""Fashion-MNIST: 70,000 grey images of 28 x 28 pixels in 10 types of clothing.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
Machine Learning Algorithms", arXiv 1708.07747; MIT licence. The 10,000 test images
ship with the package as the sample; the 60,000 training images never do.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import math
import os
import struct
import tempfile
import urllib.request
import zlib
from http.client import HTTPException
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.error import HTTPError

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.cache import cache_folder
from hashsearch.datasets.image_set import ImageSet
from hashsearch.errors import ArgumentError, DatasetError, DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "ATTRIBUTES",
    "CLASS_NAMES",
    "download",
    "example_images",
    "load",
    "sample",
    "training_splits",
]

Split = Literal["train", "test"]

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

ATTRIBUTES = {
    "T-shirt/top": ("upper body", "light", "short sleeves"),
    "Trouser": ("lower body", "legs"),
    "Pullover": ("upper body", "warm", "long sleeves"),
    "Dress": ("upper body", "lower body", "light"),
    "Coat": ("upper body", "warm", "long sleeves", "opens in front"),
    "Sandal": ("footwear", "light", "open"),
    "Shirt": ("upper body", "light", "long sleeves", "opens in front"),
    "Sneaker": ("footwear", "closed", "low"),
    "Bag": ("carried", "handle"),
    "Ankle boot": ("footwear", "closed", "warm"),
}
"""What the name of each type says of it: ours, not the data set's, to measure with several labels
an image. A single picture may differ: some tops have long sleeves."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SOURCE_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

_PREFIX = {"train": "train", "test": "t10k"}
# Of the uncompressed files: compressing anew changes the archive, not the data.
_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_IDX_UINT8 = 0x08
_IMAGE_SHAPE = (28, 28)


def sample() -> ImageSet:
    """The 10,000 test images, from the package itself.

    Returns:
        An :class:`ImageSet` with ids ``test-00000`` to ``test-09999``.
    """
    with resources.as_file(resources.files("hashsearch.datasets") / "sample") as folder:
        return _read_split(folder, "test")


def example_images() -> list[Path]:
    """Image files (PNG and JPEG) in the package that a query can be tried with."""
    folder = Path(str(resources.files("hashsearch.datasets") / "sample"))
    return sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"})


def load(split: Split, data_dir: Path | None = None) -> ImageSet:
    """Read one split from the four IDX files (plain or gzip-compressed).

    Args:
        split: ``"train"`` (60,000 images) or ``"test"`` (10,000).
        data_dir: the folder of the files; where it is None, Debian's folder and then
            the user's cache folder are tried.

    Raises:
        DatasetMissing: the files are in none of these places.
        DatasetError: a file is not a whole IDX file, or not one of this data set.
    """
    folders = [data_dir] if data_dir else [DEBIAN_FOLDER, _download_folder()]
    for folder in folders:
        if all(_find(folder, name) for name in _file_names(split)):
            return _read_split(folder, split)
    raise DatasetMissing(
        f"no Fashion-MNIST {split} files in {' or '.join(map(str, folders))}: name their folder "
        "with --data-dir, or `apt-get install dataset-fashion-mnist`, or download them (30 MB) "
        "with `hashsearch train --download`"
    )


def training_splits(train: ImageSet, validation: int = 5000) -> tuple[ImageSet, ImageSet]:
    """Cut a stratified validation set out of the training split.

    The last ``validation / classes`` images of each class validate; they select the
    model and are never trained on (the `held-out` protocol).

    Args:
        train: the training split.
        validation: how many images validate, over all classes.

    Returns:
        The images to train on, and those to validate on.

    Raises:
        ArgumentError: that leaves a class without images to validate or to train on.
    """
    per_class = validation // len(train.class_names)
    counts = np.bincount(train.labels)
    if not 0 < per_class < min(counts[counts > 0], default=0):
        raise ArgumentError(
            f"{validation} validation images are {per_class} a class of "
            f"{len(train.class_names)}; each class must keep one on either side"
        )
    rows = np.arange(len(train))
    held = np.concatenate(
        [rows[train.labels == label][-per_class:] for label in range(len(train.class_names))]
    )
    keep = np.setdiff1d(rows, held)
    return train.subset(keep), train.subset(np.sort(held))


def download(
    folder: Path | None = None,
    *,
    splits: Iterable[Split] = ("train", "test"),
    source_url: str = SOURCE_URL,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Download images and labels of each split, verifying their checksums.

    Files that are already there and whole are kept. A file gets its name only once its
    SHA-256 is right, so an interrupted download leaves nothing that looks finished.

    Args:
        folder: where to; the user's cache folder where it is None.
        splits: which ones; the test split ships with the package (:func:`sample`).
        source_url: the folder of the ``.gz`` files on the web.
        progress: called with (file name, bytes done, bytes in all; 0 where unknown).

    Returns:
        The folder.

    Raises:
        DatasetError: the source cannot be reached, a file arrives altered, or the
            folder cannot be written.
    """
    folder = folder or _download_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"cannot make the folder {folder} ({error.strerror}); name another with --data-dir"
        ) from error
    for name in itertools.chain.from_iterable(map(_file_names, splits)):
        there = _find(folder, name)
        if there is None or _content_sha256(there) != _SHA256[name]:
            url = f"{source_url.rstrip('/')}/{name}.gz"
            _download_file(url, folder / f"{name}.gz", _SHA256[name], progress)
    return folder


def _download_folder() -> Path:
    return cache_folder() / "fashion-mnist"


def _file_names(split: Split) -> tuple[str, str]:
    prefix = _PREFIX[split]
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    return None


def _read_split(folder: Path, split: Split) -> ImageSet:
    images_name, labels_name = _file_names(split)
    images = _read_idx(folder, images_name)
    labels = _read_idx(folder, labels_name).astype(np.int64)
    if images.shape[1:] != _IMAGE_SHAPE or labels.ndim != 1:
        raise DatasetError(
            f"{folder} does not hold Fashion-MNIST: {images_name} is {images.shape} and "
            f"{labels_name} {labels.shape}; name its folder with --data-dir"
        )
    ids = tuple(f"{split}-{row:05d}" for row in range(len(images)))
    try:
        return ImageSet(images, labels, CLASS_NAMES, ids, ATTRIBUTES)
    except DatasetError as error:
        raise DatasetError(f"{folder} does not hold Fashion-MNIST: {error}") from error


def _read_idx(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    """One IDX file: two zero bytes, type, rank, big-endian sizes, then the values."""
    path = _find(folder, name)
    if path is None:
        raise DatasetMissing(f"{folder / name}(.gz) is missing")
    data = _content(path)
    rank = data[3] if len(data) > 3 else 0
    header = 4 + 4 * rank
    if data[:3] != bytes([0, 0, _IDX_UINT8]) or not rank or len(data) < header:
        raise DatasetError(f"{path} is not an IDX file of bytes; get the file anew")
    shape = struct.unpack(f">{rank}I", data[4:header])
    if len(data) - header != math.prod(shape):
        raise DatasetError(f"{path} is cut short or too long; get the file anew")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} is damaged ({error}); get the file anew") from error


def _content_sha256(path: Path) -> str | None:
    """The checksum of the uncompressed file; None where it cannot be uncompressed."""
    try:
        return hashlib.sha256(_content(path)).hexdigest()
    except DatasetError:
        return None


def _download_file(
    url: str, target: Path, sha256: str, progress: Callable[[str, int, int], None] | None
) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=target.name)
    temporary = Path(name)
    try:
        with (
            os.fdopen(handle, "wb") as file,
            urllib.request.urlopen(url, timeout=60) as response,  # noqa: S310 - the caller's URL
        ):
            total = int(response.headers.get("Content-Length") or 0)
            done = 0
            while block := response.read(1 << 16):
                file.write(block)
                done += len(block)
                if progress:
                    progress(target.name, done, total)
        if _content_sha256(temporary) != sha256:
            raise DatasetError(f"{url} arrived cut short or altered; try again later")
        temporary.replace(target)
    # http.client's errors, and a URL that is none, are no OSError.
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise DatasetError(
            f"cannot download {url} ({error}); get the files by hand and name their folder "
            "with --data-dir"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
