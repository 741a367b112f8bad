"""How good codes are, in one sentence, and on what that rests.

Judged is the ranking, by the low end of the 95 % interval of its mAP, so that few queries prove
little. Average precision is the mean, over the neighbours of a query, of the share of neighbours
among all that rank as high:

- *Good*: 0.9 or more. Down to a neighbour, at most one in ten is a stranger, on average.
- *Fair*: 0.5 or more. Down to a neighbour, there are no more strangers than neighbours.
- *Poor*: less, but above a random order.
- *No better than chance*: the interval reaches down to a random order.

The ball is judged beside it, as good codes may be asked with a radius that does not suit them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hashsearch.bench.inspection.findings import (
    FEWEST_ITEMS,
    ONE_IN_TEN,
    percent,
    strangers,
)

if TYPE_CHECKING:
    from hashsearch.bench.inspection.run import Inspection, OfTypes

__all__ = ["judgement_of"]

_HALF = 0.5


def judgement_of(inspection: Inspection) -> str:
    """One sentence for people; where labels do not do, that it cannot be told, and why not."""
    if len(inspection.gallery) < FEWEST_ITEMS:
        return f"Fewer than {FEWEST_ITEMS} items prove nothing of their codes."
    types = inspection.of_types
    if types is None:
        return (
            "How good these codes are cannot be told without five items of a type: what follows "
            "is of the codes alone."
        )
    if types.largest == 1:
        return (
            "How good these codes are cannot be told where all items are of one type: what follows "
            "is of the codes alone."
        )
    ranking, chance = types.quality["map"], types.chance
    return (
        f"{_grade(inspection, types)} (mAP {ranking['value']:.3f} [{ranking['low']:.3f}, "
        f"{ranking['high']:.3f}], a random order {chance:.3f}; {types.quality['queries']:,} of the "
        f"items, of {types.n_asking:,} types, asked {types.quality['items']:,} others)."
    )


def _grade(inspection: Inspection, types: OfTypes) -> str:
    if types.is_chance:
        return "These codes are no better than chance"
    low, radius = types.quality["map"]["low"], inspection.radius
    recall = types.quality["recall_within"]["value"]
    of_ball, _ = strangers(inspection.histogram, radius)
    empty = float(np.mean(inspection.use.others == 0))
    grade = "Good" if low >= 1 - ONE_IN_TEN else "Fair" if low >= _HALF else "Poor"
    suits = of_ball < ONE_IN_TEN and empty < ONE_IN_TEN and recall >= _HALF
    but = "" if grade != "Good" or suits else f", but a radius of {radius} does not suit them"
    return (
        f"{grade} codes{but}: {percent(recall)} of a query's type lies within radius {radius}, and "
        f"{percent(of_ball)} of what lies there is of other types"
    )
