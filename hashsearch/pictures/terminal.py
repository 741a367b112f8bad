"""A query and its first matches as small pictures in a terminal.

Two protocols carry whole pictures: Kitty's
(https://sw.kovidgoyal.net/kitty/graphics-protocol/) and iTerm2's
(https://iterm2.com/documentation-images.html). Elsewhere a character cell shows two pixels:
``▀`` has its colour in the upper half and that of the background in the lower one.

What a terminal can is read from its environment. Asking it instead takes an answer on standard
input, where the query's image may lie.
"""

from __future__ import annotations

import base64
import os
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO, TypeAlias

import numpy as np
from PIL import Image
from rich.cells import cell_len, set_cell_size
from rich.color import Color, ColorSystem
from rich.console import Console
from rich.style import Style

from hashsearch.pictures.canvas import BAD, BAD_MARK, GOOD, GOOD_MARK, NEUTRAL
from hashsearch.pictures.contact import SheetRow, marks
from hashsearch.pictures.image import match_image, png_bytes, scaled
from hashsearch.pictures.text import one_line, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashsearch.gallery import Gallery

__all__ = ["Graphics", "preview", "terminal_graphics"]

Protocol: TypeAlias = Literal["kitty", "iterm", "blocks"]

_GAP = 3  # columns between pictures
_NARROWEST = 12  # columns of a picture
_WIDEST: dict[Protocol, int] = {"kitty": 14, "iterm": 14, "blocks": 24}
_WANTED: dict[Protocol, int] = {"kitty": 5, "iterm": 5, "blocks": 4}  # pictures, if they fit
# Pixels of a cell: in the pictures that are sent about as many as it has on the screen.
_CELL: dict[Protocol, tuple[int, int]] = {"kitty": (10, 20), "iterm": (10, 20), "blocks": (1, 2)}
_PER_LINE = 10
_SYSTEMS = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
}
_CHUNK = 4096  # letters of base64, the most that Kitty takes at once

_PROTOCOL_OF_TERM: dict[str, Protocol] = {"xterm-kitty": "kitty", "xterm-ghostty": "kitty"}
_PROTOCOL_OF_PROGRAM: dict[str, Protocol] = {
    "ghostty": "kitty",
    "iTerm.app": "iterm",
    "WezTerm": "iterm",
    "mintty": "iterm",
}


class Graphics(NamedTuple):
    """How a terminal shows pictures, and how many colours its texts can have (None: none)."""

    protocol: Protocol
    colours: ColorSystem | None


def terminal_graphics(stream: TextIO, *, despite_no_color: bool = False) -> Graphics | None:
    """How the terminal behind a stream shows pictures; None: not at all, or it is none.

    Args:
        stream: standard output.
        despite_no_color: pictures are wanted although ``NO_COLOR`` is set (https://no-color.org).
    """
    term = os.environ.get("TERM", "")
    if not stream.isatty() or term in {"", "dumb", "unknown"}:
        return None
    if os.environ.get("NO_COLOR") and not despite_no_color:
        return None
    try:
        "▀▄✓…".encode(stream.encoding)
    except UnicodeEncodeError:
        return None
    graphics = Graphics(_protocol(term), _SYSTEMS.get(Console(file=stream).color_system or ""))
    too_few = graphics.colours in {None, ColorSystem.STANDARD}
    return None if graphics.protocol == "blocks" and too_few else graphics


def _protocol(term: str) -> Protocol:
    """What the terminal says that it is; others pass their variables on to what they start."""
    environ = os.environ
    multiplexed = term.startswith(("screen", "tmux")) or any(
        name in environ for name in ("TMUX", "STY", "ZELLIJ")
    )
    if multiplexed:  # it draws the screen itself, and knows nothing of pictures
        return "blocks"
    if term in _PROTOCOL_OF_TERM:
        return _PROTOCOL_OF_TERM[term]
    if program := environ.get("TERM_PROGRAM"):
        return _PROTOCOL_OF_PROGRAM.get(program, "blocks")
    if "KITTY_WINDOW_ID" in environ and term.startswith("xterm"):
        return "kitty"
    # ssh passes this one on, and not TERM_PROGRAM.
    return "iterm" if environ.get("LC_TERMINAL") == "iTerm2" else "blocks"


def preview(row: SheetRow, gallery: Gallery, graphics: Graphics, columns: int) -> str:
    """The query and its first matches side by side, what to write to the terminal.

    Under each match stand its rank, its id and its label; where the query's label is known, a
    tick or a cross. A line between two of them is the edge of the ball.

    Args:
        row: the query and what was found.
        gallery: that was searched.
        graphics: what the terminal can.
        columns: of the terminal. A match for which there is no room is left out.

    Returns:
        Whole lines, the last one empty; nothing: there is no match, or no room for one.
    """
    wide = _columns_of_a_picture(graphics.protocol, columns)
    room = (columns + _GAP) // (wide + _GAP) - 1
    n_shown = min(room, len(row.matches.rows), _PER_LINE)
    if n_shown < 1:
        return ""
    strip = _strip(row, gallery, n_shown, wide, _CELL[graphics.protocol])
    if graphics.protocol == "blocks":
        pictures = "".join(_half_blocks(strip, graphics.colours))
    else:
        sent = _kitty if graphics.protocol == "kitty" else _iterm
        lines = wide // 2
        # Room is made first, so that nothing scrolls when the cursor is put back and down again.
        pictures = (
            "\n" * lines
            + f"\x1b[{lines}A\x1b7"
            + sent(png_bytes(strip), n_shown * (wide + _GAP) + wide, lines)
            + f"\x1b8\x1b[{lines}B"
        )
    return pictures + "".join(_captions(row, n_shown, wide, graphics.colours)) + "\n"


