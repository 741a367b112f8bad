"""Hash tables against brute force, what they are stored as, and when a scan is taken instead."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from hashsearch.codes import hamming_distance
from hashsearch.errors import GalleryDamaged
from hashsearch.gallery import Gallery, hamming_index, ranking
from hashsearch.gallery import multi_index as multi_index_module
from hashsearch.gallery.multi_index import MultiIndex, code_words, distances, table_datasets

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.gallery import Matches

Codes = npt.NDArray[np.uint8]


def bunched(n_codes: int, n_bits: int, seed: int = 0) -> Codes:
    """Distinct codes, half of them near a few centres, so that some buckets are large."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n_codes, n_bits // 8), dtype=np.uint8)
    near = codes[: n_codes // 2]
    near[:] = near[rng.integers(0, min(5, len(near)), len(near))]
    near[np.arange(len(near)), rng.integers(0, n_bits // 8, len(near))] ^= rng.integers(
        0, 256, len(near), dtype=np.uint8
    )
    return np.unique(codes, axis=0)


def multi_index(codes: Codes) -> MultiIndex:
    words, n_bits = code_words(codes), 8 * codes.shape[1]
    return MultiIndex(words, n_bits, table_datasets(codes))


@pytest.mark.parametrize("n_bits", [8, 24, 40, 64, 72, 136, 256])
@pytest.mark.parametrize("flips", [0, 1, 3])
def test_every_code_within_the_certified_radius_is_found_once(n_bits: int, flips: int) -> None:
    codes = bunched(900, n_bits)
    queries = np.concatenate([codes[::300], bunched(3, n_bits, seed=1)])
    tables = multi_index(codes)
    radius = tables.certified(flips)
    found, answered = tables.search(code_words(queries), flips, radius, math.inf)
    distance = hamming_distance(queries, codes)
    query, place = np.nonzero(distance <= radius)
    assert answered.all()
    np.testing.assert_array_equal(found.query, query)
    np.testing.assert_array_equal(found.place, place)
    np.testing.assert_array_equal(found.distance, distance[query, place])


def test_many_candidates_are_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = bunched(900, 48)
    tables = multi_index(codes)
    queries = code_words(codes[::50])
    whole, _ = tables.search(queries, 1, 5, math.inf)
    monkeypatch.setattr("hashsearch.gallery.multi_index._CANDIDATES_AT_ONCE", 100)
    pieces, _ = tables.search(queries, 1, 5, math.inf)
    assert len(whole.place) > 100
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_flips_are_the_fewest_that_are_sure() -> None:
    tables = multi_index(bunched(3000, 64))
    for radius in range(65):
        flips = tables.flips(radius)
        assert tables.certified(flips) >= radius
        assert flips == 0 or tables.certified(flips - 1) < radius


def test_enough_codes_are_expected_within_the_flips_asked_for() -> None:
    codes = np.unique(np.random.default_rng(0).integers(0, 256, (20_000, 4), np.uint8), axis=0)
    tables = multi_index(codes)
    certified = tables.certified(tables.flips(0, 50))
    held = (hamming_distance(codes[:200], codes) <= certified).sum(axis=1)
    assert np.median(held) >= 50


def test_queries_whose_buckets_hold_too_much_are_left_to_a_scan() -> None:
    rng = np.random.default_rng(0)
    # Half of the codes have all but one byte in common: the buckets of those are full.
    codes = rng.integers(0, 256, (20_000, 6), dtype=np.uint8)
    codes[:10_000, :4] = 7
    codes = np.unique(codes, axis=0)
    crowded = np.full((1, 6), 7, np.uint8)
    alone = codes[np.flatnonzero((codes[:, :4] != 7).all(axis=1))[:1]]
    tables = multi_index(codes)
    queries = code_words(np.concatenate([crowded, alone]))
    found, answered = tables.search(queries, 0, 2, budget=len(codes))
    assert answered.tolist() == [False, True]
    assert (found.query == 1).all()


@pytest.mark.parametrize("n_bits", [8, 64, 192, 256])
@pytest.mark.parametrize("n_codes", [1, 40_000])
def test_distances_are_hamming_distances(n_bits: int, n_codes: int) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (n_codes, n_bits // 8), dtype=np.uint8)
    query = ~codes[:1]
    found = distances(code_words(codes), code_words(query)[:, 0])
    np.testing.assert_array_equal(found, hamming_distance(query, codes)[0])
    assert found[0] == n_bits


@pytest.fixture(scope="module")
def many_codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "many.h5"
    semantic = bunched(140_000, 48)
    fine = np.random.default_rng(2).integers(0, 256, (len(semantic), 2), dtype=np.uint8)
    Gallery.from_codes(np.hstack([semantic, fine]), n_bits=48, fine_bits=16).save(path)
    return path


@pytest.mark.parametrize("n_bits", [32, 64, 72])
def test_tables_of_a_file_find_what_a_scan_does(n_bits: int, tmp_path: Path) -> None:
    codes = bunched(140_000, n_bits)
    Gallery.from_codes(codes, n_bits=n_bits, fine_bits=0).save(tmp_path / "many.h5")
    opened = Gallery.open(tmp_path / "many.h5")
    assert "mih/places" in opened.content.datasets
    queries = np.concatenate([codes[::30_000], bunched(4, n_bits, seed=1)])
    for index in ("auto", "mih"):
        for radius in (0, 3, 7):
            by_scan, by_tables = (
                opened.nearest(queries, k=10, radius=radius, index=way) for way in ("scan", index)
            )
            assert np.array_equal(by_tables.rows, by_scan.rows)
            assert np.array_equal(by_tables.ball_size, by_scan.ball_size)


def test_tables_that_take_longer_are_not_what_is_told() -> None:
    # All share most bits, so each bucket of most tables holds nearly all of them.
    codes = np.zeros((70_000, 6), np.uint8)
    codes[:, :3] = np.arange(70_000, dtype="<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    told = Gallery.from_codes(codes, n_bits=48, fine_bits=0).info()["search"]
    assert told.startswith("scan: 70,000 distinct codes in 3 hash tables")
    assert told.endswith("which takes longer for a radius of 2")


def test_many_codes_have_tables_and_few_have_none(many_codes: Path) -> None:
    opened = Gallery.open(many_codes)
    assert "mih/places" in opened.content.datasets
    assert opened.indexes == ()
    n_codes = f"{opened.n_distinct:,} distinct codes"
    share = opened._hamming_index._multi_index.bucket
    assert share > 2  # half of the codes bunch
    with_tables = (
        f"mih: {n_codes} in 3 hash tables of about 16 bits, where {share:,.0f} share a bucket; a "
        "scan for queries that would take longer so"
    )
    assert opened.info()["search"] == with_tables
    few = opened.only(ids=opened.ids(range(1000)))
    assert few.info()["search"] == (
        "scan: 1,000 distinct codes are compared in less time than hash tables take"
    )
    assert few.indexed().indexes == ("flat", "hash", "multihash")
    again = opened.only(without_ids=["none"])
    assert again.info()["search"] == (
        f"scan: {n_codes} without hash tables; `hashsearch compact` makes them"
    )
    assert again.indexed().info()["search"] == with_tables


def test_indexes_that_were_asked_for_are_told_from_those_by_default(many_codes: Path) -> None:
    opened = Gallery.open(many_codes)
    few = opened.only(ids=opened.ids(range(1000)))
    for gallery in (opened, few.indexed()):
        assert gallery.chosen_indexes is None
    for gallery in (opened, few):
        assert gallery.indexed(["flat"]).chosen_indexes == ("flat",)
    assert few.indexed(()).chosen_indexes == ()


def queries_of(gallery: Gallery, count: int) -> Codes:
    """Half of them codes of the gallery, half of them like none of it."""
    rows = np.arange(0, len(gallery), 2 * len(gallery) // count)
    others = np.random.default_rng(1).integers(0, 256, (count - len(rows), 8), dtype=np.uint8)
    return np.concatenate([gallery.codes(rows), others])


def assert_same(one: Matches, other: Matches) -> None:
    for name in ("offsets", "rows", "distance", "full_distance", "ball_size"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


@pytest.mark.parametrize("radius", [0, 2, 7])
def test_all_ways_agree_on_many_codes(many_codes: Path, radius: int) -> None:
    gallery = Gallery.open(many_codes)
    queries = queries_of(gallery, 40)
    for search in (
        partial(gallery.nearest, radius=radius, k=10),
        partial(gallery.within, radius=radius),
        partial(gallery.within, radius=radius, limit=3),
        partial(gallery.within, radius=radius, limit=0),
    ):
        expected = search(queries, index="scan")
        for index in ("auto", "mih", "flat"):
            assert_same(search(queries, index=index), expected)
        assert_same(search(queries[:1]), expected[0])


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"_QUERIES_AT_ONCE": 7, "_FIRST_QUERIES": 3},
        {"_RESULTS_AT_ONCE": 50},
        {"_FEW_ROWS": 20},
        {"_PROBES_AT_ONCE": 5, "_CANDIDATES_AT_ONCE": 9},
    ],
)
def test_batches_are_cut_without_a_trace(
    many_codes: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    gallery = Gallery.open(many_codes)
    queries = queries_of(gallery, 300)
    singly = [gallery.nearest(query[None], k=5, radius=3) for query in queries]
    for name, value in limits.items():
        for module in (hamming_index, multi_index_module, ranking):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    for index in ("auto", "mih", "scan"):
        together = gallery.nearest(queries, k=5, radius=3, index=index)
        assert len(together) == len(singly)
        for one, other in zip(together, singly, strict=True):
            assert_same(one, other)


def test_a_large_radius_is_scanned_a_few_queries_at_a_time(many_codes: Path) -> None:
    gallery = Gallery.open(many_codes)
    assert (gallery.within(queries_of(gallery, 20), 48, 0).ball_size == len(gallery)).all()


@pytest.mark.parametrize(
    "tables",
    [
        {"mih/places": np.zeros(5, np.uint32), "mih/offsets": np.zeros(257, np.uint32)},
        {"mih/places": np.zeros(0, np.uint32), "mih/offsets": np.zeros(1, np.uint32)},
        {"mih/places": np.zeros(4, np.uint32), "mih/offsets": np.zeros(17, np.uint32)},
        {"mih/places": np.zeros(4, np.uint32)},
    ],
)
def test_tables_of_another_shape_are_refused(
    tmp_path: Path, tables: dict[str, npt.NDArray[np.uint32]]
) -> None:
    content = Gallery.from_codes(
        np.arange(4, dtype=np.uint8)[:, None], n_bits=8, fine_bits=0
    ).content
    wrong = replace(content, datasets={**content.datasets, **tables})
    Gallery(wrong).save(tmp_path / "wrong.h5")
    with pytest.raises(GalleryDamaged, match=r"hash tables|mih/offsets"):
        Gallery.open(tmp_path / "wrong.h5")


def test_tables_are_checked_like_all_else(many_codes: Path, tmp_path: Path) -> None:
    data = bytearray(many_codes.read_bytes())
    places = Gallery.open(many_codes).content.datasets["mih/places"]
    at = data.index(places[:64].tobytes())
    data[at] ^= 1
    path = tmp_path / "damaged.h5"
    path.write_bytes(data)
    opened = Gallery.open(path)
    query = np.zeros((1, 8), np.uint8)
    assert len(opened.nearest(query, index="scan").rows) == 10
    with pytest.raises(GalleryDamaged, match="mih/places"):
        opened.nearest(query)


@pytest.mark.parametrize("n_bits", [24, 72])
def test_tables_are_made_a_few_codes_at_a_time(
    n_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = bunched(900, n_bits)
    expected = table_datasets(codes)
    monkeypatch.setattr("hashsearch.gallery.multi_index._CODES_AT_ONCE", 64)
    found = table_datasets(codes)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }


def test_long_codes_that_differ_in_more_bits_than_a_byte_counts_are_not_near() -> None:
    codes = bunched(900, 520)
    query = codes[:1].copy()
    codes[1] = query[0]
    codes[1, 33:] ^= 255  # 256 bits, none of the first substrings
    codes = np.unique(codes, axis=0)
    found, _ = multi_index(codes).search(code_words(query), 0, 5, math.inf)
    expected = hamming_distance(query, codes)[0]
    assert found.place.tolist() == np.flatnonzero(expected <= 5).tolist()
    assert found.distance.tolist() == expected[found.place].tolist()
