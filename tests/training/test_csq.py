from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy import same_label, seeded

from hashsearch.errors import ArgumentError
from hashsearch.training.objectives import Outputs
from hashsearch.training.objectives.centres import hash_centres
from hashsearch.training.objectives.csq import (
    CentralSimilarityQuantisation,
    central_similarity,
    item_centres,
    smooth_quantisation,
)

N_FEATURES, N_BITS, N_CLASSES = 6, 8, 3


def objective(**weights: float) -> CentralSimilarityQuantisation:
    return CentralSimilarityQuantisation(N_FEATURES, N_BITS, N_CLASSES, weights)


def terms(semantic: Tensor, labels: list[int], **weights: float) -> dict[str, Tensor]:
    outputs = Outputs(semantic, torch.zeros(len(labels), N_FEATURES))
    return objective(**weights).terms(outputs, torch.tensor(labels), same_label(labels), seeded())


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Outputs ``float64 (n, K)`` and a centre each, of +-1."""
    n, n_bits = draw(st.integers(1, 6)), draw(st.sampled_from([1, 8, 16]))
    generator = seeded(draw(st.integers(0, 2**32)))
    outputs = 2 * torch.randn(n, n_bits, generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (n, n_bits), generator=generator) * 2 - 1
    return outputs, signs.double()


# Slow transcriptions of Yuan et al. 2020, one bit at a time.


def plain_central(outputs: list[list[float]], centres: list[list[float]]) -> float:
    """L_C, the cross-entropy of h between 0 and 1 against the centre's bit."""
    losses = []
    for output, centre in zip(outputs, centres, strict=True):
        for value, sign in zip(output, centre, strict=True):
            h, target = (math.tanh(value) + 1) / 2, (sign + 1) / 2
            losses.append(-(target * math.log(h) + (1 - target) * math.log(1 - h)))
    return sum(losses) / len(losses)


def plain_quantisation(outputs: list[list[float]]) -> float:
    """L_Q."""
    losses = []
    for output in outputs:
        for value in output:
            h = (math.tanh(value) + 1) / 2
            losses.append(math.log(math.cosh(abs(2 * h - 1) - 1)))
    return sum(losses) / len(losses)


@given(batches())
@settings(deadline=None)
def test_the_central_similarity_is_its_formula(batch: tuple[Tensor, Tensor]) -> None:
    outputs, centres = batch
    assert float(central_similarity(outputs, centres)) == pytest.approx(
        plain_central(outputs.tolist(), centres.tolist())
    )


@given(batches())
@settings(deadline=None)
def test_the_quantisation_is_its_formula(batch: tuple[Tensor, Tensor]) -> None:
    outputs, _ = batch
    assert float(smooth_quantisation(outputs)) == pytest.approx(
        plain_quantisation(outputs.tolist()), abs=1e-12
    )


def test_bits_worked_out_by_hand() -> None:
    # tanh is 0, 3/5 and -3/5, so h is 1/2, 4/5 and 1/5.
    outputs = torch.tensor([[0.0, math.log(2), -math.log(2)]], dtype=torch.float64)
    centres = torch.tensor([[1.0, 1.0, 1.0]], dtype=torch.float64)
    central = -(math.log(1 / 2) + math.log(4 / 5) + math.log(1 / 5)) / 3
    assert float(central_similarity(outputs, centres)) == pytest.approx(central)
    quantisation = (math.log(math.cosh(1)) + 2 * math.log(math.cosh(0.4))) / 3
    assert float(smooth_quantisation(outputs)) == pytest.approx(quantisation)


def test_an_item_at_its_centre_costs_nothing() -> None:
    centres = hash_centres(N_CLASSES, N_BITS)
    assert float(central_similarity(50 * centres, centres)) == pytest.approx(0, abs=1e-12)
    assert float(smooth_quantisation(50 * centres)) == pytest.approx(0, abs=1e-12)


