"""The command that searches."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashsearch.cli.common import (
    encoder_option,
    examples,
    gallery_option,
    indexes_option,
    json_option,
    open_gallery,
    print_json,
    radius_option,
)
from hashsearch.cli.queries import Queries
from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.gallery import Gallery, Matches
    from hashsearch.pictures import Graphics, SheetRow

__all__ = ["query"]

_LONGEST_NAME = 200  # bytes


@click.command(
    short_help="Find what is nearest to images or items.",
    epilog=examples(
        "hashsearch query img.jpg",
        "hashsearch query a.jpg b.png -k 6 --sheet found.png",
        "hashsearch query - --json < img.jpg",
        "hashsearch query -g shop --id Dress/7.png --label Dress --csv > found.csv",
    ),
)
@click.argument("images", nargs=-1)
@click.option(
    "--images-file",
    type=click.Path(path_type=Path),
    help="A file of further image files, one a line, relative to the working folder.",
)
@click.option(
    "--id",
    "ids",
    multiple=True,
    help="Search with this item of the gallery, which is not among its matches; may be repeated.",
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Matches.")
@radius_option
@gallery_option
@encoder_option
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Find only items that have this in a column of the gallery; may be repeated: one of the "
    "values of each column.",
)
@click.option("--label", "labels", multiple=True, help="The same as --where label=VALUE.")
@click.option(
    "--only",
    type=click.Path(path_type=Path),
    help="Find only items whose ids this file lists, one a line.",
)
@click.option(
    "--without",
    type=click.Path(path_type=Path),
    help="Find no items whose ids this file lists, one a line.",
)
@click.option(
    "--distinct",
    is_flag=True,
    help="Of several images of one article (column item; without one: of equal code) the best.",
)
@click.option(
    "--show",
    "shown",
    multiple=True,
    metavar="COLUMN",
    help="Show path, or a further column of the gallery, in the table; may be repeated. JSON and "
    "CSV have all.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture of queries and matches to this PNG file. It tells matches of "
    "the query's type from others where that is known: of --id, and of an image in a folder that "
    "is named as a type.",
)
@click.option(
    "--preview/--no-preview",
    "shows_pictures",
    default=None,
    help="Show small pictures under the tables of the first 100 queries [default: in a terminal "
    "that can, unless NO_COLOR is set].",
)
@click.option(
    "--copy-to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Copy the files of the matches into this empty folder; of several queries, into a folder "
    "in it for each.",
)
@indexes_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one line a match.")
@json_option
def query(
    *,
    images: tuple[str, ...],
    images_file: Path | None,
    ids: tuple[str, ...],
    k: int,
    radius: int,
    gallery: str | None,
    encoder: str | None,
    where: tuple[str, ...],
    labels: tuple[str, ...],
    only: Path | None,
    without: Path | None,
    distinct: bool,
    shown: tuple[str, ...],
    sheet: Path | None,
    shows_pictures: bool | None,
    copy_to: Path | None,
    indexes: Path,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Find the gallery items nearest to each of the image files IMAGES.

    `-` reads an image from standard input. Matches within the radius come first, the
    closest by the whole code before the others. An image that cannot be read costs its
    own answer alone, and the exit status is 1.
    """
    from hashsearch import console
    from hashsearch.datasets.ids import read_lines
    from hashsearch.gallery.distinct import nearest_others
    from hashsearch.places import encoder_of

    _check_usage(images or images_file or ids, sheet, as_csv=as_csv, as_json=as_json)
    graphics = _graphics(wanted=shows_pictures, beside_table=not (as_csv or as_json))
    if copy_to is not None and copy_to.exists() and any(copy_to.iterdir()):
        raise ArgumentError(f"{copy_to} is not empty; name another folder with --copy-to")
    whole = open_gallery(gallery, indexes)
    _check_columns(whole, shown)
    shown = tuple(name for name in shown if name != "label")  # it is shown in any case
    conditions = _conditions([*where, *(f"label={label}" for label in labels)])
    opened = _narrowed(whole, conditions, only, without)
    asked = Queries(drawn=bool(sheet or graphics))
    asked.add_items(whole, opened, ids)
    if images or images_file:
        listed = read_lines(images_file, "image file") if images_file else []
        asked.add_images(whole, encoder_of(whole, encoder), [*images, *listed])
    if not asked.names:
        click.get_current_context().exit(1)
    matches: Sequence[Matches]
    if ids or distinct:
        matches = nearest_others(opened, asked.codes, k, radius, own=asked.own, distinct=distinct)
    else:
        matches = [*opened.nearest(asked.codes, k=k, radius=radius)]
    rows = asked.sheet_rows(matches) if asked.drawn else []
    if sheet is not None:
        _write_sheet(sheet, rows, opened)
    complete = copy_to is None or _copy(copy_to, asked.names, matches)
    if as_json:
        print_json(_document(opened, radius, asked.names, matches))
    elif as_csv:
        click.echo(console.matches_csv(asked.names, matches), nl=False)
    else:
        for place, (name, found) in enumerate(zip(asked.names, matches, strict=True)):
            console.print_matches(name, found, opened, shown)
            _show(place, rows, opened, graphics)
    if asked.unreadable or not complete:
        click.get_current_context().exit(1)


