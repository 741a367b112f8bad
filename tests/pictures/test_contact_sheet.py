from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from sheet_cases import (
    BLUE,
    GREEN,
    GREY,
    QUERY,
    TILE,
    VERMILION,
    WHITE,
    frames,
    gallery,
    ink,
    near,
    pixels,
    row,
)

from hashsearch.errors import ArgumentError
from hashsearch.gallery import Gallery
from hashsearch.images import read_image
from hashsearch.pictures import (
    MOST_QUERIES,
    SheetRow,
    contact_sheet,
    match_image,
    n_on_sheet,
    png_bytes,
)

if TYPE_CHECKING:
    from pathlib import Path

THICK, THIN = 3, 1
PER_LINE = 10


def test_frames_and_a_line_tell_what_lies_inside_the_ball() -> None:
    made = gallery()
    sheet = contact_sheet([row(made, k=5, radius=1)], made)
    query, *matches = frames(sheet, GREY)
    assert [frame.width for frame in matches] == [THICK, THICK, THIN, THIN, THIN]
    lefts = [frame.left for frame in matches]
    assert len(set(np.diff(lefts))) == 1
    assert {frame.top for frame in matches} == {query.top}
    gaps = [ink(sheet, (left - 10, query.top, left, query.top + TILE)) > 0 for left in lefts]
    assert gaps == [False, False, True, False, False]


@pytest.mark.parametrize(("k", "radius", "edges"), [(3, 5, 0), (3, 0, 1)])
def test_there_is_an_edge_and_its_meaning_where_the_ball_ends(
    k: int, radius: int, edges: int
) -> None:
    made = gallery()
    sheet = contact_sheet([row(made, k=k, radius=radius)], made)
    _, *matches = frames(sheet, GREY)
    beside = [ink(sheet, (f.left - 10, f.top, f.left, f.top + TILE)) > 0 for f in matches]
    assert sum(beside) == edges
    dark = (pixels(sheet)[: matches[0].top - 40] < 60).all(axis=2)
    assert dark.any() == bool(edges)


def test_an_empty_ball_ends_before_the_first_match() -> None:
    made = gallery(4).without(["0"])
    sheet = contact_sheet([row(made, k=2, radius=0)], made)
    query, *matches = frames(sheet, GREY)
    assert [frame.width for frame in matches] == [THIN, THIN]
    first = matches[0].left
    assert ink(sheet, (first - 10, query.top, first, query.top + TILE)) > 0


def test_a_match_fills_its_frame_and_the_query_stands_left_of_all() -> None:
    made = gallery()
    sheet = contact_sheet([row(made, k=2)], made)
    query, first, _ = frames(sheet, GREY)
    middle = (first.left + 5, first.top + 5, first.left + TILE - 5, first.top + TILE - 5)
    assert near(sheet.crop(middle), (20, 160, 60)).all()
    red = np.argwhere((pixels(sheet) == (200, 30, 30)).all(axis=2))
    assert query.left < red[:, 1].min() < red[:, 1].max() < query.left + TILE
    # A tall picture keeps its shape.
    height, width = np.ptp(red, axis=0) + 1
    assert abs(height / width - 2) < 0.1


def test_matches_of_the_querys_label_and_others_are_told_apart_by_colour_and_by_mark() -> None:
    made = gallery(4, labels=["Coat", "Shirt", None, "Coat"])
    sheet = contact_sheet([row(made, k=4, radius=4, label="Coat")], made)
    good, bad, unknown = frames(sheet, BLUE), frames(sheet, VERMILION), frames(sheet, GREY)
    assert [len(good), len(bad), len(unknown)] == [2, 1, 2]  # the query, too
    assert good[0].left < bad[0].left < unknown[1].left < good[1].left
    marks = [
        sheet.crop((f.left, f.top + TILE + 20, f.left + 11, f.top + TILE + 36)).convert("L")
        for f in (*good, *bad)
    ]
    tick, again, cross = (np.asarray(mark) < 160 for mark in marks)
    assert tick.any()
    assert (tick == again).all()
    assert (tick != cross).any()
    silent = contact_sheet([row(made, k=4, radius=4)], made)
    assert not frames(silent, BLUE) + frames(silent, VERMILION)


def test_the_legend_says_what_is_on_the_sheet_and_no_more() -> None:
    made = gallery(4, labels=["Coat", "Coat", "Coat", "Shirt"])

    def signs(k: int, label: str | None) -> tuple[bool, bool]:
        """Whether anything blue, and anything red, is in the legend."""
        sheet = contact_sheet([row(made, k=k, radius=4, label=label)], made)
        red, _, blue = np.moveaxis(pixels(sheet)[:34].astype(int), 2, 0)
        return bool((blue - red > 60).any()), bool((red - blue > 60).any())

    assert signs(3, "Coat") == (True, False)
    assert signs(4, "Coat") == (True, True)
    assert signs(4, None) == (False, False)


def test_queries_stand_below_each_other_whatever_the_number_of_their_matches() -> None:
    made = gallery()
    sheet = contact_sheet([row(made, k=1), row(made, k=6), row(made, k=3)], made)
    found = frames(sheet, GREY)
    tops = sorted({frame.top for frame in found})
    assert [sum(frame.top == top for frame in found) for top in tops] == [2, 7, 4]
    assert len(set(np.diff(tops))) == 1
    for column in (0, 1):
        assert len({[f.left for f in found if f.top == top][column] for top in tops}) == 1
    assert sheet.width == contact_sheet([row(made, k=6)], made).width
    assert tops[-1] + TILE < sheet.height


