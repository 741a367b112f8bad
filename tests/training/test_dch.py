from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from pair_batches import batches, dot, pairs_of
from torch import Tensor
from toy import same_label, seeded

from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.dch import DeepCauchyHashing


def values(
    semantic: Tensor, labels: list[int], n_bits: int, *, settling: bool = False, **constants: float
) -> dict[str, float]:
    made = DeepCauchyHashing(3, n_bits, 4, constants=constants)
    made.start_epoch(1, 1, settling=settling)
    outputs = Outputs(semantic, torch.zeros(len(labels), 3))
    found = made.terms(outputs, torch.tensor(labels), same_label(labels), seeded())
    return {term: float(value) for term, value in found.items()}


# A slow transcription of Cao et al. 2018, one pair at a time.


def plain_terms(outputs: list[list[float]], labels: list[int], gamma: float) -> dict[str, float]:
    codes = [[math.tanh(value) for value in row] for row in outputs]
    n_bits = len(codes[0])

    def distance(first: list[float], second: list[float]) -> float:
        lengths = math.sqrt(dot(first, first)) * math.sqrt(dot(second, second))
        # The bound that keeps a stranger with the same code finite.
        return max(n_bits / 2 * (1 - dot(first, second) / lengths), 1e-3)

    pairs = pairs_of(len(codes))
    alike = sum(labels[i] == labels[j] for i, j in pairs)
    hamming = 0.0
    for i, j in pairs:
        similar = labels[i] == labels[j]
        weight = len(pairs) / (alike if similar else len(pairs) - alike)
        d = distance(codes[i], codes[j])
        hamming += weight * ((math.log(d / gamma) if similar else 0) + math.log(1 + gamma / d))
    quantisation = 0.0
    for code in codes:
        size = [abs(value) for value in code]
        cosine = sum(size) / math.sqrt(dot(size, size) * n_bits)
        quantisation += math.log(1 + n_bits / 2 * (1 - cosine) / gamma)
    return {"hamming": hamming / len(pairs), "quantisation": quantisation / len(codes)}


@given(batches())
@settings(deadline=None)
def test_the_terms_are_their_formulas(batch: tuple[Tensor, list[int]]) -> None:
    outputs, labels = batch
    found = values(outputs, labels, outputs.shape[1])
    assert found == pytest.approx(plain_terms(outputs.tolist(), labels, 20.0), abs=1e-9)


@pytest.mark.parametrize(
    ("constants", "settling", "gamma"),
    [
        ({"gamma": 5.0}, False, 5.0),
        ({"gamma": 5.0}, True, 20.0),
        ({"settled_gamma": 3.0}, False, 20.0),
        ({"settled_gamma": 3.0}, True, 3.0),
        ({}, True, 20.0),
    ],
)
def test_gamma_can_be_given(constants: dict[str, float], settling: bool, gamma: float) -> None:
    outputs, labels = torch.randn(5, 8, generator=seeded(), dtype=torch.float64), [0, 0, 1, 1, 2]
    expected = plain_terms(outputs.tolist(), labels, gamma)
    found = values(outputs, labels, 8, settling=settling, **constants)
    assert found == pytest.approx(expected)


def test_the_terms_worked_out_by_hand() -> None:
    # tanh(u) is (1/2, 1/2, 1/2, 1/2), its opposite in one bit, and (1/2, 0, 0, 0).
    half = math.atanh(0.5)
    outputs = torch.tensor(
        [[half, half, half, half], [-half, half, half, half], [half, 0.0, 0.0, 0.0]]
    )
    found = values(outputs, [0, 0, 1], 4)
    # Cosines 1/2, 1/2 and -1/2: distances 1 (the neighbours), 1 and 3.
    strangers = (math.log(1 + 20 / 1) + math.log(1 + 20 / 3)) / 2
    assert found["hamming"] == pytest.approx(math.log(1 + 1 / 20) + strangers)
    # The first two point to a corner; the third has a cosine of 1/2, a distance of 1, to it.
    assert found["quantisation"] == pytest.approx(math.log(1 + 1 / 20) / 3, abs=1e-6)


def test_defaults() -> None:
    assert OBJECTIVES["dch"] is DeepCauchyHashing
    assert DeepCauchyHashing.default_weights == {"hamming": 1.0, "quantisation": 0.1}
    assert DeepCauchyHashing.default_constants == {"gamma": 20.0, "settled_gamma": 20.0}
