"""What a training run tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EpochReport", "StepReport"]


@dataclass(frozen=True)
class StepReport:
    """After a step: which, of how many, and the terms of its loss, weighted."""

    epoch: int
    step: int
    steps: int
    terms: dict[str, float]
    adversary_accuracy: float | None


@dataclass(frozen=True)
class EpochReport:
    """After an epoch: means over its steps, and what validation says.

    Attributes:
        epoch: counted from 1.
        terms: mean of each weighted term.
        adversary_accuracy: how often the discriminator was right before it learnt from
            the batch, 0.5 being chance, over the steps that had a pair to judge; None
            where there is no discriminator, or no such pair.
        validation_map: mean average precision of the semantic code, tie-aware, on the
            validation images: 1,000 (of fewer than 2,000 the half) query the others.
        seconds: that the epoch took, validation included.
        best: whether this epoch is kept unless a later one is.
    """

    epoch: int
    terms: dict[str, float]
    adversary_accuracy: float | None
    validation_map: float
    seconds: float
    best: bool
