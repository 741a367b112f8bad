from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashsearch.errors import ArgumentError
from hashsearch.training.objectives.centres import hash_centres


def distances(n_classes: int, n_bits: int) -> list[int]:
    """Hamming distances of all pairs of centres."""
    centres = hash_centres(n_classes, n_bits)
    table = (n_bits - centres @ centres.T) / 2
    return [int(table[i, j]) for i in range(n_classes) for j in range(i)]


@given(st.sampled_from(range(8, 136, 8)), st.integers(2, 300))
@settings(deadline=None, max_examples=12)
def test_every_class_has_a_code_of_its_own(n_bits: int, n_classes: int) -> None:
    n_classes = min(n_classes, 2**n_bits)
    centres = hash_centres(n_classes, n_bits)
    assert centres.shape == (n_classes, n_bits)
    assert centres.dtype == torch.float32
    assert set(centres.flatten().tolist()) == {-1.0, 1.0}
    assert min(distances(n_classes, n_bits)) > 0


@pytest.mark.parametrize("n_bits", [8, 16, 32, 64, 128])
def test_with_a_power_of_two_any_two_differ_in_half_of_the_bits_or_in_all(n_bits: int) -> None:
    assert set(distances(n_bits, n_bits)) <= {n_bits // 2, n_bits}
    found = distances(2 * n_bits, n_bits)
    assert found.count(n_bits) == n_bits  # each row and its negation
    assert found.count(n_bits // 2) == len(found) - n_bits


@pytest.mark.parametrize(("n_bits", "n_classes"), [(8, 16), (16, 10), (64, 10)])
def test_they_are_rows_of_a_hadamard_matrix_and_its_negation(n_bits: int, n_classes: int) -> None:
    """Sylvester's: entry i, j is -1 to the number of bits that i and j share."""
    rows = [[(-1) ** (i & j).bit_count() for j in range(n_bits)] for i in range(n_bits)]
    negated = [[-entry for entry in row] for row in rows]
    assert all(centre in rows + negated for centre in hash_centres(n_classes, n_bits).tolist())


@pytest.mark.parametrize("n_bits", [8, 16, 48, 64, 128])
@pytest.mark.parametrize("n_classes", [6, 10, 50])
def test_no_bit_is_the_same_for_all_classes(n_bits: int, n_classes: int) -> None:
    ones = (hash_centres(n_classes, n_bits) > 0).float().mean(dim=0)
    assert ones.min() > 0.1
    assert ones.max() < 0.9


@pytest.mark.parametrize(
    ("n_bits", "n_classes", "least"),
    [(24, 10, 11), (24, 300, 6), (40, 10, 19), (48, 10, 23), (48, 300, 16), (96, 10, 47)],
)
def test_the_least_distance_is_far_from_that_of_plain_draws(
    n_bits: int, n_classes: int, least: int
) -> None:
    assert min(distances(n_classes, n_bits)) >= least
    generator = np.random.default_rng(1)
    drawn = []
    for _ in range(20):
        signs = generator.choice([-1, 1], (n_classes, n_bits))
        table = (n_bits - signs @ signs.T) // 2
        drawn.append(table[np.triu_indices(n_classes, 1)].min())
    assert max(drawn) < least


@pytest.mark.parametrize(
    ("n_bits", "n_classes"), [(8, 17), (8, 100), (8, 256), (16, 33), (16, 300)]
)
def test_where_all_codes_are_looked_at_the_gilbert_bound_holds(n_bits: int, n_classes: int) -> None:
    """While balls of radius d - 1 do not fill the cube, a code at distance d is left."""
    least, ball = 1, 1
    while (ball := ball + math.comb(n_bits, least)) * (n_classes - 1) < 2**n_bits:
        least += 1
    assert min(distances(n_classes, n_bits)) >= least


@pytest.mark.parametrize(("n_bits", "n_classes"), [(64, 10), (48, 10), (16, 40)])
def test_the_centres_are_the_same_whenever_they_are_asked_for(n_bits: int, n_classes: int) -> None:
    torch.manual_seed(1)
    first = hash_centres(n_classes, n_bits)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = hash_centres(n_classes, n_bits)
    assert torch.equal(first, second)
    # A network's initial weights do not depend on how its targets were found.
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("n_classes", [257, 300])
def test_more_classes_than_codes_are_refused(n_classes: int) -> None:
    with pytest.raises(ArgumentError, match=rf"8 bits cannot .* {n_classes} classes .*--bits$"):
        hash_centres(n_classes, 8)


@pytest.mark.parametrize("n_bits", [0, 12])
def test_bit_counts_that_fill_no_bytes_are_refused(n_bits: int) -> None:
    with pytest.raises(ArgumentError, match="multiple of 8"):
        hash_centres(4, n_bits)
