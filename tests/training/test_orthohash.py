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
from hashsearch.training.objectives.orthohash import OrthoHash, margin_cosine_cross_entropy

N_FEATURES, N_BITS, N_CLASSES = 6, 16, 3
MARGIN, SCALE = 0.2, 8.0


def terms(made: OrthoHash, semantic: Tensor, labels: list[int]) -> dict[str, Tensor]:
    outputs = Outputs(semantic, torch.zeros(len(labels), N_FEATURES))
    return made.terms(outputs, torch.tensor(labels), same_label(labels), seeded())


def plain_loss(
    outputs: list[list[float]],
    labels: list[int],
    codewords: list[list[float]],
    margin: float,
    scale: float,
) -> float:
    """Hoe et al. 2021, section 3.2, one item and one class at a time."""
    losses = []
    for output, label in zip(outputs, labels, strict=True):
        exponentials = []
        for number, codeword in enumerate(codewords):
            dot = sum(a * b for a, b in zip(output, codeword, strict=True))
            lengths = math.hypot(*output) * math.hypot(*codeword)
            cosine = dot / lengths - (margin if number == label else 0)
            exponentials.append(math.exp(scale * cosine))
        losses.append(-math.log(exponentials[label] / sum(exponentials)))
    return sum(losses) / len(losses)


@given(
    st.lists(st.integers(0, N_CLASSES - 1), min_size=1, max_size=7),
    st.integers(0, 2**32),
    st.sampled_from([(MARGIN, SCALE), (0.0, 1.0), (0.5, 20.0)]),
)
@settings(deadline=None)
def test_the_loss_is_its_formula(
    labels: list[int], seed: int, constants: tuple[float, float]
) -> None:
    generator = seeded(seed)
    outputs = 3 * torch.randn(len(labels), N_BITS, generator=generator, dtype=torch.float64)
    codewords = torch.randn(N_CLASSES, N_BITS, generator=generator, dtype=torch.float64).sign()
    loss = margin_cosine_cross_entropy(outputs, torch.tensor(labels), codewords, *constants)
    assert float(loss) == pytest.approx(
        plain_loss(outputs.tolist(), labels, codewords.tolist(), *constants)
    )


def test_two_items_worked_out_by_hand() -> None:
    codewords = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0]])
    # The first is its codeword times 7, at right angles to the other; the second lies on an
    # axis, at a cosine of 1/2 to both.
    outputs = torch.tensor([[7.0, 7.0, 7.0, 7.0], [3.0, 0.0, 0.0, 0.0]])
    loss = margin_cosine_cross_entropy(outputs, torch.tensor([0, 1]), codewords, 0.2, 8.0)
    first = math.log(1 + math.exp(-8 * 0.8))
    second = math.log(1 + math.exp(8 * 0.2))
    assert float(loss) == pytest.approx((first + second) / 2)


def test_the_term_has_the_papers_margin_and_scale_and_the_classes_codes() -> None:
    semantic = torch.randn(5, N_BITS, generator=seeded())
    labels = [2, 0, 1, 1, 0]
    found = terms(OrthoHash(N_FEATURES, N_BITS, N_CLASSES), semantic, labels)
    assert set(found) == {"cosine"}
    assert found["cosine"] == margin_cosine_cross_entropy(
        semantic, torch.tensor(labels), hash_centres(N_CLASSES, N_BITS), MARGIN, SCALE
    )


def test_margin_and_scale_can_be_given() -> None:
    semantic = torch.randn(5, N_BITS, generator=seeded())
    labels = [2, 0, 1, 1, 0]
    made = OrthoHash(N_FEATURES, N_BITS, N_CLASSES, constants={"margin": 0.4, "scale": 3.0})
    assert terms(made, semantic, labels)["cosine"] == margin_cosine_cross_entropy(
        semantic, torch.tensor(labels), hash_centres(N_CLASSES, N_BITS), margin=0.4, scale=3.0
    )


@pytest.mark.parametrize("labels", [[0, 0, 1, 2], [1, 1, 1, 1]])
def test_gradients_are_those_of_finite_differences(labels: list[int]) -> None:
    outputs = torch.randn(4, N_BITS, generator=seeded(), dtype=torch.float64, requires_grad=True)
    codewords = hash_centres(N_CLASSES, N_BITS).double()
    rows = torch.tensor(labels)
    assert torch.autograd.gradcheck(
        lambda u: margin_cosine_cross_entropy(u, rows, codewords, MARGIN, SCALE), (outputs,)
    )


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [1]])
def test_outputs_of_0_and_large_ones_have_finite_losses_and_gradients(
    scale: float, labels: list[int]
) -> None:
    semantic = scale * torch.randn(len(labels), N_BITS, generator=seeded())
    semantic.requires_grad_()
    loss = terms(OrthoHash(N_FEATURES, N_BITS, N_CLASSES), semantic, labels)["cosine"]
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert loss.isfinite()
    assert semantic.grad is not None
    assert semantic.grad.isfinite().all()


