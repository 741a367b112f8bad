"""Train a hash network: one trainer for every objective.

Everything random in an epoch comes from the seed and the epoch's number, so a run that
was stopped and resumed ends where an undisturbed one does.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hashsearch.codes import hamming_distance, pack_bits
from hashsearch.datasets.image_set import ImageSet
from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.images import Preprocessing
from hashsearch.metrics import mean_average_precision
from hashsearch.training.augment import erase, flip, warp
from hashsearch.training.network import HashNetwork
from hashsearch.training.objectives import OBJECTIVES, Objective
from hashsearch.training.objectives.instance import instance_discrimination

__all__ = ["EpochReport", "StepReport", "TrainedNetwork", "TrainingPlan", "train"]

PRECISIONS = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")

_EMA_DECAY = 0.998
_VALIDATION_QUERIES = 1000
_CHECKPOINT_VERSION = 1


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides what a run learns.

    Attributes:
        objective: a key of :data:`~hashsearch.training.objectives.OBJECTIVES`.
        backbone: a key of :data:`~hashsearch.training.backbones.BACKBONES`.
        n_bits: length of the semantic code.
        fine_bits: length of the fine code; 0 trains without a fine head.
        weights: of the objective's terms, where they differ from its defaults, and
            ``fine`` for the fine head's loss; 0 trains without a term.
        epochs: over the training images.
        batch_size: images a step.
        learning_rate: the highest of the one-cycle schedule (AdamW).
        weight_decay: of AdamW.
        temperature: of the fine head's loss.
        seed: of everything random.
        device: ``auto`` takes a GPU where there is one.
        precision: of the network's arithmetic; ``auto`` times bfloat16 against float32.
    """

    objective: str = "adversarial"
    backbone: str = "small-resnet"
    n_bits: int = 48
    fine_bits: int = 64
    weights: dict[str, float] = field(default_factory=dict)
    epochs: int = 24
    batch_size: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    temperature: float = 0.15
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ArgumentError(
                f"unknown objective {self.objective!r}; known: {', '.join(OBJECTIVES)}"
            )
        if self.precision not in PRECISIONS or self.device not in DEVICES:
            raise ArgumentError(
                f"precision is one of {', '.join(PRECISIONS)}; device is one of "
                f"{', '.join(DEVICES)}"
            )
        if self.epochs < 1 or self.batch_size < 2 or self.learning_rate <= 0:
            raise ArgumentError(
                "at least 1 epoch, 2 images a batch and a learning rate above 0 are needed"
            )

    @property
    def fine_weight(self) -> float:
        """Weight of the fine head's loss."""
        return self.weights.get("fine", 1.0) if self.fine_bits else 0.0

    @property
    def objective_weights(self) -> dict[str, float]:
        """:attr:`weights` without the fine head's."""
        return {term: weight for term, weight in self.weights.items() if term != "fine"}


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
            the batch, 0.5 being chance; None where there is none.
        validation_map: mean average precision of the semantic code, tie-aware, on the
            validation images: 1,000 query the others.
        seconds: that the epoch took, validation included.
        best: whether this epoch is the best so far.
    """

    epoch: int
    terms: dict[str, float]
    adversary_accuracy: float | None
    validation_map: float
    seconds: float
    best: bool


@dataclass(frozen=True)
class TrainedNetwork:
    """The best epoch's network (moving average of its weights), on the CPU, in eval mode."""

    network: HashNetwork
    weights: dict[str, float]
    history: list[EpochReport]
    settings: dict[str, Any]

    @property
    def best(self) -> EpochReport:
        """The report of the epoch that was kept."""
        return [report for report in self.history if report.best][-1]


