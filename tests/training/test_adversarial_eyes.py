from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toy import same_label, seeded

from hashsearch.errors import ArgumentError
from hashsearch.training.objectives import Outputs
from hashsearch.training.objectives.adversarial_eyes import AdversarialEyes

N_FEATURES, N_BITS, N_CLASSES = 6, 8, 3
LABELS = [0, 0, 1, 0, 0, 1]


def objective(**constants: float) -> AdversarialEyes:
    torch.manual_seed(0)
    return AdversarialEyes(N_FEATURES, N_BITS, N_CLASSES, constants=constants)


def outputs(*, features: float = 0.0, pixels: float = 0.0, channels: int = 1) -> Outputs:
    """A batch that differs from another in nothing but what is said."""
    n = len(LABELS)
    semantic = torch.randn(n, N_BITS, generator=seeded()).requires_grad_()
    images = torch.rand(n, channels, 28, 28, generator=seeded())
    return Outputs(semantic, torch.full((n, N_FEATURES), features), images + pixels)


def judged(made: AdversarialEyes, batch: Outputs) -> Tensor:
    found = made.adversary(batch.detached(), same_label(LABELS), seeded())
    assert found is not None
    return found[0].detach()


def test_it_judges_by_the_pixels_and_not_by_the_network_s_features() -> None:
    made = objective()
    assert judged(made, outputs()) == judged(made, outputs(features=3.0))
    assert judged(made, outputs()) != judged(made, outputs(pixels=3.0))


def test_colours_are_seen_as_grey() -> None:
    batch = outputs()
    assert batch.pixels is not None
    coloured = Outputs(batch.semantic, batch.features, batch.pixels.repeat(1, 3, 1, 1))
    torch.testing.assert_close(judged(objective(), batch), judged(objective(), coloured))


def test_it_is_the_discriminator_s_loss_of_what_its_eyes_see() -> None:
    # Of two images of one type each has but one neighbour, the other.
    made = objective()
    batch = outputs()
    assert batch.pixels is not None
    two = Outputs(batch.semantic[:2], batch.features[:2], batch.pixels[:2])
    found = made.adversary(two.detached(), same_label([0, 0]), seeded())
    assert found is not None
    seen = made.eyes(batch.pixels[:2])
    bits = torch.where(two.semantic >= 0, 1.0, -1.0)
    own, swapped = made.discriminator(seen, bits), made.discriminator(seen, bits[[1, 0]])
    expected = (torch.log1p(torch.exp(-own)).mean() + torch.log1p(torch.exp(swapped)).mean()) / 2
    torch.testing.assert_close(found[0], expected)


def test_the_encoder_answers_with_its_codes_alone() -> None:
    made, batch = objective(), outputs()
    assert batch.pixels is not None
    batch.pixels.requires_grad_()
    term = made.terms(batch, torch.tensor(LABELS), same_label(LABELS), seeded())["adversarial"]
    term.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert batch.semantic.grad is not None
    assert batch.semantic.grad.abs().sum() > 0


def test_its_eyes_learn_with_it_at_its_pace() -> None:
    made = objective(pace=0.5)
    assert made.adversary_rate == 0.0005
    trained = {id(parameter) for parameter in made.adversary_parameters()}
    assert {id(parameter) for parameter in made.eyes.parameters()} < trained
    assert not any(id(parameter) in trained for parameter in made.classifier.parameters())
    found = made.adversary(outputs().detached(), same_label(LABELS), seeded())
    assert found is not None
    found[0].backward()  # type: ignore[no-untyped-call]  # as above
    assert all(parameter.grad is not None for parameter in made.adversary_parameters())


def test_a_batch_without_pixels_is_refused() -> None:
    made, batch = objective(), outputs()
    blind = Outputs(batch.semantic, batch.features)
    with pytest.raises(ArgumentError, match="pixels"):
        made.adversary(blind, same_label(LABELS), seeded())
