"""Train a hash network: one trainer for every objective.

Everything random in an epoch comes from the seed and the epoch's number, so a run that
was stopped and resumed ends where an undisturbed one does.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hashsearch.errors import TrainingError
from hashsearch.images import normalise
from hashsearch.training import checkpoint
from hashsearch.training.augment import erase, flip, warp
from hashsearch.training.network import HashNetwork
from hashsearch.training.objectives import OBJECTIVES, Objective
from hashsearch.training.objectives.instance import instance_discrimination
from hashsearch.training.reports import EpochReport, StepReport
from hashsearch.training.validation import validation_map, validation_queries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.images import Preprocessing
    from hashsearch.training.fitted.fit import Fitted
    from hashsearch.training.plan import TrainingPlan

__all__ = ["Diverged", "TrainedNetwork", "train"]

_EMA_DECAY = 0.998
_SETTLING_RATE = 0.25  # of the plan's learning rate
# By chance alone, one machine must not choose differently on two days.
_CLEAR_LEAD = 1.2


@dataclass(frozen=True)
class TrainedNetwork:
    """The kept epoch's network (moving average of its weights), on the CPU, in eval mode."""

    network: HashNetwork
    weights: dict[str, float]
    history: list[EpochReport]
    settings: dict[str, Any]

    @property
    def best(self) -> EpochReport:
        """The report of the epoch that was kept."""
        return [report for report in self.history if report.best][-1]


class Diverged(TrainingError):
    """A training or a fit whose loss or network is not finite.

    Attributes:
        kept: what it would have returned after the last good epoch; None if it had none.
    """

    def __init__(self, message: str, kept: TrainedNetwork | Fitted | None) -> None:
        super().__init__(message)
        self.kept = kept