def _check_usage(queries: object, sheet: Path | None, *, as_csv: bool, as_json: bool) -> None:
    if not queries:
        raise click.UsageError("give image files, or items of the gallery with --id")
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise click.UsageError(f"--sheet writes a PNG file; name one that ends in .png: {sheet}")
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two forms of one answer; take one")


def _document(
    gallery: Gallery, radius: int, names: Sequence[str], matches: Sequence[Matches]
) -> dict[str, Any]:
    from hashsearch import console

    return {
        "gallery": str(gallery.path),
        "radius": radius,
        "queries": [
            {
                "query": name,
                "ball_size": int(found.ball_size[0]),
                "matches": console.match_records(found),
            }
            for name, found in zip(names, matches, strict=True)
        ],
    }


def _narrowed(
    gallery: Gallery, conditions: dict[str, list[str]], only: Path | None, without: Path | None
) -> Gallery:
    """The items that may be found."""
    from hashsearch.datasets.ids import read_ids

    if not (conditions or only or without):
        return gallery
    return gallery.only(
        where=conditions,
        ids=read_ids(only) if only else None,
        without_ids=read_ids(without) if without else None,
    )


def _conditions(where: Sequence[str]) -> dict[str, list[str]]:
    conditions: dict[str, list[str]] = {}
    for text in where:
        column, parted, value = text.partition("=")
        if not parted or not column:
            raise click.UsageError(f"--where takes COLUMN=VALUE, not {text!r}")
        conditions.setdefault(column, []).append(value)
    return conditions


def _check_columns(gallery: Gallery, names: Sequence[str]) -> None:
    known = ["path", *(name for name in gallery.column_names if name != "label")]
    for name in names:
        if name not in known and name != "label":
            raise click.UsageError(f"--show: no column {name!r}; there are {', '.join(known)}")


def _graphics(*, wanted: bool | None, beside_table: bool) -> Graphics | None:
    """How to show pictures on standard output, unless it cannot and nobody insists."""
    if wanted and not beside_table:
        raise click.UsageError("--preview goes with the table; leave out --csv or --json")
    if wanted is False or not beside_table or not (wanted or sys.stdout.isatty()):
        return None
    from hashsearch.pictures import terminal_graphics

    graphics = terminal_graphics(sys.stdout, despite_no_color=bool(wanted))
    if wanted and graphics is None:
        raise ArgumentError(
            "standard output is no terminal that can show pictures; leave out --preview, or write "
            "them to a file with --sheet"
        )
    return graphics


def _show(
    place: int, rows: Sequence[SheetRow], gallery: Gallery, graphics: Graphics | None
) -> None:
    """The pictures of the query at a place, if they can be shown and were kept."""
    if graphics is None:
        return
    from hashsearch.pictures import MOST_QUERIES, preview

    if place < MOST_QUERIES:
        text = preview(rows[place], gallery, graphics, shutil.get_terminal_size().columns)
        click.echo(text, nl=False, color=True)


def _write_sheet(path: Path, rows: Sequence[SheetRow], gallery: Gallery) -> None:
    from hashsearch import console
    from hashsearch.files import write_atomically
    from hashsearch.pictures import contact_sheet, n_on_sheet, png_bytes

    write_atomically(path, png_bytes(contact_sheet(rows, gallery)))
    n_shown = n_on_sheet(rows)
    some = f": {n_shown:,} of {len(rows):,} queries" if n_shown < len(rows) else ""
    click.echo(console.printable(f"Wrote {path}{some}"), err=True)


def _copy(folder: Path, names: Sequence[str], matches: Sequence[Matches]) -> bool:
    """Copy the files of the matches; whether all were there."""
    from hashsearch import console
    from hashsearch.files import copy_file

    complete = True
    copied = 0
    for place, (name, found) in enumerate(zip(names, matches, strict=True), 1):
        target = folder / _cut(f"{place:03d}-{Path(name).stem}") if len(names) > 1 else folder
        for rank, path in enumerate(found.paths, 1):
            if path is None:
                message = f"{found.ids[rank - 1]} has no file"
            else:
                file = Path(path)
                copy = target / f"{_cut(f'{rank:03d}-{file.stem}')}{file.suffix}"
                message = copy_file(file, copy)
            copied += not message
            if message:
                complete = False
                click.echo(f"Not copied: {console.printable(message)}", err=True)
    click.echo(f"Copied {copied:,} files to {console.printable(str(folder))}", err=True)
    return complete


def _cut(name: str) -> str:
    """A name that is short enough for any file system, with room for an ending."""
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")
