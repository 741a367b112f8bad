"""The health of codes as a few figures, and in plain words what is wrong with them.

A finding needs a reason, not a rule of thumb. Those of the thresholds here:

- *A constant bit* says nothing of any item.
- *A lopsided bit* has a rarer value on less than 1 % of the items: it tells 0.08 bits at most
  (the entropy of 0.01), a twelfth of what it costs. Codes in which a bit stands for one of ``t``
  types have it set on ``1 / t`` of the items, so with labels it is less than half of that, too.
- *Bits that repeat each other* have ``|r| >= 0.95``: one predicts 90 % of the variance of the
  other (``r ** 2``), and a difference counts twice in a distance.
- *Few codes*: the entropy of the semantic codes is below that of the types. No function of a code
  tells more than the code holds, so types are confused whatever the search. Without labels, or
  with a few: below 1 bit, as one balanced bit holds.
- *A crowded code* has more items than the most frequent type, so it mixes types (pigeonholes).
  Without labels, or with a few: more than half of all items.
- *One in ten* queries has an empty ball; or one in ten items of a ball is a stranger, or of one
  other type: then one on a page of ten, which is what a query shows.
- *Neighbours missed*: more than half of a query's type is outside its ball, on average.
- *A ball that holds most*: half of the gallery lies in the median ball, which leaves little out.
- *No better than chance*: the 95 % interval of mAP reaches down to that of a random order.

Of fewer than 20 items nothing is found: of 112 fair bits, one is constant by chance in most
galleries of 8 items, and in one of 37 of 13. Types that ask fewer than five times are not said to
be confused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.bench.inspection.bits import Bits
    from hashsearch.bench.inspection.confusion import Confused
    from hashsearch.bench.inspection.run import Inspection, OfTypes
    from hashsearch.metrics import DistanceHistogram

__all__ = ["FEWEST_ITEMS", "ONE_IN_TEN", "Figure", "counted", "figures_of", "percent", "strangers"]

FEWEST_ITEMS = 20
"""Fewer have no findings."""

ONE_IN_TEN = 0.1
_LOPSIDED = 0.01
_ALIKE = 0.95
_HALF = 0.5
_FEWEST_QUERIES = 5
_SHOWN = 5  # bits, pairs and types that a finding lists


@dataclass(frozen=True)
class Figure:
    """One figure of the health of codes.

    Attributes:
        name: in a document.
        what: it is.
        value: a number.
        text: the number as people read it, with what to compare it with.
        findings: what is wrong, a line each; none where it is as it should be.
    """

    name: str
    what: str
    value: float
    text: str
    findings: tuple[str, ...] = ()


def figures_of(inspection: Inspection) -> list[Figure]:
    """The figures, those of the codes alone before those that labels tell."""
    made = [
        *_of_bits(inspection),
        *_of_codes(inspection),
        *_of_balls(inspection),
        *(_of_types(inspection, inspection.of_types) if inspection.of_types else ()),
    ]
    if len(inspection.gallery) < FEWEST_ITEMS:
        return [Figure(each.name, each.what, each.value, each.text) for each in made]
    return made


def _of_bits(inspection: Inspection) -> list[Figure]:
    lopsided = _LOPSIDED
    if inspection.of_types:
        n_types = np.count_nonzero(inspection.of_types.confusion.queries)
        lopsided = min(lopsided, _HALF / max(int(n_types), 1))
    made = []
    for name, part in inspection.bits.parts.items():
        # Fine bits stand for no type.
        made += _of_part(inspection.bits, name, part, lopsided if name == "semantic" else _LOPSIDED)
    return made


def _of_part(bits: Bits, name: str, part: slice, lopsided: float) -> list[Figure]:
    n_bits = part.stop - part.start
    minority = bits.minority[part]
    constant = np.flatnonzero(minority == 0)
    rare = np.flatnonzero((minority > 0) & (minority < lopsided))
    kind = "bit" if name == "semantic" else f"{name} bit"
    found = []
    if len(constant):
        found.append(f"{_bits(kind, constant.tolist())} constant")
    if len(rare):
        found.append(
            f"{_bits(kind, rare.tolist())} lopsided: the rarer value is on as few as "
            f"{percent(float(minority[rare].min()))} of the items"
        )
    pairs = [
        f"{first - part.start} and {other - part.start}"
        for first, other, _ in bits.alike(part, _ALIKE)
    ]
    if pairs:
        found.append(f"{kind}s that repeat each other: {_listed(pairs, ' pairs')}")
    in_use = n_bits - len(constant)
    balance, effective = float(bits.entropy[part].mean()), bits.effective(part)
    return [
        Figure(
            f"{name}_bits_in_use",
            f"{name} bits in use",
            in_use,
            f"{in_use} of {n_bits}",
            tuple(found),
        ),
        Figure(
            f"{name}_bit_entropy",
            f"entropy of a {name} bit, mean",
            balance,
            f"{balance:.2f} of 1 bit",
        ),
        Figure(
            f"{name}_bits_effective",
            f"effective {name} bits",
            effective,
            f"{effective:.1f} of {n_bits}",
        ),
    ]


def _of_codes(inspection: Inspection) -> list[Figure]:
    use, types = inspection.use, inspection.of_types
    labels = inspection.drawn.labels
    if labels is not None and labels.min() < 0:
        types = None  # an item without a label may be of any type, so nothing follows from counts
    n_items, n_codes = use.n_items, len(use.sizes)
    crowded = f"{percent(use.largest)} of the items share one code"
    few = f"the codes hold {use.entropy:.2f} bits"
    if types:
        most_items, least_entropy = types.largest, types.entropy
        beside = f"; the types hold {types.entropy:.2f}"
        crowded += f", more than are of one type ({percent(types.largest)}): it mixes types"
        few += f", the types {types.entropy:.2f}: too few to tell them apart"
    else:
        most_items, least_entropy, beside = _HALF, 1.0, ""
        few += ", less than one balanced bit"
    possible = min(float(np.log2(n_items)), inspection.bits.n_bits)
    return [
        Figure(
            "distinct_codes",
            "distinct semantic codes",
            n_codes,
            f"{n_codes:,} for {counted(n_items)}",
        ),
        Figure(
            "largest_code",
            "items with the most frequent code",
            use.largest,
            percent(use.largest),
            _when(use.largest > most_items, crowded),
        ),
        Figure(
            "code_entropy",
            "entropy of the semantic codes",
            use.entropy,
            f"{use.entropy:.2f} of at most {possible:.2f} bits{beside}",
            _when(use.entropy < least_entropy, few),
        ),
        Figure(
            "distinct_whole_codes",
            "distinct whole codes",
            use.n_whole,
            f"{use.n_whole:,} for {counted(n_items)}",
        ),
    ]


def _of_balls(inspection: Inspection) -> list[Figure]:
    others, radius = inspection.use.others, inspection.radius
    n_others = len(inspection.gallery) - 1
    if not n_others:
        return []
    median, empty = float(np.median(others)), float(np.mean(others == 0))
    low, high = np.quantile(others, [0.05, 0.95])
    of_types = inspection.of_types
    # Where codes tell nothing, a larger ball holds more strangers and nothing else.
    advice = "" if of_types and of_types.is_chance else ": raise the radius"
    return [
        Figure(
            "median_ball",
            f"other items within {radius}, median",
            median,
            f"{median:,.0f} ({percent(median / n_others)}); 5 to 95 %: {low:,.0f} to {high:,.0f}",
            _when(
                median >= _HALF * n_others,
                f"the median ball holds {percent(median / n_others)} of the gallery: a radius of "
                f"{radius} leaves little out",
            ),
        ),
        Figure(
            "empty_balls",
            "queries with nobody in their ball",
            empty,
            percent(empty),
            _when(
                empty >= ONE_IN_TEN,
                f"{percent(empty)} of the queries have nobody in their ball{advice}",
            ),
        ),
    ]


def _of_types(inspection: Inspection, types: OfTypes) -> list[Figure]:
    radius, quality = inspection.radius, types.quality
    ranking, recall = quality["map"], quality["recall_within"]["value"]
    of_ball, of_all = strangers(inspection.histogram, radius)
    best = _best_radius(quality["curve"])
    pairs = types.confusion.pairs(_FEWEST_QUERIES)
    return [
        Figure(
            "map",
            "mAP, by distance",
            ranking["value"],
            f"{ranking['value']:.3f} [{ranking['low']:.3f}, {ranking['high']:.3f}]; chance "
            f"{types.chance:.3f}",
            _when(
                types.is_chance,
                "the ranking is no better than chance: these codes do not tell the types",
            ),
        ),
        Figure(
            "strangers_within",
            f"strangers among those within {radius}",
            of_ball,
            f"{percent(of_ball)} of a ball; {percent(of_all)} of all strangers",
            _when(of_ball >= ONE_IN_TEN, f"{percent(of_ball)} of a ball are of another type"),
        ),
        Figure(
            "recall_within",
            f"neighbours that are within {radius}",
            recall,
            percent(recall),
            _when(recall < _HALF, f"{percent(1 - recall)} of the neighbours are outside the ball"),
        ),
        Figure(
            "best_radius",
            "radius of the best F1",
            best,
            f"{best}",
        ),
        Figure(
            "most_confused",
            "most confused types",
            pairs[0].share if pairs else 0.0,
            f"{percent(pairs[0].share)} of the balls of {pairs[0].asked}: {pairs[0].found}"
            if pairs
            else "none",
            _confused([pair for pair in pairs if pair.share >= ONE_IN_TEN]),
        ),
    ]


def strangers(histogram: DistanceHistogram, radius: int) -> tuple[float, float]:
    """Items of other types in the balls, as shares of two wholes.

    Returns:
        Their mean share of the balls that are not empty, 0 where all are; and the share of all
        pairs of strangers that lie within the radius, 0 where there are none.
    """
    filled = histogram.ball_size(radius) > 0
    precision = histogram.precision_within(radius)[filled]
    counts = (histogram.items - histogram.relevant).sum(axis=0)
    of_all = float(counts[: radius + 1].sum() / max(int(counts.sum()), 1))
    return float(1 - precision.mean()) if filled.any() else 0.0, of_all


def _best_radius(curve: dict[str, list[float]]) -> int:
    """Where the harmonic mean of mean precision and mean recall is highest."""
    precision, recall = np.array(curve["precision"]), np.array(curve["recall"])
    both = precision + recall
    return int(
        np.argmax(np.divide(precision * recall, both, out=np.zeros_like(both), where=both > 0))
    )


def _when(is_so: bool, finding: str) -> tuple[str, ...]:
    return (finding,) if is_so else ()


def _confused(pairs: Sequence[Confused]) -> tuple[str, ...]:
    """A line for each two types, with how much each is confused with the other."""
    share = {(pair.asked, pair.found): pair.share for pair in pairs}
    lines = []
    for asked, found, value in pairs:
        back = share.get((found, asked), 0.0)
        if (back, found) > (value, asked):
            continue  # told the other way round
        also = f", {percent(back)} of those of {found}" if back else ""
        lines.append(
            f"types {asked} and {found} are confused: {percent(value)} of the balls of "
            f"{asked}{also}"
        )
    more = len(lines) - _SHOWN
    return (*lines[:_SHOWN], *_when(more > 0, f"{more:,} more pairs of types are confused"))


def counted(n_items: int) -> str:
    """So many items, in words.

    >>> counted(1), counted(1200)
    ('1 item', '1,200 items')
    """
    return "1 item" if n_items == 1 else f"{n_items:,} items"


def _bits(kind: str, places: Sequence[int]) -> str:
    """The subject of a sentence, and its verb."""
    one = len(places) == 1
    return f"{kind}{'' if one else 's'} {_listed(list(map(str, places)))} {'is' if one else 'are'}"


def _listed(names: Sequence[str], what: str = "") -> str:
    """As many as can be read.

    >>> _listed(["1", "2", "3"])
    '1, 2, 3'
    >>> _listed([str(number) for number in range(8)], " bits")
    '0, 1, 2, 3, 4 (and 3 more bits)'
    """
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" (and {more:,} more{what})" if more > 0 else "")


def percent(value: float) -> str:
    """A share in per cent, with two digits that count.

    >>> percent(0.314), percent(0.0314), percent(1.0), percent(0.0)
    ('31 %', '3.1 %', '100 %', '0 %')
    """
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
