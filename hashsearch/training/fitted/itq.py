"""Iterative quantisation: the principal components, turned so that their signs lose least.

Source: Gong and Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning
Binary Codes", CVPR 2011 (PCA-ITQ).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.training.fitted.base import (
    FittedEpoch,
    FittedNetwork,
    FittedSystem,
    linear_on_normalised,
)
from hashsearch.training.reports import StepReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hashsearch.images import Preprocessing

__all__ = ["IterativeQuantisation", "better_rotation", "principal_components"]

# Images are made floats so many at a time: all of them would be eight times their bytes.
_CHUNK = 4096


@dataclass(frozen=True)
class IterativeQuantisation(FittedSystem):
    """``u = R^T W^T (x - m)``: mean, principal components and rotation of the pixels in [0, 1].

    Attributes:
        iterations: of binary codes and rotation in turn; 50 in the paper, section 2.2.
    """

    backbone = "pixels"

    objective: str = field(default="itq", init=False)
    iterations: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise ArgumentError(f"at least 1 iteration is needed, not {self.iterations}")

    def fitting(
        self,
        pixels: npt.NDArray[np.uint8],
        preprocessing: Preprocessing,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> Iterator[FittedEpoch]:
        """See :meth:`FittedSystem.fitting`; one epoch, whose steps are the iterations."""
        mean, components = principal_components(pixels, self.n_bits)
        flat = pixels.reshape(len(pixels), -1)
        projected = np.concatenate(
            [(part - mean) @ components for part in _chunks(flat)], dtype=np.float64
        )
        rotation = _random_rotation(self.n_bits, np.random.default_rng(self.seed))
        for step in range(1, self.iterations + 1):
            rotation, error = better_rotation(projected, rotation)
            terms = {"quantisation": error}
            if on_step:
                on_step(StepReport(1, step, self.iterations, terms, None))
        weights = (components @ rotation).T
        layer = linear_on_normalised(weights, -weights @ mean, preprocessing)
        yield FittedEpoch(1, FittedNetwork(layer), terms)


def principal_components(
    pixels: npt.NDArray[np.uint8], n_components: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean of the pixels, and the directions in which they vary most.

    Args:
        pixels: ``uint8 (n, channels, h, w)``; taken as values in [0, 1], d a row.
        n_components: how many directions.

    Returns:
        ``float64 (d,)`` and ``float64 (d, n_components)``, orthonormal, the first one that of
        the largest variance.

    Raises:
        TrainingError: the pixels vary in fewer directions.
    """
    flat = pixels.reshape(len(pixels), -1)
    mean = flat.mean(axis=0) / 255
    covariance = np.zeros((len(mean), len(mean)))
    for part in _chunks(flat):
        centred = part - mean
        covariance += centred.T @ centred / len(flat)
    variances, directions = np.linalg.eigh(covariance)
    # What is less than this is the rounding of the largest one.
    smallest = variances[-1] * len(mean) * np.finfo(np.float64).eps
    rank = min(int((variances > smallest).sum()), len(flat) - 1)
    if n_components > rank:
        raise TrainingError(
            f"{n_components} bits need as many principal components, but {len(flat)} training "
            f"images of {len(mean)} pixels have {rank}; lower --bits, or give more images"
        )
    return mean, directions[:, ::-1][:, :n_components]


def better_rotation(
    projected: npt.NDArray[np.float64], rotation: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """One iteration that lowers ``|B - V R|^2``, over codes B and then over the rotation R.

    The best codes of a rotation are the signs of ``V R`` (1 at 0, as everywhere here); the
    best rotation for these codes solves the orthogonal Procrustes problem (equation 2 of the
    paper). Neither raises the error.

    Args:
        projected: V, ``float64 (n, K)``, of mean 0.
        rotation: R before, ``float64 (K, K)``, orthogonal.

    Returns:
        R after, ``float64 (K, K)``, and its error over ``n K``: the mean of ``(b - v)^2``.
    """
    codes = np.where(projected @ rotation >= 0, 1.0, -1.0)
    left, _, right = np.linalg.svd(projected.T @ codes)
    better = left @ right
    return better, float(np.mean((codes - projected @ better) ** 2))


def _random_rotation(n_dimensions: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """A random orthogonal matrix, ``float64 (n_dimensions, n_dimensions)``."""
    rotation, _ = np.linalg.qr(generator.standard_normal((n_dimensions, n_dimensions)))
    return rotation


def _chunks(flat: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.float64]]:
    """``uint8 (n, d)`` to values in [0, 1], so many rows at a time."""
    for start in range(0, len(flat), _CHUNK):
        yield flat[start : start + _CHUNK] / 255
