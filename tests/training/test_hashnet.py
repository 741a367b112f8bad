from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_batches import batches, dot, pairs_of
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.hashnet import HashNet, steepness, weighted_logistic

# --- the loss --------------------------------------------------------------------------


def plain_weighted_logistic(codes: list[list[float]], labels: list[int], alpha: float) -> float:
    """Cao et al. 2017, equation 4, one pair at a time, averaged over ordered pairs."""
    pairs = pairs_of(len(codes))
    alike = sum(labels[i] == labels[j] for i, j in pairs)
    total = 0.0
    for i, j in pairs:
        similar = labels[i] == labels[j]
        weight = len(pairs) / (alike if similar else len(pairs) - alike)
        product = dot(codes[i], codes[j])
        total += weight * (math.log(1 + math.exp(alpha * product)) - alpha * similar * product)
    return total / len(pairs)


@given(batches(), st.sampled_from([0.1, 10 / 16, 1.0]))
@settings(deadline=None)
def test_the_loss_is_its_formula(batch: tuple[Tensor, list[int]], alpha: float) -> None:
    codes, labels = torch.tanh(batch[0]), batch[1]
    loss = weighted_logistic(codes, same_label(labels), alpha)
    expected = plain_weighted_logistic(codes.tolist(), labels, alpha)
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_loss_worked_out_by_hand() -> None:
    # Inner products: 2 between the neighbours, -2 with the stranger.
    codes = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    loss = weighted_logistic(codes, same_label([0, 0, 1]), alpha=math.log(3) / 2)
    # Probabilities of being neighbours: 3/4 for the neighbours, 1/4 for the strangers.
    assert float(loss) == pytest.approx(-math.log(3 / 4) - math.log(3 / 4))
    orthogonal = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    assert float(weighted_logistic(orthogonal, same_label([0, 1]), 5.0)) == pytest.approx(
        math.log(2)
    )


def test_neighbours_weigh_as_much_as_all_strangers() -> None:
    # One pair of neighbours, opposite, among many strangers, all of them right angled.
    codes = torch.zeros(9, 8)
    codes[0, 0], codes[1, 0] = 1.0, -1.0
    codes[2:, 1:] = torch.eye(7)
    labels = [0, 0, *range(1, 8)]
    loss = weighted_logistic(codes, same_label(labels), alpha=1.0)
    assert float(loss) == pytest.approx(math.log(1 + math.e) + math.log(2))


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]])
def test_gradients_are_those_of_finite_differences(labels: list[int]) -> None:
    outputs = torch.randn(5, 8, generator=seeded(), dtype=torch.float64, requires_grad=True)
    neighbours = same_label(labels)
    assert torch.autograd.gradcheck(
        lambda u: weighted_logistic(torch.tanh(u), neighbours, 0.5), (outputs,)
    )


# --- the stages ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "epochs", "expected"),
    [(1, 1, 1.0), (1, 50, 1.0), (4, 50, 2.0), (9, 50, 3.0), (17, 20, math.sqrt(41))],
)
def test_steepness_worked_out_by_hand(epoch: int, epochs: int, expected: float) -> None:
    assert steepness(epoch, epochs) == pytest.approx(expected)


@given(st.integers(2, 200))
def test_the_steepness_rises_from_1_and_stays_below_that_of_10000_steps(epochs: int) -> None:
    betas = [steepness(epoch, epochs) for epoch in range(1, epochs + 1)]
    assert betas[0] == 1
    assert betas == sorted(set(betas))
    assert betas[-1] < math.sqrt(51)


# --- the objective ---------------------------------------------------------------------


@pytest.mark.parametrize(("epoch", "settling", "beta"), [(1, False, 1.0), (9, True, 3.0)])
def test_an_epoch_trains_tanh_of_its_steepness(epoch: int, settling: bool, beta: float) -> None:
    labels = [0, 0, 1, 1, 2]
    semantic = torch.randn(5, 16, generator=seeded(), dtype=torch.float64)
    made = HashNet(3, 16, 3)
    made.start_epoch(epoch, 50, settling=settling)
    outputs = Outputs(semantic, torch.zeros(5, 3))
    found = made.terms(outputs, torch.tensor(labels), same_label(labels), seeded())
    codes = [[math.tanh(beta * value) for value in row] for row in semantic.tolist()]
    expected = plain_weighted_logistic(codes, labels, alpha=10 / 16)
    assert float(found["logistic"]) == pytest.approx(expected)


def test_before_any_epoch_the_steepness_is_1() -> None:
    assert HashNet(3, 16, 3).beta == 1


def test_defaults() -> None:
    assert OBJECTIVES["hashnet"] is HashNet
    assert HashNet.default_weights == {"logistic": 1.0}