def _columns_of_a_picture(protocol: Protocol, columns: int) -> int:
    """Even: a picture is half as many lines high."""
    wide = (columns + _GAP) // _WANTED[protocol] - _GAP
    return max(min(wide, _WIDEST[protocol]), _NARROWEST) // 2 * 2


def _strip(
    row: SheetRow, gallery: Gallery, n_shown: int, wide: int, cell: tuple[int, int]
) -> Image.Image:
    """The pictures side by side, each ``wide`` columns, nothing between them but the edge."""
    cell_width, cell_height = cell
    step = (wide + _GAP) * cell_width
    side = wide * cell_width, wide // 2 * cell_height
    strip = Image.new("RGBA", (step * n_shown + side[0], side[1]))
    rows = row.matches.rows[:n_shown].tolist()
    for place, picture in enumerate([row.image, *(match_image(gallery, item) for item in rows)]):
        small = Image.new("RGB", (1, 1), NEUTRAL) if picture is None else picture
        small = scaled(small, *side)
        left = place * step + (side[0] - small.width) // 2
        strip.paste(small, (left, (side[1] - small.height) // 2))
    n_inside = int(row.matches.in_ball.sum())
    if n_inside < n_shown:
        left = (n_inside + 1) * step - 2 * cell_width + cell_width // 2
        thick = max(cell_width // 5, 1)
        strip.paste((*NEUTRAL, 255), (left, 0, left + thick, side[1]))
    return strip


def _half_blocks(strip: Image.Image, colours: ColorSystem | None) -> Iterator[str]:
    """A line for two rows of pixels."""
    pixels = np.asarray(strip)  # uint8 (height, width, 4)
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        line = ""
        for (above, below), cells in groupby(zip(upper, lower, strict=True)):
            n_cells = len([*cells])
            if above[3] and below[3]:
                style = Style(color=_colour(above), bgcolor=_colour(below))
                line += style.render("▀" * n_cells, color_system=colours)
            elif above[3] or below[3]:
                style = Style(color=_colour(above if above[3] else below))
                line += style.render(("▀" if above[3] else "▄") * n_cells, color_system=colours)
            else:
                line += " " * n_cells
        yield line + "\n"


def _colour(pixel: Sequence[int]) -> Color:
    red, green, blue, _ = pixel
    return Color.from_rgb(red, green, blue)


def _kitty(png: bytes, columns: int, lines: int) -> str:
    """a=T: show it; f=100: a PNG; q=2: answer nothing; m=1: there is more of it."""
    payload = base64.b64encode(png).decode()
    chunks = [payload[begin : begin + _CHUNK] for begin in range(0, len(payload), _CHUNK)]
    keys = [f"a=T,f=100,q=2,c={columns},r={lines},", *[""] * (len(chunks) - 1)]
    more = [1] * (len(chunks) - 1) + [0]
    return "".join(
        f"\x1b_G{key}m={rest};{chunk}\x1b\\"
        for key, rest, chunk in zip(keys, more, chunks, strict=True)
    )


def _iterm(png: bytes, columns: int, lines: int) -> str:
    keys = f"inline=1;size={len(png)};width={columns};height={lines};preserveAspectRatio=0"
    return f"\x1b]1337;File={keys}:{base64.b64encode(png).decode()}\a"


def _captions(row: SheetRow, n_shown: int, wide: int, colours: ColorSystem | None) -> Iterator[str]:
    """Ranks and ids, and labels where there are any."""
    found = row.matches
    names = [f"{rank} {name}" for rank, name in enumerate(found.ids[:n_shown], 1)]
    labels = [row.label, *found.labels[:n_shown]]
    yield _spaced([("", Style.null(), name) for name in ("query", *names)], wide, colours)
    if any(labels):
        signs = {True: (GOOD_MARK, GOOD), False: (BAD_MARK, BAD), None: ("", NEUTRAL)}
        signed = [("", NEUTRAL), *(signs[good] for good in marks(row)[:n_shown])]
        yield _spaced(
            [
                (f"{mark} " if mark else "", Style(color=Color.from_rgb(*colour)), label or "")
                for (mark, colour), label in zip(signed, labels, strict=True)
            ],
            wide,
            colours,
        )


def _spaced(cells: Sequence[tuple[str, Style, str]], wide: int, colours: ColorSystem | None) -> str:
    """A line of texts, each under its picture, behind a mark in its style."""
    shown = [
        style.render(mark, color_system=colours)
        + set_cell_size(
            shortened(one_line(text), cell_len, wide - cell_len(mark)), wide - cell_len(mark)
        )
        for mark, style, text in cells
    ]
    return (" " * _GAP).join(shown).rstrip() + "\n"
