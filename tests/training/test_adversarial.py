from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_batches import batches, dot
from torch import Tensor
from toy import same_label, seeded

from hashsearch.errors import ArgumentError
from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.adversarial import (
    Adversarial,
    draw_partners,
    nearest_partners,
)
from hashsearch.training.objectives.cauchy import cauchy_cross_entropy, cauchy_quantisation

N_FEATURES, N_BITS, N_CLASSES = 6, 8, 3
LABELS = [0, 0, 0, 1, 1, 2]


def objective(**weights: float) -> Adversarial:
    torch.manual_seed(0)
    return Adversarial(N_FEATURES, N_BITS, N_CLASSES, weights).double()


def with_constants(**constants: float) -> Adversarial:
    torch.manual_seed(0)
    return Adversarial(N_FEATURES, N_BITS, N_CLASSES, constants=constants).double()


def outputs(n: int = len(LABELS), seed: int = 0) -> Outputs:
    generator = seeded(seed)
    return Outputs(
        semantic=torch.randn(
            n, N_BITS, generator=generator, dtype=torch.float64, requires_grad=True
        ),
        features=torch.randn(
            n, N_FEATURES, generator=generator, dtype=torch.float64, requires_grad=True
        ),
    )


def terms(made: Adversarial, batch: Outputs, labels: list[int]) -> dict[str, Tensor]:
    return made.terms(batch, torch.tensor(labels), same_label(labels), seeded())


def values(made: Adversarial, batch: Outputs, labels: list[int]) -> dict[str, float]:
    return {term: float(value.detach()) for term, value in terms(made, batch, labels).items()}


# --- drawing neighbours ----------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 2**32))
@settings(deadline=None)
def test_partners_are_neighbours_and_never_the_item_itself(labels: list[int], seed: int) -> None:
    rows, partners = draw_partners(same_label(labels), seeded(seed))
    drawn = list(zip(rows.tolist(), partners.tolist(), strict=True))
    assert all(row != partner and labels[row] == labels[partner] for row, partner in drawn)
    assert [row for row, _ in drawn] == [
        row for row, label in enumerate(labels) if labels.count(label) > 1
    ]


def test_every_neighbour_is_as_likely_as_another() -> None:
    neighbours = same_label([0, 0, 0, 0, 1, 1])
    generator = seeded()
    counts = torch.zeros(6, 6)
    for _ in range(3000):
        rows, partners = draw_partners(neighbours, generator)
        counts[rows, partners] += 1
    # 3 partners to choose from: 1,000 each, with a standard deviation of 26.
    assert (counts[:4, :4][~torch.eye(4, dtype=torch.bool)] - 1000).abs().max() < 130
    assert counts[4, 5] == counts[5, 4] == 3000


def test_without_neighbours_nothing_is_drawn() -> None:
    rows, partners = draw_partners(same_label([0, 1, 2]), seeded())
    assert rows.tolist() == partners.tolist() == []


def test_a_share_of_the_partners_can_be_other_views() -> None:
    n = 600
    rows, partners = draw_partners(same_label([0] * n), seeded(), views=0.25)
    others = (partners - rows).abs() == n // 2
    assert others.sum() == pytest.approx(0.25 * n, rel=0.2)
    rows, partners = draw_partners(same_label([0, 1, 2, 3, 0, 1, 2, 3]), seeded(), views=1.0)
    assert partners.tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    with pytest.raises(ArgumentError, match="5 rows are no two views"):
        draw_partners(same_label([0] * 5), seeded(), views=0.5)


def plain_distances(codes: list[list[float]], labels: list[int]) -> list[dict[int, float]]:
    """Distances of the other images of a row's type that have other bits, row by row."""
    n, n_bits = len(codes), len(codes[0])
    bits = [[value >= 0 for value in code] for code in codes]
    found: list[dict[int, float]] = [{} for _ in codes]
    for row, other in itertools.product(range(n), repeat=2):
        same_image = other % (n // 2) == row % (n // 2)
        if not same_image and labels[other] == labels[row] and bits[other] != bits[row]:
            a, b = codes[row], codes[other]
            cosine = dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))
            found[row][other] = n_bits / 2 * (1 - cosine)
    return found


