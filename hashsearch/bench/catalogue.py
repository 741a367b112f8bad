"""How good an encoder's codes are on a data set of one's own, by any neighbour rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.protocols import PROTOCOLS, Protocol, check_no_leak
from hashsearch.bench.quality import count_neighbours, estimate, per_query, quality_of
from hashsearch.bench.splits import FEWEST, held_out
from hashsearch.bench.tables import Table, interval
from hashsearch.datasets.neighbours import Facts, NeighbourRule, facts_of
from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from hashsearch.datasets.catalogue import Catalogue
    from hashsearch.datasets.item import Item
    from hashsearch.gallery import Gallery
    from hashsearch.metrics import DistanceHistogram

__all__ = ["Parted", "catalogue_table", "check_rule", "measure_catalogue", "part_catalogue"]

_CUTS = (1, 10)
_MOST_QUERIES = 1000  # of a data set whose own split names none


def measure_catalogue(
    gallery: Gallery,
    catalogue: Catalogue,
    rule: NeighbourRule,
    *,
    trained_on: AbstractSet[str] = frozenset(),
    radius: int = 2,
    seed: int = 0,
) -> dict[str, Any]:
    """Search some of a catalogue's items with others of them, and count who is found.

    See :func:`part_catalogue` for which of them search.

    Args:
        gallery: the catalogue's items, encoded; those that could not be read are missing.
        catalogue: says what they are.
        rule: who is a neighbour of whom.
        trained_on: ids of the items that trained the encoder or chose its best epoch.
        radius: of the ball, in bits.
        seed: of the choice of queries, and of the bootstrap.

    Returns:
        What :func:`hashsearch.bench.quality.quality` does, of the distances of the semantic codes;
        the ``protocol``, which is ``own-split-seen`` where some of these items were trained on;
        ``found_at`` by k: the share of queries with a neighbour among the first k of a search, of
        those that have any; and ``per_query`` as
        :func:`hashsearch.bench.evaluation.evaluate_encoder` has it. Ready for JSON.

    Raises:
        ArgumentError: too few items to part, or a split without queries that were read.
        DatasetError: no item says what the rule compares.
        LeakError: items were trained on, and the data set's own split says that they were not.
    """
    rows, there = gallery.content.find([item.id for item in catalogue.items])
    items = [item for item, found in zip(catalogue.items, there.tolist(), strict=True) if found]
    facts = _facts(items)
    rule.check(facts, catalogue.name)
    parted = part_catalogue(items, facts, seed)
    asking, searched = (
        [items[place].id for place in part.tolist()] for part in (parted.queries, parted.gallery)
    )
    protocol = _unleaked(parted.protocol, asking, searched, trained_on)
    kept = gallery.only(ids=searched)
    place_of = dict(zip(searched, parted.gallery.tolist(), strict=True))
    known = facts[np.array([place_of[id_] for id_ in kept.ids()], np.int64)]  # by row
    asked = facts[parted.queries]
    search = _Search(gallery.codes(rows[there][parted.queries]), asked, kept, known, rule)
    histogram = search.histogram()
    answerable = histogram.relevant.sum(axis=1) > 0
    return {
        "data": catalogue.name,
        "protocol": protocol.name,
        **quality_of(histogram, radius=radius, seed=seed, neighbours=str(rule)),
        "found_at": {
            str(k): estimate(np.where(answerable, hits, np.nan), seed=seed)
            for k, hits in search.found(radius).items()
        },
        "per_query": per_query(histogram, radius),
    }


def _unleaked(
    protocol: Protocol,
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    trained_on: AbstractSet[str],
) -> Protocol:
    """The protocol that these items can be measured by."""
    if protocol.name == "own-split" and not trained_on.isdisjoint([*query_ids, *gallery_ids]):
        return PROTOCOLS["own-split-seen"]
    check_no_leak(protocol, query_ids, gallery_ids, trained_on)
    return protocol


def catalogue_table(result: dict[str, Any]) -> Table:
    """What :func:`measure_catalogue` measured, as a row."""
    radius = result["radius"]
    return Table(
        f"{result['data']}: {result['protocol']}, neighbours: {result['neighbours']}, "
        f"{result['queries']:,} queries, {result['map']['defined']:,} of them with neighbours",
        (
            "items",
            "mAP",
            f"precision within {radius}",
            f"recall within {radius}",
            "empty balls",
            *(f"found at {k}" for k in result["found_at"]),
        ),
        (
            (
                f"{result['items']:,}",
                interval(result["map"]),
                interval(result["precision_within"]),
                interval(result["recall_within"]),
                f"{result['empty_balls']:.1%}",
                *(interval(share) for share in result["found_at"].values()),
            ),
        ),
        "In brackets: 95 % bootstrap interval over queries. mAP: tie-aware, by distance. Found at "
        "k: queries with a neighbour among the first k of a search."
        + (
            " Some of these very images trained the encoder: not to be compared."
            * PROTOCOLS[result["protocol"]].leaks
        ),
        n_text=0,
    )


def check_rule(catalogue: Catalogue, rule: NeighbourRule) -> None:
    """Refuse, before hours of encoding, a rule that looks at what no item says.

    Raises:
        DatasetError: that is so.
    """
    rule.check(_facts([*catalogue.items]), catalogue.name)


def _facts(items: list[Item]) -> Facts:
    types = sorted({item.label for item in items if item.label is not None})
    names = sorted({name for item in items for name in item.attributes})
    return facts_of(items, types, names)


@dataclass(frozen=True)
class Parted:
    """Queries, and what they search.

    Attributes:
        queries: ``int64 (q,)``, places of items.
        gallery: ``int64 (n,)``, likewise; none is in both.
        protocol: that they were parted by.
    """

    queries: npt.NDArray[np.int64]
    gallery: npt.NDArray[np.int64]
    protocol: Protocol


def part_catalogue(items: Sequence[Item], facts: Facts, seed: int = 0) -> Parted:
    """Part items as their data set says, or else by chance.

    Where the data set has queries and a gallery of its own, those are they (protocol
    ``official``). Where it only says what trains and what validates, the rest is parted
    (``official-rest``); where it has no split, all of it is (``own-split``): up to 100 queries a
    type, a fifth of its items at most; where no type has five items, of all of them together.

    Args:
        items: of the catalogue.
        facts: of the items.
        seed: of what chance parts.

    Raises:
        ArgumentError: too few items, or queries without a gallery.
    """
    split = np.array([item.split or "" for item in items])
    if (split == "query").any():
        queries, searched = (np.flatnonzero(split == part) for part in ("query", "gallery"))
        if not len(searched):
            raise ArgumentError("the split has queries, but no gallery that was read")
        return Parted(queries, searched, PROTOCOLS["official"])
    protocol = PROTOCOLS["official-rest" if (split == "train").any() else "own-split"]
    pool = np.flatnonzero((split != "train") & (split != "validation"))
    types = facts.types[pool]
    if np.bincount(types[types >= 0], minlength=1).max() >= FEWEST:
        # Items without a type are a type of their own here: each is asked for, too.
        parted = held_out(types, seed=seed)
        return Parted(pool[parted.queries], pool[parted.gallery], protocol)
    if len(pool) < FEWEST:
        raise ArgumentError(f"{len(pool)} items are too few to measure; {FEWEST} are needed")
    order = np.random.default_rng(seed).permutation(pool)
    count = min(_MOST_QUERIES, len(pool) // FEWEST)
    return Parted(np.sort(order[:count]), np.sort(order[count:]), protocol)


@dataclass(frozen=True)
class _Search:
    """Queries and what they search, with what the rule looks at.

    Attributes:
        codes: of the queries, ``uint8 (q, code_bytes)``.
        asked: of the queries.
        gallery: that is searched.
        known: of its items, by row.
        rule: who is a neighbour of whom.
    """

    codes: npt.NDArray[np.uint8]
    asked: Facts
    gallery: Gallery
    known: Facts
    rule: NeighbourRule

    def histogram(self) -> DistanceHistogram:
        """Items and neighbours at each semantic distance."""
        return count_neighbours(
            self.codes,
            self.asked,
            self.gallery.codes(),
            self.known,
            n_bits=self.gallery.n_bits,
            rule=self.rule,
        )

    def found(self, radius: int) -> dict[int, npt.NDArray[np.float64]]:
        """By k, ``float64 (q,)``: 1 where a neighbour is among the first k of a search."""
        found = {k: np.zeros(len(self.codes)) for k in _CUTS}
        matches = self.gallery.nearest(self.codes, k=max(_CUTS), radius=radius)
        for query, match in enumerate(matches):
            one = self.asked[np.array([query])]
            relevant = self.rule.relevance(one, self.known[match.rows])[0]
            for k, hits in found.items():
                hits[query] = relevant[:k].any()
        return found
