"""Training on photos: what is learnt from which of them, and that it does not depend on chance."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.folder import folder_items
from hashsearch.datasets.item import Item
from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.datasets.photo_set import PhotoSet, photo_parts, photo_preprocessing
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError, DatasetError, TrainingError
from hashsearch.training import trainer
from hashsearch.training.feed import Reading
from hashsearch.training.network import HashNetwork
from hashsearch.training.objectives import OBJECTIVES
from hashsearch.training.objectives.instance import instance_discrimination
from hashsearch.training.plan import TrainingPlan, plan_for_photos
from hashsearch.training.run import default_image_size, train_on_photos
from hashsearch.training.trainer import TrainedNetwork, train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hashsearch.training.reports import EpochReport, StepReport
    from hashsearch.training.run import Trained

TYPES = ("coat", "dress", "hat")
COLOURS = ("red", "green", "blue")
PLAN = TrainingPlan(
    backbone="small-resnet",
    n_bits=16,
    fine_bits=8,
    epochs=2,
    settle_epochs=0,
    batch_size=8,
    device="cpu",
    precision="float32",
)
SIZE = 16
LIKE_TORCHVISION = replace(PLAN, backbone="resnet18", epochs=1, batch_size=6)
NOT_HELD = Reading(held_bytes=0)


def save(path: Path, kind: int, seed: int) -> None:
    """A photo with noise, lighter in the channel of its type."""
    rng = np.random.default_rng([kind, seed])
    pixels = rng.integers(0, 100, (40, 30, 3), dtype=np.uint8)
    pixels[..., kind] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos of each of three types."""
    folder = tmp_path_factory.mktemp("photos")
    for kind, name in enumerate(TYPES):
        for number in range(12):
            save(folder / name / f"{number:02}.jpg", kind, number)
    return folder


