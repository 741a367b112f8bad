"""Reading gallery files: one HDF5 file, one generation that never changes.

A reader maps the file and closes it, so a writer that puts the next generation in its
place disturbs nobody: who has the old one open goes on with it. The format is described
in ``indexes/README.md``.
"""

from __future__ import annotations

import mmap
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from hashsearch.errors import GalleryError, GalleryMissing
from hashsearch.gallery.content import LABEL, Content, column_datasets
from hashsearch.gallery.multi_index import n_offsets
from hashsearch.gallery.seal import check_seal, damaged
from hashsearch.gallery.thumbnails import OFFSETS, PICTURES, Thumbnails

if TYPE_CHECKING:
    import os

__all__ = ["DatasetCheck", "read", "verify"]

_REQUIRED = ("codes/distinct", "codes/offsets", "items/id", "items/id_rank")


# By dataset, what NumPy calls its type; of text its kind alone, as the width is what it takes.
_DTYPES: Mapping[str, tuple[str, ...]] = {
    "codes/distinct": ("u1",),
    "codes/offsets": ("u8",),
    "items/fine": ("u1",),
    "items/id": ("S",),
    "items/id_rank": ("u4",),
    "items/label": ("i4",),
    "items/path": ("S",),
    "items/stamp": ("u8",),
    PICTURES: ("u1",),
    OFFSETS: ("u8",),
    "labels/name": ("S",),
    "mih/places": ("u4",),
    "mih/offsets": ("u4", "u8"),
    "columns/": ("i4",),
    "values/": ("u1",),
    "value_offsets/": ("u8",),
    "faiss/": ("u1",),
}
"""A name that ends in a slash stands for all that begin with it."""


class DatasetCheck(NamedTuple):
    """Whether the bytes of one dataset are those that were written."""

    dataset: str
    bytes: int
    ok: bool


