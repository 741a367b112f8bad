"""Pictures of search results, for people who would rather look than read."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from hashsearch.errors import ArgumentError, ImageError
from hashsearch.images import MAX_PIXELS, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.gallery import Gallery, Matches
    from hashsearch.gallery.duplicates import Duplicates

__all__ = ["PER_GROUP", "SheetRow", "contact_sheet", "group_sheet", "match_image", "png_bytes"]

_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Colour: TypeAlias = tuple[int, int, int]

# Lengths are in pixels.
_TILE = 112
_GAP = 14
_CAPTION = 40
_HEADER = 42
_FONT_SIZE = 14
_BORDER = 3
_PER_LINE = 10  # matches; more go on below, under the first of them
_TITLE = 26

_INK = (32, 32, 36)
_FAINT = (110, 110, 118)
_PAPER = (255, 255, 255)
_BACKING = (242, 242, 244)
# Okabe and Ito's palette, told apart by people with any colour vision.
_INSIDE = (0, 114, 178)
_OUTSIDE = (230, 159, 0)


PER_GROUP = _PER_LINE
"""How many items of a group a sheet shows; of larger ones it says how many more there are."""


@dataclass(frozen=True)
class SheetRow:
    """One query of a contact sheet and what was found for it.

    Attributes:
        name: what the query is called.
        image: the query itself; None: there is no picture of it.
        matches: of this one query.
    """

    name: str
    image: Image.Image | None
    matches: Matches


def contact_sheet(rows: Sequence[SheetRow], gallery: Gallery) -> Image.Image:
    """Each query beside its matches, best first, with distances.

    Blue frames lie inside the ball, orange ones beyond it; ``d 1 (3)`` reads: distance 1
    by the semantic code, 3 by the whole code. Under each match stands its label, or its id
    where it has none. A match without a picture is an empty frame.

    Args:
        rows: at least one query.
        gallery: that was searched.

    Returns:
        An RGB image.

    Raises:
        ArgumentError: no query, or more matches than an image can show.
    """
    if not rows:
        raise ArgumentError("a contact sheet needs at least one query")
    font = ImageFont.load_default(_FONT_SIZE)
    legend = _legend(rows[0].matches.radius)
    columns = min(max(len(row.matches.rows) for row in rows), _PER_LINE)
    lines = [max(-(-len(row.matches.rows) // _PER_LINE), 1) for row in rows]
    width = max(_left(columns), _GAP + sum(_legend_width(text, font) for _, text in legend))
    height = _HEADER + sum(lines) * _line_height()
    if width * height > MAX_PIXELS:
        raise ArgumentError(
            f"a sheet of {sum(len(row.matches.rows) for row in rows):,} matches would be "
            f"{width} x {height} pixels; lower -k, or give fewer images at once"
        )
    sheet = _Sheet(width, height, font)
    sheet.legend(legend)
    top = _HEADER
    for row, n_lines in zip(rows, lines, strict=True):
        sheet.tile(row.image, _GAP, top, None)
        sheet.caption(_GAP, top, row.name, "query")
        found = row.matches
        columns_of = zip(
            found.rows.tolist(),
            found.distance.tolist(),
            found.full_distance.tolist(),
            found.in_ball.tolist(),
            found.labels,
            found.ids,
            strict=True,
        )
        for place, (item, distance, full, inside, label, name) in enumerate(columns_of):
            line, column = divmod(place, _PER_LINE)
            left, below = _left(column), top + line * _line_height()
            frame = _INSIDE if inside else _OUTSIDE
            sheet.tile(match_image(gallery, item), left, below, frame)
            sheet.caption(left, below, label or name, f"d {distance} ({full})")
        top += n_lines * _line_height()
    return sheet.image


def group_sheet(found: Duplicates, groups: Sequence[int], gallery: Gallery) -> Image.Image:
    """Groups of near-identical items, one below another, each by id.

    A blue frame is the first item of a group; orange ones lie farther from it than the largest
    distance that was asked for, at the end of a chain of others. Under each item stand its id and
    its distance to the first.

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
    font = ImageFont.load_default(_FONT_SIZE)
    legend = _group_legend(found.max_distance)
    shown = [slice(*found.offsets[group : group + 2].tolist()) for group in groups]
    columns = max(min(each.stop - each.start, PER_GROUP) for each in shown)
    width = max(
        _GAP + columns * (_TILE + _GAP),
        _GAP + sum(_legend_width(text, font) for _, text in legend),
    )
    height = _HEADER + len(groups) * (_TITLE + _line_height())
    if width * height > MAX_PIXELS:
        raise ArgumentError(
            f"a sheet of {len(groups):,} groups would be {width} x {height} pixels; show fewer "
            "on a sheet"
        )
    sheet = _Sheet(width, height, font)
    sheet.legend(legend)
    top = _HEADER
    for group, each in zip(groups, shown, strict=True):
        size = each.stop - each.start
        more = f" (the first {PER_GROUP}, and {size - PER_GROUP:,} more)" * (size > PER_GROUP)
        sheet.title(_GAP, top, f"group {group + 1}: {size:,} items{more}")
        items = slice(each.start, min(each.stop, each.start + PER_GROUP))
        rows = found.rows[items]
        columns_of = zip(
            rows.tolist(), gallery.ids(rows), found.distance[items].tolist(), strict=True
        )
        for place, (item, name, distance) in enumerate(columns_of):
            left = _GAP + place * (_TILE + _GAP)
            far = _OUTSIDE if distance > found.max_distance else None
            picture = match_image(gallery, item)
            sheet.tile(picture, left, top + _TITLE, far if place else _INSIDE)
            sheet.caption(left, top + _TITLE, name, f"d {distance}" if place else "first")
        top += _TITLE + _line_height()
    return sheet.image


