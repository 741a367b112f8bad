from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashsearch.datasets.cache import cache_folder
from hashsearch.datasets.deform import deformed
from hashsearch.errors import ArgumentError, ImageError

STILL: dict[str, Any] = {
    "rotation": 0.0,
    "scale": 0.0,
    "shear": 0.0,
    "shift": 0.0,
    "brightness": 0.0,
}


def pictures(n: int, height: int = 28, width: int = 28) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (n, height, width), dtype=np.uint8)


def slow_view(
    image: npt.NDArray[np.uint8], draws: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The default deformation, pixel by pixel."""
    angle, growth, slant, down, right, light = (2 * draws - 1) * [
        math.radians(10),
        0.125,
        0.1,
        1.4,
        1.4,
        0.15,
    ]
    height, width = image.shape
    view = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            y, x = row - (height - 1) / 2, column - (width - 1) / 2
            y = y + slant * x
            y, x = (
                (math.cos(angle) * y - math.sin(angle) * x) / (1 + growth),
                (math.sin(angle) * y + math.cos(angle) * x) / (1 + growth),
            )
            y, x = y + (height - 1) / 2 + down, x + (width - 1) / 2 + right
            top, left = math.floor(y), math.floor(x)
            for at, above in ((top, top + 1 - y), (top + 1, y - top)):
                for along, before in ((left, left + 1 - x), (left + 1, x - left)):
                    if 0 <= at < height and 0 <= along < width:
                        view[row, column] += above * before * image[at, along]
    bright: npt.NDArray[np.float64] = np.clip(view * (1 + light), 0, 255)
    return bright


def test_it_is_the_affine_map_and_the_brightness_that_it_says() -> None:
    images = pictures(6, height=9, width=12)
    draws = np.random.Generator(np.random.PCG64(7)).random((6, 6))
    expected = [slow_view(image, draw) for image, draw in zip(images, draws, strict=True)]
    assert np.abs(deformed(images, seed=7) - np.array(expected)).max() <= 0.51


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**63))
@settings(max_examples=25, deadline=None)
def test_the_parts_of_a_run_equal_the_whole(start: int, stop: int, seed: int) -> None:
    images = pictures(30)
    part = deformed(images[start:stop], seed=seed, first=start)
    assert np.array_equal(part, deformed(images, seed=seed)[start:stop])


def test_nothing_moves_without_extents_and_each_extent_moves_something() -> None:
    images = pictures(8)
    assert np.array_equal(deformed(images, seed=0, **STILL), images)
    for name, extent in (
        ("rotation", 10.0),
        ("scale", 0.125),
        ("shear", 0.1),
        ("shift", 1.4),
        ("brightness", 0.15),
    ):
        moved = deformed(images, seed=0, **{**STILL, name: extent})
        assert (moved != images).any(axis=(1, 2)).all(), name


def test_other_seeds_give_other_views_and_the_outside_is_black() -> None:
    images = np.full((50, 20, 20), 200, np.uint8)
    views = deformed(images, seed=1)
    assert not np.array_equal(views, deformed(images, seed=2))
    corners = views[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners < 100).any()
    assert (views[:, 10, 10] >= 170).all()
    assert (views[:, 10, 10] <= 230).all()


@pytest.mark.parametrize("images", [np.zeros((2, 4), np.uint8), np.zeros((1, 4, 4), np.float32)])
def test_other_arrays_are_refused(images: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="uint8"):
        deformed(images, seed=0)


@pytest.mark.parametrize(
    "wrong", [{"first": -1}, {"seed": -1}, {"scale": 1.0}, {"rotation": -1.0}, {"shift": -0.1}]
)
def test_impossible_extents_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        deformed(pictures(1), **{"seed": 0, **wrong})


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("HASHSEARCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert str(cache_folder()) == "/home/someone/.cache/hashsearch"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert str(cache_folder()) == "/var/cache/hashsearch"
    monkeypatch.setenv("HASHSEARCH_CACHE", "~/own")
    assert str(cache_folder()) == "/home/someone/own"
