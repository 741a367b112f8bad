"""Suites: many training runs under one roof, each measured by a protocol and recorded once.

A suite is a TOML file that names objectives, bits, seeds and protocols. Every
combination is a run, and every run is one JSON file at a path made of its parameters; so
a suite can be stopped, taken up again, and shared among machines.
:mod:`hashsearch.bench.suite_run` runs them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashsearch.bench.evaluation import EVALUATION
from hashsearch.bench.protocols import PROTOCOLS
from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.errors import ArgumentError, SuiteError
from hashsearch.training.fitted import FITTED
from hashsearch.training.objectives import OBJECTIVES
from hashsearch.training.plan import plan_for, plan_for_photos
from hashsearch.training.run import RECIPE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashsearch.training.plan import Plan

__all__ = [
    "BASELINES",
    "FORMAT",
    "FORMAT_VERSION",
    "PIXEL_SAD",
    "JudgedFile",
    "PhotoData",
    "Run",
    "Suite",
    "load_suite",
    "make_suite",
    "read_runs",
]

FORMAT = "hashsearch-run"
FORMAT_VERSION = 2

BASELINES = ("dch", "classifier-bits")
"""The systems that all others are tested against, unless a suite names others."""

PIXEL_SAD = "pixel-sad"
"""The system that learns nothing and hashes nothing: it compares pixels."""

_LISTS = {"objectives": str, "bits": int, "seeds": int, "protocols": str}
_KNOWN = ("title", "text", "order", "radius", "baselines", "plan", "runs", "pairs")
_OF_PHOTOS = {"source": str, "columns": dict, "neighbours": str, "image_size": int}


@dataclass(frozen=True)
class PhotoData:
    """The photos that a suite trains on and measures, in the place of Fashion-MNIST.

    Attributes:
        path: a folder, a catalogue file, or the files of a data set.
        source: what it is, see :func:`hashsearch.datasets.sources.open_source`; None: what it
            looks like.
        columns: of a catalogue file, by their role.
        neighbours: who is a neighbour of whom where codes are measured, and, unless a plan says
            otherwise, where they are learnt.
        image_size: pixels a side that a network sees; None: what suits the backbone.

    Raises:
        ArgumentError: a rule that no facts of an image tell, or a size below 1.
    """

    path: Path
    source: str | None = None
    columns: Mapping[str, str] | None = None
    neighbours: str = "same-type"
    image_size: int | None = None

    def __post_init__(self) -> None:
        self.rule.check_factual()
        if self.image_size is not None and self.image_size < 1:
            raise ArgumentError(f"image_size must be from 1 pixel up, not {self.image_size}")

    @property
    def name(self) -> str:
        """What records and paths call it."""
        return self.source or self.path.name

    @property
    def rule(self) -> NeighbourRule:
        """Who is a neighbour of whom."""
        return NeighbourRule.parse(self.neighbours)

    @property
    def decisions(self) -> dict[str, Any]:
        """What of it decides the figures; where the files lie does not."""
        return {
            "name": self.name,
            "columns": dict(self.columns or {}),
            "neighbours": str(self.rule),
            "image_size": self.image_size,
        }


@dataclass(frozen=True)
class JudgedFile:
    """A file of judged pairs, for the protocol ``pairs``.

    Attributes:
        path: where it lies.
        sha256: of what stands in it.
    """

    path: Path
    sha256: str


@dataclass(frozen=True)
class Run:
    """One system, trained once and measured by one protocol.

    Attributes:
        system: what the report calls it: the objective, or a variant of it.
        protocol: a key of :data:`~hashsearch.bench.protocols.PROTOCOLS`.
        seed: of training, and of whatever the protocol draws.
        plan: how it is trained; None for :data:`PIXEL_SAD`.
        radius: of the ball, in bits.
        photos: what is trained on and measured; None: Fashion-MNIST.
        pairs: the file of judged pairs; None unless the protocol asks for one.
    """

    system: str
    protocol: str
    seed: int
    plan: Plan | None
    radius: int
    photos: PhotoData | None = None
    pairs: JudgedFile | None = None

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
            **self._of_data,
        }
        if self.pairs is not None:
            decisions["pairs"] = self.pairs.sha256
        text = json.dumps(decisions, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def training(self) -> str:
        """What decides a training on given images; runs that share it share the training."""
        decisions = {
            "recipe": RECIPE,
            "part": PROTOCOLS[self.protocol].training,
            "plan": self.settings,
            **self._of_data,
        }
        return json.dumps(decisions, sort_keys=True)

    @property
    def _of_data(self) -> dict[str, Any]:
        # Runs on Fashion-MNIST were recorded before there was other data.
        return {} if self.photos is None else {"data": self.photos.decisions}

    @property
    def rule(self) -> NeighbourRule:
        """Who is a neighbour of whom where codes are measured."""
        rule = PROTOCOLS[self.protocol].neighbours
        if rule is None and self.photos is not None:
            return self.photos.rule
        return rule or NeighbourRule()

    @property
    def path(self) -> Path:
        """Of its record, within the folder of the records."""
        protocol, *rest = self.place.parts
        backbone = "pixels" if self.plan is None else _slug(self.plan.backbone)
        data = [] if self.photos is None else [_slug(self.photos.name)]
        name = f"{self.place.name}-{self.digest}.json"
        return Path(*data, protocol, backbone, *rest).with_name(name)

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
        photos: what is trained on and measured; None: Fashion-MNIST.
    """

    name: str
    title: str
    text: str
    runs: tuple[Run, ...]
    baselines: tuple[str, ...] = BASELINES
    order: int = 0
    photos: PhotoData | None = None

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
    try:
        return _parsed(path, content)
    except ArgumentError as error:
        raise SuiteError(f"{path}: {error}") from error


