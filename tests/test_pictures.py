from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from hashsearch.errors import ArgumentError
from hashsearch.gallery import Gallery
from hashsearch.gallery.duplicates import find_duplicates
from hashsearch.images import read_image, thumbnail
from hashsearch.pictures import (
    PER_GROUP,
    SheetRow,
    contact_sheet,
    group_sheet,
    match_image,
    png_bytes,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

BLUE, ORANGE, WHITE = (0, 114, 178), (230, 159, 0), (255, 255, 255)
QUERY = Image.new("RGB", (30, 60), (200, 30, 30))
GREEN = Image.new("RGB", (28, 28), (20, 160, 60))


def gallery(
    n_items: int = 6, *, ids: list[str] | None = None, labels: list[str] | None = None
) -> Gallery:
    """Item ``i`` lies at distance ``i`` from a query of zeros."""
    codes = np.packbits(np.tril(np.ones((n_items, 16), bool), -1), axis=1, bitorder="little")
    return Gallery.from_codes(
        codes,
        n_bits=16,
        fine_bits=0,
        ids=ids,
        labels=labels,
        thumbnails=[thumbnail(GREEN)] * n_items,
    )


def row(made: Gallery, k: int = 4, radius: int = 1, name: str = "query") -> SheetRow:
    return SheetRow(name, QUERY, made.nearest(np.zeros((1, 2), np.uint8), k=k, radius=radius))


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def boxes(image: Image.Image, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Left and top of each frame of a colour, line by line: where its upper edge begins."""
    mask = (pixels(image) == colour).all(axis=2)
    length = 80  # longer than a frame of the legend, shorter than that of a tile
    edge = np.lib.stride_tricks.sliding_window_view(mask, length, axis=1).all(axis=2)
    first = edge & ~np.pad(edge, ((0, 0), (1, 0)))[:, :-1]
    top = first & ~np.pad(first, ((1, 0), (0, 0)))[:-1]
    # The lower edge of a frame begins at the same place as its upper one.
    places = [(int(x), int(y)) for y, x in np.argwhere(top)]
    return [(x, y) for x, y in places if mask[y + 20, x] and mask[y + 100, x]]


def ink(image: Image.Image, box: tuple[int, int, int, int]) -> int:
    """How many pixels of a box are no paper."""
    return int((pixels(image.crop(box)) != WHITE).any(axis=2).sum())


def test_frames_tell_what_lies_inside_the_ball() -> None:
    made = gallery()
    sheet = contact_sheet([row(made, k=5, radius=1)], made)
    inside, outside = boxes(sheet, BLUE), boxes(sheet, ORANGE)
    assert (len(inside), len(outside)) == (2, 3)
    lefts = [left for left, _ in inside + outside]
    assert lefts == sorted(lefts)
    assert len(set(np.diff(lefts))) == 1
    assert len({top for _, top in inside + outside}) == 1


def test_a_match_fills_its_frame_and_the_query_stands_left_of_all() -> None:
    made = gallery()
    sheet = pixels(contact_sheet([row(made, k=2)], made))
    (left, top), *_ = boxes(Image.fromarray(sheet), BLUE)
    middle = sheet[top + 8 : top + 100, left + 8 : left + 100]
    assert (np.abs(middle.astype(int) - (20, 160, 60)) < 12).all()
    red = np.argwhere((sheet == (200, 30, 30)).all(axis=2))
    assert red[:, 1].max() < left
    # A tall picture keeps its shape.
    height, width = np.ptp(red, axis=0) + 1
    assert abs(height / width - 2) < 0.1


def test_queries_stand_below_each_other_whatever_the_number_of_their_matches() -> None:
    made = gallery()
    sheet = contact_sheet([row(made, k=1), row(made, k=6), row(made, k=3)], made)
    frames = boxes(sheet, BLUE) + boxes(sheet, ORANGE)
    tops = sorted({top for _, top in frames})
    assert [sum(top == each for _, top in frames) for each in tops] == [1, 6, 3]
    assert len(set(np.diff(tops))) == 1
    assert {min(left for left, top in frames if top == each) for each in tops} == {
        min(left for left, _ in frames)
    }
    alone = contact_sheet([row(made, k=6)], made)
    assert sheet.width == alone.width
    assert tops[-1] + 112 < sheet.height


def test_many_matches_go_on_below_and_the_next_query_below_them() -> None:
    made = gallery(16)
    sheet = contact_sheet([row(made, k=13, radius=16), row(made, k=2, radius=16)], made)
    frames = boxes(sheet, BLUE)
    tops = sorted({top for _, top in frames})
    assert [sum(top == each for _, top in frames) for each in tops] == [10, 3, 2]
    assert max(left for left, _ in frames) + 112 <= sheet.width


def test_a_query_without_matches_is_shown() -> None:
    made = gallery()
    nothing = made.within(np.full((1, 2), 255, np.uint8), radius=0)
    sheet = contact_sheet([SheetRow("query", QUERY, nothing)], made)
    assert not boxes(sheet, BLUE) + boxes(sheet, ORANGE)
    assert (pixels(sheet) == (200, 30, 30)).all(axis=2).any()


def test_the_legend_fits_beside_a_single_match() -> None:
    made = gallery()
    sheet = contact_sheet([row(made, k=1)], made)
    assert ink(sheet, (sheet.width - 10, 0, sheet.width, sheet.height)) == 0
    wide = contact_sheet([row(made, k=6)], made)
    assert ink(sheet, (0, 0, sheet.width, 36)) == ink(wide, (0, 0, wide.width, 36))


@pytest.mark.parametrize("label", ["w" * 200, "two\nlines", "\x1b[31mred", "服装" * 20, "[b]x[/b]"])
def test_any_label_stays_under_its_own_picture(label: str) -> None:
    made = gallery(2, labels=[label, label])
    sheet = contact_sheet([row(made, k=2)], made)
    (first, top), (second, _) = boxes(sheet, BLUE)
    below = (first + 112, top + 112, second, sheet.height)
    assert ink(sheet, (first, *below[1:])) > 0
    assert ink(sheet, below) == 0


def test_long_names_keep_their_ends() -> None:
    made = gallery(2, ids=["a" * 50 + "7", "b" * 50 + "7"])
    sheet = contact_sheet([row(made, k=2)], made)
    (first, top), (second, _) = boxes(sheet, BLUE)
    ends = [sheet.crop((left + 90, top + 114, left + 112, top + 132)) for left in (first, second)]
    alike = contact_sheet([row(gallery(2, ids=["7", "8"]), k=2)], made)
    assert all(ink(end, (0, 0, *end.size)) > 0 for end in ends)
    assert ink(alike, (first + 90, top + 114, first + 112, top + 132)) == 0


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
    assert len(boxes(sheet, BLUE)) == 3


def test_a_thumbnail_that_is_no_image_is_an_empty_frame() -> None:
    made = Gallery.from_codes(
        np.zeros((1, 2), np.uint8), n_bits=16, fine_bits=0, thumbnails=[b"no image"]
    )
    assert match_image(made, 0) is None


def test_no_query_and_too_many_matches_are_refused() -> None:
    made = gallery(2)
    with pytest.raises(ArgumentError, match="at least one query"):
        contact_sheet([], made)
    with pytest.raises(ArgumentError, match="lower -k, or give fewer images"):
        contact_sheet([row(made)] * 2000, made)


def test_the_file_is_the_picture() -> None:
    made = gallery()
    sheet = contact_sheet([row(made)], made)
    again = read_image(png_bytes(sheet))
    assert sheet.tobytes() == again.tobytes()


def alike(*sizes: int) -> Gallery:
    """Groups of these sizes, far from each other, each of one code."""
    centres = np.random.default_rng(0).integers(0, 256, (len(sizes), 8), dtype=np.uint8)
    codes = np.repeat(centres, sizes, axis=0)
    return Gallery.from_codes(
        codes, n_bits=64, fine_bits=0, thumbnails=[thumbnail(GREEN)] * len(codes)
    )


def tiles(image: Image.Image) -> npt.NDArray[np.int64]:
    """Left and top of each picture of :data:`GREEN`, line by line: ``(n, 2)``."""
    near = (np.abs(pixels(image).astype(int) - (20, 160, 60)) < 12).all(axis=2)
    corner = near & ~np.pad(near, ((1, 0), (0, 0)))[:-1] & ~np.pad(near, ((0, 0), (1, 0)))[:, :-1]
    return np.argwhere(corner)[:, ::-1]


def test_groups_stand_below_each_other_and_their_first_items_are_framed() -> None:
    made = alike(2, 4, 3)
    sheet = group_sheet(find_duplicates(made), range(3), made)
    firsts = boxes(sheet, BLUE)
    assert len(firsts) == 3
    assert len({left for left, _ in firsts}) == 1
    assert len(set(np.diff([top for _, top in firsts]))) == 1
    tops = sorted(set(tiles(sheet)[:, 1].tolist()))
    assert [(tiles(sheet)[:, 1] == top).sum() for top in tops] == [4, 3, 2]
    assert not boxes(sheet, ORANGE)
    last = firsts[-1][1]
    assert ink(sheet, (0, last + 112, sheet.width, sheet.height)) > 0  # its captions
    assert ink(sheet, (sheet.width - 10, 0, sheet.width, sheet.height)) == 0


def test_only_the_groups_asked_for_are_drawn() -> None:
    made = alike(2, 4, 3)
    sheet = group_sheet(find_duplicates(made), [1], made)
    assert len(boxes(sheet, BLUE)) == 1
    assert len(tiles(sheet)) == 3


def test_a_large_group_is_cut_and_says_so() -> None:
    full, more = (
        group_sheet(find_duplicates(made), [0], made)
        for made in (alike(PER_GROUP), alike(PER_GROUP + 7))
    )
    assert full.size == more.size
    assert len(tiles(full)) == len(tiles(more)) == PER_GROUP
    (_, top), *_ = boxes(more, BLUE)
    title = (0, top - 24, more.width, top - 2)
    assert ink(more, title) > ink(full, title) > 0


def test_items_at_the_end_of_a_chain_are_framed_as_far_from_the_first() -> None:
    made = gallery(6)
    sheet = group_sheet(find_duplicates(made, 2), [0], made)
    assert len(boxes(sheet, BLUE)) == 1
    assert len(boxes(sheet, ORANGE)) == 3  # at 3, 4 and 5 bits


def test_no_group_and_too_many_on_a_sheet_are_refused() -> None:
    made = alike(2)
    with pytest.raises(ArgumentError, match="at least one"):
        group_sheet(find_duplicates(made), [], made)
    with pytest.raises(ArgumentError, match="show fewer on a sheet"):
        group_sheet(find_duplicates(made), [0] * 10_000, made)
