"""The command that finds near-identical items."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashsearch.cli.common import examples, indexes_option, json_option, open_gallery, print_json
from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hashsearch.gallery import Gallery
    from hashsearch.gallery.duplicates import Duplicates

__all__ = ["duplicates"]

_FIRST_IDS = 3  # in the table; a document has as many as a sheet
_GROUPS_A_SHEET = 8
_CSV_COLUMNS = ("group", "id", "label", "path", "distance")


@click.command(
    short_help="Find groups of near-identical items.",
    epilog=examples(
        "hashsearch duplicates shop --max-distance 3 --sheets SHEETS/",
        "hashsearch duplicates shop --extras more.txt --csv groups.csv",
    ),
)
@click.argument("gallery", required=False)
@click.option(
    "--max-distance",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Bits of the whole code in which two items of a group may differ; 0: equal codes alone.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Groups to show, in the table and on sheets: the largest.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all items of all groups to this CSV file.",
)
@click.option(
    "--sheets",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write pictures of the groups to this folder: sheet-001.png and so on.",
)
@click.option(
    "--extras",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the ids beyond the first of each group to this file, one a line.",
)
@indexes_option
@json_option
def duplicates(
    *,
    gallery: str | None,
    max_distance: int,
    limit: int,
    csv_file: Path | None,
    sheets: Path | None,
    extras: Path | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Find groups of near-identical items in GALLERY, by the whole code.

    GALLERY is a name in the folder of galleries or the path of a file; the one written last
    unless given. Items that differ in no more than the distance are of one group, and so are
    those that others join; the search is exact. `hashsearch remove --ids-file` takes what
    --extras writes.
    """
    from hashsearch import console
    from hashsearch.files import write_atomically, write_csv
    from hashsearch.gallery.duplicates import find_duplicates

    opened = open_gallery(gallery, indexes).joined()
    found = find_duplicates(opened, max_distance)
    if csv_file is not None:
        write_csv(csv_file, _CSV_COLUMNS, _csv_rows(found, opened))
        click.echo(console.printable(f"Wrote {csv_file}"), err=True)
    if extras is not None:
        write_atomically(extras, _lines(opened.ids(found.extras)))
        click.echo(console.printable(f"Wrote {extras}"), err=True)
    if sheets is not None:
        with console.progress("drawing", min(limit, len(found))) as advance:
            names = _write_sheets(found, opened, sheets, limit, advance)
        some = "1 sheet" if len(names) == 1 else f"{len(names)} sheets"
        told = f"{some} to {sheets}" if names else "no sheet: no group is to be shown"
        click.echo(console.printable(f"Wrote {told}"), err=True)
    if as_json:
        print_json(_document(found, opened, limit))
    else:
        _tell(found, opened, limit, extras)


def _csv_rows(found: Duplicates, opened: Gallery) -> Iterable[Iterable[object]]:
    """A line for each item of each group."""
    return zip(
        (found.group + 1).tolist(),
        opened.ids(found.rows),
        opened.labels(found.rows),
        opened.paths(found.rows),
        found.distance.tolist(),
        strict=True,
    )


def _lines(ids: list[str]) -> bytes:
    """A file that :func:`hashsearch.datasets.ids.read_ids` reads as these ids."""
    for name in ids:
        if "\n" in name or name.endswith("\r"):
            raise ArgumentError(
                f"the id {name!r} ends a line, so it cannot be listed; remove it by its name"
            )
    return "".join(f"{name}\n" for name in ids).encode()


def _write_sheets(
    found: Duplicates, opened: Gallery, folder: Path, limit: int, advance: Callable[[int], None]
) -> list[Path]:
    from hashsearch.files import write_atomically
    from hashsearch.pictures import group_sheet, png_bytes

    groups = range(min(limit, len(found)))
    paths = []
    for number, begin in enumerate(range(0, len(groups), _GROUPS_A_SHEET), 1):
        some = groups[begin : begin + _GROUPS_A_SHEET]
        paths.append(folder / f"sheet-{number:03}.png")
        write_atomically(paths[-1], png_bytes(group_sheet(found, some, opened)))
        advance(len(some))
    for stale in folder.glob("sheet-[0-9][0-9][0-9].png"):
        if stale not in paths:  # of an earlier run, which found more
            stale.unlink()
    return paths


def _document(found: Duplicates, opened: Gallery, limit: int) -> dict[str, Any]:
    from hashsearch.pictures import PER_GROUP

    return {
        "gallery": str(opened.path),
        "max_distance": found.max_distance,
        "items": len(opened),
        "groups": len(found),
        "items_in_groups": len(found.rows),
        "extras": len(found.extras),
        "farther_than_max_distance": _n_far(found),
        "largest": [
            {
                "group": number,
                "items": size,
                "largest_distance": widest,
                "first_ids": names,
            }
            for number, size, widest, names in _largest(found, opened, limit, PER_GROUP)
        ],
    }


def _largest(
    found: Duplicates, opened: Gallery, limit: int, n_ids: int
) -> list[tuple[int, int, int, list[str]]]:
    """Number, size, largest distance to the first, and first ids of the largest groups."""
    columns = zip(
        found.offsets[:limit].tolist(),
        found.sizes[:limit].tolist(),
        found.widest[:limit].tolist(),
        strict=False,  # offsets have one more
    )
    return [
        (number, size, widest, opened.ids(found.rows[begin : begin + min(size, n_ids)]))
        for number, (begin, size, widest) in enumerate(columns, 1)
    ]


def _n_far(found: Duplicates) -> int:
    """How many items only a chain of others joins to the first of their group."""
    return int((found.distance > found.max_distance).sum())


def _tell(found: Duplicates, opened: Gallery, limit: int, extras: Path | None) -> None:
    from hashsearch import console

    bits = "1 bit" if found.max_distance == 1 else f"{found.max_distance} bits"
    alike = f"differ in at most {bits}" if found.max_distance else "have one code"
    if not len(found):
        text = f"{opened.path}: no duplicates; no two of {len(opened):,} items {alike}."
        click.echo(console.printable(text))
        return
    rows = [
        (
            str(number),
            ", ".join(names) + (", …" if size > len(names) else ""),
            f"{size:,}",
            str(widest),
        )
        for number, size, widest, names in _largest(found, opened, limit, _FIRST_IDS)
    ]
    title = f"{opened.path}: items that {alike}, the largest groups of {len(found):,}"
    if rows:
        columns = ("group", "first ids", "items", "largest distance to the first")
        console.print_table(title, columns, rows, n_text=2)
    told = [f"{len(found.rows):,} of {len(opened):,} items are in {len(found):,} groups."]
    if n_far := _n_far(found):
        told.append(
            f"{n_far:,} of them are farther than {bits} from the first of their group, which "
            "others join them to: look at them (--sheets) before you remove them."
        )
    where = extras or "FILE"
    made = "" if extras else "write their ids with --extras FILE, then "
    told.append(
        f"{len(found.extras):,} items are beyond the first of their group; to remove them: {made}"
        f"`hashsearch remove --ids-file {shlex.quote(str(where))} "
        f"--gallery {shlex.quote(str(opened.path))}`"
    )
    for line in told:
        click.echo(console.printable(line))