@pytest.fixture(scope="module")
def shop(folder: Path) -> Catalogue:
    """The photos; three of an article, each with its colour and a pattern that many share."""
    items = [
        replace(
            item,
            key=f"{item.label}-{number % 12 // 3}",
            attributes=(COLOURS[number // 12], "plain" if number % 2 else "striped"),
        )
        for number, item in enumerate(folder_items(folder))
    ]
    return Catalogue("shop", items)


def with_split(catalogue: Catalogue, parts: Sequence[str | None]) -> Catalogue:
    """The parts in turn."""
    items = [
        replace(item, split=parts[row % len(parts)]) for row, item in enumerate(catalogue.items)
    ]
    return Catalogue(catalogue.name, items)


def parted(catalogue: Catalogue, plan: TrainingPlan = PLAN) -> tuple[PhotoSet, PhotoSet]:
    size = SIZE if plan.backbone == "small-resnet" else 64
    parts = photo_parts(catalogue, plan.rule, photo_preprocessing(size))
    return parts.train, parts.validation


def run(
    catalogue: Catalogue, plan: TrainingPlan = PLAN, *, reading: Reading = NOT_HELD, **more: Any
) -> TrainedNetwork:
    train_set, validation_set = parted(catalogue, plan)
    return train(plan, train_set, validation_set, train_set.preprocessing, reading=reading, **more)


def same(first: TrainedNetwork, second: TrainedNetwork) -> bool:
    a, b = first.network.state_dict(), second.network.state_dict()
    figures = [[report.validation_map for report in each.history] for each in (first, second)]
    return (
        a.keys() == b.keys()
        and all(torch.equal(a[name], b[name]) for name in a)
        and figures[0] == figures[1]
    )


@pytest.fixture(scope="module")
def undisturbed(shop: Catalogue) -> TrainedNetwork:
    return run(shop)


class Stopped(KeyboardInterrupt):
    """Ctrl-C."""


def stop(report: EpochReport) -> None:
    raise Stopped


# --- from photos to an encoder ---------------------------------------------------------


def trained_on(catalogue: Catalogue, out: Path, plan: TrainingPlan = PLAN, **more: Any) -> Trained:
    size = SIZE if plan.backbone == "small-resnet" else 64
    return train_on_photos(plan, catalogue, out, image_size=size, **more)


@pytest.mark.parametrize("backbone", ["small-resnet", "resnet18"])
def test_a_folder_becomes_an_encoder_that_takes_its_photos(
    folder: Path, tmp_path: Path, backbone: str
) -> None:
    plan = replace(LIKE_TORCHVISION, backbone=backbone)
    items = folder_items(folder)
    trained = trained_on(Catalogue("shop", items), tmp_path / "shop.onnx", plan)
    assert [path.name for path in tmp_path.iterdir()] == ["shop.onnx"]
    encoder = Encoder.load(tmp_path / "shop.onnx")
    record = encoder.record
    assert (record.dataset, record.class_names, record.backbone) == ("shop", TYPES, backbone)
    assert (record.neighbour_rule, record.training["part"]) == ("same-type", "held out")
    size = {"small-resnet": SIZE, "resnet18": 64}[backbone]
    assert record.preprocessing == photo_preprocessing(size)
    assert record.training["train_images"] == 30
    assert record.training["validation_images"] == 6
    assert len(record.training["train_files_sha256"]) == 64
    assert (trained.skipped, trained.left_out) == ({}, 0)
    assert trained.differing_bits <= 0.01
    codes = encoder.encode([item.image for item in items])
    assert codes.shape == (36, 3)
    took_part = encoder.took_part([*(item.id for item in items), "coat/99.jpg"])
    assert took_part is not None
    assert took_part.tolist() == [*[True] * 36, False]


def test_photos_are_learnt_to_be_told_apart(shop: Catalogue) -> None:
    plan = replace(PLAN, epochs=4, learning_rate=1e-2)
    trained = run(shop, plan, reading=Reading())
    assert trained.best.validation_map > 0.9


def test_photos_want_a_plan_of_their_own(tmp_path: Path) -> None:
    plan = plan_for_photos("adversarial")
    assert (plan.backbone, plan.backbone_weights, plan.batch_size) == ("resnet18", "imagenet", 64)
    assert (plan.backbone_rate, plan.freeze_epochs) == (0.1, 1)
    plan = plan_for_photos("dch", backbone_weights="none", batch_size=8)
    assert (plan.backbone_rate, plan.freeze_epochs, plan.batch_size) == (1.0, 0, 8)
    assert plan_for_photos("dch", backbone="small-resnet").backbone_weights == "none"
    weights = tmp_path / "weights.pt"
    weights.touch()
    plan = plan_for_photos("dch", backbone_weights=str(weights), freeze_epochs=0)
    assert (plan.backbone_rate, plan.freeze_epochs) == (0.1, 0)
    for fitted in ("lsh", "itq", "semantic-hashing"):
        with pytest.raises(ArgumentError, match=f"{fitted} is fitted .* for photos take another"):
            plan_for_photos(fitted)
    assert [default_image_size(name) for name in ("small-resnet", "lenet", "vit_b_16")] == [
        64,
        64,
        224,
    ]


# --- what must not change the result ---------------------------------------------------


@pytest.mark.parametrize(
    "reading",
    [Reading(workers=1, held_bytes=0), Reading(), Reading(workers=1), Reading(held_bytes=25_000)],
    ids=["read by another process", "held", "held, read by another", "half of them held"],
)
def test_who_reads_and_what_is_held_changes_nothing(
    shop: Catalogue, undisturbed: TrainedNetwork, reading: Reading
) -> None:
    assert same(run(shop, reading=reading), undisturbed)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"accumulate": 2, "backbone_rate": 0.5, "freeze_epochs": 1, "settle_epochs": 1},
        {"neighbours": "same-item"},
        {"neighbours": "shared-attributes(1)", "objective": "csq", "precision": "bfloat16"},
    ],
)
def test_a_stopped_and_resumed_run_ends_where_an_undisturbed_one_does(
    shop: Catalogue, tmp_path: Path, change: dict[str, Any]
) -> None:
    plan = replace(PLAN, **change)
    path = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        run(shop, plan, checkpoint_path=path, on_epoch=stop)
    assert same(run(shop, plan, checkpoint_path=path), run(shop, plan))


