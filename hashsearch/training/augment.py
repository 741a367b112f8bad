"""Random views of images, made a batch at a time.

Where several processes make those of one batch, each draws for all of it, and ``among`` says which
its images are: ``(first, total)``, those from ``first`` on of ``total``. So a view is the same
whoever makes it.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["erase", "flip", "warp"]


def flip(
    images: Tensor, generator: torch.Generator, *, among: tuple[int, int] | None = None
) -> Tensor:
    """Mirror each image left to right with probability 1/2. float ``(n, c, h, w)``."""
    mirrored = _uniform(1, len(images), generator, among)[0] < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def warp(
    images: Tensor,
    generator: torch.Generator,
    *,
    graded: bool = False,
    rotation: float = 10.0,
    scale: float = 0.125,
    shear: float = 0.1,
    shift: float = 1.4,
    brightness: float = 0.15,
    padding: Literal["zeros", "border"] = "zeros",
    among: tuple[int, int] | None = None,
) -> Tensor:
    """A random affine view of each image, and a random brightness.

    Args:
        images: float ``(n, c, h, w)``.
        generator: where the randomness comes from (on the CPU).
        graded: each image draws a strength between 0 and 1 first, so that nearly
            untouched images are seen as well: those are what a gallery holds.
        rotation: at most, in degrees.
        scale: at most, as a share of the size.
        shear: at most, in pixels sideways a pixel down.
        shift: at most, in pixels, each way.
        brightness: at most, as a share.
        padding: what lies around an image: ``zeros``, for an item on black, or its ``border``,
            drawn out, for a photo.
        among: which these images are of those of a batch; all of them unless told.

    Returns:
        float ``(n, c, h, w)``, bilinear.
    """
    n, _, height, width = images.shape
    draw = _uniform(7, n, generator, among)
    strength = draw[0] if graded else 1.0
    turn, size, slant, right, down, light = (2 * draw[1:] - 1) * strength
    angle = turn * math.radians(rotation)
    factor = 1 / (1 + size * scale)
    cos, sin = torch.cos(angle) * factor, torch.sin(angle) * factor
    matrix = torch.stack(
        [
            torch.stack([cos, slant * shear - sin, right * 2 * shift / width], dim=1),
            torch.stack([sin, cos, down * 2 * shift / height], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    warped = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode=padding, align_corners=False
    )
    gain: Tensor = 1 + light * brightness
    return warped * gain.to(images.device)[:, None, None, None]


def erase(
    images: Tensor,
    generator: torch.Generator,
    *,
    probability: float = 0.5,
    among: tuple[int, int] | None = None,
) -> Tensor:
    """Black out one random rectangle in some of the images.

    Zhong, Zheng, Kang, Li and Yang, "Random Erasing Data Augmentation", AAAI 2020.

    Args:
        images: float ``(n, c, h, w)``.
        generator: where the randomness comes from (on the CPU).
        probability: that an image is touched.
        among: which these images are of those of a batch; all of them unless told.

    Returns:
        float ``(n, c, h, w)``; a rectangle covers 1/16 to 1/4 of an image.
    """
    n, _, height, width = images.shape
    draw = _uniform(5, n, generator, among)
    tall = (0.25 + 0.25 * draw[0]) * height
    wide = (0.25 + 0.25 * draw[1]) * width
    top = draw[2] * (height - tall)
    left = draw[3] * (width - wide)
    y = torch.arange(height)[None, :, None] + 0.5
    x = torch.arange(width)[None, None, :] + 0.5
    inside = (
        (y > top[:, None, None])
        & (y < (top + tall)[:, None, None])
        & (x > left[:, None, None])
        & (x < (left + wide)[:, None, None])
        & (draw[4] < probability)[:, None, None]
    )
    return images.masked_fill(inside[:, None].to(images.device), 0.0)


def _uniform(
    rows: int, n: int, generator: torch.Generator, among: tuple[int, int] | None
) -> Tensor:
    """Numbers from 0 to 1, ``(rows, n)``."""
    first, total = among or (0, n)
    return torch.rand(rows, total, generator=generator)[:, first : first + n]
