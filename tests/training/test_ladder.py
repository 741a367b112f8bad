from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from toy import fashion_record, same_label, seeded, spread_logits

from hashsearch.codes import unpack_bits
from hashsearch.datasets.fashion_mnist import sample
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError
from hashsearch.images import FASHION_MNIST, normalise
from hashsearch.training.export import export
from hashsearch.training.network import HashNetwork
from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.classifier_bits import ClassifierBits
from hashsearch.training.objectives.ladder import STEPS, Ladder, LadderHead

if TYPE_CHECKING:
    from pathlib import Path

N_FEATURES = 6


def head_of(n_bits: int, n_classes: int) -> LadderHead:
    torch.manual_seed(0)
    return LadderHead(N_FEATURES, n_bits, n_classes)


def bits_of(probabilities: list[list[float]], n_bits: int) -> list[str]:
    """What the head makes of such probabilities, which are its features' exponentials."""
    head = LadderHead(len(probabilities[0]), n_bits, len(probabilities[0])).double().eval()
    with torch.no_grad():
        head.classifier.weight.copy_(torch.eye(len(probabilities[0])))
        head.classifier.bias.zero_()
        outputs = head(torch.tensor(probabilities, dtype=torch.float64).log())
    return ["".join(str(int(output >= 0)) for output in row) for row in outputs.tolist()]


def test_it_is_known_by_its_name() -> None:
    assert OBJECTIVES["ladder"] is Ladder


def test_three_bits_a_type_say_in_which_steps_its_probability_lies() -> None:
    probabilities = [[0.98, 0.01, 0.01], [0.9, 0.08, 0.02], [0.6, 0.3, 0.1], [0.45, 0.45, 0.1]]
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


def test_the_head_gives_logits_in_training() -> None:
    head, features = head_of(16, 3), torch.randn(5, N_FEATURES, generator=seeded())
    assert torch.equal(head(features), head.classifier(features))
    assert head.eval()(features).shape == (5, 16)


def test_fewer_than_two_bits_a_type_are_refused() -> None:
    with pytest.raises(ArgumentError, match="8 bits cannot give each of 5 types two; take more"):
        head_of(8, 5)


def test_the_loss_is_that_of_the_control() -> None:
    labels = [0, 1, 2, 1]
    outputs = Outputs(torch.randn(4, 3, generator=seeded()), torch.zeros(4, N_FEATURES))
    found = [
        made(N_FEATURES, 16, 3).terms(outputs, torch.tensor(labels), same_label(labels), seeded())
        for made in (Ladder, ClassifierBits)
    ]
    assert found[0] == found[1]


def test_an_exported_encoder_sets_the_bits_that_its_probabilities_reach(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HashNetwork("lenet", 1, 32, 0, lambda width: LadderHead(width, 32, 10)).eval()
    pixels = torch.from_numpy(normalise(sample().pixels[:200], FASHION_MNIST))
    head = network.semantic_head
    assert isinstance(head, LadderHead)
    with torch.no_grad():
        spread_logits(head.classifier, network.heads(pixels)[0].features, deviation=4.0)
        (outputs,) = network(pixels)
    export(network, fashion_record("ladder", "lenet", 32, 0), tmp_path / "ladder.onnx")
    bits = unpack_bits(Encoder.load(tmp_path / "ladder.onnx").encode_pixels(sample().pixels[:200]))
    # Two runtimes add in another order: an output this near to 0 may fall on either side.
    clear = outputs.abs().numpy() > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(bits[clear], (outputs.numpy() >= 0)[clear])
    # A higher step is reached by fewer, and each by some.
    reached = bits[:, :30].reshape(200, 10, 3).sum(axis=(0, 1))
    assert reached[0] > reached[1] > reached[2] > 0
    assert not bits[:, 30:].any()
