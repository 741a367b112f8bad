"""One look at the codes of a gallery: every measurement, and what could not be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hashsearch.bench.inspection.bits import Bits, entropy, measure_bits
from hashsearch.bench.inspection.code_map import CodeMap, map_codes
from hashsearch.bench.inspection.confusion import Confusion, measure_confusion
from hashsearch.bench.inspection.examples import Example, choose_examples
from hashsearch.bench.inspection.queries import Drawn, draw_queries
from hashsearch.bench.inspection.usage import CodeUse, measure_use
from hashsearch.bench.quality import count_distances, quality_of
from hashsearch.errors import ArgumentError
from hashsearch.metrics import DistanceHistogram, mean

if TYPE_CHECKING:
    import numpy.typing as npt

    from hashsearch.bench.scale import Progress
    from hashsearch.gallery import Gallery

__all__ = ["Inspection", "OfTypes", "inspect_gallery"]


@dataclass(frozen=True, eq=False)
class OfTypes:
    """What labels tell; items of the query's type are its neighbours, all others strangers.

    Attributes:
        quality: as :func:`hashsearch.bench.quality.quality_of` gives it.
        chance: the mAP of a random order of the same items, in expectation.
        confusion: of the types.
        largest: the share of the labelled items that is of the most frequent type.
        entropy: of the type of a labelled item drawn at random, in bits.
        n_asking: how many types the queries are of.
        worst: queries to look at, the worst first.
        best: and others, the best first.
    """

    quality: dict[str, Any]
    chance: float
    confusion: Confusion
    largest: float
    entropy: float
    n_asking: int
    worst: list[Example]
    best: list[Example]

    @property
    def is_chance(self) -> bool:
        """Whether the 95 % interval of mAP reaches down to that of a random order.

        Not where all items are of one type: then every order is right.
        """
        return bool(self.largest < 1 and self.quality["map"]["low"] <= self.chance)


@dataclass(frozen=True, eq=False)
class Inspection:
    """What :func:`inspect_gallery` found.

    Attributes:
        gallery: that was looked at.
        radius: of the ball, in bits.
        seed: of all samples.
        bits: of the codes.
        use: of the codes by the items.
        code_map: of the distinct codes.
        drawn: who asked, and what was searched.
        histogram: ``(q, n_bits + 1)``, the searched items at each distance from each query; its
            ``relevant`` are those of the query's type, and mean nothing without labels.
        of_types: None where labels do not do.
        notes: a line for each thing to know of the figures.
    """

    gallery: Gallery
    radius: int
    seed: int
    bits: Bits
    use: CodeUse
    code_map: CodeMap
    drawn: Drawn
    histogram: DistanceHistogram
    of_types: OfTypes | None
    notes: tuple[str, ...]


def inspect_gallery(
    gallery: Gallery,
    *,
    radius: int = 2,
    n_queries: int = 1_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Inspection:
    """Look at the codes of a gallery.

    All items are counted where that takes a time that grows with their number; what compares pairs
    looks at a sample, see :func:`~hashsearch.bench.inspection.queries.draw_queries`.

    Args:
        gallery: its codes, labels if there are any, and pictures where there are any.
        radius: of the ball, in bits; more than the semantic code has counts as all of them.
        n_queries: how many of its items ask, at most.
        seed: of all samples.
        progress: told what is being done.

    Raises:
        ArgumentError: a radius or seed below 0, or no query.
    """
    if radius < 0 or seed < 0 or n_queries < 1:
        raise ArgumentError(
            f"radius ({radius}) and seed ({seed}) must be 0 or more, and queries ({n_queries}) 1 "
            "or more"
        )
    radius = min(radius, gallery.n_bits)
    tell = progress or _silent
    tell("bits", 0, 1)
    bits = measure_bits(gallery, seed=seed)
    code_map = map_codes(gallery, seed=seed)
    drawn = draw_queries(gallery, n_queries, seed=seed)
    tell("balls", 0, 1)
    use = measure_use(gallery, drawn.queries, radius)
    tell("distances", 0, 1)
    histogram = _distances(gallery, drawn)
    of_types = None
    # Of very many types, a sample may have no neighbour of any query.
    if drawn.labels is not None and histogram.relevant.any():
        tell("types", 0, 1)
        of_types = _of_types(gallery, drawn, drawn.labels, histogram, radius=radius, seed=seed)
    return Inspection(
        gallery,
        radius,
        seed,
        bits,
        use,
        code_map,
        drawn,
        histogram,
        of_types,
        (*drawn.notes, *_notes(gallery, bits, of_types, seed)),
    )


def _distances(gallery: Gallery, drawn: Drawn) -> DistanceHistogram:
    labels = np.zeros(len(gallery), np.int32) if drawn.labels is None else drawn.labels
    if not len(drawn.searched):
        nothing = np.zeros((len(drawn.queries), gallery.n_bits + 1), np.int64)
        return DistanceHistogram(nothing, nothing)
    return count_distances(
        gallery.codes(drawn.queries),
        labels[drawn.queries],
        gallery.codes(drawn.searched),
        labels[drawn.searched],
        gallery.n_bits,
    )


def _of_types(
    gallery: Gallery,
    drawn: Drawn,
    labels: npt.NDArray[np.int32],
    histogram: DistanceHistogram,
    *,
    radius: int,
    seed: int,
) -> OfTypes:
    shares = np.bincount(labels[labels >= 0]) / np.count_nonzero(labels >= 0)
    # All items at one distance are in a random order.
    tied = DistanceHistogram(
        histogram.items.sum(axis=1, keepdims=True), histogram.relevant.sum(axis=1, keepdims=True)
    )
    worst, best = choose_examples(gallery, drawn, labels, histogram, radius=radius)
    return OfTypes(
        {"protocol": "own-split", **quality_of(histogram, radius=radius, seed=seed)},
        mean(tied.average_precision()).value,
        measure_confusion(gallery, drawn, labels, radius),
        float(shares.max()),
        entropy(shares),
        len(np.unique(labels[drawn.queries])),
        worst,
        best,
    )


def _notes(gallery: Gallery, bits: Bits, of_types: OfTypes | None, seed: int) -> list[str]:
    notes = []
    if len(gallery) == 1:
        notes.append("one item has no others to be compared with; inspect a larger gallery")
    if bits.n_items < len(gallery):
        notes.append(
            f"bits are counted on a sample of {bits.n_items:,} of {len(gallery):,} items (seed "
            f"{seed})"
        )
    if of_types is not None:
        notes.append(
            "queries are items of the gallery: an encoder that was trained on these very images "
            "is flattered by every figure that compares types"
        )
    return notes


def _silent(what: str, done: int, total: int) -> None:
    """Report to nobody."""
