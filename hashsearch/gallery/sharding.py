"""Making, opening and checking the folder of a sharded gallery."""

from __future__ import annotations

import os
import re
import secrets
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashsearch.errors import ArgumentError, GalleryDamaged, GalleryMissing, GalleryWriteError
from hashsearch.files import make_folder, sync_folder, write_atomically
from hashsearch.gallery import file
from hashsearch.gallery.change import selected
from hashsearch.gallery.content import now
from hashsearch.gallery.file import DatasetCheck, read
from hashsearch.gallery.gallery import Gallery
from hashsearch.gallery.lock import locked
from hashsearch.gallery.manifest import (
    MANIFEST,
    Manifest,
    is_sharded,
    manifest_bytes,
    read_manifest,
    shard_file,
)
from hashsearch.gallery.shards import ShardedContent, ShardedGallery, items_per_code

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from hashsearch.gallery.content import Content
    from hashsearch.gallery.manifest import ShardFile

__all__ = ["open_shard", "open_shards", "verify", "write_shards"]

# With what writers that were killed leave of them.
_OURS = re.compile(r"\.?\d{4}-[0-9a-f]{8}\.h5(\.lock|\.\d+\.tmp)?")
_MOST_SHARDS = 10_000  # names have four digits


def open_shards(folder: Path, manifest: Manifest) -> ShardedGallery:
    """Open the sharded gallery that a folder holds.

    Raises:
        GalleryMissing: a shard is not there.
        GalleryDamaged: a shard is altered, or is not the one that the manifest means.
    """
    shards = [open_shard(folder, manifest, shard) for shard in manifest.shards]
    return ShardedGallery(
        ShardedContent.of(
            shards,
            n_distinct=manifest.n_distinct,
            encoder_fingerprint=manifest.encoder_fingerprint,
            encoder_name=manifest.encoder_name,
            created=manifest.created,
            path=folder,
        )
    )


def open_shard(folder: Path, manifest: Manifest, shard: ShardFile) -> Content:
    """Open one shard, if it is the file that the manifest means.

    Raises:
        GalleryMissing: it is not there.
        GalleryDamaged: it is altered, or another file.
    """
    path = folder / shard.file
    try:
        content = read(path)
        found = shard_file(path, content.n_items)
    except (GalleryMissing, FileNotFoundError):
        raise GalleryMissing(
            f"{folder} lacks its shard {shard.file}; copy that file there again, or make the "
            "folder again with `hashsearch shard`"
        ) from None
    if (
        found != shard
        or (content.n_bits, content.fine_bits) != (manifest.n_bits, manifest.fine_bits)
        or content.encoder_fingerprint not in {manifest.encoder_fingerprint, None}
    ):
        raise GalleryDamaged(
            f"{path} is not the shard that {MANIFEST} means; copy that file there again, or make "
            "the folder again with `hashsearch shard`"
        )
    return content


