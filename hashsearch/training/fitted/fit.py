"""Fit a system to images, and say after each epoch what validation says."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from hashsearch.errors import TrainingError
from hashsearch.images import normalise
from hashsearch.training.reports import EpochReport, StepReport
from hashsearch.training.trainer import Diverged
from hashsearch.training.validation import validation_map, validation_queries

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.images import Preprocessing
    from hashsearch.training.fitted.base import FittedNetwork, FittedSystem

__all__ = ["Fitted", "fit"]


@dataclass(frozen=True)
class Fitted:
    """The last epoch's network, a report an epoch, and what decided the result."""

    network: FittedNetwork
    history: list[EpochReport]
    settings: dict[str, Any]

    @property
    def weights(self) -> dict[str, float]:
        """None: no term of a loss is weighed against another."""
        return {}

    @property
    def best(self) -> EpochReport:
        """The report of the epoch that was kept."""
        return self.history[-1]


def fit(
    system: FittedSystem,
    train_set: ImageSet,
    validation_set: ImageSet,
    preprocessing: Preprocessing,
    *,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Fitted:
    """Fit a system; what validation says of it changes nothing.

    Args:
        system: with its settings.
        train_set: images to fit to; their types are not looked at.
        validation_set: images that the figures are measured on.
        preprocessing: of the images (their geometry is already right).
        on_step: called after each step.
        on_epoch: called after each epoch.

    Raises:
        Diverged: a value is not finite, after an epoch that was good.
        TrainingError: see :meth:`FittedSystem.fitting`; or no two validation images are of
            one type.
    """
    started = time.perf_counter()
    queries = validation_queries(validation_set.facts)
    normalised = torch.from_numpy(normalise(validation_set.pixels, preprocessing))
    history: list[EpochReport] = []
    epoch_started = started
    network: FittedNetwork | None = None

    def fitted(network: FittedNetwork) -> Fitted:
        settings = {
            **system.to_record(),
            "device": "cpu",
            "precision": "float32",
            "threads": torch.get_num_threads(),
            "train_images": len(train_set),
            "validation_images": len(validation_set),
            **{f"train_{name}": value for name, value in train_set.digests.items()},
            "seconds": time.perf_counter() - started,
        }
        return Fitted(network, history, settings)

    try:
        for number, network, terms in system.fitting(train_set.pixels, preprocessing, on_step):
            outputs = torch.cat([network(part)[0] for part in torch.split(normalised, 500)])
            bits = outputs.numpy() >= 0
            history.append(
                EpochReport(
                    epoch=number,
                    terms=terms,
                    adversary_accuracy=None,
                    validation_map=validation_map(bits, validation_set.facts, queries),
                    seconds=time.perf_counter() - epoch_started,
                    best=True,
                )
            )
            if on_epoch:
                on_epoch(history[-1])
            epoch_started = time.perf_counter()
    except TrainingError as error:
        if network is None:
            raise
        raise Diverged(str(error), fitted(network)) from error
    if network is None:
        raise TrainingError("nothing was fitted; give at least one epoch")
    return fitted(network)
