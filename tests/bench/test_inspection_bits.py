from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashsearch.bench.inspection.bits import Bits, measure_bits
from hashsearch.codes import pack_bits, unpack_bits
from hashsearch.gallery import Gallery


def bits_of(bits: np.ndarray[tuple[int, int], np.dtype[np.bool_]], n_bits: int) -> Bits:
    gallery = Gallery.from_codes(
        pack_bits(bits), n_bits=n_bits, fine_bits=bits.shape[1] - n_bits, indexes=[]
    )
    return measure_bits(gallery)


@given(st.integers(2, 60), st.sampled_from([0, 8]), st.integers(0, 2**32 - 1))
def test_bits_are_what_numpy_says_of_all_items(n_items: int, fine_bits: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 256, (n_items, 1 + fine_bits // 8), np.uint8)
    measured = measure_bits(Gallery.from_codes(codes, n_bits=8, fine_bits=fine_bits, indexes=[]))
    bits = unpack_bits(codes).astype(float)
    assert measured.n_items == n_items
    np.testing.assert_allclose(measured.ones, bits.mean(axis=0))
    np.testing.assert_allclose(
        measured.covariance, np.cov(bits, rowvar=False, ddof=0), rtol=0, atol=1e-12
    )
    changing = np.flatnonzero(bits.std(axis=0))
    own = measured.correlation[np.ix_(changing, changing)]
    expected = np.corrcoef(bits[:, changing], rowvar=False)
    np.testing.assert_allclose(own, np.atleast_2d(expected), rtol=0, atol=1e-9)


def test_what_constant_balanced_and_repeated_bits_are_told_by() -> None:
    first = np.arange(64) % 2 == 0
    bits = np.zeros((64, 8), bool)
    bits[:, 1], bits[:, 2], bits[:, 3] = first, ~first, np.arange(64) % 4 < 2
    measured = bits_of(bits, 8)
    assert measured.minority.tolist() == [0, 0.5, 0.5, 0.5, 0, 0, 0, 0]
    assert measured.entropy.tolist() == [0, 1, 1, 1, 0, 0, 0, 0]
    assert np.isnan(measured.correlation[0, 1])
    ((first_bit, other, r),) = measured.alike(slice(0, 8), 0.95)
    assert (first_bit, other, round(r, 9)) == (1, 2, -1)
    # Two spread as one, twice as far: (2 v + v)**2 over (2 v)**2 + v**2.
    assert measured.effective(slice(0, 8)) == pytest.approx(9 / 5)


def test_independent_bits_all_count_and_constant_ones_do_not() -> None:
    every = unpack_bits(np.arange(256, dtype=np.uint8)[:, None])
    bits = np.hstack([every, np.ones((256, 8), bool)])
    measured = bits_of(bits, 8)
    assert list(measured.parts) == ["semantic", "fine"]
    assert measured.effective(measured.parts["semantic"]) == pytest.approx(8)
    assert measured.effective(measured.parts["fine"]) == 0


def test_pairs_of_fine_bits_are_at_their_places_in_the_whole_code() -> None:
    rng = np.random.default_rng(0)
    bits = rng.random((200, 24)) < 0.5
    bits[:, 20] = bits[:, 10]
    measured = bits_of(bits, 8)
    assert [pair[:2] for pair in measured.alike(measured.parts["fine"], 0.95)] == [(10, 20)]
    assert measured.alike(measured.parts["semantic"], 0.95) == []


def test_a_part_that_is_not_there_is_none() -> None:
    assert list(bits_of(np.eye(8, dtype=bool), 8).parts) == ["semantic"]