@given(batches())
@settings(deadline=None)
def test_the_nearest_partner_is_its_definition(batch: tuple[Tensor, list[int]]) -> None:
    half, labels = torch.tanh(batch[0]), batch[1] * 2
    codes = torch.cat([half, half.flip(1)])
    found = nearest_partners(codes, same_label(labels)).tolist()
    for row, distances in zip(found, plain_distances(codes.tolist(), labels), strict=True):
        if distances:
            assert distances[row] == pytest.approx(min(distances.values()))
        else:
            assert row == -1


def test_of_equally_near_partners_the_first_is_taken() -> None:
    # Images 0 and 3 have one code; 1 and 2 are one bit from it, and two from each other.
    codes = torch.tensor([[1, 1, 1], [1, 1, -1], [-1, 1, 1], [1, 1, 1]]).double().repeat(2, 1)
    assert nearest_partners(codes, same_label([0] * 8)).tolist() == [1, 0, 0, 1] * 2
    assert nearest_partners(codes[[0, 3]], same_label([0, 0])).tolist() == [-1, -1]
    with pytest.raises(ArgumentError, match="3 rows are no two views"):
        nearest_partners(codes[:3], same_label([0] * 3))


# --- the terms -------------------------------------------------------------------------


def test_classification_is_cross_entropy_of_the_type() -> None:
    made, batch = objective(), outputs()
    weight, bias = made.classifier.weight.tolist(), made.classifier.bias.tolist()
    losses = []
    for output, label in zip(batch.semantic.tolist(), LABELS, strict=True):
        code = [math.tanh(value) for value in output]
        logits = [
            sum(w * h for w, h in zip(row, code, strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]
        losses.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
    expected = sum(losses) / len(losses)
    assert values(made, batch, LABELS)["classification"] == pytest.approx(expected)


def test_hamming_and_quantisation_are_the_cauchy_losses_of_tanh() -> None:
    made, batch = objective(), outputs()
    codes = torch.tanh(batch.semantic)
    found = terms(made, batch, LABELS)
    assert found["hamming"] == cauchy_cross_entropy(codes, same_label(LABELS), 20.0)
    assert found["quantisation"] == cauchy_quantisation(codes, 20.0)


@torch.no_grad()
def judged(
    made: Adversarial, batch: Outputs, softness: float = 0.0
) -> tuple[list[float], list[float]]:
    """D's probabilities of "own", for own and for swapped codes, one image at a time."""
    codes = softness * torch.tanh(batch.semantic) + (1 - softness) * torch.sign(batch.semantic)
    rows, partners = draw_partners(same_label(LABELS), seeded())
    own, swapped = [], []
    for row, partner in zip(rows.tolist(), partners.tolist(), strict=True):
        image = batch.features[row : row + 1]
        own.append(float(made.discriminator(image, codes[row : row + 1]).sigmoid()))
        swapped.append(float(made.discriminator(image, codes[partner : partner + 1]).sigmoid()))
    return own, swapped


@pytest.mark.parametrize("softness", [0.0, 0.3, 1.0])
def test_the_scramble_term_is_its_formula(softness: float) -> None:
    made, batch = with_constants(softness=softness), outputs()
    own, swapped = judged(made, batch, softness)
    losses = [-(math.log(p) + math.log(1 - p)) / 2 for p in own + swapped]
    expected = sum(losses) / len(losses) - math.log(2)
    assert expected > 0
    assert values(made, batch, LABELS)["adversarial"] == pytest.approx(expected)


def test_the_discriminators_loss_and_accuracy_are_their_formulas() -> None:
    made, batch = objective(), outputs()
    own, swapped = judged(made, batch)
    found = made.adversary(batch, same_label(LABELS), seeded())
    assert found is not None
    losses = [-math.log(p) for p in own] + [-math.log(1 - p) for p in swapped]
    right = [p > 0.5 for p in own] + [p <= 0.5 for p in swapped]
    assert float(found[0].detach()) == pytest.approx(sum(losses) / len(losses))
    assert float(found[1]) == pytest.approx(sum(right) / len(right))


def test_two_images_worked_by_hand() -> None:
    """Codes ``++`` and ``+-``; D's logit is the feature and twice the second bit."""
    made = Adversarial(1, 2, 2).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.classifier.weight += torch.eye(2)
        first, second, last = (
            layer for layer in made.discriminator.layers if isinstance(layer, torch.nn.Linear)
        )
        first.weight[0] = torch.tensor([1.0, 0.0, 2.0])
        first.bias[0] = 10.0  # where no unit leaks, D is linear
        second.weight[0, 0] = last.weight[0, 0] = 1.0
        last.bias[0] = -10.0
    batch = Outputs(
        semantic=torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64),
        features=torch.tensor([[0.5], [-0.5]], dtype=torch.float64),
    )
    # D's logits: 2.5 and -2.5 with the own codes, -1.5 and 1.5 with the swapped ones.
    found = made.adversary(batch, same_label([0, 0]), seeded())
    assert found is not None
    assert float(found[0].detach()) == pytest.approx(1.1401515, abs=1e-7)
    assert float(found[1]) == 0.5
    terms_of = values(made, batch, [0, 0])
    assert terms_of["adversarial"] == pytest.approx(0.4470043, abs=1e-7)
    assert terms_of["classification"] == pytest.approx(0.4793601, abs=1e-7)


def test_the_scramble_term_is_0_where_the_discriminator_is_at_chance() -> None:
    made = objective()
    for parameter in made.discriminator.parameters():
        torch.nn.init.zeros_(parameter)
    assert values(made, outputs(), LABELS)["adversarial"] == pytest.approx(0, abs=1e-12)


def test_the_scramble_gradient_reaches_the_codes_but_not_the_features() -> None:
    batch = outputs()
    terms(objective(), batch, LABELS)["adversarial"].backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert batch.features.grad is None
    assert batch.semantic.grad is not None
    # All but the last item, which has no neighbour.
    assert batch.semantic.grad.ne(0).any(dim=1).tolist() == [True] * 5 + [False]


def test_the_discriminators_loss_reaches_the_discriminator_only() -> None:
    made, batch = objective(), outputs()
    found = made.adversary(batch, same_label(LABELS), seeded())
    assert found is not None
    found[0].backward()  # type: ignore[no-untyped-call]  # as above
    assert batch.semantic.grad is None
    assert batch.features.grad is None
    trained = {id(parameter) for parameter in made.adversary_parameters()}
    for parameter in made.parameters():
        assert (parameter.grad is not None) == (id(parameter) in trained)
    assert trained == {id(parameter) for parameter in made.discriminator.parameters()}


def test_the_gradient_goes_straight_through_the_signs() -> None:
    made, batch = objective(), outputs()
    terms(made, batch, LABELS)["adversarial"].backward()  # type: ignore[no-untyped-call]  # as above
    # As if D were shown h, at a place where h happens to be the signs.
    shown = torch.sign(batch.semantic.detach()).requires_grad_()
    rows, partners = draw_partners(same_label(LABELS), seeded())
    logits = torch.cat(
        [made.discriminator(batch.features[rows], shown[codes]) for codes in (rows, partners)]
    )
    even = torch.full_like(logits, 0.5)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, even).backward()  # type: ignore[no-untyped-call]  # as above
    assert shown.grad is not None
    slope = 1 - torch.tanh(batch.semantic.detach()) ** 2
    torch.testing.assert_close(batch.semantic.grad, shown.grad * slope)


