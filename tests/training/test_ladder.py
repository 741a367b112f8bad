from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from toy import fashion_record, same_label, seeded

from hashsearch.codes import unpack_bits
from hashsearch.datasets.fashion_mnist import sample
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError
from hashsearch.images import FASHION_MNIST, normalise
from hashsearch.training.export import export
from hashsearch.training.network import HashNetwork
from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.ladder import (
    ODDS,
    STEPS,
    WIDTH,
    Ladder,
    LadderHead,
    step_outputs,
    type_directions,
    view_divergence,
)
from hashsearch.training.objectives.orthohash import cosines, margin_cosine_cross_entropy

if TYPE_CHECKING:
    from pathlib import Path

N_FEATURES = 6


def head_of(n_bits: int, n_classes: int) -> LadderHead:
    torch.manual_seed(0)
    return LadderHead(N_FEATURES, n_bits, n_classes)


def bits_of(probabilities: list[list[float]], n_bits: int) -> list[str]:
    steps = head_of(n_bits, len(probabilities[0])).steps.double()
    outputs = step_outputs(torch.tensor(probabilities, dtype=torch.float64), steps, n_bits)
    return ["".join(str(int(output >= 0)) for output in row) for row in outputs.tolist()]


def spread_cosines(head: LadderHead, features: Tensor) -> None:
    """Make u lie between the types, now nearer to one of them, now to another."""
    towards = torch.randn(len(head.directions), features.shape[1], generator=seeded())
    head.projection.weight.copy_(head.directions.T @ towards)
    mean = head.standardise.running_mean
    assert mean is not None
    mean.copy_(head.projection(features).mean(dim=0))


def test_it_is_known_by_its_name() -> None:
    assert OBJECTIVES["ladder"] is Ladder


def test_three_bits_a_type_say_in_which_steps_its_probability_lies() -> None:
    probabilities = [[0.98, 0.01, 0.01], [0.85, 0.12, 0.03], [0.6, 0.3, 0.1], [0.45, 0.45, 0.1]]
    assert bits_of(probabilities, 16) == [
        "111" "000" "000" "0000000",
        "110" "000" "000" "0000000",
        "110" "100" "000" "0000000",
        "100" "100" "000" "0000000",
    ]  # fmt: skip


def test_with_fewer_bits_there_are_fewer_steps() -> None:
    probabilities = [[0.6, 0.2, 0.19, 0.01], [0.7, 0.1, 0.19, 0.01], [0.4, 0.35, 0.24, 0.01]]
    assert bits_of(probabilities, 8) == [
        "10" "00" "00" "00",
        "11" "00" "00" "00",
        "10" "10" "00" "00",
    ]  # fmt: skip


def test_the_step_itself_counts_as_reached() -> None:
    assert bits_of([[0.5, 0.5]], 8)[0] == "110110" "00"  # fmt: skip


def test_from_one_type_to_another_no_two_neighbouring_codes_are_more_than_two_bits_apart() -> None:
    path = [[share, 1 - share] for share in np.linspace(0.999, 0.001, 500)]
    codes = [[*map(int, code)] for code in bits_of(path, 8)]
    jumps = np.abs(np.diff(codes, axis=0)).sum(axis=1)
    assert jumps.max() <= 2
    assert np.abs(np.subtract(codes[0], codes[-1])).sum() == 2 * len(STEPS[3])


def test_the_head_gives_u_in_training_and_else_steps_of_a_softmax_over_cosines() -> None:
    head, features = head_of(16, 3), torch.randn(5, N_FEATURES, generator=seeded())
    assert head(features).shape == (5, WIDTH)
    u = head.eval().standardise(head.projection(features))
    cosine = functional.cosine_similarity(u[:, None], head.directions, dim=2)
    odds = (math.log(2 * ODDS) * cosine).exp()  # against two other types
    probabilities = odds / odds.sum(dim=1, keepdim=True)
    torch.testing.assert_close(head(features), step_outputs(probabilities, head.steps, 16))


@pytest.mark.parametrize("n_classes", [1, 2, 10, 64, 65, 200])
def test_any_two_types_lie_at_right_angles(n_classes: int) -> None:
    directions = type_directions(n_classes)
    n_dims = directions.shape[1]
    assert n_dims == (WIDTH if n_classes <= WIDTH else {65: 128, 200: 256}[n_classes])
    torch.testing.assert_close(directions @ directions.T, n_dims * torch.eye(n_classes))
    # A dimension that is alike in all types says nothing, and batch normalisation removes it.
    if n_classes >= 10:
        assert directions.mean(dim=0).abs().max() < 1


def test_the_loss_has_the_directions_of_the_head() -> None:
    made = Ladder(N_FEATURES, 32, 10)
    assert torch.equal(made.codewords, head_of(32, 10).directions)


@pytest.mark.parametrize(
    ("n_bits", "n_classes"), [(8, 1), (8, 2), (32, 10), (128, 64), (192, 64), (256, 100)]
)
def test_an_item_in_the_direction_of_its_type_reaches_the_highest_step(
    n_bits: int, n_classes: int
) -> None:
    torch.manual_seed(0)
    n_dims = type_directions(n_classes).shape[1]
    head = LadderHead(n_dims, n_bits, n_classes).eval()
    with torch.no_grad():
        head.projection.weight.copy_(torch.eye(n_dims))
        set_bits = (head(head.directions) >= 0).sum(dim=1)
    assert set_bits.tolist() == [len(head.steps)] * n_classes


