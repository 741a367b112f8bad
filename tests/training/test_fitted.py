from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import toy_set

from hashsearch.codes import hamming_distance, pack_bits, unpack_bits
from hashsearch.datasets.image_set import ImageSet
from hashsearch.encoder import Encoder, EncoderRecord
from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.images import FASHION_MNIST, Preprocessing, normalise
from hashsearch.metrics import average_precision
from hashsearch.training.export import differing_bits, export
from hashsearch.training.fitted import FITTED, FittedSystem
from hashsearch.training.fitted.base import linear_on_normalised
from hashsearch.training.fitted.fit import Fitted, fit
from hashsearch.training.fitted.itq import (
    IterativeQuantisation,
    better_rotation,
    principal_components,
)
from hashsearch.training.fitted.lsh import RandomHyperplanes
from hashsearch.training.fitted.rbm import Rbm, contrastive_divergence, train_rbm
from hashsearch.training.fitted.semantic_hashing import (
    SemanticHashing,
    reconstruction_loss,
    unroll,
)
from hashsearch.training.plan import TrainingPlan, plan_for
from hashsearch.training.trainer import Diverged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from hashsearch.training.reports import EpochReport, StepReport

SMALL = replace(FASHION_MNIST, size=8, resize=8)
COLOUR = Preprocessing("photo", 2, 2, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
TRAIN, VALIDATION = toy_set(120, seed=0), toy_set(80, seed=1)
# Two orders of adding floats put an output this near to 0 on either side.
NEAR_ZERO = 1e-5

QUICK = [
    RandomHyperplanes(n_bits=16),
    IterativeQuantisation(n_bits=16),
    SemanticHashing(n_bits=16, epochs=1, batch_size=30, hidden=(20, 12)),
]
SEMANTIC_HASHING = SemanticHashing(
    n_bits=16, epochs=20, batch_size=20, hidden=(32,), learning_rate=0.01
)
LEARNT = [*QUICK[:2], SEMANTIC_HASHING]
quick = pytest.mark.parametrize("system", QUICK, ids=lambda system: system.objective)
learnt = pytest.mark.parametrize("system", LEARNT, ids=lambda system: system.objective)


class Run(NamedTuple):
    fitted: Fitted
    steps: list[StepReport]
    epochs: list[EpochReport]


@cache
def run(system: FittedSystem) -> Run:
    """Fitted to the toy set, once."""
    steps: list[StepReport] = []
    epochs: list[EpochReport] = []
    fitted = fit(system, TRAIN, VALIDATION, SMALL, on_step=steps.append, on_epoch=epochs.append)
    return Run(fitted, steps, epochs)


def outputs_of(fitted: Fitted, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """``float32 (n, n_bits)``."""
    (outputs,) = fitted.network(torch.from_numpy(normalise(pixels, SMALL)))
    found: npt.NDArray[np.float32] = outputs.numpy()
    return found


def clusters(n: int, seed: int) -> ImageSet:
    """Four types on few and strong directions, in noise on all of the others."""
    types = np.random.default_rng(99).standard_normal((4, 64))
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    nearby = types[labels] + 0.5 * generator.standard_normal((n, 4)) @ types
    values = 128 + 20 * nearby + 20 * generator.standard_normal((n, 64))
    images = values.clip(0, 255).astype(np.uint8).reshape(n, 8, 8)
    names = tuple(f"{seed}-{row}" for row in range(n))
    return ImageSet(images, labels, ("a", "b", "c", "d"), names)


# --- what all of them do ---------------------------------------------------------------


@quick
def test_the_same_seed_gives_the_same_network_and_another_one_another(
    system: FittedSystem,
) -> None:
    fitted = [fit(replace(system, seed=seed), TRAIN, VALIDATION, SMALL) for seed in (0, 0, 1)]
    first, again, other = (one.network.state_dict() for one in fitted)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@quick
def test_types_are_not_looked_at(system: FittedSystem) -> None:
    blind = replace(TRAIN, labels=np.zeros_like(TRAIN.labels))
    first, second = (fit(system, images, VALIDATION, SMALL) for images in (TRAIN, blind))
    states = [fitted.network.state_dict() for fitted in (first, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@quick
def test_torchs_global_generator_stays_where_it_is(system: FittedSystem) -> None:
    before = torch.get_rng_state()
    fit(system, TRAIN, VALIDATION, SMALL)
    assert torch.equal(torch.get_rng_state(), before)


@learnt
def test_the_exported_encoder_gives_the_codes_of_the_network(
    system: FittedSystem, tmp_path: Path
) -> None:
    fitted = run(system).fitted
    about = EncoderRecord(
        name="fitted",
        n_bits=system.n_bits,
        fine_bits=system.fine_bits,
        preprocessing=SMALL,
        class_names=TRAIN.class_names,
        objective=system.objective,
        weights=fitted.weights,
        backbone=system.backbone,
        dataset="toy",
        neighbour_rule="none",
        seed=system.seed,
        training=fitted.settings,
    )
    path = tmp_path / "fitted.onnx"
    export(fitted.network, about, path)
    encoder = Encoder.load(path)
    assert encoder.record.training["objective"] == system.objective
    outputs = outputs_of(fitted, VALIDATION.pixels)
    bits = unpack_bits(encoder.encode_pixels(VALIDATION.pixels))
    assert bits.shape == outputs.shape == (80, 16)
    differing = bits != (outputs >= 0)
    assert (np.abs(outputs[differing]) < NEAR_ZERO).all()
    assert differing_bits(fitted.network, path, VALIDATION, SMALL) == differing.mean()
    # Codes that are all alike would prove nothing.
    assert len(np.unique(bits, axis=0)) > 20


@learnt
def test_the_last_epoch_is_kept_and_told(system: FittedSystem) -> None:
    fitted, steps, epochs = run(system)
    assert epochs == fitted.history
    assert fitted.best == epochs[-1]
    assert fitted.best.epoch == system.total_epochs
    assert all(step.step == 1 + row % step.steps for row, step in enumerate(steps))
    codes = pack_bits(outputs_of(fitted, VALIDATION.pixels) >= 0)
    queries = np.zeros(80, dtype=bool)
    queries[np.argsort(VALIDATION.labels, kind="stable")[::2]] = True
    labels = VALIDATION.labels
    expected = average_precision(
        hamming_distance(codes[queries], codes[~queries]),
        labels[queries, None] == labels[None, ~queries],
    )
    assert fitted.best.validation_map == pytest.approx(expected.mean())
    assert fitted.settings["train_images"] == 120
    assert len(fitted.settings["train_images_sha256"]) == 64
    assert fitted.settings["seconds"] >= sum(report.seconds for report in epochs)


def test_too_few_validation_images_are_told() -> None:
    lone = VALIDATION.subset(np.arange(3))
    with pytest.raises(TrainingError, match="give more of them"):
        fit(RandomHyperplanes(n_bits=8), TRAIN, lone, SMALL)


@given(st.integers(0, 1000), st.sampled_from([SMALL, COLOUR]))
@settings(max_examples=20)
def test_a_layer_of_plain_pixels_says_the_same_of_normalised_ones(
    seed: int, preprocessing: Preprocessing
) -> None:
    generator = np.random.default_rng(seed)
    shape = (3, preprocessing.channels, preprocessing.size, preprocessing.size)
    pixels = generator.integers(0, 256, shape, dtype=np.uint8)
    weights, bias = generator.standard_normal((2, math.prod(shape[1:]))), np.array([0.25, -2.0])
    layer = linear_on_normalised(weights, bias, preprocessing)
    with torch.no_grad():
        found = layer(torch.from_numpy(normalise(pixels, preprocessing)).flatten(1)).numpy()
    for image, outputs in zip(pixels, found, strict=True):
        for row, output in enumerate(outputs):
            terms = [w * p / 255 for w, p in zip(weights[row], image.ravel(), strict=True)]
            assert output == pytest.approx(sum(terms) + bias[row], abs=1e-4)


def test_a_layer_worked_out_by_hand() -> None:
    # A white pixel is (1 - 0.5) / 0.25 = 2, and 3 * 1 + 1 = 4 = (3 * 0.25) * 2 + 2.5.
    half = Preprocessing("fashion-mnist", 1, 1, mean=(0.5,), std=(0.25,))
    layer = linear_on_normalised(np.array([[3.0]]), np.array([1.0]), half)
    assert (layer.weight.item(), layer.bias.item()) == (0.75, 2.5)


# --- plans -----------------------------------------------------------------------------


def test_a_plan_has_the_defaults_of_its_objective() -> None:
    assert plan_for("lsh") == RandomHyperplanes(n_bits=48, fine_bits=0, seed=0)
    assert plan_for("itq", n_bits=8, seed=3) == IterativeQuantisation(n_bits=8, seed=3)
    assert plan_for("semantic-hashing", epochs=7) == SemanticHashing(epochs=7)
    assert plan_for("adversarial", epochs=7) == TrainingPlan(epochs=7)
    assert plan_for("lsh", fine_bits=0).fine_bits == 0
    assert {name: plan_for(name).objective for name in FITTED} == {name: name for name in FITTED}


@pytest.mark.parametrize(
    ("objective", "options", "told"),
    [
        ("guess", {}, "unknown objective 'guess'; known: adversarial, .*lsh, itq"),
        ("lsh", {"fine_bits": 64}, "lsh has no fine code; fine_bits must be 0, not 64"),
        ("itq", {"n_bits": 7}, "n_bits must be a positive multiple of 8, not 7"),
        ("itq", {"iterations": 0}, "at least 1 iteration"),
        ("lsh", {"seed": -1}, r"the seed must be from 0 to 2\*\*32 - 1"),
        ("lsh", {"epochs": 3}, "^epochs: of no meaning for the objective lsh; leave it out$"),
        ("itq", {"weights": {"hamming": 1.0}}, "^weights: of no meaning for the objective itq"),
        ("semantic-hashing", {"backbone": "lenet", "device": "cpu"}, "^backbone, device: of no"),
        ("adversarial", {"iterations": 3}, "^iterations: of no meaning"),
        ("semantic-hashing", {"epochs": 0}, "at least 1 epoch"),
        ("semantic-hashing", {"batch_size": 0}, "1 image a batch"),
        ("semantic-hashing", {"hidden": (8, 0)}, "1 unit a layer"),
        ("semantic-hashing", {"learning_rate": 0.0}, "learning_rate must be above 0, not 0.0"),
        ("semantic-hashing", {"learning_rate": math.nan}, "learning_rate must be above 0, not nan"),
        ("semantic-hashing", {"noise": -1.0}, "noise must be a number from 0 up, not -1.0"),
    ],
)
def test_a_plan_that_cannot_be_is_told_in_one_line(
    objective: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ArgumentError, match=told) as caught:
        plan_for(objective, **options)
    assert "\n" not in str(caught.value)


# --- random hyperplanes ----------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_hyperplanes_are_their_formula(seed: int) -> None:
    fitted = fit(RandomHyperplanes(n_bits=8, seed=seed), TRAIN, VALIDATION, SMALL)
    found = outputs_of(fitted, VALIDATION.pixels[:3])
    normals = np.random.default_rng(seed).standard_normal((8, 64))
    flat = TRAIN.images.reshape(-1, 64).tolist()
    mean = [sum(column) / 255 / len(flat) for column in zip(*flat, strict=True)]
    for image, outputs in zip(VALIDATION.images[:3], found, strict=True):
        for normal, output in zip(normals, outputs, strict=True):
            terms = [r * (x / 255 - m) for r, x, m in zip(normal, image.ravel(), mean, strict=True)]
            assert output == pytest.approx(sum(terms), abs=NEAR_ZERO)


def test_bits_differ_by_the_angle_seen_from_the_mean() -> None:
    # Their mean is 100 everywhere; the first two are seen from there under 60 degrees.
    steps = np.array([[60, 0, 0, 0], [30, 52, 0, 0], [-60, 0, 0, 0], [-30, -52, 0, 0]])
    images = (100 + steps).astype(np.uint8).reshape(4, 2, 2)
    four = ImageSet(images, np.zeros(4, dtype=np.int64), ("a",), ("a", "b", "c", "d"))
    tiny = replace(FASHION_MNIST, size=2, resize=2)
    fitted = fit(RandomHyperplanes(n_bits=8000), four, four, tiny)
    (outputs,) = fitted.network(torch.from_numpy(normalise(four.pixels, tiny)))
    bits = outputs >= 0
    differing = (bits[0] != bits).float().mean(dim=1)
    assert differing.tolist() == pytest.approx([0, 1 / 3, 1, 2 / 3], abs=0.02)


# --- iterative quantisation ------------------------------------------------------------


def slow_components(
    pixels: npt.NDArray[np.uint8], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean, and the right singular vectors of the centred pixels."""
    flat = np.array([[value / 255 for value in image.ravel()] for image in pixels])
    mean = flat.mean(axis=0)
    return mean, np.linalg.svd(flat - mean)[2][:count].T


def test_the_components_are_those_of_a_singular_value_decomposition() -> None:
    mean, components = principal_components(TRAIN.pixels, 8)
    expected_mean, expected = slow_components(TRAIN.pixels, 8)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-12)
    np.testing.assert_allclose(np.abs(components.T @ expected), np.eye(8), atol=1e-8)


def test_the_outputs_are_turned_components() -> None:
    fitted = fit(IterativeQuantisation(n_bits=8), TRAIN, VALIDATION, SMALL)
    mean, components = slow_components(TRAIN.pixels, 8)
    projected = (VALIDATION.images.reshape(-1, 64) / 255 - mean) @ components
    outputs = outputs_of(fitted, VALIDATION.pixels)
    rotation = np.linalg.lstsq(projected, outputs, rcond=None)[0]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(projected @ rotation, outputs, atol=1e-5)


def test_one_iteration_is_its_formula() -> None:
    generator = np.random.default_rng(0)
    projected = generator.standard_normal((30, 8))
    before = np.linalg.qr(generator.standard_normal((8, 8)))[0]
    after, error = better_rotation(projected, before)
    codes = [
        [1.0 if sum(row[k] * before[k, j] for k in range(8)) >= 0 else -1.0 for j in range(8)]
        for row in projected
    ]

    # No turn by a small angle in any plane of two axes does better for these codes.
    def loss(rotation: npt.NDArray[np.float64]) -> float:
        errors: list[float] = [
            (code[j] - sum(row[k] * rotation[k, j] for k in range(8))) ** 2
            for row, code in zip(projected, codes, strict=True)
            for j in range(8)
        ]
        return sum(errors) / len(errors)

    assert error == pytest.approx(loss(after))
    for first, second in [(0, 1), (2, 7), (5, 3), (6, 4)]:
        for angle in (0.01, -0.01):
            turn = np.eye(8)
            turn[[first, second], [first, second]] = math.cos(angle)
            turn[first, second], turn[second, first] = math.sin(angle), -math.sin(angle)
            assert loss(after @ turn) > error


def test_four_points_worked_out_by_hand() -> None:
    # Points on the axes are turned by 45 degrees, to (+-0.707, +-0.707).
    projected = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    angle = 0.3
    start = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    rotation, error = better_rotation(projected, start)
    assert error == pytest.approx((1 - math.sqrt(0.5)) ** 2)
    np.testing.assert_allclose(np.abs(rotation), math.sqrt(0.5))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_the_error_never_rises_and_the_rotation_stays_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    projected = generator.standard_normal((60, 8)) * np.linspace(3, 0.1, 8)
    rotation, errors = np.eye(8), []
    for _ in range(20):
        rotation, error = better_rotation(projected, rotation)
        errors.append(error)
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(8), atol=1e-9)
    assert all(later <= error + 1e-12 for error, later in pairwise(errors))
    assert errors[-1] < errors[0]


def test_every_iteration_is_told() -> None:
    fitted, steps, _ = run(IterativeQuantisation(n_bits=16))
    errors = [step.terms["quantisation"] for step in steps]
    assert [(step.epoch, step.steps) for step in steps] == [(1, 50)] * 50
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]
    assert fitted.best.terms == {"quantisation": errors[-1]}


def test_it_finds_types_better_than_random_hyperplanes_do() -> None:
    train_set, validation_set = clusters(400, seed=0), clusters(200, seed=1)
    figures = {
        objective: np.mean(
            [
                fit(
                    FITTED[objective](n_bits=8, seed=seed), train_set, validation_set, SMALL
                ).best.validation_map
                for seed in range(3)
            ]
        )
        for objective in ("lsh", "itq")
    }
    assert 0.3 < figures["lsh"] < figures["itq"] - 0.1


@pytest.mark.parametrize(
    ("images", "rank"),
    [(TRAIN.subset(np.arange(8)), 7), (replace(TRAIN, images=TRAIN.images // 255 * 255), 0)],
    ids=["few images", "one image over and over"],
)
def test_more_bits_than_components_are_told(images: ImageSet, rank: int) -> None:
    with pytest.raises(TrainingError, match=f"8 bits .* have {rank}; lower --bits"):
        fit(IterativeQuantisation(n_bits=8), images, VALIDATION, SMALL)


# --- Boltzmann machines ----------------------------------------------------------------


def logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def slow_divergence(
    rbm: tuple[list[list[float]], list[float], list[float]],
    batch: list[list[float]],
    draws: list[list[float]],
) -> tuple[list[list[float]], list[float], list[float], float]:
    """Hinton and Salakhutdinov 2006, equation 2, image by image and unit by unit."""
    weights, visible_bias, hidden_bias = rbm
    n, n_visible, n_hidden = len(batch), len(visible_bias), len(hidden_bias)
    change = [[0.0] * n_hidden for _ in range(n_visible)]
    visible_change, hidden_change, error = [0.0] * n_visible, [0.0] * n_hidden, 0.0

    def hidden_of(visible: Sequence[float]) -> list[float]:
        return [
            logistic(hidden_bias[j] + sum(visible[i] * weights[i][j] for i in range(n_visible)))
            for j in range(n_hidden)
        ]

    for data, drawn in zip(batch, draws, strict=True):
        hidden = hidden_of(data)
        on = [1.0 if hidden[j] > drawn[j] else 0.0 for j in range(n_hidden)]
        rebuilt = [
            logistic(visible_bias[i] + sum(on[j] * weights[i][j] for j in range(n_hidden)))
            for i in range(n_visible)
        ]
        again = hidden_of(rebuilt)
        for i in range(n_visible):
            for j in range(n_hidden):
                change[i][j] += (data[i] * hidden[j] - rebuilt[i] * again[j]) / n
            visible_change[i] += (data[i] - rebuilt[i]) / n
            error += (data[i] - rebuilt[i]) ** 2 / (n * n_visible)
        for j in range(n_hidden):
            hidden_change[j] += (hidden[j] - again[j]) / n
    return change, visible_change, hidden_change, error


def random_rbm(generator: np.random.Generator, n_visible: int, n_hidden: int) -> Rbm:
    shapes = ((n_visible, n_hidden), n_visible, n_hidden)
    return Rbm(*(torch.from_numpy(generator.standard_normal(shape)) for shape in shapes))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=50)
def test_contrastive_divergence_is_its_formula(
    seed: int, n: int, n_visible: int, n_hidden: int
) -> None:
    generator = np.random.default_rng(seed)
    rbm = random_rbm(generator, n_visible, n_hidden)
    data, draws = generator.random((n, n_visible)), generator.random((n, n_hidden))
    direction, error = contrastive_divergence(rbm, torch.from_numpy(data), torch.from_numpy(draws))
    *expected, expected_error = slow_divergence(
        (rbm.weights.tolist(), rbm.visible_bias.tolist(), rbm.hidden_bias.tolist()),
        data.tolist(),
        draws.tolist(),
    )
    found = (direction.weights, direction.visible_bias, direction.hidden_bias)
    for part, values in zip(found, expected, strict=True):
        torch.testing.assert_close(part, torch.tensor(values, dtype=torch.float64))
    assert error == pytest.approx(expected_error)


@pytest.mark.parametrize(("draw", "rebuilt"), [(0.4, 0.75), (0.6, 0.5)])
def test_one_unit_worked_out_by_hand(draw: float, rebuilt: float) -> None:
    # A weight of log 3: an even chance of the hidden unit; the visible one is rebuilt from
    # it with 3 : 1 where it is on, and with 1 : 1 where it is off.
    rbm = Rbm(torch.tensor([[math.log(3)]]), torch.zeros(1), torch.tensor([-math.log(3)]))
    direction, error = contrastive_divergence(rbm, torch.ones(1, 1), torch.tensor([[draw]]))
    again = 3**rebuilt / (3**rebuilt + 3)
    assert direction.weights.item() == pytest.approx(0.5 - rebuilt * again)
    assert direction.visible_bias.item() == pytest.approx(1 - rebuilt)
    assert direction.hidden_bias.item() == pytest.approx(0.5 - again)
    assert error == pytest.approx((1 - rebuilt) ** 2)


def test_training_is_momentum_and_decay_on_these_directions() -> None:
    visible = torch.rand(7, 5, generator=torch.Generator().manual_seed(1))
    epochs = 7
    told: list[tuple[int, int, float]] = []
    trained = train_rbm(
        visible,
        4,
        epochs=epochs,
        batch_size=3,
        generator=torch.Generator().manual_seed(2),
        on_step=lambda *step: told.append(step),
    )
    generator = torch.Generator().manual_seed(2)
    weights = 0.1 * torch.randn(5, 4, generator=generator)
    visible_bias, hidden_bias = torch.zeros(5), torch.zeros(4)
    moved = [torch.zeros(5, 4), torch.zeros(5), torch.zeros(4)]
    for epoch in range(1, epochs + 1):
        order = torch.randperm(7, generator=generator)
        for batch in (order[:3], order[3:6]):  # the seventh waits
            draws = torch.rand(3, 4, generator=generator)
            rbm = Rbm(weights, visible_bias, hidden_bias)
            along, error = contrastive_divergence(rbm, visible[batch], draws)
            told_epoch, _, told_error = told.pop(0)
            # Two orders of adding up, which some processors round alike.
            assert told_epoch == epoch
            assert told_error == pytest.approx(error, rel=1e-5)
            momentum = 0.5 if epoch <= 5 else 0.9
            moved[0] = momentum * moved[0] + 0.1 * (along.weights - 0.0002 * weights)
            moved[1] = momentum * moved[1] + 0.1 * along.visible_bias
            moved[2] = momentum * moved[2] + 0.1 * along.hidden_bias
            weights, visible_bias = weights + moved[0], visible_bias + moved[1]
            hidden_bias = hidden_bias + moved[2]
    torch.testing.assert_close(trained.weights, weights)
    torch.testing.assert_close(trained.visible_bias, visible_bias)
    torch.testing.assert_close(trained.hidden_bias, hidden_bias)


def test_saturated_units_stay_finite() -> None:
    rbm = Rbm(torch.full((3, 2), 1e4), torch.full((3,), -1e4), torch.full((2,), 1e4))
    direction, error = contrastive_divergence(rbm, torch.rand(4, 3), torch.rand(4, 2))
    assert direction.weights.isfinite().all()
    assert math.isfinite(error)


# --- semantic hashing ------------------------------------------------------------------


def test_the_reconstruction_loss_is_its_formula() -> None:
    generator = np.random.default_rng(0)
    outputs, pixels = generator.standard_normal((3, 5)), generator.random((3, 5))
    total = 0.0
    for row in range(3):
        for column in range(5):
            p, q = pixels[row, column], logistic(outputs[row, column])
            total -= p * math.log(q) + (1 - p) * math.log(1 - q)
    loss = reconstruction_loss(torch.from_numpy(outputs), torch.from_numpy(pixels))
    assert loss.item() == pytest.approx(total / 3)


def test_the_reconstruction_loss_worked_out_by_hand() -> None:
    # q is 1/2 and 3/4: log 2 for any p, and of p = 1 log 4/3.
    outputs = torch.tensor([[0.0, math.log(3)]], requires_grad=True)
    loss = reconstruction_loss(outputs, torch.tensor([[0.3, 1.0]]))
    assert loss.item() == pytest.approx(math.log(2) + math.log(4 / 3))
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
    assert outputs.grad is not None
    assert outputs.grad[0].tolist() == pytest.approx([0.5 - 0.3, 0.75 - 1])


def test_saturated_pixels_cost_much_but_not_infinitely() -> None:
    outputs = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = reconstruction_loss(outputs, torch.tensor([[0.0, 1.0]]))
    loss.backward()  # type: ignore[no-untyped-call]  # as above
    assert loss.item() == pytest.approx(2e4)
    assert outputs.grad is not None
    assert outputs.grad[0].tolist() == [1, -1]


def test_an_unrolled_stack_goes_up_and_down_as_its_machines_do() -> None:
    generator = np.random.default_rng(0)
    lower, upper = random_rbm(generator, 6, 4), random_rbm(generator, 4, 3)
    up, down = unroll([lower, upper])
    pixels = torch.from_numpy(generator.random((5, 6)))

    def through(layers: Sequence[torch.nn.Linear], values: Tensor) -> Tensor:
        for layer in layers:
            values = torch.sigmoid(layer(values))
        return values

    with torch.no_grad():
        code, rebuilt = through(up, pixels), through(down, upper.hidden(lower.hidden(pixels)))
    torch.testing.assert_close(code, upper.hidden(lower.hidden(pixels)))
    torch.testing.assert_close(rebuilt, lower.visible(upper.visible(code)))
    # Fine-tuning must not change the machines, nor one half the other.
    with torch.no_grad():
        up[0].weight.zero_()
    assert lower.weights.abs().min() > 0
    assert down[-1].weight.abs().min() > 0


def test_reconstruction_gets_better_in_pretraining_and_in_fine_tuning() -> None:
    fitted, steps, _ = run(SEMANTIC_HASHING)
    assert SEMANTIC_HASHING.total_epochs == 60
    assert [(step.epoch, step.step) for step in steps] == [
        (epoch, step) for epoch in range(1, 61) for step in range(1, 7)
    ]
    for layer in (1, 2):
        of_layer = steps[(layer - 1) * 120 : layer * 120]
        errors = [step.terms[f"pretraining {layer}"] for step in of_layer]
        assert np.mean(errors[-6:]) < 0.5 * np.mean(errors[:6])
    losses = [report.terms["reconstruction"] for report in fitted.history]
    assert [report.epoch for report in fitted.history] == list(range(41, 61))
    assert losses[0] == pytest.approx(
        np.mean([step.terms["reconstruction"] for step in steps[240:246]])
    )
    assert losses[-1] < 0.9 * losses[0]


def test_noise_drives_the_code_units_from_the_middle() -> None:
    without = replace(SEMANTIC_HASHING, noise=0.0)
    undecided, undecided_without = (
        np.mean(np.abs(outputs_of(run(system).fitted, TRAIN.pixels)) < 2)
        for system in (SEMANTIC_HASHING, without)
    )
    assert undecided < 0.8 * undecided_without


def test_images_that_fill_no_batch_are_told() -> None:
    system = SemanticHashing(n_bits=8, batch_size=121)
    with pytest.raises(TrainingError, match=r"120 training .* batch of 121; lower --batch-size"):
        fit(system, TRAIN, VALIDATION, SMALL)


def test_a_rate_that_is_too_high_is_told() -> None:
    system = SemanticHashing(n_bits=8, epochs=1, batch_size=30, hidden=(8,), learning_rate=3e37)
    with pytest.raises(TrainingError, match=r"not finite .*epoch 3.*; lower --learning-rate"):
        fit(system, TRAIN, VALIDATION, SMALL)


def test_the_last_epoch_before_a_fit_broke_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    system = SemanticHashing(n_bits=8, epochs=3, batch_size=30, hidden=(8,))
    good = fit(system, TRAIN, VALIDATION, SMALL)
    lost: list[int] = []

    def breaks_in_the_second_epoch(outputs: Tensor, pixels: Tensor) -> Tensor:
        lost.append(1)
        return reconstruction_loss(outputs, pixels) * (math.nan if len(lost) > 6 else 1.0)

    module = "hashsearch.training.fitted.semantic_hashing"
    monkeypatch.setattr(f"{module}.reconstruction_loss", breaks_in_the_second_epoch)
    with pytest.raises(Diverged, match="the loss is not finite at epoch 8, step 3") as caught:
        fit(system, TRAIN, VALIDATION, SMALL)
    assert isinstance(caught.value.kept, Fitted)
    first, again = good.history[0], caught.value.kept.history[0]
    assert (again.epoch, again.validation_map) == (first.epoch, first.validation_map)
    assert len(caught.value.kept.history) == 1