def train(
    plan: TrainingPlan,
    train_set: ImageSet,
    validation_set: ImageSet,
    preprocessing: Preprocessing,
    *,
    checkpoint_path: Path | None = None,
    on_step: Callable[[StepReport], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainedNetwork:
    """Train from scratch, or go on from a checkpoint of the same plan and images.

    Args:
        plan: what to train.
        train_set: images to learn from.
        validation_set: images that choose the best epoch; never learnt from.
        preprocessing: of the images (their geometry is already right).
        checkpoint_path: file that holds the state after each epoch. Where it exists and was
            made with the same plan and images, training goes on from it.
        on_step: called after each step.
        on_epoch: called after each epoch.

    Returns:
        The network of the last settling epoch; without settling epochs, that of the epoch
        with the highest validation mAP.

    Raises:
        Diverged: the loss or the network is not finite.
        TrainingError: there are too few images, or the checkpoint is damaged, belongs to
            another run or cannot be written.
    """
    if len(train_set) < plan.batch_size:
        raise TrainingError(
            f"{len(train_set)} training images do not fill a batch of {plan.batch_size}; "
            "lower --batch-size"
        )
    run = _Run(plan, train_set, validation_set, preprocessing)
    if checkpoint_path and checkpoint_path.exists():
        run.restore(checkpoint_path)
        for report in run.history:
            if on_epoch:
                on_epoch(report)
    elif plan.precision == "auto":
        run.precision = run.faster_precision()
    while len(run.history) < plan.total_epochs:
        report = run.epoch(on_step)
        if checkpoint_path:
            run.save(checkpoint_path)
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
        self.weights = plan.all_weights
        self.train_images_sha256 = hashlib.sha256(train_set.images.tobytes()).hexdigest()
        self.device = _device(plan.device)
        self.queries = validation_queries(validation_set.labels)
        torch.manual_seed(plan.seed)
        if self.device.type == "cpu":
            torch.use_deterministic_algorithms(mode=True)
            # Nothing here reads memory that it has not written; filling it takes 10 % longer.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch's stub lacks it
        self.network = HashNetwork(
            plan.backbone,
            preprocessing.channels,
            plan.n_bits,
            plan.fine_bits,
            lambda n_features: OBJECTIVES[plan.objective].semantic_head(
                n_features, plan.n_bits, len(train_set.class_names)
            ),
            image_size=preprocessing.size,
            backbone_weights=plan.backbone_weights,
        )
        # Of a file of weights not where it lies, but what is in it.
        self.plan_record = plan.to_record() | self.network.backbone.weights_record
        self.identity = _identity(self.plan_record, train_set, validation_set, preprocessing)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.objective: Objective = OBJECTIVES[plan.objective](
            self.network.backbone.n_features,
            plan.n_bits,
            len(train_set.class_names),
            plan.objective_weights,
            plan.constants,
        ).to(self.device)
        self.average = AveragedModel(self.network, avg_fn=_moving_average, use_buffers=True)
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
            torch.optim.Adam(adversary, lr=self.objective.adversary_rate, betas=(0.5, 0.999))
            if adversary
            else None
        )
        self.steps = len(train_set) // plan.batch_size
        self.schedule = self._one_cycle(plan.learning_rate, plan.epochs)
        # Copied: an array read from a file may be read-only, which no tensor can be.
        self.images = torch.tensor(train_set.pixels, device=self.device)
        self.labels = torch.tensor(train_set.labels, device=self.device)
        self.validation = torch.from_numpy(normalise(validation_set.pixels, preprocessing)).to(
            self.device
        )
        self.validation_labels = validation_set.labels
        shape = (1, preprocessing.channels, 1, 1)
        self.mean = torch.tensor(preprocessing.mean, device=self.device).reshape(shape)
        self.std = torch.tensor(preprocessing.std, device=self.device).reshape(shape)
        self.precision = plan.precision
        self.history: list[EpochReport] = []
        self.best_state: dict[str, Tensor] = {}

    # --- one epoch ---------------------------------------------------------------------

    def epoch(self, on_step: Callable[[StepReport], None] | None) -> EpochReport:
        started = time.perf_counter()
        number = len(self.history) + 1
        if number == self.plan.epochs + 1:
            self._settle()
        self.objective.start_epoch(number, self.plan.total_epochs, settling=self.settling)
        generator = torch.Generator().manual_seed(self.plan.seed * 100_003 + number)
        torch.manual_seed(generator.initial_seed())  # of dropout, which takes no generator
        order = torch.randperm(len(self.images), generator=generator)
        self.network.train()
        totals: dict[str, float] = {}
        accuracies: list[float] = []
        for step in range(self.steps):
            rows = order[step * self.plan.batch_size : (step + 1) * self.plan.batch_size]
            terms, accuracy = self._step(rows.to(self.device), generator)
            if not all(np.isfinite(value) for value in terms.values()):
                raise self._diverged(
                    f"the loss is not finite at epoch {number}, step {step + 1} ({terms})"
                )
            for term, value in terms.items():
                totals[term] = totals.get(term, 0.0) + value / self.steps
            if accuracy is not None:
                accuracies.append(accuracy)
            if on_step:
                on_step(StepReport(number, step + 1, self.steps, terms, accuracy))
        outputs = self._validation_outputs()
        # A finite loss can have a gradient that is not; after the last step no loss tells.
        learnt = (*self.network.parameters(), *self.objective.parameters(), *outputs)
        if not all(bool(torch.isfinite(values).all()) for values in learnt):
            raise self._diverged(f"the network is not finite after epoch {number}")
        figure = validation_map(outputs[0].cpu().numpy() >= 0, self.validation_labels, self.queries)
        best = self.settling or figure > max(
            (past.validation_map for past in self.history), default=-1.0
        )
        if best:
            self.best_state = {
                name: value.detach().cpu().clone()
                for name, value in self.average.module.state_dict().items()
            }
        report = EpochReport(
            epoch=number,
            terms=totals,
            adversary_accuracy=float(np.mean(accuracies)) if accuracies else None,
            validation_map=figure,
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
        view = self._normalised(erase(warp(images, generator, graded=True), generator))
        other_view = self._normalised(warp(images, generator))
        with self._autocast(self.precision):
            outputs, fines = self.network.heads(torch.cat([view, other_view]))
        labels, neighbours = labels.repeat(2), neighbours.tile(2, 2)

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
        if fines is not None:
            fine, other = torch.tanh(fines).chunk(2)
            n = len(rows)
            terms["fine"] = self.weights["fine"] * instance_discrimination(
                fine, other, neighbours[:n, :n], self.plan.temperature
            )
        self.optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # as above
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(self.network)
        return {term: float(value.detach()) for term, value in terms.items()}, accuracy

    # --- parts of it -------------------------------------------------------------------

    @property
    def settling(self) -> bool:
        """Whether the epoch that runs, or runs next, is a settling one."""
        return len(self.history) >= self.plan.epochs

    def _settle(self) -> None:
        self.schedule = self._one_cycle(
            _SETTLING_RATE * self.plan.learning_rate, self.plan.settle_epochs
        )

    def _one_cycle(self, highest: float, epochs: int) -> torch.optim.lr_scheduler.OneCycleLR:
        return torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=highest, total_steps=self.steps * epochs, pct_start=0.15
        )

    def _normalised(self, images: Tensor) -> Tensor:
        """As :func:`hashsearch.images.normalise`, of views that are no bytes any more."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def _autocast(self, precision: str) -> AbstractContextManager[Any]:
        if precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def faster_precision(self) -> str:
        """bfloat16 where a forward and backward pass is clearly faster with it, else float32."""
        state = {name: value.clone() for name, value in self.network.state_dict().items()}
        pixels = self._normalised(self.images[: self.plan.batch_size].float() / 255)

        seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        for _ in range(4):
            # In turns, so that whatever else the machine does hits both.
            for precision, times in seconds.items():
                started = time.perf_counter()
                with self._autocast(precision):
                    outputs, _ = self.network.heads(pixels)
                outputs.semantic.sum().backward()  # type: ignore[no-untyped-call]  # as above
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - started)
        self.network.load_state_dict(state)
        self.network.zero_grad()
        clearly = _CLEAR_LEAD * min(seconds["bfloat16"]) < min(seconds["float32"])
        return "bfloat16" if clearly else "float32"

    @torch.no_grad()
    def _validation_outputs(self) -> tuple[Tensor, ...]:
        """What the averaged network says about the validation images, one tensor a head."""
        self.average.eval()
        parts = [
            self.average(part.contiguous(memory_format=torch.channels_last))
            for part in torch.split(self.validation, 500)
        ]
        return tuple(torch.cat(outputs).float() for outputs in zip(*parts, strict=True))

    # --- what is kept ------------------------------------------------------------------

    def save(self, path: Path) -> None:
        state = {
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
        checkpoint.write(path, state)

    def restore(self, path: Path) -> None:
        state = checkpoint.read(path, self.identity, self.device)
        self.history = [EpochReport(**report) for report in json.loads(state["history"])]
        if len(self.history) > self.plan.epochs:
            self._settle()
        self.precision = state["precision"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.adversary_optimiser:
            self.adversary_optimiser.load_state_dict(state["adversary_optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.best_state = state["best_state"]

    def _diverged(self, what: str) -> Diverged:
        mend = "lower --learning-rate"
        if not self.history:
            return Diverged(f"{what}; {mend}", None)
        return Diverged(f"{what}; {mend}, and start over with --fresh", self.result())

    def result(self) -> TrainedNetwork:
        network = self.network.cpu()
        network.load_state_dict(self.best_state)
        return TrainedNetwork(
            network=network.eval(),
            weights=self.weights,
            history=self.history,
            settings={
                **{key: value for key, value in self.plan_record.items() if key != "weights"},
                "device": self.device.type,
                "precision": self.precision,
                "threads": torch.get_num_threads(),
                "train_images": len(self.images),
                "validation_images": len(self.validation),
                "train_images_sha256": self.train_images_sha256,
            },
        )


def _moving_average(average: Tensor, value: Tensor, updates: Tensor | int) -> Tensor:
    """Exponential, but quick to forget at first, when the weights are still random."""
    if not average.is_floating_point():
        return value
    decay = min(_EMA_DECAY, (1 + int(updates)) / (10 + int(updates)))
    return average.lerp(value, 1 - decay)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("no CUDA device is available; train with --device cpu")
    return torch.device(name)


def _identity(
    plan_record: dict[str, Any],
    train_set: ImageSet,
    validation_set: ImageSet,
    preprocessing: Preprocessing,
) -> str:
    """A digest of what decides the result: the plan, the images and how they are fed."""
    decisions = {"plan": plan_record, "preprocessing": preprocessing.to_record()}
    digest = hashlib.sha256(json.dumps(decisions, sort_keys=True).encode())
    for images in (train_set, validation_set):
        digest.update(images.images.tobytes())
        digest.update(images.labels.tobytes())
    return digest.hexdigest()
