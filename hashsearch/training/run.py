"""From a training plan and images to an encoder file."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from hashsearch.datasets.parts import TRAINING_PARTS
from hashsearch.datasets.photo_set import photo_parts, photo_preprocessing
from hashsearch.encoder import EncoderRecord
from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.files import check_writable
from hashsearch.images import FASHION_MNIST
from hashsearch.training.backbones import BACKBONES
from hashsearch.training.export import differing_bits, export, now, package_versions
from hashsearch.training.feed import Reading
from hashsearch.training.fitted.fit import fit
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.processes import ALONE
from hashsearch.training.trainer import Diverged, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hashsearch.datasets.catalogue import Catalogue
    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.datasets.training_set import TrainingSet
    from hashsearch.images import Preprocessing
    from hashsearch.training.fitted.base import FittedSystem
    from hashsearch.training.fitted.fit import Fitted
    from hashsearch.training.plan import Plan
    from hashsearch.training.processes import Processes
    from hashsearch.training.reports import EpochReport, StepReport
    from hashsearch.training.trainer import TrainedNetwork

__all__ = ["RECIPE", "Trained", "default_image_size", "train_encoder", "train_on_photos"]

RECIPE = 2
"""To be raised whenever one plan comes to train another network, whatever its objective (else
that has a revision of its own): what was trained by an older recipe is then trained anew."""

_USUAL_SIZE, _SMALL_SIZE = 224, 64
_READING = Reading()


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
        skipped: why an image could not be read, by its id.
        left_out: how many images say nothing that the neighbour rule compares.
    """

    path: Path
    record: EncoderRecord
    best: EpochReport
    differing_bits: float
    seconds: float
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: int = 0