def test_a_zero_is_seen_as_the_bit_1_that_it_becomes() -> None:
    made, batch = objective(), outputs()
    zero, one = batch.semantic.detach().clone(), batch.semantic.detach().clone()
    zero[2, 3], one[2, 3] = 0.0, 1.0
    found = [
        values(made, Outputs(semantic, batch.features), LABELS)["adversarial"]
        for semantic in (zero, one)
    ]
    assert found[0] == found[1]


def test_all_swapped_codes_can_be_those_of_the_other_view() -> None:
    made, batch, labels = with_constants(views=1.0), outputs(), [0, 1, 2, 0, 1, 2]
    with torch.no_grad():
        codes = torch.sign(batch.semantic)
        own, swapped = (
            made.discriminator(batch.features, shown).sigmoid()
            for shown in (codes, codes[[3, 4, 5, 0, 1, 2]])
        )
    found = made.adversary(batch, same_label(labels), seeded())
    assert found is not None
    expected = -(own.log().mean() + (1 - swapped).log().mean()) / 2
    assert float(found[0].detach()) == pytest.approx(float(expected))


def test_all_swapped_codes_can_be_those_of_the_nearest_neighbour() -> None:
    made, batch, labels = with_constants(nearest=1.0), outputs(), [0, 0, 1, 0, 0, 1]
    rows, drawn = draw_partners(same_label(labels), seeded())
    nearest = nearest_partners(torch.tanh(batch.semantic), same_label(labels)).tolist()
    # The third and the sixth are two views of the only image of its type: what was drawn stays.
    assert [row for row in rows.tolist() if nearest[row] < 0] == [2, 5]
    taken = torch.where(torch.tensor(nearest) >= 0, torch.tensor(nearest), drawn)
    with torch.no_grad():
        codes = torch.sign(batch.semantic)
        own = made.discriminator(batch.features, codes).sigmoid()
        swapped = made.discriminator(batch.features, codes[taken]).sigmoid()
    found = made.adversary(batch, same_label(labels), seeded())
    assert found is not None
    expected = -(own.log().mean() + (1 - swapped).log().mean()) / 2
    assert float(found[0].detach()) == pytest.approx(float(expected))


