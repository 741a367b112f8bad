"""The plots of a report, as PNG files in memory; they look as those of a record do."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, product
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from hashsearch.bench.plots import COLOURS, new_figure, new_panels, png_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes

    from hashsearch.bench.comparison import Group

__all__ = ["discriminators", "of_systems"]

_MARKERS = "os^Dv<>PX*"
_MOST_IN_ONE = 5  # curves whose bands can be told apart
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
    for place, value in enumerate(width):
        axes.text(0.01, place, f"{value:.3f}", va="center", fontsize=8)
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


def discriminators(
    accuracies: Mapping[str, Sequence[Sequence[float]]], settled_after: Mapping[str, int]
) -> bytes:
    """How often discriminators are right, epoch by epoch; a band spans the seeds.

    Args:
        accuracies: by name: for each seed, one value an epoch.
        settled_after: by name, of those that settle: the last epoch before.

    Returns:
        A PNG file: lines in one picture, or, of many, a panel each beside the first one's line.
    """
    title = "How often the discriminator is right"
    subtitle = "on training batches, before it learns from them; bands span the seeds"
    if settled_after:
        subtitle += "; upright: settling begins"
    curves = {name: _Curve.of(seeds) for name, seeds in accuracies.items()}
    if len(curves) <= _MOST_IN_ONE:
        made, axes = new_figure(title, subtitle)
        for (name, curve), colour in zip(curves.items(), cycle(COLOURS)):
            curve.draw(axes, colour, name)
        _frame(axes, set(settled_after.values()))
        axes.set_xlabel("epoch")
        axes.set_ylabel("share of cases")
        made.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
        return png_of(made)
    made, panels = new_panels(title, subtitle, len(curves), columns=4)
    first = next(iter(curves))
    for panel, (name, curve) in zip(panels, curves.items(), strict=True):
        if name != first:
            panel.plot(curves[first].epochs, curves[first].mean, color="#aaaaaa", linewidth=1)
        curve.draw(panel, COLOURS[0], name)
        _frame(panel, {settled_after[name]} if name in settled_after else ())
        panel.set_title(fill(name, 26), loc="left", fontsize=8)
    made.supxlabel(f"epoch; grey: {first}", fontsize=9)
    made.supylabel("share of cases", fontsize=9)
    return png_of(made)


class _Curve(NamedTuple):
    """One value an epoch, all ``float64 (epochs,)``: over the seeds."""

    epochs: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    least: npt.NDArray[np.float64]
    most: npt.NDArray[np.float64]

    @classmethod
    def of(cls, seeds: Sequence[Sequence[float]]) -> _Curve:
        n_epochs = min(map(len, seeds))
        values = np.array([list(seed)[:n_epochs] for seed in seeds])
        epochs = np.arange(1.0, n_epochs + 1)
        return cls(epochs, values.mean(axis=0), values.min(axis=0), values.max(axis=0))

    def draw(self, axes: Axes, colour: str, name: str) -> None:
        axes.plot(self.epochs, self.mean, color=colour, label=name)
        axes.fill_between(self.epochs, self.least, self.most, color=colour, alpha=0.2, linewidth=0)


def _frame(axes: Axes, settled_after: Iterable[int]) -> None:
    """Chance, where settling begins, and one scale for all."""
    axes.axhline(0.5, color="black", linestyle=":", linewidth=1, label="chance")
    for epoch in settled_after:
        axes.axvline(epoch + 0.5, color="#444444", linestyle=":", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0.45, 1.0)
