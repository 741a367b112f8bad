"""A small labelled picture set, and what several tests of training need."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from hashsearch.datasets.fashion_mnist import CLASS_NAMES as TYPES
from hashsearch.datasets.image_set import ImageSet
from hashsearch.encoder import EncoderRecord
from hashsearch.images import FASHION_MNIST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

CLASS_NAMES = ("row", "column", "spot", "nothing")


def toy_set(n: int, *, seed: int, size: int = 8) -> ImageSet:
    """A bright row, column, spot or nothing, at a random place in noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASS_NAMES)
    images = generator.integers(0, 60, (n, size, size), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        y, x = generator.integers(2, size - 2, 2)
        light = generator.integers(150, 250)
        if label == 0:
            image[y - 1 : y + 1] = light
        elif label == 1:
            image[:, x - 1 : x + 1] = light
        elif label == 2:
            image[y - 2 : y + 2, x - 2 : x + 2] = light
    return ImageSet(images, labels, CLASS_NAMES, tuple(f"{seed}-{row}" for row in range(n)))


def fashion_record(objective: str, backbone: str, n_bits: int, fine_bits: int) -> EncoderRecord:
    """The record of an encoder of the ten types, of which nothing else is known."""
    return EncoderRecord(
        name="toy",
        n_bits=n_bits,
        fine_bits=fine_bits,
        preprocessing=FASHION_MNIST,
        class_names=TYPES,
        objective=objective,
        weights={},
        backbone=backbone,
        dataset="fashion-mnist",
        neighbour_rule="same-type",
        seed=0,
    )


@torch.no_grad()
def spread_logits(classifier: nn.Linear, features: torch.Tensor) -> None:
    """Make each class's logit vary by a standard deviation of 1 over these features, about 0."""
    logits = classifier(features)
    spread = logits.std(dim=0)
    classifier.weight.div_(spread[:, None])
    classifier.bias.sub_(logits.mean(dim=0)).div_(spread)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same_label(labels: list[int]) -> torch.Tensor:
    column = torch.tensor(labels)
    return column[:, None] == column[None, :]


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file can grow past ``limit`` bytes: to whoever writes, the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
