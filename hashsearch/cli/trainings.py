"""The part of `bench` that trains: suites, and objectives by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hashsearch.cli.common import column_roles, extra, print_json, tell_notes
from hashsearch.cli.reports import write_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hashsearch.bench.suite import PhotoData, Run, Suite
    from hashsearch.bench.suite_data import SuiteData
    from hashsearch.datasets.image_set import ImageSet

__all__ = ["bench_objectives", "bench_suites", "photo_data"]


def bench_suites(
    files: Sequence[Path],
    share: tuple[int, int],
    data_dir: Path | None,
    report: Path | None,
    *,
    render: bool,
    as_json: bool,
) -> None:
    """Run suites, unless they shall only be rendered; records and reports lie beside them.

    Args:
        files: TOML.
        share: number of this machine, and how many there are.
        data_dir: folder of the training images.
        report: path of a page in HTML, or None.
        render: run nothing.
        as_json: print the records as one document.
    """
    with extra("train"):
        from hashsearch.bench.report import (
            RUNS,
            check_report,
            unclaimed_records,
            write_report,
        )
        from hashsearch.bench.suite import load_suite, read_runs
    from hashsearch.errors import TrainingError

    loaded = [(path.parent, load_suite(path).share(*share)) for path in files]
    folders = list(dict.fromkeys(folder for folder, _ in loaded))
    if report is not None and len(folders) > 1:
        raise click.UsageError("--report is of the suites of one folder; give the others apart")
    for folder in folders:
        check_report(folder)
    documents, failed = [], []
    if not render:
        failed = _run_all(loaded, data_dir)
    for folder, suite in loaded:
        documents += _print_runs(suite, read_runs(suite, folder / RUNS), folder / RUNS, as_json)
    for folder in folders:
        page, *plots = write_report(folder)
        click.echo(f"Wrote {page}", err=True)
        if report is not None:
            pictures = {plot.name: plot.read_bytes() for plot in plots}
            write_markdown(report, page.read_text(encoding="utf-8"), pictures)
        for path in unclaimed_records(folder):
            click.echo(f"{path} is of no suite any more; delete it", err=True)
    if failed:
        raise TrainingError("; ".join(failed))
    if as_json:
        print_json(documents)


def _run_all(loaded: Sequence[tuple[Path, Suite]], data_dir: Path | None) -> list[str]:
    """Run what is not recorded; what failed, a line each."""
    from hashsearch.bench.report import RUNS, record_duplicates
    from hashsearch.bench.suite_data import FashionMnist, Photos
    from hashsearch.errors import TrainingError

    grey = None
    if any(suite.photos is None for _, suite in loaded):
        grey = FashionMnist(*_fashion_mnist(data_dir))
    failed = []
    for folder, suite in loaded:
        data = grey if suite.photos is None else Photos(suite.photos, tell_notes)
        assert data is not None  # noqa: S101 - read above where a suite has no photos
        try:
            _run_suite(suite, data, folder / RUNS)
        except TrainingError as error:
            # What could be run is recorded, and the report is of that.
            failed.append(str(error))
        if suite.photos is None and grey is not None:
            record_duplicates(folder, grey.train_split, grey.test_split)
    return failed


def bench_objectives(
    objectives: list[str],
    bits: list[int],
    seeds: list[int],
    protocols: list[str] | None,
    radius: int,
    data_dir: Path | None,
    photos: PhotoData | None,
    pairs: Path | None,
    folder: Path,
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    """Train and measure objectives with their defaults."""
    with extra("train"):
        from hashsearch.bench.report import render
        from hashsearch.bench.suite import make_suite, read_runs
        from hashsearch.bench.suite_data import FashionMnist, Photos

    data: SuiteData
    if photos is None:
        data = FashionMnist(*_fashion_mnist(data_dir))
    else:
        data = Photos(photos, tell_notes)
        protocols = [data.protocol] if protocols is None else protocols
    suite = make_suite(
        objectives,
        bits=bits,
        seeds=seeds,
        protocols=protocols or [],
        radius=radius,
        photos=photos,
        pairs=pairs,
    )
    if pairs is not None and not any(run.pairs for run in suite.runs):
        raise click.UsageError("--pairs: of no meaning without --protocols pairs; leave it out")
    _run_suite(suite, data, folder)
    records = read_runs(suite, folder)
    documents = _print_runs(suite, records, folder, as_json)
    if report is not None:
        text, plots = render([(suite, records)], "# Benchmark of objectives", "")
        write_markdown(report, text, plots)
    if as_json:
        print_json(documents)


def photo_data(
    data: Path | None, source: str | None, columns: Sequence[str], neighbours: str
) -> PhotoData | None:
    """What --data and its options say to a suite."""
    if data is None:
        return None
    with extra("train"):
        from hashsearch.bench.suite import PhotoData
    return PhotoData(data, source, column_roles(columns), neighbours)


def _fashion_mnist(data_dir: Path | None) -> tuple[ImageSet, ImageSet]:
    """The training split and the test split."""
    from hashsearch.datasets import fashion_mnist

    return fashion_mnist.load("train", data_dir), fashion_mnist.sample()


def _run_suite(suite: Suite, data: SuiteData, folder: Path) -> None:
    """Run what is not recorded."""
    from hashsearch import console
    from hashsearch.bench.suite_run import run_suite

    with console.stages() as tell:
        run_suite(
            suite,
            folder,
            data,
            progress=tell,
            on_run=lambda run, _: click.echo(f"Recorded {folder / run.path}", err=True),
        )


def _print_runs(
    suite: Suite, records: dict[Run, dict[str, Any]], folder: Path, as_json: bool
) -> list[Any]:
    """Print the tables, unless all is to be one document; return the records."""
    from hashsearch import console
    from hashsearch.bench.report import report_tables

    if not as_json:
        for table in report_tables(suite, records):
            console.print_table(table.title, table.columns, table.rows, table.note)
    click.echo(f"Recorded: {len(records)} runs in {folder}", err=True)
    return list(records.values())
