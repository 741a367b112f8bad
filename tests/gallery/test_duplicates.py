"""Groups of near-identical items against brute force, and the order that they come in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashsearch.codes import hamming_distance, pack_bits
from hashsearch.errors import ArgumentError
from hashsearch.gallery import Gallery, search_threads
from hashsearch.gallery import duplicates as module
from hashsearch.gallery.duplicates import Duplicates, find_duplicates

Codes = npt.NDArray[np.uint8]


def bunched(seed: int, n_items: int, n_bits: int, n_centres: int, flip: float) -> Codes:
    """Codes around a few centres; a part of the bits is nearly the same in all of them."""
    rng = np.random.default_rng(seed)
    skew = rng.choice([0.02, 0.5], n_bits)
    centres = rng.random((n_centres, n_bits)) < skew
    near = centres[rng.integers(0, n_centres, n_items)]
    return pack_bits(near ^ (rng.random(near.shape) < flip))


def expected(gallery: Gallery, max_distance: int) -> list[list[str]]:
    """The groups, each grown from an item by looking at all others."""
    near = hamming_distance(gallery.codes(), gallery.codes()) <= max_distance
    left = set(range(len(gallery)))
    groups = []
    while left:
        group = {min(left)}
        while (grown := set(np.flatnonzero(near[sorted(group)].any(axis=0)).tolist())) != group:
            group = grown
        left -= group
        if len(group) > 1:
            groups.append(sorted(gallery.ids(sorted(group)), key=str.encode))
    return sorted(groups, key=lambda ids: (-len(ids), ids[0].encode()))


def ids(found: Duplicates, gallery: Gallery) -> list[list[str]]:
    return [gallery.ids(rows) for rows in np.split(found.rows, found.offsets[1:-1]) if len(rows)]


def check(gallery: Gallery, max_distance: int) -> None:
    found = find_duplicates(gallery, max_distance)
    assert ids(found, gallery) == expected(gallery, max_distance)
    codes = gallery.codes()
    distance = hamming_distance(codes, codes)
    firsts = [rows[0] for rows in np.split(found.rows, found.offsets[1:-1]) if len(rows)]
    heads = np.repeat(np.array(firsts, np.int64), found.sizes)
    assert found.distance.tolist() == distance[heads, found.rows].tolist()


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_items=st.integers(1, 80),
    n_bytes=st.integers(1, 32),
    fine_bytes=st.integers(0, 31),
    n_centres=st.integers(1, 30),
    flip=st.sampled_from([0.0, 0.01, 0.03, 0.1, 0.5]),
    max_distance=st.one_of(st.integers(0, 8), st.integers(9, 300)),
)
def test_groups_are_those_of_brute_force(
    *,
    seed: int,
    n_items: int,
    n_bytes: int,
    fine_bytes: int,
    n_centres: int,
    flip: float,
    max_distance: int,
) -> None:
    fine_bytes = min(fine_bytes, n_bytes - 1)
    codes = bunched(seed, n_items, 8 * n_bytes, n_centres, flip)
    names = [f"{letter}{number}" for number in range(n_items) for letter in "aé€𝄞Z"]
    gallery = Gallery.from_codes(
        codes,
        n_bits=8 * (n_bytes - fine_bytes),
        fine_bits=8 * fine_bytes,
        ids=np.random.default_rng(seed).permutation(names)[:n_items].tolist(),
        indexes=(),
    )
    check(gallery, max_distance)


def pairwise(gallery: Gallery, max_distance: int) -> list[list[str]]:
    """What :func:`expected` gives, of more items: each takes the least number near it."""
    codes = gallery.codes()
    near = hamming_distance(codes, codes) <= max_distance
    number = np.arange(len(codes))
    while True:
        least = np.where(near, number, len(codes)).min(axis=1)
        if (least == number).all():
            break
        number = least
    groups = [np.flatnonzero(number == each) for each in np.unique(number)]
    named = [sorted(gallery.ids(rows), key=str.encode) for rows in groups if len(rows) > 1]
    return sorted(named, key=lambda names: (-len(names), names[0].encode()))


@pytest.mark.parametrize("max_distance", [1, 2, 4, 8, 20])
@pytest.mark.parametrize("n_bits", [32, 96, 200])
@pytest.mark.parametrize("flip", [0.01, 0.04])
def test_large_buckets_and_all_ways_to_cut_the_work_agree(
    max_distance: int, n_bits: int, flip: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.from_codes(
        bunched(0, 1500, n_bits, 60, flip), n_bits=n_bits, fine_bits=0, indexes=()
    )
    wanted = pairwise(gallery, max_distance)
    assert ids(find_duplicates(gallery, max_distance), gallery) == wanted
    for limits in (
        {"_LARGE_BUCKET": 3, "_TILE_PAIRS": 64, "_TILE_ROWS": 3, "_PAIRS_AT_ONCE": 1 << 19},
        {"_RUN_PAIRS": 50, "_PAIRS_AT_ONCE": 150, "_EDGES_AT_ONCE": 5, "_LARGE_BUCKET": 10_000},
        {"_SAMPLE": 100},
        {"_SORTED": 0.01},  # so many sortings, and a first look
        {"_WORTH_A_LOOK": 0},
        {"_SORTED": 1e9},  # so brute force
    ):
        with monkeypatch.context() as patch:
            for name, value in limits.items():
                patch.setattr(module, name, value)
            assert ids(find_duplicates(gallery, max_distance), gallery) == wanted, limits


def test_one_thread_finds_what_two_do() -> None:
    gallery = Gallery.from_codes(bunched(1, 5000, 64, 900, 0.03), n_bits=64, fine_bits=0)
    found = []
    for threads in (1, 2):
        with search_threads(threads):
            found.append(find_duplicates(gallery, 3))
    assert len(found[0])
    for name in ("offsets", "rows", "distance"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


def test_a_pair_may_differ_in_any_bits() -> None:
    # Each pair is alone, and differs in bits of its own: all of them must be looked for.
    rng = np.random.default_rng(0)
    ones = rng.integers(0, 2, (2000, 96))
    others = ones.copy()
    for other in others:
        other[rng.choice(96, 4, replace=False)] ^= 1
    codes = pack_bits(np.concatenate([ones, others]))
    gallery = Gallery.from_codes(codes, n_bits=32, fine_bits=64)
    found = find_duplicates(gallery, 4)
    assert found.sizes.tolist() == [2] * 2000
    assert found.distance.tolist() == [0, 4] * 2000
    assert len(find_duplicates(gallery, 3)) == 0


def chain() -> Gallery:
    """a, b, c, d: each a bit from the next; two of one code, and one alone."""
    codes = np.array([[0], [1], [3], [7], [0b11110000], [0b11110000], [0b11000011]], np.uint8)
    return Gallery.from_codes(codes, n_bits=8, fine_bits=0, ids=[*"abcdyxz"])


def test_a_chain_is_one_group_and_says_how_far_it_leads() -> None:
    gallery = chain()
    found = find_duplicates(gallery, 1)
    assert ids(found, gallery) == [[*"abcd"], [*"xy"]]
    assert found.distance.tolist() == [0, 1, 2, 3, 0, 0]
    assert found.distance.dtype == np.int32
    assert found.widest.tolist() == [3, 0]
    assert found.sizes.tolist() == [4, 2]
    assert found.group.tolist() == [0, 0, 0, 0, 1, 1]
    assert gallery.ids(found.extras) == [*"bcdy"]
    assert found.max_distance == 1


def test_equal_codes_are_duplicates_and_others_are_not() -> None:
    gallery = chain()
    assert ids(find_duplicates(gallery), gallery) == [[*"xy"]]
    alone = find_duplicates(gallery.without(["x"]))
    assert len(alone) == len(alone.rows) == len(alone.extras) == len(alone.widest) == 0
    assert alone.offsets.tolist() == [0]


def test_the_fine_code_counts_as_the_semantic_one_does() -> None:
    codes = np.array([[5, 0], [5, 1], [4, 0], [5, 0]], np.uint8)
    gallery = Gallery.from_codes(codes, n_bits=8, fine_bits=8, ids=[*"abcd"])
    assert ids(find_duplicates(gallery), gallery) == [[*"ad"]]
    assert ids(find_duplicates(gallery, 1), gallery) == [[*"abcd"]]


def test_many_items_of_one_code_are_one_point() -> None:
    codes = np.zeros((200_000, 2), np.uint8)
    codes[-1] = 1
    found = find_duplicates(Gallery.from_codes(codes, n_bits=16, fine_bits=0), 2)
    assert found.sizes.tolist() == [200_000]
    assert found.widest.tolist() == [2]


@pytest.mark.parametrize("max_distance", [-1, 1.5, "2"])
def test_a_distance_that_is_none_is_refused(max_distance: int) -> None:
    with pytest.raises(ArgumentError, match="max_distance must be"):
        find_duplicates(chain(), max_distance)