def test_a_share_of_the_swapped_codes_can_be_those_of_the_nearest_neighbour() -> None:
    class SameFirst(torch.nn.Module):
        """It takes a code for one's own if its first bit is that of one's feature."""

        def forward(self, features: Tensor, codes: Tensor) -> Tensor:
            return features[:, 0] * codes[:, 0]

    n = 600
    semantic = torch.randn(n, N_BITS, generator=seeded(), dtype=torch.float64)
    semantic[:, 0] = torch.tensor([9.0, -9.0]).repeat(n // 2)
    # A nearest neighbour has one's own first bit, of those drawn it is half.
    for share in (0.0, 0.25, 1.0):
        made = with_constants(nearest=share)
        made.discriminator = SameFirst()  # type: ignore[assignment]  # it is asked alike
        found = made.adversary(Outputs(semantic, semantic), same_label([0] * n), seeded())
        assert found is not None
        assert float(found[1]) == pytest.approx(0.75 - 0.25 * share, abs=0.03)


def test_the_discriminator_rests_while_more_than_the_ceiling_of_its_answers_is_right() -> None:
    batch = outputs()
    found = objective().adversary(batch, same_label(LABELS), seeded())
    assert found is not None
    loss, accuracy = float(found[0].detach()), float(found[1])
    assert 0 < accuracy < 1
    for ceiling, learns in ((accuracy - 0.01, False), (accuracy + 0.01, True), (1.0, True)):
        made = with_constants(ceiling=ceiling)
        told = made.adversary(batch, same_label(LABELS), seeded())
        assert told is not None
        assert (float(told[0].detach()), float(told[1])) == (loss, accuracy)
        assert told[0].requires_grad == learns


@pytest.mark.parametrize("name", ["softness", "views", "nearest", "ceiling"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_share_is_from_0_to_1(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=f"constant {name} must be a number from 0 to 1"):
        with_constants(**{name: value})


def test_gradients_are_those_of_finite_differences() -> None:
    # Of h itself: signs have no finite differences.
    made, batch = with_constants(softness=1.0), outputs()

    def loss(semantic: Tensor) -> Tensor:
        return torch.stack(list(terms(made, Outputs(semantic, batch.features), LABELS).values()))

    assert torch.autograd.gradcheck(loss, (batch.semantic,))


def test_saturated_codes_have_finite_gradients() -> None:
    made, batch = objective(), outputs()
    saturated = (batch.semantic.detach() * 1e4).requires_grad_()
    found = terms(made, Outputs(saturated, batch.features), LABELS)
    torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]  # as above
    assert saturated.grad is not None
    assert saturated.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 0], [1, 2]])
def test_batches_of_one_sort_of_pair_have_finite_terms_and_gradients(labels: list[int]) -> None:
    batch = outputs(len(labels))
    found = terms(objective(), batch, labels)
    torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]  # as above
    assert all(bool(value.isfinite()) for value in found.values())
    assert batch.semantic.grad is not None
    assert batch.semantic.grad.isfinite().all()


def test_a_batch_without_neighbours_has_nothing_to_judge() -> None:
    made, batch, labels = objective(), outputs(3), [0, 1, 2]
    assert made.adversary(batch, same_label(labels), seeded()) is None
    scramble = terms(made, batch, labels)["adversarial"]
    assert float(scramble.detach()) == 0
    scramble.backward()  # type: ignore[no-untyped-call]  # as above
    assert batch.semantic.grad is not None
    assert batch.semantic.grad.eq(0).all()


# --- the game --------------------------------------------------------------------------


