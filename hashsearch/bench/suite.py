"""Suites: many training runs under one roof, each measured by a protocol and recorded once.

A suite is a TOML file that names objectives, bits, seeds and protocols. Every
combination is a run, and every run is one JSON file at a path made of its parameters; so
a suite can be stopped, taken up again, and shared among machines.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashsearch.bench.evaluation import EVALUATION, evaluate_encoder, evaluate_pixel_sad
from hashsearch.bench.machine import describe_machine
from hashsearch.bench.protocols import PROTOCOLS, check_no_leak, make_task
from hashsearch.datasets.cache import cache_folder
from hashsearch.datasets.parts import TRAINING_PARTS, type_count
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError, LeakError, SuiteError, TrainingError
from hashsearch.files import write_atomically
from hashsearch.training.export import now
from hashsearch.training.objectives import OBJECTIVES
from hashsearch.training.plan import TrainingPlan, plan_for
from hashsearch.training.run import RECIPE, train_encoder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hashsearch.bench.scale import Progress
    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.training.plan import Plan

__all__ = [
    "BASELINES",
    "PIXEL_SAD",
    "Run",
    "Suite",
    "load_suite",
    "make_suite",
    "read_runs",
    "run_suite",
]

FORMAT = "hashsearch-run"
FORMAT_VERSION = 2

BASELINES = ("dch", "classifier-bits")
"""The systems that all others are tested against, unless a suite names others."""

PIXEL_SAD = "pixel-sad"
"""The system that learns nothing and hashes nothing: it compares pixels."""

_LISTS = {"objectives": str, "bits": int, "seeds": int, "protocols": str}


@dataclass(frozen=True)
class Run:
    """One system, trained once and measured by one protocol.

    Attributes:
        system: what the report calls it: the objective, or a variant of it.
        protocol: a key of :data:`~hashsearch.bench.protocols.PROTOCOLS`.
        seed: of training, and of whatever the protocol draws.
        plan: how it is trained; None for :data:`PIXEL_SAD`.
        radius: of the ball, in bits.
    """

    system: str
    protocol: str
    seed: int
    plan: Plan | None
    radius: int

    def __hash__(self) -> int:
        # A plan has a dict, which has no hash of its own.
        return hash(self.path)

    @cached_property
    def settings(self) -> dict[str, Any] | None:
        """What the plan decides, without where on this machine a file of weights lies."""
        if self.plan is None:
            return None
        settings = self.plan.to_record()
        weights = Path(settings.get("backbone_weights", ""))
        if weights.is_file():
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            settings["backbone_weights"] = f"{weights.name}, SHA-256 {digest}"
        return settings

    @cached_property
    def digest(self) -> str:
        """Of what decides the figures; a run whose plan or recipe has changed is another one."""
        decisions = {
            "recipe": RECIPE,
            "evaluation": EVALUATION,
            "protocol": self.protocol,
            "seed": self.seed,
            "radius": self.radius,
            "plan": self.settings,
        }
        text = json.dumps(decisions, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def training(self) -> str:
        """What decides a training on given images; runs that share it share the training."""
        decisions = {
            "recipe": RECIPE,
            "part": PROTOCOLS[self.protocol].training,
            "plan": self.settings,
        }
        return json.dumps(decisions, sort_keys=True)

    @property
    def path(self) -> Path:
        """Of its record, within the folder of the records."""
        protocol, *rest = self.place.parts
        backbone = "pixels" if self.plan is None else _slug(self.plan.backbone)
        return Path(protocol, backbone, *rest).with_name(f"{self.place.name}-{self.digest}.json")

    @property
    def place(self) -> Path:
        """What the report tells runs apart by."""
        code = "pixels" if self.plan is None else f"{self.plan.n_bits}+{self.plan.fine_bits}"
        return Path(self.protocol) / _slug(self.system) / code / f"seed-{self.seed}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclass(frozen=True)
class Suite:
    """What belongs together in a report.

    Attributes:
        name: of its file.
        title: a heading.
        text: what it is for, a paragraph.
        runs: without repetition.
        baselines: the systems that the report tests all others against.
        order: its place in the report; of those in one place, the order is that of names.
    """

    name: str
    title: str
    text: str
    runs: tuple[Run, ...]
    baselines: tuple[str, ...] = BASELINES
    order: int = 0

    def share(self, number: int, machines: int) -> Suite:
        """What one of several machines runs, so that each training is one machine's alone.

        Args:
            number: of the machine, from 1.
            machines: how many there are.

        Raises:
            ArgumentError: no machine has this number.
        """
        if not 1 <= number <= machines:
            raise ArgumentError(
                f"share {number} of {machines}: there is no such machine; number them from 1"
            )
        trainings = list(dict.fromkeys(run.training for run in self.runs))
        mine = set(trainings[number - 1 :: machines])
        return replace(self, runs=tuple(run for run in self.runs if run.training in mine))


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Args:
        path: a TOML file; ``benchmarks/METHOD.md`` says what stands in it.

    Raises:
        SuiteError: it cannot be read, names what does not exist, or has two runs that
            the report could not tell apart.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SuiteError(f"{path}: no such file; name the .toml file of a suite") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SuiteError(f"{path} cannot be read as TOML ({error}); mend that line") from error
    known = ("title", "text", "order", "radius", "baselines", "plan", "runs")
    unknown = set(content) - set(known)
    if unknown or not isinstance(content.get("runs"), list) or not content["runs"]:
        what = f"does not know {', '.join(sorted(unknown))}" if unknown else "has no [[runs]]"
        raise SuiteError(f"{path}: a suite has {', '.join(known)}; this one {what}")
    radius, baselines = content.get("radius", 2), content.get("baselines", list(BASELINES))
    if type(radius) is not int or radius < 0:
        raise SuiteError(f"{path}: radius must be a whole number from 0 up, not {radius!r}")
    order = content.get("order", 0)
    if type(order) is not int:
        raise SuiteError(f"{path}: order must be a whole number, not {order!r}")
    if not isinstance(baselines, list) or any(type(name) is not str for name in baselines):
        raise SuiteError(f"{path}: baselines must be a list of names, not {baselines!r}")
    runs: list[Run] = []
    for number, entry in enumerate(content["runs"], 1):
        try:
            runs += _runs_of(entry, content.get("plan", {}), radius)
        except (ArgumentError, TypeError) as error:  # noqa: PERF203 - the message names the entry
            raise SuiteError(f"{path}, [[runs]] number {number}: {error}") from error
    chosen = _once(runs)
    systems = {run.system for run in chosen}
    if "baselines" in content and (unknown := set(baselines) - systems):
        raise SuiteError(
            f"{path}: no run is of the baseline {', '.join(sorted(unknown))}; name one of "
            f"{', '.join(sorted(systems))}"
        )
    (place, plans), *_ = Counter(run.place for run in chosen).most_common(1)
    if plans > 1:
        raise SuiteError(
            f"{path}: two plans for {place}; give one of them a name of its own with system"
        )
    return Suite(
        path.stem,
        str(content.get("title", path.stem)),
        str(content.get("text", "")).strip(),
        chosen,
        tuple(baselines),
        order,
    )


def make_suite(
    objectives: Sequence[str],
    *,
    bits: Sequence[int],
    seeds: Sequence[int],
    protocols: Sequence[str],
    radius: int = 2,
) -> Suite:
    """A suite of the defaults of each objective, without a file.

    Args:
        objectives: names that ``hashsearch train --objective`` takes, or :data:`PIXEL_SAD`.
        bits: lengths of the semantic code.
        seeds: of training.
        protocols: keys of :data:`~hashsearch.bench.protocols.PROTOCOLS`.
        radius: of the ball, in bits.

    Raises:
        ArgumentError: a name that does not exist.
    """
    entry = {"objectives": objectives, "bits": bits, "seeds": seeds, "protocols": protocols}
    lists = {name: list(values) for name, values in entry.items()}
    return Suite("objectives", "Objectives", "", _once(_runs_of(lists, {}, radius)))


def _runs_of(entry: dict[str, Any], plan: dict[str, Any], radius: int) -> list[Run]:
    unknown = set(entry) - {*_LISTS, "system", "plan"}
    if unknown:
        raise ArgumentError(
            f"unknown: {', '.join(sorted(unknown))}; known: system, {', '.join(_LISTS)}, plan"
        )
    lists = {}
    for name, kind in _LISTS.items():
        values = entry.get(name)
        if not isinstance(values, list) or not values or any(type(v) is not kind for v in values):
            what = "names" if kind is str else "whole numbers"
            given = f", not {values!r}" if name in entry else "; it is missing"
            raise ArgumentError(f"{name} must be a list of {what}{given}")
        lists[name] = values
    for name in lists["protocols"]:
        if name not in PROTOCOLS:
            raise ArgumentError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    if "system" in entry and len(lists["objectives"]) > 1:
        raise ArgumentError("a system of a name of its own is of one objective; name one")
    runs = []
    for objective, n_bits, seed, protocol in itertools.product(*lists.values()):
        system = str(entry.get("system", objective))
        if objective == PIXEL_SAD:
            # Nothing is drawn or trained but what the protocol draws; bits mean nothing.
            runs.append(Run(system, protocol, seed, None, radius))
            continue
        # What a suite says of every run is of the one trainer; others are told run by run.
        settings = {**(plan if objective in OBJECTIVES else {}), **entry.get("plan", {})}
        made = plan_for(objective, n_bits=n_bits, seed=seed, **settings)
        runs.append(Run(system, protocol, seed, made, radius))
    return runs


def _once(runs: Sequence[Run]) -> tuple[Run, ...]:
    return tuple({run.path: run for run in runs}.values())


def read_runs(suite: Suite, folder: Path) -> dict[Run, dict[str, Any]]:
    """The records of a suite's runs, those that are there.

    Args:
        suite: whose runs.
        folder: of the records.

    Raises:
        SuiteError: a record is damaged.
    """
    found = {}
    for run in suite.runs:
        path = folder / run.path
        if not path.is_file():
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT or record["version"] != FORMAT_VERSION:
                raise ValueError(f"format {record['format']} {record['version']}")
            record["result"], record["training"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SuiteError(
                f"{path} is no whole record of a run ({error}); delete it and run the suite again"
            ) from error
        found[run] = record
    return found


def run_suite(
    suite: Suite,
    folder: Path,
    *,
    train: ImageSet,
    test: ImageSet,
    dataset: str,
    progress: Progress,
    on_run: Callable[[Run, dict[str, Any]], None] | None = None,
) -> dict[Run, dict[str, Any]]:
    """Run what is not recorded yet.

    Runs of one plan that are trained on the same images share one training: its encoder
    stays in the cache folder, and a training that was stopped goes on from its last epoch.

    Args:
        suite: what to run.
        folder: of the records.
        train: the whole training split.
        test: the test split.
        dataset: their name, for the records.
        progress: told which run it is at.
        on_run: called with each run that is done now, and its record.

    Returns:
        The record of every run.

    Raises:
        LeakError: a run would measure on images that it trained on.
        ArgumentError: an objective cannot do with the bits or types of a run.
        TrainingError: some trainings cannot go on; all others are recorded.
        SuiteError: a record is damaged.
    """
    records = read_runs(suite, folder)
    missing = [run for run in suite.runs if run not in records]
    for run in missing:
        _check_types(run, train.class_names)
    bench = _SuiteBench(train, test, dataset)
    failed = []
    for number, run in enumerate(missing, 1):
        name = f"run {number} of {len(missing)}: {run.path.with_suffix('')}"
        progress(name, 0, 0)
        # Another process may have run it since.
        there = read_runs(replace(suite, runs=(run,)), folder)
        if not there:
            try:
                there = {run: bench.record(run, partial(progress, name))}
            except TrainingError as error:
                failed.append(f"{run.path.with_suffix('')}: {error}")
                continue
            text = json.dumps(there[run], allow_nan=False) + "\n"
            write_atomically(folder / run.path, text.encode())
        records.update(there)
        if on_run:
            on_run(run, records[run])
    if failed:
        raise TrainingError(
            f"{'; '.join(failed)} (a suite says learning_rate in its [plan], or in that of the run)"
        )
    return {run: records[run] for run in suite.runs}


def _check_types(run: Run, class_names: Sequence[str]) -> None:
    """Now, and not after the trainings before it."""
    if isinstance(run.plan, TrainingPlan):
        try:
            run.plan.check_types(type_count(PROTOCOLS[run.protocol].training, class_names))
        except ArgumentError as error:
            raise ArgumentError(f"{run.path.with_suffix('')}: {error}") from error


class _SuiteBench:
    """Trains and measures the runs of a suite on one data set."""

    def __init__(self, train: ImageSet, test: ImageSet, dataset: str) -> None:
        self.train = train
        self.test = test
        self.dataset = dataset
        self.train_sha256 = hashlib.sha256(train.images.tobytes() + train.labels.tobytes())
        # A part is a copy of most of the images: no more than one is held.
        self._part = lru_cache(maxsize=1)(lambda part, seed: TRAINING_PARTS[part](train, seed=seed))

    def record(self, run: Run, progress: Callable[[int, int], None]) -> dict[str, Any]:
        protocol = PROTOCOLS[run.protocol]
        task = make_task(protocol, self.train, self.test, seed=run.seed)
        training: dict[str, Any] = {}
        if run.plan is None:
            result = evaluate_pixel_sad(task)
        else:
            train_set, validation_set = self._part(protocol.training, run.seed)
            check_no_leak(task, {*train_set.ids, *validation_set.ids})
            encoder, facts = self._encoder(run, run.plan, progress)
            trained_on = encoder.record.training["train_images_sha256"]
            if trained_on != hashlib.sha256(train_set.images.tobytes()).hexdigest():
                raise LeakError(
                    f"{encoder.name} was trained on other images than {run.protocol} says; "
                    "delete it and run the suite again"
                )
            result = evaluate_encoder(task, encoder, radius=run.radius)
            record = encoder.record
            training = {
                **record.training,
                **facts,
                "weights": record.weights,
                "figures": record.figures,
                "fingerprint": encoder.fingerprint,
                "cached_as": self._cached(run, run.plan).name,
            }
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "created": now(),
            "recipe": RECIPE,
            "evaluation": EVALUATION,
            "machine": describe_machine(),
            "dataset": self.dataset,
            "system": run.system,
            "protocol": run.protocol,
            "neighbours": protocol.neighbours,
            "seed": run.seed,
            "plan": run.settings,
            "queries_sha256": hashlib.sha256("\n".join(task.query_ids).encode()).hexdigest(),
            "training": training,
            "result": result,
        }

    def _encoder(
        self, run: Run, plan: Plan, progress: Callable[[int, int], None]
    ) -> tuple[Encoder, dict[str, Any]]:
        """Trained now or before, and what is known of that training besides its record."""
        path = self._cached(run, plan)
        beside = path.with_suffix(".json")
        if not path.is_file():
            unfinished = path.with_name(f"unfinished-{path.name}")
            trained = train_encoder(
                plan,
                self.train,
                unfinished,
                dataset=self.dataset,
                part=PROTOCOLS[run.protocol].training,
                on_step=lambda step: progress(
                    (step.epoch - 1) * step.steps + step.step, plan.total_epochs * step.steps
                ),
            )
            facts = {"machine": describe_machine(), "differing_bits": trained.differing_bits}
            # Whoever finds the encoder finds the facts.
            write_atomically(beside, json.dumps(facts).encode())
            unfinished.replace(path)
        return Encoder.load(path), json.loads(beside.read_text(encoding="utf-8"))

    def _cached(self, run: Run, plan: Plan) -> Path:
        """Where the encoder of a run lies, once it is trained."""
        digest = self.train_sha256.copy()
        digest.update(f"{self.dataset}\n{run.training}".encode())
        return cache_folder() / "encoders" / f"{plan.objective}-{digest.hexdigest()[:16]}.onnx"
