from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy import fashion_record, same_label, seeded, spread_logits, toy_set

from hashsearch.codes import unpack_bits
from hashsearch.datasets.fashion_mnist import sample
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError
from hashsearch.images import FASHION_MNIST, normalise
from hashsearch.training.export import export
from hashsearch.training.network import HashNetwork
from hashsearch.training.objectives import Outputs
from hashsearch.training.objectives.centres import hash_centres
from hashsearch.training.objectives.classifier_bits import ClassifierBits, ClassifierHead
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.training.reports import EpochReport

N_FEATURES, N_BITS, N_CLASSES = 6, 16, 3


def terms(logits: Tensor, labels: list[int], **weights: float) -> dict[str, Tensor]:
    made = ClassifierBits(N_FEATURES, N_BITS, N_CLASSES, weights)
    outputs = Outputs(logits, torch.zeros(len(labels), N_FEATURES))
    return made.terms(outputs, torch.tensor(labels), same_label(labels), seeded())


# --- the loss --------------------------------------------------------------------------


@given(st.lists(st.integers(0, N_CLASSES - 1), min_size=1, max_size=8), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_term_is_its_formula(labels: list[int], seed: int) -> None:
    logits = 3 * torch.randn(len(labels), N_CLASSES, generator=seeded(seed), dtype=torch.float64)
    found = terms(logits, labels)
    assert set(found) == {"classification"}
    losses = [
        -math.log(math.exp(row[label]) / sum(math.exp(logit) for logit in row))
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    assert float(found["classification"]) == pytest.approx(sum(losses) / len(losses))


def test_two_items_worked_out_by_hand() -> None:
    # Probabilities 1/4, 1/2, 1/4 and, without any sign of a class, 1/3 each.
    logits = torch.tensor([[0.0, math.log(2), 0.0], [5.0, 5.0, 5.0]])
    expected = (math.log(2) + math.log(3)) / 2
    assert float(terms(logits, [1, 2])["classification"]) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [1]])
def test_extreme_logits_have_finite_losses_and_gradients(labels: list[int]) -> None:
    logits = (1e4 * torch.randn(len(labels), N_CLASSES, generator=seeded())).requires_grad_()
    loss = terms(logits, labels)["classification"]
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# --- the head --------------------------------------------------------------------------


def test_the_head_gives_logits_in_training_and_codewords_after_it() -> None:
    torch.manual_seed(0)
    head = ClassifierHead(N_FEATURES, N_BITS, N_CLASSES)
    features = torch.randn(20, N_FEATURES, generator=seeded())
    logits = head(features)
    assert torch.equal(logits, head.classifier(features))
    codes = head.eval()(features)
    codewords = hash_centres(N_CLASSES, N_BITS)
    best = [row.index(max(row)) for row in logits.tolist()]
    assert set(best) == {0, 1, 2}
    assert codes.tolist() == [codewords[number].tolist() for number in best]


def test_codes_of_two_classes_are_further_apart_than_a_search_reaches() -> None:
    head = ClassifierHead(N_FEATURES, 48, 10)
    differing = (head.codewords[:, None] != head.codewords[None, :]).sum(dim=2)
    assert differing[~torch.eye(10, dtype=torch.bool)].min() > 20


def test_more_types_than_codes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="8 bits cannot"):
        ClassifierBits.semantic_head(N_FEATURES, 8, 300)


# --- training and export ---------------------------------------------------------------

PLAN = TrainingPlan(
    objective="classifier-bits",
    n_bits=16,
    fine_bits=8,
    epochs=2,
    settle_epochs=0,
    batch_size=32,
    device="cpu",
    precision="float32",
)


def test_a_stopped_and_resumed_run_ends_in_the_same_codewords(tmp_path: Path) -> None:
    def stop(report: EpochReport) -> None:
        raise KeyboardInterrupt

    images, checkpoint = (toy_set(64, seed=0), toy_set(40, seed=1)), tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train(PLAN, *images, FASHION_MNIST, checkpoint_path=checkpoint, on_epoch=stop)
    resumed = train(PLAN, *images, FASHION_MNIST, checkpoint_path=checkpoint)
    undisturbed = train(PLAN, *images, FASHION_MNIST)
    first, second = resumed.network.state_dict(), undisturbed.network.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in second)
    # The average over the steps leaves them what they are.
    assert torch.equal(first["semantic_head.codewords"], hash_centres(4, 16))


def test_weight_0_trains_the_fine_head_alone() -> None:
    assert not terms(torch.zeros(2, N_CLASSES), [0, 1], classification=0.0)
    plan = replace(PLAN, epochs=1, weights={"classification": 0.0})
    trained = train(plan, toy_set(64, seed=0), toy_set(40, seed=1), FASHION_MNIST)
    assert set(trained.best.terms) == {"fine"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[HashNetwork, Path]:
    """A network whose logits are about as often highest for one class as for another."""
    torch.manual_seed(0)
    network = HashNetwork(
        "small-resnet", 1, 48, 0, lambda width: ClassifierBits.semantic_head(width, 48, 10)
    )
    network.eval()
    pixels = torch.from_numpy(normalise(sample().pixels[:200], FASHION_MNIST))
    head = network.semantic_head
    assert isinstance(head, ClassifierHead)
    with torch.no_grad():
        spread_logits(head.classifier, network.heads(pixels)[0].features)
    path = tmp_path_factory.mktemp("export") / "control.onnx"
    export(network, fashion_record("classifier-bits", "small-resnet", 48, 0), path)
    return network, path


def test_the_exported_encoder_gives_the_very_codewords(exported: tuple[HashNetwork, Path]) -> None:
    network, path = exported
    pixels = sample().pixels[:200]
    bits = unpack_bits(Encoder.load(path).encode_pixels(pixels, batch_size=64))
    codewords = (hash_centres(10, 48) > 0).numpy()
    head = network.semantic_head
    assert isinstance(head, ClassifierHead)
    with torch.no_grad():
        features = network.heads(torch.from_numpy(normalise(pixels, FASHION_MNIST)))[0].features
        highest = head.classifier(features).topk(2)
    # Two runtimes add in another order, so logits that are all but even may swap.
    clear = (highest.values[:, 0] - highest.values[:, 1] > 1e-4).numpy()
    predicted = highest.indices[:, 0].numpy()
    assert clear.mean() > 0.95
    assert len(np.unique(predicted)) == 10
    np.testing.assert_array_equal(bits[clear], codewords[predicted[clear]])


def test_the_exported_encoder_holds_standard_operators(exported: tuple[HashNetwork, Path]) -> None:
    model = onnx.load(exported[1], load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert "ArgMax" in {node.op_type for node in model.graph.node}
