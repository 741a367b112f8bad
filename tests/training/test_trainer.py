from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from toy import file_size_limit, toy_set

from hashsearch.datasets.parts import TRAINING_PARTS
from hashsearch.encoder import Encoder
from hashsearch.errors import DatasetError, TrainingError
from hashsearch.images import FASHION_MNIST, normalise
from hashsearch.training.objectives import OBJECTIVES, Outputs
from hashsearch.training.objectives.adversarial import Adversarial
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.run import train_encoder
from hashsearch.training.trainer import TrainedNetwork, train

if TYPE_CHECKING:
    from torch import Tensor

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.training.network import HashNetwork
    from hashsearch.training.reports import EpochReport, StepReport

PLAN = TrainingPlan(
    n_bits=16,
    fine_bits=8,
    epochs=2,
    settle_epochs=0,
    batch_size=32,
    device="cpu",
    precision="float32",
)
SEMANTIC_TERMS = ("classification", "hamming", "quantisation", "adversarial")
TRAIN, VALIDATION = toy_set(100, seed=0), toy_set(40, seed=1)


def run(
    plan: TrainingPlan = PLAN,
    train_set: ImageSet = TRAIN,
    validation_set: ImageSet = VALIDATION,
    **more: Any,
) -> TrainedNetwork:
    return train(plan, train_set, validation_set, FASHION_MNIST, **more)


def same_network(first: TrainedNetwork, second: TrainedNetwork) -> bool:
    a, b = first.network.state_dict(), second.network.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def timeless(history: list[EpochReport]) -> list[EpochReport]:
    return [replace(report, seconds=0.0) for report in history]


@pytest.fixture(scope="module")
def undisturbed() -> TrainedNetwork:
    return run()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "toy.onnx.checkpoint"


class Stopped(KeyboardInterrupt):
    """Ctrl-C."""


# --- what a run is ---------------------------------------------------------------------


def test_the_same_seed_gives_the_same_network_to_the_last_bit(undisturbed: TrainedNetwork) -> None:
    again = run()
    assert same_network(again, undisturbed)
    assert timeless(again.history) == timeless(undisturbed.history)


# Sums of the weighted terms in the first two steps, before rules, photos and rates were options.
FROM_BEFORE = {
    "adversarial": [6.42047, 5.15777],
    "dch": [6.42996, 5.10915],
    "hashnet": [5.51724, 4.6307],
    "dpsh": [5.11691, 3.80656],
    "dsh": [15.05494, 15.74434],
    "dlbhc": [5.15928, 4.1462],
    "csq": [4.46451, 3.43118],
    "orthohash": [7.00573, 5.91584],
    "classifier-bits": [4.87151, 3.62959],
    "ladder": [6.71363, 4.29016],
    "adversarial-eyes": [6.42043, 5.15714],
    "adversarial-pairs": [6.42079, 5.16043],
}


@pytest.mark.parametrize("objective", FROM_BEFORE)
def test_a_seed_learns_what_it_always_learnt(objective: str) -> None:
    steps: list[StepReport] = []
    run(replace(PLAN, objective=objective, epochs=1), on_step=steps.append)
    first, second = (sum(step.terms.values()) for step in steps[:2])
    # Machines and numbers of threads round differently, the more the later.
    assert first == pytest.approx(FROM_BEFORE[objective][0], rel=1e-4)
    assert second == pytest.approx(FROM_BEFORE[objective][1], rel=5e-3)


def test_images_that_say_nothing_of_what_the_rule_compares_are_refused() -> None:
    for rule in ("same-item", "shared-attributes(1)"):
        with pytest.raises(DatasetError, match=r"training images says nothing .*take same-type"):
            run(replace(PLAN, neighbours=rule))


def test_another_seed_gives_another_network(undisturbed: TrainedNetwork) -> None:
    assert not same_network(run(replace(PLAN, seed=1)), undisturbed)


