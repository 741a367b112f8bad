"""The fine head's loss: two views of one item agree, other items differ.

The contrastive cross-entropy of Chen, Kornblith, Norouzi and Hinton, "A Simple Framework
for Contrastive Learning of Visual Representations", ICML 2020 (NT-Xent), taken twice:
over all items, and over the items of one class alone, which are the ones that a fine
code has to tell apart (coarse to fine, Lin et al., CVPR Workshops 2015).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["instance_discrimination"]


def instance_discrimination(
    first: Tensor,
    second: Tensor,
    neighbours: Tensor,
    temperature: float,
    alike: Tensor | None = None,
) -> Tensor:
    """Mean of the contrastive loss over all items and over neighbours only.

    ``-log(exp(c_ii / t) / sum_j exp(c_ij / t))`` with ``c_ij`` the cosine between view 1
    of item i and view 2 of item j, averaged over both directions; first with j over the
    whole batch, then with j over i and its neighbours.

    Args:
        first: ``tanh`` of the fine head on view 1, float ``(n, F)``.
        second: the same for view 2.
        neighbours: bool ``(n, n)``; the diagonal is taken as true.
        temperature: t, on the scale of a cosine.
        alike: bool ``(n, n)``, which images show the same article: they are left out of each
            other's sums, neither drawn together nor apart; None: none do.

    Returns:
        A scalar.
    """
    cosine = functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T
    logits = cosine / temperature
    own = torch.arange(len(first), device=first.device)
    itself = torch.eye(len(first), dtype=torch.bool, device=first.device)
    if alike is not None:
        logits = logits.masked_fill(alike & ~itself, -torch.inf)
    stranger = ~(neighbours | itself)
    within = logits.masked_fill(stranger, -torch.inf)
    losses = [
        functional.cross_entropy(table, own) for table in (logits, logits.T, within, within.T)
    ]
    return torch.stack(losses).mean()
