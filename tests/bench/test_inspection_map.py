from __future__ import annotations

import numpy as np

from hashsearch.bench.inspection.code_map import map_codes, scale_to_plane
from hashsearch.codes import hamming_distance, pack_bits
from hashsearch.gallery import Gallery


def test_what_fits_on_a_plane_is_laid_out_true() -> None:
    grid = np.array([[x, y] for x in range(5) for y in range(4)])
    # Right-angled triangles of 3, 4 and 5.
    distance = np.rint(np.linalg.norm((grid[:, None] - grid[None]) * [3, 4], axis=-1)).astype(
        np.int32
    )
    items = np.arange(1, len(grid) + 1)
    places, shown = scale_to_plane(distance, items, np.random.default_rng(0))
    assert shown > 0.99
    on_map = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.testing.assert_allclose(on_map, distance, atol=0.6)
    np.testing.assert_allclose(items @ places, 0, atol=1e-6)


def test_types_of_equal_distance_are_not_laid_on_one_heap() -> None:
    codes = pack_bits(np.kron(np.eye(8), np.ones((1, 4))))
    distance = hamming_distance(codes, codes)
    places, _ = scale_to_plane(distance, np.ones(8, np.int64), np.random.default_rng(0))
    on_map = np.linalg.norm(places[:, None] - places[None], axis=-1) + 100 * np.eye(8)
    assert on_map.min() > 2


def test_the_layout_is_nearer_the_wanted_distances_than_where_it_began() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (60, 2), np.uint8)
    distance, items = hamming_distance(codes, codes), rng.integers(1, 9, 60)

    def stress(places: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
        on_map = np.linalg.norm(places[:, None] - places[None], axis=-1)
        return float(np.sum(np.outer(items, items) * (distance - on_map) ** 2))

    bits = np.unpackbits(codes, axis=1).astype(float)
    centred = (bits - np.average(bits, axis=0, weights=items)) * np.sqrt(items)[:, None]
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    places, shown = scale_to_plane(distance, items, rng)
    assert stress(places) < 0.7 * stress(bits @ axes.T)
    assert 0 < shown < 1


def test_a_map_has_every_code_with_its_items_and_most_frequent_type() -> None:
    codes = np.repeat(np.array([[0], [1], [255]], np.uint8), [5, 2, 1], axis=0)
    labels = ["coat", "bag", "coat", None, None, "bag", "bag", None]
    drawn = map_codes(Gallery.from_codes(codes, n_bits=8, fine_bits=0, labels=labels))
    assert drawn.items.tolist() == [5, 2, 1]
    assert [drawn.names[kind] if kind >= 0 else None for kind in drawn.types] == [
        "coat",
        "bag",
        None,
    ]
    assert drawn.n_distinct == 3
    near, far = (np.linalg.norm(drawn.places[0] - drawn.places[other]) for other in (1, 2))
    assert near < far


def test_of_many_codes_a_sample_that_the_seed_chooses_is_shown() -> None:
    codes = np.arange(1_000, dtype=np.uint16)[:, None].view(np.uint8)
    gallery = Gallery.from_codes(codes, n_bits=16, fine_bits=0, indexes=[])
    first, again, other = (map_codes(gallery, seed=seed) for seed in (0, 0, 1))
    assert len(first.items) == 600
    assert first.n_distinct == 1_000
    np.testing.assert_array_equal(first.places, again.places)
    assert not np.array_equal(first.places, other.places)


def test_one_code_is_one_point() -> None:
    drawn = map_codes(Gallery.from_codes(np.zeros((3, 1), np.uint8), n_bits=8, fine_bits=0))
    assert drawn.places.tolist() == [[0, 0]]
    assert np.isnan(drawn.shown)
