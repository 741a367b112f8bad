from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives.cauchy import (
    cauchy_cross_entropy,
    cauchy_quantisation,
    continuous_hamming_distance,
)

GAMMA = 20.0


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, list[int]]:
    """Codes ``float64 (n, K)`` between -1 and 1, and a label each."""
    n, n_bits = draw(st.integers(2, 7)), draw(st.sampled_from([1, 8, 16]))
    labels = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    generator = seeded(draw(st.integers(0, 2**32)))
    return torch.tanh(torch.randn(n, n_bits, generator=generator, dtype=torch.float64)), labels


def corner(*bits: int) -> list[float]:
    return [1.0 if bit else -1.0 for bit in bits]


# Slow transcriptions of Cao et al. 2018, one pair at a time.


def plain_distance(first: list[float], second: list[float]) -> float:
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    lengths = math.sqrt(sum(a * a for a in first)) * math.sqrt(sum(b * b for b in second))
    return len(first) / 2 * (1 - dot / lengths)


def plain_cross_entropy(codes: list[list[float]], labels: list[int], gamma: float) -> float:
    """Equation 6: ``w_ij (s_ij log(d / g) + log(1 + g / d))``, averaged over ordered pairs."""
    pairs = [(i, j) for i in range(len(codes)) for j in range(len(codes)) if i != j]
    alike = sum(labels[i] == labels[j] for i, j in pairs)
    total = 0.0
    for i, j in pairs:
        similar = labels[i] == labels[j]
        weight = len(pairs) / (alike if similar else len(pairs) - alike)
        # The bound that keeps a stranger with the same code finite.
        distance = max(plain_distance(codes[i], codes[j]), 1e-3)
        loss = math.log(distance / gamma) if similar else 0.0
        total += weight * (loss + math.log(1 + gamma / distance))
    return total / len(pairs)


def plain_quantisation(codes: list[list[float]], gamma: float) -> float:
    ones = [1.0] * len(codes[0])
    losses = [
        math.log(1 + plain_distance([abs(value) for value in code], ones) / gamma) for code in codes
    ]
    return sum(losses) / len(losses)


@given(batches())
@settings(deadline=None)
def test_the_distance_is_its_formula(batch: tuple[Tensor, list[int]]) -> None:
    codes, _ = batch
    distance = continuous_hamming_distance(codes, codes[:2])
    expected = [[plain_distance(a, b) for b in codes[:2].tolist()] for a in codes.tolist()]
    torch.testing.assert_close(distance, torch.tensor(expected, dtype=torch.float64))
    assert distance.min() > -1e-9
    assert distance.max() < codes.shape[1] + 1e-9


@given(batches())
@settings(deadline=None)
def test_between_corners_the_distance_counts_bits(batch: tuple[Tensor, list[int]]) -> None:
    corners = torch.where(batch[0] >= 0, 1.0, -1.0)
    differing = (corners[:, None] != corners[None, :]).sum(dim=2).float()
    torch.testing.assert_close(
        continuous_hamming_distance(corners, corners), differing, atol=1e-5, rtol=0
    )


@given(batches(), st.sampled_from([1.0, 5.0, GAMMA]))
@settings(deadline=None)
def test_the_cross_entropy_is_its_formula(batch: tuple[Tensor, list[int]], gamma: float) -> None:
    codes, labels = batch
    loss = cauchy_cross_entropy(codes, same_label(labels), gamma)
    assert float(loss) == pytest.approx(plain_cross_entropy(codes.tolist(), labels, gamma))


@given(batches(), st.sampled_from([1.0, 5.0, GAMMA]))
@settings(deadline=None)
def test_the_quantisation_is_its_formula(batch: tuple[Tensor, list[int]], gamma: float) -> None:
    codes, _ = batch
    loss = cauchy_quantisation(codes, gamma)
    assert float(loss) == pytest.approx(plain_quantisation(codes.tolist(), gamma), abs=1e-12)


