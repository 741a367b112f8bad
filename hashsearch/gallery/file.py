"""Gallery files: one HDF5 file, one generation that never changes.

A reader maps the file and closes it, so a writer that puts the next generation in its
place disturbs nobody: who has the old one open goes on with it. The format is described
in ``indexes/README.md``.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from hashsearch.errors import GalleryDamaged, GalleryError, GalleryMissing, GalleryWriteError
from hashsearch.gallery.content import Content, HasContent
from hashsearch.gallery.lock import locked
from hashsearch.gallery.seal import FORMAT_VERSION, SEAL_BYTES, check_seal, damaged, seal

__all__ = ["DatasetCheck", "Writer", "read", "verify", "writing"]

_FORMAT = "hashsearch-gallery"
_ALIGNMENT = 64  # bytes; so that mapped words can be read as words
_REQUIRED = ("codes/distinct", "codes/offsets", "items/id")


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
            if zlib.crc32(array) != self._extents[name].crc32:
                raise damaged(self._path, f"the bytes of {name} were altered")
            self._checked[name] = array
        return self._checked[name]

    def __contains__(self, name: object) -> bool:
        return name in self._extents

    def __iter__(self) -> Iterator[str]:
        return iter(self._extents)

    def __len__(self) -> int:
        return len(self._extents)

    def nbytes(self, name: str) -> int:
        """The size of a dataset, without reading it."""
        return self._map(name).nbytes

    def check(self) -> list[DatasetCheck]:
        """Compare the bytes of every dataset with their checksum."""
        return [
            DatasetCheck(name, array.nbytes, zlib.crc32(array) == self._extents[name].crc32)
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
        GalleryMissing, GalleryDamaged, GalleryError: as :func:`read`; what lies outside the
            datasets is damaged.
    """
    datasets = read(path).datasets
    assert isinstance(datasets, MappedDatasets)  # noqa: S101  # narrows the type
    return datasets.check()


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Writer]:
    """Be the only writer of ``path`` while the body runs.

    Nothing at ``path`` changes before :meth:`Writer.write`. Missing folders are made.

    Raises:
        GalleryBusy: another writer is at work; at once, without waiting.
        GalleryWriteError: the folder refuses it.
    """
    # A link goes on pointing to the gallery, instead of being replaced by it.
    target = Path(os.path.realpath(path))
    lock = locked(target)
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.__enter__()
    except OSError as error:
        raise _refused(path, error) from None
    try:
        yield Writer(target)
    finally:
        lock.__exit__(None, None, None)


class Writer:
    """Writes generations of one gallery file; :func:`writing` makes one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, gallery: HasContent) -> None:
        """Put this gallery in the place of the one that is there, all or nothing.

        Raises:
            GalleryWriteError: the folder or the disk refuses it; what was there is whole.
        """
        path = self._path
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self._remove_leftovers()
            try:
                with temporary.open("w+b", buffering=0) as file:
                    _write(file, gallery.content)
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)
        except OSError as error:
            raise _refused(path, error) from None

    def _remove_leftovers(self) -> None:
        """Writers that died left these: whoever lives holds the lock, and that is us."""
        leftover = re.compile(rf"\.{re.escape(self._path.name)}\.\d+\.tmp")
        for sibling in self._path.parent.iterdir():
            if leftover.fullmatch(sibling.name):
                sibling.unlink(missing_ok=True)


class _Disk:
    """The file that HDF5 writes to. It never fails; it remembers the first failure.

    After a failed write the HDF5 library keeps the file open and tries again when the
    process ends, which crashes it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while self.error is None and rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return self._file.truncate(size)
        except OSError as error:
            self.error = error
        return size or 0

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readinto(self, buffer: memoryview) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is held back."""


def _write(file: BinaryIO, content: Content) -> None:
    disk = _Disk(file)
    ranges = []
    with h5py.File(
        disk,
        "w",
        userblock_size=SEAL_BYTES,
        alignment_threshold=1,
        alignment_interval=_ALIGNMENT,
    ) as hdf5:
        hdf5.attrs["format"] = _FORMAT
        hdf5.attrs["format_version"] = FORMAT_VERSION
        hdf5.attrs["n_items"] = content.n_items
        hdf5.attrs["n_distinct"] = content.n_distinct
        hdf5.attrs["n_bits"] = content.n_bits
        hdf5.attrs["fine_bits"] = content.fine_bits
        hdf5.attrs["encoder_fingerprint"] = content.encoder_fingerprint or ""
        hdf5.attrs["encoder_name"] = content.encoder_name or ""
        hdf5.attrs["created"] = content.created
        for name in sorted(content.datasets):
            array = np.ascontiguousarray(content.datasets[name])
            crc32 = zlib.crc32(array)
            if array.dtype.kind == "S":
                array = array.view(h5py.string_dtype("utf-8", array.dtype.itemsize))
            dataset = hdf5.create_dataset(name, data=array)
            dataset.attrs["crc32"] = np.uint32(crc32)
            ranges.append((dataset.id.get_offset(), array.nbytes))
    if disk.error is not None:
        raise disk.error
    seal(file, ranges)


def _parse(file: BinaryIO, buffer: mmap.mmap, path: Path) -> Content:
    """The facts and extents of a file whose seal was checked."""
    extents: dict[str, _Extent] = {}

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
                datasets=MappedDatasets(buffer, extents, path),
                path=path,
                file_bytes=len(buffer),
            )
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(path, f"HDF5 cannot read it: {error}") from None
    _check_shapes(content, extents)
    return content


def _check_shapes(content: Content, extents: Mapping[str, _Extent]) -> None:
    n_items, n_distinct = content.n_items, content.n_distinct
    expected = {
        "codes/distinct": (n_distinct, content.n_bits // 8),
        "codes/offsets": (n_distinct + 1,),
        "items/fine": (n_items, content.fine_bits // 8),
        "items/id": (n_items,),
        "items/label": (n_items,),
        "items/path": (n_items,),
        "items/thumbnail_offsets": (n_items + 1,),
    }
    required = [*_REQUIRED, *(["items/fine"] if content.fine_bits else [])]
    for name in required:
        if name not in extents:
            raise damaged(content.path or Path(), f"it has no {name}")
    for name, shape in expected.items():
        if name in extents and extents[name].shape != shape:
            raise damaged(content.path or Path(), f"{name} is {extents[name].shape}, not {shape}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: str | os.PathLike[str], error: OSError) -> GalleryWriteError:
    mend = "choose another place for it"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        mend = "free some space"
    return GalleryWriteError(
        f"cannot write {os.fspath(path)}: {error.strerror}; {mend}, and run it again"
    )
