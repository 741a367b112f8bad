"""Deep pairwise-supervised hashing: the likelihood of the pairs, and codes near +-1.

Source: Li, Wang and Kang, "Feature Learning Based Deep Supervised Hashing with Pairwise
Labels", IJCAI 2016 (arXiv 1511.03855), equations 1 to 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hashsearch.training.objectives.base import Objective, Outputs
from hashsearch.training.objectives.pairwise import (
    inner_products,
    logistic_losses,
    mean_over_pairs,
)

__all__ = ["PairwiseSupervisedHashing", "pairwise_likelihood", "squared_quantisation"]


def pairwise_likelihood(outputs: Tensor, neighbours: Tensor) -> Tensor:
    """``mean of log(1 + exp(t_ij)) - s_ij t_ij``, ``t_ij = <u_i, u_j> / 2``, over the pairs.

    Minus the log-likelihood of who is whose neighbour, a pair.

    Args:
        outputs: u, float ``(n, K)``, n >= 2.
        neighbours: s, bool ``(n, n)``; the diagonal is not looked at.

    Returns:
        A scalar.
    """
    return mean_over_pairs(logistic_losses(inner_products(outputs) / 2, neighbours))


def squared_quantisation(outputs: Tensor) -> Tensor:
    """``mean of sum over k of (sign(u_ik) - u_ik)**2`` over the items.

    The sign of 0 is 1, as a code's bit is.

    Args:
        outputs: u, float ``(n, K)``.

    Returns:
        A scalar.
    """
    signs = torch.where(outputs >= 0, 1.0, -1.0).to(outputs.dtype)
    return (signs - outputs).square().sum(dim=1).mean()


class PairwiseSupervisedHashing(Objective):
    """Two terms on the outputs u themselves, without a non-linearity.

    - ``likelihood``: :func:`pairwise_likelihood`.
    - ``quantisation``: :func:`squared_quantisation`; its weight is the paper's eta, over
      means where the paper has sums. The authors' group takes eta = 10 for N = 5,000 training
      images (github.com/jiangqy/DPSH-pytorch): where N**2 pairs become a mean over pairs, and
      N items a mean over items, that is 10 / 5,000, which is 0.002 at any length of code.
    """

    name = "dpsh"
    default_weights = {"likelihood": 1.0, "quantisation": 0.002}  # noqa: RUF012 - read only

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        del labels, generator
        terms = {}
        if self.weights["likelihood"]:
            terms["likelihood"] = pairwise_likelihood(outputs.semantic, neighbours)
        if self.weights["quantisation"]:
            terms["quantisation"] = squared_quantisation(outputs.semantic)
        return terms
