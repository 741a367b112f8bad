"""Deep supervised hashing: contrastive loss with a margin, and codes near +-1.

Source: Liu, Wang, Shan and Chen, "Deep Supervised Hashing for Fast Image Retrieval",
CVPR 2016, equations 3 and 4; margin and weight are those of the paper and the authors' code
(github.com/lhmRyan/deep-supervised-hashing-DSH).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hashsearch.training.objectives.base import Objective, Outputs
from hashsearch.training.objectives.pairwise import inner_products, mean_over_pairs

__all__ = ["DeepSupervisedHashing", "contrastive", "corner_regulariser"]


def contrastive(outputs: Tensor, neighbours: Tensor, margin: float) -> Tensor:
    """``mean of s_ij d_ij / 2 + (1 - s_ij) max(m - d_ij, 0) / 2`` over the pairs.

    ``d_ij = |u_i - u_j|**2``, which is four times the Hamming distance between corners of
    the cube.

    Args:
        outputs: u, float ``(n, K)``, n >= 2.
        neighbours: s, bool ``(n, n)``; the diagonal is not looked at.
        margin: m; strangers at that squared distance cost nothing any more.

    Returns:
        A scalar.
    """
    products = inner_products(outputs)
    squares = products.diagonal()
    # Rounding can leave a little less than 0.
    distances = (squares[:, None] + squares[None, :] - 2 * products).clamp_min(0)
    losses = torch.where(neighbours, distances, (margin - distances).clamp_min(0))
    return mean_over_pairs(losses) / 2


def corner_regulariser(outputs: Tensor) -> Tensor:
    """``mean of sum over k of | |u_ik| - 1 | + | |u_jk| - 1 |`` over the pairs.

    Each item is as often the first of a pair as the second, so this is twice the mean over
    the items.

    Args:
        outputs: u, float ``(n, K)``.

    Returns:
        A scalar.
    """
    return 2 * (outputs.abs() - 1).abs().sum(dim=1).mean()


class DeepSupervisedHashing(Objective):
    """Two terms on the outputs u themselves, without a non-linearity.

    - ``contrastive``: :func:`contrastive` with a margin of 2 K, half of the bits.
    - ``regulariser``: :func:`corner_regulariser`; its weight is the paper's alpha.
    """

    name = "dsh"
    default_weights = {"contrastive": 1.0, "regulariser": 0.01}  # noqa: RUF012 - read only

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        del labels, generator
        terms = {}
        if self.weights["contrastive"]:
            margin = 2.0 * outputs.semantic.shape[1]
            terms["contrastive"] = contrastive(outputs.semantic, neighbours, margin)
        if self.weights["regulariser"]:
            terms["regulariser"] = corner_regulariser(outputs.semantic)
        return terms