def test_three_items_worked_out_by_hand() -> None:
    codes = torch.tensor(
        [
            corner(1, 1, 1, 1, 1, 1, 1, 1),
            corner(0, 0, 1, 1, 1, 1, 1, 1),  # a neighbour at distance 2
            corner(1, 1, 0, 0, 0, 0, 1, 1),  # a stranger at distances 4 and 6
        ]
    )
    loss = cauchy_cross_entropy(codes, same_label([0, 0, 1]), gamma=4.0)
    alike = math.log(1 + 2 / 4)
    unlike = (math.log(1 + 4 / 4) + math.log(1 + 4 / 6)) / 2
    assert float(loss) == pytest.approx(alike + unlike, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "expected"), [([0, 0], math.log(1 + 2 / 4)), ([0, 1], math.log(1 + 4 / 2))]
)
def test_two_items_are_one_pair_of_one_sort(labels: list[int], expected: float) -> None:
    codes = torch.tensor([corner(1, 1, 1, 1, 1, 1, 1, 1), corner(0, 0, 1, 1, 1, 1, 1, 1)])
    loss = cauchy_cross_entropy(codes, same_label(labels), gamma=4.0)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_quantisation_worked_out_by_hand() -> None:
    at_corners = torch.tensor([corner(1, 0, 0, 1), corner(0, 0, 0, 0)])
    assert float(cauchy_quantisation(at_corners, GAMMA)) == pytest.approx(0, abs=1e-6)
    # The cosine of (1, 0, 0, 0) and (1, 1, 1, 1) is 1/2: distance 4 / 2 * (1 - 1/2) = 1.
    on_an_axis = torch.tensor([[-1.0, 0.0, 0.0, 0.0]])
    assert float(cauchy_quantisation(on_an_axis, 2.0)) == pytest.approx(math.log(1.5))


def test_identical_codes_of_strangers_cost_much_but_not_infinitely() -> None:
    codes = torch.tensor([corner(1, 1, 0, 0, 1, 1, 0, 0)] * 3, requires_grad=True)
    loss = cauchy_cross_entropy(codes, same_label([0, 1, 2]), GAMMA)
    assert float(loss.detach()) == pytest.approx(math.log(1 + GAMMA / 1e-3), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert codes.grad is not None
    assert codes.grad.isfinite().all()


def test_identical_codes_of_neighbours_cost_next_to_nothing() -> None:
    codes = torch.tensor([corner(1, 1, 0, 0, 1, 1, 0, 0)] * 3)
    assert 0 <= float(cauchy_cross_entropy(codes, same_label([1, 1, 1]), GAMMA)) < 1e-4


@given(batches())
@settings(deadline=None)
def test_the_diagonal_is_not_looked_at(batch: tuple[Tensor, list[int]]) -> None:
    codes, labels = batch
    neighbours = same_label(labels)
    without = neighbours & ~torch.eye(len(codes), dtype=torch.bool)
    assert cauchy_cross_entropy(codes, neighbours, GAMMA) == cauchy_cross_entropy(
        codes, without, GAMMA
    )


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]])
def test_gradients_are_those_of_finite_differences(labels: list[int]) -> None:
    outputs = torch.randn(5, 8, generator=seeded(), dtype=torch.float64, requires_grad=True)
    neighbours = same_label(labels)
    assert torch.autograd.gradcheck(
        lambda u: cauchy_cross_entropy(torch.tanh(u), neighbours, GAMMA), (outputs,)
    )
    assert torch.autograd.gradcheck(lambda u: cauchy_quantisation(torch.tanh(u), GAMMA), (outputs,))


def test_saturated_codes_have_finite_gradients() -> None:
    outputs = torch.where(torch.randn(6, 16, generator=seeded()) >= 0, 1e4, -1e4)
    outputs.requires_grad_()
    codes = torch.tanh(outputs)
    loss = cauchy_cross_entropy(codes, same_label([0, 0, 1, 1, 2, 2]), GAMMA)
    (loss + cauchy_quantisation(codes, GAMMA)).backward()  # type: ignore[no-untyped-call]  # as above
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_following_the_gradient_parts_strangers_and_joins_neighbours() -> None:
    outputs = (0.1 * torch.randn(8, 16, generator=seeded())).requires_grad_()
    neighbours = same_label([0, 0, 0, 0, 1, 1, 1, 1])
    optimiser = torch.optim.Adam([outputs], lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        cauchy_cross_entropy(torch.tanh(outputs), neighbours, GAMMA).backward()  # type: ignore[no-untyped-call]  # as above
        optimiser.step()
    codes = torch.tanh(outputs.detach())
    distance = continuous_hamming_distance(codes, codes)
    assert distance[neighbours].max() < 1
    assert distance[~neighbours].min() > 8
