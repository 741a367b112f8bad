"""Deep Cauchy hashing: the Cauchy losses alone.

Source: Cao, Long, Liu and Wang, "Deep Cauchy Hashing for Hamming Space Retrieval",
CVPR 2018, equations 5 to 8; the authors' script is in github.com/thulab/DeepHash.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hashsearch.training.objectives.base import Objective, Outputs
from hashsearch.training.objectives.cauchy import cauchy_cross_entropy, cauchy_quantisation

__all__ = ["DeepCauchyHashing"]


class DeepCauchyHashing(Objective):
    """Two terms on ``h = tanh(u)``, which are those of :mod:`.cauchy`.

    - ``hamming``: Cauchy cross-entropy over pairs, neighbours and strangers balanced.
    - ``quantisation``: how far the codes are from the corners of the cube; its weight is
      the paper's lambda. The authors' script has 0; later comparisons take 0.1.

    Args:
        n_features: width of the backbone's features.
        n_bits: length of the semantic code, K.
        n_classes: number of item types.
        weights: weight of each term that differs from :attr:`default_weights`; 0 trains
            without it.
        constants: those that differ from :attr:`default_constants`. ``gamma``: scale of the
            Cauchy distribution, in bits (20 in the authors' script). ``settled_gamma``: the
            same in the settling epochs, where it stays what it was unless told otherwise.
    """

    name = "dch"
    default_weights = {"hamming": 1.0, "quantisation": 0.1}  # noqa: RUF012 - read only
    default_constants = {"gamma": 20.0, "settled_gamma": 20.0}  # noqa: RUF012 - as above

    def __init__(
        self,
        n_features: int,
        n_bits: int,
        n_classes: int,
        weights: dict[str, float] | None = None,
        constants: dict[str, float] | None = None,
    ) -> None:
        super().__init__(n_features, n_bits, n_classes, weights, constants)
        self.gamma = self.constants["gamma"]

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        del labels, generator
        codes = torch.tanh(outputs.semantic)
        terms = {}
        # Autocast's short cosines would round away what is left between neighbours.
        with torch.autocast(codes.device.type, enabled=False):
            if self.weights["hamming"]:
                terms["hamming"] = cauchy_cross_entropy(codes, neighbours, self.gamma)
            if self.weights["quantisation"]:
                terms["quantisation"] = cauchy_quantisation(codes, self.gamma)
        return terms

    def start_epoch(self, epoch: int, epochs: int, *, settling: bool) -> None:
        """See :meth:`Objective.start_epoch`."""
        del epoch, epochs
        self.gamma = self.constants["settled_gamma" if settling else "gamma"]
