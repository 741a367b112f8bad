"""The command that looks at the codes of a gallery."""

from __future__ import annotations

from pathlib import Path

import click

from hashsearch.cli.common import (
    examples,
    indexes_option,
    json_option,
    open_gallery,
    print_json,
    radius_option,
)

__all__ = ["inspect"]

_PAGE = "inspect.html"


@click.command(
    short_help="See whether the codes of a gallery are any good.",
    epilog=examples("hashsearch inspect fashion-mnist --radius 2 --out codes.html"),
)
@click.argument("gallery", required=False)
@radius_option
@click.option(
    "--queries",
    type=click.IntRange(min=1),
    default=1_000,
    show_default=True,
    help="How many items of the gallery ask, at most: as many of each type.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The page (a name in .html), or the folder of inspect.html; plots go beside it "
    "[default: benchmarks/results/GALLERY].",
)
@indexes_option
@json_option
def inspect(
    *,
    gallery: str | None,
    radius: int,
    queries: int,
    seed: int,
    out: Path | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """See whether the codes of GALLERY are any good: figures, findings, and a page of plots.

    GALLERY is a name in the folder of galleries or the path of a file; the one written last
    unless given. The page needs nothing but itself.
    """
    from hashsearch import console
    from hashsearch.bench.inspection import document, inspect_gallery, verdict, write_report
    from hashsearch.files import check_writable

    opened = open_gallery(gallery, indexes).joined()
    page = out or Path("benchmarks") / "results" / (opened.path or Path("gallery")).stem
    if page.suffix != ".html":
        page /= _PAGE
    check_writable(page)
    with console.stages() as tell:
        found = inspect_gallery(opened, radius=radius, n_queries=queries, seed=seed, progress=tell)
        tell("drawing", 0, 1)
        written = write_report(found, page)
    if as_json:
        print_json(document(found))
    else:
        table, judgement, findings = verdict(found)
        console.print_table(table.title, table.columns, table.rows, table.note, n_text=table.n_text)
        for line in (judgement, *(f"! {finding}" for finding in findings), *found.notes):
            click.echo(console.printable(line))
    click.echo(console.printable(f"Wrote {', '.join(map(str, written))}"), err=True)
