"""A map of the distinct codes: those that are few bits apart lie near each other.

By metric multidimensional scaling, and not by principal components: of codes in which each type has
bits of its own, two components show two types and lay all others on one heap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist, squareform

from hashsearch.codes import hamming_distance
from hashsearch.gallery.content import LABEL

if TYPE_CHECKING:
    from hashsearch.gallery import Gallery

__all__ = ["CodeMap", "map_codes", "scale_to_plane"]

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

_MOST_CODES = 600
_STEPS = 200
_SETTLED = 1e-4  # of the stress, from one step to the next
_JITTER = 1e-3  # of the largest distance: points on one spot would stay on it


@dataclass(frozen=True, eq=False)
class CodeMap:
    """Distinct semantic codes on a plane.

    Attributes:
        places: ``float64 (p, 2)``, in bits: distances on the map are near those of the codes.
        items: ``int64 (p,)``, how many items have each code.
        types: ``int64 (p,)``, the most frequent label of those, a place in ``names``; -1: none.
        names: of the types.
        shown: the share of the variance of the distances between items that the map shows: the
            squared correlation of distances on it and in bits, over pairs of items; NaN where there
            is one code.
        n_distinct: how many codes there are; more than ``p``: these are a sample, in which a code
            is the likelier the more items it has.
    """

    places: Floats
    items: Integers
    types: Integers
    names: tuple[str, ...]
    shown: float
    n_distinct: int


def map_codes(gallery: Gallery, *, seed: int = 0) -> CodeMap:
    """Lay out the semantic codes, 600 of them at most.

    Args:
        gallery: whose codes.
        seed: of the sample and of the layout.
    """
    content = gallery.content
    chosen = np.arange(content.n_distinct)
    rng = np.random.default_rng(seed)
    if len(chosen) > _MOST_CODES:
        weight = content.items_per_code / content.n_items
        chosen = np.sort(rng.choice(chosen, _MOST_CODES, replace=False, p=weight))
    codes = content.datasets["codes/distinct"][chosen]
    items = content.items_per_code[chosen]
    places, shown = scale_to_plane(hamming_distance(codes, codes), items, rng)
    return CodeMap(
        places,
        items,
        _types(gallery, chosen),
        tuple(content.values(LABEL)),
        shown,
        content.n_distinct,
    )


def scale_to_plane(
    distance: npt.NDArray[np.int32], items: Integers, rng: np.random.Generator
) -> tuple[Floats, float]:
    """Metric multidimensional scaling of points that stand for several items each.

    Minimises ``sum items_i items_j (distance_ij - |x_i - x_j|) ** 2`` by majorisation (SMACOF),
    from classical scaling; with weights that are products, each step is a weighted mean.

    Args:
        distance: ``int32 (p, p)``.
        items: ``int64 (p,)``.
        rng: for what keeps points apart that begin on one spot.

    Returns:
        ``float64 (p, 2)``, centred, and the squared correlation of the distances there with those
        that are wanted, over pairs of items.

    Source: Borg & Groenen, "Modern multidimensional scaling", 2nd ed. 2005, chapter 8.
    """
    weight = items / items.sum()
    wanted = distance.astype(np.float64)
    places = _classical(wanted, weight)
    places += rng.normal(0, _JITTER * max(wanted.max(), 1), places.shape)
    pairs = np.outer(weight, weight)
    before = np.inf
    for _ in range(_STEPS):
        on_map = squareform(pdist(places))
        stress = float(np.sum(pairs * (wanted - on_map) ** 2))
        if before - stress <= _SETTLED * stress:
            break
        before = stress
        pull = weight * np.divide(wanted, on_map, out=np.zeros_like(wanted), where=on_map > 0)
        places = places * pull.sum(axis=1, keepdims=True) - pull @ places
    places -= weight @ places
    return places, _explained(wanted, squareform(pdist(places)), pairs)


def _classical(wanted: Floats, weight: Floats) -> Floats:
    """The plane of most variance among points whose squared distances are these."""
    centre = np.eye(len(weight)) - weight
    root = np.sqrt(weight)
    inner = -0.5 * centre @ wanted @ centre.T
    values, vectors = np.linalg.eigh(root[:, None] * inner * root)
    first = np.zeros((len(weight), 2))
    found = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0)) / root[:, None]
    first[:, : found.shape[1]] = found
    return first


def _explained(wanted: Floats, on_map: Floats, pairs: Floats) -> float:
    covariance = np.cov(wanted.ravel(), on_map.ravel(), aweights=pairs.ravel(), ddof=0)
    spread = covariance[0, 0] * covariance[1, 1]
    return float(covariance[0, 1] ** 2 / spread) if spread > 0 else float("nan")


def _types(gallery: Gallery, chosen: Integers) -> Integers:
    """The most frequent label of the items of each code, -1 where none has one."""
    numbers = gallery.content.numbers(LABEL)
    offsets = gallery.content.offsets
    types = np.full(len(chosen), -1, np.int64)
    for place, code in enumerate(chosen.tolist()):
        own = numbers[offsets[code] : offsets[code + 1]]
        values, counts = np.unique(own[own >= 0], return_counts=True)
        if len(values):
            types[place] = values[counts.argmax()]
    return types
