"""A terminal as far as previews need one: what is written to it, as pictures and texts."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from PIL import Image
from rich.cells import cell_len

_SEQUENCES = re.compile(
    r"\x1b\[(?P<sgr>[\d;]*)m"
    r"|\x1b\[(?P<count>\d*)(?P<move>[AB])"
    r"|\x1b(?P<cursor>[78])"
    r"|\x1b_G(?P<kitty>[^;]*);(?P<chunk>[^\x1b]*)\x1b\\"
    r"|\x1b\]1337;File=(?P<iterm>[^:]*):(?P<file>[^\x07]*)\x07"
    r"|(?P<end>\r?\n)"
    r"|(?P<letter>[^\x1b])"
)
Colour: TypeAlias = tuple[int, int, int]


@dataclass
class Shown:
    """A picture that was sent: where its left upper corner lies, and its cells."""

    image: Image.Image
    line: int
    columns: int
    lines: int


@dataclass
class Screen:
    """Lines of letters, the pixels of half blocks, and pictures that were sent."""

    letters: dict[tuple[int, int], str] = field(default_factory=dict)
    pixels: dict[tuple[int, int], Colour] = field(default_factory=dict)
    pictures: list[Shown] = field(default_factory=list)
    line: int = 0
    column: int = 0
    lowest: int = 0

    @classmethod
    def of(cls, written: str) -> Screen:
        screen = cls()
        colours: list[Colour | None] = [None, None]
        kept = 0, 0
        payload = ""
        keys: dict[str, str] = {}
        position = 0
        while position < len(written):
            found = _SEQUENCES.match(written, position)
            assert found, f"an unknown sequence: {written[position : position + 30]!r}"
            position = found.end()
            if found["sgr"] is not None:
                colours = _sgr(found["sgr"], colours)
            elif found["move"]:
                screen.line += int(found["count"] or 1) * (1 if found["move"] == "B" else -1)
                assert 0 <= screen.line <= screen.lowest  # no room is made by going down
            elif found["cursor"] == "7":
                kept = screen.line, screen.column
            elif found["cursor"] == "8":
                screen.line, screen.column = kept
            elif found["kitty"] is not None:
                assert len(found["chunk"]) <= 4096
                here = dict(pair.split("=") for pair in found["kitty"].split(","))
                keys = keys or here
                payload += found["chunk"]
                if here["m"] == "0":
                    assert (keys["a"], keys["f"], keys["q"]) == ("T", "100", "2")
                    screen.show(payload, keys["c"], keys["r"])
                    payload, keys = "", {}
            elif found["iterm"] is not None:
                keys = dict(pair.split("=") for pair in found["iterm"].split(";"))
                assert keys["inline"] == "1"
                assert int(keys["size"]) == len(base64.b64decode(found["file"]))
                screen.show(found["file"], keys["width"], keys["height"])
                keys = {}
            elif found["end"]:
                screen.line, screen.column = screen.line + 1, 0
                screen.lowest = max(screen.lowest, screen.line)
            else:
                screen.put(found["letter"], colours)
        return screen

    def show(self, payload: str, columns: str, lines: str) -> None:
        image = Image.open(io.BytesIO(base64.b64decode(payload, validate=True)))
        self.pictures.append(Shown(image, self.line, int(columns), int(lines)))
        # As terminals do: to the right of the picture, on its last line.
        self.line, self.column = self.line + int(lines) - 1, self.column + int(columns)

    def put(self, letter: str, colours: list[Colour | None]) -> None:
        fore, back = colours
        upper = {"▀": fore, "▄": back}.get(letter, back)
        lower = {"▀": back, "▄": fore}.get(letter, back)
        for half, colour in enumerate((upper, lower)):
            if colour is not None:
                self.pixels[2 * self.line + half, self.column] = colour
        self.letters[self.line, self.column] = letter
        self.column += cell_len(letter)

    def text(self, line: int) -> str:
        places = [column for row, column in self.letters if row == line]
        return "".join(self.letters[line, column] for column in sorted(places))

    def picture(self, line: int, n_lines: int, left: int, columns: int) -> Image.Image:
        """The pixels of some cells; where none are, the image is transparent."""
        image = Image.new("RGBA", (columns, 2 * n_lines))
        for y in range(2 * n_lines):
            for x in range(columns):
                if colour := self.pixels.get((2 * line + y, left + x)):
                    image.putpixel((x, y), (*colour, 255))
        return image


def _sgr(codes: str, colours: list[Colour | None]) -> list[Colour | None]:
    numbers = [int(code) for code in codes.split(";") if code]
    if not numbers or numbers == [0]:
        return [None, None]
    fore, back = colours
    while numbers:
        code = numbers.pop(0)
        if code in {38, 48}:
            if numbers.pop(0) == 2:
                colour = (numbers.pop(0), numbers.pop(0), numbers.pop(0))
            else:
                colour = _of_256(numbers.pop(0))
            fore, back = (colour, back) if code == 38 else (fore, colour)
    return [fore, back]


def _of_256(number: int) -> Colour:
    """The cube and the greys of the 256 colours that terminals share."""
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return grey, grey, grey
    levels = (0, 95, 135, 175, 215, 255)
    red, rest = divmod(number - 16, 36)
    return levels[red], levels[rest // 6], levels[rest % 6]
