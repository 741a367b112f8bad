"""From a training plan and images to an encoder file."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from hashsearch.datasets.parts import TRAINING_PARTS
from hashsearch.encoder import EncoderRecord
from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.files import check_writable
from hashsearch.images import FASHION_MNIST
from hashsearch.training.export import differing_bits, export, now, package_versions
from hashsearch.training.fitted.fit import fit
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.trainer import Diverged, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.training.fitted.fit import Fitted
    from hashsearch.training.plan import Plan
    from hashsearch.training.reports import EpochReport, StepReport
    from hashsearch.training.trainer import TrainedNetwork

__all__ = ["RECIPE", "Trained", "train_encoder"]

RECIPE = 2
"""To be raised whenever one plan comes to train another network, whatever its objective (else
that has a revision of its own): what was trained by an older recipe is then trained anew."""


@dataclass(frozen=True)
class Trained:
    """What a training run made.

    Attributes:
        path: of the encoder's ``.onnx`` file.
        record: as it stands in the file.
        best: report of the epoch that was kept.
        differing_bits: the share of bits of the validation images that ONNX Runtime sets
            differently than torch.
        seconds: of this call; a resumed run counts from its resumption.
    """

    path: Path
    record: EncoderRecord
    best: EpochReport
    differing_bits: float
    seconds: float


def train_encoder(
    plan: Plan,
    images: ImageSet,
    out: Path,
    *,
    dataset: str,
    part: str = "all-labels",
    fresh: bool = False,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Trained:
    """Train on a data set's training split and write the encoder.

    A stratified part of the images validates and is not trained on. The state after each
    epoch lies in ``OUT.checkpoint`` until the encoder is written, and a later call with
    the same plan and images goes on from it. A system that is fitted has no such state: it
    starts over.

    Args:
        plan: what to train or fit.
        images: the training split.
        out: the ``.onnx`` file to write.
        dataset: its name, for the record.
        part: which of the images train and which validate: a key of
            :data:`~hashsearch.datasets.parts.TRAINING_PARTS`.
        fresh: start over, whatever checkpoint there is.
        on_step: called after each step.
        on_epoch: called after each epoch.

    Returns:
        Where the encoder is, and what validation says of it.

    Raises:
        ArgumentError: an unknown part, or the folder of ``out`` refuses it.
        TrainingError: see :func:`hashsearch.training.trainer.train` and
            :func:`hashsearch.training.fitted.fit.fit`. Where a training has diverged, the best
            epoch before is exported beside ``out``, which the message names.
    """
    if part not in TRAINING_PARTS:
        raise ArgumentError(f"unknown part {part!r}; known: {', '.join(TRAINING_PARTS)}")
    started = time.perf_counter()
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    check_writable(out)
    if fresh:
        checkpoint.unlink(missing_ok=True)
    train_set, validation_set = TRAINING_PARTS[part](images, seed=plan.seed)
    trained: TrainedNetwork | Fitted
    try:
        if isinstance(plan, TrainingPlan):
            trained = train(
                plan,
                train_set,
                validation_set,
                FASHION_MNIST,
                checkpoint_path=checkpoint,
                on_step=on_step,
                on_epoch=on_epoch,
            )
        else:
            trained = fit(
                plan, train_set, validation_set, FASHION_MNIST, on_step=on_step, on_epoch=on_epoch
            )
    except Diverged as error:
        if error.kept is None:
            raise
        epoch = error.kept.best.epoch
        kept = out.with_name(f"{out.stem}.epoch-{epoch}{out.suffix}")
        record = _record(plan, error.kept, train_set, name=kept.stem, dataset=dataset, part=part)
        export(error.kept.network, record, kept)
        raise TrainingError(f"{error}; epoch {epoch} is in {kept}") from error
    record = _record(plan, trained, train_set, name=out.stem, dataset=dataset, part=part)
    export(trained.network, record, out)
    differing = differing_bits(trained.network, out, validation_set, FASHION_MNIST)
    if isinstance(plan, TrainingPlan):
        checkpoint.unlink(missing_ok=True)
    return Trained(out, record, trained.best, differing, time.perf_counter() - started)


def _record(
    plan: Plan,
    trained: TrainedNetwork | Fitted,
    train_set: ImageSet,
    *,
    name: str,
    dataset: str,
    part: str,
) -> EncoderRecord:
    """What stands in the encoder's file."""
    best = trained.best
    figures = {"validation_map": best.validation_map}
    if best.adversary_accuracy is not None:
        figures["discriminator_accuracy"] = best.adversary_accuracy
    return EncoderRecord(
        name=name,
        n_bits=plan.n_bits,
        fine_bits=plan.fine_bits,
        preprocessing=FASHION_MNIST,
        class_names=train_set.class_names,
        objective=plan.objective,
        weights=trained.weights,
        backbone=plan.backbone,
        dataset=dataset,
        neighbour_rule="same-type" if isinstance(plan, TrainingPlan) else "none",
        seed=plan.seed,
        training={
            **trained.settings,
            "part": part,
            "history": [asdict(report) for report in trained.history],
        },
        figures=figures,
        packages=package_versions(),
        created=now(),
    )
