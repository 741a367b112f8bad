"""Which items of a gallery ask, and which are searched, to see how good its codes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from hashsearch.bench.splits import FEWEST, held_out
from hashsearch.gallery.content import LABEL

if TYPE_CHECKING:
    from hashsearch.gallery import Gallery

__all__ = ["Drawn", "draw_queries"]

Integers: TypeAlias = npt.NDArray[np.int64]

_MOST_SEARCHED = 100_000


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows of a gallery, parted; no row is in both parts.

    Attributes:
        queries: ``int64 (q,)``.
        searched: ``int64 (m,)``, ascending: all others, or a sample of 100,000 of them.
        labels: ``int32 (n,)``, of every row of the gallery a place in ``names``, or -1; None
            where labels do not do to draw queries by.
        names: of the types.
        notes: a line for each thing that is left out, and why.
    """

    queries: Integers
    searched: Integers
    labels: npt.NDArray[np.int32] | None
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def draw_queries(gallery: Gallery, n_queries: int, *, seed: int = 0) -> Drawn:
    """Draw queries from the items, as many of each type as of another where labels are known.

    The protocol is ``own-split`` (see :func:`hashsearch.bench.splits.held_out`), with the
    items in the order of their ids, so that the items that ask do not depend on the codes.

    Args:
        gallery: whose items.
        n_queries: how many, at most; a fifth of the items at most.
        seed: of the choice.
    """
    by_id = gallery.content.rows_by_id
    numbers = gallery.content.numbers(LABEL)
    counts = np.bincount(numbers[numbers >= 0])
    enough = counts >= FEWEST
    rng = np.random.default_rng(seed)
    if not enough.any():
        order = rng.permutation(by_id)
        n_drawn = min(n_queries, max(len(order) // FEWEST, 1))
        queries, others = np.sort(order[:n_drawn]), order[n_drawn:]
        notes = [_why_unlabelled(len(counts))]
    else:
        labelled = by_id[numbers[by_id] >= 0]
        per_class = max(n_queries // int(enough.sum()), 1)
        split = held_out(numbers[labelled], per_class=per_class, seed=seed)
        asking = split.queries
        if len(asking) > n_queries:
            asking = np.sort(rng.choice(asking, n_queries, replace=False))
        queries, others = labelled[asking], labelled[split.gallery]
        notes = _of_labels(counts, len(gallery), len(labelled))
    if len(others) > _MOST_SEARCHED:
        others = rng.choice(others, _MOST_SEARCHED, replace=False)
        notes.append(
            f"distances are those of {len(queries):,} items to a sample of {len(others):,} others "
            f"(seed {seed}); balls are counted among all"
        )
    return Drawn(
        queries,
        np.sort(others),
        numbers if enough.any() else None,
        tuple(gallery.content.values(LABEL)),
        tuple(notes),
    )


def _why_unlabelled(n_types: int) -> str:
    why = "no type has five items" if n_types else "no item has a label"
    return (
        f"{why}: precision, recall, confused types, and the best and worst queries are left out; "
        "build the gallery from a labelled source"
    )


def _of_labels(counts: Integers, n_items: int, n_labelled: int) -> list[str]:
    """What is left out, of so many items of each type."""
    notes = []
    if n_labelled < n_items:
        notes.append(
            f"{n_items - n_labelled:,} of {n_items:,} items have no label: what needs labels is "
            "measured on the others"
        )
    few = int(np.count_nonzero((counts > 0) & (counts < FEWEST)))
    if few:
        notes.append(f"types of fewer than five items, which give no queries: {few:,}")
    return notes