def test_the_terms_take_each_item_to_the_centre_of_its_class() -> None:
    semantic = torch.randn(5, N_BITS, generator=seeded())
    labels = [2, 0, 1, 1, 0]
    found = terms(semantic, labels)
    centres = hash_centres(N_CLASSES, N_BITS)[labels]
    assert set(found) == {"central", "quantisation"}
    assert found["central"] == central_similarity(semantic, centres)
    assert found["quantisation"] == smooth_quantisation(semantic)


@pytest.mark.parametrize("labels", [[0, 0, 1, 2], [1, 1, 1, 1]])
def test_gradients_are_those_of_finite_differences(labels: list[int]) -> None:
    outputs = torch.randn(4, N_BITS, generator=seeded(), dtype=torch.float64, requires_grad=True)
    centres = hash_centres(N_CLASSES, N_BITS)[labels].double()
    assert torch.autograd.gradcheck(lambda u: central_similarity(u, centres), (outputs,))
    assert torch.autograd.gradcheck(smooth_quantisation, (outputs,))


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [1]])
def test_outputs_of_0_and_saturated_ones_have_finite_losses_and_gradients(
    scale: float, labels: list[int]
) -> None:
    semantic = scale * torch.randn(len(labels), N_BITS, generator=seeded())
    semantic.requires_grad_()
    loss = torch.stack(list(terms(semantic, labels).values())).sum()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert loss.isfinite()
    assert semantic.grad is not None
    assert semantic.grad.isfinite().all()


def test_a_bit_on_the_wrong_side_is_drawn_over_however_far_it_is() -> None:
    semantic = torch.full((1, N_BITS), -1e4, requires_grad=True)
    centres = torch.ones(1, N_BITS)
    central_similarity(semantic, centres).backward()  # type: ignore[no-untyped-call]  # as above
    assert semantic.grad is not None
    torch.testing.assert_close(semantic.grad, torch.full((1, N_BITS), -2 / N_BITS))


@pytest.mark.parametrize("term", ["central", "quantisation"])
def test_weight_0_leaves_a_term_out(term: str) -> None:
    found = terms(torch.zeros(2, N_BITS), [0, 1], **{term: 0.0})
    assert set(found) == {"central", "quantisation"} - {term}


def test_more_types_than_codes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="8 bits cannot"):
        CentralSimilarityQuantisation(N_FEATURES, 8, 300)


# --- several classes an item -----------------------------------------------------------


def test_an_item_of_several_classes_goes_where_most_of_them_are() -> None:
    centres = torch.tensor([[1, 1, -1, -1], [1, -1, -1, 1], [-1, -1, -1, 1]], dtype=torch.float32)
    labels = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [1, 0, 1]], dtype=torch.float32)
    assert item_centres(centres, labels).tolist() == [
        [1, -1, -1, 1],
        [1, 1, -1, -1],
        [1, -1, -1, 1],  # even in the first bit: as the first class has it
        [1, 1, -1, -1],
    ]


@given(st.integers(0, 2**32), st.integers(1, 5))
def test_centres_of_several_classes_are_the_vote_bit_by_bit(seed: int, n_classes: int) -> None:
    generator = seeded(seed)
    centres = torch.randint(0, 2, (n_classes, 8), generator=generator).float() * 2 - 1
    labels = torch.randint(0, 2, (6, n_classes), generator=generator).float()
    labels[:, 0] = torch.where(labels.any(dim=1), labels[:, 0], 1.0)
    for made, own in zip(item_centres(centres, labels).tolist(), labels.tolist(), strict=True):
        chosen = [row for row, has in zip(centres.tolist(), own, strict=True) if has]
        for bit, value in enumerate(made):
            votes = sum(row[bit] for row in chosen)
            assert value == (chosen[0][bit] if votes == 0 else math.copysign(1, votes))


def test_one_class_written_as_several_costs_the_same() -> None:
    semantic = torch.randn(4, N_BITS, generator=seeded())
    outputs = Outputs(semantic, torch.zeros(4, N_FEATURES))
    hot = torch.eye(N_CLASSES)[[0, 1, 2, 0]]
    one = terms(semantic, [0, 1, 2, 0])["central"]
    many = objective().terms(outputs, hot, same_label([0, 1, 2, 0]), seeded())["central"]
    assert torch.equal(one, many)