def match_image(gallery: Gallery, row: int) -> Image.Image | None:
    """The picture of a gallery item: its thumbnail, else its file, else None."""
    stored = gallery.thumbnail(row)
    source = gallery.paths([row])[0] if stored is None else stored
    try:
        return None if source is None else read_image(source)
    except ImageError:
        return None


def png_bytes(image: Image.Image) -> bytes:
    """The image as a PNG file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class _Sheet:
    """An image that tiles and captions are drawn on."""

    def __init__(self, width: int, height: int, font: _Font) -> None:
        self.image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._font = font

    def legend(self, entries: Sequence[tuple[_Colour | None, str]]) -> None:
        left = _GAP
        for colour, text in entries:
            at = left
            if colour is not None:
                self._draw.rectangle((at, 16, at + 11, 27), outline=colour, width=_BORDER)
                at += 18
            self._draw.text((at, 13), text, fill=_FAINT, font=self._font)
            left += _legend_width(text, self._font)

    def title(self, left: int, top: int, text: str) -> None:
        self._draw.text((left, top), text, fill=_INK, font=self._font)

    def tile(self, image: Image.Image | None, left: int, top: int, frame: _Colour | None) -> None:
        box = (left, top, left + _TILE - 1, top + _TILE - 1)
        self._draw.rectangle(box, fill=_BACKING)
        if image is not None:
            scale = (_TILE - 2 * _BORDER) / max(image.size)
            width, height = (max(round(length * scale), 1) for length in image.size)
            small = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
            self.image.paste(small, (left + (_TILE - width) // 2, top + (_TILE - height) // 2))
        if frame is not None:
            self._draw.rectangle(box, outline=frame, width=_BORDER)

    def caption(self, left: int, top: int, first: str, second: str) -> None:
        below = top + _TILE + 3
        self._draw.text((left, below), _fitted(first, self._font), fill=_INK, font=self._font)
        self._draw.text((left, below + _FONT_SIZE + 3), second, fill=_FAINT, font=self._font)


def _left(column: int) -> int:
    """Where a match's tile begins; a wider gap sets the query apart."""
    return 2 * _GAP + (column + 1) * (_TILE + _GAP)


def _line_height() -> int:
    return _TILE + _CAPTION + _GAP


def _fitted(text: str, font: _Font) -> str:
    """The text on one line, as much of its end as a tile is wide: names differ at their ends."""
    shown = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    if font.getlength(shown) <= _TILE:
        return shown
    while shown and font.getlength("…" + shown) > _TILE:
        shown = shown[1:]
    return "…" + shown.lstrip()


def _legend(radius: int) -> list[tuple[_Colour | None, str]]:
    return [
        (_INSIDE, f"within radius {radius}"),
        (_OUTSIDE, "beyond it"),
        (None, "d: distance in bits, by the semantic code (by the whole code)"),
    ]


def _group_legend(max_distance: int) -> list[tuple[_Colour | None, str]]:
    far = [(_OUTSIDE, f"farther from it than {max_distance}")] if max_distance else []
    return [
        (_INSIDE, "first of its group"),
        *far,
        (None, "d: distance to it in bits, by the whole code"),
    ]


def _legend_width(text: str, font: _Font) -> int:
    """Of one entry, with its frame and the gap behind it."""
    return round(font.getlength(text)) + 40
