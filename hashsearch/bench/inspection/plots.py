"""The plots of an inspection, as PNG files in memory; they look as those of a record do."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from hashsearch.bench.inspection.findings import percent
from hashsearch.bench.plots import COLOURS, new_figure, over_radii, png_of
from hashsearch.bench.scale import format_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hashsearch.bench.inspection.confusion import Confusion
    from hashsearch.bench.inspection.run import Inspection

__all__ = ["PLOT_NAMES", "SCALE", "draw"]

PLOT_NAMES = ("map", "distances", "radius", "confusion", "bits", "correlation", "codes")
"""All that an inspection may have, in the order in which they are of interest."""

SCALE = 2
"""Pixels of a file for one of a page, so that they are sharp on any screen."""

_SIZE = (5.4, 4.0)  # inches: text stays readable on a phone
_DPI = 100 * SCALE
_BLUE, _ORANGE, _GREY = COLOURS[0], COLOURS[1], "#8c8c94"
_MOST_TYPES = 20  # rows of a matrix whose names can be read
# A type has a colour and a marker of its own, so that either is enough. The colours are "muted" of
# Tol, "Colour schemes", SRON/EPS/TN/09-002, 2021, told apart with any kind of colour vision, and
# black.
_MARKS = (
    ("o", "#332288"),
    ("s", "#DDCC77"),
    ("^", "#117733"),
    ("D", "#CC6677"),
    ("v", "#88CCEE"),
    ("P", "#882255"),
    ("X", "#44AA99"),
    ("h", "#999933"),
    ("*", "#AA4499"),
    ("p", "#000000"),
)
_LONGEST = 22  # letters of a type's name


def draw(inspection: Inspection) -> dict[str, bytes]:
    """Each plot that there are figures for.

    Returns:
        PNG bytes (1,080 x 800 pixels, to be shown at half of that) by name, of
        :data:`PLOT_NAMES`, in their order.
    """
    drawn: dict[str, bytes | None] = {}
    # Names of types are data: a dollar begins no formula, and a letter that the font has not is
    # drawn as a box.
    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        drawn["map"] = _map(inspection)
        drawn["distances"] = _distances(inspection)
        if inspection.of_types is not None:
            drawn["radius"] = _radius(inspection.of_types.quality)
            drawn["confusion"] = _confusion(inspection.of_types.confusion, inspection.radius)
        drawn["bits"] = _balance(inspection)
        drawn["correlation"] = _correlation(inspection)
        drawn["codes"] = _codes(inspection)
    return {name: png for name in PLOT_NAMES if (png := drawn.get(name)) is not None}


def _map(inspection: Inspection) -> bytes | None:
    """The distinct codes on a plane, coloured by type."""
    drawn = inspection.code_map
    if drawn.n_distinct < 3:
        return None
    sampled = "" if len(drawn.items) == drawn.n_distinct else f"{len(drawn.items):,} of "
    figure, axes = _figure(
        "Map of the codes",
        f"{sampled}{drawn.n_distinct:,} codes; area: items; {drawn.shown:.0%} of the "
        "variance of distances",
    )
    area = 8 + 400 * drawn.items / max(int(drawn.items.max()), 40)
    # Types with the most items get marks of their own; all others are grey.
    held = np.bincount(drawn.types + 1, weights=drawn.items, minlength=len(drawn.names) + 1)[1:]
    marked = [int(t) for t in np.argsort(-held, kind="stable")[: len(_MARKS)] if held[t]]
    rest = ~np.isin(drawn.types, marked)
    x, y = drawn.places[:, 0], drawn.places[:, 1]
    style: dict[str, Any] = {"alpha": 0.75, "linewidths": 0.4, "edgecolors": "white"}
    if rest.any():
        label = "other types" if marked else None
        axes.scatter(x[rest], y[rest], area[rest], color=_GREY, label=label, **style)
    for place, (marker, colour) in zip(sorted(marked), _MARKS, strict=False):
        own = drawn.types == place
        axes.scatter(
            x[own],
            y[own],
            area[own],
            color=colour,
            marker=marker,
            label=_short(drawn.names[place]),
            **style,
        )
    axes.set_xlabel("bits")
    axes.set_ylabel("bits")
    axes.set_aspect("equal", adjustable="datalim")
    if marked:
        legend = figure.legend(loc="outside right center", fontsize=8, frameon=False)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_sizes([36])  # type: ignore[attr-defined]
    return _png(figure)


def _distances(inspection: Inspection) -> bytes | None:
    """How far neighbours and strangers are, as shares of each."""
    histogram = inspection.histogram
    items, related = histogram.items.sum(axis=0), histogram.relevant.sum(axis=0)
    if not items.sum():
        return None
    queries, searched = len(histogram.items), len(inspection.drawn.searched)
    figure, axes = _figure(
        "Distances between items",
        f"{queries:,} queries to {searched:,} others, by the semantic code",
    )
    series = [("all pairs", items, _BLUE, "")]
    if inspection.of_types is not None:
        series = [
            ("neighbours (same type)", related, _BLUE, ""),
            ("strangers", items - related, _ORANGE, "//"),
        ]
    width = 0.9 / len(series)
    radii = np.arange(len(items))
    for place, (name, counts, colour, hatch) in enumerate(series):
        share = counts / max(int(counts.sum()), 1)
        at = radii + (place - (len(series) - 1) / 2) * width
        within = share[: inspection.radius + 1].sum()
        label = f"{name}: {percent(within)} of all within {inspection.radius}"
        axes.bar(at, share, width, color=colour, hatch=hatch, edgecolor="white", lw=0, label=label)
    axes.axvline(
        inspection.radius + 0.5, color="black", linewidth=1, linestyle=":", label="edge of the ball"
    )
    last = int(np.flatnonzero(items)[-1])
    axes.set_xlim(-0.6, max(last, inspection.radius + 1) + 0.6)
    axes.set_xlabel("distance (bits of the semantic code)")
    axes.set_ylabel("share of the pairs")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    _legend_below(figure)
    return _png(figure)


def _radius(quality: dict[str, Any]) -> bytes:
    """Mean precision and mean recall against the radius."""
    figure, axes = _figure(
        "Precision and recall against the radius",
        f"{quality['queries']:,} queries, {quality['items']:,} others; neighbours: same type",
    )
    curve = quality["curve"]
    for name, style, colour in (("precision", "o-", _BLUE), ("recall", "s--", _ORANGE)):
        label = f"{name} (0 if empty)" if name == "precision" else name
        axes.plot(curve["radius"], curve[name], style, color=colour, markersize=3.5, label=label)
    over_radii(axes, quality, "mean over queries")
    return _png(figure)


def _confusion(confusion: Confusion, radius: int) -> bytes | None:
    """What the balls of each type hold, as a matrix."""
    names, share = confusion.among(_MOST_TYPES)
    if not names:
        return None
    asking = int(np.count_nonzero(confusion.queries))
    which = "all types" if len(names) == asking else f"the {len(names)} most mixed of {asking}"
    figure, axes = _figure(
        f"What lies within {radius} bits of each type", f"mean share of a ball; {which}"
    )
    axes.grid(visible=False)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = 8 if len(names) <= 12 else 6
    shown = [_short(name) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", fontsize=size)
    axes.set_yticks(range(len(names)), shown, fontsize=size)
    axes.set_ylabel("query")
    axes.set_xlabel("found")
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.005:
            colour = "white" if value > 0.5 else "black"
            axes.text(
                column,
                row,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                color=colour,
                fontsize=size,
            )
    return _png(figure)


def _balance(inspection: Inspection) -> bytes:
    """How often each bit is 1."""
    bits = inspection.bits
    told = [
        f"{name}: {bits.entropy[part].mean():.2f} bits each" for name, part in bits.parts.items()
    ]
    figure, axes = _figure("Balance of the bits", f"entropy, mean; {', '.join(told)}")
    for (name, part), colour in zip(bits.parts.items(), (_BLUE, _ORANGE), strict=False):
        places = np.arange(part.start, part.stop)
        axes.bar(places, bits.ones[part], 0.85, color=colour, label=f"{name} code")
        constant = places[bits.minority[part] == 0]
        if len(constant):
            axes.plot(
                constant,
                np.full(len(constant), 0.5),
                "x",
                color="black",
                markersize=5,
                label=f"constant {name} bits",
            )
    axes.axhline(0.5, color="black", linewidth=1, linestyle=":", label="balanced")
    axes.set_xlim(-1, len(bits.ones))
    axes.set_ylim(0, 1)
    axes.set_xlabel("bit of the code")
    axes.set_ylabel("items in which it is 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    _legend_below(figure)
    return _png(figure)


def _correlation(inspection: Inspection) -> bytes | None:
    """Pearson's r of each pair of bits."""
    bits = inspection.bits
    if np.all(np.isnan(bits.correlation)):
        return None
    told = [
        f"{part.stop - part.start} {name} bits act as {bits.effective(part):.1f}"
        for name, part in bits.parts.items()
    ]
    figure, axes = _figure("Correlation of the bits", "; ".join(told))
    axes.grid(visible=False)
    matrix = np.ma.masked_invalid(bits.correlation)
    shown = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_facecolor("#bbbbbb")
    if len(bits.parts) > 1:
        for line in (axes.axhline, axes.axvline):
            line(bits.n_bits - 0.5, color="black", linewidth=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("bit of the code (grey: constant)")
    axes.set_ylabel("bit of the code")
    figure.colorbar(shown, ax=axes, label="r", shrink=0.85)
    return _png(figure)


def _codes(inspection: Inspection) -> bytes | None:
    """How unequally codes are used, and how many items lie in a ball."""
    use = inspection.use
    if use.sizes[0] == 1 and not use.others.any():
        return None  # nobody shares anything
    figure, axes = _figure(
        "How many share a code, how many a ball",
        f"{len(use.sizes):,} distinct semantic codes of {use.n_items:,} items",
    )
    balls = np.sort(use.others + 1)[::-1]
    for name, sizes, style, colour in (
        ("so many or more have its code", _of_items(use.sizes), "-", _BLUE),
        (f"so many or more are within {inspection.radius} bits", balls, "--", _ORANGE),
    ):
        share = np.arange(1, len(sizes) + 1) / len(sizes)
        axes.step(
            [*sizes, 1], [*share, 1], style, where="pre", color=colour, label=name, clip_on=False
        )
    axes.set_xscale("log")
    axes.set_xlim(1, max(use.n_items, 2))
    axes.set_ylim(0, 1)
    axes.set_xlabel("items, itself among them")
    axes.set_ylabel("share of the items")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda items, _: format_scale(round(items))))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    _legend_below(figure)
    return _png(figure)


def _of_items(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of 1,000 items at even steps, how many have the code of each, descending."""
    upto = np.cumsum(sizes)
    n_items = int(upto[-1])
    asked = np.linspace(0, n_items, min(n_items, 1_000), endpoint=False).astype(np.int64)
    return sizes[np.searchsorted(upto, asked, side="right")]


def _figure(title: str, subtitle: str) -> tuple[Figure, Axes]:
    figure, axes = new_figure(title, subtitle, size=_SIZE)
    # Beside a legend, axes as wide as the subtitle would be too wide.
    axes.texts[0].set_in_layout(False)
    return figure, axes


def _legend_below(figure: Figure) -> None:
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=2)


def _short(name: str) -> str:
    """What a legend has room for, on one line."""
    shown = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name
    )
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _png(figure: Figure) -> bytes:
    return png_of(figure, dpi=_DPI)
