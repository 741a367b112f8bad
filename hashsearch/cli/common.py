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
    from collections.abc import Iterator

    from hashsearch.gallery import Gallery

__all__ = [
    "encoder_option",
    "extra",
    "gallery_option",
    "given",
    "indexes_option",
    "json_option",
    "open_gallery",
    "print_json",
    "radius_option",
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
    help="Name of a gallery in the folder of galleries, or path of its file "
    "[default: the one written last].",
)
encoder_option = click.option(
    "--encoder",
    "-e",
    help="Name of an encoder that ships, or path of an .onnx file "
    "[default: the one that the gallery was built with].",
)
radius_option = click.option(
    "--radius",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Of the ball, in bits of the semantic code.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


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


def given(**options: Any) -> dict[str, Any]:
    """Those of a command's options that are not left to their defaults."""
    source = click.get_current_context().get_parameter_source
    return {
        name: value
        for name, value in options.items()
        if source(name) is not ParameterSource.DEFAULT
    }


def print_json(document: object) -> None:
    """One document on standard output, with escapes where the terminal lacks a letter."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(document, indent=1, allow_nan=False)
    click.echo(text)
