"""What the losses over pairs of a batch have in common.

A pair is two different items of the batch, in either order: n items are n (n - 1) pairs,
and no item is a pair with itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["balanced_mean", "inner_products", "logistic_losses", "mean_over_pairs"]


def inner_products(values: Tensor) -> Tensor:
    """``<v_i, v_j>`` of all items, never rounded to a shorter type by autocast.

    Args:
        values: float ``(n, K)``.

    Returns:
        ``(n, n)``, of the dtype of ``values``.
    """
    # bfloat16 has 8 bits: it cannot tell a product of 48 from one of 47.9.
    with torch.autocast(values.device.type, enabled=False):
        return values @ values.T


def logistic_losses(logits: Tensor, neighbours: Tensor) -> Tensor:
    """``log(1 + exp(x_ij)) - s_ij x_ij``: minus the log-likelihood of s_ij at ``sigmoid(x_ij)``.

    Args:
        logits: x, float ``(n, n)``.
        neighbours: s, bool ``(n, n)``.

    Returns:
        float ``(n, n)``, from 0 up.
    """
    # For a neighbour log(1 + exp(x)) - x = log(1 + exp(-x)), where nothing cancels.
    return functional.softplus(torch.where(neighbours, -logits, logits))


def mean_over_pairs(losses: Tensor) -> Tensor:
    """The mean of what each pair costs.

    Args:
        losses: float ``(n, n)``, n >= 2; the diagonal is not looked at.

    Returns:
        A scalar.
    """
    n = len(losses)
    return losses.masked_fill(_diagonal(losses), 0).sum() / (n * (n - 1))


def balanced_mean(losses: Tensor, neighbours: Tensor) -> Tensor:
    """``mean of w_ij loss_ij`` over the pairs: neighbours weigh as much as strangers together.

    ``w_ij`` is the number of pairs divided by the number of pairs of that sort, so this is
    the mean over neighbours plus the mean over strangers. A sort that the batch does not
    have adds nothing.

    Args:
        losses: float ``(n, n)``; the diagonal is not looked at.
        neighbours: bool ``(n, n)``; nor is this one's.

    Returns:
        A scalar.
    """
    pair = ~_diagonal(losses)
    means = [
        losses.masked_fill(~sort, 0).sum() / sort.sum().clamp_min(1)
        for sort in (pair & neighbours, pair & ~neighbours)
    ]
    return torch.stack(means).sum()


def _diagonal(losses: Tensor) -> Tensor:
    return torch.eye(len(losses), dtype=torch.bool, device=losses.device)