def test_every_epoch_draws_its_own_batches_and_views() -> None:
    steps: list[StepReport] = []
    run(replace(PLAN, learning_rate=1e-30), on_step=steps.append)
    # The network stands still, so the same batch and view would give the same term.
    assert len({step.terms["classification"] for step in steps}) == len(steps) == 6


def test_the_reports_tell_every_step_and_epoch(undisturbed: TrainedNetwork) -> None:
    steps: list[StepReport] = []
    epochs: list[EpochReport] = []
    trained = run(on_step=steps.append, on_epoch=epochs.append)
    # 100 images are 3 whole batches of 32.
    assert [(step.epoch, step.step, step.steps) for step in steps] == [
        (epoch, step, 3) for epoch in (1, 2) for step in (1, 2, 3)
    ]
    assert epochs == trained.history
    assert [report.epoch for report in epochs] == [1, 2]
    terms = {*SEMANTIC_TERMS, "fine"}
    for report in epochs:
        of_epoch = [step for step in steps if step.epoch == report.epoch]
        assert set(report.terms) == terms
        for term in terms:
            mean = sum(step.terms[term] for step in of_epoch) / 3
            assert report.terms[term] == pytest.approx(mean)
        accuracies = [step.adversary_accuracy for step in of_epoch]
        assert report.adversary_accuracy == pytest.approx(np.mean(np.array(accuracies, float)))
        assert 0.3 < np.mean(np.array(accuracies, float)) < 0.8


def test_the_first_epoch_of_the_highest_validation_map_is_kept(undisturbed: TrainedNetwork) -> None:
    maps = [report.validation_map for report in undisturbed.history]
    assert undisturbed.best.validation_map == max(maps)
    assert undisturbed.best.epoch == 1 + maps.index(max(maps))
    assert [report.best for report in undisturbed.history] == [
        report.validation_map > max(maps[:row], default=-1.0)
        for row, report in enumerate(undisturbed.history)
    ]


def test_the_network_comes_ready_to_export(undisturbed: TrainedNetwork) -> None:
    assert not any(module.training for module in undisturbed.network.modules())
    assert {value.device.type for value in undisturbed.network.state_dict().values()} == {"cpu"}
    assert undisturbed.weights == {
        "classification": 1.0,
        "hamming": 0.5,
        "quantisation": 0.1,
        "adversarial": 0.2,
        "fine": 1.0,
    }
    assert undisturbed.settings["constants"] == PLAN.to_record()["constants"]
    assert undisturbed.settings["precision"] == "float32"
    assert undisturbed.settings["train_images"] == 100
    assert undisturbed.settings["validation_images"] == 40


@pytest.mark.parametrize("precision", ["bfloat16", "auto"])
def test_other_precisions_train_and_say_which_they_took(precision: str) -> None:
    trained = run(replace(PLAN, precision=precision, epochs=1))
    taken = trained.settings["precision"]
    assert taken in ({"float32", "bfloat16"} if precision == "auto" else {precision})
    # Timing it leaves no trace in the network.
    assert same_network(trained, run(replace(PLAN, precision=taken, epochs=1)))


def test_images_that_may_not_be_written_can_be_trained_on(undisturbed: TrainedNetwork) -> None:
    images, labels = TRAIN.images.copy(), TRAIN.labels.copy()
    images.flags.writeable = labels.flags.writeable = False
    assert same_network(run(train_set=replace(TRAIN, images=images, labels=labels)), undisturbed)


# --- validation ------------------------------------------------------------------------


def plain_average_precision(distance: list[int], relevant: list[bool]) -> Fraction:
    """McSherry & Najork 2008, position by position: the expectation over ties."""
    total, before, found = Fraction(0), 0, 0
    for value in sorted(set(distance)):
        tied = [r for d, r in zip(distance, relevant, strict=True) if d == value]
        n, hits = len(tied), sum(tied)
        for place in range(1, n + 1):
            earlier = Fraction((place - 1) * (hits - 1), n - 1) if n > 1 else Fraction(0)
            total += Fraction(hits, n) * (found + earlier + 1) / (before + place)
        before, found = before + n, found + hits
    return total / found


