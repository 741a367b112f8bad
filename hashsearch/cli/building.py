"""Commands that encode images into galleries."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hashsearch.cli.common import (
    column_option,
    encoder_option,
    examples,
    extra,
    gallery_option,
    given,
    indexes_option,
    json_option,
    open_items,
    print_json,
    source_option,
    tell_change,
    tell_notes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashsearch.gallery import Gallery
    from hashsearch.gallery.build import Skipped
    from hashsearch.gallery.encoding import Engine

__all__ = ["add", "build_index", "default_name", "listing_skipped", "tell_skipped"]

SAMPLE_NAME = "fashion-mnist"

_ADDED = ".added"  # in the name of the list of what an `add` skipped
_TOLD = 20  # skipped images that are told one by one

_strict_option = click.option(
    "--strict", is_flag=True, help="An image that cannot be read ends it; nothing is written."
)


@click.command(
    "build-index",
    epilog=examples(
        "hashsearch build-index                        # the sample that ships",
        "hashsearch build-index PHOTOS/ --name shop    # sub-folders are types",
        "hashsearch build-index PHOTOS/ --name shop --update",
        "hashsearch build-index catalogue.csv --column label=kind",
        "hashsearch build-index PHOTOS/ --ray          # by a process for each core",
    ),
)
@click.argument("photos", type=click.Path(path_type=Path), required=False)
@click.option(
    "--name",
    help="Name of the gallery, or path of its .h5 file [default: the name of the folder or file].",
)
@click.option(
    "--encoder",
    "-e",
    default=SAMPLE_NAME,
    show_default=True,
    help="Name of an encoder that ships, or path of an .onnx file; with --update: that of the "
    "gallery, unless told; with --codes: the one that made them [default: as exported].",
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
@source_option
@column_option
@click.option("--thumbnails/--no-thumbnails", default=True, help="Keep a small JPEG of each item.")
@click.option(
    "--update",
    is_flag=True,
    help="Make the gallery what PHOTOS is now, but encode only what is new or has changed (by "
    "path, size and time, then by content), by the encoder that it was built with. What `remove` "
    "took comes back, and what `add` brought goes.",
)
@click.option(
    "--checksum",
    is_flag=True,
    help="For --update: has changed whose content has, whatever its time.",
)
@_strict_option
@click.option(
    "--ray",
    "address",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="local",
    help="Read and encode on the Ray cluster whose head is ADDRESS, host:port (`auto`: the one "
    "that runs here); without ADDRESS, on one of this machine alone. Every machine must see the "
    "images at the same paths.",
)
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
    source: str | None,
    columns: tuple[str, ...],
    thumbnails: bool,
    update: bool,
    checksum: bool,
    strict: bool,
    address: str | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Encode the images of PHOTOS into a gallery.

    PHOTOS is a folder, whose sub-folders are types, a catalogue (.csv, .tsv or .parquet), or the
    folder of MVC, DeepFashion In-shop or Kaggle's fashion-product-images. Without PHOTOS: the
    sample that ships, the 10,000 test images of Fashion-MNIST. Images that cannot be read are
    listed in NAME.skipped.csv beside the gallery, and the exit status is 1. A build that was
    stopped goes on when the same command is given again. With --codes, of codes that are made
    already, nothing is encoded.
    """
    if codes is not None:
        of_photos = given(
            thumbnails=thumbnails,
            source=source,
            columns=columns,
            update=update,
            checksum=checksum,
            strict=strict,
            address=address,
        )
        if photos is not None or of_photos:
            raise click.UsageError("--codes takes no photos to encode, and nothing for them")
        if not name:
            raise click.UsageError("say with --name what to call the gallery of --codes")
        _import(codes, name, encoder, bits, fine_bits, ids, labels, indexes, as_json=as_json)
        return
    if of_codes := given(bits=bits, fine_bits=fine_bits, ids=ids, labels=labels):
        raise click.UsageError(f"--{next(iter(of_codes)).replace('_', '-')} is for --codes alone")
    if photos is None and (source or columns):
        raise click.UsageError("--source and --column are for PHOTOS; the sample needs neither")
    if checksum and not update:
        raise click.UsageError("--checksum is for --update alone")
    if photos is None and address and Path(address).exists():
        raise click.UsageError(f"--ray takes {address} as its ADDRESS; give --ray behind PHOTOS")
    from hashsearch import console
    from hashsearch.datasets import fashion_mnist
    from hashsearch.datasets.catalogue import Catalogue
    from hashsearch.gallery.build import build_file
    from hashsearch.places import check_replaceable, encoder_to_build, gallery_path, source_of

    if name:
        path = gallery_path(name, indexes)
    else:
        path = indexes / f"{default_name(photos)}.h5"
        check_replaceable(path, photos)
    catalogue = (
        Catalogue(SAMPLE_NAME, fashion_mnist.sample().items())
        if photos is None
        else open_items(photos, source, columns)
    )
    items = catalogue.items
    chosen = bool(given(encoder=encoder))
    with (
        _engine(address) as engine,
        listing_skipped(path),
        console.progress("encoding", len(items)) as advance,
    ):
        result = build_file(
            path,
            items,
            lambda known: encoder_to_build(known, encoder, chosen=chosen),
            update=update,
            thumbnails=thumbnails if given(thumbnails=thumbnails) else None,
            source=source_of(photos),
            checksum=checksum,
            strict=strict,
            engine=engine,
            on_progress=advance,
        )
    tell_notes(catalogue)
    if before := len(result.gallery) - result.encoded if not update else 0:
        click.echo(f"{before:,} of the images were encoded before it was stopped.", err=True)
    counts = {name: getattr(result, name) for name in ("added", "changed", "removed")}
    _tell_built(
        path,
        result.gallery,
        changes=counts if update else None,
        skipped=tell_skipped(path, result.skipped),
        indexes=indexes,
        as_json=as_json,
    )


