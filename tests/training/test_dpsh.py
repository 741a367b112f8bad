from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from pair_batches import batches, dot, pairs_of
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.dpsh import (
    PairwiseSupervisedHashing,
    pairwise_likelihood,
    squared_quantisation,
)

# Slow transcriptions of Li et al. 2016, one pair and one bit at a time.


def plain_likelihood(outputs: list[list[float]], labels: list[int]) -> float:
    pairs = pairs_of(len(outputs))
    total = 0.0
    for i, j in pairs:
        theta = dot(outputs[i], outputs[j]) / 2
        total -= (labels[i] == labels[j]) * theta - math.log(1 + math.exp(theta))
    return total / len(pairs)


def plain_quantisation(outputs: list[list[float]]) -> float:
    squares = [((1 if value >= 0 else -1) - value) ** 2 for row in outputs for value in row]
    return sum(squares) / len(outputs)


@given(batches())
@settings(deadline=None)
def test_the_likelihood_is_its_formula(batch: tuple[Tensor, list[int]]) -> None:
    outputs, labels = batch
    loss = pairwise_likelihood(outputs, same_label(labels))
    expected = plain_likelihood(outputs.tolist(), labels)
    assert float(loss) == pytest.approx(expected, rel=1e-8, abs=1e-8)


@given(batches())
@settings(deadline=None)
def test_the_quantisation_is_its_formula(batch: tuple[Tensor, list[int]]) -> None:
    loss = squared_quantisation(batch[0])
    assert float(loss) == pytest.approx(plain_quantisation(batch[0].tolist()))


def test_the_likelihood_worked_out_by_hand() -> None:
    # Halves of inner products: log 3 between the neighbours, -log 3 and 0 with the stranger.
    root = math.sqrt(2 * math.log(3))
    outputs = torch.tensor([[root, 0.0], [root, root], [-root, root]])
    loss = pairwise_likelihood(outputs, same_label([0, 0, 1]))
    # Probabilities of what is true: 3/4, 3/4 and 1/2.
    assert float(loss) == pytest.approx((2 * math.log(4 / 3) + math.log(2)) / 3)


def test_quantisation_worked_out_by_hand() -> None:
    outputs = torch.tensor([[1.0, -1.0], [0.0, -3.0], [0.5, -0.0]])
    # The sign of both zeros is 1, as the bit is.
    assert float(squared_quantisation(outputs)) == pytest.approx((0 + (1 + 4) + (0.25 + 1)) / 3)


def test_an_output_of_0_is_drawn_to_the_bit_that_it_gives() -> None:
    outputs = torch.zeros(1, 2, requires_grad=True)
    squared_quantisation(outputs).backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[-2.0, -2.0]]


def test_a_bit_is_drawn_to_its_corner_as_much_whatever_the_length_of_the_code() -> None:
    pulls = []
    for n_bits in (8, 64):
        outputs = torch.full((4, n_bits), 0.5, requires_grad=True)
        squared_quantisation(outputs).backward()  # type: ignore[no-untyped-call]  # as above
        assert outputs.grad is not None
        pulls.append(float(outputs.grad[0, 0]))
    assert pulls == [-0.25, -0.25]


@pytest.mark.parametrize(("labels", "expected"), [([0, 0], 0.0), ([0, 1], 5e7)])
def test_large_outputs_cost_what_they_should(labels: list[int], expected: float) -> None:
    # exp of half of this inner product has no float32.
    outputs = torch.full((2, 1), 1e4)
    assert float(pairwise_likelihood(outputs, same_label(labels))) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]])
def test_gradients_are_those_of_finite_differences(labels: list[int]) -> None:
    outputs = torch.randn(5, 8, generator=seeded(), dtype=torch.float64, requires_grad=True)
    neighbours = same_label(labels)
    assert torch.autograd.gradcheck(lambda u: pairwise_likelihood(u, neighbours), (outputs,))
    assert torch.autograd.gradcheck(squared_quantisation, (outputs,))


def test_the_terms_are_those_of_the_outputs_themselves() -> None:
    labels = [0, 0, 1, 1, 2]
    semantic = torch.randn(5, 16, generator=seeded(), dtype=torch.float64)
    outputs = Outputs(semantic, torch.zeros(5, 3))
    found = PairwiseSupervisedHashing(3, 16, 3).terms(
        outputs, torch.tensor(labels), same_label(labels), seeded()
    )
    assert {term: float(value) for term, value in found.items()} == pytest.approx(
        {
            "likelihood": plain_likelihood(semantic.tolist(), labels),
            "quantisation": plain_quantisation(semantic.tolist()),
        }
    )


def test_defaults() -> None:
    assert OBJECTIVES["dpsh"] is PairwiseSupervisedHashing
    assert PairwiseSupervisedHashing.default_weights == {"likelihood": 1.0, "quantisation": 0.002}