def train_encoder(
    plan: Plan,
    images: ImageSet,
    out: Path,
    *,
    dataset: str,
    part: str = "all-labels",
    processes: Processes = ALONE,
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
        processes: that train together; all call this, and the first alone writes files.
        fresh: start over, whatever checkpoint there is.
        on_step: called after each step.
        on_epoch: called after each epoch.

    Returns:
        Where the encoder is, and what validation says of it.

    Raises:
        ArgumentError: an unknown part, or the folder of ``out`` refuses it; or several processes
            for a system that is fitted.
        TrainingError: see :func:`hashsearch.training.trainer.train` and
            :func:`hashsearch.training.fitted.fit.fit`. Where a training has diverged, the best
            epoch before is exported beside ``out``, which the message names.
    """
    if part not in TRAINING_PARTS:
        raise ArgumentError(f"unknown part {part!r}; known: {', '.join(TRAINING_PARTS)}")
    if processes.size > 1 and not isinstance(plan, TrainingPlan):
        raise ArgumentError(
            f"{plan.objective} is fitted by one process, not by {processes.size}; start it without "
            "torchrun"
        )
    run = _Run(out, FASHION_MNIST, dataset, part, processes=processes, fresh=fresh)
    train_set, validation_set = TRAINING_PARTS[part](images, seed=plan.seed)
    if isinstance(plan, TrainingPlan):
        return run.train(
            plan, train_set, validation_set, Reading(), on_step=on_step, on_epoch=on_epoch
        )
    return run.fit(plan, train_set, validation_set, on_step=on_step, on_epoch=on_epoch)


def default_image_size(backbone: str) -> int:
    """Pixels a side at which photos are fed to a backbone, unless told.

    Args:
        backbone: a name that a plan takes.
    """
    return _SMALL_SIZE if backbone in BACKBONES else _USUAL_SIZE


def train_on_photos(
    plan: TrainingPlan,
    catalogue: Catalogue,
    out: Path,
    *,
    image_size: int | None = None,
    reading: Reading = _READING,
    processes: Processes = ALONE,
    fresh: bool = False,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Trained:
    """Train on the photos of a catalogue and write the encoder.

    As :func:`train_encoder`, but photos come from files. See
    :func:`~hashsearch.datasets.photo_set.photo_parts` for which of them train. One that cannot be
    read is left out, and the training goes on.

    Args:
        plan: what to train; :func:`~hashsearch.training.plan.plan_for_photos` has defaults.
        catalogue: the photos, and what is known of them.
        out: the ``.onnx`` file to write.
        image_size: pixels a side that the network is fed with; None: 224 for a classifier of
            torchvision, 64 for the small backbones.
        reading: how the files are read.
        processes: that train together; all call this, and the first alone writes files.
        fresh: start over, whatever checkpoint there is.
        on_step: called after each step.
        on_epoch: called after each epoch.

    Returns:
        Where the encoder is, and what validation says of it.

    Raises:
        ArgumentError: an image size below 1 or too small for the backbone, or the folder of
            ``out`` refuses it.
        DatasetError: see :func:`~hashsearch.datasets.photo_set.photo_parts`.
        TrainingError: see :func:`train_encoder`.
    """
    size = default_image_size(plan.backbone) if image_size is None else image_size
    if size < 1:
        raise ArgumentError(f"the image size must be from 1 pixel up, not {size}")
    preprocessing = photo_preprocessing(size)
    parts = photo_parts(catalogue, plan.rule, preprocessing)
    run = _Run(
        out,
        preprocessing,
        catalogue.name,
        parts.part,
        lists=(*parts.train.ids, *parts.validation.ids),
        processes=processes,
        fresh=fresh,
    )
    trained = run.train(
        plan, parts.train, parts.validation, reading, on_step=on_step, on_epoch=on_epoch
    )
    return replace(trained, left_out=parts.left_out)


class _Run:
    """What a training writes, and what its record says of the images.

    Args:
        out: the ``.onnx`` file.
        preprocessing: of the images.
        dataset: their name.
        part: which of them train.
        lists: ids of the images, for the file to list; none where ``part`` tells.
        processes: that train; the first writes.
        fresh: start over, whatever checkpoint there is.

    Raises:
        ArgumentError: the folder of ``out`` refuses it.
    """

    def __init__(
        self,
        out: Path,
        preprocessing: Preprocessing,
        dataset: str,
        part: str,
        lists: Sequence[str] = (),
        *,
        processes: Processes,
        fresh: bool,
    ) -> None:
        self.lists, self.processes = lists, processes
        self.started = time.perf_counter()
        self.out, self.preprocessing, self.dataset, self.part = out, preprocessing, dataset, part
        self.checkpoint = out.with_name(f"{out.name}.checkpoint")
        if processes.is_first:
            check_writable(out)
            if fresh:
                self.checkpoint.unlink(missing_ok=True)

    def train(
        self,
        plan: TrainingPlan,
        train_set: TrainingSet,
        validation_set: TrainingSet,
        reading: Reading,
        *,
        on_step: Callable[[StepReport], None] | None,
        on_epoch: Callable[[EpochReport], None] | None,
    ) -> Trained:
        with self._keeping_the_best(plan, train_set):
            trained = train(
                plan,
                train_set,
                validation_set,
                self.preprocessing,
                reading=reading,
                processes=self.processes,
                checkpoint_path=self.checkpoint,
                on_step=on_step,
                on_epoch=on_epoch,
            )

        def write() -> Trained:
            made = self._written(plan, trained, train_set, validation_set)
            self.checkpoint.unlink(missing_ok=True)
            return replace(made, skipped=trained.skipped)

        return self.processes.of_first(write)

    def fit(
        self,
        plan: FittedSystem,
        train_set: ImageSet,
        validation_set: ImageSet,
        *,
        on_step: Callable[[StepReport], None] | None,
        on_epoch: Callable[[EpochReport], None] | None,
    ) -> Trained:
        with self._keeping_the_best(plan, train_set):
            fitted = fit(
                plan,
                train_set,
                validation_set,
                self.preprocessing,
                on_step=on_step,
                on_epoch=on_epoch,
            )
        return self._written(plan, fitted, train_set, validation_set)

    @contextmanager
    def _keeping_the_best(self, plan: Plan, train_set: TrainingSet) -> Iterator[None]:
        """Where the body diverges: export the best epoch before, and say where it is."""
        try:
            yield
        except Diverged as error:
            if (trained := error.kept) is None:
                raise
            epoch = trained.best.epoch
            kept = self.out.with_name(f"{self.out.stem}.epoch-{epoch}{self.out.suffix}")
            record = self._record(plan, trained, train_set, kept.stem)
            self.processes.of_first(lambda: export(trained.network, record, kept, self.lists))
            raise TrainingError(f"{error}; epoch {epoch} is in {kept}") from error

    def _written(
        self,
        plan: Plan,
        trained: TrainedNetwork | Fitted,
        train_set: TrainingSet,
        validation_set: TrainingSet,
    ) -> Trained:
        record = self._record(plan, trained, train_set, self.out.stem)
        export(trained.network, record, self.out, self.lists)
        differing = differing_bits(trained.network, self.out, validation_set, self.preprocessing)
        seconds = time.perf_counter() - self.started
        return Trained(self.out, record, trained.best, differing, seconds)

    def _record(
        self, plan: Plan, trained: TrainedNetwork | Fitted, train_set: TrainingSet, name: str
    ) -> EncoderRecord:
        """What stands in the encoder's file."""
        best = trained.best
        classes, rule = train_set.class_names, "none"
        if isinstance(plan, TrainingPlan):
            rule = str(plan.rule)
            if plan.rule.name == "shared-attributes":
                classes = train_set.attribute_names
        figures = {"validation_map": best.validation_map}
        if best.adversary_accuracy is not None:
            figures["discriminator_accuracy"] = best.adversary_accuracy
        return EncoderRecord(
            name=name,
            n_bits=plan.n_bits,
            fine_bits=plan.fine_bits,
            preprocessing=self.preprocessing,
            class_names=classes,
            objective=plan.objective,
            weights=trained.weights,
            backbone=plan.backbone,
            dataset=self.dataset,
            neighbour_rule=rule,
            seed=plan.seed,
            training={
                **trained.settings,
                "part": self.part,
                "history": [asdict(report) for report in trained.history],
            },
            figures=figures,
            packages=package_versions(),
            created=now(),
        )
