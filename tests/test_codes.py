from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from hashsearch import codes
from hashsearch.errors import ArgumentError, CodesError

Codes = npt.NDArray[np.uint8]


@st.composite
def code_sets(draw: st.DrawFn, sets: int) -> list[Codes]:
    """That many sets of codes ``uint8 (n, width)`` of one width."""
    width = draw(st.integers(1, 14))
    return [draw(arrays(np.uint8, (draw(st.integers(0, 8)), width))) for _ in range(sets)]


def as_integers(packed: Codes) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


# Packing


@given(st.integers(0, 5), st.integers(0, 16), st.data())
def test_unpacking_undoes_packing(n: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(arrays(bool, (n, 8 * width)))
    packed = codes.pack_bits(bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (n, width)
    assert_array_equal(codes.unpack_bits(packed), bits)


@given(code_sets(1))
def test_packing_undoes_unpacking(sets: list[Codes]) -> None:
    (packed,) = sets
    bits = codes.unpack_bits(packed)
    assert bits.dtype == np.bool_
    assert_array_equal(codes.pack_bits(bits), packed)


@given(st.lists(st.booleans(), min_size=16, max_size=16))
def test_bit_i_is_worth_2_to_the_i(bits: list[bool]) -> None:
    assert as_integers(codes.pack_bits([bits])) == [sum(2**i for i in range(16) if bits[i])]


@pytest.mark.parametrize("shape", [(8,), (2, 7), (1, 2, 8)])
def test_bits_that_fill_no_bytes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CodesError, match="multiple of 8"):
        codes.pack_bits(np.zeros(shape, dtype=bool))


@pytest.mark.parametrize(
    "array", [np.zeros((2, 1), dtype=np.int64), np.zeros(2, dtype=np.uint8), [[1, 2]]]
)
def test_only_packed_codes_can_be_unpacked(array: Any) -> None:
    with pytest.raises(CodesError, match="uint8"):
        codes.unpack_bits(array)


@given(code_sets(1), st.data())
def test_split_codes_puts_the_semantic_code_first(sets: list[Codes], data: st.DataObject) -> None:
    (packed,) = sets
    width = data.draw(st.integers(1, packed.shape[1]))
    semantic, fine = codes.split_codes(packed, 8 * width)
    assert semantic.shape[1] == width
    assert_array_equal(np.hstack([semantic, fine]), packed)
    assert_array_equal(codes.unpack_bits(semantic), codes.unpack_bits(packed)[:, : 8 * width])


# Distance


@given(code_sets(2))
def test_hamming_distance_counts_differing_bits(sets: list[Codes]) -> None:
    queries, gallery = sets
    distance = codes.hamming_distance(queries, gallery)
    assert distance.dtype == np.int32
    assert distance.shape == (len(queries), len(gallery))
    expected = [[bin(x ^ y).count("1") for y in as_integers(gallery)] for x in as_integers(queries)]
    assert distance.tolist() == expected


@given(code_sets(3))
def test_hamming_distance_is_a_metric(sets: list[Codes]) -> None:
    first, second, third = sets
    direct = codes.hamming_distance(first, third)
    to_second = codes.hamming_distance(first, second)
    from_second = codes.hamming_distance(second, third)
    detour = to_second[:, :, None] + from_second[None]
    assert np.all(direct[:, None, :] <= detour)
    assert_array_equal(to_second, codes.hamming_distance(second, first).T)
    itself = codes.hamming_distance(first, first)
    same = (first[:, None] == first[None]).all(axis=2)
    assert_array_equal(itself == 0, same)


@given(code_sets(2), st.data())
def test_the_distances_of_the_two_parts_add_up(sets: list[Codes], data: st.DataObject) -> None:
    queries, gallery = sets
    n_bits = 8 * data.draw(st.integers(1, queries.shape[1]))
    parts = zip(codes.split_codes(queries, n_bits), codes.split_codes(gallery, n_bits), strict=True)
    total = sum(codes.hamming_distance(*part) for part in parts)
    assert_array_equal(total, codes.hamming_distance(queries, gallery))


def test_opposite_codes_differ_in_every_bit() -> None:
    # More than a uint8 can count.
    zeros, ones = np.zeros((1, 40), dtype=np.uint8), np.full((1, 40), 255, dtype=np.uint8)
    assert codes.hamming_distance(zeros, ones).item() == 320


@pytest.mark.parametrize(
    ("queries", "gallery"), [((1, 6), (1, 14)), ((6,), (1, 6)), ((1, 6), (6,))]
)
def test_codes_that_cannot_be_compared_are_refused(
    queries: tuple[int, ...], gallery: tuple[int, ...]
) -> None:
    with pytest.raises(CodesError, match="cannot be compared"):
        codes.hamming_distance(np.zeros(queries, np.uint8), np.zeros(gallery, np.uint8))


# Checks


@pytest.mark.parametrize(("n_bits", "fine_bits"), [(8, 0), (48, 64), (256, 8)])
def test_whole_bytes_pass(n_bits: int, fine_bits: int) -> None:
    codes.check_bit_counts(n_bits, fine_bits)


@pytest.mark.parametrize(
    ("n_bits", "fine_bits", "said"),
    [
        (0, 0, "n_bits must be a positive multiple of 8, not 0"),
        (-8, 0, "n_bits .* not -8"),
        (12, 0, "n_bits .* not 12"),
        (48, -8, "fine_bits must be 0 or a multiple of 8, not -8"),
        (48, 7, "fine_bits .* not 7"),
    ],
)
def test_bit_counts_that_fill_no_bytes_are_refused(n_bits: int, fine_bits: int, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        codes.check_bit_counts(n_bits, fine_bits)


@given(code_sets(1))
def test_check_codes_returns_the_same_codes_contiguous(sets: list[Codes]) -> None:
    (packed,) = sets
    wide = np.repeat(packed, 2, axis=1)[:, ::2]
    checked = codes.check_codes(wide, n_bits=8, fine_bits=8 * packed.shape[1] - 8)
    assert checked.flags.c_contiguous
    assert_array_equal(checked, packed)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 14), dtype=np.int64), "not int64"),
        (np.zeros((3, 14), dtype=bool), "pack bits with hashsearch.codes.pack_bits"),
        (np.zeros(14, dtype=np.uint8), r"shape \(n, 14\)"),
        (np.zeros((3, 6), dtype=np.uint8), r"6 bytes wide, but 48 \+ 64 bits need 14"),
    ],
)
def test_check_codes_names_what_is_wrong(array: npt.NDArray[Any], said: str) -> None:
    with pytest.raises(CodesError, match=said):
        codes.check_codes(array, n_bits=48, fine_bits=64)
