"""What several commands share: options, and how they read and print."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hashsearch.errors import ExtraMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hashsearch.datasets.catalogue import Catalogue
    from hashsearch.gallery import Gallery

__all__ = [
    "column_option",
    "column_roles",
    "encoder_option",
    "examples",
    "extra",
    "gallery_option",
    "given",
    "indexes_option",
    "json_option",
    "open_gallery",
    "open_items",
    "print_json",
    "radius_option",
    "refuse",
    "source_option",
    "tell_change",
    "tell_notes",
]

indexes_option = click.option(
    "--indexes",
    type=click.Path(path_type=Path),
    default=Path("indexes"),
    show_default=True,
    envvar="HASHSEARCH_INDEXES",
    help="Folder of the galleries.",
)
gallery_option = click.option(
    "--gallery",
    "-g",
    help="Name of a gallery in the folder of galleries, or path of its file, or of its folder of "
    "shards [default: the file written last].",
)
encoder_option = click.option(
    "--encoder",
    "-e",
    help="Name of an encoder that ships, or path of an .onnx file "
    "[default: the one that the gallery was built with].",
)
source_option = click.option(
    "--source",
    help="What the data is: mvc, in-shop, kaggle-styles, catalogue or folder [default: what it "
    "looks like].",
)
column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    help="For a catalogue file: the column that holds each item's image, id, label, item (the "
    "article that it shows), split or attributes; without a NAME none does; may be repeated.",
)
radius_option = click.option(
    "--radius",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Of the ball, in bits of the semantic code.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def examples(*lines: str) -> str:
    """The end of a command's help; a test runs each line in a shell."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def open_gallery(name: str | None, indexes: Path) -> Gallery:
    """The gallery of this name, or the one that was written last."""
    from hashsearch.gallery import Gallery
    from hashsearch.places import find_gallery

    return Gallery.open(find_gallery(name, indexes))


@contextmanager
def extra(name: str) -> Iterator[None]:
    """While the body imports what an extra brings: say so where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing.of("this command", error.name, name) from error


def open_items(path: Path, source: str | None, columns: Sequence[str]) -> Catalogue:
    """The items that a folder, a catalogue file or the files of a data set give.

    Args:
        path: where they lie.
        source: see :data:`source_option`.
        columns: see :data:`column_option`.
    """
    from hashsearch.datasets.sources import open_source

    return open_source(path, kind=source, columns=column_roles(columns))


def column_roles(columns: Sequence[str]) -> dict[str, str] | None:
    """The column of each role, of what :data:`column_option` takes; None where there is none."""
    roles = {}
    for text in columns:
        role, parted, name = text.partition("=")
        if not parted:
            raise click.UsageError(f"--column takes ROLE=NAME, not {text!r}")
        roles[role] = name
    return roles or None


def tell_notes(catalogue: Catalogue) -> None:
    """Say on standard error what was passed over, and what was taken for what."""
    from hashsearch import console

    for note in catalogue.notes:
        click.echo(console.printable(note), err=True)


def given(**options: Any) -> dict[str, Any]:
    """Those of a command's options that are not left to their defaults."""
    source = click.get_current_context().get_parameter_source
    return {
        name: value
        for name, value in options.items()
        if source(name) is not ParameterSource.DEFAULT
    }


def refuse(names: Iterable[str], where: str) -> None:
    """Options that would do nothing are a mistake of whoever gave them.

    Args:
        names: of the options, as the command has them.
        where: they have no meaning, as ``for photos``.
    """
    renamed = {"columns": "column"}
    options = ", ".join(f"--{renamed.get(name, name).replace('_', '-')}" for name in names)
    if options:
        raise click.UsageError(f"{options}: of no meaning {where}; leave it out")


def print_json(document: object) -> None:
    """One document on standard output, with escapes where the terminal lacks a letter."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(document, indent=1, allow_nan=False)
    click.echo(text)


def tell_change(
    path: Path, before: Gallery, after: Gallery, facts: dict[str, Any], *, as_json: bool
) -> None:
    """Say how many items a gallery had and has; ``facts`` are for the document alone."""
    from hashsearch import console

    if as_json:
        print_json({"gallery": str(path), **facts, "items": len(after)})
    else:
        text = f"{path}: {len(before):,} items before, {len(after):,} now."
        click.echo(console.printable(text))