def _parsed(path: Path, content: dict[str, Any]) -> Suite:
    """The suite that a file holds.

    Raises:
        ArgumentError: what is wrong with it.
    """
    _check_heads(content)
    photos = _photo_data(content, path.parent)
    pairs = _judged_file(path.parent / content["pairs"]) if "pairs" in content else None
    radius, baselines = content.get("radius", 2), content.get("baselines", list(BASELINES))
    runs: list[Run] = []
    for number, entry in enumerate(content["runs"], 1):
        try:
            runs += _runs_of(entry, content.get("plan", {}), radius, photos, pairs)
        except (ArgumentError, TypeError) as error:  # noqa: PERF203 - the message names the entry
            raise ArgumentError(f"[[runs]] number {number}: {error}") from error
    if pairs is not None and not any(run.pairs for run in runs):
        raise ArgumentError("no run is of the protocol pairs; leave pairs out, or add it")
    chosen = _once(runs)
    systems = {run.system for run in chosen}
    if "baselines" in content and (unknown := set(baselines) - systems):
        raise ArgumentError(
            f"no run is of the baseline {', '.join(sorted(unknown))}; name one of "
            f"{', '.join(sorted(systems))}"
        )
    (place, plans), *_ = Counter(run.place for run in chosen).most_common(1)
    if plans > 1:
        raise ArgumentError(
            f"two plans for {place}; give one of them a name of its own with system"
        )
    return Suite(
        path.stem,
        str(content.get("title", path.stem)),
        str(content.get("text", "")).strip(),
        chosen,
        tuple(baselines),
        content.get("order", 0),
        photos,
    )


def _check_heads(content: Mapping[str, Any]) -> None:
    """Refuse what stands above the runs if it is unknown or of another kind than it must be."""
    unknown = set(content) - {*_KNOWN, "data", *_OF_PHOTOS}
    if unknown or not isinstance(content.get("runs"), list) or not content["runs"]:
        what = f"does not know {', '.join(sorted(unknown))}" if unknown else "has no [[runs]]"
        raise ArgumentError(f"a suite has {', '.join((*_KNOWN, 'data'))}; this one {what}")
    radius, order = content.get("radius", 2), content.get("order", 0)
    if type(radius) is not int or radius < 0:
        raise ArgumentError(f"radius must be a whole number from 0 up, not {radius!r}")
    if type(order) is not int:
        raise ArgumentError(f"order must be a whole number, not {order!r}")
    baselines, pairs = content.get("baselines", []), content.get("pairs", "")
    if not isinstance(baselines, list) or any(type(name) is not str for name in baselines):
        raise ArgumentError(f"baselines must be a list of names, not {baselines!r}")
    if type(pairs) is not str:
        raise ArgumentError(f"pairs must be the name of a file, not {pairs!r}")