def test_following_the_gradient_leads_to_the_codeword_of_the_class_alone() -> None:
    labels = [0, 0, 1, 2, 3, 4, 5, 5]
    made = OrthoHash(N_FEATURES, N_BITS, 6)
    semantic = torch.randn(len(labels), N_BITS, generator=seeded()).requires_grad_()
    optimiser = torch.optim.Adam([semantic], lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        terms(made, semantic, labels)["cosine"].backward()  # type: ignore[no-untyped-call]  # as above
        optimiser.step()
    cosine = torch.cosine_similarity(semantic.detach()[:, None], hash_centres(6, N_BITS), dim=2)
    own = torch.arange(6) == torch.tensor(labels)[:, None]
    assert cosine[own].min() > 0.75
    assert cosine[~own].max() < 0.1


def test_the_head_balances_its_bits_over_a_batch() -> None:
    torch.manual_seed(0)
    head = OrthoHash.semantic_head(N_FEATURES, N_BITS, N_CLASSES)
    outputs = head(5 + torch.randn(200, N_FEATURES, generator=seeded()))
    assert outputs.shape == (200, N_BITS)
    torch.testing.assert_close(outputs.mean(dim=0), torch.zeros(N_BITS), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        outputs.var(dim=0, correction=0), torch.ones(N_BITS), atol=1e-3, rtol=0
    )


def test_weight_0_leaves_its_term_out() -> None:
    made = OrthoHash(N_FEATURES, N_BITS, N_CLASSES, {"cosine": 0.0})
    assert not terms(made, torch.zeros(2, N_BITS), [0, 1])


def test_more_types_than_codes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="8 bits cannot"):
        OrthoHash(N_FEATURES, 8, 300)


# --- several classes an item -----------------------------------------------------------


def plain_loss_of_several(
    outputs: list[list[float]],
    labels: list[list[float]],
    codewords: list[list[float]],
    margin: float,
    scale: float,
) -> float:
    """The margin off the cosine of each own class, and the mean cross-entropy to them."""
    losses = []
    for output, own in zip(outputs, labels, strict=True):
        exponentials = []
        for has, codeword in zip(own, codewords, strict=True):
            dot = sum(a * b for a, b in zip(output, codeword, strict=True))
            cosine = dot / (math.hypot(*output) * math.hypot(*codeword)) - margin * has
            exponentials.append(math.exp(scale * cosine))
        each = [
            -math.log(value / sum(exponentials))
            for has, value in zip(own, exponentials, strict=True)
            if has
        ]
        losses.append(sum(each) / len(each))
    return sum(losses) / len(losses)


@given(st.integers(1, 6), st.integers(0, 2**32))
def test_the_loss_of_several_classes_is_its_formula(n: int, seed: int) -> None:
    generator = seeded(seed)
    outputs = 3 * torch.randn(n, N_BITS, generator=generator, dtype=torch.float64)
    codewords = torch.randn(N_CLASSES, N_BITS, generator=generator, dtype=torch.float64).sign()
    labels = torch.randint(0, 2, (n, N_CLASSES), generator=generator).double()
    labels[:, 0] = torch.where(labels.any(dim=1), labels[:, 0], 1.0)
    loss = margin_cosine_cross_entropy(outputs, labels, codewords, MARGIN, SCALE)
    assert float(loss) == pytest.approx(
        plain_loss_of_several(outputs.tolist(), labels.tolist(), codewords.tolist(), MARGIN, SCALE)
    )


def test_one_class_written_as_several_costs_the_same() -> None:
    outputs = torch.randn(3, N_BITS, generator=seeded())
    codewords = hash_centres(N_CLASSES, N_BITS)
    labels = torch.tensor([2, 0, 1])
    losses = [
        margin_cosine_cross_entropy(outputs, given, codewords, MARGIN, SCALE)
        for given in (labels, torch.eye(N_CLASSES)[labels])
    ]
    assert float(losses[0]) == pytest.approx(float(losses[1]))