def play(codes_of: Tensor, features: Tensor, labels: list[int], steps: int) -> float:
    """The discriminator's accuracy after ``steps`` of learning, over the last 50 of them."""
    made = objective()
    optimiser = torch.optim.Adam(made.adversary_parameters(), lr=3e-3)
    generator = seeded()
    right = []
    for _ in range(steps):
        found = made.adversary(Outputs(codes_of, features), same_label(labels), generator)
        assert found is not None
        optimiser.zero_grad()
        found[0].backward()  # type: ignore[no-untyped-call]  # as above
        optimiser.step()
        right.append(float(found[1]))
    return sum(right[-50:]) / 50


def test_the_discriminator_learns_codes_that_follow_from_the_features() -> None:
    generator = seeded(3)
    labels = [row % 4 for row in range(64)]
    features = torch.randn(64, N_FEATURES, generator=generator, dtype=torch.float64)
    mixing = torch.randn(N_FEATURES, N_BITS, generator=generator, dtype=torch.float64)
    assert play(2 * features @ mixing, features, labels, steps=300) > 0.85


def test_codes_that_say_nothing_of_an_image_leave_the_discriminator_at_chance() -> None:
    """Codes know the class and have noise, drawn anew for each batch: there is nothing to learn."""
    generator = seeded(3)
    labels = [row % 4 for row in range(64)]
    code_of_class = torch.randn(4, N_BITS, generator=generator, dtype=torch.float64)
    made = objective()
    optimiser = torch.optim.Adam(made.adversary_parameters(), lr=3e-3)
    right = []
    for _ in range(200):
        features, noise = (
            torch.randn(64, width, generator=generator, dtype=torch.float64)
            for width in (N_FEATURES, N_BITS)
        )
        batch = Outputs(code_of_class[labels] + 2 * noise, features)
        found = made.adversary(batch, same_label(labels), generator)
        assert found is not None
        optimiser.zero_grad()
        found[0].backward()  # type: ignore[no-untyped-call]  # as above
        optimiser.step()
        right.append(float(found[1]))
    # 128 cases a batch: a standard deviation of 0.004 over the last 100 batches.
    assert sum(right[100:]) / 100 == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("softness", "share"), [(1.0, 0.1), (0.0, 0.5)])
def test_following_the_scramble_gradient_drives_the_discriminator_towards_chance(
    softness: float, share: float
) -> None:
    made, batch = with_constants(softness=softness), outputs()
    optimiser = torch.optim.Adam([batch.semantic], lr=0.05)
    values = []
    for _ in range(60):
        scramble = terms(made, batch, LABELS)["adversarial"]
        optimiser.zero_grad()
        scramble.backward()  # type: ignore[no-untyped-call]  # as above
        optimiser.step()
        values.append(float(scramble.detach()))
    assert values[-1] < share * values[0]


# --- weights and constants -------------------------------------------------------------


def test_it_is_known_by_its_name() -> None:
    assert OBJECTIVES["adversarial"] is Adversarial


def test_weights_that_are_not_given_are_the_defaults() -> None:
    assert objective(hamming=0.25).weights == {**Adversarial.default_weights, "hamming": 0.25}


@pytest.mark.parametrize("term", sorted(Adversarial.default_weights))
def test_weight_0_leaves_a_term_out(term: str) -> None:
    made = objective(**{term: 0.0})
    assert set(terms(made, outputs(), LABELS)) == set(Adversarial.default_weights) - {term}
    has_adversary = made.adversary(outputs(), same_label(LABELS), seeded()) is not None
    assert has_adversary == (term != "adversarial")


def test_an_unknown_term_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"no term 'triplet'; it has classification, hamming"):
        objective(triplet=1.0)


@pytest.mark.parametrize(("settling", "gamma"), [(False, 7.0), (True, 3.0)])
def test_gamma_can_be_given(settling: bool, gamma: float) -> None:
    constants = {"gamma": 7.0, "settled_gamma": 3.0}
    made = Adversarial(N_FEATURES, N_BITS, N_CLASSES, constants=constants).double()
    made.start_epoch(1, 1, settling=settling)
    batch = outputs()
    codes = torch.tanh(batch.semantic.detach())
    found = values(made, batch, LABELS)
    assert found["hamming"] == float(cauchy_cross_entropy(codes, same_label(LABELS), gamma))
    assert found["quantisation"] == float(cauchy_quantisation(codes, gamma))


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_weight_that_can_be_none_is_refused(weight: float) -> None:
    with pytest.raises(ArgumentError, match=r"weight of hamming .* from 0 up"):
        objective(hamming=weight)
