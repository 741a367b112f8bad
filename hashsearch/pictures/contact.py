"""Queries, each beside what was found for it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from hashsearch.errors import ArgumentError
from hashsearch.pictures.canvas import (
    BAD,
    BAD_MARK,
    FAINT,
    GAP,
    GOOD,
    GOOD_MARK,
    INK,
    LINE,
    MARGIN,
    NEUTRAL,
    TILE,
    TITLE,
    Canvas,
    Frame,
    LegendEntry,
    legend_height,
    legend_width,
)
from hashsearch.pictures.image import match_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from hashsearch.gallery import Gallery, Matches

__all__ = ["MOST_QUERIES", "SheetRow", "contact_sheet", "marks", "n_on_sheet"]

_MOST_LINES = 100
MOST_QUERIES = _MOST_LINES
"""A sheet has room for no more of them, nor for more than ten times as many matches."""

_PER_LINE = 10  # matches; more go on below, under the first of them
_PANEL = 8  # pixels around a query
_HEAD = TITLE + _PANEL
_BEGIN = MARGIN + TILE + 2 * _PANEL + GAP  # where matches do
_INSIDE, _BEYOND = 3, 1  # pixels, the width of a frame


@dataclass(frozen=True)
class SheetRow:
    """One query of a contact sheet and what was found for it.

    Attributes:
        name: what the query is called.
        image: the query itself; None: there is no picture of it.
        matches: of this one query.
        label: what the query shows, as the gallery's labels say it; None: not known.
    """

    name: str
    image: Image.Image | None
    matches: Matches
    label: str | None = None


def contact_sheet(rows: Sequence[SheetRow], gallery: Gallery) -> Image.Image:
    """Each query beside its matches, best first, under each its id, label and distances.

    Thick frames lie inside the ball, thin ones beyond it, and a dashed line is its edge.
    ``distance 1 (3)``: 1 by the semantic code, 3 by the whole code. Where a query's label is
    known, matches of the same one are blue with a tick, others vermilion with a cross. A match
    without a picture is an empty frame.

    A sheet has room for 100 lines of ten matches; a last line says which queries, or matches
    of a single one, are left out.

    Args:
        rows: at least one query.
        gallery: that was searched.

    Returns:
        An RGB image, no larger than 1,600 x 24,000 pixels.

    Raises:
        ArgumentError: no query.
    """
    if not rows:
        raise ArgumentError("a contact sheet needs at least one query")
    shown = rows[: n_on_sheet(rows)]
    left_out = _left_out(rows, len(shown))
    legend = _legend(shown, gallery)
    columns = min(max(len(row.matches.rows) for row in shown), _PER_LINE)
    width = max(_BEGIN + columns * (TILE + GAP) - GAP + MARGIN, legend_width(legend))
    top = legend_height(legend, width)
    caption = _caption_height(shown)
    height = top + sum(_HEAD + _n_lines(row) * (TILE + caption) + GAP for row in shown)
    canvas = Canvas(width, height + (LINE + GAP if left_out else 0))
    canvas.legend(legend)
    for row in shown:
        _draw(canvas, row, gallery, top, TILE + caption)
        top += _HEAD + _n_lines(row) * (TILE + caption) + GAP
    canvas.text(MARGIN, top, left_out, colour=FAINT, most=width - 2 * MARGIN)
    return canvas.image


def n_on_sheet(rows: Sequence[SheetRow]) -> int:
    """How many of these queries, the first ones, a sheet has room for; one at least."""
    lines = accumulate(_n_lines(row) for row in rows)
    return max(sum(n_lines <= _MOST_LINES for n_lines in lines), 1)


def marks(row: SheetRow) -> list[bool | None]:
    """Whether each match has the query's label; None where one of the two is not known."""
    return [
        None if label is None or row.label is None else label == row.label
        for label in row.matches.labels
    ]


