"""OrthoHash: the cosine to each class's fixed code, in one cross-entropy.

Source: Hoe, Ng, Zhang, Chan, Song and Xiang, "One Loss for All: Deep Hashing with a Single
Cosine Similarity based Learning Objective", NeurIPS 2021, section 3.2. Margin, scale and
the affine batch normalisation are those of the authors' code (github.com/kamwoh/orthohash),
whose defaults they give as the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hashsearch.training.objectives.base import Objective, Outputs
from hashsearch.training.objectives.centres import hash_centres

__all__ = ["OrthoHash", "cosines", "margin_cosine_cross_entropy"]


class OrthoHash(Objective):
    """One term on a semantic head that is standardised over the batch.

    ``cosine``: cross-entropy of the item type from the cosines between u and the codes of
    the types. A cosine of 1 leaves nothing to quantise, and batch normalisation balances
    the bits, so that the paper needs no further term.

    Constants: ``margin``, m, on the scale of a cosine; ``scale``, s, of the cosines.

    Raises:
        ArgumentError: there are fewer codes of K bits than item types.
    """

    name = "orthohash"
    compares_pairs = False
    default_weights = {"cosine": 1.0}  # noqa: RUF012 - read only
    default_constants = {"margin": 0.2, "scale": 8.0}  # noqa: RUF012 - as above
    codewords: Tensor

    def build(self, n_features: int, n_bits: int, n_classes: int) -> None:
        """See :meth:`Objective.build`."""
        del n_features
        self.register_buffer("codewords", hash_centres(n_classes, n_bits))

    @staticmethod
    def semantic_head(n_features: int, n_bits: int, n_classes: int) -> nn.Module:
        """See :meth:`Objective.semantic_head`: linear, then batch normalisation."""
        del n_classes
        return nn.Sequential(nn.Linear(n_features, n_bits, bias=False), nn.BatchNorm1d(n_bits))

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        del neighbours, generator
        if not self.weights["cosine"]:
            return {}
        loss = margin_cosine_cross_entropy(
            outputs.semantic, labels, self.codewords, **self.constants
        )
        return {"cosine": loss}


def margin_cosine_cross_entropy(
    outputs: Tensor, labels: Tensor, codewords: Tensor, margin: float, scale: float
) -> Tensor:
    """Mean of ``-log(exp(s (c_y - m)) / (exp(s (c_y - m)) + sum over j != y of exp(s c_j)))``.

    ``c_j`` is the cosine between an item's u and the code of class j, and y the item's own
    class. For an item of several classes, m is taken off each of their cosines, and the loss is
    the mean over them: the target is even among them, as in the authors' code.

    Args:
        outputs: u, float ``(n, K)``.
        labels: int64 ``(n,)``, or multi-hot float ``(n, n_classes)``, at least one a row.
        codewords: one a class, float ``(n_classes, K)``.
        margin: m, by which its own class must win.
        scale: s.

    Returns:
        A scalar.
    """
    cosine = cosines(outputs, codewords)
    if labels.is_floating_point():
        shares = labels / labels.sum(dim=1, keepdim=True)
        return functional.cross_entropy(scale * (cosine - margin * labels), shares)
    own = functional.one_hot(labels, len(codewords))
    return functional.cross_entropy(scale * (cosine - margin * own), labels)


def cosines(outputs: Tensor, codewords: Tensor) -> Tensor:
    """Of the angle between each output and each codeword.

    Args:
        outputs: u, float ``(n, K)``.
        codewords: one a class, float ``(n_classes, K)``.

    Returns:
        float ``(n, n_classes)``.
    """
    return functional.normalize(outputs, dim=1) @ functional.normalize(codewords, dim=1).T
