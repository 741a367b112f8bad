"""The seal: the first kilobyte of a gallery file, which vouches for the rest.

HDF5 leaves a *user block* at the start of a file to its user. Ours holds the length of
the file, where the bytes of the datasets lie, and a CRC-32 of all other bytes: of the
*skeleton*, HDF5's own structures. It is checked before the HDF5 library sees the file,
because that library can crash on structures that were altered. The bytes of the datasets
have a CRC-32 each, beside them in the file.

Little-endian: magic ``16s``, format version ``u4``, number of ranges ``u4``, file length
``u8``, skeleton CRC ``u4``, then ``(offset u8, bytes u8)`` of every range, zeros, and the
CRC-32 of the block before it as the last ``u4``.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO

from hashsearch.errors import GalleryDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FORMAT", "FORMAT_VERSION", "SEAL_BYTES", "check_seal", "damaged", "seal"]

FORMAT = "hashsearch-gallery"
FORMAT_VERSION = 2
SEAL_BYTES = 1024
_MAGIC = b"hashsearch-gal\r\n"
_HEAD = struct.Struct("<16sIIQI")
_RANGE = struct.Struct("<QQ")
_CRC = struct.Struct("<I")
_PIECE = 1 << 20


def damaged(path: Path, how: str) -> GalleryDamaged:
    """The error for a file that is a gallery no more."""
    return GalleryDamaged(f"{path} is damaged ({how}); rebuild it with `hashsearch build-index`")


def seal(file: BinaryIO, ranges: Iterable[tuple[int, int]]) -> None:
    """Write the seal of a finished file.

    Args:
        file: open for reading and writing, its first :data:`SEAL_BYTES` unused.
        ranges: offset and bytes of every dataset.

    Raises:
        OSError: the disk refuses it.
    """
    ranges = sorted(ranges)
    length = file.seek(0, os.SEEK_END)
    block = _HEAD.pack(
        _MAGIC, FORMAT_VERSION, len(ranges), length, _skeleton_crc(file, ranges, length)
    )
    block += b"".join(_RANGE.pack(*each) for each in ranges)
    block = block.ljust(SEAL_BYTES - _CRC.size, b"\0")
    file.seek(0)
    file.write(block + _CRC.pack(zlib.crc32(block)))


def check_seal(file: BinaryIO, path: Path) -> None:
    """Refuse a file whose length or skeleton is not what was written.

    Args:
        file: open for reading.
        path: its name, for the message.

    Raises:
        GalleryDamaged: truncated, altered, of a newer version, or no gallery at all.
        OSError: it cannot be read.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    block = file.read(SEAL_BYTES)
    if not block.startswith(_MAGIC):
        raise GalleryDamaged(
            f"{path} is not a hashsearch gallery, or its beginning is damaged; "
            "give a file that `hashsearch build-index` made, or build one"
        )
    if len(block) < SEAL_BYTES:
        raise damaged(path, "it is truncated")
    _, version, n_ranges, sealed_length, sealed_crc = _HEAD.unpack_from(block)
    if zlib.crc32(block[: -_CRC.size]) != _CRC.unpack(block[-_CRC.size :])[0]:
        raise damaged(path, "its seal does not match")
    if version != FORMAT_VERSION:
        older = version < FORMAT_VERSION
        mend = "rebuild it with `hashsearch build-index`" if older else "upgrade hashsearch"
        raise GalleryDamaged(
            f"{path} has format version {version}, but this hashsearch reads version "
            f"{FORMAT_VERSION}; {mend}"
        )
    if length != sealed_length:
        raise damaged(path, f"it has {length} bytes of {sealed_length}")
    ranges = [
        _RANGE.unpack_from(block, _HEAD.size + place * _RANGE.size) for place in range(n_ranges)
    ]
    if _skeleton_crc(file, ranges, length) != sealed_crc:
        raise damaged(path, "its structure was altered")


def _skeleton_crc(file: BinaryIO, ranges: list[tuple[int, int]], length: int) -> int:
    """CRC-32 of all bytes behind the seal and outside the ranges, which ascend."""
    crc = 0
    position = SEAL_BYTES
    for offset, size in [*ranges, (length, 0)]:
        file.seek(position)
        while position < offset:
            piece = file.read(min(_PIECE, offset - position))
            if not piece:
                return -1  # cut off while it was read: no CRC is negative
            crc = zlib.crc32(piece, crc)
            position += len(piece)
        position = offset + size
    return crc