@contextmanager
def _engine(address: str | None) -> Iterator[Engine | None]:
    """What encodes while the body runs: a Ray cluster; None: this process."""
    if address is None:
        yield None
        return
    with extra("ray"):
        from hashsearch.cluster.connection import connected
        from hashsearch.cluster.encoding import encode_on_ray
    with connected(address):
        yield encode_on_ray


def _import(
    codes: Path,
    name: str,
    encoder: str,
    bits: int | None,
    fine_bits: int | None,
    ids: Path | None,
    labels: Path | None,
    indexes: Path,
    *,
    as_json: bool,
) -> None:
    """Make a gallery of codes from files."""
    from hashsearch.gallery import import_gallery
    from hashsearch.places import gallery_path, load_encoder

    imported = import_gallery(
        codes,
        n_bits=bits,
        fine_bits=fine_bits,
        ids=ids,
        labels=labels,
        encoder=load_encoder(encoder) if given(encoder=encoder) else None,
    )
    path = gallery_path(name, indexes)
    imported.save(path)
    _tell_built(path, imported, indexes=indexes, as_json=as_json)


def _tell_built(
    path: Path,
    built: Gallery,
    *,
    indexes: Path,
    as_json: bool,
    changes: dict[str, int] | None = None,
    skipped: Sequence[dict[str, Any]] = (),
) -> None:
    from hashsearch import console

    if as_json:
        print_json(
            {"gallery": str(path), "items": len(built), **(changes or {}), "skipped": [*skipped]}
        )
    else:
        said = "".join(f", {count:,} {what}" for what, count in (changes or {}).items())
        said += f", {len(skipped):,} skipped" if skipped else ""
        said += f", by the encoder {built.encoder_name}" if built.encoder_name else ""
        hint = f"Try `hashsearch query IMAGE{_option_to_find(path, indexes)}`."
        if built.encoder_fingerprint is None:
            hint = "To search it by photo, build it with --encoder: the one that made its codes."
        click.echo(console.printable(f"{path}: {len(built):,} items{said}. {hint}"))
    if skipped:
        click.get_current_context().exit(1)


