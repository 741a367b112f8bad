"""The command that measures: a gallery, or systems that it trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashsearch.cli.building import (
    SAMPLE_NAME,
    default_name,
    listing_skipped,
    tell_skipped,
)
from hashsearch.cli.common import (
    column_option,
    encoder_option,
    examples,
    gallery_option,
    given,
    indexes_option,
    json_option,
    open_gallery,
    open_items,
    print_json,
    radius_option,
    refuse,
    source_option,
    tell_notes,
)
from hashsearch.cli.reports import write_page
from hashsearch.cli.trainings import bench_objectives, bench_suites, photo_data

if TYPE_CHECKING:
    from hashsearch.datasets.catalogue import Catalogue
    from hashsearch.gallery import Gallery

__all__ = ["bench"]


@click.command(
    short_help="Measure how good and how fast a gallery is.",
    epilog=examples(
        "hashsearch bench --gallery fashion-mnist --scales 1k --radius 2",
        "hashsearch bench --data PHOTOS/ --json > measured.json",
    ),
)
@radius_option
@gallery_option
@click.option(
    "--scales",
    help="Sizes of further galleries, such as 1k,10k,100k,1m; past the gallery's own size "
    "they are filled with deformed copies of its images [default: 1k,10k].",
)
@click.option(
    "--peers",
    type=click.Choice(["basic", "all"]),
    is_flag=False,
    flag_value="basic",
    help="Compare with other engines at each scale, too: with FAISS's Flat, Hash and MultiHash and "
    "NumPy; or with all, which builds for minutes at 1m and needs the extra peers.",
)
@click.option("--overheads", is_flag=True, help="Measure cold start and encoding speed, too.")
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="CSV file of judged pairs (query,gallery,relevant) of gallery items: measure on which "
    "side of the radius they lie, too. For --protocols pairs: of the test images.",
)
@encoder_option
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Bring the gallery of this data up to date, as build-index --update does (--gallery names "
    "it), and measure how good its codes are: by the data's own split, or with queries drawn from "
    "it.",
)
@click.option(
    "--neighbours",
    default="same-type",
    show_default=True,
    help="For --data, who is a neighbour of whom: same-type, same-item or shared-attributes(N).",
)
@source_option
@column_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--suite",
    "suites",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="TOML file that lists trainings: run what is not recorded yet, and render the report "
    "beside the file; may be repeated.",
)
@click.option(
    "--render",
    is_flag=True,
    help="For --suite: run nothing; render the report of what is recorded.",
)
@click.option(
    "--share",
    type=(click.IntRange(min=1), click.IntRange(min=1)),
    default=(1, 1),
    help="For --suite, on several machines: 2 3 runs the second third of its trainings here.",
)
@click.option(
    "--objectives",
    help="Names such as dch,itq,pixel-sad: train each, and measure it by --protocols.",
)
@click.option("--protocols", default="held-out", show_default=True, help="For --objectives.")
@click.option("--bits", default="48", show_default=True, help="For --objectives.")
@click.option("--seeds", default="0", show_default=True, help="For --objectives.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the training images, for --suite and --objectives.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the record and the plots [default: benchmarks/results/GALLERY].",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write tables and plots as one HTML page that needs nothing but itself, too.",
)
@indexes_option
@json_option
def bench(
    *,
    radius: int,
    gallery: str | None,
    scales: str | None,
    peers: str | None,
    overheads: bool,
    pairs: Path | None,
    encoder: str | None,
    data: Path | None,
    neighbours: str,
    source: str | None,
    columns: tuple[str, ...],
    seed: int,
    suites: tuple[Path, ...],
    render: bool,
    share: tuple[int, int],
    objectives: str | None,
    protocols: str,
    bits: str,
    seeds: str,
    data_dir: Path | None,
    out: Path | None,
    report: Path | None,
    indexes: Path,
    as_json: bool,
) -> None:
    """Measure how good and how fast a gallery is; record it as JSON and plots.

    With --suite or --objectives, train systems instead, and measure how good each is.
    """
    of_data = given(data=data, neighbours=neighbours, source=source, columns=columns)
    of_trainings = given(protocols=protocols, bits=bits, seeds=seeds)
    of_galleries = given(
        gallery=gallery,
        scales=scales,
        peers=peers,
        overheads=overheads,
        pairs=pairs,
        encoder=encoder,
        seed=seed,
        indexes=indexes,
    )
    if report is not None:
        from hashsearch.files import check_writable

        check_writable(report)
    if suites:
        own = given(radius=radius, objectives=objectives, out=out)
        refuse(
            {**of_galleries, **of_data, **of_trainings, **own},
            "beside --suite, whose file says all",
        )
        if render:
            refuse(given(share=share, data_dir=data_dir), "beside --render")
        bench_suites(suites, share, data_dir, report, render=render, as_json=as_json)
        return
    if objectives:
        of_galleries.pop("pairs", None)
        refuse({**of_galleries, **given(share=share, render=render)}, "beside --objectives")
        if data is None:
            refuse(of_data, "beside --objectives without --data")
        else:
            refuse(given(data_dir=data_dir), "beside --data")
        photos = photo_data(data, source, columns, neighbours)
        bench_objectives(
            _names(objectives),
            _numbers("--bits", bits),
            _numbers("--seeds", seeds),
            _names(protocols) if photos is None or given(protocols=protocols) else None,
            radius,
            data_dir,
            photos,
            pairs,
            out or Path("benchmarks") / "results" / "objectives",
            report,
            as_json=as_json,
        )
        return
    own = given(data_dir=data_dir, share=share, render=render)
    refuse({**of_trainings, **own}, "beside a gallery; it is for trainings")
    if data is not None:
        refuse(given(scales=scales, peers=peers, overheads=overheads, pairs=pairs), "beside --data")
        items = open_items(data, source, columns)
        name = gallery or default_name(data)
        folder = out or Path("benchmarks") / "results" / Path(name).stem
        _bench_data(
            data,
            items,
            name,
            encoder,
            neighbours,
            radius,
            seed,
            folder,
            report,
            indexes,
            as_json=as_json,
        )
        return
    refuse(of_data, "beside a gallery; it is for --data")
    _bench_gallery(
        open_gallery(gallery, indexes).joined(),
        radius=radius,
        scales=scales,
        peers=peers,
        overheads=overheads,
        pairs=pairs,
        encoder=encoder,
        seed=seed,
        out=out,
        report=report,
        as_json=as_json,
    )


def _bench_gallery(
    opened: Gallery,
    *,
    radius: int,
    scales: str | None,
    peers: str | None,
    overheads: bool,
    pairs: Path | None,
    encoder: str | None,
    seed: int,
    out: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """What a gallery is worth, and what larger ones made of its images are."""
    from hashsearch import console
    from hashsearch.bench import parse_scale, record, run, tables
    from hashsearch.datasets.pairs import read_pairs
    from hashsearch.files import check_writable
    from hashsearch.places import encoder_of

    sizes = [parse_scale(text) for text in scales.split(",")] if scales else None
    judged = None if pairs is None else read_pairs(pairs, opened.ids())
    folder = out or Path("benchmarks") / "results" / (opened.path or Path("gallery")).stem
    check_writable(folder / "result.json")
    with console.stages() as tell:
        result = run(
            opened,
            radius=radius,
            scales=sizes,
            peers=peers,
            overheads=overheads,
            pairs=judged,
            seed=seed,
            encoder=None if encoder is None else encoder_of(opened, encoder),
            progress=tell,
        )
    written = record(result, folder)
    if report is not None:
        from hashsearch.bench.plots import draw

        title = f"Benchmark of {(opened.path or Path('gallery')).stem}"
        write_page(report, title, result, tables(result), draw(result), result["notes"])
    if as_json:
        print_json(result)
    else:
        for table in tables(result):
            console.print_table(
                table.title, table.columns, table.rows, table.note, n_text=table.n_text
            )
        for note in result["notes"]:
            click.echo(note)
    click.echo(f"Recorded: {', '.join(map(str, written))}", err=True)


def _bench_data(
    data: Path,
    catalogue: Catalogue,
    name: str,
    encoder: str | None,
    neighbours: str,
    radius: int,
    seed: int,
    folder: Path,
    report: Path | None,
    indexes: Path,
    *,
    as_json: bool,
) -> None:
    """From a catalogue to its gallery, and to a row of figures."""
    import json

    from hashsearch import console
    from hashsearch.bench.catalogue import catalogue_table, check_rule, measure_catalogue
    from hashsearch.bench.leaks import took_part
    from hashsearch.bench.machine import describe_machine
    from hashsearch.datasets.neighbours import NeighbourRule
    from hashsearch.files import check_writable, write_atomically
    from hashsearch.gallery.build import build_file
    from hashsearch.places import (
        check_replaceable,
        encoder_of,
        encoder_to_build,
        gallery_path,
        source_of,
    )

    rule = NeighbourRule.parse(neighbours)
    record = folder / "data.json"
    check_rule(catalogue, rule)
    check_writable(record)
    path = gallery_path(name, indexes)
    # To measure must not take from a gallery what was added to it.
    check_replaceable(path, data)
    with listing_skipped(path), console.progress("encoding", len(catalogue.items)) as advance:
        built = build_file(
            path,
            catalogue.items,
            lambda known: encoder_to_build(
                known, encoder or SAMPLE_NAME, chosen=encoder is not None
            ),
            update=True,
            source=source_of(data),
            on_progress=advance,
        )
    tell_notes(catalogue)
    skipped = tell_skipped(path, built.skipped)
    measured = measure_catalogue(
        built.gallery,
        catalogue,
        rule,
        trained_on=took_part(encoder_of(built.gallery, encoder), built.gallery.ids()),
        radius=radius,
        seed=seed,
    )
    del measured["per_query"]  # of use only beside another encoder's, as a suite has them
    result = {
        "gallery": str(path),
        "encoder": built.gallery.encoder_name,
        "encoder_fingerprint": built.gallery.encoder_fingerprint,
        "skipped": len(skipped),
        "seed": seed,
        "machine": describe_machine(),
        **measured,
    }
    write_atomically(record, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    table = catalogue_table(result)
    if report is not None:
        write_page(report, f"Benchmark of {Path(name).stem}", result, [table], {}, catalogue.notes)
    if as_json:
        print_json(result)
    else:
        console.print_table(table.title, table.columns, table.rows, table.note, n_text=0)
    click.echo(f"Recorded: {record}", err=True)
    if skipped:
        click.get_current_context().exit(1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise click.UsageError(
            f"{option} takes whole numbers such as 16,48, not {text!r}"
        ) from error
