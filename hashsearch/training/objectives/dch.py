"""Deep Cauchy hashing: the Cauchy losses alone.

Source: Cao, Long, Liu and Wang, "Deep Cauchy Hashing for Hamming Space Retrieval",
CVPR 2018, equations 5 to 8; the authors' script is in github.com/thulab/DeepHash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hashsearch.training.objectives.cauchy import CauchyObjective

if TYPE_CHECKING:
    from hashsearch.training.objectives.base import Outputs

__all__ = ["DeepCauchyHashing"]


class DeepCauchyHashing(CauchyObjective):
    """Two terms on ``h = tanh(u)``, which are those of :mod:`.cauchy`.

    - ``hamming``: Cauchy cross-entropy over pairs, neighbours and strangers balanced.
    - ``quantisation``: how far the codes are from the corners of the cube; its weight is
      the paper's lambda. The authors' script has 0; later comparisons take 0.1.

    ``settled_gamma`` is ``gamma``, so nothing changes in the settling epochs unless told.
    """

    name = "dch"
    default_weights = {"hamming": 1.0, "quantisation": 0.1}  # noqa: RUF012 - read only
    default_constants = {"gamma": 20.0, "settled_gamma": 20.0}  # noqa: RUF012 - as above

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        del labels, generator
        return self.cauchy_terms(torch.tanh(outputs.semantic), neighbours)