def train(
    plan: TrainingPlan,
    train_set: ImageSet,
    validation_set: ImageSet,
    preprocessing: Preprocessing,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainedNetwork:
    """Train from scratch, or go on from a checkpoint of the same plan and images.

    Args:
        plan: what to train.
        train_set: images to learn from.
        validation_set: images that choose the best epoch; never learnt from.
        preprocessing: of the images (their geometry is already right).
        checkpoint: file that holds the state after each epoch. Where it exists and was
            made with the same plan and images, training goes on from it.
        on_step: called after each step.
        on_epoch: called after each epoch.

    Returns:
        The network of the epoch with the highest validation mAP.

    Raises:
        TrainingError: the loss is not finite, there are too few images, or the
            checkpoint belongs to another run.
    """
    if len(train_set) < plan.batch_size:
        raise TrainingError(
            f"{len(train_set)} training images do not fill a batch of {plan.batch_size}; "
            "lower --batch-size"
        )
    run = _Run(plan, train_set, validation_set, preprocessing)
    if checkpoint and checkpoint.exists():
        run.restore(checkpoint)
        for report in run.history:
            if on_epoch:
                on_epoch(report)
    while len(run.history) < plan.epochs:
        report = run.epoch(on_step)
        if checkpoint:
            run.save(checkpoint)
        if on_epoch:
            on_epoch(report)
    return run.result()


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        plan: TrainingPlan,
        train_set: ImageSet,
        validation_set: ImageSet,
        preprocessing: Preprocessing,
    ) -> None:
        self.plan = plan
        self.identity = _identity(plan, train_set, validation_set)
        self.device = _device(plan.device)
        torch.manual_seed(plan.seed)
        if self.device.type == "cpu":
            torch.use_deterministic_algorithms(mode=True)
            # Nothing here reads memory that it has not written; filling it takes 10 % longer.
            torch.utils.deterministic.fill_uninitialized_memory = False
        self.network = HashNetwork(
            plan.backbone, preprocessing.channels, plan.n_bits, plan.fine_bits
        )
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.objective: Objective = OBJECTIVES[plan.objective](
            self.network.backbone.n_features,
            plan.n_bits,
            len(train_set.class_names),
            plan.objective_weights,
        ).to(self.device)
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(_EMA_DECAY), use_buffers=True
        )
        adversary = self.objective.adversary_parameters()
        adversary_ids = {id(parameter) for parameter in adversary}
        learners = [*self.network.parameters()] + [
            parameter
            for parameter in self.objective.parameters()
            if id(parameter) not in adversary_ids
        ]
        self.optimiser = torch.optim.AdamW(
            learners, lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self.adversary_optimiser = (
            torch.optim.Adam(adversary, lr=1e-3, betas=(0.5, 0.999)) if adversary else None
        )
        self.steps = len(train_set) // plan.batch_size
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            max_lr=plan.learning_rate,
            total_steps=self.steps * plan.epochs,
            pct_start=0.15,
        )
        self.images = torch.from_numpy(np.ascontiguousarray(train_set.pixels)).to(self.device)
        self.labels = torch.from_numpy(train_set.labels).to(self.device)
        self.validation = torch.from_numpy(np.ascontiguousarray(validation_set.pixels)).to(
            self.device
        )
        self.validation_labels = validation_set.labels
        shape = (1, preprocessing.channels, 1, 1)
        self.mean = torch.tensor(preprocessing.mean, device=self.device).reshape(shape)
        self.std = torch.tensor(preprocessing.std, device=self.device).reshape(shape)
        self.precision = plan.precision
        if self.precision == "auto":
            self.precision = self._faster_precision()
        self.history: list[EpochReport] = []
        self.best_state: dict[str, Tensor] = {}

    # --- one epoch ---------------------------------------------------------------------

    def epoch(self, on_step: Callable[[StepReport], None] | None) -> EpochReport:
        started = time.perf_counter()
        number = len(self.history) + 1
        generator = torch.Generator().manual_seed(self.plan.seed * 100_003 + number)
        order = torch.randperm(len(self.images), generator=generator)
        self.network.train()
        totals: dict[str, float] = {}
        correct = 0.0
        for step in range(self.steps):
            rows = order[step * self.plan.batch_size : (step + 1) * self.plan.batch_size]
            terms, accuracy = self._step(rows.to(self.device), generator)
            if not all(np.isfinite(value) for value in terms.values()):
                raise TrainingError(
                    f"the loss is not finite at epoch {number}, step {step + 1} ({terms}); "
                    "lower --learning-rate (the last good epoch is kept)"
                )
            for term, value in terms.items():
                totals[term] = totals.get(term, 0.0) + value / self.steps
            correct += (accuracy or 0.0) / self.steps
            if on_step:
                on_step(StepReport(number, step + 1, self.steps, terms, accuracy))
        validation_map = self._validate()
        best = validation_map > max((past.validation_map for past in self.history), default=-1.0)
        if best:
            self.best_state = {
                name: value.detach().cpu().clone()
                for name, value in self.average.module.state_dict().items()
            }
        report = EpochReport(
            epoch=number,
            terms=totals,
            adversary_accuracy=correct if accuracy is not None else None,
            validation_map=validation_map,
            seconds=time.perf_counter() - started,
            best=best,
        )
        self.history.append(report)
        return report

    def _step(
        self, rows: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, float], float | None]:
        labels = self.labels[rows]
        neighbours = labels[:, None] == labels[None, :]
        # Flipped before the views part: a mirrored item is another picture of another item.
        images = flip(self.images[rows].float() / 255, generator)
        view = erase(warp(images, generator, graded=True), generator)
        with self._autocast(self.precision):
            outputs, fine = self.network.heads(self._normalised(view))
            other = None
            if self.plan.fine_weight:
                other = self.network.fine(self._normalised(warp(images, generator)))

        accuracy = None
        adversary = self.objective.adversary(outputs.detached(), neighbours, generator)
        if adversary is not None and self.adversary_optimiser is not None:
            loss, correct = adversary
            self.adversary_optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
            self.adversary_optimiser.step()
            accuracy = float(correct)

        terms = {
            term: self.objective.weights[term] * value
            for term, value in self.objective.terms(outputs, labels, neighbours, generator).items()
        }
        if fine is not None and other is not None:
            terms["fine"] = self.plan.fine_weight * instance_discrimination(
                torch.tanh(fine), torch.tanh(other), neighbours, self.plan.temperature
            )
        self.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # as above
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(self.network)
        return {term: float(value.detach()) for term, value in terms.items()}, accuracy

    # --- parts of it -------------------------------------------------------------------

    def _normalised(self, images: Tensor) -> Tensor:
        """As :func:`hashsearch.images.normalise`, from values between 0 and 1."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def _autocast(self, precision: str) -> AbstractContextManager[Any]:
        if precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _faster_precision(self) -> str:
        """The precision whose forward and backward pass takes less time here."""
        state = {name: value.clone() for name, value in self.network.state_dict().items()}
        pixels = self._normalised(self.images[: self.plan.batch_size].float() / 255)

        def seconds(precision: str) -> float:
            times = []
            for _ in range(4):
                started = time.perf_counter()
                with self._autocast(precision):
                    outputs, _ = self.network.heads(pixels)
                outputs.semantic.sum().backward()  # type: ignore[no-untyped-call]  # as above
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - started)
            return min(times)

        faster = min(("float32", "bfloat16"), key=seconds)
        self.network.load_state_dict(state)
        self.network.zero_grad()
        return faster

    @torch.no_grad()
    def _validate(self) -> float:
        self.average.eval()
        outputs = [
            self.average(self._normalised(part.float() / 255))[0].float().cpu()
            for part in self.validation.split(500)
        ]
        codes = pack_bits(torch.cat(outputs).numpy() >= 0)
        # Every so many images of a class query the others, whatever order they came in.
        by_class = np.argsort(self.validation_labels, kind="stable")
        stride = max(len(codes) // _VALIDATION_QUERIES, 2)
        query = np.zeros(len(codes), dtype=bool)
        query[by_class[::stride]] = True
        relevant = (
            self.validation_labels[query][:, None] == self.validation_labels[~query][None, :]
        )
        return mean_average_precision(hamming_distance(codes[query], codes[~query]), relevant).value

    # --- what is kept ------------------------------------------------------------------

    def save(self, path: Path) -> None:
        state = {
            "version": _CHECKPOINT_VERSION,
            "identity": self.identity,
            "precision": self.precision,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary_optimiser": (
                self.adversary_optimiser.state_dict() if self.adversary_optimiser else {}
            ),
            "schedule": self.schedule.state_dict(),
            "history": json.dumps([asdict(report) for report in self.history]),
            "best_state": self.best_state,
        }
        temporary = path.with_name(f"{path.name}.tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:  # torch.load meets damaged files with any exception
            raise TrainingError(
                f"{path} is no checkpoint that can be read ({error}); remove it, or start over "
                "with --fresh"
            ) from error
        if state.get("version") != _CHECKPOINT_VERSION or state["identity"] != self.identity:
            raise TrainingError(
                f"{path} belongs to a run with other options or images; finish that run, or "
                "start over with --fresh"
            )
        self.precision = state["precision"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.adversary_optimiser:
            self.adversary_optimiser.load_state_dict(state["adversary_optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.history = [EpochReport(**report) for report in json.loads(state["history"])]
        self.best_state = state["best_state"]

    def result(self) -> TrainedNetwork:
        network = self.network.cpu()
        network.load_state_dict(self.best_state)
        weights = dict(self.objective.weights)
        if self.plan.fine_bits:
            weights["fine"] = self.plan.fine_weight
        return TrainedNetwork(
            network=network.eval(),
            weights=weights,
            history=self.history,
            settings={
                **{key: value for key, value in asdict(self.plan).items() if key != "weights"},
                "device": self.device.type,
                "precision": self.precision,
                "threads": torch.get_num_threads(),
                "train_images": len(self.images),
                "validation_images": len(self.validation),
            },
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("no CUDA device is available; train with --device cpu")
    return torch.device(name)


def _identity(plan: TrainingPlan, train_set: ImageSet, validation_set: ImageSet) -> str:
    """A digest of what decides the result: the plan and the images."""
    digest = hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode())
    for images in (train_set, validation_set):
        digest.update(np.ascontiguousarray(images.images))
        digest.update(images.labels)
    return digest.hexdigest()
