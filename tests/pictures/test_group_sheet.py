from __future__ import annotations

import numpy as np
import pytest
from sheet_cases import BLUE, GREY, THUMBNAIL, TILE, VERMILION, frames, gallery, ink

from hashsearch.errors import ArgumentError
from hashsearch.gallery import Gallery
from hashsearch.gallery.duplicates import find_duplicates
from hashsearch.pictures import PER_GROUP, group_sheet


def alike(*sizes: int) -> Gallery:
    """Groups of these sizes, far from each other, each of one code."""
    centres = np.random.default_rng(0).integers(0, 256, (len(sizes), 8), dtype=np.uint8)
    codes = np.repeat(centres, sizes, axis=0)
    return Gallery.from_codes(codes, n_bits=64, fine_bits=0, thumbnails=[THUMBNAIL] * len(codes))


def test_groups_stand_below_each_other_and_their_first_items_are_framed() -> None:
    made = alike(2, 4, 3)
    sheet = group_sheet(find_duplicates(made), range(3), made)
    firsts, others = frames(sheet, BLUE), frames(sheet, GREY)
    assert len(firsts) == 3
    assert len({frame.left for frame in firsts}) == 1
    assert len(set(np.diff([frame.top for frame in firsts]))) == 1
    assert [sum(each.top == first.top for each in others) for first in firsts] == [3, 2, 1]
    assert not frames(sheet, VERMILION)
    last = firsts[-1].top
    assert ink(sheet, (0, last + TILE, sheet.width, sheet.height)) > 0  # its captions
    assert ink(sheet, (sheet.width - 10, 0, sheet.width, sheet.height)) == 0


def test_only_the_groups_asked_for_are_drawn() -> None:
    made = alike(2, 4, 3)
    sheet = group_sheet(find_duplicates(made), [1], made)
    assert len(frames(sheet, BLUE)) == 1
    assert len(frames(sheet, GREY)) == 2


def test_a_large_group_is_cut_and_says_so() -> None:
    full, more = (
        group_sheet(find_duplicates(made), [0], made)
        for made in (alike(PER_GROUP), alike(PER_GROUP + 7))
    )
    assert full.size == more.size
    assert len(frames(full, GREY)) == len(frames(more, GREY)) == PER_GROUP - 1
    (first,) = frames(more, BLUE)
    title = (0, first.top - 24, more.width, first.top - 2)
    assert ink(more, title) > ink(full, title) > 0


def test_items_at_the_end_of_a_chain_are_framed_as_far_from_the_first() -> None:
    made = gallery(6)
    sheet = group_sheet(find_duplicates(made, 2), [0], made)
    assert len(frames(sheet, BLUE)) == 1
    assert len(frames(sheet, VERMILION)) == 3  # at 3, 4 and 5 bits
    assert len(frames(sheet, GREY)) == 2


def test_no_group_and_too_many_on_a_sheet_are_refused() -> None:
    made = alike(2)
    with pytest.raises(ArgumentError, match="at least one"):
        group_sheet(find_duplicates(made), [], made)
    with pytest.raises(ArgumentError, match="show fewer on a sheet"):
        group_sheet(find_duplicates(made), [0] * 10_000, made)
