"""Train a hash network: one trainer for every objective.

Everything random in an epoch comes from the seed and the epoch's number, so a run that
was stopped and resumed ends where an undisturbed one does, and several processes train what one
does, but for rounding. Of a network with dropout they drop other units than one process does.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.images import normalise
from hashsearch.training import checkpoint
from hashsearch.training.batch_norm import spread_batch_norms
from hashsearch.training.feed import Reading, feed_of, readers_watched
from hashsearch.training.network import HashNetwork
from hashsearch.training.objectives import OBJECTIVES, Objective, Outputs
from hashsearch.training.objectives.instance import instance_discrimination
from hashsearch.training.processes import ALONE
from hashsearch.training.reports import EpochReport, StepReport
from hashsearch.training.validation import validation_map, validation_queries
from hashsearch.training.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hashsearch.datasets.training_set import TrainingSet
    from hashsearch.images import Preprocessing
    from hashsearch.training.feed import Batch, Feed
    from hashsearch.training.fitted.fit import Fitted
    from hashsearch.training.plan import TrainingPlan
    from hashsearch.training.processes import Processes

__all__ = ["Diverged", "TrainedNetwork", "train"]

_SAME_ITEM = NeighbourRule("same-item")
_EMA_DECAY = 0.998
_SETTLING_RATE = 0.25  # of the plan's learning rate
# By chance alone, one machine must not choose differently on two days.
_CLEAR_LEAD = 1.2
_APART = 1_000_003  # a seed from those of other processes
_READING = Reading()


@dataclass(frozen=True)
class TrainedNetwork:
    """The kept epoch's network (moving average of its weights), on the CPU, in eval mode.

    Attributes:
        network: ready to export.
        weights: of the terms of the loss.
        history: a report an epoch.
        settings: what decided the result.
        skipped: why an image could not be read, by its id.
    """

    network: HashNetwork
    weights: dict[str, float]
    history: list[EpochReport]
    settings: dict[str, Any]
    skipped: dict[str, str]

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
    train_set: TrainingSet,
    validation_set: TrainingSet,
    preprocessing: Preprocessing,
    *,
    reading: Reading = _READING,
    processes: Processes = ALONE,
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
        reading: how images are read that do not lie in memory. One that cannot be read is left
            out of its batches.
        processes: that train together; all call this, and all get the same network. One that can
            read no image of its share of a batch leaves the batch out for all.
        checkpoint_path: file that holds the state after each epoch. Where it exists and was
            made with the same plan and images, by whatever number of processes, training goes on
            from it. The first process alone reads and writes it.
        on_step: called after each step.
        on_epoch: called after each epoch.

    Returns:
        The network of the last settling epoch; without settling epochs, that of the epoch
        with the highest validation mAP.

    Raises:
        Diverged: the loss or the network is not finite.
        DatasetError: the images say nothing that the plan's neighbour rule compares.
        ArgumentError: types shall be classified, but no image has one; or the processes cannot
            share a batch evenly.
        TrainingError: there are too few images, or too few that can be read; a process that reads
            them has been killed; or the checkpoint is damaged, belongs to another run or cannot
            be written.
    """
    if len(train_set) < plan.batch_size * plan.accumulate:
        several = plan.accumulate > 1
        raise TrainingError(
            f"{len(train_set)} training images do not fill "
            f"{f'{plan.accumulate} batches' if several else 'a batch'} of {plan.batch_size}; "
            f"lower --batch-size{' or --accumulate' if several else ''}"
        )
    if plan.batch_size % processes.size:
        even = max(plan.batch_size // processes.size, 1) * processes.size
        raise ArgumentError(
            f"{processes.size} processes cannot share a batch of {plan.batch_size} evenly; take "
            f"--batch-size {even}"
        )
    with readers_watched():
        run = _Run(plan, train_set, validation_set, preprocessing, reading, processes=processes)
        if run.restore(checkpoint_path):
            for report in run.history:
                if on_epoch:
                    on_epoch(report)
        elif plan.precision == "auto":
            run.precision = processes.of_all(run.faster_precision())[0]
        while len(run.history) < plan.total_epochs:
            report = run.epoch(on_step)
            if checkpoint_path and processes.is_first:
                run.save(checkpoint_path)
            if on_epoch:
                on_epoch(report)
        return run.result()


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        plan: TrainingPlan,
        train_set: TrainingSet,
        validation_set: TrainingSet,
        preprocessing: Preprocessing,
        reading: Reading,
        *,
        processes: Processes,
    ) -> None:
        self.plan = plan
        self.processes = processes
        self.preprocessing = preprocessing
        self.weights = plan.all_weights
        self.digests = train_set.digests
        self.device = _device(plan.device, processes)
        self.rule = plan.rule
        self.facts, self.validation_facts = train_set.facts, validation_set.facts
        self.rule.check(self.facts, "the set of training images")
        names = train_set.class_names
        if self.rule.name == "shared-attributes":
            names = train_set.attribute_names
        elif not names and self.weights.get("classification"):
            raise ArgumentError(
                "no training image has a type to classify; train with --without classification"
            )
        n_classes = max(len(names), 1)  # a layer of no outputs cannot be made
        self.queries = validation_queries(self.validation_facts, self.rule)
        torch.manual_seed(plan.seed)
        if self.device.type == "cpu":
            torch.use_deterministic_algorithms(mode=True)
            # Nothing here reads memory that it has not written; filling it takes 10 % longer.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch's stub lacks it
        with processes.one_before_others():  # it may download weights
            self.network = HashNetwork(
                plan.backbone,
                preprocessing.channels,
                plan.n_bits,
                plan.fine_bits,
                lambda n_features: OBJECTIVES[plan.objective].semantic_head(
                    n_features, plan.n_bits, n_classes
                ),
                image_size=preprocessing.size,
                backbone_weights=plan.backbone_weights,
            )
        # Of a file of weights not where it lies, but what is in it.
        self.plan_record = plan.to_record() | self.network.backbone.weights_record
        self.identity = _identity(self.plan_record, train_set, validation_set, preprocessing)
        if len(set(processes.of_all(self.identity))) > 1:
            raise TrainingError(
                "the processes of this training were given different options or images; give all "
                "of them the same files, times of change included"
            )
        self.objective: Objective = OBJECTIVES[plan.objective](
            self.network.backbone.n_features,
            plan.n_bits,
            n_classes,
            plan.objective_weights,
            plan.constants,
        )
        processes.equalise(self.network, self.objective)
        self.objective.to(self.device)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        # Copied first: what is validated and exported has torch's own layers.
        self.average = AveragedModel(self.network, avg_fn=_moving_average, use_buffers=True)
        spread_batch_norms(self.network, processes)
        adversary = self.objective.adversary_parameters()
        adversary_ids = {id(parameter) for parameter in adversary}
        self.beside = [
            parameter
            for parameter in self.objective.parameters()
            if id(parameter) not in adversary_ids
        ]
        groups = self._groups([*self.network.parameters(), *self.beside])
        self.rates = [rate for rate, _ in groups]
        self.optimiser = torch.optim.AdamW(
            [{"params": parameters} for _, parameters in groups],
            lr=plan.learning_rate,
            weight_decay=plan.weight_decay,
        )
        self.adversary_optimiser = (
            torch.optim.Adam(adversary, lr=self.objective.adversary_rate, betas=(0.5, 0.999))
            if adversary
            else None
        )
        self.steps = len(train_set) // (plan.batch_size * plan.accumulate)
        self.schedule = self._one_cycle(plan.learning_rate, plan.epochs)
        self.skipped: dict[str, str] = {}
        self.images, self.validation = self._feeds(train_set, validation_set, reading)
        self.views = Views(preprocessing, self.device)
        self.precision = plan.precision
        self.history: list[EpochReport] = []
        self.best_state: dict[str, Tensor] = {}

    def _groups(self, learners: list[nn.Parameter]) -> list[tuple[float, list[nn.Parameter]]]:
        """Parameters that learn at one rate, and that rate over the plan's."""
        if self.plan.backbone_rate == 1:
            return [(1.0, learners)]
        backbone = [*self.network.backbone.parameters()]
        ids = {id(parameter) for parameter in backbone}
        others = [parameter for parameter in learners if id(parameter) not in ids]
        return [(1.0, others), (self.plan.backbone_rate, backbone)]

    def _feeds(
        self, train_set: TrainingSet, validation_set: TrainingSet, reading: Reading
    ) -> tuple[Feed, Feed]:
        """What gives the pixels of both sets; the memory for those that are held is shared."""
        side = self.preprocessing.size
        image = (self.preprocessing.channels, side, side)
        reading = replace(reading, held_bytes=reading.held_bytes // self.processes.local_size)
        left = reading.held_bytes - len(train_set) * self.preprocessing.channels * side**2
        rest = replace(reading, held_bytes=left) if left >= 0 else reading
        of = partial(feed_of, skipped=self.skipped, processes=self.processes)
        return (
            of(train_set, image, self.device, reading),
            of(validation_set, image, torch.device("cpu"), rest),
        )

    # --- one epoch ---------------------------------------------------------------------

    def epoch(self, on_step: Callable[[StepReport], None] | None) -> EpochReport:
        started = time.perf_counter()
        number = len(self.history) + 1
        if number == self.plan.epochs + 1:
            self._settle()
        self.objective.start_epoch(number, self.plan.total_epochs, settling=self.settling)
        generator = torch.Generator().manual_seed(self.plan.seed * 100_003 + number)
        # Of dropout, which takes no generator; each process shall drop others.
        torch.manual_seed(generator.initial_seed() + _APART * self.processes.rank)
        order = self._order(generator)
        self.network.train()
        frozen = number <= self.plan.freeze_epochs
        self.network.backbone.requires_grad_(not frozen)
        if frozen:
            self.network.backbone.eval()
        totals: dict[str, float] = {}
        accuracies: list[float] = []
        done = 0
        size = self.plan.batch_size
        own = self.processes.share(size)
        batches = self.images.batches(
            [
                order[size * k : size * (k + 1)][own]
                for k in range(self.steps * self.plan.accumulate)
            ]
        )
        for step in range(self.steps):
            terms, accuracy = self._step(itertools.islice(batches, self.plan.accumulate), generator)
            if not terms:
                continue  # nothing of it could be read
            done += 1
            if not all(np.isfinite(value) for value in terms.values()):
                told = ", ".join(f"{term} {value:.4g}" for term, value in terms.items())
                raise self._diverged(
                    f"the loss is not finite at epoch {number}, step {step + 1} ({told})"
                )
            for term, value in terms.items():
                totals[term] = totals.get(term, 0.0) + value / self.steps
            if accuracy is not None:
                accuracies.append(accuracy)
            if on_step:
                on_step(StepReport(number, step + 1, self.steps, terms, accuracy))
        self._tell_skipped()
        if not done:
            raise TrainingError(
                f"of no batch can two images be read ({next(iter(self.skipped.values()))}); mend "
                "the files"
            )
        if done < self.steps:
            totals = {term: total * self.steps / done for term, total in totals.items()}
        rows, outputs = self._validation_outputs()
        # A finite loss can have a gradient that is not; after the last step no loss tells.
        learnt = (*self.network.parameters(), *self.objective.parameters(), *outputs)
        if not all(bool(torch.isfinite(values).all()) for values in learnt):
            raise self._diverged(
                f"the network is not finite after epoch {number}, step {self.steps}"
            )
        figure = validation_map(
            outputs[0].numpy() >= 0,
            self.validation_facts[rows],
            self.queries[rows],
            self.rule,
        )
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
        self, batches: Iterator[Batch], generator: torch.Generator
    ) -> tuple[dict[str, float], float | None]:
        """Learn from these batches; no terms where none of them has two images."""
        self.optimiser.zero_grad()
        told = []
        for batch in batches:
            counts = self.processes.counts(len(batch.rows))
            if sum(counts) > 1 and min(counts) > 0:
                told.append(self._backward(batch, counts, generator))
        if not told:
            return {}, None
        self.processes.sum_gradients(self.network.parameters())
        self.processes.average_gradients(self.beside)
        if len(told) < self.plan.accumulate:
            # Some batch could not be read: the mean is of those that could.
            for group in self.optimiser.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad *= self.plan.accumulate / len(told)
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(self.network)
        names = {term: None for terms, _ in told for term in terms}
        means = {term: sum(terms.get(term, 0.0) for terms, _ in told) / len(told) for term in names}
        accuracies = [accuracy for _, accuracy in told if accuracy is not None]
        return means, sum(accuracies) / len(accuracies) if accuracies else None

    def _backward(
        self, batch: Batch, counts: Sequence[int], generator: torch.Generator
    ) -> tuple[dict[str, float], float | None]:
        """Gradients of one batch; the adversary takes its step.

        Args:
            batch: images of this process.
            counts: how many each process has.
            generator: in the same state in all.
        """
        rows = self.processes.gather(torch.from_numpy(batch.rows), counts).numpy()
        labels, neighbours = self._truth(rows)
        before = sum(counts[: self.processes.rank])
        pixels = self.views.of(batch.pixels, generator, among=(before, len(rows)))
        with self._autocast(self.precision):
            outputs, fines = self.network.heads(pixels)
        outputs, fines = self._of_all(outputs, fines, counts)
        labels, neighbours = torch.cat([labels, labels]), neighbours.tile(2, 2)

        accuracy = None
        adversary = self.objective.adversary(outputs.detached(), neighbours, generator)
        if adversary is not None and self.adversary_optimiser is not None:
            loss, correct = adversary
            if loss.requires_grad:
                self.adversary_optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
                self.processes.average_gradients(self.objective.adversary_parameters())
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
                fine, other, neighbours[:n, :n], self.plan.temperature, self._alike(rows)
            )
        loss = torch.stack(list(terms.values())).sum() / self.plan.accumulate
        loss.backward()  # type: ignore[no-untyped-call]  # as above
        return {term: float(value.detach()) for term, value in terms.items()}, accuracy

    # --- parts of it -------------------------------------------------------------------

    def _of_all(
        self, outputs: Outputs, fines: Tensor | None, counts: Sequence[int]
    ) -> tuple[Outputs, Tensor | None]:
        """What the network says of the whole batch, of what it says of each process's images."""
        if self.processes.size == 1:
            return outputs, fines

        def whole(part: Tensor) -> Tensor:
            # One view of each image, then another one of each.
            by_image = part.reshape(2, -1, *part.shape[1:]).transpose(0, 1)
            return self.processes.gather(by_image, counts).transpose(0, 1).flatten(0, 1)

        pixels = outputs.pixels if self.objective.sees_pixels else None
        return (
            Outputs(
                whole(outputs.semantic),
                whole(outputs.features),
                None if pixels is None else whole(pixels),
            ),
            None if fines is None else whole(fines),
        )

    def _tell_skipped(self) -> None:
        """Let all processes know which images each of them could not read."""
        for skipped in self.processes.of_all(dict(self.skipped)):
            self.skipped.update(skipped)

    def _order(self, generator: torch.Generator) -> npt.NDArray[np.int64]:
        """The order in which an epoch shows the images: ``int64 (n,)``.

        Where articles make neighbours, the photos of one stand side by side: at random, hardly a
        batch would hold two of one among thousands.
        """
        order = torch.randperm(len(self.facts), generator=generator).numpy()
        if self.rule.name != "same-item":
            return order
        _, article = np.unique(self.facts.items, return_inverse=True)
        place = torch.randperm(int(article.max()) + 1, generator=generator).numpy()
        return order[np.argsort(place[article[order]], kind="stable")]

    def _truth(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Labels of the images at these rows, and who is whose neighbour, as objectives take it."""
        facts = self.facts[rows]
        several = self.rule.name == "shared-attributes"
        labels = facts.attributes.astype(np.float32) if several else facts.types
        # Two views of an image are neighbours, even if it has too few attributes for others.
        neighbours = self.rule.relevance(facts, facts) | np.eye(len(rows), dtype=bool)
        return (
            torch.from_numpy(labels).to(self.device),
            torch.from_numpy(neighbours).to(self.device),
        )

    def _alike(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Which of the images at these rows show the same article: bool ``(n, n)``."""
        facts = self.facts[rows]
        return torch.from_numpy(_SAME_ITEM.relevance(facts, facts)).to(self.device)

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
            self.optimiser,
            max_lr=[highest * rate for rate in self.rates],
            total_steps=self.steps * epochs,
            pct_start=0.15,
        )

    def _autocast(self, precision: str) -> AbstractContextManager[Any]:
        if precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def faster_precision(self) -> str:
        """bfloat16 where a forward and backward pass is clearly faster with it, else float32."""
        state = {name: value.clone() for name, value in self.network.state_dict().items()}
        side = self.preprocessing.size
        n = self.plan.batch_size // self.processes.size
        shape = (n, self.preprocessing.channels, side, side)
        pixels = self.views.normalised(torch.zeros(shape, device=self.device))

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
    def _validation_outputs(self) -> tuple[npt.NDArray[np.int64], tuple[Tensor, ...]]:
        """What the averaged network says about the validation images that can be read.

        Returns:
            Their rows, ``int64 (n,)``, and a tensor a head, on the CPU.

        Raises:
            TrainingError: none can be read.
        """
        self.average.eval()
        own = []
        for batch in self.validation.all(self.processes):
            if len(batch.rows):
                pixels = torch.from_numpy(normalise(batch.pixels.numpy(), self.preprocessing))
                pixels = pixels.to(self.device, memory_format=torch.channels_last)
                own.append((batch.rows, [heads.float().cpu() for heads in self.average(pixels)]))
        parts = [part for share in self.processes.of_all(own) for part in share]
        self._tell_skipped()
        if not parts:
            raise TrainingError(
                f"no validation image can be read ({next(iter(self.skipped.values()))}); mend the "
                "files"
            )
        rows, outputs = zip(*parts, strict=True)
        return np.concatenate(rows), tuple(torch.cat(heads) for heads in zip(*outputs, strict=True))

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
            "skipped": json.dumps(self.skipped),
        }
        checkpoint.write(path, state)

    def restore(self, path: Path | None) -> bool:
        """Go on from a checkpoint, where there is one."""
        state = self.processes.of_first(
            lambda: checkpoint.read(path, self.identity) if path and path.exists() else None
        )
        if state is None:
            return False
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
        # In place: the feeds write there.
        self.skipped.update(json.loads(state.get("skipped", "{}")))
        return True

    def _diverged(self, what: str) -> Diverged:
        mend = "lower --learning-rate"
        if not self.history:
            return Diverged(f"{what}; {mend}", None)
        return Diverged(f"{what}; {mend}, and start over with --fresh", self.result())

    def result(self) -> TrainedNetwork:
        network = cast("HashNetwork", self.average.module).cpu()
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
                **({"processes": self.processes.size} if self.processes.size > 1 else {}),
                "train_images": len(self.facts),
                "validation_images": len(self.validation_facts),
                **{f"train_{name}": value for name, value in self.digests.items()},
                **({"skipped_images": len(self.skipped)} if self.skipped else {}),
            },
            skipped=self.skipped,
        )


