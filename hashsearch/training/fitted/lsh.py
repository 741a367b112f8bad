"""Random hyperplanes: locality-sensitive hashing for angles; nothing is learnt but a mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.training.fitted.base import (
    FittedEpoch,
    FittedNetwork,
    FittedSystem,
    linear_on_normalised,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hashsearch.images import Preprocessing
    from hashsearch.training.reports import StepReport

__all__ = ["RandomHyperplanes"]


@dataclass(frozen=True)
class RandomHyperplanes(FittedSystem):
    """Bit k says on which side of a random hyperplane an image lies.

    ``u_k = r_k . (x - m)`` with ``r_k`` drawn from the standard normal distribution, x the
    pixels in [0, 1] and m the mean of the training images. Two images differ in a bit with
    probability ``angle / pi``, the angle being the one they are seen under from m.

    Source: Charikar, "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002,
    section 3, a locality-sensitive family as defined by Indyk and Motwani, "Approximate
    Nearest Neighbors: Towards Removing the Curse of Dimensionality", STOC 1998. There the
    hyperplanes go through the origin; pixels are never negative, so from there all images
    are seen under small angles. Hence the mean.
    """

    backbone = "pixels"

    objective: str = field(default="lsh", init=False)

    def fitting(
        self,
        pixels: npt.NDArray[np.uint8],
        preprocessing: Preprocessing,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> Iterator[FittedEpoch]:
        """See :meth:`FittedSystem.fitting`; one epoch of no steps and no terms."""
        del on_step
        mean = pixels.reshape(len(pixels), -1).mean(axis=0) / 255
        normals = np.random.default_rng(self.seed).standard_normal((self.n_bits, len(mean)))
        layer = linear_on_normalised(normals, -normals @ mean, preprocessing)
        yield FittedEpoch(1, FittedNetwork(layer), {})
