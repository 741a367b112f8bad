"""A set of photos that are read when they are needed, and its parts for training."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.datasets.item import read_item
from hashsearch.datasets.neighbours import Facts, NeighbourRule, facts_of
from hashsearch.errors import DatasetError
from hashsearch.images import Preprocessing, describe, prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashsearch.datasets.catalogue import Catalogue
    from hashsearch.datasets.item import Item

__all__ = ["PhotoParts", "PhotoSet", "photo_parts", "photo_preprocessing", "set_aside"]

_SHARE = 0.1
_LOOKED_AT = 2000  # photos, of which some two ought to be neighbours
_MOST = 5000
_RESIZE = 256 / 224  # short side over the crop, as torchvision's classifiers are evaluated
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def photo_preprocessing(size: int) -> Preprocessing:
    """How photos become an encoder's input: as torchvision's classifiers are fed.

    Args:
        size: height and width of the input, in pixels.

    Raises:
        EncoderError: a size below 1.
    """
    return Preprocessing("photo", size, round(size * _RESIZE), _MEAN, _STD)


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """Photos, what is known of them, and how they become pixels.

    Attributes:
        items: ``n`` of them, with unique ids.
        facts: of the items.
        class_names: of the types in the facts.
        attribute_names: of the attributes in the facts.
        preprocessing: what makes pixels of a photo.
    """

    items: tuple[Item, ...]
    facts: Facts
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """One unique id a photo."""
        return tuple(item.id for item in self.items)

    @property
    def pixels(self) -> None:
        """None: they are read one by one."""
        return

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """One photo, ``uint8 (3, size, size)``.

        Raises:
            ImageError: see :func:`hashsearch.datasets.item.read_item`.
        """
        return prepared(read_item(self.items[row], self.preprocessing), self.preprocessing)

    @cached_property
    def digests(self) -> dict[str, str]:
        """What tells the photos from others: ``files_sha256``, of ids, sizes and times of change.

        Not of pixels: to read all photos to know them again could take an hour.
        """
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(json.dumps([item.id, item.box, *_stamp(item)]).encode())
        return {"files_sha256": digest.hexdigest()}

    def contents(self) -> Iterator[bytes]:
        """All that decides what is learnt from the set, files as :attr:`digests` has them."""
        yield self.digests["files_sha256"].encode()
        yield json.dumps([self.class_names, self.attribute_names]).encode()
        yield self.facts.types.tobytes()
        yield self.facts.items.tobytes()
        yield np.packbits(self.facts.attributes).tobytes()

    def subset(self, rows: npt.NDArray[np.int64]) -> PhotoSet:
        """The photos at ``rows`` (``int64 (m,)``), in that order."""
        items = tuple(self.items[row] for row in rows)
        return replace(self, items=items, facts=self.facts[rows])


@dataclass(frozen=True)
class PhotoParts:
    """Which photos of a catalogue train, and which choose the best epoch.

    Attributes:
        train: photos to learn from.
        validation: photos that are never learnt from.
        part: how they were parted: ``official``, ``official train, held out`` or ``held out``.
        left_out: how many say nothing that the rule compares, and are in neither.
    """

    train: PhotoSet
    validation: PhotoSet
    part: str
    left_out: int


def photo_parts(
    catalogue: Catalogue, rule: NeighbourRule, preprocessing: Preprocessing
) -> PhotoParts:
    """Part a catalogue as its official split says, or else hold out a part for validation.

    Where the catalogue has a split, only its training items are learnt from. Where it has no
    validation items, a tenth of the photos of each type is held out: at least one (two of four
    and more, so that one finds the other), at most half, at most about 5,000 in all; a type with a
    single photo trains only. All photos of an article lie on one side, where articles are known.
    Under ``same-item`` whole articles of two and more photos are held out, whatever their type.
    The choice is the same whenever it is made.

    Args:
        catalogue: the items.
        rule: who is a neighbour of whom; items that it cannot compare are left out.
        preprocessing: of the photos.

    Raises:
        DatasetError: nothing is left to train on, or nothing that the rule could tell apart.
    """
    train, validation = list(catalogue.items), []
    if catalogue.has_splits:
        train, validation = catalogue.split("train"), catalogue.split("validation")
        if not train:
            raise DatasetError(
                f"{catalogue.name} has an official split in which no item trains; mark some with "
                "train, or give it without the split"
            )
    class_names = _names([item.label] for item in train)
    attribute_names = _names(item.attributes for item in train)
    items = (*train, *validation)
    # Numbered together: an article has one number on both sides.
    facts = facts_of(items, class_names, attribute_names)
    rule.check(facts[np.arange(len(train))], catalogue.name)
    known = rule.known(facts)
    whole = PhotoSet(items, facts, class_names, attribute_names, preprocessing)
    learnt = np.arange(len(items)) < len(train)
    rows, held = np.flatnonzero(known & learnt), np.flatnonzero(known & ~learnt)
    part = "official"
    if not validation:
        part = "official train, held out" if catalogue.has_splits else "held out"
        away = set_aside(facts[rows], rule, catalogue.name)
        rows, held = rows[~away], rows[away]
    if rule.name == "same-type" and len(np.unique(facts.types[rows])) < 2:
        raise DatasetError(
            f"{catalogue.name} has photos of one type alone to train on "
            f"({class_names[facts.types[rows[0]]]}); give at least two types"
        )
    _check_neighbours(facts[rows], rule, catalogue.name)
    return PhotoParts(whole.subset(rows), whole.subset(held), part, int((~known).sum()))


def _check_neighbours(facts: Facts, rule: NeighbourRule, name: str) -> None:
    """Refuse, before hours of it, a training in which no image has a neighbour."""
    if rule.name == "shared-attributes":
        rows = np.random.default_rng(0).permutation(len(facts))[:_LOOKED_AT]
        found = rule.relevance(facts[rows], facts[rows])
        np.fill_diagonal(found, val=False)
        if not found.any():
            raise DatasetError(
                f"{name}: of {len(rows):,} training photos no two are neighbours by {rule}; lower "
                "the number"
            )
    elif rule.name == "same-item" and len(np.unique(facts.items)) == len(facts):
        raise DatasetError(
            f"{name}: no two training photos show one article, so {rule} has nothing to learn; "
            "take --neighbours same-type, or give it without the split"
        )


def _names(named: Iterator[Sequence[str | None]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in named for name in names if name}))


def set_aside(
    facts: Facts,
    rule: NeighbourRule,
    name: str,
    *,
    share: float = _SHARE,
    most: int = _MOST,
) -> npt.NDArray[np.bool_]:
    """Which photos are kept from training, to validate or to be measured; always the same.

    See :func:`photo_parts` for what is taken of each type and article.

    Args:
        facts: of ``n`` photos.
        rule: who is a neighbour of whom.
        name: of the catalogue, for messages.
        share: of the photos of each type.
        most: about how many in all.

    Returns:
        ``bool (n,)``.

    Raises:
        DatasetError: the rule is ``same-item``, and no two articles have two photos each.
    """
    rng = np.random.default_rng(0)
    # A photo of no known article is alone.
    alone = facts.items < 0
    article = facts.items.copy()
    article[alone] = article.max(initial=-1) + 1 + np.arange(alone.sum())
    _, first, unit = np.unique(article, return_index=True, return_inverse=True)
    sizes = np.bincount(unit)
    kinds = facts.types[first]
    if rule.name == "same-item":
        kinds = np.where(sizes > 1, 0, -1)
        if (kinds == 0).sum() < 2:
            raise DatasetError(
                f"{name} has no two articles of two photos each, from which alone same-item can "
                "be learnt and validated; take --neighbours same-type"
            )
    share = min(share, most / max(len(facts), 1))
    held = np.zeros(len(sizes), bool)
    for kind in np.unique(kinds):
        if rule.name == "same-item" and kind < 0:
            continue  # nothing would find it
        units = rng.permutation(np.flatnonzero(kinds == kind))
        total = int(sizes[units].sum())
        wanted, most = max(round(share * total), min(total // 2, 2)), total // 2
        taken = 0
        for one in units:
            if taken < wanted and taken + sizes[one] <= most:
                held[one] = True
                taken += int(sizes[one])
    away: npt.NDArray[np.bool_] = held[unit]
    return away


def _stamp(item: Item) -> list[str | int]:
    """What changes when an item's image does, without decoding it."""
    image = item.image
    if isinstance(image, str | os.PathLike):
        try:
            state = Path(image).stat()
        except OSError as error:
            return [type(error).__name__]  # whoever reads it says so
        return [state.st_size, state.st_mtime_ns]
    if isinstance(image, bytes):
        return [hashlib.sha256(image).hexdigest()]
    if isinstance(image, np.ndarray):
        return [str(image.shape), hashlib.sha256(image.tobytes()).hexdigest()]
    return [describe(image)]