def test_a_checkpoint_of_changed_files_is_refused(shop: Catalogue, tmp_path: Path) -> None:
    items = list(shop.items)
    copy = tmp_path / "copy.jpg"
    save(copy, 0, 0)
    items[0] = replace(items[0], image=copy)
    changed = Catalogue("shop", items)
    path = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        run(changed, checkpoint_path=path, on_epoch=stop)
    os.utime(copy, (1, 1))
    with pytest.raises(TrainingError, match=r"other options or images; .* --fresh"):
        run(changed, checkpoint_path=path)


# --- files that cannot be read ---------------------------------------------------------


def with_bad(shop: Catalogue, tmp_path: Path, rows: Sequence[int]) -> Catalogue:
    items = list(shop.items)
    for row in rows:
        bad = tmp_path / f"bad-{row}.jpg"
        bad.write_bytes(b"no image")
        items[row] = replace(items[row], image=bad)
    return Catalogue("shop", items)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_is_named_once_and_left_out(
    shop: Catalogue, tmp_path: Path, workers: int
) -> None:
    bad = with_bad(shop, tmp_path, [3, 20])
    reading = Reading(workers=workers, held_bytes=0)
    path = tmp_path / "own" / "checkpoint"
    path.parent.mkdir()
    with pytest.raises(Stopped):
        run(bad, reading=reading, checkpoint_path=path, on_epoch=stop)
    trained = run(bad, reading=reading, checkpoint_path=path)
    # One that validates and one that trains, or two that train: all are met in an epoch.
    assert trained.skipped.keys() <= {bad.items[3].id, bad.items[20].id}
    assert all("bad-" in reason for reason in trained.skipped.values())
    assert len(trained.skipped) == trained.settings["skipped_images"] >= 1
    held = run(bad, reading=Reading())
    assert same(held, trained)
    assert len(held.skipped) == 2


def test_a_run_on_bad_files_ends_as_an_encoder(shop: Catalogue, tmp_path: Path) -> None:
    bad = with_bad(shop, tmp_path, [0, 13])
    trained = trained_on(bad, tmp_path / "shop.onnx")
    assert set(trained.skipped) == {bad.items[0].id, bad.items[13].id}
    assert trained.record.training["skipped_images"] == 2


