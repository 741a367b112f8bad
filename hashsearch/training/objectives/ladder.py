"""Codes that say how likely a classifier finds each type, in steps: ours.

A classifier's answer as a code (:mod:`~hashsearch.training.objectives.classifier_bits`) jumps
from one type to another where two are equally likely, and so does a hashing loss that draws
all neighbours into one ball: whatever lies at such a border is lost by a slightly different
view of it. Here a code goes from type to type step by step: what is nearly as likely is near.

The classifier is OrthoHash's, whose margin ranks better than a plain cross-entropy of the type,
the more so the fewer the images. Its signs are not taken as bits: they would leave most
neighbours outside a small ball.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hashsearch.errors import ArgumentError
from hashsearch.training.objectives.base import Outputs, n_images
from hashsearch.training.objectives.centres import orthogonal_directions
from hashsearch.training.objectives.orthohash import OrthoHash, cosines

__all__ = [
    "ODDS",
    "STEPS",
    "WIDTH",
    "Ladder",
    "LadderHead",
    "step_outputs",
    "type_directions",
    "view_divergence",
]

STEPS = {2: (0.33, 0.67), 3: (0.15, 0.5, 0.9)}
"""Probabilities at which the bits of a type are set, by how many bits it has.

These and :data:`ODDS` were chosen among a few on the validation images of Fashion-MNIST, by
mAP, by precision and recall within a radius of 2, and by the views that find their own item.
Steps near them do about as well.
"""

ODDS = 16.0
"""For the type of an item that lies in its type's own direction, at right angles to the others.

They say how sharply cosines become probabilities, and put the highest step within reach. For ten
types that is 5 times the cosines. The 8 times of the loss, which has a margin, would make it too
sure of a type: few items would get a code between two types.
"""

WIDTH = 64
"""Least number of dimensions in which the cosines to the types are measured.

No bit is taken from them.
"""


class LadderHead(nn.Module):
    """Features ``(n, n_features)`` to u in training, to steps of probability in eval mode.

    The probability of a type is the softmax over the types of ``sharpness`` times the cosines
    between u and the directions of the types. The sharpness follows from :data:`ODDS`.

    Each type has two bits, or three where there are as many for all. A bit is 1 where the
    type's probability reaches the bit's step. Of two images that are surely of different types
    twice as many bits differ as a type has: with one bit each a ball of radius 2 would hold
    everything, and with four it would hold too little. Bits beyond three a type are always 0:
    a longer code says no more.

    Args:
        n_features: width of the backbone's features.
        n_bits: length of a code.
        n_classes: number of item types.

    Raises:
        ArgumentError: there are fewer than two bits a type.
    """

    steps: Tensor
    directions: Tensor

    def __init__(self, n_features: int, n_bits: int, n_classes: int) -> None:
        super().__init__()
        each = min(max(STEPS), n_bits // n_classes)
        if each not in STEPS:
            raise ArgumentError(
                f"{n_bits} bits do not hold the two steps of each of {n_classes} types; take "
                f"{-(-2 * n_classes // 8) * 8} or more with --bits"
            )
        self.n_bits = n_bits
        self.sharpness = math.log(ODDS * max(n_classes - 1, 1))
        self.register_buffer("directions", type_directions(n_classes))
        n_dims = self.directions.shape[1]
        self.projection = nn.Linear(n_features, n_dims, bias=False)
        self.standardise = nn.BatchNorm1d(n_dims)
        self.register_buffer("steps", torch.tensor(STEPS[each]))

    def forward(self, features: Tensor) -> Tensor:
        """u, float ``(n, n_dims)``; in eval mode probability less step, ``(n, n_bits)``."""
        outputs: Tensor = self.standardise(self.projection(features))
        if self.training:
            return outputs
        probabilities = (self.sharpness * cosines(outputs, self.directions)).softmax(dim=1)
        return step_outputs(probabilities, self.steps, self.n_bits)


def type_directions(n_classes: int) -> Tensor:
    """Directions of the types, any two at right angles: an item can be near any two types.

    Args:
        n_classes: number of item types.

    Returns:
        float32 ``(n_classes, n_dims)``, where n_dims is :data:`WIDTH`, or the next power of two
        that has room for all.
    """
    return orthogonal_directions(n_classes, max(WIDTH, 1 << (n_classes - 1).bit_length()))


def step_outputs(probabilities: Tensor, steps: Tensor, n_bits: int) -> Tensor:
    """Probabilities less steps, type after type; -1 where there is nothing left to say.

    Args:
        probabilities: of the types, float ``(n, n_classes)``.
        steps: float ``(bits a type,)``.
        n_bits: of them all, and of the rest.

    Returns:
        float ``(n, n_bits)``.
    """
    outputs = (probabilities[:, :, None] - steps).flatten(1)
    return functional.pad(outputs, (0, n_bits - outputs.shape[1]), value=-1.0)


class Ladder(OrthoHash):
    """Two terms on u, whose dimensions are as many whatever the number of bits.

    1. ``cosine``: that of :class:`OrthoHash`, whose constants it has, to the directions of the
       types.
    2. ``consistency``: symmetric Kullback-Leibler divergence between the probabilities of two
       views of an image, at the scale of the loss.

    See :class:`LadderHead` for how its probabilities become a code.
    """

    name = "ladder"
    several_classes = False
    revision = 3
    default_weights = {"cosine": 1.0, "consistency": 1.0}  # noqa: RUF012 - read only

    def build(self, n_features: int, n_bits: int, n_classes: int) -> None:
        """See :meth:`Objective.build`."""
        del n_features, n_bits
        self.register_buffer("codewords", type_directions(n_classes))

    @staticmethod
    def semantic_head(n_features: int, n_bits: int, n_classes: int) -> nn.Module:
        """See :meth:`Objective.semantic_head`; in training it gives u."""
        return LadderHead(n_features, n_bits, n_classes)

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`; ``outputs.semantic`` is u ``(n, n_dims)``."""
        terms = super().terms(outputs, labels, neighbours, generator)
        if self.weights["consistency"]:
            logits = self.constants["scale"] * cosines(outputs.semantic, self.codewords)
            terms["consistency"] = view_divergence(logits)
        return terms


def view_divergence(logits: Tensor) -> Tensor:
    """Mean over the images of ``(KL(p || q) + KL(q || p)) / 2``, p and q of its two views.

    That is ``sum over j of (p_j - q_j) (log p_j - log q_j) / 2``.

    Args:
        logits: of p and q, float ``(n, n_classes)``: two views of n / 2 images, one half
            after the other.

    Returns:
        A scalar.

    Raises:
        ArgumentError: an odd number of rows has no two views.

    Source: Liang et al., "R-Drop: Regularized Dropout for Neural Networks", NeurIPS 2021,
    equation 2, where dropout makes what are views here.
    """
    one, other = torch.split(logits.log_softmax(dim=1), n_images(len(logits)))
    return ((one.exp() - other.exp()) * (one - other)).sum(dim=1).mean() / 2
