"""The command that searches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashsearch.cli.common import (
    encoder_option,
    gallery_option,
    indexes_option,
    json_option,
    open_gallery,
    print_json,
    radius_option,
)
from hashsearch.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

__all__ = ["query"]


@click.command(short_help="Find what is nearest to image files.")
@click.argument("images", nargs=-1, required=True)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Matches.")
@radius_option
@gallery_option
@encoder_option
@click.option(
    "--label", "labels", multiple=True, help="Find items of this label only; may be repeated."
)
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
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture of query and matches to this PNG file.",
)
@indexes_option
@json_option
def query(
    *,
    images: tuple[str, ...],
    k: int,
    radius: int,
    gallery: str | None,
    encoder: str | None,
    labels: tuple[str, ...],
    only: Path | None,
    without: Path | None,
    sheet: Path | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Find the gallery items nearest to each of the image files IMAGES.

    `-` reads an image from standard input. Matches within the radius come first, the
    closest by the whole code before the others. An image that cannot be read costs its
    own answer alone, and the exit status is 1.
    """
    from hashsearch import console
    from hashsearch.datasets.ids import read_ids
    from hashsearch.files import write_atomically
    from hashsearch.places import encoder_of

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise click.UsageError(f"--sheet writes a PNG file; name one that ends in .png: {sheet}")
    opened = open_gallery(gallery, indexes)
    if labels or only or without:
        opened = opened.only(
            labels=labels or None,
            ids=read_ids(only) if only else None,
            without_ids=read_ids(without) if without else None,
        )
    loaded = encoder_of(opened, encoder)
    names, pictures, unreadable = _read_queries(images)
    for message in unreadable:
        click.echo(f"Error: {console.printable(message)}", err=True)
    if not pictures:
        click.get_current_context().exit(1)
    matches = opened.nearest(loaded.encode(pictures), k=k, radius=radius)
    if sheet is not None:
        from hashsearch.pictures import SheetRow, contact_sheet, png_bytes

        rows = [
            SheetRow(Path(name).stem, picture, found)
            for name, picture, found in zip(names, pictures, matches, strict=True)
        ]
        write_atomically(sheet, png_bytes(contact_sheet(rows, opened)))
        click.echo(f"Wrote {sheet}", err=True)
    if as_json:
        print_json(
            {
                "gallery": str(opened.path),
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
        )
    else:
        for name, found in zip(names, matches, strict=True):
            console.print_matches(name, found, opened)
    if unreadable:
        click.get_current_context().exit(1)


def _read_queries(sources: Sequence[str]) -> tuple[list[str], list[Image.Image], list[str]]:
    """Names and pictures of the images that can be read, and what is wrong with the others."""
    from hashsearch.images import read_image

    names, pictures, unreadable = [], [], []
    for source in sources:
        piped = source == "-"
        try:
            pictures.append(read_image(sys.stdin.buffer.read() if piped else source))
        except ImageError as error:
            unreadable.append(f"standard input: {error}" if piped else str(error))
        else:
            names.append("standard input" if piped else source)
    return names, pictures, unreadable
