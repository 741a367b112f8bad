"""What every objective keeps to, and that each of them learns."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toy import same_label, seeded, toy_set

from hashsearch.errors import ArgumentError
from hashsearch.images import FASHION_MNIST
from hashsearch.training.objectives import OBJECTIVES, Objective, Outputs
from hashsearch.training.objectives.base import classification_loss
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.trainer import TrainedNetwork, train

PAIRWISE = ("dch", "hashnet", "dpsh", "dsh")
POINTWISE = ("dlbhc", "csq", "orthohash", "classifier-bits", "ladder")
TRAINED = ("adversarial", *PAIRWISE, *POINTWISE)
N_FEATURES, N_BITS, N_CLASSES = 6, 16, 3
LABELS = [0, 0, 0, 1, 1, 2]


def objective(name: str, **weights: float) -> Objective:
    torch.manual_seed(0)
    return OBJECTIVES[name](N_FEATURES, N_BITS, N_CLASSES, weights)


def random_outputs(n: int, *, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(n, N_BITS, generator=seeded())).requires_grad_()


def terms(made: Objective, semantic: Tensor, labels: list[int]) -> dict[str, Tensor]:
    outputs = Outputs(semantic, torch.zeros(len(labels), N_FEATURES))
    return made.terms(outputs, torch.tensor(labels), same_label(labels), seeded())


def total(made: Objective, semantic: Tensor, labels: list[int]) -> Tensor:
    found = terms(made, semantic, labels)
    return torch.stack([made.weights[term] * value for term, value in found.items()]).sum()


def gradient(loss: Tensor, semantic: Tensor) -> Tensor:
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert semantic.grad is not None
    return semantic.grad


# --- names, weights and constants ------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_known_by_its_name(name: str) -> None:
    assert OBJECTIVES[name].name == name


@pytest.mark.parametrize(
    ("name", "term"),
    [(name, term) for name in PAIRWISE for term in OBJECTIVES[name].default_weights],
)
def test_weight_0_leaves_a_term_out(name: str, term: str) -> None:
    everything = OBJECTIVES[name].default_weights
    semantic = random_outputs(len(LABELS))
    assert list(terms(objective(name), semantic, LABELS)) == list(everything)
    without = objective(name, **{term: 0.0})
    assert set(terms(without, semantic, LABELS)) == set(everything) - {term}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_unknown_term_is_refused_and_the_known_ones_are_named(name: str) -> None:
    known = ", ".join(OBJECTIVES[name].default_weights)
    with pytest.raises(ArgumentError, match=f"{name} has no term 'triplet'; it has {known}"):
        objective(name, triplet=1.0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_constants_that_are_not_given_are_the_defaults(name: str) -> None:
    defaults = OBJECTIVES[name].default_constants
    assert objective(name).constants == defaults
    for constant in defaults:
        _, highest = OBJECTIVES[name].constant_ranges.get(constant, (0.0, 7.0))
        made = OBJECTIVES[name](N_FEATURES, N_BITS, N_CLASSES, constants={constant: highest})
        assert made.constants == {**defaults, constant: highest}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_unknown_constant_is_refused_and_the_known_ones_are_named(name: str) -> None:
    known = ", ".join(OBJECTIVES[name].default_constants) or "none"
    with pytest.raises(ArgumentError, match=f"{name} has no constant 'tau'; it has {known}$"):
        OBJECTIVES[name](N_FEATURES, N_BITS, N_CLASSES, constants={"tau": 1.0})


# --- any batch -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("labels", [LABELS, [0, 0, 0], [0, 0], [0, 1, 2], [1, 2]])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_terms_and_gradients_are_finite(name: str, labels: list[int], scale: float) -> None:
    semantic = random_outputs(len(labels), scale=scale)
    loss = total(objective(name), semantic, labels)
    assert loss.isfinite()
    assert gradient(loss, semantic).isfinite().all()


@pytest.mark.parametrize("name", PAIRWISE)
def test_an_item_is_no_pair_with_itself(name: str) -> None:
    made, semantic = objective(name), random_outputs(len(LABELS))
    neighbours = same_label(LABELS)
    others = neighbours & ~torch.eye(len(LABELS), dtype=torch.bool)
    outputs = Outputs(semantic, torch.zeros(len(LABELS), N_FEATURES))
    with_diagonal, without = (
        made.terms(outputs, torch.tensor(LABELS), table, seeded()) for table in (neighbours, others)
    )
    assert with_diagonal == without


@pytest.mark.parametrize("name", PAIRWISE)
def test_the_order_of_the_items_does_not_matter(name: str) -> None:
    made, semantic = objective(name), random_outputs(len(LABELS)).detach()
    order = [3, 5, 0, 2, 4, 1]
    shuffled = total(made, semantic[order], [LABELS[row] for row in order])
    assert float(shuffled) == pytest.approx(float(total(made, semantic, LABELS)), rel=1e-5)


@pytest.mark.parametrize("name", PAIRWISE)
def test_autocast_does_not_round_the_terms(name: str) -> None:
    made, semantic = objective(name), random_outputs(len(LABELS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = terms(made, semantic, LABELS)
    assert inside == terms(made, semantic, LABELS)
    assert {value.dtype for value in inside.values()} == {torch.float32}


@pytest.mark.parametrize("name", PAIRWISE)
def test_following_the_gradient_parts_strangers_and_joins_neighbours(name: str) -> None:
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    made, semantic = objective(name), random_outputs(len(labels), scale=0.1)
    optimiser = torch.optim.Adam([semantic], lr=0.05)
    for epoch in range(1, 101):
        made.start_epoch(epoch, 100, settling=False)
        optimiser.zero_grad()
        gradient(total(made, semantic, labels), semantic)
        optimiser.step()
    bits = semantic.detach() >= 0
    distance = (bits[:, None] != bits[None, :]).sum(dim=2)
    neighbours = same_label(labels)
    assert distance[neighbours].max() == 0
    assert distance[~neighbours].min() >= N_BITS // 2


# --- training --------------------------------------------------------------------------

PLAN = TrainingPlan(
    n_bits=N_BITS,
    fine_bits=0,
    epochs=8,
    settle_epochs=0,
    batch_size=16,
    device="cpu",
    precision="float32",
)


def run(plan: TrainingPlan, n_images: int) -> TrainedNetwork:
    return train(plan, toy_set(n_images, seed=0), toy_set(80, seed=1), FASHION_MNIST)


@pytest.mark.parametrize("name", TRAINED)
def test_training_lifts_the_validation_map_well_above_that_of_no_training(name: str) -> None:
    plan = replace(PLAN, objective=name)
    trained = run(plan, 256)
    untrained = run(replace(plan, learning_rate=1e-9, epochs=1), 16)
    assert untrained.best.validation_map < 0.7
    assert trained.best.validation_map > 0.85
    assert trained.weights == OBJECTIVES[name].default_weights


# --- classes: one, none or several -----------------------------------------------------

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])


def test_one_class_costs_its_cross_entropy() -> None:
    losses = [
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(LOGITS.tolist(), [2, 1], strict=True)
    ]
    loss = classification_loss(LOGITS, torch.tensor([2, 1]))
    assert float(loss) == pytest.approx(sum(losses) / 2)
    # A row without a class is not asked for one.
    assert float(classification_loss(LOGITS, torch.tensor([2, -1]))) == pytest.approx(losses[0])


def test_where_no_row_has_a_class_nothing_is_learnt() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = classification_loss(logits, torch.tensor([-1, -1]))
    assert float(loss.detach()) == 0
    assert not gradient(loss, logits).any()


def test_several_classes_cost_the_cross_entropy_of_each_alike() -> None:
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    logits = torch.cat([LOGITS, LOGITS[:1]])
    losses = []
    for row, own in zip(LOGITS.tolist(), labels.tolist(), strict=False):
        whole = math.log(sum(math.exp(value) for value in row))
        of_classes = [whole - value for value, has in zip(row, own, strict=True) if has]
        losses.append(sum(of_classes) / len(of_classes))
    # The last row has no class, and is not asked for one.
    assert float(classification_loss(logits, labels)) == pytest.approx(sum(losses) / 2)
    assert float(classification_loss(logits[2:], labels[2:])) == 0
    one_each = torch.nn.functional.one_hot(torch.tensor([2, 1]), 3).float()
    alone = classification_loss(LOGITS, torch.tensor([2, 1]))
    assert float(classification_loss(LOGITS, one_each)) == pytest.approx(float(alone))


SEVERAL = [name for name in OBJECTIVES if OBJECTIVES[name].several_classes]


@pytest.mark.parametrize("name", SEVERAL)
def test_every_objective_that_takes_several_classes_has_a_gradient_of_them(name: str) -> None:
    made = objective(name)
    semantic = random_outputs(6)
    labels = torch.tensor(
        [[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 1, 0]]
    ).float()
    pixels = torch.zeros(6, 1, 28, 28)
    neighbours = labels @ labels.T >= 1
    found = made.terms(
        Outputs(semantic, torch.zeros(6, N_FEATURES), pixels), labels, neighbours, seeded()
    )
    loss = torch.stack([made.weights[term] * value for term, value in found.items()]).sum()
    slope = gradient(loss, semantic)
    assert slope.isfinite().all()
    assert slope.abs().max() > 0
