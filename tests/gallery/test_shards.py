"""A sharded gallery against one file with the same items, and what its folder goes through."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gallery_search import Case, cases, listed, make_case

from hashsearch.errors import (
    ArgumentError,
    EncoderMismatch,
    GalleryBusy,
    GalleryDamaged,
    GalleryError,
    GalleryMissing,
    GalleryWriteError,
)
from hashsearch.gallery import Gallery, ShardedGallery, changing, verify, write_shards
from hashsearch.gallery.distinct import nearest_others
from hashsearch.gallery.lock import locked
from hashsearch.gallery.shards import ShardedContent, items_per_code

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.gallery import Matches


def parted(case: Case, shard_of: list[int]) -> ShardedGallery:
    """The items of a case in shards, in memory."""
    at = np.array(shard_of)
    shards = [
        Gallery.from_codes(
            case.codes[at == number],
            n_bits=case.n_bits,
            fine_bits=case.fine_bits,
            ids=[id_ for id_, place in zip(case.ids, shard_of, strict=True) if place == number],
        ).content
        for number in sorted({*shard_of})
    ]
    return ShardedGallery(
        ShardedContent.of(
            shards,
            n_distinct=len(items_per_code(shards)),
            encoder_fingerprint=None,
            encoder_name=None,
            created="",
            path=None,
        )
    )


def assert_same(one: Matches, other: Matches) -> None:
    assert listed(one) == listed(other)
    assert one.ball_size.tolist() == other.ball_size.tolist()
    assert one.in_ball.tolist() == other.in_ball.tolist()
    assert one.missing == ()


@settings(max_examples=100, deadline=None)
@given(case=cases(), data=st.data())
def test_any_shards_answer_as_one_file_does(case: Case, data: st.DataObject) -> None:
    n_items = len(case.ids)
    shard_of = data.draw(st.lists(st.integers(0, 5), min_size=n_items, max_size=n_items))
    radius = data.draw(st.integers(0, case.n_bits + 8), label="radius")
    k = data.draw(st.integers(1, n_items + 5), label="k")
    whole, shards = case.gallery, parted(case, shard_of)
    assert_same(
        shards.nearest(case.queries, k=k, radius=radius),
        whole.nearest(case.queries, k=k, radius=radius),
    )
    for limit in (None, 0, k):
        assert_same(
            shards.within(case.queries, radius=radius, limit=limit),
            whole.within(case.queries, radius=radius, limit=limit),
        )
    unranked = shards.within(case.queries, radius=radius, ranked=False)
    by_row = whole.within(case.queries, radius=radius, ranked=False)
    assert [*map(sorted, listed(unranked))] == [*map(sorted, listed(by_row))]
    assert all((np.diff(one.rows) > 0).all() for one in unranked)
    assert (len(shards), shards.n_distinct) == (n_items, whole.n_distinct)
    # Rows count through the shards, so look-ups by row agree with one another.
    np.testing.assert_array_equal(
        shards.codes(shards.content.rows_of(case.ids)), whole.codes(whole.content.rows_of(case.ids))
    )
    assert shards.ids(shards.content.rows_of(case.ids)) == case.ids
    assert listed(shards.joined().nearest(case.queries, k=k, radius=radius)) == listed(
        whole.nearest(case.queries, k=k, radius=radius)
    )


@pytest.fixture
def shop() -> Gallery:
    """300 items with all that an item can have."""
    case = make_case(1, 300, 12, n_bits=32, fine_bits=16, n_queries=0, flip=0.03)
    names = [*"abcdefghij"]
    return Gallery.from_codes(
        case.codes,
        n_bits=32,
        fine_bits=16,
        ids=case.ids,
        labels=[None if n % 7 == 0 else names[n % 10] for n in range(300)],
        paths=[f"/photos/{n}.jpg" if n % 2 else None for n in range(300)],
        thumbnails=[b"jpeg %d" % n if n % 3 else None for n in range(300)],
        columns={
            "item": [str(n // 3) for n in range(300)],
            "rare": ["yes" if n == 5 else None for n in range(300)],
        },
        encoder_fingerprint="f" * 64,
        encoder_name="tiny",
    )


@pytest.fixture
def folder(shop: Gallery, tmp_path: Path) -> Path:
    write_shards([shop], tmp_path / "shop.shards", 4)
    return tmp_path / "shop.shards"


def facts_by_id(gallery: Gallery) -> dict[str, list[Any]]:
    rows = range(len(gallery))
    columns = [gallery.column(name) for name in gallery.column_names]
    return {
        id_: facts
        for id_, *facts in zip(
            gallery.ids(),
            gallery.labels(),
            gallery.paths(),
            [code.tobytes() for code in gallery.codes()],
            map(gallery.thumbnail, rows),
            *columns,
            strict=True,
        )
    }


def test_a_folder_opens_as_the_gallery_that_it_was_made_of(shop: Gallery, folder: Path) -> None:
    opened = Gallery.open(folder)
    assert isinstance(opened, ShardedGallery)
    assert facts_by_id(opened) == facts_by_id(shop)
    assert [len(shard) for shard in opened.shards] == [75] * 4
    assert opened.column_names == shop.column_names
    assert opened.path == folder
    assert opened.has_thumbnails
    assert opened.indexes == shop.indexes
    opened.check_encoder("f" * 64)
    with pytest.raises(EncoderMismatch, match=r"shop\.shards was built with encoder ffffffffffff"):
        opened.check_encoder("0" * 64)
    queries = shop.codes([0, 17, 250])
    assert_same(opened.nearest(queries, k=20), shop.nearest(queries, k=20))
    matches = opened.nearest(queries, k=20)
    assert matches.labels == shop.nearest(queries, k=20).labels
    assert matches[1].paths == shop.nearest(queries, k=20)[1].paths


def test_each_code_is_dealt_evenly(folder: Path) -> None:
    opened = Gallery.open(folder)
    assert isinstance(opened, ShardedGallery)
    sizes = np.array(
        [shard.within(opened.codes(), radius=0, limit=0).ball_size for shard in opened.shards]
    )
    assert (sizes.max(axis=0) - sizes.min(axis=0)).max() <= 1


def test_info_tells_of_all_shards_what_it_tells_of_one_file(shop: Gallery, folder: Path) -> None:
    told, of_one = Gallery.open(folder).info(), shop.info()
    for fact in (
        "items",
        "distinct_codes",
        "largest_bucket",
        "n_bits",
        "fine_bits",
        "encoder",
        "labels",
        "columns",
    ):
        assert told[fact] == of_one[fact]
    assert told["shards"] == {file.name: 75 for file in sorted(folder.glob("*.h5"))}
    assert told["file_bytes"] == sum(file.stat().st_size for file in folder.glob("*.h5"))
    assert {*told} == {*of_one, "shards"}
    json.dumps(told)


def test_some_of_the_items_are_those_of_one_file(shop: Gallery, folder: Path) -> None:
    opened = Gallery.open(folder)
    queries = shop.codes([3, 4])
    ids = shop.ids()[:40]
    for some in (
        {"labels": ["a", "c"]},
        {"where": {"rare": ["yes"]}},  # in one shard
        {"ids": ids, "without_ids": [*ids[:5], "nobody"]},
    ):
        assert_same(
            opened.only(**some).nearest(queries, k=9),
            shop.only(**some).nearest(queries, k=9),
        )
    twice = opened.only(labels=["a", "c"]).only(ids=opened.only(labels=["c"]).ids())
    assert sorted(twice.ids()) == sorted(shop.only(labels=["c"]).ids())
    assert twice.n_distinct == shop.only(labels=["c"]).n_distinct
    assert sorted(opened.without(ids).ids()) == sorted(shop.without(ids).ids())
    with pytest.raises(ArgumentError, match="no item of the gallery has the label 'z'; there are"):
        opened.only(labels=["z"])
    with pytest.raises(ArgumentError, match="no item is left"):
        opened.only(labels=["a"], where={"rare": ["yes"]})
    with pytest.raises(ArgumentError, match=r"1 of 2 ids are not in the gallery \(first: 'no'\)"):
        opened.only(ids=[ids[0], "no"])
    with pytest.raises(ArgumentError, match="ids are in the gallery already"):
        opened.check_new(["new", ids[0]])


def test_each_article_is_found_once(shop: Gallery, folder: Path) -> None:
    opened = Gallery.open(folder)
    queries = shop.codes([3, 4])
    found = nearest_others(opened, queries, 8, distinct=True)
    expected = nearest_others(shop, queries, 8, distinct=True)
    assert [each.ids for each in found] == [each.ids for each in expected]


def test_galleries_become_shards_or_are_dealt_anew(shop: Gallery, tmp_path: Path) -> None:
    first, rest = shop.only(labels=["a"]), shop.without(shop.only(labels=["a"]).ids())
    as_they_are = write_shards([first, rest], tmp_path / "two")
    assert [len(shard) for shard in as_they_are.shards] == [len(first), len(rest)]
    assert facts_by_id(as_they_are) == facts_by_id(shop)
    dealt = write_shards([as_they_are], tmp_path / "three", 3)
    assert [len(shard) for shard in dealt.shards] == [100, 100, 100]
    assert facts_by_id(dealt) == facts_by_id(shop)
    again = write_shards([dealt.only(labels=["a"]), rest], tmp_path / "four")
    assert len(again.shards) == 4
    assert facts_by_id(again) == facts_by_id(shop)
    assert facts_by_id(write_shards([first, rest], tmp_path / "one", 1)) == facts_by_id(shop)


def test_what_cannot_be_sharded_is_refused(shop: Gallery, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="go into 1 to 300 shards, not 301"):
        write_shards([shop], tmp_path / "x", 301)
    with pytest.raises(ArgumentError, match="go into 1 to 300 shards, not 0"):
        write_shards([shop], tmp_path / "x", 0)
    with pytest.raises(ArgumentError, match="no gallery to shard"):
        write_shards([], tmp_path / "x")
    some = shop.only(ids=shop.ids()[:2])
    with pytest.raises(ArgumentError, match=r"2 ids are in more than one of the galleries"):
        write_shards([shop, some], tmp_path / "x")
    codes = np.zeros((1, 6), np.uint8)
    other = Gallery.from_codes(codes, n_bits=32, fine_bits=16, encoder_fingerprint="0" * 64)
    unknown = Gallery.from_codes(codes, n_bits=32, fine_bits=16)
    for galleries in ([shop, other], [unknown, other, shop]):
        with pytest.raises(EncoderMismatch):
            write_shards(galleries, tmp_path / "x")
    short = Gallery.from_codes(codes, n_bits=48, fine_bits=0)
    with pytest.raises(ArgumentError, match="cannot be merged"):
        write_shards([shop, short], tmp_path / "x")
    assert not (tmp_path / "x").exists()
    opened = write_shards([unknown, shop], tmp_path / "x")
    assert opened.encoder_fingerprint == "f" * 64


def test_a_folder_of_somebody_else_is_left_alone(shop: Gallery, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(GalleryWriteError, match=r"photos: a\.jpg is there"):
        write_shards([shop], tmp_path / "photos", 2)
    with pytest.raises(GalleryWriteError, match=r"a\.jpg is there"):
        write_shards([shop], tmp_path / "photos" / "a.jpg", 2)
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    with pytest.raises(GalleryMissing, match=r"photos is a folder without manifest\.json"):
        Gallery.open(tmp_path / "photos")


def test_a_folder_is_replaced_in_one_step_and_readers_go_on(shop: Gallery, folder: Path) -> None:
    before = Gallery.open(folder)
    # What a writer that was killed leaves.
    (folder / "0001-00000000.h5").write_bytes(b"half")
    (folder / ".0001-00000000.h5.77.tmp").write_bytes(b"half")
    (folder / "manifest.json.lock").write_bytes(b"")
    assert facts_by_id(Gallery.open(folder)) == facts_by_id(shop)
    smaller = write_shards([shop.only(labels=["a"])], folder, 2)
    assert len(Gallery.open(folder)) == len(smaller) < 100
    assert len([*folder.iterdir()]) == 3
    assert facts_by_id(before) == facts_by_id(shop)


def test_a_failure_leaves_what_was_there(
    shop: Gallery, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(folder.iterdir())

    def stops(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards([shop], folder, 2, on_progress=stops)
    assert sorted(folder.iterdir()) == files
    with locked(folder / "manifest.json"), pytest.raises(GalleryBusy, match="another process"):
        write_shards([shop], folder, 2)
    assert facts_by_id(Gallery.open(folder)) == facts_by_id(shop)


def test_a_missing_or_another_shard_is_named(shop: Gallery, folder: Path) -> None:
    first, second = sorted(folder.glob("*.h5"))[:2]
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(GalleryMissing, match=f"lacks its shard {second.name}; copy that file"):
        Gallery.open(folder)
    second.write_bytes(first.read_bytes())  # whole, but not the one
    with pytest.raises(GalleryDamaged, match=f"{second.name} is not the shard"):
        Gallery.open(folder)
    second.write_bytes(content[:-1])
    with pytest.raises(GalleryDamaged, match=f"{second.name} is damaged"):
        Gallery.open(folder)
    second.write_bytes(content)
    assert all(check.ok for check in verify(folder))
    altered = bytearray(content)
    at = content.index(shop.codes(shop.content.rows_of([Gallery.open(second).ids([40])[0]]))[0, 4:])
    altered[at] ^= 1
    second.write_bytes(altered)
    damaged = [check.dataset for check in verify(folder) if not check.ok]
    assert len(damaged) == 1
    assert damaged[0].startswith(f"{second.name}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": []}, "it names no shard"),
        ({"shards": None}, "shards is None"),
        ({"format": "other"}, "its format is 'other'"),
        ({"format_version": 0}, "version 0, but this hashsearch reads version 1; make"),
        ({"format_version": 2}, "version 2, but this hashsearch reads version 1; upgrade"),
        ({"n_bits": 48}, "is not the shard that manifest.json means"),
        ({"encoder_fingerprint": "0"}, "is not the shard that manifest.json means"),
        ({"n_bits": "32"}, "n_bits is '32'"),
    ],
)
def test_a_manifest_that_is_altered_is_refused(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    with pytest.raises(GalleryDamaged, match=message):
        Gallery.open(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"null", b'{"format_version": 1}'])
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(GalleryDamaged, match=r"manifest\.json is damaged .* `hashsearch shard`"):
        Gallery.open(folder)


def test_a_manifest_opens_nothing_outside_its_folder(folder: Path) -> None:
    manifest = folder / "manifest.json"
    record = json.loads(manifest.read_text())
    record["shards"][0]["file"] = "../other.h5"
    manifest.write_text(json.dumps(record))
    with pytest.raises(GalleryDamaged, match="is no name of a file"):
        Gallery.open(folder)


def test_what_takes_one_file_says_so(folder: Path, tmp_path: Path) -> None:
    opened = Gallery.open(folder)
    with pytest.raises(GalleryError, match=r"shop\.shards is in shards, and this takes one file"):
        opened.save(tmp_path / "one.h5")
    assert not (tmp_path / "one.h5").exists()
    with pytest.raises(GalleryError, match="is in shards"):
        opened.compacted()
    with pytest.raises(GalleryWriteError, match=r"shop\.shards: it is in shards"), changing(folder):
        pass
    joined = opened.joined()
    joined.indexed().save(tmp_path / "one.h5")
    assert facts_by_id(Gallery.open(tmp_path / "one.h5")) == facts_by_id(opened)
    assert joined.joined() is joined
