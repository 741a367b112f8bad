"""The paper's objective with a discriminator that looks at both images of a pair.

The paper (arXiv 1907.00382) has its discriminator identify "the corresponding hash code-image pair
when processing a semantically similar query-gallery image pair". :class:`Adversarial` shows it one
image and asks whether a code is its own; here it sees the query and the gallery image, and says
whose the code is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hashsearch.training.discriminator import Discriminator
from hashsearch.training.objectives.adversarial import Adversarial

if TYPE_CHECKING:
    from torch import Tensor

    from hashsearch.training.objectives.base import Outputs

__all__ = ["AdversarialPairs"]


class AdversarialPairs(Adversarial):
    """As :class:`Adversarial`, but D sees the features of both images whose codes are swapped.

    ``D(x_i, x_j, b)`` is the logit that the code b is of the query i, and not of its neighbour j:
    ``D(x_i, x_j, b_i)`` stands where ``D(x_i, b_i)`` does there, ``D(x_i, x_j, b_j)`` where
    ``D(x_i, b_j)`` does.
    """

    name = "adversarial-pairs"

    def build(self, n_features: int, n_bits: int, n_classes: int) -> None:
        """See :meth:`Objective.build`."""
        super().build(n_features, n_bits, n_classes)
        self.discriminator = Discriminator(2 * n_features, n_bits)

    def _shown(self, outputs: Outputs, rows: Tensor, partners: Tensor) -> Tensor:
        """What D sees beside a code of one of the two: ``(m, 2 * n_features)``."""
        seen = self._seen(outputs)
        return torch.cat([seen[rows], seen[partners]], dim=1)