def test_files_that_are_gone_when_the_encoder_is_written_do_not_lose_it(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def gone(report: EpochReport) -> None:
        del report
        shutil.rmtree(copy, ignore_errors=True)

    plan = replace(PLAN, epochs=1)
    items = folder_items(copy)
    trained = trained_on(Catalogue("shop", items), tmp_path / "shop.onnx", plan, on_epoch=gone)
    assert trained.differing_bits <= 0.01
    assert Encoder.load(tmp_path / "shop.onnx").n_bits == 16


def test_batches_with_less_than_two_photos_are_passed_over(shop: Catalogue, tmp_path: Path) -> None:
    train_set, _ = parted(shop)
    trains = [row for row, item in enumerate(shop.items) if item.id in set(train_set.ids)]
    bad = with_bad(shop, tmp_path, trains[:14])
    steps: list[StepReport] = []
    trained = run(bad, replace(PLAN, batch_size=2, epochs=1), on_step=steps.append)
    assert 0 < len(steps) < len(train_set) // 2
    for term, mean in trained.best.terms.items():
        assert mean == pytest.approx(np.mean([step.terms[term] for step in steps]))


def test_where_nothing_can_be_read_the_run_ends_and_says_so(
    shop: Catalogue, tmp_path: Path
) -> None:
    bad = with_bad(shop, tmp_path, range(36))
    with pytest.raises(TrainingError, match=r"of no batch can two images be read \(.*bad-"):
        run(bad)
    train_set, _ = parted(shop)
    validates = [row for row, item in enumerate(shop.items) if item.id not in set(train_set.ids)]
    with pytest.raises(TrainingError, match=r"no validation image can be read \(.*bad-"):
        run(with_bad(shop, tmp_path, validates))


def test_a_reader_that_is_killed_is_told_and_the_run_goes_on_from_its_last_epoch(
    shop: Catalogue, undisturbed: TrainedNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint"

    def kill(report: StepReport) -> None:
        if report.epoch == 2:
            for child in multiprocessing.active_children():
                child.kill()
                child.join()

    reading = Reading(workers=1, held_bytes=0)
    with pytest.raises(TrainingError, match="a process that reads photos has ended") as caught:
        run(shop, reading=reading, checkpoint_path=path, on_step=kill)
    assert "--workers 0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(run(shop, checkpoint_path=path), undisturbed)


def test_a_set_of_photos_goes_to_another_process(shop: Catalogue) -> None:
    # Where processes are not forked, they get it pickled.
    train_set, _ = parted(shop)
    sent = pickle.loads(pickle.dumps(train_set))  # noqa: S301 - our own
    assert np.array_equal(sent.read(5), train_set.read(5))
    assert sent.digests == train_set.digests


# --- rules -----------------------------------------------------------------------------


def watched(shop: Catalogue, plan: TrainingPlan) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Labels and neighbours of each batch, as the objective gets them."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    base = OBJECTIVES[plan.objective]

    class Watched(base):  # type: ignore[valid-type, misc]  # a class of the registry
        def terms(self, outputs: Any, labels: Any, neighbours: Any, generator: Any) -> Any:
            seen.append((labels, neighbours))
            return super().terms(outputs, labels, neighbours, generator)

    OBJECTIVES["watched"] = Watched
    try:
        run(shop, replace(plan, objective="watched"), reading=Reading())
    finally:
        del OBJECTIVES["watched"]
    return seen


def test_shared_attributes_are_many_labels_and_few_neighbours(shop: Catalogue) -> None:
    plan = replace(PLAN, neighbours="shared-attributes(2)", epochs=1)
    seen = watched(shop, plan)
    assert len(seen) == 3
    for labels, neighbours in seen:
        assert labels.shape == (16, 5)
        assert labels.dtype == torch.float32
        assert labels.sum(dim=1).tolist() == [2.0] * 16
        assert torch.equal(neighbours, labels @ labels.T >= 2)
    trained = run(shop, plan)
    assert trained.settings["neighbours"] == "shared-attributes(2)"


def test_an_image_is_its_own_neighbour_even_if_it_has_too_few_attributes(shop: Catalogue) -> None:
    plan = replace(PLAN, neighbours="shared-attributes(2)", epochs=1)
    some = [
        replace(item, attributes=item.attributes[:1]) if row % 12 < 6 else item
        for row, item in enumerate(shop.items)
    ]
    both_views = torch.eye(8, dtype=torch.bool).tile(2, 2)
    found = 0
    for labels, neighbours in watched(Catalogue("shop", some), plan):
        few = labels.sum(dim=1) < 2
        found += int(few.sum())
        assert torch.equal(neighbours[few], both_views[few])
    assert found


def test_photos_of_an_article_stand_in_one_batch(shop: Catalogue) -> None:
    plan = replace(PLAN, neighbours="same-item", epochs=1, batch_size=9)
    seen = watched(shop, plan)
    assert len(seen) == 3
    for labels, neighbours in seen:
        # Nine photos side by side are at least two whole articles of three.
        assert neighbours[:9, :9].sum() >= 9 + 2 * 6
        assert labels.dtype == torch.int64
        assert labels.min() >= 0
        assert neighbours.diagonal().all()
    orders = [tuple(labels.tolist()) for labels, _ in seen]
    assert len(set(orders)) > 1


def test_articles_without_types_are_learnt_from_pairs_alone(shop: Catalogue) -> None:
    bare = Catalogue("shop", [replace(item, label=None) for item in shop.items])
    plan = replace(PLAN, neighbours="same-item", epochs=1)
    with pytest.raises(ArgumentError, match=r"no training image has a type .*--without class"):
        run(bare, plan)
    trained = run(bare, replace(plan, weights={"classification": 0.0}))
    assert "classification" not in trained.best.terms
    # Some of them without: the others are classified.
    half = [replace(item, label=None) if row % 2 else item for row, item in enumerate(shop.items)]
    assert run(Catalogue("shop", half), plan).best.terms["classification"] > 0


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
@pytest.mark.parametrize("rule", ["same-item", "shared-attributes(2)"])
def test_every_objective_learns_by_every_rule_or_says_what_to_take(
    shop: Catalogue, objective: str, rule: str
) -> None:
    kind = OBJECTIVES[objective]
    takes = kind.several_classes if rule.startswith("shared") else kind.compares_pairs
    if takes:
        plan = replace(PLAN, objective=objective, neighbours=rule, epochs=1)
        assert run(shop, plan, reading=Reading()).best.validation_map > 0
        return
    with pytest.raises(ArgumentError, match=rf"{objective} .* take adversarial, dch, .*") as caught:
        replace(PLAN, objective=objective, neighbours=rule)
    assert "\n" not in str(caught.value)


def test_what_a_rule_cannot_compare_is_left_out_and_counted(
    shop: Catalogue, tmp_path: Path
) -> None:
    items = [replace(item, label=None) if row == 5 else item for row, item in enumerate(shop.items)]
    trained = trained_on(Catalogue("shop", items), tmp_path / "shop.onnx")
    assert trained.left_out == 1
    told = trained.record.training
    assert told["train_images"] + told["validation_images"] == 35
    rule = replace(PLAN, neighbours="shared-attributes(2)")
    trained = trained_on(shop, tmp_path / "shop.onnx", rule)
    assert trained.record.neighbour_rule == "shared-attributes(2)"
    assert trained.record.class_names == ("blue", "green", "plain", "red", "striped")


# --- who trains and who validates ------------------------------------------------------


def test_a_tenth_of_each_type_is_held_out_and_always_the_same(shop: Catalogue) -> None:
    many = Catalogue(
        "shop",
        [
            Item(f"{label}-{row}", b"", label=label)
            for label, n in (("a", 200), ("b", 30), ("c", 5), ("d", 3), ("e", 1))
            for row in range(n)
        ],
    )
    train_set, validation_set = parted(many)
    counts = np.bincount(validation_set.facts.types, minlength=5).tolist()
    # Two where there are four: one finds the other.
    assert counts == [20, 3, 2, 1, 0]
    assert not set(train_set.ids) & set(validation_set.ids)
    assert len(train_set) + len(validation_set) == len(many.items)
    assert parted(many)[1].ids == validation_set.ids
    # Not the first of each type.
    assert validation_set.ids[:20] != tuple(f"a-{row}" for row in range(20))


def test_five_thousand_are_the_most_that_are_held_out() -> None:
    items = [Item(str(row), b"", label=str(row % 4)) for row in range(80_000)]
    assert len(parted(Catalogue("large", items))[1]) == 5000


@pytest.mark.parametrize("rule", ["same-type", "same-item", "shared-attributes(1)"])
def test_an_article_lies_on_one_side(shop: Catalogue, rule: str) -> None:
    train_set, validation_set = parted(shop, replace(PLAN, neighbours=rule))
    keys = [{item.key for item in side.items} for side in (train_set, validation_set)]
    assert keys[1]
    assert not keys[0] & keys[1]
    facts = validation_set.facts
    others = NeighbourRule.parse(rule).relevance(facts, facts) & ~np.eye(len(facts), dtype=bool)
    assert others.any()


def test_by_article_those_of_two_photos_and_more_validate() -> None:
    keys = ["one", *"aabbbccddd"]
    items = [Item(str(row), b"", key=key) for row, key in enumerate(keys)]
    train_set, validation_set = parted(
        Catalogue("shop", items), replace(PLAN, neighbours="same-item")
    )
    held = [item.key for item in validation_set.items]
    assert len(set(held)) == 1
    assert len(held) == keys.count(held[0] or "") > 1
    assert len(train_set) + len(validation_set) == 11
    few = Catalogue("shop", items[:3])
    with pytest.raises(DatasetError, match=r"no two articles of two photos each, .* same-type"):
        parted(few, replace(PLAN, neighbours="same-item"))


def test_an_official_split_is_kept(shop: Catalogue) -> None:
    official = with_split(shop, ("train", "validation", "query", "gallery", None, "train"))
    parts = photo_parts(official, NeighbourRule(), photo_preprocessing(SIZE))
    assert parts.part == "official"
    assert parts.train.ids == tuple(item.id for item in official.split("train"))
    assert parts.validation.ids == tuple(item.id for item in official.split("validation"))
    assert len(parts.train) == 12
    held = photo_parts(
        with_split(shop, ("train", "query")), NeighbourRule(), photo_preprocessing(SIZE)
    )
    assert held.part == "official train, held out"
    assert len(held.train) + len(held.validation) == 18
    assert len(held.validation) >= 3
    with pytest.raises(DatasetError, match="shop has an official split in which no item trains"):
        parted(with_split(shop, ("query", "gallery")))


def test_one_type_is_nothing_to_tell_apart(shop: Catalogue) -> None:
    coats = Catalogue("coats", [item for item in shop.items if item.label == "coat"])
    with pytest.raises(DatasetError, match=r"one type alone to train on \(coat\); give at least"):
        parted(coats)
    parted(coats, replace(PLAN, neighbours="same-item"))


# --- how it learns ---------------------------------------------------------------------


def test_several_batches_are_a_step(shop: Catalogue) -> None:
    steps: list[StepReport] = []
    run(shop, replace(PLAN, batch_size=4, accumulate=3, epochs=1), on_step=steps.append)
    assert [(step.step, step.steps) for step in steps] == [(1, 2), (2, 2)]
    with pytest.raises(TrainingError, match=r"do not fill 9 batches of 4; .* or --accumulate"):
        run(shop, replace(PLAN, batch_size=4, accumulate=9))


def test_a_step_tells_the_means_of_its_batches(shop: Catalogue) -> None:
    one: list[StepReport] = []
    many: list[StepReport] = []
    still = replace(PLAN, batch_size=4, epochs=1, learning_rate=1e-30, fine_bits=0)
    run(shop, still, on_step=one.append)
    run(shop, replace(still, accumulate=2), on_step=many.append)
    assert len(one) == 6
    assert len(many) == 3
    for row, step in enumerate(many):
        for term in ("classification", "hamming", "quantisation"):
            pair = [one[2 * row].terms[term], one[2 * row + 1].terms[term]]
            assert step.terms[term] == pytest.approx(np.mean(pair), rel=1e-4)


def initial_network(plan: TrainingPlan) -> HashNetwork:
    """As a run starts with it."""
    torch.manual_seed(plan.seed)
    size = SIZE if plan.backbone == "small-resnet" else 64
    return HashNetwork(plan.backbone, 3, plan.n_bits, plan.fine_bits, image_size=size)


def test_a_frozen_backbone_stays_as_it_is_and_the_heads_learn(shop: Catalogue) -> None:
    plan = replace(LIKE_TORCHVISION, freeze_epochs=1, objective="dch")
    frozen = run(shop, plan, reading=Reading())
    before = initial_network(plan).backbone.state_dict()
    after = frozen.network.backbone.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(module.training for module in frozen.network.modules())
    heads = initial_network(plan).semantic_head.state_dict()
    learnt = frozen.network.semantic_head.state_dict()
    assert not torch.equal(learnt["weight"], heads["weight"])
    # In the epoch after it learns, too.
    last = run(shop, replace(plan, settle_epochs=1), reading=Reading())
    moved = last.network.backbone.state_dict()
    assert not torch.equal(moved["model.conv1.weight"], before["model.conv1.weight"])


def test_the_backbone_learns_at_its_own_rate(shop: Catalogue) -> None:
    plan = replace(
        PLAN, epochs=1, batch_size=13, weight_decay=0.0, objective="dch", settle_epochs=0
    )
    before = initial_network(plan).state_dict()

    def moved(rate: float) -> tuple[float, float]:
        after = run(shop, replace(plan, backbone_rate=rate)).network.state_dict()
        change = {name: (after[name] - before[name]).abs().max() for name in after}
        weights = {name: float(value) for name, value in change.items() if "weight" in name}
        return (
            max(value for name, value in weights.items() if name.startswith("backbone")),
            weights["semantic_head.weight"],
        )

    # The first steps of AdamW are about the learning rate.
    full, slow = moved(1.0), moved(0.1)
    assert slow[0] == pytest.approx(0.1 * full[0], rel=0.1)
    assert slow[1] == pytest.approx(full[1], rel=0.1)


# --- what decides the result -----------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"label": "coat"},
        {"key": "another"},
        {"attributes": ("red",)},
        {"box": (0, 0, 9, 9)},
    ],
)
def test_what_is_known_of_a_photo_decides_what_is_learnt(
    shop: Catalogue, change: dict[str, Any]
) -> None:
    def contents(catalogue: Catalogue) -> list[bytes]:
        parts = photo_parts(catalogue, NeighbourRule(), photo_preprocessing(SIZE))
        return [*parts.train.contents(), *parts.validation.contents()]

    # Both parts are official, so that nothing else moves.
    split = with_split(shop, ["train", "train", "train", "validation"])
    items = [*split.items]
    row = next(n for n, item in enumerate(items) if item.label == "hat" and item.split == "train")
    items[row] = replace(items[row], **change)
    assert contents(Catalogue(split.name, items)) != contents(split)


