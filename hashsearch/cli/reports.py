"""Pages that `bench --report` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hashsearch.bench import Table

__all__ = ["write_markdown", "write_page"]


def write_page(
    path: Path,
    title: str,
    result: Mapping[str, Any],
    tables: Sequence[Table],
    plots: Mapping[str, bytes],
    notes: Sequence[str],
) -> None:
    """Write what was measured of one gallery.

    Args:
        path: of the page.
        title: of what was measured.
        result: says of which machine.
        tables: of figures.
        plots: PNG bytes by file name.
        notes: a line each.
    """
    from hashsearch.bench.page import report_page
    from hashsearch.files import write_atomically

    facts = f"Measured on {result['machine']['cpu']}, {result['machine']['cores']} cores"
    write_atomically(path, report_page(title, facts, tables, plots, notes))
    click.echo(f"Wrote {path}", err=True)


def write_markdown(path: Path, text: str, plots: Mapping[str, bytes]) -> None:
    """Write a report in Markdown, of trainings, with its plots by file name."""
    from hashsearch.bench.page import markdown_page
    from hashsearch.files import write_atomically

    write_atomically(path, markdown_page(text, plots))
    click.echo(f"Wrote {path}", err=True)
