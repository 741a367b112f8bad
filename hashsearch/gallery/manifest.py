"""What stands in the folder of a sharded gallery: ``manifest.json``, which names the shards.

A shard is an ordinary gallery file beside it. The manifest is written last, in one step, so a
folder holds what the manifest says, or no gallery. It vouches for each shard: its items, its bytes,
and the SHA-256 of its seal, which in turn vouches for every byte (:mod:`hashsearch.gallery.seal`).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hashsearch.errors import GalleryDamaged, GalleryError, GalleryMissing
from hashsearch.gallery.seal import SEAL_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "MANIFEST",
    "Manifest",
    "ShardFile",
    "is_sharded",
    "manifest_bytes",
    "read_manifest",
    "shard_file",
]

MANIFEST = "manifest.json"
"""Its name in the folder."""

_FORMAT = "hashsearch-shards"
_VERSION = 1
_PLAIN_NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True)
class ShardFile:
    """What the manifest says of a shard.

    Attributes:
        file: its name in the folder.
        items: how many it holds.
        bytes: of the file.
        seal_sha256: of the file's first :data:`SEAL_BYTES` bytes.
    """

    file: str
    items: int
    bytes: int
    seal_sha256: str


@dataclass(frozen=True)
class Manifest:
    """The facts of a sharded gallery.

    Attributes:
        n_bits: length of the semantic code in bits.
        fine_bits: length of the fine code in bits.
        n_distinct: how many different semantic codes all items have.
        encoder_fingerprint: SHA-256 of the encoder that made the codes, if it is known.
        encoder_name: its name, if it is known.
        created: when it was made: ISO 8601, UTC.
        shards: at least one; rows go through them in this order.
    """

    n_bits: int
    fine_bits: int
    n_distinct: int
    encoder_fingerprint: str | None
    encoder_name: str | None
    created: str
    shards: tuple[ShardFile, ...]


def is_sharded(path: Path) -> bool:
    """Whether this is a folder with a manifest."""
    return (path / MANIFEST).is_file()


def shard_file(path: Path, items: int) -> ShardFile:
    """What a manifest says of this file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        seal = file.read(SEAL_BYTES)
    return ShardFile(path.name, items, path.stat().st_size, hashlib.sha256(seal).hexdigest())


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as it stands in its file."""
    record = {"format": _FORMAT, "format_version": _VERSION, **asdict(manifest)}
    return json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """What the folder of a sharded gallery holds.

    Raises:
        GalleryMissing: it has no manifest.
        GalleryDamaged: the manifest is altered, foreign, or of another version.
        GalleryError: the system refuses to read it.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise GalleryMissing(
            f"{folder} is a folder without {MANIFEST}, so no gallery; give the .h5 file of a "
            "gallery, or a folder that `hashsearch shard` made"
        ) from None
    except NotADirectoryError:
        raise GalleryMissing(
            f"{folder} is not in shards; make a folder of shards with `hashsearch shard`"
        ) from None
    except OSError as error:
        raise GalleryError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    try:
        record = json.loads(content)
        version = _of_type(record, "format_version", int)
        if record["format"] != _FORMAT:
            raise ValueError(f"its format is {record['format']!r}")
        if version == _VERSION:
            return _parsed(record)
    except (ValueError, KeyError, TypeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise GalleryDamaged(
            f"{path} is damaged ({what}); make the folder again with `hashsearch shard`"
        ) from None
    mend = "make the folder again with `hashsearch shard`"
    raise GalleryDamaged(
        f"{path} has format version {version}, but this hashsearch reads version {_VERSION}; "
        + (mend if version < _VERSION else "upgrade hashsearch")
    )


def _parsed(record: Mapping[str, Any]) -> Manifest:
    shards = tuple(
        ShardFile(
            _of_type(each, "file", str),
            _of_type(each, "items", int),
            _of_type(each, "bytes", int),
            _of_type(each, "seal_sha256", str),
        )
        for each in _of_type(record, "shards", list)
    )
    if not shards:
        raise ValueError("it names no shard")
    for shard in shards:
        # A manifest from elsewhere opens nothing but what lies beside it.
        if not _PLAIN_NAME.fullmatch(shard.file):
            raise ValueError(f"{shard.file!r} is no name of a file")
    return Manifest(
        _of_type(record, "n_bits", int),
        _of_type(record, "fine_bits", int),
        _of_type(record, "n_distinct", int),
        _of_type(record, "encoder_fingerprint", str, type(None)),
        _of_type(record, "encoder_name", str, type(None)),
        _of_type(record, "created", str),
        shards,
    )


def _of_type(record: Mapping[str, Any], name: str, *types: type) -> Any:
    """The value of a field, if it has one of these types."""
    value = record[name]
    if type(value) not in types:
        raise TypeError(f"{name} is {value!r}")
    return value
