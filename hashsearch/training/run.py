"""From a training plan and images to an encoder file."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from hashsearch.datasets.fashion_mnist import training_splits
from hashsearch.encoder import EncoderRecord
from hashsearch.files import check_writable
from hashsearch.images import FASHION_MNIST
from hashsearch.training.export import differing_bits, export, now, package_versions
from hashsearch.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.training.plan import TrainingPlan
    from hashsearch.training.reports import EpochReport, StepReport

__all__ = ["Trained", "train_encoder"]


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
    plan: TrainingPlan,
    images: ImageSet,
    out: Path,
    *,
    dataset: str,
    fresh: bool = False,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Trained:
    """Train on a data set's training split and write the encoder.

    A stratified part of the images validates and is not trained on. The state after each
    epoch lies in ``OUT.checkpoint`` until the encoder is written, and a later call with
    the same plan and images goes on from it.

    Args:
        plan: what to train.
        images: the training split.
        out: the ``.onnx`` file to write.
        dataset: its name, for the record.
        fresh: start over, whatever checkpoint there is.
        on_step: called after each step.
        on_epoch: called after each epoch.

    Returns:
        Where the encoder is, and what validation says of it.

    Raises:
        ArgumentError: the folder of ``out`` refuses it.
        TrainingError: see :func:`hashsearch.training.trainer.train`.
    """
    started = time.perf_counter()
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    check_writable(out)
    if fresh:
        checkpoint.unlink(missing_ok=True)
    train_set, validation_set = training_splits(images)
    trained = train(
        plan,
        train_set,
        validation_set,
        FASHION_MNIST,
        checkpoint_path=checkpoint,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    best = trained.best
    figures = {"validation_map": best.validation_map}
    if best.adversary_accuracy is not None:
        figures["discriminator_accuracy"] = best.adversary_accuracy
    record = EncoderRecord(
        name=out.stem,
        n_bits=plan.n_bits,
        fine_bits=plan.fine_bits,
        preprocessing=FASHION_MNIST,
        class_names=images.class_names,
        objective=plan.objective,
        weights=trained.weights,
        backbone=plan.backbone,
        dataset=dataset,
        neighbour_rule="same-type",
        seed=plan.seed,
        training={**trained.settings, "history": [asdict(report) for report in trained.history]},
        figures=figures,
        packages=package_versions(),
        created=now(),
    )
    export(trained.network, record, out)
    differing = differing_bits(trained.network, out, validation_set, FASHION_MNIST)
    checkpoint.unlink(missing_ok=True)
    return Trained(out, record, best, differing, time.perf_counter() - started)
