"""A million items: tables, pieces and widths that small galleries do not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hashsearch.codes import hamming_distance
from hashsearch.gallery import Gallery, verify

if TYPE_CHECKING:
    from pathlib import Path

N_ITEMS, N_BITS, FINE_BITS = 1_000_000, 48, 64
RADIUS, K = 2, 25


@pytest.mark.parametrize("n_codes", [500, N_ITEMS])
def test_a_million_items_are_searched_as_brute_force_does(n_codes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(n_codes)
    codes = rng.integers(0, 256, (N_ITEMS, (N_BITS + FINE_BITS) // 8), dtype=np.uint8)
    centres = codes[:n_codes, : N_BITS // 8].copy()
    centres[1::2] = centres[::2] ^ np.array(
        [1, 0, 0, 0, 0, 2], np.uint8
    )  # within the radius of each other
    codes[:, : N_BITS // 8] = centres[rng.integers(0, n_codes, N_ITEMS)]
    Gallery.from_codes(codes, n_bits=N_BITS, fine_bits=FINE_BITS).save(tmp_path / "million.h5")
    assert all(check.ok for check in verify(tmp_path / "million.h5"))

    gallery = Gallery.open(tmp_path / "million.h5")
    queries = codes[:: N_ITEMS // 4].copy()
    queries[0, 0] ^= 0b111  # out of reach of its own centre
    nearest = gallery.nearest(queries, k=K, radius=RADIUS)
    within = gallery.within(queries, radius=RADIUS)
    distance = hamming_distance(queries[:, : N_BITS // 8], codes[:, : N_BITS // 8])
    full = hamming_distance(queries, codes)
    for number in range(len(queries)):
        ball = np.flatnonzero(distance[number] <= RADIUS)
        one = within[number]
        assert np.array_equal(np.sort(np.array(one.ids, int)), ball)
        assert one.full_distance.tolist() == np.sort(full[number, ball]).tolist()
        assert within.ball_size[number] == nearest.ball_size[number] == len(ball)
        key = np.maximum(distance[number] - RADIUS, 0) * 1000 + full[number]
        best = np.lexsort((np.arange(N_ITEMS).astype("S"), key))[:K]
        assert [int(name) for name in nearest[number].ids] == best.tolist()
