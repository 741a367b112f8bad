"""Writing gallery files: one writer, all or nothing."""

from __future__ import annotations

import errno
import os
import re
import shutil
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from hashsearch.errors import GalleryWriteError
from hashsearch.files import sync_folder
from hashsearch.gallery.lock import locked
from hashsearch.gallery.seal import FORMAT, FORMAT_VERSION, SEAL_BYTES, seal
from hashsearch.gallery.thumbnails import OFFSETS, PICTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashsearch.gallery.content import Content, HasContent
    from hashsearch.gallery.thumbnails import Thumbnails

__all__ = ["Writer", "writing"]

_ALIGNMENT = 64  # bytes; so that mapped words can be read as words


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
    with ExitStack() as stack:
        try:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(target))
        except OSError as error:
            raise _refused(path, error) from None
        _check_may_be_replaced(target)
        yield Writer(target)


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
        _check_may_be_replaced(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self._remove_leftovers()
            try:
                with temporary.open("w+b", buffering=0) as file:
                    _write(file, gallery.content)
                    os.fsync(file.fileno())
                if path.exists():
                    shutil.copymode(path, temporary)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            sync_folder(path.parent)
        except OSError as error:
            raise _refused(path, error) from None

    def _remove_leftovers(self) -> None:
        """Writers that died left these: whoever lives holds the lock, and that is us."""
        leftover = re.compile(rf"\.{re.escape(self._path.name)}\.\d+\.tmp")
        for sibling in self._path.parent.iterdir():
            if leftover.fullmatch(sibling.name):
                sibling.unlink(missing_ok=True)


def _check_may_be_replaced(path: Path) -> None:
    """To put another file in its place takes no right to write it, but means to."""
    if path.exists() and not path.stat().st_mode & 0o222:
        raise GalleryWriteError(
            f"cannot write {path}: it is read-only; give it write permission (chmod u+w), or name "
            "another gallery"
        )


class _Disk:
    """The file that HDF5 writes to. It never fails; it remembers the first failure.

    After a failed write the HDF5 library keeps the file open and tries again when the
    process ends, which crashes it. So an interrupt waits, too, until HDF5 is done.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: BaseException | None = None

    def write(self, data: memoryview) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while self.error is None and rest:
                rest = rest[self._file.write(rest) :]
        except BaseException as error:  # raised again behind HDF5's back
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return self._file.truncate(size)
        except BaseException as error:
            self.error = error
        return size or 0

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is held back."""


def _write(file: BinaryIO, content: Content) -> None:
    disk = _Disk(file)
    with h5py.File(
        disk,
        "w",
        userblock_size=SEAL_BYTES,
        alignment_threshold=1,
        alignment_interval=_ALIGNMENT,
    ) as hdf5:
        hdf5.attrs["format"] = FORMAT
        hdf5.attrs["format_version"] = FORMAT_VERSION
        hdf5.attrs["n_items"] = content.n_items
        hdf5.attrs["n_distinct"] = content.n_distinct
        hdf5.attrs["n_bits"] = content.n_bits
        hdf5.attrs["fine_bits"] = content.fine_bits
        hdf5.attrs["encoder_fingerprint"] = content.encoder_fingerprint or ""
        hdf5.attrs["encoder_name"] = content.encoder_name or ""
        hdf5.attrs["created"] = content.created
        hdf5.attrs["source"] = content.source or ""
        written = [
            _write_array(hdf5, name, content.datasets[name])
            for name in sorted({*content.datasets} - {PICTURES, OFFSETS})
        ]
        if content.thumbnails is not None and content.thumbnails.nbytes:
            written.append(_write_pictures(hdf5, content.thumbnails))
            written.append(_write_array(hdf5, OFFSETS, content.thumbnails.offsets))
        for dataset, crc32 in written:
            dataset.attrs["crc32"] = np.uint32(crc32)
        # What holds nothing lies nowhere. The seal wants them as they lie.
        ranges = sorted(
            (dataset.id.get_offset(), dataset.nbytes) for dataset, _ in written if dataset.nbytes
        )
    if disk.error is not None:
        raise disk.error
    seal(file, ranges)


def _write_array(hdf5: h5py.File, name: str, array: npt.NDArray[Any]) -> tuple[h5py.Dataset, int]:
    """Its dataset and the CRC-32 of that."""
    array = np.ascontiguousarray(array)
    crc32 = zlib.crc32(array.data)
    if array.dtype.kind == "S":
        array = array.view(h5py.string_dtype("utf-8", array.dtype.itemsize))
    return hdf5.create_dataset(name, data=array), crc32


def _write_pictures(hdf5: h5py.File, thumbnails: Thumbnails) -> tuple[h5py.Dataset, int]:
    """Their dataset and its CRC-32; a few are in memory at a time."""
    dataset = hdf5.create_dataset(PICTURES, (thumbnails.nbytes,), np.uint8)
    crc32 = done = 0
    for piece in thumbnails.pieces():
        dataset[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        crc32 = zlib.crc32(piece, crc32)
        done += len(piece)
    return dataset, crc32


def _refused(path: str | os.PathLike[str], error: OSError) -> GalleryWriteError:
    mend = "choose another place for it"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        mend = "free some space"
    return GalleryWriteError(
        f"cannot write {os.fspath(path)}: {error.strerror}; {mend}, and run it again"
    )