def test_photos_of_one_article_are_not_parted_by_the_fine_head(
    shop: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.Tensor] = []

    def watched(*args: Any) -> torch.Tensor:
        told.append(args[4])
        return instance_discrimination(*args)

    monkeypatch.setattr(trainer, "instance_discrimination", watched)
    run(shop, replace(PLAN, epochs=1))
    pairs = sum(int(alike.sum()) - len(alike) for alike in told)
    assert pairs > 0
    assert all(bool((alike == alike.T).all()) for alike in told)


def test_a_step_with_a_batch_that_cannot_be_read_is_as_large_as_one_of_the_other(
    tmp_path: Path,
) -> None:
    """Of two batches a step, one of bad photos: the gradients are those of the good one alone."""
    for kind, name in enumerate(TYPES):
        for number in range(6):
            save(tmp_path / name / f"{number}.jpg", kind, number)
    items = [replace(item, split="train") for item in folder_items(tmp_path)]
    more = [replace(item, id=f"v{item.id}", split="validation") for item in items]
    bad = [replace(item, id=f"bad{item.id}", image=b"no image") for item in items]
    order = list(range(len(items)))

    def norm(catalogue: Catalogue, plan: TrainingPlan, rows: list[int]) -> float:
        found: list[float] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer._Run, "_order", lambda self, generator: np.array(rows))
            patch.setattr(
                torch.nn.utils,
                "clip_grad_norm_",
                lambda parameters, most: found.append(
                    float(sum(p.grad.square().sum() for p in parameters if p.grad is not None))
                ),
            )
            run(catalogue, plan)
        return found[0]

    plan = replace(PLAN, epochs=1, batch_size=len(items), objective="dch", fine_bits=0)
    alone = norm(Catalogue("x", [*items, *more]), plan, order)
    both = norm(
        Catalogue("x", [*items, *bad, *more]),
        replace(plan, accumulate=2),
        [*order, *(len(items) + row for row in order)],
    )
    assert both == pytest.approx(alone, rel=1e-4)


