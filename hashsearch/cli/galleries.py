"""Commands that make galleries, and say what is in them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hashsearch.cli.common import (
    encoder_option,
    gallery_option,
    given,
    indexes_option,
    json_option,
    open_gallery,
    print_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.gallery import Gallery
    from hashsearch.gallery.build import Skipped

__all__ = ["add", "build_index", "compact", "export", "info", "remove", "verify"]

SAMPLE_NAME = "fashion-mnist"


@click.command("build-index")
@click.argument("photos", type=click.Path(path_type=Path), required=False)
@click.option(
    "--name",
    help="Name of the gallery, or path of its .h5 file [default: the name of the folder].",
)
@click.option(
    "--encoder",
    "-e",
    default=SAMPLE_NAME,
    show_default=True,
    help="Name of an encoder that ships, or path of an .onnx file; with --codes: the one that "
    "made them [default: as exported].",
)
@click.option(
    "--codes",
    type=click.Path(path_type=Path),
    help="Instead of PHOTOS: what `hashsearch export` wrote, or an .npy file of codes, "
    "uint8 (n, bytes).",
)
@click.option("--bits", type=int, help="For --codes: of the semantic code [default: as exported].")
@click.option("--fine-bits", type=int, help="For --codes [default: as exported, else the rest].")
@click.option("--ids", type=click.Path(path_type=Path), help="For --codes: .npy file of texts.")
@click.option("--labels", type=click.Path(path_type=Path), help="For --codes: .npy file of texts.")
@click.option("--thumbnails/--no-thumbnails", default=True, help="Keep a small JPEG of each item.")
@indexes_option
@json_option
def build_index(
    *,
    photos: Path | None,
    name: str | None,
    encoder: str,
    codes: Path | None,
    bits: int | None,
    fine_bits: int | None,
    ids: Path | None,
    labels: Path | None,
    thumbnails: bool,
    indexes: Path,
    as_json: bool,
) -> None:
    """Encode the images of the folder PHOTOS into a gallery.

    Sub-folders are types. Without PHOTOS: the sample that ships, the 10,000 test images
    of Fashion-MNIST. Images that cannot be read are listed, not fatal. With --codes, of
    codes that are made already, nothing is encoded.
    """
    of_codes = given(bits=bits, fine_bits=fine_bits, ids=ids, labels=labels)
    if codes is None and of_codes:
        raise click.UsageError(f"--{next(iter(of_codes)).replace('_', '-')} is for --codes alone")
    if codes is not None and (photos is not None or given(thumbnails=thumbnails)):
        raise click.UsageError("--codes takes no photos to encode, and nothing for them")
    if codes is not None and not name:
        raise click.UsageError("say with --name what to call the gallery of --codes")
    from hashsearch import console
    from hashsearch.datasets import fashion_mnist
    from hashsearch.datasets.folder import folder_items
    from hashsearch.gallery import import_gallery, writing
    from hashsearch.gallery.build import build
    from hashsearch.places import check_replaceable, gallery_path, load_encoder

    if name:
        path = gallery_path(name, indexes)
    else:
        path = indexes / f"{_default_name(photos)}.h5"
        check_replaceable(path, photos)
    if codes is not None:
        imported = import_gallery(
            codes,
            n_bits=bits,
            fine_bits=fine_bits,
            ids=ids,
            labels=labels,
            encoder=load_encoder(encoder) if given(encoder=encoder) else None,
        )
        imported.save(path)
        _tell_built(path, imported, [], indexes, as_json=as_json)
        return
    items = fashion_mnist.sample().items() if photos is None else folder_items(photos)
    loaded = load_encoder(encoder)
    with writing(path) as writer, console.progress("encoding", len(items)) as advance:
        result = build(items, loaded, thumbnails=thumbnails, on_progress=advance)
        writer.write(result.gallery)
    _tell_built(path, result.gallery, result.skipped, indexes, as_json=as_json)


def _tell_built(
    path: Path, built: Gallery, skipped: Sequence[Skipped], indexes: Path, *, as_json: bool
) -> None:
    from hashsearch import console

    records = _tell_skipped(skipped)
    if as_json:
        print_json({"gallery": str(path), "items": len(built), "skipped": records})
    else:
        left_out = f", {len(skipped)} skipped" if skipped else ""
        hint = f"Try `hashsearch query IMAGE{_option_to_find(path, indexes)}`."
        if built.encoder_fingerprint is None:
            hint = "To search it by photo, build it with --encoder: the one that made its codes."
        click.echo(console.printable(f"{path}: {len(built):,} items{left_out}. {hint}"))


@click.command(short_help="Add the images of a folder to a gallery.")
@click.argument("photos", type=click.Path(path_type=Path))
@gallery_option
@encoder_option
@indexes_option
@json_option
def add(
    *, photos: Path, gallery: str | None, encoder: str | None, indexes: Path, as_json: bool
) -> None:
    """Encode the images of the folder PHOTOS, and add them to a gallery.

    Sub-folders are types. An id, which is a file's path in PHOTOS, that the gallery has
    already is refused. Whoever searches meanwhile has the old items until all are added.
    """
    from hashsearch import console
    from hashsearch.datasets.folder import folder_items
    from hashsearch.gallery import changing
    from hashsearch.gallery.build import build
    from hashsearch.places import encoder_of, find_gallery

    path = find_gallery(gallery, indexes)
    items = folder_items(photos)
    with (
        changing(path) as (opened, writer),
        console.progress("encoding", len(items)) as advance,
    ):
        opened.check_new([item.id for item in items])
        loaded = encoder_of(opened, encoder)
        result = build(
            items,
            loaded,
            thumbnails=opened.has_thumbnails,
            indexes=(),
            on_progress=advance,
        )
        changed = opened.merged(result.gallery)
        writer.write(changed.indexed(opened.chosen_indexes))
    facts = {"added": len(result.gallery), "skipped": _tell_skipped(result.skipped)}
    _tell_change(path, opened, changed, facts, as_json=as_json)


@click.command(short_help="Remove items from a gallery.")
@click.argument("ids", nargs=-1)
@click.option(
    "--ids-file",
    type=click.Path(path_type=Path),
    help="A file of further ids, one a line.",
)
@gallery_option
@indexes_option
@json_option
def remove(
    *,
    ids: tuple[str, ...],
    ids_file: Path | None,
    gallery: str | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Remove the items IDS from a gallery: all of them, or none if one is not there."""
    from hashsearch.datasets.ids import read_ids
    from hashsearch.gallery import changing
    from hashsearch.places import find_gallery

    unwanted = list(dict.fromkeys([*ids, *(read_ids(ids_file) if ids_file else [])]))
    if not unwanted:
        raise click.UsageError("give ids, or a file of them with --ids-file")
    path = find_gallery(gallery, indexes)
    with changing(path) as (opened, writer):
        changed = opened.without(unwanted)
        writer.write(changed.indexed(opened.chosen_indexes))
    _tell_change(path, opened, changed, {"removed": len(unwanted)}, as_json=as_json)


