"""What a suite trains on and measures: Fashion-MNIST, or the photos of a catalogue."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hashsearch.bench.catalogue import measure_catalogue, part_catalogue
from hashsearch.bench.evaluation import evaluate_encoder, evaluate_pixel_sad
from hashsearch.bench.protocols import PROTOCOLS, Task, check_no_leak
from hashsearch.bench.splits import held_out, same_item
from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.neighbours import facts_of
from hashsearch.datasets.pairs import read_pairs
from hashsearch.datasets.parts import TRAINING_PARTS, type_count, unseen_type_names
from hashsearch.datasets.photo_set import photo_parts, photo_preprocessing, set_aside
from hashsearch.datasets.sources import open_source
from hashsearch.errors import ArgumentError, DatasetError, ImageError, LeakError
from hashsearch.gallery.build import build
from hashsearch.gallery.stamps import content_stamp
from hashsearch.gallery.threads import usable_cores
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.run import default_image_size, train_encoder, train_on_photos

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hashsearch.bench.protocols import Protocol
    from hashsearch.bench.suite import PhotoData, Run
    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.datasets.item import Item
    from hashsearch.datasets.photo_set import PhotoParts
    from hashsearch.encoder import Encoder
    from hashsearch.training.plan import Plan
    from hashsearch.training.reports import StepReport
    from hashsearch.training.run import Trained

__all__ = ["FashionMnist", "Measured", "Photos", "SuiteData", "make_task"]

_SET_ASIDE, _MOST_ASIDE = 0.2, 20_000  # of a catalogue without a split, to be measured


@dataclass(frozen=True)
class Measured:
    """What a run measured.

    Attributes:
        result: ready for JSON.
        query_ids: who searched.
    """

    result: dict[str, Any]
    query_ids: Sequence[str]


class SuiteData(ABC):
    """What the runs of a suite train on and measure.

    Attributes:
        name: for the records.
    """

    name: str

    @abstractmethod
    def check(self, run: Run) -> None:
        """Refuse, before anything is trained, what a run cannot be trained on or measured by.

        Raises:
            ArgumentError: its objective cannot do with the bits or types, or its protocol is
                not one of the data.
            DatasetError: the data lacks what the run compares.
        """

    @abstractmethod
    def contents(self, run: Run) -> hashlib._Hash:
        """A digest, to go on with, of the images that a run learns from, and of their facts."""

    @abstractmethod
    def train(
        self, run: Run, plan: Plan, out: Path, on_step: Callable[[StepReport], None]
    ) -> Trained:
        """Train the encoder of a run, or go on with it."""

    @abstractmethod
    def measuring(self, run: Run) -> Callable[[Encoder | None], Measured]:
        """How a run is measured, once it is trained.

        Args:
            run: which one.

        Returns:
            A function of the encoder that :meth:`train` made; of None for a run without a plan.
            It raises LeakError where the encoder was trained on other images than the run says.

        Raises:
            LeakError: the run would measure on images that it trains on.
        """


class FashionMnist(SuiteData):
    """The two splits of Fashion-MNIST, in memory.

    Args:
        train: the whole training split, later :attr:`train_split`.
        test: the test split, later :attr:`test_split`.
        name: for the records.
    """

    def __init__(self, train: ImageSet, test: ImageSet, name: str = "fashion-mnist") -> None:
        self.name, self.train_split, self.test_split = name, train, test
        self._digest = hashlib.sha256(train.images.tobytes() + train.labels.tobytes())
        # A part is a copy of most of the images: no more than one is held.
        self._part = lru_cache(maxsize=1)(lambda part, seed: TRAINING_PARTS[part](train, seed=seed))

    def check(self, run: Run) -> None:
        """See :meth:`SuiteData.check`."""
        if isinstance(run.plan, TrainingPlan):
            names = self.train_split.class_names
            n_classes = type_count(PROTOCOLS[run.protocol].training, names)
            if run.plan.rule.name == "shared-attributes":
                n_classes = len(self.train_split.attribute_names)
            run.plan.check_types(n_classes)
        if run.pairs is not None:
            read_pairs(run.pairs.path, self.test_split.ids)

    def contents(self, run: Run) -> hashlib._Hash:
        """See :meth:`SuiteData.contents`."""
        del run
        return self._digest.copy()

    def train(
        self, run: Run, plan: Plan, out: Path, on_step: Callable[[StepReport], None]
    ) -> Trained:
        """See :meth:`SuiteData.train`."""
        part = PROTOCOLS[run.protocol].training
        return train_encoder(
            plan, self.train_split, out, dataset=self.name, part=part, on_step=on_step
        )

    def measuring(self, run: Run) -> Callable[[Encoder | None], Measured]:
        """See :meth:`SuiteData.measuring`."""
        protocol = PROTOCOLS[run.protocol]
        judged = None if run.pairs is None else run.pairs.path
        task = make_task(protocol, self.train_split, self.test_split, seed=run.seed, pairs=judged)
        ids = task.queries.ids
        if run.plan is None:
            return lambda _: Measured(evaluate_pixel_sad(task), ids)
        train_set, validation_set = self._part(protocol.training, run.seed)
        check_no_leak(protocol, ids, task.gallery.ids, {*train_set.ids, *validation_set.ids})
        _check_no_copies(task, [train_set, validation_set])

        def measure(encoder: Encoder | None) -> Measured:
            assert encoder is not None  # noqa: S101 - a run with a plan has one
            _check_trained_on(encoder, run, train_set.digests)
            return Measured(evaluate_encoder(task, encoder, radius=run.radius), ids)

        return measure


def make_task(
    protocol: Protocol,
    train: ImageSet,
    test: ImageSet,
    *,
    seed: int = 0,
    pairs: Path | None = None,
) -> Task:
    """The queries and the gallery of a protocol of Fashion-MNIST.

    Args:
        protocol: which one.
        train: the whole training split; looked at where it is what is searched.
        test: the test split.
        seed: of the run; it chooses the unseen types. Queries are the same for all.
        pairs: file of judged pairs of test images, for the protocol that is of them.

    Raises:
        ArgumentError: it is, and there is no file.
        DatasetError: see :func:`hashsearch.datasets.pairs.read_pairs`.
    """
    rule = protocol.neighbours
    if rule is None:
        raise ArgumentError(f"{protocol.name} is no protocol of Fashion-MNIST")
    if rule.name == "pairs":
        if pairs is None:
            raise ArgumentError(f"the protocol {protocol.name} needs a file of judged pairs")
        judged = read_pairs(pairs, test.ids)
        asked = test.subset(np.unique(judged.queries))
        return Task(protocol, rule, asked, test, pairs=judged)
    if rule.name == "same-item":
        found = same_item(test.images)
        views = replace(test.subset(found.items), images=found.views)
        return Task(protocol, rule, views, test, found.items)
    if protocol.searched == "unseen types":
        test = test.of_types(unseen_type_names(test.class_names, seed=seed))
    split = held_out(test.labels)
    gallery = train if protocol.searched == "train" else test.subset(split.gallery)
    return Task(protocol, rule, test.subset(split.queries), gallery)


class Photos(SuiteData):
    """The photos of a catalogue.

    By the data set's own split where it has one. Else a fifth of each type, whole articles, is set
    aside and measured, always the same, and the rest is learnt from.

    Attributes:
        learnt: of which a part trains, see :func:`~hashsearch.datasets.photo_set.photo_parts`.
        measured: of which some search others, see
            :func:`~hashsearch.bench.catalogue.part_catalogue`.

    Args:
        photos: where they are, and what counts as found.
        on_notes: called with what whoever gave them should know.

    Raises:
        DatasetMissing, DatasetError, ExtraMissing: see
            :func:`hashsearch.datasets.sources.open_source`; or the photos lack what the rule
            compares.
    """

    def __init__(
        self, photos: PhotoData, on_notes: Callable[[Catalogue], None] | None = None
    ) -> None:
        catalogue = open_source(photos.path, kind=photos.source, columns=photos.columns)
        if on_notes is not None:
            on_notes(catalogue)
        self.name, self._photos = catalogue.name, photos
        self.learnt = self.measured = catalogue
        if not catalogue.has_splits:
            self.learnt, self.measured = _parted(catalogue, photos)
        items = self.measured.items
        facts = facts_of(items, sorted({item.label for item in items if item.label}))
        self._by_chance = part_catalogue(items, facts)
        self._parts = lru_cache(maxsize=1)(self._training_parts)
        self._contents: dict[str, int | None] = {}

    @property
    def protocol(self) -> str:
        """The protocol that its split allows."""
        return self._by_chance.protocol.name

    def check(self, run: Run) -> None:
        """See :meth:`SuiteData.check`."""
        if run.protocol != self.protocol:
            raise ArgumentError(
                f"{self.name} cannot be measured by {run.protocol}; what it says of its split "
                f"allows {self.protocol}"
            )
        plan = self._plan(run)
        parts = self._parts(plan.neighbours, self._size(run))
        names = parts.train.class_names
        if plan.rule.name == "shared-attributes":
            names = parts.train.attribute_names
        plan.check_types(len(names))

    def contents(self, run: Run) -> hashlib._Hash:
        """See :meth:`SuiteData.contents`."""
        parts = self._parts(self._plan(run).neighbours, self._size(run))
        digest = hashlib.sha256()
        for part in (parts.train, parts.validation):
            for content in part.contents():
                digest.update(content)
        return digest

    def train(
        self, run: Run, plan: Plan, out: Path, on_step: Callable[[StepReport], None]
    ) -> Trained:
        """See :meth:`SuiteData.train`."""
        del plan
        return train_on_photos(
            self._plan(run), self.learnt, out, image_size=self._size(run), on_step=on_step
        )

    def measuring(self, run: Run) -> Callable[[Encoder | None], Measured]:
        """See :meth:`SuiteData.measuring`."""
        parts = self._parts(self._plan(run).neighbours, self._size(run))
        trained_on = {*parts.train.ids, *parts.validation.ids}
        asked, searched = self._ids("queries"), self._ids("gallery")
        check_no_leak(PROTOCOLS[run.protocol], asked, searched, trained_on)
        # Whoever cannot be read is missing; that changes nothing for the others.
        part_of = {**dict.fromkeys(searched, "gallery"), **dict.fromkeys(asked, "query")}
        items = [
            replace(item, split=part_of[item.id])
            for item in self.measured.items
            if item.id in part_of
        ]

        def measure(encoder: Encoder | None) -> Measured:
            assert encoder is not None  # noqa: S101 - no run on photos is without a plan
            _check_trained_on(encoder, run, parts.train.digests)
            built = build(items, encoder, thumbnails=False)
            result = measure_catalogue(
                built.gallery, Catalogue(self.name, items), self._photos.rule, radius=run.radius
            )
            more = {
                "protocol": run.protocol,
                "unreadable": len(built.skipped),
                "copies": self._copies(items, [*parts.train.items, *parts.validation.items]),
            }
            return Measured({**result, **more}, asked)

        return measure

    def _copies(self, measured: Sequence[Item], trained: Sequence[Item]) -> int:
        """How many of the items measured have the very content of one that trained."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            known = {*pool.map(self._content, trained)} - {None}
            return sum(content in known for content in pool.map(self._content, measured))

    def _content(self, item: Item) -> int | None:
        """A digest of its image; None where it cannot be read."""
        if item.id not in self._contents:  # read once, however many runs there are
            try:
                self._contents[item.id] = content_stamp(item)[0]
            except ImageError:
                self._contents[item.id] = None
        return self._contents[item.id]

    def _ids(self, part: str) -> list[str]:
        places = getattr(self._by_chance, part).tolist()
        return [self.measured.items[place].id for place in places]

    def _plan(self, run: Run) -> TrainingPlan:
        if not isinstance(run.plan, TrainingPlan):
            raise ArgumentError(f"{run.system} cannot be trained on photos; leave it out")
        return run.plan

    def _size(self, run: Run) -> int:
        return self._photos.image_size or default_image_size(self._plan(run).backbone)

    def _training_parts(self, neighbours: str, size: int) -> PhotoParts:
        rule = replace(self._photos, neighbours=neighbours).rule
        return photo_parts(self.learnt, rule, photo_preprocessing(size))


