from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives.instance import instance_discrimination


@st.composite
def views(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[int]]:
    """Two views' codes, ``float64 (n, F)`` each, and a label an item."""
    n, width = draw(st.integers(1, 6)), draw(st.sampled_from([1, 8]))
    labels = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    generator = seeded(draw(st.integers(0, 2**32)))
    codes = torch.tanh(torch.randn(2, n, width, generator=generator, dtype=torch.float64))
    return codes[0], codes[1], labels


def plain_cosine(first: list[float], second: list[float]) -> float:
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))


def plain_loss(
    first: list[list[float]], second: list[list[float]], labels: list[int], temperature: float
) -> float:
    """``-log(exp(c_ii / t) / sum_j exp(c_ij / t))``, item by item, in four tables."""
    n = len(first)
    everyone = [list(range(n))] * n
    alike = [[j for j in range(n) if labels[j] == labels[i]] for i in range(n)]
    losses = []
    for views_from, views_to in ((first, second), (second, first)):
        for candidates in (everyone, alike):
            for i in range(n):
                share = {
                    j: math.exp(plain_cosine(views_from[i], views_to[j]) / temperature)
                    for j in candidates[i]
                }
                losses.append(-math.log(share[i] / sum(share.values())))
    return sum(losses) / len(losses)


@given(views(), st.sampled_from([0.1, 0.15, 1.0]))
@settings(deadline=None)
def test_the_loss_is_its_formula(
    batch: tuple[Tensor, Tensor, list[int]], temperature: float
) -> None:
    first, second, labels = batch
    loss = instance_discrimination(first, second, same_label(labels), temperature)
    expected = plain_loss(first.tolist(), second.tolist(), labels, temperature)
    assert float(loss) == pytest.approx(expected, abs=1e-9)


@given(views(), st.integers(0, 2**32))
@settings(deadline=None)
def test_images_of_one_article_are_left_out_of_each_others_sums(
    batch: tuple[Tensor, Tensor, list[int]], seed: int
) -> None:
    first, second, labels = batch
    articles = torch.randint(3, (len(labels),), generator=seeded(seed))
    alike = articles[:, None] == articles[None, :]
    loss = instance_discrimination(first, second, same_label(labels), 0.15, alike)
    losses = []
    for one, other in ((first, second), (second, first)):
        for everyone in (True, False):
            for i in range(len(labels)):
                share = {
                    j: math.exp(plain_cosine(one[i].tolist(), other[j].tolist()) / 0.15)
                    for j in range(len(labels))
                    if j == i
                    or (articles[i] != articles[j] and (everyone or labels[i] == labels[j]))
                }
                losses.append(-math.log(share[i] / sum(share.values())))
    assert float(loss) == pytest.approx(sum(losses) / len(losses), abs=1e-9)


@given(views())
@settings(deadline=None)
def test_the_views_may_be_exchanged(batch: tuple[Tensor, Tensor, list[int]]) -> None:
    first, second, labels = batch
    neighbours = same_label(labels)
    torch.testing.assert_close(
        instance_discrimination(first, second, neighbours, 0.15),
        instance_discrimination(second, first, neighbours, 0.15),
    )


@given(views())
@settings(deadline=None)
def test_the_diagonal_is_taken_as_true(batch: tuple[Tensor, Tensor, list[int]]) -> None:
    first, second, labels = batch
    neighbours = same_label(labels)
    without = neighbours & ~torch.eye(len(first), dtype=torch.bool)
    assert instance_discrimination(first, second, neighbours, 0.15) == instance_discrimination(
        first, second, without, 0.15
    )


def test_two_opposite_items_worked_out_by_hand() -> None:
    codes = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    # c_ii = 1 and c_ij = -1 at t = 1: -log(e / (e + 1/e)) = log(1 + e^-2).
    apart = math.log(1 + math.exp(-2))
    neighbours = instance_discrimination(codes, codes, same_label([0, 0]), 1.0)
    assert float(neighbours) == pytest.approx(apart)
    # Strangers are told apart over the batch only; within a class each item is alone.
    strangers = instance_discrimination(codes, codes, same_label([0, 1]), 1.0)
    assert float(strangers) == pytest.approx(apart / 2)


@pytest.mark.parametrize(
    ("labels", "share_within"), [([0, 0, 0, 0], 1.0), ([0, 1, 2, 3], 0.0), ([0, 0, 1, 1], 0.5)]
)
def test_identical_codes_leave_a_guess_among_all(labels: list[int], share_within: float) -> None:
    codes = torch.ones(4, 8, requires_grad=True)
    loss = instance_discrimination(codes, codes, same_label(labels), 0.15)
    # log 4 over the batch; log 4, log 1 or log 2 within the class.
    assert float(loss.detach()) == pytest.approx(math.log(4) * (1 + share_within) / 2)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert codes.grad is not None
    assert codes.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]])
def test_gradients_are_those_of_finite_differences(labels: list[int]) -> None:
    first, second = (
        torch.randn(5, 8, generator=seeded(seed), dtype=torch.float64, requires_grad=True)
        for seed in (1, 2)
    )
    neighbours = same_label(labels)
    assert torch.autograd.gradcheck(
        lambda a, b: instance_discrimination(torch.tanh(a), torch.tanh(b), neighbours, 0.15),
        (first, second),
    )


def test_saturated_codes_have_finite_gradients() -> None:
    outputs = torch.where(torch.randn(6, 16, generator=seeded()) >= 0, 1e4, -1e4)
    outputs.requires_grad_()
    codes = torch.tanh(outputs)
    instance_discrimination(codes, codes, same_label([0, 0, 1, 1, 2, 2]), 0.15).backward()  # type: ignore[no-untyped-call]  # as above
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
