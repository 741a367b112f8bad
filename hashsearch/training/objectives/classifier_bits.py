"""The control: a plain classifier, whose answer is written as a code.

Its codes say which class was predicted and nothing else. What a hashing objective adds
must show against them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashsearch.training.objectives.base import Objective, Outputs, classification_loss
from hashsearch.training.objectives.centres import hash_centres

__all__ = ["ClassifierBits", "ClassifierHead"]


class ClassifierHead(nn.Module):
    """Features ``(n, n_features)`` to logits in training, to codes in eval mode.

    Attributes:
        codewords: one a class, +1 or -1, float32 ``(n_classes, n_bits)``.

    Args:
        n_features: width of the backbone's features.
        n_bits: length of a code.
        n_classes: number of item types.

    Raises:
        ArgumentError: there are fewer codes of this length than item types.
    """

    codewords: Tensor

    def __init__(self, n_features: int, n_bits: int, n_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(n_features, n_classes)
        self.register_buffer("codewords", hash_centres(n_classes, n_bits))

    def forward(self, features: Tensor) -> Tensor:
        """Logits, float ``(n, n_classes)``; in eval mode the codeword of the highest one."""
        logits: Tensor = self.classifier(features)
        return logits if self.training else self.codewords[logits.argmax(dim=1)]


class ClassifierBits(Objective):
    """``classification``: cross-entropy of the item type, straight from the features.

    See :class:`ClassifierHead` for how a prediction becomes a code.
    """

    name = "classifier-bits"
    compares_pairs = False
    several_classes = False
    default_weights = {"classification": 1.0}  # noqa: RUF012 - read only

    @staticmethod
    def semantic_head(n_features: int, n_bits: int, n_classes: int) -> nn.Module:
        """See :meth:`Objective.semantic_head`; in training it gives the logits."""
        return ClassifierHead(n_features, n_bits, n_classes)

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`; ``outputs.semantic`` are logits ``(n, n_classes)``."""
        del neighbours, generator
        if not self.weights["classification"]:
            return {}
        return {"classification": classification_loss(outputs.semantic, labels)}