def _photo_data(content: Mapping[str, Any], folder: Path) -> PhotoData | None:
    """What a suite says of its data."""
    data = content.get("data")
    told = {name: content[name] for name in _OF_PHOTOS if name in content}
    if data is None:
        if told:
            raise ArgumentError(f"{', '.join(told)}: of no meaning without data; say data = PATH")
        return None
    for name, value in {"data": data, **told}.items():
        if type(value) is not _OF_PHOTOS.get(name, str):
            raise ArgumentError(f"{name} cannot be {value!r}; see what a suite says of its data")
    if any(type(name) is not str for name in told.get("columns", {}).values()):
        raise ArgumentError(f"columns are names by role, not {told['columns']!r}")
    return PhotoData(folder / data, **told)


def _judged_file(path: Path) -> JudgedFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read ({error.strerror}); name a CSV file") from error
    return JudgedFile(path, hashlib.sha256(content).hexdigest())


def make_suite(
    objectives: Sequence[str],
    *,
    bits: Sequence[int],
    seeds: Sequence[int],
    protocols: Sequence[str],
    radius: int = 2,
    photos: PhotoData | None = None,
    pairs: Path | None = None,
) -> Suite:
    """A suite of the defaults of each objective, without a file.

    Args:
        objectives: names that ``hashsearch train --objective`` takes, or :data:`PIXEL_SAD`.
        bits: lengths of the semantic code.
        seeds: of training.
        protocols: keys of :data:`~hashsearch.bench.protocols.PROTOCOLS`.
        radius: of the ball, in bits.
        photos: what to train on and measure; None: Fashion-MNIST.
        pairs: file of judged pairs, for the protocol that is of them.

    Raises:
        ArgumentError: a file that cannot be read; a name that does not exist, or that has no
            meaning for the data.
    """
    entry = {"objectives": objectives, "bits": bits, "seeds": seeds, "protocols": protocols}
    lists = {name: list(values) for name, values in entry.items()}
    judged = None if pairs is None else _judged_file(pairs)
    runs = _once(_runs_of(lists, {}, radius, photos, judged))
    return Suite("objectives", "Objectives", "", runs, photos=photos)


def _runs_of(
    entry: dict[str, Any],
    plan: dict[str, Any],
    radius: int,
    photos: PhotoData | None,
    pairs: JudgedFile | None,
) -> list[Run]:
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
        _check_protocol(name, photos, pairs)
    if "system" in entry and len(lists["objectives"]) > 1:
        raise ArgumentError("a system of a name of its own is of one objective; name one")
    runs = []
    for objective, n_bits, seed, protocol in itertools.product(*lists.values()):
        system = str(entry.get("system", objective))
        judged = pairs if protocol == "pairs" else None
        if objective == PIXEL_SAD:
            if photos is not None or judged is not None:
                raise ArgumentError(
                    f"{PIXEL_SAD} compares small grey images of one size, and has no ball; leave "
                    "it out of photos and of pairs"
                )
            # Nothing is drawn or trained but what the protocol draws; bits mean nothing.
            runs.append(Run(system, protocol, seed, None, radius))
            continue
        if objective not in (known := [*OBJECTIVES, *FITTED]):
            listed = ", ".join([*known, PIXEL_SAD])
            raise ArgumentError(f"unknown objective {objective!r}; known: {listed}")
        # What a suite says of every run is of the one trainer; others are told run by run.
        settings = {**(plan if objective in OBJECTIVES else {}), **entry.get("plan", {})}
        made: Plan
        if photos is None:
            made = plan_for(objective, n_bits=n_bits, seed=seed, **settings)
        else:
            if objective in OBJECTIVES:
                settings.setdefault("neighbours", photos.neighbours)
            made = plan_for_photos(objective, n_bits=n_bits, seed=seed, **settings)
        runs.append(Run(system, protocol, seed, made, radius, photos, judged))
    return runs


def _check_protocol(name: str, photos: PhotoData | None, pairs: JudgedFile | None) -> None:
    """Refuse a protocol that is unknown, of other data, or lacks its file."""
    data = "fashion-mnist" if photos is None else "catalogue"
    known = [other for other, protocol in PROTOCOLS.items() if protocol.data == data]
    if name not in known:
        what = "no protocol of this data:" if name in PROTOCOLS else "unknown protocol"
        raise ArgumentError(f"{what} {name!r}; known: {', '.join(known)}")
    if name == "pairs" and pairs is None:
        raise ArgumentError(
            "the protocol pairs needs a file of them: --pairs FILE, or pairs = FILE in a suite"
        )


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
