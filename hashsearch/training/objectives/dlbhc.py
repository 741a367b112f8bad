"""Deep learning of binary hash codes: a sigmoid layer in front of the classifier.

Source: Lin, Yang, Hsiao and Chen, "Deep Learning of Binary Hash Codes for Fast Image
Retrieval", CVPR Workshops 2015, section 3 and equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashsearch.training.objectives.base import Objective, Outputs, classification_loss

__all__ = ["BinaryHashCodes"]


class BinaryHashCodes(Objective):
    """Classification through a bottleneck of K units between 0 and 1.

    ``classification``: cross-entropy of the item type from ``a = sigmoid(u)``. A bit is 1
    where ``a >= 0.5``, that is ``u >= 0``. Nothing draws a towards 0 or 1 but that the
    classifier gains by it.
    """

    name = "dlbhc"
    compares_pairs = False
    default_weights = {"classification": 1.0}  # noqa: RUF012 - read only

    def build(self, n_features: int, n_bits: int, n_classes: int) -> None:
        """See :meth:`Objective.build`."""
        del n_features
        self.classifier = nn.Linear(n_bits, n_classes)

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        del neighbours, generator
        if not self.weights["classification"]:
            return {}
        logits = self.classifier(torch.sigmoid(outputs.semantic))
        return {"classification": classification_loss(logits, labels)}
