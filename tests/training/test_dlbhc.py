from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives import Outputs
from hashsearch.training.objectives.dlbhc import BinaryHashCodes

N_FEATURES, N_BITS, N_CLASSES = 6, 8, 3


def objective(**weights: float) -> BinaryHashCodes:
    torch.manual_seed(0)
    return BinaryHashCodes(N_FEATURES, N_BITS, N_CLASSES, weights).double()


def terms(made: BinaryHashCodes, semantic: Tensor, labels: list[int]) -> dict[str, Tensor]:
    outputs = Outputs(semantic, torch.zeros(len(labels), N_FEATURES))
    return made.terms(outputs, torch.tensor(labels), same_label(labels), seeded())


def plain_classification(made: BinaryHashCodes, semantic: Tensor, labels: list[int]) -> float:
    """Softmax regression on the latent units, one item at a time."""
    weight, bias = made.classifier.weight.tolist(), made.classifier.bias.tolist()
    losses: list[float] = []
    for output, label in zip(semantic.tolist(), labels, strict=True):
        latent = [1 / (1 + math.exp(-value)) for value in output]
        logits = [
            sum(w * a for w, a in zip(row, latent, strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]
        losses.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
    return sum(losses) / len(losses)


@given(st.lists(st.integers(0, N_CLASSES - 1), min_size=1, max_size=8), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_term_is_its_formula(labels: list[int], seed: int) -> None:
    made = objective()
    semantic = 3 * torch.randn(len(labels), N_BITS, generator=seeded(seed), dtype=torch.float64)
    found = terms(made, semantic, labels)
    assert set(found) == {"classification"}
    assert float(found["classification"].detach()) == pytest.approx(
        plain_classification(made, semantic, labels)
    )


@torch.no_grad()
def test_two_items_worked_out_by_hand() -> None:
    made = objective()
    made.classifier.weight.zero_()
    made.classifier.bias.zero_()
    # Class 1 looks at the first unit, which is 3/4 for the first item and 1/2 for the second.
    made.classifier.weight[1, 0] = 4.0
    semantic = torch.zeros(2, N_BITS, dtype=torch.float64)
    semantic[0, 0] = math.log(3)
    first = math.log(2 + math.exp(3)) - 3
    second = math.log(2 + math.exp(2))
    found = terms(made, semantic, [1, 0])
    assert float(found["classification"]) == pytest.approx((first + second) / 2)


def test_a_unit_that_the_classifier_gains_by_is_driven_across_one_half() -> None:
    made = objective()
    semantic = torch.zeros(6, N_BITS, dtype=torch.float64, requires_grad=True)
    labels = [0, 0, 1, 1, 2, 2]
    optimiser = torch.optim.Adam([semantic, *made.parameters()], lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        terms(made, semantic, labels)["classification"].backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
        optimiser.step()
    bits = semantic.detach() >= 0
    assert torch.equal(bits[::2], bits[1::2])
    assert len(torch.unique(bits, dim=0)) == 3


def test_gradients_are_those_of_finite_differences() -> None:
    made, labels = objective(), [0, 0, 1, 2]
    semantic = torch.randn(4, N_BITS, generator=seeded(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: terms(made, u, labels)["classification"], (semantic,))


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [1]])
def test_saturated_units_have_finite_gradients(labels: list[int]) -> None:
    made = objective()
    semantic = torch.randn(len(labels), N_BITS, generator=seeded(), dtype=torch.float64) * 1e4
    semantic.requires_grad_()
    terms(made, semantic, labels)["classification"].backward()  # type: ignore[no-untyped-call]  # as above
    assert semantic.grad is not None
    assert semantic.grad.isfinite().all()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in made.parameters()
    )


def test_weight_0_leaves_its_term_out() -> None:
    assert not terms(objective(classification=0.0), torch.zeros(2, N_BITS), [0, 1])
