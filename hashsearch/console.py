"""What the command line shows: tables on standard output, progress on standard error."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from hashsearch.files import csv_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hashsearch.gallery import Gallery, Matches
    from hashsearch.training.reports import EpochReport, StepReport

__all__ = [
    "TrainingDisplay",
    "match_records",
    "matches_csv",
    "print_facts",
    "print_matches",
    "print_table",
    "printable",
    "progress",
    "stages",
    "training",
]

# Nothing folds the lines of a pipe or a file: a line there is a row.
_UNFOLDED = 10_000


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    note: str = "",
    *,
    n_text: int = 1,
) -> None:
    """Print rows of text under column names, or without a header where all names are empty.

    Args:
        title: a line above; may be empty.
        columns: their names.
        rows: one text a column.
        note: how to read it; may be empty.
        n_text: how many columns, the first ones, hold text; numbers are set to the right.
    """
    table = Table(show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < n_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = _console()
    if title:
        console.print(Text(printable(title)), soft_wrap=True)
    console.print(table)
    if note:
        console.print(Text(printable(note)), style="dim")


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print nested facts, one a line."""
    print_table("", ("", ""), list(_flat(facts)), n_text=2)


def print_matches(name: str, found: Matches, gallery: Gallery, columns: Sequence[str] = ()) -> None:
    """Print the matches of one query.

    Args:
        name: what the query is called.
        found: of this one query.
        gallery: that was searched.
        columns: further ones to show, ``path`` or the gallery's own.
    """
    shown = {
        column: found.paths if column == "path" else found.column(column) for column in columns
    }
    rows = [
        (
            str(record["rank"]),
            record["id"],
            record["label"] or "",
            *(values[place] or "" for values in shown.values()),
            str(record["distance"]),
            str(record["full_distance"]),
            "in" if record["in_ball"] else "beyond",
        )
        for place, record in enumerate(match_records(found))
    ]
    title = (
        f"{name} in {gallery.path or 'the gallery'}: {int(found.ball_size[0]):,} of "
        f"{len(gallery):,} items within radius {found.radius}"
    )
    names = ("rank", "id", "label", *shown, "distance", "full distance", "ball")
    print_table(title, names, rows, n_text=3 + len(shown))


def printable(text: str) -> str:
    r"""The text on one line, with what cannot be printed escaped: names are data.

    >>> print(printable("café\n\x1b[31m"))
    café\n\x1b[31m
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def match_records(found: Matches) -> list[dict[str, Any]]:
    """The matches of one query, ready for JSON."""
    columns = {name: found.column(name) for name in found.column_names if name != "label"}
    facts = zip(
        found.ids,
        found.labels,
        found.paths,
        found.distance.tolist(),
        found.full_distance.tolist(),
        found.in_ball.tolist(),
        strict=True,
    )
    return [
        {
            "rank": place + 1,
            "id": id_,
            "label": label,
            "path": path,
            "distance": distance,
            "full_distance": full_distance,
            "in_ball": in_ball,
            **({"columns": {n: v[place] for n, v in columns.items()}} if columns else {}),
        }
        for place, (id_, label, path, distance, full_distance, in_ball) in enumerate(facts)
    ]


def matches_csv(names: Sequence[str], matches: Sequence[Matches]) -> str:
    """The matches of all queries as CSV, one line a match."""
    records = [
        {"query": name, **record}
        for name, found in zip(names, matches, strict=True)
        for record in match_records(found)
    ]
    facts = ["query", "rank", "id", "label", "path", "distance", "full_distance", "in_ball"]
    columns = [name for name in matches[0].column_names if name != "label"]
    return csv_text(
        [*facts, *columns],
        [
            [*(record[fact] for fact in facts), *(record["columns"][name] for name in columns)]
            for record in records
        ],
    )


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left; the body calls what it gets with the steps done."""
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage (in a file, a line); the body tells which, and how much is done."""
    with _bar() as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bar.remove_task(task)
                tasks.clear()
                if bar.disable:
                    bar.console.print(what, markup=False, highlight=False, soft_wrap=True)
                tasks[what] = bar.add_task(what, total=None)
            bar.update(tasks[what], completed=done, total=total or None)

        yield tell


@contextmanager
def training(epochs: int) -> Iterator[TrainingDisplay]:
    """A bar for the epoch that runs, and a line for each that is done."""
    with _bar() as bar:
        yield TrainingDisplay(bar, epochs)


class TrainingDisplay:
    """Shows what a training run reports."""

    def __init__(self, bar: Progress, epochs: int) -> None:
        self._bar = bar
        self._epochs = epochs
        self._task = bar.add_task("training", total=None)
        self._begun = False

    def step(self, report: StepReport) -> None:
        """Show the terms of the loss, and how often the discriminator is right."""
        if self._bar.disable and not self._begun:
            # An epoch may take an hour, and a file has no bar.
            self._bar.console.print(
                f"Training: epoch {report.epoch} of {self._epochs}, {report.steps:,} steps each; "
                "one that is done gets a line",
                highlight=False,
                soft_wrap=True,
            )
        self._begun = True
        self._bar.update(
            self._task,
            description=f"epoch {report.epoch}/{self._epochs}  "
            + _terms(report.terms, report.adversary_accuracy),
            completed=report.step,
            total=report.steps,
        )

    def epoch(self, report: EpochReport) -> None:
        """Print the epoch's line."""
        self._bar.console.print(
            f"epoch {report.epoch}/{self._epochs}  "
            f"{_terms(report.terms, report.adversary_accuracy)}  "
            f"validation mAP {report.validation_map:.4f}{' (kept so far)' if report.best else ''}  "
            f"{report.seconds:.0f} s",
            highlight=False,
            soft_wrap=True,
        )


def _terms(terms: Mapping[str, float], adversary_accuracy: float | None) -> str:
    shown = [f"{term} {value:.3f}" for term, value in terms.items()]
    if adversary_accuracy is not None:
        shown.append(f"discriminator right {adversary_accuracy:.1%}")
    return "  ".join(shown)


def _console() -> Console:
    # Ids and labels are data: `[red]` in one of them is not a colour.
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNFOLDED
    return console


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # Else it leaves an empty line in files and pipes.
        disable=not console.is_interactive,
    )


class _Rate(ProgressColumn):
    """Steps a second, of late."""

    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text("" if speed is None else f"{speed:,.{0 if speed >= 10 else 1}f}/s")


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        title = name.replace("_", " ")
        if isinstance(value, dict):
            # The names in there are data.
            yield from ((f"{title}: {key}", _shown(inner)) for key, inner in value.items())
        else:
            yield title, _shown(value)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
