"""The plots of a report, as PNG files in memory; they look as those of a record do."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from hashsearch.bench.plots import COLOURS, new_figure, png_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashsearch.bench.comparison import Group

__all__ = ["discriminators", "of_systems"]

_MARKERS = "os^Dv<>PX*"
_STYLES = tuple(product(("-", "--", "-.", ":"), COLOURS))


def of_systems(groups: Sequence[Group], protocol: str) -> bytes:
    """MAP (or, for the same item, recall@10) of each system: against bits, or a bar each.

    Args:
        groups: of one protocol.
        protocol: its name, for the title.

    Returns:
        A PNG file: lines over the length of the code where systems have several, else bars.
    """
    what, figure = "mAP", "average_precision"
    if protocol == "same-item":
        what, figure = "recall@10", "recall_at_10"
    systems = Counter(group.system for group in groups)
    draw = _against_bits if max(systems.values()) > 1 else _bars
    return draw(groups, protocol, what, figure)


def _against_bits(groups: Sequence[Group], protocol: str, what: str, figure: str) -> bytes:
    made, axes = new_figure(f"{what} against bits", f"{protocol}; bars: 95 % intervals")
    systems = list(dict.fromkeys(group.system for group in groups))
    for system, marker, (line, colour) in zip(systems, cycle(_MARKERS), cycle(_STYLES)):
        points = sorted(
            (group for group in groups if group.system == system), key=lambda group: group.n_bits
        )
        height, error = _estimates(points, figure)
        bits = [group.n_bits for group in points]
        if bits == [0]:
            axes.axhline(height[0], color=colour, linestyle=":", label=system)
            continue
        axes.errorbar(
            bits,
            height,
            yerr=error,
            marker=marker,
            color=colour,
            linestyle=line,
            capsize=3,
            label=system,
        )
    axes.set_xlabel("bits of the semantic code")
    axes.set_xticks(sorted({group.n_bits for group in groups if group.n_bits}))
    axes.set_ylabel(what)
    made.legend(loc="outside right upper", frameon=False, fontsize=8)
    return png_of(made)


def _bars(groups: Sequence[Group], protocol: str, what: str, figure: str) -> bytes:
    made, axes = new_figure(f"{what} of each system", f"{protocol}; lines: 95 % intervals")
    shown = list(reversed(groups))  # the first one is to stand at the top
    width, error = _estimates(shown, figure)
    axes.barh(range(len(shown)), width, xerr=error, color=COLOURS[4], capsize=3, height=0.6)
    axes.set_yticks(
        range(len(shown)), [f"{group.system}, {group.code}" for group in shown], fontsize=8
    )
    axes.set_xlabel(what)
    axes.set_xlim(0, 1)
    return png_of(made)


def _estimates(groups: Sequence[Group], figure: str) -> tuple[list[float], npt.NDArray[np.float64]]:
    """A figure of each group, and how far its interval reaches: ``float64 (2, groups)``."""
    summaries = [group.summary(figure) for group in groups]
    values = [summary["value"] or 0.0 for summary in summaries]
    ends = [
        (value - summary["low"], summary["high"] - value)
        if summary["low"] is not None and summary["high"] is not None
        else (0.0, 0.0)
        for value, summary in zip(values, summaries, strict=True)
    ]
    return values, np.array(ends).T


def discriminators(accuracies: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """How often discriminators are right, epoch by epoch; a band spans the seeds.

    Args:
        accuracies: by name: for each seed, one value an epoch.

    Returns:
        A PNG file.
    """
    made, axes = new_figure(
        "How often the discriminator is right",
        "on training batches, before it learns from them; mean, least and most of the seeds",
    )
    for (name, seeds), (line, colour) in zip(accuracies.items(), cycle(_STYLES)):
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
    made.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return png_of(made)
