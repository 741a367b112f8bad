"""The Cauchy losses of deep Cauchy hashing, and what the objectives made of them share.

Source: Cao, Long, Liu and Wang, "Deep Cauchy Hashing for Hamming Space Retrieval",
CVPR 2018, equations 5 to 8.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hashsearch.training.objectives.base import Objective

__all__ = [
    "CauchyObjective",
    "cauchy_cross_entropy",
    "cauchy_quantisation",
    "continuous_hamming_distance",
]

# Identical codes have distance 0, where log(1 + gamma / d) of a stranger is infinite;
# and acos-like slopes at cosine 1 are kept finite by the same bound.
_SMALLEST_DISTANCE = 1e-3


class CauchyObjective(Objective):
    """An objective with the terms ``hamming`` and ``quantisation`` on ``h = tanh(u)``.

    Constants: ``gamma``, scale of the Cauchy distribution, in bits (20 in the script of Cao
    et al.); ``settled_gamma``, the same in the settling epochs. The smaller it is, the more
    the loss cares for neighbours that are nearly in one ball: more of them come within a
    small radius, and fewer strangers are kept apart by degrees.
    """

    _settling = False

    @property
    def gamma(self) -> float:
        """The scale of this epoch."""
        return self.constants["settled_gamma" if self._settling else "gamma"]

    def start_epoch(self, epoch: int, epochs: int, *, settling: bool) -> None:
        """See :meth:`Objective.start_epoch`."""
        del epoch, epochs
        self._settling = settling

    def cauchy_terms(self, codes: Tensor, neighbours: Tensor) -> dict[str, Tensor]:
        """Those of the two terms that have a weight.

        Args:
            codes: ``h = tanh(u)``, float ``(n, K)``, n >= 2.
            neighbours: bool ``(n, n)``, symmetric; the diagonal is not looked at.
        """
        terms = {}
        # Autocast's short cosines would round away what is left between neighbours.
        with torch.autocast(codes.device.type, enabled=False):
            if self.weights["hamming"]:
                terms["hamming"] = cauchy_cross_entropy(codes, neighbours, self.gamma)
            if self.weights["quantisation"]:
                terms["quantisation"] = cauchy_quantisation(codes, self.gamma)
        return terms


def continuous_hamming_distance(codes: Tensor, others: Tensor) -> Tensor:
    """``d = K / 2 (1 - cos(h_i, h_j))``: Hamming distance where both are exactly +-1.

    Args:
        codes: float ``(n, K)``.
        others: float ``(m, K)``.

    Returns:
        float ``(n, m)``, between 0 and K.
    """
    cosine = functional.normalize(codes, dim=1) @ functional.normalize(others, dim=1).T
    return codes.shape[1] / 2 * (1 - cosine)


def cauchy_cross_entropy(codes: Tensor, neighbours: Tensor, gamma: float) -> Tensor:
    """``mean of w_ij (s_ij log(d / g) + log(1 + g / d))`` over all pairs i != j.

    ``w_ij`` weighs neighbours and strangers alike: the number of pairs divided by the
    number of pairs of that sort. A batch with pairs of one sort only weighs them 1.

    Args:
        codes: ``h = tanh(u)``, float ``(n, K)``, n >= 2.
        neighbours: bool ``(n, n)``, symmetric; the diagonal is not looked at.
        gamma: scale of the Cauchy distribution, in bits.

    Returns:
        A scalar.
    """
    n = len(codes)
    distance = continuous_hamming_distance(codes, codes).clamp_min(_SMALLEST_DISTANCE)
    # For a neighbour log(d / g) + log(1 + g / d) = log(1 + d / g), which stays finite at 0.
    loss = torch.where(neighbours, torch.log1p(distance / gamma), torch.log1p(gamma / distance))
    pair = ~torch.eye(n, dtype=torch.bool, device=codes.device)
    alike, unlike = pair & neighbours, pair & ~neighbours
    pairs = n * (n - 1)
    weighted = [loss[sort].mean() * pairs for sort in (alike, unlike) if sort.any()]
    return torch.stack(weighted).sum() / pairs


def cauchy_quantisation(codes: Tensor, gamma: float) -> Tensor:
    """``mean of log(1 + d(|h|, 1) / g)``: how far codes are from the corners of the cube.

    Args:
        codes: ``h = tanh(u)``, float ``(n, K)``.
        gamma: scale of the Cauchy distribution, in bits.

    Returns:
        A scalar.
    """
    corner = torch.ones_like(codes[:1])
    return torch.log1p(continuous_hamming_distance(codes.abs(), corner) / gamma).mean()