def plain_validation_map(network: HashNetwork, images: ImageSet) -> float:
    """Of the images sorted by class every second one queries the others."""
    with torch.no_grad():
        outputs = network(torch.from_numpy(normalise(images.pixels, FASHION_MNIST)))[0]
    bits = (outputs >= 0).tolist()
    by_class = sorted(range(len(images)), key=lambda row: (images.labels[row], row))
    precisions = []
    for query in by_class[::2]:
        others = [row for row in range(len(images)) if row not in by_class[::2]]
        distance = [
            sum(a != b for a, b in zip(bits[query], bits[row], strict=True)) for row in others
        ]
        relevant = [bool(images.labels[query] == images.labels[row]) for row in others]
        precisions.append(plain_average_precision(distance, relevant))
    return float(sum(precisions) / len(precisions))


@pytest.mark.parametrize("stride", [1, 7])
def test_the_validation_map_is_its_definition(stride: int) -> None:
    rows = np.arange(40) * stride % 40  # the order in which the classes come does not matter
    validation_set = VALIDATION.subset(rows)
    trained = run(replace(PLAN, epochs=1), validation_set=validation_set)
    expected = plain_validation_map(trained.network, validation_set)
    assert trained.best.validation_map == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[], [0], [0, 1, 2, 3]])
def test_validation_images_that_choose_nothing_are_refused(labels: list[int]) -> None:
    rows = np.array([list(VALIDATION.labels).index(label) for label in labels], dtype=np.int64)
    with pytest.raises(TrainingError, match=f"{len(labels)} validation images .*; give more"):
        run(validation_set=VALIDATION.subset(rows))


def test_training_lifts_the_validation_map_well_above_chance() -> None:
    plan = replace(PLAN, epochs=5, batch_size=16, learning_rate=1e-2)
    trained = run(plan, toy_set(256, seed=0), toy_set(80, seed=1))
    untrained = run(replace(plan, learning_rate=1e-9, epochs=1), validation_set=toy_set(80, seed=1))
    # Four types: chance is 0.25, and random bits of such simple pictures are above it.
    assert trained.best.validation_map > 0.9
    assert untrained.best.validation_map < 0.7
    # The network that comes back is that of the best epoch, not of the last.
    assert plain_validation_map(trained.network, toy_set(80, seed=1)) == pytest.approx(
        trained.best.validation_map
    )


SETTLING = replace(PLAN, settle_epochs=2)


def test_settling_epochs_come_after_the_others_and_the_last_is_kept(
    undisturbed: TrainedNetwork,
) -> None:
    trained = run(SETTLING)
    assert timeless(trained.history[:2]) == timeless(undisturbed.history)
    assert [report.epoch for report in trained.history] == [1, 2, 3, 4]
    assert trained.best == trained.history[-1]
    assert not same_network(trained, undisturbed)


def test_both_views_teach_and_settling_draws_neighbours_closer() -> None:
    calls: list[tuple[int, float]] = []

    class Watched(Adversarial):
        def terms(self, outputs: Outputs, labels: Tensor, *rest: Any) -> dict[str, Tensor]:
            assert len(labels) == len(outputs.semantic)
            calls.append((len(labels), self.gamma))
            return super().terms(outputs, labels, *rest)

    OBJECTIVES["watched"] = Watched
    try:
        run(replace(SETTLING, objective="watched", settle_epochs=1, epochs=1))
    finally:
        del OBJECTIVES["watched"]
    assert calls == [(64, 20.0)] * 3 + [(64, 2.0)] * 3


