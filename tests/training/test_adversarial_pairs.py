from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.adversarial import draw_partners
from hashsearch.training.objectives.adversarial_pairs import AdversarialPairs

N_FEATURES, N_BITS, N_CLASSES = 6, 8, 3
LABELS = [0, 0, 0, 1, 1, 2]


def objective() -> AdversarialPairs:
    torch.manual_seed(0)
    return AdversarialPairs(N_FEATURES, N_BITS, N_CLASSES).double()


def outputs() -> Outputs:
    semantic, features = (
        torch.randn(len(LABELS), width, generator=seeded(width), dtype=torch.float64)
        for width in (N_BITS, N_FEATURES)
    )
    return Outputs(semantic.requires_grad_(), features.requires_grad_())


@torch.no_grad()
def judged(made: AdversarialPairs, batch: Outputs) -> tuple[list[float], list[float]]:
    """D's probabilities of "the query's", for its code and for its neighbour's, pair by pair."""
    rows, partners = draw_partners(same_label(LABELS), seeded())
    query_s: list[float] = []
    gallery_s: list[float] = []
    for query, item in zip(rows.tolist(), partners.tolist(), strict=True):
        both = torch.cat([batch.features[query], batch.features[item]])[None]
        for row, found in ((query, query_s), (item, gallery_s)):
            bits = torch.sign(batch.semantic[row])[None]
            found.append(float(made.discriminator(both, bits).sigmoid()))
    return query_s, gallery_s


def scramble(made: AdversarialPairs, batch: Outputs) -> Tensor:
    return made.terms(batch, torch.tensor(LABELS), same_label(LABELS), seeded())["adversarial"]


def test_it_is_known_by_its_name() -> None:
    assert OBJECTIVES["adversarial-pairs"] is AdversarialPairs


def test_the_discriminator_says_whose_of_the_two_a_code_is() -> None:
    made, batch = objective(), outputs()
    query_s, gallery_s = judged(made, batch)
    found = made.adversary(batch.detached(), same_label(LABELS), seeded())
    assert found is not None
    losses = [-math.log(p) for p in query_s] + [-math.log(1 - p) for p in gallery_s]
    right = [p > 0.5 for p in query_s] + [p <= 0.5 for p in gallery_s]
    assert float(found[0].detach()) == pytest.approx(sum(losses) / len(losses))
    assert float(found[1]) == pytest.approx(sum(right) / len(right))


def test_the_scramble_term_is_its_formula() -> None:
    made, batch = objective(), outputs()
    query_s, gallery_s = judged(made, batch)
    losses = [-(math.log(p) + math.log(1 - p)) / 2 for p in query_s + gallery_s]
    expected = sum(losses) / len(losses) - math.log(2)
    assert float(scramble(made, batch).detach()) == pytest.approx(expected)


def test_the_encoder_answers_with_its_codes_alone() -> None:
    batch = outputs()
    scramble(objective(), batch).backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert batch.features.grad is None
    assert batch.semantic.grad is not None
    # All but the last item, which has no neighbour.
    assert batch.semantic.grad.ne(0).any(dim=1).tolist() == [True] * 5 + [False]


def test_all_of_the_discriminator_learns() -> None:
    made = objective()
    found = made.adversary(outputs().detached(), same_label(LABELS), seeded())
    assert found is not None
    found[0].backward()  # type: ignore[no-untyped-call]  # as above
    assert all(parameter.grad is not None for parameter in made.adversary_parameters())
    assert {id(parameter) for parameter in made.adversary_parameters()} == {
        id(parameter) for parameter in made.discriminator.parameters()
    }
