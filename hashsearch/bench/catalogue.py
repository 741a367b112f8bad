"""How good an encoder's codes are on a data set of one's own, by any neighbour rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.protocols import held_out
from hashsearch.bench.quality import estimate, quality_of
from hashsearch.bench.tables import Table, interval
from hashsearch.codes import hamming_distance, split_codes
from hashsearch.datasets.neighbours import Facts, NeighbourRule, facts_of
from hashsearch.errors import ArgumentError
from hashsearch.metrics import DistanceHistogram

if TYPE_CHECKING:
    from hashsearch.datasets.catalogue import Catalogue
    from hashsearch.datasets.item import Item
    from hashsearch.gallery import Gallery

__all__ = ["catalogue_table", "check_rule", "measure_catalogue"]

_BLOCK = 2**22  # distances held at once: 16 MB of int32
_CUTS = (1, 10)
_MOST_QUERIES = 1000  # of a data set whose own split names none


def measure_catalogue(
    gallery: Gallery,
    catalogue: Catalogue,
    rule: NeighbourRule,
    *,
    trained_on: str | None = None,
    trained_part: str = "",
    radius: int = 2,
    seed: int = 0,
) -> dict[str, Any]:
    """Search some of a catalogue's items with others of them, and count who is found.

    Where the data set has queries and a gallery of its own, those are they (protocol ``official``).
    Where it only says what trains, the rest is parted (``official-rest``); where it has no split,
    all of it is (``own-split``): up to 100 queries a type, a fifth of its items at most.

    Args:
        gallery: the catalogue's items, encoded; those that could not be read are missing.
        catalogue: says what they are.
        rule: who is a neighbour of whom.
        trained_on: name of the catalogue that the encoder was trained on.
        trained_part: which of its items were, as an encoder's record says it.
        radius: of the ball, in bits.
        seed: of the choice of queries, and of the bootstrap.

    Returns:
        What :func:`hashsearch.bench.quality.quality` does, of the distances of the semantic codes;
        ``leaks``: whether images that are measured on took part in training, as far as the name
        of the catalogue that the encoder was trained on tells; and ``found_at`` by k: the share of
        queries with a neighbour among the first k of a search, of those that have any. Ready for
        JSON.

    Raises:
        ArgumentError: too few items to part, or a split without queries that were read.
        DatasetError: no item says what the rule compares.
    """
    rows, there = gallery.content.find([item.id for item in catalogue.items])
    items = [item for item, found in zip(catalogue.items, there.tolist(), strict=True) if found]
    facts = _facts(items)
    rule.check(facts, catalogue.name)
    queries, searched, protocol = _parted(items, facts, seed)
    kept = gallery.only(ids=[items[place].id for place in searched.tolist()])
    place_of = {items[place].id: place for place in searched.tolist()}
    known = facts[np.array([place_of[id_] for id_ in kept.ids()], np.int64)]  # by row
    search = _Search(gallery.codes(rows[there][queries]), facts[queries], kept, known, rule)
    histogram = search.histogram()
    answerable = histogram.relevant.sum(axis=1) > 0
    return {
        "data": catalogue.name,
        "protocol": protocol,
        # By its name: what a catalogue of another name holds is not known here.
        "leaks": trained_on == catalogue.name
        and (protocol == "own-split" or not trained_part.startswith("official")),
        **quality_of(histogram, radius=radius, seed=seed, neighbours=str(rule)),
        "found_at": {
            str(k): estimate(np.where(answerable, hits, np.nan), seed=seed)
            for k, hits in search.found(radius).items()
        },
    }


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
        + (" The encoder was trained on these very images: not to be compared." * result["leaks"]),
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


def _parted(
    items: list[Item], facts: Facts, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], str]:
    """Queries, what they search, both as places of items, and the name of the protocol."""
    split = np.array([item.split or "" for item in items])
    if (split == "query").any():
        queries, searched = (np.flatnonzero(split == part) for part in ("query", "gallery"))
        if not len(searched):
            raise ArgumentError("the split has queries, but no gallery that was read")
        return queries, searched, "official"
    protocol = "official-rest" if (split == "train").any() else "own-split"
    pool = np.flatnonzero(split != "train")
    if (facts.types[pool] >= 0).any():
        # Items without a type are a type of their own here: each is asked for, too.
        parted = held_out(facts.types[pool], seed=seed)
        return pool[parted.queries], pool[parted.gallery], protocol
    if len(pool) < 5:
        raise ArgumentError(f"{len(pool)} items are too few to measure; 5 are needed")
    order = np.random.default_rng(seed).permutation(pool)
    count = min(_MOST_QUERIES, len(pool) // 5)
    return np.sort(order[:count]), np.sort(order[count:]), protocol


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
        """Items and neighbours at each semantic distance, block by block of queries."""
        n_bits = self.gallery.n_bits
        queries, searched = (
            split_codes(codes, n_bits)[0] for codes in (self.codes, self.gallery.codes())
        )
        step = max(1, _BLOCK // len(searched))
        blocks = []
        for start in range(0, len(queries), step):
            block = np.arange(start, min(start + step, len(queries)))
            distance = hamming_distance(queries[block], searched)
            relevant = self.rule.relevance(self.asked[block], self.known)
            blocks.append(DistanceHistogram.of(distance, relevant, n_bits))
        return DistanceHistogram.concatenate(blocks)

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