def test_fewer_than_two_bits_a_type_are_refused() -> None:
    with pytest.raises(
        ArgumentError, match="8 bits do not hold the two steps of each of 5 types; take 16 or more"
    ):
        head_of(8, 5)


def terms(made: Ladder, semantic: Tensor, labels: list[int]) -> dict[str, Tensor]:
    outputs = Outputs(semantic, torch.zeros(len(labels), N_FEATURES))
    return made.terms(outputs, torch.tensor(labels), same_label(labels), seeded())


def test_one_term_is_that_of_orthohash_to_the_directions_of_the_types() -> None:
    semantic, labels = torch.randn(4, WIDTH, generator=seeded()), [0, 1, 0, 1]
    made = Ladder(N_FEATURES, 16, 3)
    expected = margin_cosine_cross_entropy(
        semantic, torch.tensor(labels), type_directions(3), **made.constants
    )
    assert terms(made, semantic, labels)["cosine"] == expected


def plain_divergence(logits: list[list[float]]) -> float:
    """Liang et al. 2021, equation 2, one image and one class at a time."""
    half = len(logits) // 2
    divergences = []
    for image in range(half):
        p, q = (
            [math.exp(logit) / sum(map(math.exp, view)) for logit in view]
            for view in (logits[image], logits[half + image])
        )
        there = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        back = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        divergences.append((there + back) / 2)
    return sum(divergences) / half


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_divergence_is_its_formula(images: int, n_classes: int, seed: int) -> None:
    logits = 3 * torch.randn(2 * images, n_classes, generator=seeded(seed), dtype=torch.float64)
    assert float(view_divergence(logits)) == pytest.approx(plain_divergence(logits.tolist()))


def test_fixed_divergences() -> None:
    # 3/4 against 1/4: both ways, half of log 3.
    unlike = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(3.0)]])
    assert float(view_divergence(unlike)) == pytest.approx(math.log(3) / 2)
    alike = torch.tensor([[1.0, 2.0], [0.0, 5.0], [1.0, 2.0], [0.0, 5.0]])
    assert float(view_divergence(alike)) == 0


def test_the_divergence_of_sure_views_is_finite_and_so_is_its_gradient() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = view_divergence(logits)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert loss.item() == pytest.approx(400)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_an_odd_number_of_rows_has_no_two_views() -> None:
    with pytest.raises(ArgumentError, match="3 rows are no two views of each image"):
        view_divergence(torch.zeros(3, 2))


def test_the_gradient_of_the_divergence_is_that_of_finite_differences() -> None:
    logits = torch.randn(6, 3, generator=seeded(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(view_divergence, (logits,))


def test_outputs_of_0_have_finite_losses_and_gradients() -> None:
    semantic = torch.zeros(4, WIDTH, requires_grad=True)
    loss = torch.stack([*terms(Ladder(N_FEATURES, 16, 3), semantic, [0, 1, 0, 1]).values()]).sum()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert torch.isfinite(loss)
    assert semantic.grad is not None
    assert torch.isfinite(semantic.grad).all()


def test_the_other_term_compares_views_at_the_scale_of_the_loss() -> None:
    made = Ladder(N_FEATURES, 16, 3, constants={"scale": 5.0})
    semantic = torch.randn(6, WIDTH, generator=seeded())
    logits = 5 * cosines(semantic, made.codewords)
    found = terms(made, semantic, [0, 1, 2] * 2)
    assert found["consistency"] == view_divergence(logits)
    views = torch.cat([semantic[:3], semantic[:3]])
    alike = float(terms(made, views, [0, 1, 2] * 2)["consistency"])
    assert alike == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("left", ["cosine", "consistency"])
def test_a_term_of_no_weight_is_left_out(left: str) -> None:
    weights = {"cosine": 0.0, "consistency": 0.0, left: 1.0}
    semantic = torch.randn(4, WIDTH, generator=seeded())
    assert [*terms(Ladder(N_FEATURES, 16, 3, weights), semantic, [0, 1, 0, 1])] == [left]


def test_an_exported_encoder_sets_the_bits_that_its_probabilities_reach(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HashNetwork("lenet", 1, 16, 0, lambda width: LadderHead(width, 16, 4)).eval()
    pixels = torch.from_numpy(normalise(sample().pixels[:200], FASHION_MNIST))
    head = network.semantic_head
    assert isinstance(head, LadderHead)
    with torch.no_grad():
        spread_cosines(head, network.heads(pixels)[0].features)
        (outputs,) = network(pixels)
    export(network, fashion_record("ladder", "lenet", 16, 0), tmp_path / "ladder.onnx")
    bits = unpack_bits(Encoder.load(tmp_path / "ladder.onnx").encode_pixels(sample().pixels[:200]))
    # Two runtimes add in another order: an output this near to 0 may fall on either side.
    clear = outputs.abs().numpy() > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(bits[clear], (outputs.numpy() >= 0)[clear])
    # A higher step is reached by fewer, and each by some.
    reached = bits[:, :12].reshape(200, 4, 3).sum(axis=(0, 1))
    assert reached[0] > reached[1] > reached[2] > 0
    assert not bits[:, 12:].any()
