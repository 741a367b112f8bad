"""Hash tables against brute force, what they are stored as, and when a scan is taken instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from hashsearch.codes import hamming_distance
from hashsearch.errors import GalleryDamaged
from hashsearch.gallery import Gallery
from hashsearch.gallery.multi_index import MultiIndex, code_words, distances, table_datasets

if TYPE_CHECKING:
    from pathlib import Path

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
    return MultiIndex(words, n_bits, table_datasets(words, n_bits))


@pytest.mark.parametrize("n_bits", [8, 24, 40, 64, 72, 136, 256])
@pytest.mark.parametrize("flips", [0, 1, 3])
def test_every_code_within_the_certified_radius_is_found_once(n_bits: int, flips: int) -> None:
    codes = bunched(900, n_bits)
    queries = np.concatenate([codes[::300], bunched(3, n_bits, seed=1)])
    tables = multi_index(codes)
    radius = tables.certified(flips)
    found, answered = tables.search(code_words(queries), flips, radius, whatever_it_costs=True)
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
    whole, _ = tables.search(queries, 1, 5, whatever_it_costs=True)
    monkeypatch.setattr("hashsearch.gallery.multi_index._CANDIDATES_AT_ONCE", 100)
    pieces, _ = tables.search(queries, 1, 5, whatever_it_costs=True)
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
    found, answered = tables.search(code_words(np.concatenate([crowded, alone])), 0, 2)
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
    Gallery.from_codes(bunched(140_000, 48), n_bits=48, fine_bits=0).save(path)
    return path


def test_many_codes_have_tables_and_few_have_none(many_codes: Path) -> None:
    opened = Gallery.open(many_codes)
    assert "mih/places" in opened.content.datasets
    assert opened.indexes == ()
    assert opened.info()["search"].startswith("mih: ")
    few = opened.only(ids=opened.ids(range(1000)))
    assert few.info()["search"].startswith("scan: 1,000 distinct codes, few enough")
    assert few.indexed().indexes == ("flat", "hash", "multihash")
    without = opened.without(opened.ids([0]))
    assert "no tables" in without.info()["search"]
    assert without.indexed().info()["search"].startswith("mih: ")


@pytest.mark.parametrize("radius", [0, 2, 7])
def test_tables_scan_and_faiss_agree_on_many_codes(many_codes: Path, radius: int) -> None:
    gallery = Gallery.open(many_codes)
    rng = np.random.default_rng(1)
    queries = np.concatenate(
        [
            gallery.codes(np.arange(0, len(gallery), len(gallery) // 20)),
            rng.integers(0, 256, (20, 6), dtype=np.uint8),
        ]
    )
    expected = gallery.nearest(queries, k=10, radius=radius, index="scan")
    balls = gallery.within(queries, radius=radius, index="scan")
    for index in ("auto", "mih", "flat"):
        found = gallery.nearest(queries, k=10, radius=radius, index=index)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.ball_size, expected.ball_size)
        within = gallery.within(queries, radius=radius, index=index)
        np.testing.assert_array_equal(within.rows, balls.rows)
        np.testing.assert_array_equal(within.offsets, balls.offsets)
    alone = gallery.nearest(queries[:1], k=10, radius=radius)
    np.testing.assert_array_equal(alone.rows, expected[0].rows)


def test_tables_are_checked_like_all_else(many_codes: Path, tmp_path: Path) -> None:
    data = bytearray(many_codes.read_bytes())
    places = Gallery.open(many_codes).content.datasets["mih/places"]
    at = data.index(places[:64].tobytes())
    data[at] ^= 1
    path = tmp_path / "damaged.h5"
    path.write_bytes(data)
    opened = Gallery.open(path)
    query = np.zeros((1, 6), np.uint8)
    assert len(opened.nearest(query, index="scan").rows) == 10
    with pytest.raises(GalleryDamaged, match="mih/places"):
        opened.nearest(query)
