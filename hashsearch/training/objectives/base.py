"""What the trainer asks of an objective."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hashsearch.errors import ArgumentError

__all__ = ["Objective", "Outputs"]


@dataclass(frozen=True)
class Outputs:
    """What the network says about a batch.

    Attributes:
        semantic: output u of the semantic head, float32 ``(n, n_bits)``, before any
            non-linearity; a bit is 1 where it is ``>= 0``. A head of an objective's own
            may say something else while it is trained.
        features: what the semantic head sees, float32 ``(n, n_features)``.
    """

    semantic: Tensor
    features: Tensor

    def detached(self) -> Outputs:
        """The same values, cut off from the network."""
        return Outputs(self.semantic.detach(), self.features.detach())


class Objective(nn.Module, ABC):
    """Loss terms, their weights, and whatever they train beside the network.

    Args:
        n_features: width of the backbone's features.
        n_bits: length of the semantic code.
        n_classes: number of item types.
        weights: weights that differ from :attr:`default_weights`; 0 leaves a term out.

    Raises:
        ArgumentError: an unknown term, or a weight that is negative or not finite.
    """

    name: ClassVar[str]
    default_weights: ClassVar[dict[str, float]]

    def __init__(
        self,
        n_features: int,
        n_bits: int,
        n_classes: int,
        weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        del n_features, n_bits, n_classes  # for those that train layers of their own
        for term, weight in (weights or {}).items():
            if term not in self.default_weights:
                raise ArgumentError(
                    f"objective {self.name} has no term {term!r}; "
                    f"it has {', '.join(self.default_weights)}"
                )
            if not 0 <= weight < math.inf:
                raise ArgumentError(
                    f"the weight of {term} must be a number from 0 up, not {weight}"
                )
        self.weights = {**self.default_weights, **(weights or {})}

    @abstractmethod
    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The terms of the loss, not yet weighted; those of weight 0 are left out.

        Args:
            outputs: of a batch of n items.
            labels: int64 ``(n,)``.
            neighbours: bool ``(n, n)``, true on the diagonal.
            generator: for whatever is drawn.

        Returns:
            A scalar a term.
        """

    @staticmethod
    def semantic_head(n_features: int, n_bits: int, n_classes: int) -> nn.Module:
        """What turns features into the semantic head's outputs; one linear layer unless overridden.

        In eval mode it must give float ``(n, n_bits)``, whose signs are the bits.

        Args:
            n_features: width of the backbone's features.
            n_bits: length of the semantic code.
            n_classes: number of item types.
        """
        del n_classes
        return nn.Linear(n_features, n_bits)

    def start_epoch(self, epoch: int, epochs: int, *, settling: bool) -> None:
        """Called before each epoch; an objective may change its constants.

        Args:
            epoch: from 1.
            epochs: how many there are in all, settling ones included.
            settling: whether it is one of the settling epochs, the last ones.
        """

    def adversary(
        self, outputs: Outputs, neighbours: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor] | None:
        """Loss and accuracy of an adversary that trains against the encoder, if any.

        Args:
            outputs: as for :meth:`terms`; no gradient reaches the network.
            neighbours: as for :meth:`terms`.
            generator: for whatever is drawn.

        Returns:
            Two scalars, or None where there is no adversary, or no pair in the batch that
            it could judge.
        """
        del outputs, neighbours, generator
        return None

    def adversary_parameters(self) -> list[nn.Parameter]:
        """What :meth:`adversary` trains; the trainer gives it an optimiser of its own."""
        return []
