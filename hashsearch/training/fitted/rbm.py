"""Restricted Boltzmann machines, trained by contrastive divergence.

Source: Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural
Networks", Science 313 (2006), equation 2, with the constants of their published program
``rbm.m``; Salakhutdinov and Hinton, "Semantic Hashing" (2009), use the same batches, epochs
and initial weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hashsearch.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rbm", "contrastive_divergence", "train_rbm"]

_LEARNING_RATE = 0.1
_WEIGHT_DECAY = 2e-4
_FIRST_MOMENTUM, _MOMENTUM = 0.5, 0.9
_FIRST_EPOCHS = 5
_INITIAL_STD = 0.1


@dataclass(frozen=True)
class Rbm:
    """Weights between v visible and h hidden logistic units, or changes of them.

    Attributes:
        weights: float ``(v, h)``.
        visible_bias: float ``(v,)``.
        hidden_bias: float ``(h,)``.
    """

    weights: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor

    def hidden(self, visible: Tensor) -> Tensor:
        """How probably each hidden unit is on: float ``(n, v)`` to ``(n, h)``."""
        return torch.sigmoid(torch.addmm(self.hidden_bias, visible, self.weights))

    def visible(self, hidden: Tensor) -> Tensor:
        """How probably each visible unit is on: float ``(n, h)`` to ``(n, v)``."""
        return torch.sigmoid(torch.addmm(self.visible_bias, hidden, self.weights.T))


def contrastive_divergence(rbm: Rbm, visible: Tensor, draws: Tensor) -> tuple[Rbm, float]:
    """One step of contrastive divergence (CD-1): where it leads, and how well it rebuilt.

    ``<v h>`` of the data less ``<v h>`` of its reconstruction. The hidden units that
    reconstruct are drawn, on or off; everything else is a probability.

    Args:
        rbm: as it is.
        visible: the data, float ``(n, v)``, in [0, 1].
        draws: uniform in [0, 1), float ``(n, h)``; a unit is on where its probability is
            above.

    Returns:
        The direction of the update, a mean over the batch; and the mean squared difference
        of data and reconstruction.
    """
    hidden = rbm.hidden(visible)
    rebuilt = rbm.visible((hidden > draws).to(visible.dtype))
    hidden_again = rbm.hidden(rebuilt)
    difference = visible - rebuilt
    direction = Rbm(
        weights=(visible.T @ hidden - rebuilt.T @ hidden_again) / len(visible),
        visible_bias=difference.mean(dim=0),
        hidden_bias=(hidden - hidden_again).mean(dim=0),
    )
    return direction, float(difference.square().mean())


def train_rbm(
    visible: Tensor,
    n_hidden: int,
    *,
    epochs: int,
    batch_size: int,
    generator: torch.Generator,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Rbm:
    """Train a machine from random weights.

    Learning rate 0.1, weight decay 0.0002 (not of the biases), momentum 0.5 in the first 5
    epochs and 0.9 after, weights from N(0, 0.1^2), biases from 0.

    Args:
        visible: the data, float ``(n, v)``, in [0, 1].
        n_hidden: number of hidden units.
        epochs: over the data.
        batch_size: rows a step, at most n; rows that do not fill a batch wait for the next
            epoch's order.
        generator: for whatever is drawn.
        on_step: called after each step with the epoch's number and its own, from 1, and the
            mean squared error of reconstruction.

    Raises:
        TrainingError: the weights grow past all bounds.
    """
    n, n_visible = visible.shape
    rbm = Rbm(
        weights=_INITIAL_STD * torch.randn(n_visible, n_hidden, generator=generator),
        visible_bias=torch.zeros(n_visible),
        hidden_bias=torch.zeros(n_hidden),
    )
    velocity = Rbm(*(torch.zeros_like(part) for part in _parts(rbm)))
    for epoch in range(1, epochs + 1):
        momentum = _FIRST_MOMENTUM if epoch <= _FIRST_EPOCHS else _MOMENTUM
        order = torch.randperm(n, generator=generator)
        for step in range(1, n // batch_size + 1):
            batch = visible[order[(step - 1) * batch_size : step * batch_size]]
            draws = torch.rand(batch_size, n_hidden, generator=generator)
            direction, error = contrastive_divergence(rbm, batch, draws)
            direction.weights.sub_(rbm.weights, alpha=_WEIGHT_DECAY)
            for part, moved, along in zip(*map(_parts, (rbm, velocity, direction)), strict=True):
                part.add_(moved.mul_(momentum).add_(along, alpha=_LEARNING_RATE))
            if on_step:
                on_step(epoch, step, error)
        if not all(bool(part.isfinite().all()) for part in _parts(rbm)):
            raise TrainingError(
                f"a Boltzmann machine of {n_hidden} units is not finite after epoch {epoch}; "
                "raise --batch-size"
            )
    return rbm


def _parts(rbm: Rbm) -> tuple[Tensor, Tensor, Tensor]:
    return rbm.weights, rbm.visible_bias, rbm.hidden_bias