def _parted(catalogue: Catalogue, photos: PhotoData) -> tuple[Catalogue, Catalogue]:
    """What is learnt from, and what is set aside, of a catalogue without a split."""
    items: Sequence[Item] = catalogue.items
    names = sorted({item.label for item in items if item.label})
    attributes = sorted({name for item in items for name in item.attributes})
    facts = facts_of(items, names, attributes)
    photos.rule.check(facts, catalogue.name)
    aside = set_aside(facts, photos.rule, catalogue.name, share=_SET_ASIDE, most=_MOST_ASIDE)
    if not aside.any():
        raise DatasetError(
            f"{catalogue.name} has too few items to set some aside; give more of each type"
        )
    learnt = [item for item, away in zip(items, aside.tolist(), strict=True) if not away]
    measured = [item for item, away in zip(items, aside.tolist(), strict=True) if away]
    return replace(catalogue, items=learnt), replace(catalogue, items=measured)


def _check_no_copies(task: Task, trained: Sequence[ImageSet]) -> None:
    """Refuse images that trained under another id; Fashion-MNIST has none in both splits.

    Raises:
        LeakError: a query or, where the protocol does not allow it, a gallery image is one.
    """
    known = {image.tobytes() for images in trained for image in images.images}
    parts = {"queries": task.queries}
    if not task.protocol.gallery_was_trained_on:
        parts["gallery images"] = task.gallery
    for what, images in parts.items():
        copies = [
            name
            for name, image in zip(images.ids, images.images, strict=True)
            if image.tobytes() in known
        ]
        if copies:
            raise LeakError(
                f"{len(copies)} of {len(images)} {what} of {task.protocol.name} are copies of "
                f"images that train ({copies[0]} is one); name the folder of the data set itself "
                "with --data-dir"
            )


def _check_trained_on(encoder: Encoder, run: Run, digests: dict[str, str]) -> None:
    """An encoder that was found in the cache must have learnt from these very images."""
    for name, digest in digests.items():
        if encoder.record.training[f"train_{name}"] != digest:
            raise LeakError(
                f"{encoder.name} was trained on other images than {run.protocol} says; "
                "delete it and run the suite again"
            )
