"""Run what a suite lists and is not recorded yet."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hashsearch.bench.evaluation import EVALUATION
from hashsearch.bench.machine import describe_machine
from hashsearch.bench.suite import FORMAT, FORMAT_VERSION, read_runs
from hashsearch.datasets.cache import cache_folder
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.files import write_atomically
from hashsearch.training.export import now
from hashsearch.training.run import RECIPE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hashsearch.bench.scale import Progress
    from hashsearch.bench.suite import Run, Suite
    from hashsearch.bench.suite_data import SuiteData
    from hashsearch.training.plan import Plan

__all__ = ["run_suite"]


def run_suite(
    suite: Suite,
    folder: Path,
    data: SuiteData,
    *,
    progress: Progress,
    on_run: Callable[[Run, dict[str, Any]], None] | None = None,
) -> dict[Run, dict[str, Any]]:
    """Run what is not recorded yet.

    Runs of one plan that are trained on the same images share one training: its encoder
    stays in the cache folder, and a training that was stopped goes on from its last epoch.

    Args:
        suite: what to run.
        folder: of the records.
        data: what to train on and measure.
        progress: told which run it is at.
        on_run: called with each run that is done now, and its record.

    Returns:
        The record of every run.

    Raises:
        LeakError: a run would measure on images that it trained on.
        ArgumentError: an objective cannot do with the bits or types of a run, or a protocol is
            not one of the data.
        DatasetError: the data lacks what a run compares.
        TrainingError: some trainings cannot go on; all others are recorded.
        SuiteError: a record is damaged.
    """
    records = read_runs(suite, folder)
    missing = [run for run in suite.runs if run not in records]
    for run in missing:
        try:
            data.check(run)  # now, and not after the trainings before it
        except ArgumentError as error:  # noqa: PERF203 - the message names the run
            raise ArgumentError(f"{run.path.with_suffix('')}: {error}") from error
    failed = []
    for number, run in enumerate(missing, 1):
        name = f"run {number} of {len(missing)}: {run.path.with_suffix('')}"
        progress(name, 0, 0)
        # Another process may have run it since.
        there = read_runs(replace(suite, runs=(run,)), folder)
        if not there:
            try:
                there = {run: _record(data, run, partial(progress, name))}
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


def _record(data: SuiteData, run: Run, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Train and measure a run."""
    measure = data.measuring(run)
    training: dict[str, Any] = {}
    encoder = None
    if run.plan is not None:
        path = _cached(data, run, run.plan)
        encoder, facts = _trained(data, run, run.plan, path, progress)
        training = {
            **encoder.record.training,
            **facts,
            "weights": encoder.record.weights,
            "figures": encoder.record.figures,
            "fingerprint": encoder.fingerprint,
            "cached_as": path.name,
        }
    measured = measure(encoder)
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "created": now(),
        "recipe": RECIPE,
        "evaluation": EVALUATION,
        "machine": describe_machine(),
        "dataset": data.name,
        "system": run.system,
        "protocol": run.protocol,
        "neighbours": str(run.rule),
        "seed": run.seed,
        "plan": run.settings,
        "queries_sha256": hashlib.sha256("\n".join(measured.query_ids).encode()).hexdigest(),
        "training": training,
        "result": measured.result,
    }


def _trained(
    data: SuiteData, run: Run, plan: Plan, path: Path, progress: Callable[[int, int], None]
) -> tuple[Encoder, dict[str, Any]]:
    """The encoder, trained now or before, and what is known of that besides its record."""
    beside = path.with_suffix(".json")
    if not path.is_file():
        unfinished = path.with_name(f"unfinished-{path.name}")
        trained = data.train(
            run,
            plan,
            unfinished,
            lambda step: progress(
                (step.epoch - 1) * step.steps + step.step, plan.total_epochs * step.steps
            ),
        )
        facts = {"machine": describe_machine(), "differing_bits": trained.differing_bits}
        # Whoever finds the encoder finds the facts.
        write_atomically(beside, json.dumps(facts).encode())
        unfinished.replace(path)
    return Encoder.load(path), json.loads(beside.read_text(encoding="utf-8"))


def _cached(data: SuiteData, run: Run, plan: Plan) -> Path:
    """Where the encoder of a run lies, once it is trained."""
    digest = data.contents(run)
    digest.update(f"{data.name}\n{run.training}".encode())
    return cache_folder() / "encoders" / f"{plan.objective}-{digest.hexdigest()[:16]}.onnx"
