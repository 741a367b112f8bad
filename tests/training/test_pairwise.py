from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from pair_batches import batches, dot, pairs_of
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives.pairwise import (
    balanced_mean,
    inner_products,
    logistic_losses,
    mean_over_pairs,
)

# Of three items: the diagonal must not be looked at, whatever is there.
LOSSES = torch.tensor([[math.inf, 1.0, 2.0], [3.0, math.inf, 4.0], [5.0, 6.0, math.inf]])


@given(batches())
@settings(deadline=None)
def test_the_means_are_their_formulas(batch: tuple[Tensor, list[int]]) -> None:
    outputs, labels = batch
    losses = outputs @ outputs.T
    rows, pairs = losses.tolist(), pairs_of(len(labels))
    alike = sum(labels[i] == labels[j] for i, j in pairs)
    total = weighted = 0.0
    for i, j in pairs:
        weight = len(pairs) / (alike if labels[i] == labels[j] else len(pairs) - alike)
        total += rows[i][j]
        weighted += weight * rows[i][j]
    assert float(mean_over_pairs(losses)) == pytest.approx(total / len(pairs))
    assert float(balanced_mean(losses, same_label(labels))) == pytest.approx(weighted / len(pairs))


def test_means_worked_out_by_hand() -> None:
    assert float(mean_over_pairs(LOSSES)) == 21 / 6
    # Neighbours cost 1 and 3, strangers 2, 4, 5 and 6.
    assert float(balanced_mean(LOSSES, same_label([0, 0, 1]))) == 2 + 17 / 4


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_pairs_of_one_sort_weigh_1(labels: list[int]) -> None:
    assert float(balanced_mean(LOSSES, same_label(labels))) == 21 / 6


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 0, 0], [0, 1, 2]])
def test_the_diagonal_gets_no_gradient(labels: list[int]) -> None:
    losses = torch.rand(3, 3, generator=seeded(), requires_grad=True)
    (mean_over_pairs(losses) + balanced_mean(losses, same_label(labels))).backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert losses.grad is not None
    assert (losses.grad > 0).equal(~torch.eye(3, dtype=torch.bool))


@given(batches())
@settings(deadline=None)
def test_the_logistic_loss_is_its_formula(batch: tuple[Tensor, list[int]]) -> None:
    outputs, labels = batch
    logits = (outputs @ outputs.T).clamp(-30, 30)
    expected = [
        [math.log(1 + math.exp(x)) - (labels[i] == labels[j]) * x for j, x in enumerate(row)]
        for i, row in enumerate(logits.tolist())
    ]
    torch.testing.assert_close(
        logistic_losses(logits, same_label(labels)),
        torch.tensor(expected, dtype=torch.float64),
        atol=1e-8,
        rtol=1e-8,
    )


def test_logistic_losses_worked_out_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [1e4, -1e4]])
    alike = torch.ones(2, 2, dtype=torch.bool)
    at_0, at_log_3 = math.log(2), math.log(4 / 3)
    torch.testing.assert_close(
        logistic_losses(logits, alike), torch.tensor([[at_0, at_log_3], [0.0, 1e4]])
    )
    torch.testing.assert_close(
        logistic_losses(logits, ~alike), torch.tensor([[at_0, math.log(4)], [1e4, 0.0]])
    )


@given(batches())
@settings(deadline=None)
def test_inner_products_are_their_formula_and_not_rounded_by_autocast(
    batch: tuple[Tensor, list[int]],
) -> None:
    rows = batch[0].tolist()
    expected = torch.tensor([[dot(a, b) for b in rows] for a in rows], dtype=torch.float64)
    torch.testing.assert_close(inner_products(batch[0]), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        products = inner_products(batch[0].float())
    assert products.dtype == torch.float32
    # bfloat16 would be 0.4 % away.
    torch.testing.assert_close(products, expected.float(), atol=1e-3, rtol=1e-5)