@click.command(
    short_help="Add images to a gallery.",
    epilog=examples("hashsearch add MORE/ --gallery shop"),
)
@click.argument("photos", type=click.Path(path_type=Path))
@gallery_option
@encoder_option
@source_option
@column_option
@_strict_option
@indexes_option
@json_option
def add(
    *,
    photos: Path,
    gallery: str | None,
    encoder: str | None,
    source: str | None,
    columns: tuple[str, ...],
    strict: bool,
    indexes: Path,
    as_json: bool,
) -> None:
    """Encode the images of PHOTOS, and add them to a gallery.

    PHOTOS is what `hashsearch build-index` takes. What the gallery has already, of the same file
    that has not changed, is passed over; another image of an id (of a folder's image, its path in
    there) that it has is refused. Whoever searches meanwhile has the old items until all are added.
    What is skipped is listed in NAME.added.skipped.csv beside the gallery.
    """
    from hashsearch import console
    from hashsearch.gallery import changing
    from hashsearch.gallery.build import build, unchanged
    from hashsearch.gallery.journal import resumable
    from hashsearch.places import encoder_of, find_gallery

    path = find_gallery(gallery, indexes)
    catalogue = open_items(photos, source, columns)
    with listing_skipped(path, _ADDED), changing(path) as (opened, writer):
        there = unchanged(opened, catalogue.items)
        items = [
            item for item, is_there in zip(catalogue.items, there, strict=True) if not is_there
        ]
        if not items:
            facts: dict[str, Any] = {"added": 0, "already_there": len(there), "skipped": []}
            tell_change(path, opened, opened, facts, as_json=as_json)
            return
        opened.check_new([item.id for item in items])
        loaded = encoder_of(opened, encoder)
        with (
            resumable(path, loaded, ".adding") as journal,
            console.progress("encoding", len(items)) as advance,
        ):
            result = build(
                items,
                loaded,
                journal=journal,
                strict=strict,
                thumbnails=opened.has_thumbnails,
                indexes=(),
                on_progress=advance,
            )
            changed = opened.merged(result.gallery)
            writer.write(changed.indexed(opened.chosen_indexes))
    tell_notes(catalogue)
    facts = {
        "added": len(result.gallery),
        "already_there": sum(there),
        "skipped": tell_skipped(path, result.skipped, _ADDED),
    }
    tell_change(path, opened, changed, facts, as_json=as_json)
    if result.skipped:
        click.get_current_context().exit(1)


@contextmanager
def listing_skipped(path: Path, ending: str = "") -> Iterator[None]:
    """While the body builds a gallery: if no image can be read, list them before that is told."""
    from hashsearch.gallery.build import NothingRead

    try:
        yield
    except NothingRead as error:
        tell_skipped(path, error.skipped, ending)
        raise


def tell_skipped(path: Path, skipped: Sequence[Skipped], ending: str = "") -> list[dict[str, Any]]:
    """Say on standard error what was skipped, and write it to a file; the same for a document.

    Args:
        path: of the gallery, beside which the file lies; without anything to list there is none.
        skipped: what to tell.
        ending: of the list's name, before ``.skipped.csv``.
    """
    from hashsearch import console
    from hashsearch.files import write_csv

    listing = path.with_suffix(f"{ending}.skipped.csv")
    records = [vars(each) for each in skipped]
    if not records:
        listing.unlink(missing_ok=True)
        return records
    write_csv(listing, ("id", "path", "reason"), [record.values() for record in records])
    for record in records[:_TOLD]:
        click.echo(console.printable(f"Skipped {record['reason']}"), err=True)
    rest = f"{len(records) - _TOLD:,} more are skipped; all" if len(records) > _TOLD else "All"
    click.echo(console.printable(f"{rest} are listed in {listing}"), err=True)
    return records


def default_name(photos: Path | None) -> str:
    """What a gallery of this folder is called."""
    if photos is None:
        return SAMPLE_NAME
    whole = photos if photos.name not in {"", ".."} else photos.resolve()
    name = whole.name if whole.is_dir() else whole.stem
    if not name:
        raise click.UsageError(f"{photos} has no name to call the gallery by; give one with --name")
    return name


def _option_to_find(path: Path, indexes: Path) -> str:
    """What a query needs so that it finds this gallery: nothing, if it lies where all do."""
    source = click.get_current_context().get_parameter_source("indexes")
    if path.parent == indexes and source is not ParameterSource.COMMANDLINE:
        return ""
    return f" --gallery {shlex.quote(str(path))}"
