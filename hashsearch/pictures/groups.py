"""Groups of near-identical items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashsearch.errors import ArgumentError
from hashsearch.images import MAX_PIXELS
from hashsearch.pictures.canvas import (
    BAD,
    FAINT,
    GAP,
    GOOD,
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

    from hashsearch.gallery import Gallery
    from hashsearch.gallery.duplicates import Duplicates

__all__ = ["PER_GROUP", "group_sheet"]

PER_GROUP = 10
"""How many items of a group a sheet shows; of larger ones it says how many more there are."""

_STEP = TITLE + TILE + 3 + 2 * LINE + GAP
_FIRST, _OTHER, _FAR = Frame(GOOD, 3), Frame(NEUTRAL, 1), Frame(BAD, 3)


def group_sheet(found: Duplicates, groups: Sequence[int], gallery: Gallery) -> Image.Image:
    """Groups of near-identical items, one below another, each by id.

    A blue frame is the first item of a group; vermilion ones, ``far``, lie farther from it than
    the largest distance that was asked for, at the end of a chain of others. Under each item
    stand its id and its distance to the first.

    Args:
        found: the groups of the gallery.
        groups: numbers of those to show, from 0 on; one at least.
        gallery: whose items they are.

    Returns:
        An RGB image.

    Raises:
        ArgumentError: no group, or more than an image can show.
    """
    if not len(groups):
        raise ArgumentError("a sheet of groups needs at least one")
    shown = [slice(*found.offsets[group : group + 2].tolist()) for group in groups]
    legend = _legend(found)
    columns = max(min(each.stop - each.start, PER_GROUP) for each in shown)
    width = max(2 * MARGIN + columns * (TILE + GAP) - GAP, legend_width(legend))
    top = legend_height(legend, width)
    height = top + len(groups) * _STEP
    if width * height > MAX_PIXELS:
        raise ArgumentError(
            f"a sheet of {len(groups):,} groups would be {width} x {height} pixels; show fewer "
            "on a sheet"
        )
    canvas = Canvas(width, height)
    canvas.legend(legend)
    for group, each in zip(groups, shown, strict=True):
        size = each.stop - each.start
        more = f"; the first {PER_GROUP}, and {size - PER_GROUP:,} more" * (size > PER_GROUP)
        canvas.title(MARGIN, top, f"group {group + 1}", f"{size:,} items{more}")
        items = slice(each.start, min(each.stop, each.start + PER_GROUP))
        rows = found.rows[items]
        facts = zip(rows.tolist(), gallery.ids(rows), found.distance[items].tolist(), strict=True)
        for place, (item, name, distance) in enumerate(facts):
            left, at = MARGIN + place * (TILE + GAP), top + TITLE
            far = distance > found.max_distance
            frame = _FIRST if place == 0 else _FAR if far else _OTHER
            canvas.tile(match_image(gallery, item), left, at, frame)
            canvas.text(left, at + TILE + 3, name, most=TILE)
            told = "first" if place == 0 else f"distance {distance}" + ", far" * far
            canvas.text(left, at + TILE + 3 + LINE, told, colour=BAD if far and place else FAINT)
        top += _STEP
    return canvas.image


def _legend(found: Duplicates) -> list[LegendEntry]:
    entries = [LegendEntry(_FIRST, GOOD, "first of its group")]
    if (found.distance > found.max_distance).any():
        text = f"far: more than {found.max_distance} from the first, which others join it to"
        entries.append(LegendEntry(_FAR, BAD, text))
    return [*entries, LegendEntry("", FAINT, "distance to the first in bits, by the whole code")]
