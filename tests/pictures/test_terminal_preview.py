"""What a terminal is sent, read as a terminal would."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len
from rich.color import ColorSystem
from sheet_cases import GREY, QUERY, VERMILION, gallery, near, row
from terminal_screen import Screen

from hashsearch.pictures import Graphics, SheetRow, preview, terminal_graphics
from hashsearch.pictures.text import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

TRUE, CUBE, FEW = ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD
BLOCKS, KITTY, ITERM = Graphics("blocks", TRUE), Graphics("kitty", CUBE), Graphics("iterm", None)
GAP = 3
RED = (200, 30, 30)


def test_half_blocks_are_the_pictures() -> None:
    made = gallery()
    screen = Screen.of(preview(row(made, k=3, radius=5), made, BLOCKS, 80))
    wide = 16
    query, *matches = (
        screen.picture(0, wide // 2, place * (wide + GAP), wide) for place in range(4)
    )
    for match in matches:
        assert near(match, (20, 160, 60)).all()
    # The query is half as wide as it is high, in the middle, and beside it is nothing.
    red, clear = near(query, RED), np.asarray(query)[..., 3] == 0
    assert (red | clear).all()
    assert red.all(axis=0).tolist() == [False] * 4 + [True] * 8 + [False] * 4
    for place in range(3):
        between = screen.picture(0, wide // 2, (place + 1) * (wide + GAP) - GAP, GAP)
        assert not np.asarray(between)[..., 3].any()


def test_a_picture_of_an_odd_height_fills_half_of_a_cell() -> None:
    made = gallery(1)
    flat = SheetRow("flat", Image.new("RGB", (160, 50), RED), row(made, 1).matches)
    screen = Screen.of(preview(flat, made, BLOCKS, 80))
    red = near(screen.picture(0, 8, 0, 16), RED)
    assert red.all(axis=1).tolist() == red.any(axis=1).tolist()
    assert red.all(axis=1).sum() == 5


def test_256_colours_are_near_the_pictures() -> None:
    made = gallery()
    written = preview(row(made, k=1), made, Graphics("blocks", CUBE), 80)
    assert ";2;" not in written
    green = np.asarray(Screen.of(written).picture(0, 8, 19, 16).convert("RGB")).astype(int)
    assert (np.abs(green - (20, 160, 60)) <= 48).all()


@pytest.mark.parametrize("graphics", [KITTY, ITERM])
def test_a_picture_is_sent_whole_and_the_captions_stand_below_it(graphics: Graphics) -> None:
    rng = np.random.default_rng(0)  # so that the file takes several pieces
    query = Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8))
    made = gallery()
    screen = Screen.of(preview(SheetRow("q", query, row(made, 4, 5).matches), made, graphics, 80))
    (sent,) = screen.pictures
    assert (sent.line, sent.columns, sent.lines) == (0, 5 * 12 + 4 * GAP, 6)
    assert sent.image.size == (10 * sent.columns, 20 * sent.lines)
    expected = query.resize((120, 120), Image.Resampling.LANCZOS)
    assert sent.image.crop((0, 0, 120, 120)).convert("RGB").tobytes() == expected.tobytes()
    for place in range(1, 5):
        left = 10 * place * (12 + GAP)
        assert near(sent.image.crop((left, 0, left + 120, 120)), (20, 160, 60)).all()
        between = sent.image.crop((left - 10 * GAP, 0, left, 120))
        assert not np.asarray(between)[..., 3].any()
    assert screen.text(sent.lines).split() == ["query", "1", "0", "2", "1", "3", "2", "4", "3"]
    assert all(screen.text(line) == "" for line in range(sent.lines))


@pytest.mark.parametrize("graphics", [BLOCKS, KITTY])
@pytest.mark.parametrize("radius", [0, 1, 5])
def test_a_line_is_the_edge_of_the_ball(graphics: Graphics, radius: int) -> None:
    made = gallery()
    screen = Screen.of(preview(row(made, k=3, radius=radius), made, graphics, 80))
    if graphics is BLOCKS:
        wide, strip = 16, screen.picture(0, 8, 0, 80)
        cell = 1
    else:
        wide, strip = 12, screen.pictures[0].image
        cell = 10
    edges = []
    for place in (1, 2, 3):
        left = place * (wide + GAP) * cell
        gap = strip.crop((left - GAP * cell, 0, left, strip.height))
        lines = near(gap, GREY).all(axis=0) & (np.asarray(gap)[..., 3] > 0).all(axis=0)
        edges.append(bool(lines.any()))
    assert edges == [False, radius == 0, radius == 1]


def test_captions_stand_under_their_pictures_and_mark_what_is_of_the_querys_label() -> None:
    made = gallery(
        3,
        ids=["a" * 40 + ".jpg", "服装" * 12, "\x1b[31mred\n"],
        labels=["Coat", "Shirt", None],
    )
    written = preview(row(made, k=3, radius=5, label="Coat"), made, BLOCKS, 80)
    screen = Screen.of(written)
    names, labels = screen.text(8), screen.text(9)
    assert names.startswith("query")
    assert names[19:].startswith("1 aaa")
    assert "aaaa.jpg" in names
    assert names[38:].startswith("2 …服装服装")
    assert "3 \ufffd[31mred\ufffd" in names
    assert [labels[left : left + 9].strip() for left in (0, 19, 38)] == [
        "Coat",
        "✓ Coat",
        "✗ Shirt",
    ]
    assert f"38;2;{';'.join(map(str, VERMILION))}m✗" in written
    plain = Screen.of(preview(row(made, k=3, radius=5), made, BLOCKS, 80)).text(9)
    assert not set("✓✗") & set(plain)


def test_without_labels_there_is_no_line_for_them() -> None:
    made, labelled = gallery(), gallery(labels=["Coat"] * 6)
    heights = [Screen.of(preview(row(g, k=2), g, BLOCKS, 80)).lowest for g in (made, labelled)]
    assert heights[1] == heights[0] + 1


@pytest.mark.parametrize("graphics", [BLOCKS, KITTY, ITERM])
def test_nothing_is_wider_than_the_terminal(graphics: Graphics) -> None:
    made = gallery(30, labels=["服" * 30] * 30)
    shown = []
    for columns in range(20, 400, 7):
        screen = Screen.of(preview(row(made, k=30, label="服"), made, graphics, columns))
        assert max((column for _, column in screen.letters), default=0) < columns
        assert max((each.columns for each in screen.pictures), default=0) <= columns
        shown.append([*screen.letters.values()].count("✗"))
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (0, 10)


def test_there_is_nothing_to_show_of_no_match() -> None:
    made = gallery()
    nothing = made.within(np.full((1, 2), 255, np.uint8), radius=0)
    assert preview(SheetRow("query", QUERY, nothing), made, BLOCKS, 80) == ""


def test_a_match_without_a_picture_is_grey() -> None:
    made = gallery(1, thumbnails=[b"no image"])
    screen = Screen.of(preview(row(made, k=1), made, BLOCKS, 80))
    assert near(screen.picture(0, 8, 19, 16), GREY).all()


@given(st.text(max_size=30), st.integers(1, 30))
def test_a_shortened_text_fits_and_keeps_its_ends(text: str, most: int) -> None:
    shown = shortened(text, len, most)
    assert len(shown) == min(len(text), most)
    kept = most - 1
    assert shown in {text, f"{text[: kept // 3]}…{text[len(text) - kept + kept // 3 :]}"}
    assert cell_len(shortened(text, cell_len, most)) <= most


# --- which terminal can ----------------------------------------------------------------

VARIABLES = (
    *("TERM", "COLORTERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY"),
    *("ZELLIJ", "NO_COLOR", "FORCE_COLOR"),
)


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    """Standard output of a program in a terminal."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream
    os.close(ours)


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