@pytest.mark.parametrize(("ceiling", "learns"), [(1.0, True), (0.0, False)])
def test_a_discriminator_that_rests_stays_as_it_is(
    ceiling: float, learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    class Watched(Adversarial):
        def terms(self, *batch: Any) -> dict[str, Tensor]:
            seen.append(torch.cat([values.flatten() for values in self.adversary_parameters()]))
            return super().terms(*batch)

    monkeypatch.setitem(OBJECTIVES, "watched", Watched)
    run(replace(PLAN, objective="watched", constants={"ceiling": ceiling}, epochs=1))
    assert len(seen) == 3
    assert [not torch.equal(values, seen[0]) for values in seen[1:]] == [learns, learns]


@pytest.mark.parametrize("stop", [2, 3])
def test_a_run_stopped_before_or_while_it_settles_ends_as_an_undisturbed_one(
    checkpoint: Path, stop: int
) -> None:
    def stop_after(report: EpochReport) -> None:
        if report.epoch == stop:
            raise Stopped

    with pytest.raises(Stopped):
        run(SETTLING, checkpoint_path=checkpoint, on_epoch=stop_after)
    resumed = run(SETTLING, checkpoint_path=checkpoint)
    assert same_network(resumed, run(SETTLING))


# --- switches --------------------------------------------------------------------------


@pytest.mark.parametrize("term", SEMANTIC_TERMS)
def test_a_run_without_a_term(term: str) -> None:
    trained = run(replace(PLAN, weights={term: 0.0}, epochs=1))
    assert term not in trained.best.terms
    assert len(trained.best.terms) == 4
    assert trained.weights[term] == 0
    assert (trained.best.adversary_accuracy is None) == (term == "adversarial")


def test_weights_scale_their_terms() -> None:
    firsts: dict[float, StepReport] = {}
    for weight in (0.5, 1.5):
        plan = replace(PLAN, weights={"hamming": weight, "fine": weight}, epochs=1)
        run(plan, on_step=lambda step, weight=weight: firsts.setdefault(weight, step))
    for term, factor in {"hamming": 3.0, "fine": 3.0, "classification": 1.0}.items():
        assert firsts[1.5].terms[term] == pytest.approx(factor * firsts[0.5].terms[term])


def test_constants_reach_the_loss_and_the_record() -> None:
    firsts: dict[float, StepReport] = {}
    for gamma in (20.0, 5.0):
        plan = replace(PLAN, constants={"gamma": gamma}, epochs=1)
        trained = run(plan, on_step=lambda step, gamma=gamma: firsts.setdefault(gamma, step))
        assert trained.settings["constants"]["gamma"] == gamma
    changed = {
        term for term, value in firsts[5.0].terms.items() if value != firsts[20.0].terms[term]
    }
    assert changed == {"hamming", "quantisation"}


def test_a_run_without_the_fine_head() -> None:
    trained = run(replace(PLAN, epochs=1, fine_bits=0))
    assert "fine" not in trained.best.terms
    assert trained.network.fine_bits == 0
    assert "fine" not in trained.weights


def test_the_fine_loss_alone_can_be_trained() -> None:
    without = dict.fromkeys(SEMANTIC_TERMS, 0.0)
    assert set(run(replace(PLAN, weights=without, epochs=1)).best.terms) == {"fine"}


def test_an_image_without_neighbours_has_its_other_view() -> None:
    # Two images a batch: most batches hold two types.
    steps: list[StepReport] = []
    plan = replace(PLAN, batch_size=2, epochs=1)
    trained = run(plan, train_set=toy_set(40, seed=0), on_step=steps.append)
    judged = [s.adversary_accuracy for s in steps if s.adversary_accuracy is not None]
    assert len(judged) == len(steps) == 20
    assert trained.best.adversary_accuracy == pytest.approx(sum(judged) / len(judged))


# --- stopping and going on -------------------------------------------------------------


@pytest.mark.parametrize("moment", ["after epoch 1", "within epoch 1", "within epoch 2"])
def test_a_stopped_and_resumed_run_ends_where_an_undisturbed_one_does(
    moment: str, checkpoint: Path, undisturbed: TrainedNetwork
) -> None:
    def on_step(report: StepReport) -> None:
        if moment == f"within epoch {report.epoch}" and report.step == 2:
            raise Stopped

    def on_epoch(report: EpochReport) -> None:
        if moment == f"after epoch {report.epoch}":
            raise Stopped

    with pytest.raises(Stopped):
        run(checkpoint_path=checkpoint, on_step=on_step, on_epoch=on_epoch)
    steps: list[StepReport] = []
    epochs: list[EpochReport] = []
    resumed = run(checkpoint_path=checkpoint, on_step=steps.append, on_epoch=epochs.append)
    assert same_network(resumed, undisturbed)
    assert timeless(resumed.history) == timeless(undisturbed.history)
    assert epochs == resumed.history  # those before the stop are told again
    assert {step.epoch for step in steps} == ({1, 2} if moment == "within epoch 1" else {2})


def test_a_finished_run_is_not_trained_again(checkpoint: Path, undisturbed: TrainedNetwork) -> None:
    first = run(checkpoint_path=checkpoint)
    steps: list[StepReport] = []
    second = run(checkpoint_path=checkpoint, on_step=steps.append)
    assert not steps
    assert second.history == first.history
    assert same_network(second, undisturbed)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint after one epoch."""
    path = tmp_path_factory.mktemp("stored") / "checkpoint"

    def stop(report: EpochReport) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        run(checkpoint_path=path, on_epoch=stop)
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint"]
    return path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"epochs": 3},
        {"weights": {"hamming": 0.0}},
        {"constants": {"gamma": 5.0}},
        {"fine_bits": 0},
        {"n_bits": 8},
    ],
)
def test_a_checkpoint_of_another_plan_is_refused(
    change: dict[str, Any], stored: bytes, checkpoint: Path
) -> None:
    checkpoint.write_bytes(stored)
    with pytest.raises(TrainingError, match=r"other options or images; .* --fresh"):
        run(replace(PLAN, **change), checkpoint_path=checkpoint)
    assert checkpoint.read_bytes() == stored


def test_defaults_that_are_written_out_make_no_other_plan(
    stored: bytes, checkpoint: Path, undisturbed: TrainedNetwork
) -> None:
    checkpoint.write_bytes(stored)
    plan = replace(PLAN, weights={"hamming": 0.5, "fine": 1}, constants={"gamma": 20})
    assert same_network(run(plan, checkpoint_path=checkpoint), undisturbed)


def test_a_checkpoint_of_other_images_is_refused(stored: bytes, checkpoint: Path) -> None:
    checkpoint.write_bytes(stored)
    changed = TRAIN.images.copy()
    changed[99, 7, 7] ^= 1
    with pytest.raises(TrainingError, match="other options or images"):
        run(train_set=replace(TRAIN, images=changed), checkpoint_path=checkpoint)
    with pytest.raises(TrainingError, match="other options or images"):
        run(validation_set=VALIDATION.subset(np.arange(39)), checkpoint_path=checkpoint)
    with pytest.raises(TrainingError, match="other options or images"):
        train(
            PLAN, TRAIN, VALIDATION, replace(FASHION_MNIST, mean=(0.5,)), checkpoint_path=checkpoint
        )


def test_a_damaged_checkpoint_is_refused(stored: bytes, checkpoint: Path) -> None:
    damaged = [b"", b"not a checkpoint", stored[: len(stored) // 2], stored[:-100]]
    for position in np.linspace(500, len(stored) - 500, 8, dtype=int):
        flipped = bytearray(stored)
        # 64 bytes: more than the padding between two tensors, which nothing reads.
        flipped[position : position + 64] = bytes(
            byte ^ 0x10 for byte in flipped[position : position + 64]
        )
        damaged.append(bytes(flipped))
    for content in damaged:
        checkpoint.write_bytes(content)
        with pytest.raises(TrainingError) as caught:
            run(checkpoint_path=checkpoint)
        message = str(caught.value)
        assert str(checkpoint) in message
        assert "--fresh" in message
        assert "\n" not in message


def test_another_file_of_torch_is_refused(checkpoint: Path) -> None:
    for content in ([1, 2], {"version": 1}, torch.zeros(3)):
        torch.save(content, checkpoint)
        with pytest.raises(TrainingError, match="--fresh"):
            run(checkpoint_path=checkpoint)


def test_a_full_disk_keeps_the_last_checkpoint(stored: bytes, checkpoint: Path) -> None:
    checkpoint.write_bytes(stored)
    full = r"cannot be written .*; make room[^\n]*$"
    with file_size_limit(100_000), pytest.raises(TrainingError, match=full):
        run(checkpoint_path=checkpoint)
    assert checkpoint.read_bytes() == stored
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


# --- runs that cannot go on ------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step(checkpoint: Path) -> None:
    plan = replace(PLAN, weights={"hamming": 1e38, "classification": 3e38})
    with pytest.raises(TrainingError, match=r"not finite at epoch 1, step 1 .*--learning-rate"):
        run(plan, checkpoint_path=checkpoint)
    assert not checkpoint.exists()


def test_after_a_loss_that_is_not_finite_the_last_good_epoch_is_whole(checkpoint: Path) -> None:
    # One step an epoch at a rate that takes some steps to blow the weights up.
    plan = replace(PLAN, learning_rate=100.0, epochs=40)
    few = TRAIN.subset(np.arange(32))
    epochs: list[EpochReport] = []
    with pytest.raises(TrainingError, match="not finite") as caught:
        run(plan, train_set=few, checkpoint_path=checkpoint, on_epoch=epochs.append)
    assert 0 < len(epochs) < 40
    assert f"epoch {len(epochs) + 1}" in str(caught.value)
    # The checkpoint opens, tells the good epochs, and meets the same end.
    again: list[EpochReport] = []
    with pytest.raises(TrainingError, match="not finite") as caught_again:
        run(plan, train_set=few, checkpoint_path=checkpoint, on_epoch=again.append)
    assert str(caught_again.value) == str(caught.value)
    assert again == epochs


def test_the_best_epoch_before_the_network_broke_is_an_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = toy_set(32, seed=0, size=28), toy_set(40, seed=1, size=28)
    monkeypatch.setitem(TRAINING_PARTS, "all-labels", lambda *_, **__: few)
    plan = replace(PLAN, learning_rate=100.0, epochs=40, backbone="lenet")
    with pytest.raises(
        TrainingError, match=r"not finite .* start over with --fresh; epoch"
    ) as caught:
        train_encoder(plan, TRAIN, tmp_path / "toy.onnx", dataset="toy")
    kept = Path(str(caught.value).rpartition(" is in ")[2])
    assert kept.parent == tmp_path
    encoder = Encoder.load(kept)
    history = encoder.record.training["history"]
    best = max(history, key=lambda report: report["validation_map"])
    assert kept.name == f"toy.epoch-{best['epoch']}.onnx"
    assert encoder.record.figures["validation_map"] == best["validation_map"]
    assert encoder.encode_pixels(few[0].pixels).shape == (32, 3)
    assert not (tmp_path / "toy.onnx").exists()


@pytest.mark.parametrize("learning_rate", [1e30, 1e39])
def test_a_network_that_the_last_step_broke_is_not_kept(
    learning_rate: float, checkpoint: Path
) -> None:
    plan = replace(PLAN, learning_rate=learning_rate, epochs=1)
    with pytest.raises(
        TrainingError, match=r"not finite after epoch 1, step 1; lower --learning-rate"
    ):
        run(plan, train_set=TRAIN.subset(np.arange(32)), checkpoint_path=checkpoint)
    assert not checkpoint.exists()


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"20 training images .* batch of 32.*--batch-size"):
        run(train_set=TRAIN.subset(np.arange(20)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(TrainingError, match=r"no CUDA device is available; .*--device cpu"):
        run(replace(PLAN, device="cuda"))
