from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from bench_cases import encoder, image_set

from hashsearch.bench.evaluation import evaluate_encoder, evaluate_pixel_sad
from hashsearch.bench.protocols import PROTOCOLS, Task
from hashsearch.bench.suite_data import make_task
from hashsearch.codes import hamming_distance, split_codes
from hashsearch.datasets.image_set import ImageSet
from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.metrics import average_precision, precision_within, recall_within

EMPTY = image_set(240).subset(np.arange(0))


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(PROTOCOLS["held-out"], EMPTY, image_set(240))


def relevant(task: Task) -> npt.NDArray[np.bool_]:
    alike: npt.NDArray[np.bool_] = task.queries.labels[:, None] == task.gallery.labels[None, :]
    return alike


def test_an_encoder_is_measured_by_its_semantic_codes(task: Task) -> None:
    made = encoder()
    result = evaluate_encoder(task, made, radius=3)
    codes = [
        split_codes(made.encode_pixels(images.pixels), made.n_bits)[0]
        for images in (task.queries, task.gallery)
    ]
    distance = hamming_distance(*codes)
    expected = average_precision(distance, relevant(task))
    assert result["map"]["value"] == pytest.approx(expected.mean())
    for figure, values in {
        "average_precision": expected,
        "precision_within": precision_within(distance, relevant(task), radius=3),
        "recall_within": recall_within(distance, relevant(task), radius=3),
    }.items():
        assert result["per_query"][figure] == pytest.approx(values.tolist(), abs=1e-4)
    assert result["radius"] == 3
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_pixels_are_compared_by_their_absolute_differences(task: Task) -> None:
    result = evaluate_pixel_sad(task)
    distance = np.array(
        [
            [np.abs(query.astype(int) - image).sum() for image in task.gallery.images]
            for query in task.queries.images
        ]
    )
    expected = average_precision(distance, relevant(task))
    assert result["per_query"]["average_precision"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert 0.25 < result["map"]["value"] < 1
    assert "precision_within" not in result


def test_pixel_differences_worked_by_hand() -> None:
    searched = ImageSet(
        np.array([[[12, 0, 255]], [[10, 3, 255]], [[10, 0, 250]]], np.uint8),
        np.array([1, 0, 0], np.int64),
        ("coat", "bag"),
        ("a", "b", "c"),
    )
    query = replace(searched.subset(np.array([1])), images=np.array([[[10, 0, 255]]], np.uint8))
    task = Task(PROTOCOLS["held-out"], NeighbourRule(), query, searched)
    # 2, 3 and 5 grey levels away; the relevant ones stand second and third.
    result = evaluate_pixel_sad(task)
    assert result["map"]["value"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result["precision_at"]["10"]["value"] == pytest.approx(2 / 10)


def test_the_same_item_is_looked_for_by_codes_and_by_pixels() -> None:
    task = make_task(PROTOCOLS["same-item"], EMPTY, image_set(240))
    by_codes = evaluate_encoder(task, encoder(), radius=2)
    by_pixels = evaluate_pixel_sad(task)
    assert by_codes["radius"] == 2
    for result in (by_codes, by_pixels):
        assert result["neighbours"] == "same-item"
        assert result["queries"] == result["items"] == 240
        first, ten = (result["recall_at"][k]["value"] for k in ("1", "10"))
        assert 0 < first <= ten <= 1
        for k, value in (("1", first), ("10", ten)):
            values = result["per_query"][f"recall_at_{k}"]
            assert len(values) == 240
            assert np.mean(values) == pytest.approx(value, abs=1e-4)
    nothing_moved = Task(
        task.protocol, task.rule, task.gallery.subset(np.arange(20)), task.gallery, np.arange(20)
    )
    assert evaluate_pixel_sad(nothing_moved)["recall_at"]["1"]["value"] == 1