class _Extent(NamedTuple):
    """Where a dataset lies in the file, and the CRC-32 of its bytes."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    crc32: int


class MappedDatasets(Mapping[str, npt.NDArray[Any]]):
    """The datasets of a file, mapped; each is checked when it is first used.

    Raises:
        GalleryDamaged: on first use, the bytes are not those that were written.
    """

    def __init__(self, buffer: mmap.mmap, extents: Mapping[str, _Extent], path: Path) -> None:
        self._buffer = buffer
        self._extents = extents
        self._path = path
        self._checked: dict[str, npt.NDArray[Any]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._checked:
            array = self._map(name)
            if zlib.crc32(array.data) != self._extents[name].crc32:
                raise damaged(self._path, f"the bytes of {name} were altered")
            self._checked[name] = array
        return self._checked[name]

    def __contains__(self, name: object) -> bool:
        return name in self._extents

    def __iter__(self) -> Iterator[str]:
        return iter(self._extents)

    def __len__(self) -> int:
        return len(self._extents)

    def check(self) -> list[DatasetCheck]:
        """Compare the bytes of every dataset with their checksum."""
        return [
            DatasetCheck(name, array.nbytes, zlib.crc32(array.data) == self._extents[name].crc32)
            for name, array in ((name, self._map(name)) for name in self)
        ]

    def _map(self, name: str) -> npt.NDArray[Any]:
        offset, dtype, shape, _ = self._extents[name]
        return np.ndarray(shape, dtype, self._buffer, offset)


def read(path: str | os.PathLike[str]) -> Content:
    """Map a gallery file.

    Raises:
        GalleryMissing: there is no file of this name.
        GalleryDamaged: truncated, altered, of a newer version, or no gallery at all.
        GalleryError: the system refuses to read it.
    """
    return _open(path)[0]


def _open(path: str | os.PathLike[str]) -> tuple[Content, MappedDatasets]:
    path = Path(path)
    try:
        # Before the file is opened: to open a pipe is to wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise GalleryMissing(f"{path} is not a file; give the .h5 file of a gallery")
        with path.open("rb") as file:
            check_seal(file, path)
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return _parse(file, buffer, path)
    except (FileNotFoundError, NotADirectoryError):
        raise GalleryMissing(
            f"there is no gallery at {path}; build one with `hashsearch build-index`"
        ) from None
    except OSError as error:
        raise GalleryError(f"cannot read {path}: {error.strerror}; check its permissions") from None


def verify(path: str | os.PathLike[str]) -> list[DatasetCheck]:
    """Check every byte of a gallery file.

    Returns:
        One entry a dataset: its name, bytes, and whether they are as written.

    Raises:
        GalleryMissing, GalleryError: as :func:`read`.
        GalleryDamaged: what lies outside the datasets was altered, so they cannot be told apart.
    """
    return _open(path)[1].check()


def _parse(file: BinaryIO, buffer: mmap.mmap, path: Path) -> tuple[Content, MappedDatasets]:
    """The facts and arrays of a file whose seal was checked."""
    extents: dict[str, _Extent] = {}
    datasets = MappedDatasets(buffer, extents, path)

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            extents[name] = _Extent(
                offset=item.id.get_offset(),
                dtype=np.dtype(item.dtype.str),  # without h5py's remarks on strings
                shape=item.shape,
                crc32=int(item.attrs["crc32"]),
            )

    try:
        with h5py.File(file, "r") as hdf5:
            hdf5.visititems(visit)
            attributes = hdf5.attrs
            content = Content(
                n_bits=int(attributes["n_bits"]),
                fine_bits=int(attributes["fine_bits"]),
                n_items=int(attributes["n_items"]),
                n_distinct=int(attributes["n_distinct"]),
                encoder_fingerprint=attributes["encoder_fingerprint"] or None,
                encoder_name=attributes["encoder_name"] or None,
                created=attributes["created"],
                datasets=datasets,
                thumbnails=Thumbnails.stored(datasets),
                source=attributes.get("source") or None,
                path=path,
                file_bytes=len(buffer),
            )
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(path, f"HDF5 cannot read it: {error}") from None
    _check_shapes(content, extents, path)
    return content, datasets


def _check_shapes(content: Content, extents: Mapping[str, _Extent], path: Path) -> None:
    n_items, n_distinct = content.n_items, content.n_distinct
    expected = {
        "codes/distinct": (n_distinct, content.n_bits // 8),
        "codes/offsets": (n_distinct + 1,),
        "items/fine": (n_items, content.fine_bits // 8),
        "items/id": (n_items,),
        "items/id_rank": (n_items,),
        "items/label": (n_items,),
        "items/path": (n_items,),
        "items/stamp": (n_items, 2),
        OFFSETS: (n_items + 1,),
        **{name: (n_items,) for name in extents if name.startswith("columns/")},
    }
    required = [*_REQUIRED, *(["items/fine"] if content.fine_bits else [])]
    for name in content.column_names:
        required += ["labels/name"] if name == LABEL else [*column_datasets(name)]
    required += [OFFSETS] * (PICTURES in extents)
    for name in required:
        if name not in extents:
            raise damaged(path, f"it has no {name}")
    if "mih/places" in extents:
        tables, rest = divmod(extents["mih/places"].shape[0], n_distinct)
        if rest or not 1 <= tables <= content.n_bits or "mih/offsets" not in extents:
            raise damaged(path, "its hash tables are not of its codes")
        expected["mih/offsets"] = (n_offsets(content.n_bits, tables),)
    for name, shape in expected.items():
        if name in extents and extents[name].shape != shape:
            raise damaged(path, f"{name} is {extents[name].shape}, not {shape}")
    for name, extent in extents.items():
        kinds = _DTYPES.get(name) or _DTYPES.get(name[: name.find("/") + 1], ())
        if kinds and extent.dtype.str.lstrip("<|") not in kinds and extent.dtype.kind not in kinds:
            raise damaged(path, f"{name} holds {extent.dtype}, not {' or '.join(kinds)}")
