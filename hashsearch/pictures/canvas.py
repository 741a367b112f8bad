"""A white image that pictures in frames and texts are set on."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import distribution
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from hashsearch.pictures.image import scaled
from hashsearch.pictures.text import one_line, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "BAD",
    "BAD_MARK",
    "FAINT",
    "GAP",
    "GOOD",
    "GOOD_MARK",
    "INK",
    "LINE",
    "MARGIN",
    "NEUTRAL",
    "TILE",
    "TITLE",
    "Canvas",
    "Frame",
    "LegendEntry",
    "legend_height",
    "legend_width",
]

Colour: TypeAlias = tuple[int, int, int]

# Lengths are in pixels.
TILE = 120  # a picture of 112, which is four times 28, and its frame
GAP = 14
MARGIN = 16
LINE = 17  # of text
TITLE = 28
_FONT_SIZE = 12
_TITLE_SIZE = 13
_SIGN = 18  # what an entry of a legend explains, and the gap behind it
_BETWEEN = 22  # entries of a legend
_DASH = 5

INK: Colour = (28, 28, 32)
FAINT: Colour = (96, 96, 104)
NEUTRAL: Colour = (128, 128, 136)
_PAPER: Colour = (255, 255, 255)
_BACKING: Colour = (243, 243, 245)
# Of Okabe and Ito's palette, told apart by people with any colour vision; a mark goes with each.
GOOD: Colour = (0, 114, 178)
BAD: Colour = (213, 94, 0)
GOOD_MARK, BAD_MARK = "✓", "✗"


class Frame(NamedTuple):
    """Around a picture; ``width`` is in pixels."""

    colour: Colour
    width: int


class LegendEntry(NamedTuple):
    """A sign and what it means: a mark in a colour, a frame, or ``|`` for the edge of a ball."""

    sign: str | Frame
    colour: Colour
    text: str


class Canvas:
    """An image of ``width`` x ``height`` pixels, with what is drawn on it so far."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self,
        left: int,
        top: int,
        text: str,
        *,
        colour: Colour = INK,
        bold: bool = False,
        size: int = _FONT_SIZE,
        most: int | None = None,
    ) -> int:
        """Write a line, no wider than ``most`` pixels; where it ends."""
        font = _font(size, bold=bold)
        shown = one_line(text)
        if most is not None:
            shown = shortened(shown, font.getlength, most)
        self._draw.text((left, top), shown, fill=colour, font=font)
        return left + round(font.getlength(shown))

    def title(self, left: int, top: int, text: str, note: str) -> None:
        """A name, and a note behind it that is never cut."""
        room = self.image.width - left - MARGIN - GAP - round(_font(_FONT_SIZE).getlength(note))
        end = self.text(left, top + 4, text, bold=True, size=_TITLE_SIZE, most=room)
        self.text(end + GAP, top + 5, note, colour=FAINT)

    def panel(self, left: int, top: int, right: int, bottom: int) -> None:
        """Set a part of the image apart."""
        self._draw.rounded_rectangle((left, top, right, bottom), radius=6, fill=_BACKING)

    def tile(self, image: Image.Image | None, left: int, top: int, frame: Frame) -> None:
        """A picture in the middle of its frame; without one the frame is empty."""
        box = (left, top, left + TILE - 1, top + TILE - 1)
        self._draw.rectangle(box, fill=_BACKING, outline=frame.colour, width=frame.width)
        if image is not None:
            small = scaled(image, TILE - 8, TILE - 8)
            self.image.paste(
                small, (left + (TILE - small.width) // 2, top + (TILE - small.height) // 2)
            )

    def edge(self, left: int, top: int, bottom: int) -> None:
        """A dashed line downwards."""
        for begin in range(top, bottom, 2 * _DASH):
            self._draw.line((left, begin, left, min(begin + _DASH, bottom) - 1), INK, width=2)

    def legend(self, entries: Sequence[LegendEntry]) -> None:
        """What the signs mean, at the top."""
        for entry, left, line in _placed(entries, self.image.width):
            top = MARGIN + line * LINE
            self._sign(entry, left, top)
            behind = left + (_SIGN if entry.sign else 0)
            self.text(behind, top, entry.text, colour=FAINT)

    def _sign(self, entry: LegendEntry, left: int, top: int) -> None:
        if isinstance(entry.sign, Frame):
            box = (left, top + 1, left + 12, top + 13)
            self._draw.rectangle(box, outline=entry.colour, width=entry.sign.width)
        elif entry.sign == "|":
            self.edge(left + 6, top, top + LINE - 2)
        else:
            self.text(left + 1, top, entry.sign, colour=entry.colour, bold=True)


def legend_width(entries: Sequence[LegendEntry]) -> int:
    """The least width of a canvas on which each entry fits, in pixels."""
    return 2 * MARGIN + max(_entry_width(entry) for entry in entries)


def legend_height(entries: Sequence[LegendEntry], width: int) -> int:
    """What a legend takes of a canvas so wide, in pixels, with its margins."""
    *_, (_, _, last_line) = _placed(entries, width)
    return MARGIN + (last_line + 1) * LINE + GAP // 2


def _placed(entries: Sequence[LegendEntry], width: int) -> Iterator[tuple[LegendEntry, int, int]]:
    """Each entry, where it begins and on which line: as many on one as fit."""
    left, line = MARGIN, 0
    for entry in entries:
        if left > MARGIN and left + _entry_width(entry) > width - MARGIN:
            left, line = MARGIN, line + 1
        yield entry, left, line
        left += _entry_width(entry) + _BETWEEN


def _entry_width(entry: LegendEntry) -> int:
    return (_SIGN if entry.sign else 0) + round(_font(_FONT_SIZE).getlength(entry.text))


@lru_cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, from matplotlib's files (importing it would take longer than a query).

    Pillow's own font has no letters but those of ASCII.
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    file = distribution("matplotlib").locate_file(f"matplotlib/mpl-data/fonts/ttf/{name}")
    return ImageFont.truetype(str(file), size)