@click.command(short_help="Write a gallery anew, in less space.")
@gallery_option
@indexes_option
@json_option
def compact(*, gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Write a gallery anew without the space that removed items left behind.

    That is where the longest ids and paths were theirs.
    """
    from hashsearch import console
    from hashsearch.gallery import changing
    from hashsearch.places import find_gallery

    path = find_gallery(gallery, indexes)
    with changing(path) as (opened, writer):
        writer.write(opened.compacted().indexed(opened.chosen_indexes))
    before, after = opened.content.file_bytes, path.stat().st_size
    if as_json:
        print_json({"gallery": str(path), "bytes_before": before, "bytes": after})
    else:
        click.echo(console.printable(f"{path}: {before:,} bytes before, {after:,} now."))


@click.command(short_help="Write codes, ids and labels for other programs.")
@click.argument("out", type=click.Path(path_type=Path))
@gallery_option
@indexes_option
@json_option
def export(*, out: Path, gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Write codes, ids, labels and paths of a gallery to OUT.

    OUT is a file that ends in .parquet, else a folder for .npy files. `hashsearch
    build-index --codes OUT` makes a gallery of it again.
    """
    from hashsearch import console
    from hashsearch.gallery import export_gallery

    opened = open_gallery(gallery, indexes)
    files = export_gallery(opened, out)
    if as_json:
        print_json({"items": len(opened), "files": [str(file) for file in files]})
    else:
        listed = ", ".join(str(file) for file in files)
        click.echo(console.printable(f"{len(opened):,} items: {listed}"))


@click.command()
@gallery_option
@indexes_option
@json_option
def info(gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Say what a gallery holds."""
    from hashsearch import console

    facts = open_gallery(gallery, indexes).info()
    if as_json:
        print_json(facts)
    else:
        console.print_facts(facts)


@click.command()
@gallery_option
@indexes_option
@json_option
def verify(gallery: str | None, indexes: Path, as_json: bool) -> None:
    """Check every byte of a gallery file against its checksums."""
    from hashsearch import console
    from hashsearch import gallery as galleries
    from hashsearch.errors import GalleryDamaged
    from hashsearch.places import find_gallery

    path = find_gallery(gallery, indexes)
    checks = galleries.verify(path)
    damaged = [check.dataset for check in checks if not check.ok]
    if as_json:
        print_json({"gallery": str(path), "datasets": [check._asdict() for check in checks]})
    else:
        rows = [(c.dataset, f"{c.bytes:,}", "ok" if c.ok else "DAMAGED") for c in checks]
        console.print_table(str(path), ("dataset", "bytes", "checksum"), rows)
        if not damaged:
            click.echo("Whole: every byte is as it was written.")
    if damaged:
        raise GalleryDamaged(
            f"{path}: {', '.join(damaged)} damaged; rebuild it with `hashsearch build-index`"
        )


def _tell_skipped(skipped: Sequence[Skipped]) -> list[dict[str, str]]:
    """Say on standard error what was skipped; the same for a document."""
    from hashsearch import console

    for each in skipped:
        click.echo(console.printable(f"Skipped {each.reason}"), err=True)
    return [vars(each) for each in skipped]


def _tell_change(
    path: Path, before: Gallery, after: Gallery, facts: dict[str, Any], *, as_json: bool
) -> None:
    from hashsearch import console

    if as_json:
        print_json({"gallery": str(path), **facts, "items": len(after)})
    else:
        text = f"{path}: {len(before):,} items before, {len(after):,} now."
        click.echo(console.printable(text))


def _default_name(photos: Path | None) -> str:
    """What a gallery of this folder is called."""
    if photos is None:
        return SAMPLE_NAME
    name = photos.name if photos.name not in {"", ".."} else photos.resolve().name
    if not name:
        raise click.UsageError(f"{photos} has no name to call the gallery by; give one with --name")
    return name


def _option_to_find(path: Path, indexes: Path) -> str:
    """What a query needs so that it finds this gallery: nothing, if it lies where all do."""
    source = click.get_current_context().get_parameter_source("indexes")
    if path.parent == indexes and source is not ParameterSource.COMMANDLINE:
        return ""
    return f" --gallery {shlex.quote(str(path))}"
