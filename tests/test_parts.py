from __future__ import annotations

import numpy as np
import pytest

from hashsearch.datasets.duplicates import duplicates
from hashsearch.datasets.image_set import ImageSet
from hashsearch.datasets.parts import (
    TRAINING_PARTS,
    all_labels,
    few_labels,
    seen_types,
    unseen_type_names,
)
from hashsearch.errors import ArgumentError, DatasetError


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """7,000 images of ten types, which is what a part leaves enough of."""
    labels = np.arange(7000) % 10
    pixels = np.random.default_rng(0).integers(0, 256, (7000, 2, 2), dtype=np.uint8)
    names = tuple(f"type {label}" for label in range(10))
    return ImageSet(pixels, labels, names, tuple(map(str, range(7000))))


@pytest.mark.parametrize("name", TRAINING_PARTS)
def test_no_image_trains_and_validates(images: ImageSet, name: str) -> None:
    few = {"per_class": 50} if name == "few-labels" else {}
    train, validation = TRAINING_PARTS[name](images, seed=1, **few)
    assert not {*train.ids} & {*validation.ids}
    row_of = {image: row for row, image in enumerate(images.ids)}
    for part in (train, validation):
        rows = [row_of[image] for image in part.ids]
        assert part.label_names == [images.label_names[row] for row in rows]
        assert np.array_equal(part.images, images.images[rows])


def test_few_labels_chooses_so_many_a_class_by_the_seed(images: ImageSet) -> None:
    train, validation = few_labels(images, 50, seed=1)
    assert np.bincount(train.labels).tolist() == [50] * 10
    assert np.bincount(validation.labels).tolist() == [100] * 10
    assert {*validation.ids} <= {*all_labels(images)[1].ids}
    assert {*train.ids} <= {*all_labels(images)[0].ids}
    assert train.ids == few_labels(images, 50, seed=1)[0].ids
    assert train.ids != few_labels(images, 50, seed=2)[0].ids
    with pytest.raises(ArgumentError, match="type 0 has 200 images to train on, fewer than 201"):
        few_labels(images, 201)
    with pytest.raises(ArgumentError, match="500 images to validate on, fewer than 501"):
        few_labels(images, 50, validating=501)


def test_seen_types_leaves_three_types_out(images: ImageSet) -> None:
    unseen = unseen_type_names(images.class_names, seed=4)
    train, validation = seen_types(images, seed=4)
    assert len(unseen) == 3
    assert unseen != unseen_type_names(images.class_names, seed=5)
    for part in (train, validation):
        assert part.class_names == tuple(n for n in images.class_names if n not in unseen)
        assert {*part.label_names} == {*part.class_names}


def test_types_that_are_not_there_are_refused(images: ImageSet) -> None:
    with pytest.raises(DatasetError, match="no type hat; there are: type 0, type 1"):
        images.of_types(["type 1", "hat"])


def test_duplicates_are_told_exact_from_near() -> None:
    generator = np.random.default_rng(0)
    others = generator.integers(0, 256, (40, 6, 6), dtype=np.uint8)
    images = generator.integers(0, 256, (10, 6, 6), dtype=np.uint8)
    images[3] = others[7]
    images[5] = np.clip(others[9].astype(int) + 5, 0, 255)
    images[8] = np.clip(others[9].astype(int) + 60, 0, 255)
    found = duplicates(images, others, tolerance=6)
    assert np.flatnonzero(found.exact).tolist() == [3]
    assert np.flatnonzero(found.near).tolist() == [5]
    assert not duplicates(images, others, tolerance=0).near.any()


def test_near_is_the_root_mean_square_difference() -> None:
    generator = np.random.default_rng(1)
    images, others = generator.integers(0, 256, (2, 30, 4, 4), dtype=np.uint8)
    nearest = [
        min(np.sqrt(np.mean((image.astype(float) - other) ** 2)) for other in others)
        for image in images
    ]
    for count in (5, 15, 25):
        tolerance = np.mean(np.sort(nearest)[count - 1 : count + 1])
        expected = [distance <= tolerance for distance in nearest]
        assert sum(expected) == count
        assert duplicates(images, others, tolerance=tolerance).near.tolist() == expected


def test_images_that_cannot_be_compared_are_refused() -> None:
    small, large = np.zeros((1, 2, 2), np.uint8), np.zeros((1, 3, 3), np.uint8)
    with pytest.raises(ArgumentError, match="bring them to one size"):
        duplicates(small, large)
    with pytest.raises(ArgumentError, match="tolerance"):
        duplicates(small, small, tolerance=-1)
    assert not duplicates(small, small[:0]).near.any()
