"""HashNet: weighted logistic loss over pairs, on a tanh that grows steeper in stages.

Source: Cao, Long, Wang and Yu, "HashNet: Deep Learning to Hash by Continuation",
ICCV 2017, equations 2 to 4 and algorithm 1; constants from the authors' code
(github.com/thuml/HashNet).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hashsearch.training.objectives.base import Objective, Outputs
from hashsearch.training.objectives.pairwise import (
    balanced_mean,
    inner_products,
    logistic_losses,
)

__all__ = ["HashNet", "steepness", "weighted_logistic"]

# From the authors' code: beta = (1 + 0.005 step) ** 0.5, over 10,000 steps.
_STEPS = 10_000
_GROWTH = 0.005


def weighted_logistic(codes: Tensor, neighbours: Tensor, alpha: float) -> Tensor:
    """``mean of w_ij (log(1 + exp(a <h_i, h_j>)) - a s_ij <h_i, h_j>)`` over the pairs.

    ``w_ij`` is the number of pairs divided by the number of pairs of that sort (equation 2,
    where items that share all of their labels, as items of one type do, have c_ij = 1; here all
    neighbours have, whatever the rule).

    Args:
        codes: ``h = tanh(beta u)``, float ``(n, K)``, n >= 2.
        neighbours: s, bool ``(n, n)``; the diagonal is not looked at.
        alpha: a, how steep the sigmoid is that turns an inner product into a probability.

    Returns:
        A scalar.
    """
    return balanced_mean(logistic_losses(alpha * inner_products(codes), neighbours), neighbours)


def steepness(epoch: int, epochs: int) -> float:
    """Beta of an epoch: 1 in the first one, about 7 in the last of many.

    The authors raise beta every 200 of 10,000 steps, to ``sqrt(1 + 0.005 step)``. Here a
    stage is an epoch, and a run of any length walks the same road: epoch e of E has the
    beta of step ``10,000 (e - 1) / E``.

    Args:
        epoch: e, from 1.
        epochs: E.
    """
    return math.sqrt(1 + _GROWTH * _STEPS * (epoch - 1) / epochs)


class HashNet(Objective):
    """One term, ``logistic``: :func:`weighted_logistic` with ``alpha = 10 / K``.

    Codes are ``h = tanh(beta u)``; :func:`steepness` says which beta an epoch has,
    settling epochs included. The bits are the signs of u whatever beta is, which is the
    limit that the paper's last stage, beta without end, stands for.
    """

    name = "hashnet"
    default_weights = {"logistic": 1.0}  # noqa: RUF012 - read only
    beta = 1.0

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        del labels, generator
        terms = {}
        if self.weights["logistic"]:
            codes = torch.tanh(self.beta * outputs.semantic)
            terms["logistic"] = weighted_logistic(codes, neighbours, 10 / codes.shape[1])
        return terms

    def start_epoch(self, epoch: int, epochs: int, *, settling: bool) -> None:
        """See :meth:`Objective.start_epoch`."""
        del settling
        self.beta = steepness(epoch, epochs)
