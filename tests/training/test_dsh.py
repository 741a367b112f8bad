from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_batches import batches, pairs_of
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.dsh import (
    DeepSupervisedHashing,
    contrastive,
    corner_regulariser,
)

# Slow transcriptions of Liu et al. 2016, equation 4, one pair at a time.


def plain_contrastive(outputs: list[list[float]], labels: list[int], margin: float) -> float:
    pairs = pairs_of(len(outputs))
    total = 0.0
    for i, j in pairs:
        distance = sum((a - b) ** 2 for a, b in zip(outputs[i], outputs[j], strict=True))
        unlike = labels[i] != labels[j]
        total += (1 - unlike) / 2 * distance + unlike / 2 * max(margin - distance, 0)
    return total / len(pairs)


def plain_regulariser(outputs: list[list[float]]) -> float:
    pairs = pairs_of(len(outputs))
    total = sum(abs(abs(value) - 1) for pair in pairs for item in pair for value in outputs[item])
    return total / len(pairs)


@given(batches(), st.sampled_from([0.5, 8.0, 32.0]))
@settings(deadline=None)
def test_the_contrastive_loss_is_its_formula(
    batch: tuple[Tensor, list[int]], margin: float
) -> None:
    outputs, labels = batch
    loss = contrastive(outputs, same_label(labels), margin)
    expected = plain_contrastive(outputs.tolist(), labels, margin)
    assert float(loss) == pytest.approx(expected, abs=1e-9)


@given(batches())
@settings(deadline=None)
def test_the_regulariser_is_its_formula(batch: tuple[Tensor, list[int]]) -> None:
    loss = corner_regulariser(batch[0])
    assert float(loss) == pytest.approx(plain_regulariser(batch[0].tolist()))


def test_the_contrastive_loss_worked_out_by_hand() -> None:
    # Squared distances: 4 between the neighbours, 2 and 10 with the stranger.
    outputs = torch.tensor([[0.0, 0.0], [2.0, 0.0], [-1.0, 1.0]])
    loss = contrastive(outputs, same_label([0, 0, 1]), margin=8.0)
    assert float(loss) == pytest.approx((4 / 2 + (8 - 2) / 2 + 0) / 3)


def test_the_regulariser_worked_out_by_hand() -> None:
    outputs = torch.tensor([[1.0, -1.0], [0.0, -3.0], [0.5, -1.5]])
    # The items cost 0, 1 + 2 and 1/2 + 1/2; a pair costs what its two items cost.
    assert float(corner_regulariser(outputs)) == pytest.approx((3 + 1 + 4) / 3)


def test_strangers_beyond_the_margin_are_left_alone() -> None:
    outputs = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 9.0]], requires_grad=True)
    loss = contrastive(outputs, same_label([0, 1, 2]), margin=4.0)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert float(loss.detach()) == 0
    assert outputs.grad is not None
    assert outputs.grad.eq(0).all()


def test_rounding_makes_no_distance_of_neighbours_less_than_0() -> None:
    outputs = 1e3 * torch.randn(1, 48, generator=seeded())
    almost = outputs * (1 + 1e-7 * torch.randn(64, 48, generator=seeded(1)))
    assert float(contrastive(almost, same_label([0] * 64), margin=96.0)) >= 0


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]])
def test_gradients_are_those_of_finite_differences(labels: list[int]) -> None:
    outputs = torch.randn(5, 8, generator=seeded(), dtype=torch.float64, requires_grad=True)
    neighbours = same_label(labels)
    # Some of these strangers are beyond the margin, some are not.
    assert torch.autograd.gradcheck(lambda u: contrastive(u, neighbours, 16.0), (outputs,))
    assert torch.autograd.gradcheck(corner_regulariser, (outputs,))


def test_the_terms_are_those_of_the_outputs_themselves_with_a_margin_of_2_k() -> None:
    labels = [0, 0, 1, 1, 2]
    semantic = torch.randn(5, 16, generator=seeded(), dtype=torch.float64)
    outputs = Outputs(semantic, torch.zeros(5, 3))
    found = DeepSupervisedHashing(3, 16, 3).terms(
        outputs, torch.tensor(labels), same_label(labels), seeded()
    )
    assert {term: float(value) for term, value in found.items()} == pytest.approx(
        {
            "contrastive": plain_contrastive(semantic.tolist(), labels, 32.0),
            "regulariser": plain_regulariser(semantic.tolist()),
        }
    )


def test_defaults() -> None:
    assert OBJECTIVES["dsh"] is DeepSupervisedHashing
    assert DeepSupervisedHashing.default_weights == {"contrastive": 1.0, "regulariser": 0.01}