def write_shards(
    galleries: Sequence[Gallery],
    folder: Path,
    n_shards: int | None = None,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> ShardedGallery:
    """Make a sharded gallery; one that is in the folder is replaced in one step.

    Items are dealt like cards, in the order of their semantic codes: so the shards are of one size,
    and each has its even part of every code, thus of the work and of the matches of every query. By
    ranges of codes each query would be the work of one shard or two, those of the most wanted type;
    to deal by a hash of the ids, so that an item keeps its shard, is of no use where files never
    change.

    Args:
        galleries: with the same bit counts, of the same encoder, with different ids.
        folder: is made; or holds a sharded gallery, or nothing.
        n_shards: deal all items into so many, at most one an item; None: each gallery becomes a
            shard, and each shard of one that is sharded.
        on_progress: called with the number of items written since the last call.

    Returns:
        It, opened.

    Raises:
        ArgumentError: no gallery, too few or too many shards, other bit counts, or an id that is in
            two of the galleries.
        EncoderMismatch: codes of different encoders.
        GalleryBusy: another process is writing this folder.
        GalleryWriteError: the disk refuses it, or the folder holds something else. What was there
            is whole.
    """
    if not galleries:
        raise ArgumentError("there is no gallery to shard; name one")
    known = next((each for each in galleries if each.encoder_fingerprint), galleries[0])
    for gallery in galleries:
        known.check_alike(gallery)
    contents = [each for gallery in galleries for each in _contents(gallery)]
    n_items = sum(content.n_items for content in contents)
    most = min(n_items, _MOST_SHARDS)
    if n_shards is not None and not 1 <= n_shards <= most:
        raise ArgumentError(f"{n_items:,} items go into 1 to {most:,} shards, not {n_shards}")
    if len(contents) > 1:
        _check_unique(contents)
    folder = Path(os.path.realpath(folder))
    _check_folder(folder)
    make_folder(folder)
    parts = map(Gallery, contents) if n_shards is None else _dealt(galleries, n_shards)
    token = secrets.token_hex(4)
    files = []
    try:
        with locked(folder / MANIFEST):
            try:
                for number, part in enumerate(parts):
                    path = folder / f"{number:04d}-{token}.h5"
                    part.save(path)
                    files.append(shard_file(path, len(part)))
                    if on_progress:
                        on_progress(len(part))
                manifest = Manifest(
                    n_bits=known.n_bits,
                    fine_bits=known.fine_bits,
                    n_distinct=len(items_per_code(contents)),
                    encoder_fingerprint=known.encoder_fingerprint,
                    encoder_name=known.encoder_name,
                    created=now(),
                    shards=tuple(files),
                )
                write_atomically(folder / MANIFEST, manifest_bytes(manifest))
            except BaseException:
                # An interrupt may come when the manifest is in place already.
                if not is_sharded(folder) or token not in (folder / MANIFEST).read_text("utf-8"):
                    for path in folder.glob(f"*-{token}.h5"):
                        path.unlink()
                raise
            sync_folder(folder)
            _remove_others(folder, {shard.file for shard in files})
    except OSError as error:
        raise GalleryWriteError(
            f"cannot write {folder}: {error.strerror}; mend that, and run it again"
        ) from error
    return open_shards(folder, manifest)


def verify(path: str | os.PathLike[str]) -> list[DatasetCheck]:
    """Check every byte of a gallery file, or of each shard of a sharded gallery.

    Returns:
        One entry a dataset: its name (behind that of its shard), bytes, and whether they are as
        written.

    Raises:
        GalleryMissing, GalleryError: as :meth:`Gallery.open`.
        GalleryDamaged: what lies outside the datasets was altered, so they cannot be told apart.
    """
    folder = Path(path)
    if not is_sharded(folder):
        return file.verify(path)
    names = open_shards(folder, read_manifest(folder)).shard_names
    return [
        check._replace(dataset=f"{name}: {check.dataset}")
        for name in names
        for check in file.verify(folder / name)
    ]


def _contents(gallery: Gallery) -> Sequence[Content]:
    return gallery.content.shards if isinstance(gallery, ShardedGallery) else [gallery.content]


def _dealt(galleries: Sequence[Gallery], n_shards: int) -> Iterator[Gallery]:
    """All items, in so many galleries."""
    whole = reduce(Gallery.merged, [gallery.joined() for gallery in galleries])
    turn = np.arange(len(whole)) % n_shards
    for number in range(n_shards):
        dealt = Gallery(selected(whole.content, turn == number))
        yield dealt.indexed(galleries[0].chosen_indexes)


def _check_unique(contents: Sequence[Content]) -> None:
    ids = np.concatenate([content.datasets["items/id"] for content in contents])
    ids.sort()
    twice = ids[1:][ids[1:] == ids[:-1]]
    if len(twice):
        raise ArgumentError(
            f"{len(twice):,} ids are in more than one of the galleries (first: "
            f"{twice[0].decode()!r}); remove those items from one, or rename them"
        )


def _check_folder(folder: Path) -> None:
    """Refuse to mix shards with what somebody else keeps in a folder."""
    if not folder.exists() or is_sharded(folder):
        return
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else [folder.name]
    others = [name for name in names if not _OURS.fullmatch(name) and MANIFEST not in name]
    if others:
        raise GalleryWriteError(
            f"cannot write {folder}: {min(others)} is there, which is of no sharded gallery; name "
            "another folder"
        )


def _remove_others(folder: Path, kept: Collection[str]) -> None:
    """Remove the generations before, and what a writer that was killed left."""
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in kept:
            path.unlink()