def _moving_average(average: Tensor, value: Tensor, updates: Tensor | int) -> Tensor:
    """Exponential, but quick to forget at first, when the weights are still random."""
    if not average.is_floating_point():
        return value
    decay = min(_EMA_DECAY, (1 + int(updates)) / (10 + int(updates)))
    return average.lerp(value, 1 - decay)


def _device(name: str, processes: Processes) -> torch.device:
    """Where this process trains: each of a machine has a GPU of its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("no CUDA device is available; train with --device cpu")
    if name == "cpu" or processes.size == 1:
        return torch.device(name)
    if processes.local_size > torch.cuda.device_count():
        raise TrainingError(
            f"{processes.local_size} processes need as many GPUs, and this machine has "
            f"{torch.cuda.device_count()}; start fewer with --nproc-per-node, or train with "
            "--device cpu"
        )
    torch.cuda.set_device(processes.local_rank)
    return torch.device(name, processes.local_rank)


def _identity(
    plan_record: dict[str, Any],
    train_set: TrainingSet,
    validation_set: TrainingSet,
    preprocessing: Preprocessing,
) -> str:
    """A digest of what decides the result: the plan, the images and how they are fed."""
    decisions = {"plan": plan_record, "preprocessing": preprocessing.to_record()}
    digest = hashlib.sha256(json.dumps(decisions, sort_keys=True).encode())
    for images in (train_set, validation_set):
        for content in images.contents():
            digest.update(content)
    return digest.hexdigest()
