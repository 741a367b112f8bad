"""Codes that say how likely a classifier finds each type, in steps: ours.

A classifier's answer as a code (:mod:`~hashsearch.training.objectives.classifier_bits`) jumps
from one type to another where two are equally likely, and so does a hashing loss that draws
all neighbours into one ball: whatever lies at such a border is lost by a slightly different
view of it. Here a code goes from type to type step by step: what is nearly as likely is near.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hashsearch.errors import ArgumentError
from hashsearch.training.objectives.classifier_bits import ClassifierBits

__all__ = ["STEPS", "Ladder", "LadderHead"]

STEPS = {2: (0.33, 0.67), 3: (0.15, 0.5, 0.95)}
"""Probabilities at which the bits of a type are set, by how many bits it has.

Chosen among a few sets on the validation images of Fashion-MNIST, by mAP, by precision and recall
within a radius of 2, and by the views that find their own item. Steps near them do about as well.
"""


class LadderHead(nn.Module):
    """Features ``(n, n_features)`` to logits in training, to steps of probability in eval mode.

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

    def __init__(self, n_features: int, n_bits: int, n_classes: int) -> None:
        super().__init__()
        each = min(max(STEPS), n_bits // n_classes)
        if each not in STEPS:
            raise ArgumentError(
                f"{n_bits} bits cannot give each of {n_classes} types two; take more with --bits"
            )
        self.unused = n_bits - each * n_classes
        self.classifier = nn.Linear(n_features, n_classes)
        self.register_buffer("steps", torch.tensor(STEPS[each]))

    def forward(self, features: Tensor) -> Tensor:
        """Logits, float ``(n, n_classes)``; in eval mode probability less step, ``(n, n_bits)``."""
        logits: Tensor = self.classifier(features)
        if self.training:
            return logits
        outputs = (logits.softmax(dim=1)[:, :, None] - self.steps).flatten(1)
        return functional.pad(outputs, (0, self.unused), value=-1.0)


class Ladder(ClassifierBits):
    """``classification``: cross-entropy of the item type, straight from the features.

    The control's loss and no other; see :class:`LadderHead` for how its probabilities become a
    code.
    """

    name = "ladder"

    @staticmethod
    def semantic_head(n_features: int, n_bits: int, n_classes: int) -> nn.Module:
        """See :meth:`Objective.semantic_head`; in training it gives the logits."""
        return LadderHead(n_features, n_bits, n_classes)