def test_many_matches_go_on_below_and_the_next_query_below_them() -> None:
    made = gallery(16)
    sheet = contact_sheet([row(made, k=13, radius=16), row(made, k=2, radius=16)], made)
    found = [frame for frame in frames(sheet, GREY) if frame.width == THICK]
    tops = sorted({frame.top for frame in found})
    assert [sum(frame.top == top for frame in found) for top in tops] == [PER_LINE, 3, 2]
    assert max(frame.left for frame in found) + TILE <= sheet.width


def test_a_query_without_matches_is_shown() -> None:
    made = gallery()
    nothing = made.within(np.full((1, 2), 255, np.uint8), radius=0)
    sheet = contact_sheet([SheetRow("query", QUERY, nothing)], made)
    assert len(frames(sheet, GREY)) == 1
    assert (pixels(sheet) == (200, 30, 30)).all(axis=2).any()


@pytest.mark.parametrize("name", ["q", "x" * 300])
def test_nothing_is_written_over_the_edge_of_a_narrow_sheet(name: str) -> None:
    made = gallery(labels=["Coat"] * 6)
    sheet = contact_sheet([row(made, k=1, radius=0, name=name, label="Coat")], made)
    assert ink(sheet, (sheet.width - 8, 0, sheet.width, sheet.height)) == 0
    assert ink(sheet, (0, 0, sheet.width, 34)) > 0


@pytest.mark.parametrize("label", ["w" * 200, "two\nlines", "\x1b[31mred", "服装" * 20, "[b]x[/b]"])
def test_any_label_and_id_stay_under_their_own_picture(label: str) -> None:
    made = gallery(2, ids=[label, "b"], labels=[label, label])
    sheet = contact_sheet([row(made, k=2)], made)
    _, first, second = frames(sheet, GREY)
    below = (first.left + TILE, first.top + TILE, second.left, sheet.height)
    assert ink(sheet, (first.left, *below[1:])) > 0
    assert ink(sheet, below) == 0


def test_letters_beyond_ascii_are_written() -> None:
    sheets = [
        contact_sheet([row(made, k=1)], made)
        for made in (gallery(1, labels=["Wäsche"]), gallery(1, labels=["Wösche"]))
    ]
    assert sheets[0].tobytes() != sheets[1].tobytes()  # what a font lacks looks alike


def test_a_match_without_a_picture_is_an_empty_frame(tmp_path: Path) -> None:
    codes = np.zeros((3, 2), np.uint8)
    kept = tmp_path / "kept.png"
    GREEN.save(kept)
    made = Gallery.from_codes(
        codes,
        n_bits=16,
        fine_bits=0,
        ids=["a", "b", "c"],
        paths=[str(kept), str(tmp_path / "gone.png"), None],
    )
    first = match_image(made, 0)
    assert first is not None
    assert first.size == GREEN.size
    assert match_image(made, 1) is match_image(made, 2) is None
    sheet = contact_sheet([row(made, k=3)], made)
    assert len(frames(sheet, GREY)) == 4


def test_a_thumbnail_that_is_no_image_is_an_empty_frame() -> None:
    assert match_image(gallery(1, thumbnails=[b"no image"]), 0) is None


def test_a_sheet_has_room_for_so_many_queries_and_says_what_it_leaves_out() -> None:
    made = gallery(2)
    short, full, more = (
        contact_sheet([row(made, k=1)] * n, made) for n in (1, MOST_QUERIES, MOST_QUERIES + 5)
    )
    assert full.height <= 24_000
    assert [len(frames(sheet, GREY)) for sheet in (full, more)] == [2 * MOST_QUERIES] * 2
    rest = (0, full.height, more.width, more.height)
    assert 0 < more.height - full.height < 60
    assert ink(more, rest) > 0
    assert ink(short, (0, short.height - 10, short.width, short.height)) == 0
    assert n_on_sheet([row(made, k=1)] * 7) == 7
    wide = gallery(30)
    assert n_on_sheet([row(wide, k=30)] * MOST_QUERIES) == MOST_QUERIES // 3


def test_a_single_query_is_shown_whatever_the_number_of_its_matches() -> None:
    most = PER_LINE * MOST_QUERIES
    made = Gallery.from_codes(np.zeros((most + 1, 2), np.uint8), n_bits=16, fine_bits=0)
    shown = [row(made, k=k) for k in (most, most + 1)]
    assert [n_on_sheet([each]) for each in shown] == [1, 1]
    full, more = (contact_sheet([each], made) for each in shown)
    assert 0 < more.height - full.height < 60
    assert ink(more, (0, full.height, more.width, more.height)) > 0


def test_no_query_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least one query"):
        contact_sheet([], gallery(2))


def test_the_file_is_the_picture() -> None:
    made = gallery()
    sheet = contact_sheet([row(made)], made)
    again = read_image(png_bytes(sheet))
    assert sheet.tobytes() == again.tobytes()
    assert sheet.getpixel((0, 0)) == WHITE


def test_a_wide_picture_is_as_large_as_fits() -> None:
    made = gallery(1)
    wide = SheetRow("wide", Image.new("RGB", (4000, 400), (200, 30, 30)), row(made, 1).matches)
    sheet = contact_sheet([wide], made)
    red = np.argwhere(near(sheet, (200, 30, 30)))
    assert np.ptp(red[:, 1]) + 1 == 112
    assert abs(np.ptp(red[:, 0]) + 1 - 11) <= 1
