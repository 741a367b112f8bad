"""Where galleries and encoders lie, by the names that people give them."""

from __future__ import annotations

import os
from pathlib import Path

from hashsearch.encoder import Encoder, pretrained
from hashsearch.errors import (
    ArgumentError,
    EncoderError,
    EncoderMismatch,
    GalleryError,
    GalleryMissing,
)
from hashsearch.gallery import Gallery
from hashsearch.gallery.manifest import is_sharded

__all__ = [
    "built_galleries",
    "check_replaceable",
    "encoder_of",
    "encoder_to_build",
    "find_gallery",
    "gallery_path",
    "load_encoder",
    "shards_path",
    "source_of",
]

_SUFFIX = ".h5"
_SHARDS = ".shards"


def gallery_path(name: str, indexes: Path) -> Path:
    """The path itself where the name ends in ``.h5``, else that name's file in the folder."""
    return Path(name) if name.endswith(_SUFFIX) else indexes / f"{name}{_SUFFIX}"


def shards_path(name: str, indexes: Path) -> Path:
    """The folder of a sharded gallery: the path itself where the name ends in ``.shards``."""
    return Path(name) if name.endswith(_SHARDS) else indexes / f"{name}{_SHARDS}"


def find_gallery(name: str | None, indexes: Path) -> Path:
    """The file of a gallery: that of this name, or the one that was written last.

    Args:
        name: see :func:`gallery_path`; or, where there is no such file, of a sharded gallery, the
            path of its folder or what that is called in ``indexes``; None: the file written last.
        indexes: folder of the galleries.

    Raises:
        GalleryMissing: there is none, or none of this name in the folder.
        GalleryError: the folder may not be read.
    """
    if name is not None:
        path = gallery_path(name, indexes)
        if path.exists() or name.endswith(_SUFFIX):
            return path
        for folder in (Path(name), indexes / name, shards_path(name, indexes)):
            if is_sharded(folder):
                return folder
    built = built_galleries(indexes)
    if not built:
        raise GalleryMissing(
            f"no gallery in {indexes}/; build one with `hashsearch build-index` (the sample) or "
            "`hashsearch build-index PHOTOS/`"
        )
    if name is not None:
        known = ", ".join(sorted(path.stem for path in built))
        raise GalleryMissing(f"no gallery {name} in {indexes}/; there are: {known}")
    return built[-1]


def built_galleries(indexes: Path) -> list[Path]:
    """The gallery files of a folder, the one written last at the end; none where there is none.

    Raises:
        GalleryError: the folder may not be read.
    """
    try:
        with os.scandir(indexes) as entries:
            found = [
                (entry.stat().st_mtime_ns, entry.name)
                for entry in entries
                if entry.name.endswith(_SUFFIX) and entry.is_file()
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise GalleryError(
            f"cannot read {indexes}: {error.strerror}; check its permissions"
        ) from error
    return [indexes / name for _, name in sorted(found)]


def check_replaceable(path: Path, photos: Path | None) -> None:
    """Refuse to put a gallery in the place of one that was built from another source.

    Two folders of one name would else replace each other's galleries without a word.

    Args:
        path: where the new gallery shall be.
        photos: the folder or file that it is built from; None: the sample.

    Raises:
        ArgumentError: what is there holds other images.
    """
    try:
        was = Gallery.open(path)
    except GalleryError:
        return  # none, or a damaged one
    now = source_of(photos)
    other = was.source
    if other is None:
        # Of codes, or of several sources: where the images lie tells.
        paths = was.paths()
        own = [path is None if now is None else _lies_in(path, now) for path in paths]
        strange = next((path for path, is_own in zip(paths, own, strict=True) if not is_own), now)
        other = now if all(own) else str(Path(strange).parent) if strange else "another source"
    if other != now:
        raise ArgumentError(
            f"{path} holds images of {other}; give the new gallery a name of its own with --name "
            "(in bench, --gallery)"
        )


def _lies_in(path: str | None, folder: str) -> bool:
    return path is not None and path.startswith(f"{folder}{os.sep}")


def source_of(photos: Path | None) -> str | None:
    """What a gallery is said to be built from: the folder or file itself; None: the sample."""
    return None if photos is None else str(photos.resolve())


def load_encoder(name: str, *, threads: int | None = None) -> Encoder:
    """An encoder that ships, or that of an ``.onnx`` file, named by its absolute path.

    So the galleries that it builds find it again from any working folder.

    Args:
        name: of the encoder, or the path of its file.
        threads: see :class:`hashsearch.encoder.Encoder`.

    Raises:
        EncoderError: see :meth:`hashsearch.encoder.Encoder.load`; or its path is not UTF-8,
            which a gallery could not store.
    """
    path = Path(name)
    if name in pretrained() or not path.exists():
        return Encoder.load(name, threads=threads)
    absolute = str(path.absolute())
    try:
        absolute.encode()
    except UnicodeEncodeError as error:
        raise EncoderError(f"{absolute} is not UTF-8; rename it or move it elsewhere") from error
    return Encoder.load(absolute, threads=threads)


def encoder_of(gallery: Gallery, name: str | None = None, *, threads: int | None = None) -> Encoder:
    """The encoder to search a gallery with.

    Args:
        gallery: knows which encoder made its codes.
        name: of the encoder, or the path of its file; None: where the gallery says it is.
        threads: see :class:`hashsearch.encoder.Encoder`.

    Raises:
        ArgumentError: no name is given and the gallery has none.
        EncoderError: it is not there, or not an encoder.
        EncoderMismatch: it is another one than the gallery was built with.
    """
    if name is not None:
        encoder = load_encoder(name, threads=threads)
        gallery.check_encoder(encoder.fingerprint)
        return encoder
    where = gallery.encoder_name
    if where is None:
        raise ArgumentError(
            f"{gallery.path} does not say which encoder made its codes; name it with --encoder"
        )
    if where not in pretrained() and not Path(where).exists():
        raise EncoderError(
            f"{gallery.path} was built with the encoder {where}, which is not there any more; "
            "say where it is with --encoder, or rebuild the gallery with `hashsearch build-index`"
        )
    encoder = load_encoder(where, threads=threads)
    if gallery.encoder_fingerprint not in {None, encoder.fingerprint}:
        raise EncoderMismatch(
            f"the encoder {where} has changed since {gallery.path} was built with it; rebuild "
            "the gallery with `hashsearch build-index`, or name the old encoder with --encoder"
        )
    return encoder


def encoder_to_build(known: Gallery | None, name: str, *, chosen: bool) -> Encoder:
    """The encoder to build a gallery with.

    Args:
        known: the gallery that is brought up to date, which can only be done with its own; None:
            there is none.
        name: of the encoder, or the path of its file.
        chosen: whether somebody chose it; else a known gallery says where its own is.

    Raises:
        ArgumentError, EncoderError, EncoderMismatch: see :func:`encoder_of`.
    """
    if known is None:
        return load_encoder(name)
    return encoder_of(known, name if chosen else None)
