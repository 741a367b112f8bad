"""Sheets and previews of a query, as the command writes them."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL.Image import Resampling
from terminal_screen import Screen

from hashsearch.images import read_image

if TYPE_CHECKING:
    from pathlib import Path

KITTY = {"TERM": "xterm-kitty"}
XTERM = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
BLUE = (0, 114, 178)
LANCZOS = Resampling.LANCZOS
OWN = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM_PROGRAM", "TMUX", "STY", "ZELLIJ")


def in_terminal(variables: dict[str, str], *args: str, columns: int = 100) -> tuple[int, str]:
    """Run the command in a terminal: its exit status, and all that it wrote there."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
    with subprocess.Popen(
        [sys.executable, "-m", "hashsearch", *args],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**environment, **variables},
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                some = os.read(ours, 1 << 16)
            except OSError:  # Linux says so where others say that nothing is left
                break
            if not some:
                break
            written += some
    os.close(ours)
    return process.returncode, written.decode()


def test_a_terminal_is_shown_the_pictures_under_each_table(shop: Path, photos: Path) -> None:
    query = photos / "dark" / "0.png"
    status, written = in_terminal(KITTY, "query", str(query), "--id", "light/1.png", "-k", "3")
    assert status == 0
    screen = Screen.of(written)
    of_item, of_image = screen.pictures
    assert (of_image.columns, of_image.lines) == (4 * 14 + 3 * 3, 7)
    for sent, found_itself in ((of_item, False), (of_image, True)):  # an item finds others
        own, best = (
            np.asarray(sent.image.crop((left, 0, left + 140, 140))).astype(int)
            for left in (0, 10 * (14 + 3))
        )
        assert (np.abs(own - best).mean() < 10) == found_itself  # a thumbnail is a JPEG
    assert screen.text(of_image.line + 7).split()[:3] == ["query", "1", "dark/0.png"]
    assert screen.text(of_image.line + 8).split()[:3] == ["dark", "✓", "dark"]


def test_other_terminals_are_shown_half_blocks(shop: Path, photos: Path) -> None:
    status, written = in_terminal(XTERM, "query", "--id", "light/1.png", "-k", "1", columns=80)
    assert status == 0
    screen = Screen.of(written)
    assert not screen.pictures
    top = min(line for line, _ in screen.pixels) // 2
    shown = screen.picture(top, 8, 0, 16)
    expected = read_image(photos / "light" / "1.png").convert("RGB").resize((16, 16), LANCZOS)
    apart = np.abs(np.asarray(shown)[..., :3].astype(int) - np.asarray(expected))
    assert apart.max() < 30
    assert screen.text(top + 8).startswith("query")


def test_pictures_of_very_many_queries_are_not_kept(shop: Path) -> None:
    ids = [option for _ in range(102) for option in ("--id", "light/1.png")]
    status, written = in_terminal(XTERM, "query", *ids, "-k", "1")
    assert status == 0
    assert written.count(" items within radius ") == 102
    assert written.count("query ") == 100


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (["--json"], KITTY),
        (["--csv"], KITTY),
        (["--no-preview"], KITTY),
        ([], {**KITTY, "NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
        ([], {"TERM": "linux"}),
    ],
    ids=str,
)
def test_there_is_no_preview(shop: Path, options: list[str], variables: dict[str, str]) -> None:
    status, written = in_terminal(variables, "query", "--id", "light/1.png", "-k", "1", *options)
    assert status == 0
    assert "light/" in written
    assert "\x1b_G" not in written
    assert "▀" not in written


def test_a_pipe_gets_no_pictures(shop: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**KITTY, "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    done = run("query", "--id", "light/1.png", "-k", "1")
    assert done.status == 0
    assert "\x1b_G" not in done.out
    refused = run("query", "--id", "light/1.png", "-k", "1", "--preview")
    assert refused.status == 1
    assert "no terminal that can show pictures" in refused.error
    for form in ("--json", "--csv"):
        assert run("query", "--id", "light/1.png", form, "--preview").status == 2


def test_who_insists_sees_pictures_despite_no_color(shop: Path) -> None:
    query = ("query", "--id", "light/1.png", "-k", "1", "--preview")
    status, written = in_terminal({**XTERM, "NO_COLOR": "1"}, *query)
    assert status == 0
    assert "▀" in written


def test_an_image_in_a_folder_that_is_named_as_a_type_is_one(
    shop: Path, run: Any, photos: Path
) -> None:
    image = photos / "dark" / "0.png"
    other = shop / "0.png"
    other.write_bytes(image.read_bytes())
    for name, path in (("marked", image), ("plain", other)):
        assert run("query", path, "-k", "2", "--sheet", f"{name}.png").status == 0
    marked, plain = (np.asarray(read_image(f"{name}.png")) for name in ("marked", "plain"))
    assert (marked == BLUE).all(axis=2).any()
    assert not (plain == BLUE).all(axis=2).any()


def test_a_long_sheet_says_how_many_queries_it_shows(shop: Path, run: Any) -> None:
    ids = [option for _ in range(103) for option in ("--id", "light/1.png")]
    done = run("query", *ids, "-k", "1", "--sheet", "long.png", "--json")
    assert done.err == "Wrote long.png: 100 of 103 queries\n"
    assert len(done.json["queries"]) == 103
