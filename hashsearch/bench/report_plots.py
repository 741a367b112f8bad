"""The plots of a report, as PNG files in memory; they look as those of a record do."""

from __future__ import annotations

from itertools import cycle, product
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from hashsearch.bench.plots import COLOURS, new_figure, png_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashsearch.bench.comparison import Group

__all__ = ["against_bits", "discriminators"]

_MARKERS = "os^Dv<>PX*"
_LINES = ("-", "--", "-.", ":")  # where there are more systems than colours


def against_bits(groups: Sequence[Group], protocol: str) -> bytes:
    """MAP (or, for the same item, recall@10) of each system against the length of its code.

    Args:
        groups: of one protocol.
        protocol: its name, for the title.

    Returns:
        A PNG file.
    """
    what, figure = "mAP", "average_precision"
    if protocol == "same-item":
        what, figure = "recall@10", "recall_at_10"
    made, axes = new_figure(f"{what} against bits", f"{protocol}; bars: 95 % intervals")
    systems = list(dict.fromkeys(group.system for group in groups))
    for system, marker, colour in zip(systems, cycle(_MARKERS), cycle(COLOURS)):
        points = sorted(
            (group for group in groups if group.system == system), key=lambda group: group.n_bits
        )
        summaries = [group.summary(figure) for group in points]
        height = [summary["value"] or 0.0 for summary in summaries]
        ends = [
            (s["value"] - s["low"], s["high"] - s["value"])
            if s["value"] is not None and s["low"] is not None and s["high"] is not None
            else (0.0, 0.0)
            for s in summaries
        ]
        error = np.array(ends).T
        bits = [group.n_bits for group in points]
        if bits == [0]:
            axes.axhline(height[0], color=colour, linestyle=":", label=system)
            continue
        axes.errorbar(
            bits, height, yerr=error, marker=marker, color=colour, capsize=3, label=system
        )
    axes.set_xlabel("bits of the semantic code")
    axes.set_xticks(sorted({group.n_bits for group in groups if group.n_bits}))
    axes.set_ylabel(what)
    made.legend(loc="outside right upper", frameon=False, fontsize=8)
    return png_of(made)


def discriminators(accuracies: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """How often discriminators are right, epoch by epoch; a band spans the seeds.

    Args:
        accuracies: by name: for each seed, one value an epoch.

    Returns:
        A PNG file.
    """
    made, axes = new_figure(
        "How often the discriminator is right", "mean of the seeds; bands: least and most"
    )
    for (name, seeds), (line, colour) in zip(accuracies.items(), cycle(product(_LINES, COLOURS))):
        epochs = min(map(len, seeds))
        values = np.array([list(seed)[:epochs] for seed in seeds])
        steps = np.arange(1, epochs + 1)
        axes.plot(steps, values.mean(axis=0), color=colour, linestyle=line, label=name)
        axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2)
    axes.axhline(0.5, color="black", linestyle=":", linewidth=1, label="chance")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("share of cases")
    axes.set_ylim(0.45, 1.0)
    made.legend(loc="outside lower center", frameon=False, fontsize=8)
    return png_of(made)
