"""Central similarity quantisation: each class has a fixed code, and its items go there.

Source: Yuan, Wang, Zhang, Tay, Jie, Liu and Feng, "Central Similarity Quantization for
Efficient Image and Video Retrieval", CVPR 2020: the losses L_C and L_Q. Both are taken as
means over items and bits, as in the authors' code; the weight of L_Q is the least that they
train with there, for 64 bits (github.com/yuanli2333/Hadamard-Matrix-for-hashing).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hashsearch.training.objectives.base import Objective, Outputs
from hashsearch.training.objectives.centres import hash_centres

__all__ = [
    "CentralSimilarityQuantisation",
    "central_similarity",
    "item_centres",
    "smooth_quantisation",
]


class CentralSimilarityQuantisation(Objective):
    """Two terms on one semantic head.

    - ``central``: cross-entropy of each bit against that of the item's centre
      (:func:`item_centres`).
    - ``quantisation``: how far the bits are from 0 and 1.

    Raises:
        ArgumentError: there are fewer codes of K bits than item types.
    """

    name = "csq"
    compares_pairs = False
    default_weights = {"central": 1.0, "quantisation": 1e-4}  # noqa: RUF012 - read only
    centres: Tensor

    def build(self, n_features: int, n_bits: int, n_classes: int) -> None:
        """See :meth:`Objective.build`."""
        del n_features
        self.register_buffer("centres", hash_centres(n_classes, n_bits))

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        del neighbours, generator
        terms = {}
        if self.weights["central"]:
            centres = item_centres(self.centres, labels)
            terms["central"] = central_similarity(outputs.semantic, centres)
        if self.weights["quantisation"]:
            terms["quantisation"] = smooth_quantisation(outputs.semantic)
        return terms


def item_centres(centres: Tensor, labels: Tensor) -> Tensor:
    """Where each item's code shall go: to its class's centre, or to the middle of several.

    The middle has in each bit what most of the classes have (as in the paper). Where
    they are even, the paper draws a bit; here the item's first class has the word, so that it is
    always the same one.

    Args:
        centres: one a class, +1 or -1, float ``(n_classes, K)``.
        labels: int64 ``(n,)``, or multi-hot float ``(n, n_classes)``, at least one a row.

    Returns:
        +1 or -1, float ``(n, K)``.
    """
    if not labels.is_floating_point():
        return centres[labels]
    votes = labels @ centres
    return torch.where(votes == 0, centres[labels.argmax(dim=1)], votes.sign())


def central_similarity(outputs: Tensor, centres: Tensor) -> Tensor:
    """``L_C``: mean of ``-(c' log h + (1 - c') log(1 - h))`` over items and bits.

    ``h = (tanh(u) + 1) / 2`` and ``c' = (c + 1) / 2``. As h = sigmoid(2 u), this is
    ``log(1 + exp(-2 c u))``, which stays finite where h is 0 or 1 in float32.

    Args:
        outputs: u, float ``(n, K)``.
        centres: c, +1 or -1, float ``(n, K)``: of each item's class.

    Returns:
        A scalar.
    """
    return functional.softplus(-2 * centres * outputs).mean()


def smooth_quantisation(outputs: Tensor) -> Tensor:
    """``L_Q``: mean of ``log cosh(|2 h - 1| - 1)`` over items and bits.

    ``2 h - 1 = tanh(u)``, so it is 0 where tanh(u) is +-1.

    Args:
        outputs: u, float ``(n, K)``.

    Returns:
        A scalar.
    """
    return torch.log(torch.cosh(torch.tanh(outputs).abs() - 1)).mean()