def test_more_readers_than_cores_are_no_warning(shop: Catalogue) -> None:
    many = (os.cpu_count() or 1) + 1
    run(shop, replace(PLAN, epochs=1), reading=Reading(workers=many, held_bytes=0))


@pytest.mark.parametrize(
    ("rule", "parts", "said"),
    [
        ("same-item", ["train", "validation", "validation"], "no two training photos show one"),
        ("shared-attributes(3)", [None], "no two are neighbours by shared-attributes"),
    ],
)
def test_photos_that_are_nobodys_neighbours_cannot_train(
    shop: Catalogue, rule: str, parts: list[str | None], said: str
) -> None:
    plan = replace(PLAN, neighbours=rule, objective="dch")
    with pytest.raises(DatasetError, match=said):
        parted(with_split(shop, parts), plan)


def test_validation_of_bad_photos_is_refused_and_not_worth_0(shop: Catalogue) -> None:
    split = with_split(shop, ["train", "train", "validation"])
    items = [
        replace(item, image=b"no image")
        if item.split == "validation" and item.id != split.split("validation")[0].id
        else item
        for item in split.items
    ]
    with pytest.raises(TrainingError, match="no two are neighbours by same-type; mend the files"):
        run(Catalogue(split.name, items), replace(PLAN, epochs=1))