XTERM = {"TERM": "xterm-256color"}
IN_KITTY = {"TERM": "xterm-kitty", "COLORTERM": "truecolor", "KITTY_WINDOW_ID": "1"}
IN_ITERM = {**XTERM, "TERM_PROGRAM": "iTerm.app", "LC_TERMINAL": "iTerm2"}
TERMINALS: dict[str, tuple[dict[str, str], Graphics | None]] = {
    "kitty": (IN_KITTY, Graphics("kitty", TRUE)),
    "kitty by ssh": ({"TERM": "xterm-kitty"}, KITTY),
    "kitty called xterm": ({**XTERM, "KITTY_WINDOW_ID": "1"}, KITTY),
    "ghostty": ({"TERM": "xterm-ghostty", "COLORTERM": "truecolor"}, Graphics("kitty", TRUE)),
    "iterm": (IN_ITERM, Graphics("iterm", CUBE)),
    "iterm by ssh": ({**XTERM, "LC_TERMINAL": "iTerm2"}, Graphics("iterm", CUBE)),
    "wezterm": ({**XTERM, "TERM_PROGRAM": "WezTerm"}, Graphics("iterm", CUBE)),
    "xterm": (XTERM, Graphics("blocks", CUBE)),
    "truecolor": ({**XTERM, "COLORTERM": "truecolor"}, BLOCKS),
    "an editor that kitty started": (
        {**XTERM, "TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"},
        Graphics("blocks", CUBE),
    ),
    "an editor that iterm started": (
        {**IN_ITERM, "TERM_PROGRAM": "vscode"},
        Graphics("blocks", CUBE),
    ),
    "another terminal that kitty started": (
        {"TERM": "alacritty", "COLORTERM": "truecolor", "KITTY_WINDOW_ID": "1"},
        BLOCKS,
    ),
    "tmux in kitty": ({**IN_KITTY, "TERM": "tmux-256color", "TMUX": "1"}, BLOCKS),
    "screen in iterm by ssh": (
        {"TERM": "screen.xterm-256color", "LC_TERMINAL": "iTerm2"},
        Graphics("blocks", CUBE),
    ),
    "16 colours": ({"TERM": "xterm-16color"}, None),
    "the console": ({"TERM": "linux"}, None),
    "dumb": ({"TERM": "dumb", "COLORTERM": "truecolor"}, None),
    "no TERM": ({}, None),
    "no colour": ({**IN_KITTY, "NO_COLOR": "1"}, None),
    "an empty NO_COLOR is none": ({**IN_KITTY, "NO_COLOR": ""}, Graphics("kitty", TRUE)),
}


@pytest.mark.parametrize(("variables", "expected"), TERMINALS.values(), ids=TERMINALS)
def test_a_terminal_is_known_by_its_variables(
    monkeypatch: pytest.MonkeyPatch,
    terminal: TextIO,
    variables: dict[str, str],
    expected: Graphics | None,
) -> None:
    set_variables(monkeypatch, variables)
    assert terminal_graphics(terminal) == expected


def test_who_insists_on_pictures_gets_them_despite_no_color(
    monkeypatch: pytest.MonkeyPatch, terminal: TextIO
) -> None:
    set_variables(monkeypatch, {**XTERM, "NO_COLOR": "1"})
    assert terminal_graphics(terminal, despite_no_color=True) == Graphics("blocks", CUBE)


def test_a_file_and_a_terminal_without_the_letters_show_none(
    monkeypatch: pytest.MonkeyPatch, terminal: Any, tmp_path: Any
) -> None:
    set_variables(monkeypatch, {**IN_KITTY, "FORCE_COLOR": "1"})
    with (tmp_path / "out.txt").open("w") as file:
        assert terminal_graphics(file) is None
    terminal.reconfigure(encoding="iso-8859-1")
    assert terminal_graphics(terminal) is None
