"""What the trainer asks of an objective."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hashsearch.errors import ArgumentError

__all__ = ["Objective", "Outputs", "classification_loss", "is_number", "n_images"]


@dataclass(frozen=True)
class Outputs:
    """What the network says about a batch.

    Attributes:
        semantic: output u of the semantic head, float32 ``(n, n_bits)``, before any
            non-linearity; a bit is 1 where it is ``>= 0``. A head of an objective's own
            may say something else while it is trained.
        features: what the semantic head sees, float32 ``(n, n_features)``.
        pixels: what the network saw, normalised, ``(n, channels, h, w)``; None where no one asks.
    """

    semantic: Tensor
    features: Tensor
    pixels: Tensor | None = None

    def detached(self) -> Outputs:
        """The same values, cut off from the network."""
        return Outputs(self.semantic.detach(), self.features.detach(), self.pixels)


class Objective(nn.Module, ABC):
    """Loss terms, their weights and constants, and whatever they train beside the network.

    Args:
        n_features: width of the backbone's features.
        n_bits: length of the semantic code.
        n_classes: number of item types.
        weights: weights that differ from :attr:`default_weights`; 0 leaves a term out.
        constants: constants that differ from :attr:`default_constants`.

    Raises:
        ArgumentError: see :meth:`resolve_weights`, :meth:`resolve_constants` and :meth:`build`.
    """

    name: ClassVar[str]
    default_weights: ClassVar[dict[str, float]]
    default_constants: ClassVar[dict[str, float]] = {}
    constant_ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    """Lowest and highest value of a constant; one that is not listed is any number above 0."""
    revision: ClassVar[int] = 1
    """To be raised whenever the objective comes to train another network or to set other bits;
    defaults of weights and constants aside, which a plan's record says."""
    compares_pairs: ClassVar[bool] = True
    """Whether a term looks at who is whose neighbour; else classes alone are learnt from."""
    several_classes: ClassVar[bool] = True
    """Whether an image may be of several classes at once."""
    sees_pixels: ClassVar[bool] = False
    """Whether it asks what the network saw; several processes send it to each other only then."""

    def __init__(
        self,
        n_features: int,
        n_bits: int,
        n_classes: int,
        weights: dict[str, float] | None = None,
        constants: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.weights = self.resolve_weights(weights or {})
        self.constants = self.resolve_constants(constants or {})
        self.build(n_features, n_bits, n_classes)

    def build(self, n_features: int, n_bits: int, n_classes: int) -> None:
        """Make what the objective trains or keeps beside the network; nothing unless overridden.

        Args:
            n_features: width of the backbone's features.
            n_bits: length of the semantic code.
            n_classes: number of item types.

        Raises:
            ArgumentError: the objective cannot do with so many bits or types.
        """

    @classmethod
    def resolve_weights(cls, weights: dict[str, float], **further: float) -> dict[str, float]:
        """The weight of every term.

        Args:
            weights: those that differ from :attr:`default_weights`.
            further: terms beside the objective's own, and their default weights.

        Raises:
            ArgumentError: an unknown term, or a weight that is negative or no finite number.
        """
        defaults = {**cls.default_weights, **further}
        _check_names(weights, defaults, cls.name, "term")
        for term, weight in weights.items():
            if not is_number(weight) or weight < 0:
                raise ArgumentError(
                    f"the weight of {term} must be a number from 0 up, not {weight!r}"
                )
        return {**defaults, **{term: float(weight) for term, weight in weights.items()}}

    @classmethod
    def resolve_constants(cls, constants: dict[str, float]) -> dict[str, float]:
        """The value of every constant of the loss.

        Args:
            constants: those that differ from :attr:`default_constants`.

        Raises:
            ArgumentError: an unknown constant, or a value that is no finite number above 0, or
                that is outside of the constant's range.
        """
        _check_names(constants, cls.default_constants, cls.name, "constant")
        for name, value in constants.items():
            if name in cls.constant_ranges:
                low, high = cls.constant_ranges[name]
                if not is_number(value) or not low <= value <= high:
                    raise ArgumentError(
                        f"the constant {name} must be a number from {low:g} to {high:g}, "
                        f"not {value!r}"
                    )
            elif not is_number(value) or value <= 0:
                raise ArgumentError(f"the constant {name} must be a number above 0, not {value!r}")
        return {
            **cls.default_constants,
            **{name: float(value) for name, value in constants.items()},
        }

    @abstractmethod
    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The terms of the loss, not yet weighted; those of weight 0 are left out.

        Args:
            outputs: of a batch of n rows: two views of n / 2 images, one half after the other.
            labels: int64 ``(n,)``, the class of each row, -1 where it has none; or, where rows
                have several, multi-hot float ``(n, n_classes)``.
            neighbours: bool ``(n, n)``, symmetric, true on the diagonal.
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
            it could judge. A loss without a gradient: it does not learn from this batch.
        """
        del outputs, neighbours, generator
        return None

    @property
    def adversary_rate(self) -> float:
        """The learning rate of :meth:`adversary`."""
        return 1e-3

    def adversary_parameters(self) -> list[nn.Parameter]:
        """What :meth:`adversary` trains; the trainer gives it an optimiser of its own."""
        return []


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """What a classifier's answers cost: cross-entropy, of one class or of several alike.

    With several classes the target is even among them, as Mahajan et al. have it ("Exploring the
    Limits of Weakly Supervised Pretraining", ECCV 2018, section 2.2). A sigmoid for each class
    would first learn how rare classes are, and saturate the outputs with it: on Fashion-MNIST
    with attributes, all codes became one.

    Args:
        logits: float ``(n, n_classes)``.
        labels: int64 ``(n,)``, -1 for none; or multi-hot float ``(n, n_classes)``.

    Returns:
        A scalar: the mean over rows that have a class of the mean over its classes c of
        ``-log softmax(logits)[c]``; 0 if no row has one.
    """
    known = labels.sum(dim=1) > 0 if labels.is_floating_point() else labels >= 0
    if not bool(known.any()):
        return logits.sum() * 0  # the mean of nothing is no number
    if labels.is_floating_point():
        own = labels[known]
        return functional.cross_entropy(logits[known], own / own.sum(dim=1, keepdim=True))
    return functional.cross_entropy(logits, labels, ignore_index=-1)


def n_images(n_rows: int) -> int:
    """Of how many images so many rows are two views, one half after the other.

    Raises:
        ArgumentError: an odd number of rows has no two views.
    """
    if n_rows % 2:
        raise ArgumentError(f"{n_rows} rows are no two views of each image")
    return n_rows // 2


def is_number(value: Any) -> bool:
    """Whether it is a finite int or float; a bool is none, though Python counts it as an int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Compared, not converted: an int too large for a float has no infinity to become.
    return abs(value) <= sys.float_info.max


def _check_names(given: Any, known: dict[str, float], objective: str, kind: str) -> None:
    if not isinstance(given, dict):
        raise ArgumentError(f"{kind}s must be a table of names and numbers, not {given!r}")
    for name in given:
        if name not in known:
            raise ArgumentError(
                f"objective {objective} has no {kind} {name!r}; it has {', '.join(known) or 'none'}"
            )