def _draw(canvas: Canvas, row: SheetRow, gallery: Gallery, top: int, step: int) -> None:
    """One query; ``step`` is the height of a line of matches."""
    found = row.matches
    ball = f"{int(found.ball_size[0]):,} of {len(gallery):,} within radius {found.radius}"
    canvas.title(MARGIN, top, row.name, ball)
    top += _HEAD
    canvas.panel(MARGIN, top - _PANEL, _BEGIN - GAP, top + step - GAP + _PANEL)
    canvas.tile(row.image, MARGIN + _PANEL, top, Frame(NEUTRAL, _BEYOND))
    below = top + TILE + 3
    canvas.text(MARGIN + _PANEL, below, "query", bold=True)
    if row.label is not None:
        canvas.text(MARGIN + _PANEL, below + LINE, row.label, most=TILE)
    facts = zip(
        found.rows.tolist()[: _MOST_LINES * _PER_LINE],
        found.distance.tolist(),
        found.full_distance.tolist(),
        found.in_ball.tolist(),
        found.ids,
        found.labels,
        marks(row),
        strict=False,  # all but the first may have more
    )
    n_inside = int(found.in_ball.sum())
    for place, (item, distance, full, inside, name, label, good) in enumerate(facts):
        line, column = divmod(place, _PER_LINE)
        left, at = _BEGIN + column * (TILE + GAP), top + line * step
        colour = NEUTRAL if good is None else GOOD if good else BAD
        canvas.tile(
            match_image(gallery, item), left, at, Frame(colour, _INSIDE if inside else _BEYOND)
        )
        if place == n_inside:
            canvas.edge(left - GAP // 2, at - 2, at + TILE + 2)
        at += TILE + 3
        canvas.text(left, at, name, most=TILE)
        behind = left
        if good is not None:
            behind = 4 + canvas.text(
                left, at + LINE, GOOD_MARK if good else BAD_MARK, colour=colour, bold=True
            )
        if label is not None:
            canvas.text(behind, at + LINE, label, most=left + TILE - behind)
            at += LINE
        distances = f"distance {distance}" + (f" ({full})" if gallery.fine_bits else "")
        canvas.text(left, at + LINE, distances, colour=FAINT)


def _n_lines(row: SheetRow) -> int:
    """Of matches; a query without any has a line, too."""
    return min(max(-(-len(row.matches.rows) // _PER_LINE), 1), _MOST_LINES)


def _caption_height(rows: Sequence[SheetRow]) -> int:
    labelled = any(row.label is not None or any(row.matches.labels) for row in rows)
    return 3 + (3 if labelled else 2) * LINE + GAP


def _left_out(rows: Sequence[SheetRow], n_shown: int) -> str:
    """What there is no room for; empty: nothing."""
    if more := len(rows) - n_shown:
        return f"and {more:,} more of {len(rows):,} queries, for which a sheet has no room"
    n_matches = len(rows[0].matches.rows)
    if (more := n_matches - _MOST_LINES * _PER_LINE) > 0:
        return f"and {more:,} more of {n_matches:,} matches, for which a sheet has no room"
    return ""


def _legend(rows: Sequence[SheetRow], gallery: Gallery) -> list[LegendEntry]:
    """What stands on this sheet and does not explain itself."""
    marked = {mark for row in rows for mark in marks(row)}
    radius = rows[0].matches.radius
    entries = []
    if True in marked:
        entries.append(LegendEntry(GOOD_MARK, GOOD, "of the query's type"))
    if False in marked:
        entries.append(LegendEntry(BAD_MARK, BAD, "of another type"))
    if not all(row.matches.in_ball.all() for row in rows):
        entries.append(LegendEntry("|", INK, f"edge of the ball: radius {radius}"))
    whole = ": by the semantic code (by the whole code)" if gallery.fine_bits else ""
    entries.append(LegendEntry("", FAINT, f"distance in bits{whole}"))
    return entries
