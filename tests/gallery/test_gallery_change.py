"""Galleries made of others: the same as one that is built of the same items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashsearch.errors import ArgumentError, EncoderMismatch
from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from pathlib import Path


class Items(NamedTuple):
    codes: npt.NDArray[np.uint8]
    columns: dict[str, Any]

    def gallery(self, places: list[int], n_bits: int, fine_bits: int) -> Gallery:
        """A gallery of some of them."""
        columns: dict[str, Any] = {
            name: [values[place] for place in places] for name, values in self.columns.items()
        }
        return Gallery.from_codes(
            self.codes[places], n_bits=n_bits, fine_bits=fine_bits, indexes=(), **columns
        )


@st.composite
def items(draw: st.DrawFn, width: int) -> Items:
    """Few different codes, ids of any width and order, and what else an item can have."""
    n_items = draw(st.integers(2, 30))
    code = st.lists(st.sampled_from([0, 1, 255]), min_size=width, max_size=width)
    codes = draw(st.lists(code, min_size=n_items, max_size=n_items))
    text = st.text(st.sampled_from("aé€0"), min_size=1, max_size=4)

    def column(values: st.SearchStrategy[Any], *, unique: bool = False) -> list[Any]:
        return draw(st.lists(values, min_size=n_items, max_size=n_items, unique=unique))

    columns = {
        "ids": column(text, unique=True),
        "labels": column(st.sampled_from([None, "Bag", "Coat", "Dress"])),
        "paths": column(st.none() | text),
        "thumbnails": column(st.none() | st.binary(min_size=1, max_size=3)),
    }
    kept = draw(st.sets(st.sampled_from([*columns])))
    return Items(
        np.array(codes, np.uint8), {name: columns[name] for name in sorted({*kept, "ids"})}
    )


def assert_same(found: Gallery, expected: Gallery) -> None:
    """What a gallery says of its items, in its order, and the arrays that a search uses."""
    assert found.ids() == expected.ids()
    assert found.labels() == expected.labels()
    assert found.paths() == expected.paths()
    rows = range(len(expected))
    assert [*map(found.thumbnail, rows)] == [*map(expected.thumbnail, rows)]
    assert found.n_distinct == expected.n_distinct
    for name in ("codes/distinct", "codes/offsets", "items/fine", "items/id_rank"):
        if name in expected.content.datasets:
            one, other = (each.content.datasets[name] for each in (found, expected))
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@given(st.sampled_from([(8, 0), (16, 64), (72, 8)]), st.data())
@settings(deadline=None)
def test_merged_is_built_of_the_items_of_both(bits: tuple[int, int], data: st.DataObject) -> None:
    all_items = data.draw(items(sum(bits) // 8))
    places = data.draw(st.permutations(range(len(all_items.codes))))
    cut = data.draw(st.integers(1, len(places) - 1))
    one, other = all_items.gallery(places[:cut], *bits), all_items.gallery(places[cut:], *bits)
    assert_same(one.merged(other), all_items.gallery(sorted(places), *bits))


@given(st.sampled_from([(8, 0), (16, 64), (72, 8)]), st.data())
@settings(deadline=None)
def test_only_is_built_of_the_items_that_are_kept(
    bits: tuple[int, int], data: st.DataObject
) -> None:
    all_items = data.draw(items(sum(bits) // 8))
    everything = [*range(len(all_items.codes))]
    whole = all_items.gallery(everything, *bits)
    kept = sorted(data.draw(st.sets(st.sampled_from(everything), min_size=1)))
    ids = all_items.columns["ids"]
    expected = all_items.gallery(kept, *bits)
    assert_same(whole.only(ids=[ids[place] for place in kept]), expected)
    dropped = [ids[place] for place in everything if place not in kept]
    assert_same(whole.only(without_ids=[*dropped, "not there"]), expected)


def small(**columns: Any) -> Gallery:
    codes = np.array([[0, 9], [0, 8], [1, 7], [1, 6]], np.uint8)
    return Gallery.from_codes(codes, n_bits=8, fine_bits=8, **columns)


def test_labels_choose_and_a_search_finds_only_what_was_chosen() -> None:
    gallery = small(ids=[*"abcd"], labels=["Bag", "Coat", "Coat", None])
    coats = gallery.only(labels=["Coat"])
    assert coats.ids() == ["b", "c"]
    matches = coats.nearest(np.array([[0, 9]], np.uint8), k=4)
    assert matches.ids == ["b", "c"]
    assert matches.ball_size.tolist() == [2]
    assert gallery.only(labels=["Bag", "Coat"], without_ids=["b"]).ids() == ["a", "c"]
    assert coats.only(ids=["c"]).labels() == ["Coat"]


def test_a_choice_is_saved_and_searched_like_any_gallery(tmp_path: Path) -> None:
    chosen = small(ids=[*"abcd"], thumbnails=[b"1", b"22", None, b"4"]).only(ids=["d", "b"])
    chosen.indexed(["flat", "hash"]).save(tmp_path / "chosen.h5")
    opened = Gallery.open(tmp_path / "chosen.h5")
    assert opened.indexes == ("flat", "hash")
    assert_same(opened, chosen)
    for index in ("auto", "flat", "hash", "multihash"):
        assert opened.within(np.array([[0, 8]], np.uint8), index=index).ids == ["b", "d"]


def test_what_is_left_of_thumbnails_and_labels_is_saved_and_told(tmp_path: Path) -> None:
    whole = small(
        ids=[*"abcd"], labels=["Bag", "Coat", "Coat", None], thumbnails=[b"1", None, None, None]
    )
    path = tmp_path / "gallery.h5"
    for left, labels, pictures in (
        ("abd", {"Bag": 1, "Coat": 1}, True),
        ("bd", {"Coat": 1}, False),
        ("d", {}, False),
    ):
        whole = whole.only(ids=[*left])
        whole.save(path)
        opened = Gallery.open(path)
        assert opened.ids() == [*left]
        assert opened.info()["labels"] == labels
        assert opened.has_thumbnails == pictures
        whole = opened


def test_a_gallery_from_a_file_is_merged_and_searched(tmp_path: Path) -> None:
    small(ids=[*"abcd"], thumbnails=[b"1", None, b"333", None]).save(tmp_path / "one.h5")
    other = Gallery.from_codes(
        np.array([[0, 9], [2, 1]], np.uint8), n_bits=8, fine_bits=8, ids=["B", "e"]
    )
    both = Gallery.open(tmp_path / "one.h5").merged(other)
    both.save(tmp_path / "both.h5")
    for gallery in (both, Gallery.open(tmp_path / "both.h5")):
        matches = gallery.within(np.array([[0, 9]], np.uint8), radius=0)
        assert matches.ids == ["B", "a", "b"]
        assert [gallery.thumbnail(row) for row in matches.rows.tolist()] == [None, b"1", None]


def test_the_indexes_are_those_that_are_asked_for() -> None:
    gallery = small()
    assert gallery.indexes == ("flat", "hash", "multihash")
    assert gallery.indexed(["hash"]).indexes == ("hash",)
    assert gallery.indexed(()).indexes == ()
    assert gallery.only(ids=["0"]).indexes == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["Hat"]}, "no item of the gallery has the label 'Hat'; there are Bag, Coat"),
        ({"ids": ["a", "x", "y"]}, r"2 of 3 ids are not in the gallery \(first: 'x'\)"),
        ({"ids": []}, "no item is left"),
        # To look for what was meant by this would take long.
        ({"labels": ["x" * 100_000]}, "x'; there are Bag, Coat"),
        ({"labels": []}, "no item is left"),
        ({"ids": ["a\0"]}, "1 of 1 ids are not in the gallery"),
        ({"ids": ["\udcff"]}, "1 of 1 ids are not in the gallery"),
        ({"labels": ["Bag"], "ids": ["b"]}, "no item is left"),
        ({"without_ids": [*"abcd"]}, "no item is left"),
    ],
)
def test_only_refuses(arguments: dict[str, Any], message: str) -> None:
    gallery = small(ids=[*"abcd"], labels=["Bag", "Coat", "Coat", None])
    with pytest.raises(ArgumentError, match=message):
        gallery.only(**arguments)


def test_an_id_that_begins_with_one_of_the_gallery_is_another() -> None:
    gallery = Gallery.from_codes(np.zeros((2, 2), np.uint8), n_bits=8, fine_bits=8)
    rows, found = gallery.content.find(["1", "10", "1" * 1000, "0"])
    assert found.tolist() == [True, False, False, True]
    assert rows[found].tolist() == [1, 0]


def test_a_gallery_without_labels_says_so() -> None:
    with pytest.raises(ArgumentError, match="has a label; it has no columns"):
        small().only(labels=["Bag"])
    with pytest.raises(ArgumentError, match="no item is left"):
        small().only(labels=[])


def test_galleries_with_an_id_in_common_are_not_merged() -> None:
    other = Gallery.from_codes(
        np.zeros((3, 2), np.uint8), n_bits=8, fine_bits=8, ids=["new", "b", "d"]
    )
    with pytest.raises(ArgumentError, match=r"2 of 3 ids are in the gallery already \(first: 'b'"):
        small(ids=[*"abcd"]).merged(other)


def test_ids_that_no_gallery_holds_are_new() -> None:
    gallery = small(ids=[*"abcd"])
    gallery.check_new(["a\0", "\udcff", "new"])
    gallery.check_new([])
    assert gallery.only(without_ids=["a\0", "\udcff"]).ids() == [*"abcd"]
    with pytest.raises(ArgumentError, match=r"1 of 2 ids are in the gallery already"):
        gallery.check_new(["x", "c"])


def test_galleries_of_other_bits_or_another_encoder_are_not_merged() -> None:
    with pytest.raises(ArgumentError, match=r"of 8 \+ 8 and of 16 \+ 0 bits cannot be merged"):
        small().merged(Gallery.from_codes(np.zeros((1, 2), np.uint8), n_bits=16, fine_bits=0))
    one, other = (
        small(ids=[f"{letter}{number}" for number in range(4)], encoder_fingerprint=64 * letter)
        for letter in "ab"
    )
    with pytest.raises(EncoderMismatch, match="built with encoder aaaaaaaaaaaa, not bbbbbbbbbbbb"):
        one.merged(other)
    assert len(one.merged(small())) == 8


@given(st.sampled_from([(8, 0), (16, 64)]), st.data())
@settings(deadline=None)
def test_compacted_leaves_nothing_of_what_was_removed(
    bits: tuple[int, int], data: st.DataObject
) -> None:
    all_items = data.draw(items(sum(bits) // 8))
    everything = [*range(len(all_items.codes))]
    kept = sorted(data.draw(st.sets(st.sampled_from(everything), min_size=1)))
    rest = [all_items.columns["ids"][place] for place in everything if place not in kept]
    found = all_items.gallery(everything, *bits).without(rest).compacted()
    expected = all_items.gallery(kept, *bits)
    assert_same(found, expected)
    names = {*found.content.datasets}
    # A column in which no item has anything is left out; from_codes keeps one of paths.
    empty = {"items/path"} if not any(expected.paths()) else set()
    assert names == {*expected.content.datasets} - empty
    for name in names:
        assert found.content.datasets[name].nbytes == expected.content.datasets[name].nbytes


def test_without_refuses_an_id_that_is_not_there() -> None:
    gallery = small(ids=[*"abcd"])
    assert gallery.without(["b", "d"]).ids() == ["a", "c"]
    with pytest.raises(ArgumentError, match=r"1 of 2 ids are not in the gallery \(first: 'x'\)"):
        gallery.without(["a", "x"])
