"""The plots of a record, as PNG files in memory.

Drawn on figures of their own, never through pyplot, whose current figure is shared by
the whole process. Colours: Okabe & Ito, told apart with any kind of colour vision; every
series differs in marker or line, too.
"""

from __future__ import annotations

import io
from itertools import cycle
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from hashsearch.bench.scale import format_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "PLOT_NAMES", "draw", "new_figure", "new_panels", "over_radii", "png_of"]

_BLUE, _ORANGE, _GREEN, _PINK, _SKY, _RED, _BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#000000",
)
COLOURS = (_BLUE, _ORANGE, _GREEN, _PINK, _SKY, _RED, _BLACK)
_SIZE = (7.2, 5.0)  # inches
_OPERATIONS = {
    "nearest": ("best 10", _BLUE, "o"),
    "within": ("whole ball", _SKY, "s"),
    "size": ("size of the ball", _BLACK, "P"),
}
# At a single scale there are no lines to tell them apart.
_OF_CODES: dict[str, dict[str, Any]] = {
    "learned": {"linestyle": "-"},
    "uniform": {"linestyle": "--", "markerfacecolor": "white"},
}
_HEAD = 0.6  # inches for the title of panels
_WIDE_SIZE = (11.0, 6.0)
PLOT_NAMES = ("precision-recall.png", "radius.png", "pairs.png", "latency.png", "peers.png")
_DPI = 100


def draw(result: dict[str, Any]) -> dict[str, bytes]:
    """Each plot that a record (see :func:`hashsearch.bench.run`) has the figures for.

    Returns:
        PNG bytes (720 x 500 pixels) by file name: ``precision-recall.png`` and
        ``radius.png`` where quality was measured, ``pairs.png`` where judged pairs were,
        ``latency.png`` where latency was; and ``peers.png`` (1,100 x 600) where other engines
        were.
    """
    plots = {}
    if result["quality"]:
        entry = result["quality"][0]
        plots["precision-recall.png"] = _precision_recall(entry)
        plots["radius.png"] = _against_radius(entry)
    if result.get("pairs"):
        plots["pairs.png"] = _judged_pairs(result["pairs"])
    if result["latency"]:
        plots["latency.png"] = _latency(result)
    if result["peers"]:
        plots["peers.png"] = _peers(result)
    return plots


def _precision_recall(entry: dict[str, Any]) -> bytes:
    """Mean precision against mean recall, a point for each radius."""
    figure, axes = new_figure("Precision and recall, every radius", _measured(entry))
    curve, radius = entry["curve"], entry["radius"]
    axes.plot(curve["recall"], curve["precision"], "o-", color=_BLUE, markersize=4, clip_on=False)
    if radius < len(curve["radius"]):
        recall, precision = curve["recall"][radius], curve["precision"][radius]
        axes.plot(
            [recall],
            [precision],
            "D",
            color=_RED,
            markersize=9,
            label=f"radius {radius}: precision {precision:.3f}, recall {recall:.3f}",
            clip_on=False,
        )
        axes.legend(loc="lower left", frameon=False)
    axes.set_xlabel("recall (share of the relevant items that is in the ball)")
    axes.set_ylabel("precision (share of the ball; 0 if empty)")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    _percent(axes.xaxis)
    _percent(axes.yaxis)
    return png_of(figure)


def _against_radius(entry: dict[str, Any]) -> bytes:
    """Mean precision and mean recall against the radius."""
    figure, axes = new_figure("Precision and recall against the radius", _measured(entry))
    curve = entry["curve"]
    axes.plot(
        curve["radius"],
        curve["precision"],
        "o-",
        color=_BLUE,
        markersize=4,
        label="precision (0 if empty)",
    )
    axes.plot(curve["radius"], curve["recall"], "s--", color=_ORANGE, markersize=4, label="recall")
    over_radii(axes, entry, "mean over queries")
    return png_of(figure)


def _judged_pairs(entry: dict[str, Any]) -> bytes:
    """Share of the judged pairs on the wrong side of each radius, with its interval."""
    figure, axes = new_figure(
        "Judged pairs on the wrong side of the radius",
        f"{entry['queries']:,} queries, {entry['relevant']:,} relevant and "
        f"{entry['irrelevant']:,} irrelevant pairs; bands: 95 % interval over queries",
    )
    curve = entry["curve"]
    for kind, wrong, colour, style in (
        ("relevant", "relevant_outside", _BLUE, "o-"),
        ("irrelevant", "irrelevant_inside", _ORANGE, "s--"),
    ):
        if not entry[kind]:
            continue
        shares = curve[wrong]
        label = f"{kind} pairs that lie {wrong.partition('_')[2]}"
        axes.plot(curve["radius"], shares["value"], style, color=colour, markersize=4, label=label)
        if None not in shares["low"]:
            axes.fill_between(
                curve["radius"], shares["low"], shares["high"], color=colour, alpha=0.2, linewidth=0
            )
    over_radii(axes, entry, "share of the pairs")
    return png_of(figure)


def over_radii(axes: Axes, entry: dict[str, Any], what: str) -> None:
    """Finish axes of shares against the radius, and mark the one that was used."""
    radius = entry["radius"]
    axes.axvline(radius, color=_BLACK, linewidth=1, linestyle=":", label=f"radius used: {radius}")
    axes.set_xlabel("radius (bits of the semantic code)")
    axes.set_ylabel(what)
    axes.set_xlim(-0.5, entry["curve"]["radius"][-1] + 0.5)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _percent(axes.yaxis)
    axes.legend(loc="best", frameon=False)


def _latency(result: dict[str, Any]) -> bytes:
    """Median time of a single query against the number of items, both logarithmic."""
    settings = result["settings"]
    figure, axes = new_figure(
        "Latency against gallery size",
        f"single queries, radius {settings['radius']}, 1 thread, {result['machine']['cpu']}",
    )
    at_hand = [entry for entry in result["latency"] if entry["scale"] == "gallery"]
    at_scales = [entry for entry in result["latency"] if entry["scale"] != "gallery"]
    series: dict[str, list[tuple[int, float]]] = {}
    styles: dict[str, dict[str, Any]] = {}
    for entry in at_scales or at_hand:
        for operation in entry["operations"]:
            what, colour, marker = _OPERATIONS[operation["operation"]]
            name = f"hashsearch, {what}, {entry['codes']} codes"
            series.setdefault(name, []).append((entry["items"], operation["p50_us"]))
            styles[name] = {"color": colour, "marker": marker, **_OF_CODES[entry["codes"]]}
    for entry in result["peers"]:
        for system in entry["systems"]:
            if entry["codes"] != "learned" or system["task"] != "ball" or system["skipped"]:
                continue
            if system["exact"] and system["name"].startswith("FAISS"):
                index = system["name"].partition("(")[0].replace("IndexBinary", "")
                name = f"{index}, whole ball, learned codes"
                series.setdefault(name, []).append((entry["items"], system["p50_us"]))
    peers = cycle(((_GREEN, "^"), (_RED, "v"), (_ORANGE, "D")))
    for name, points in series.items():
        if name not in styles:
            colour, marker = next(peers)
            styles[name] = {"color": colour, "marker": marker, "linestyle": ":"}
        sizes, times = zip(*sorted(points), strict=True)
        axes.plot(sizes, times, markersize=6, label=name, **styles[name])
    if at_scales:
        _mark_at_hand(axes, at_hand)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("items in the gallery")
    axes.set_ylabel("median time of a query (microseconds)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda items, _: format_scale(round(items))))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time:,.0f}"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(LogLocator(subs=range(2, 10)))
        axis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    if high < 30 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # a power of ten or two: too few
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return png_of(figure)


def _mark_at_hand(axes: Axes, entries: list[dict[str, Any]]) -> None:
    """Crosses, in the colours of the operations, for the gallery itself.

    It is no scale, and on no line: it holds the queries, and lies between the others.
    """
    for entry in entries:
        for operation in entry["operations"]:
            _, colour, _ = _OPERATIONS[operation["operation"]]
            axes.plot([entry["items"]], [operation["p50_us"]], "x", color=colour, markersize=10)
        name = f"hashsearch, the gallery at hand, {entry['codes']} codes"
        axes.plot([], [], "x", color="#666666", markersize=10, label=name)


def _peers(result: dict[str, Any]) -> bytes:
    """Median time against recall of the nearest items, at the largest scale, engine by engine."""
    largest = max(entry["items"] for entry in result["peers"])
    entries = [entry for entry in result["peers"] if entry["items"] == largest]
    figure = Figure(figsize=_WIDE_SIZE, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"The {entries[0]['k']} nearest of {largest:,} items by the whole code: single queries, "
        f"1 thread, {result['machine']['cpu']}",
        fontsize=11,
    )
    styles: dict[str, dict[str, str]] = {}
    panels = figure.subplots(1, len(entries), sharey=True, squeeze=False)[0]
    for axes, entry in zip(panels, entries, strict=True):
        series: dict[str, list[tuple[float, float]]] = {}
        for system in entry["systems"]:
            # How else ours could answer, which it does not choose, is for the table.
            if system["task"] == "nearest" and not system["skipped"] and system["index"] is None:
                ours = system["name"] == "hashsearch"
                name = f"hashsearch, {system['setting']}" if ours else system["name"]
                series.setdefault(name, []).append((system["recall"], system["p50_us"]))
        for name, points in series.items():
            number = len(styles)
            style = {"color": COLOURS[number % len(COLOURS)], "marker": "oDs^vPX<>*"[number % 10]}
            recalls, times = zip(*sorted(points), strict=True)
            axes.plot(recalls, times, label=name, clip_on=False, **styles.setdefault(name, style))
        _plain(axes)
        axes.set_title(f"{entry['codes']} codes", loc="left", fontsize=11)
        axes.set_yscale("log")
        axes.set_xlim(0, 1)
        axes.set_xlabel("recall")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time:,.0f}"))
        _percent(axes.xaxis)
    panels[0].set_ylabel("median time of a query (microseconds)")
    named: dict[str, Any] = {}
    for axes in panels:
        lines, names = axes.get_legend_handles_labels()
        named |= {name: line for name, line in zip(names, lines, strict=True) if name not in named}
    figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    return png_of(figure)


def new_figure(
    title: str, subtitle: str, *, size: tuple[float, float] = _SIZE
) -> tuple[Figure, Axes]:
    """A figure with one set of axes, titled with what was measured and how.

    Args:
        title: in a few words.
        subtitle: below it, smaller.
        size: width and height in inches.
    """
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=13, pad=22)
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, fontsize=9, color="#444444")
    _plain(axes)
    return figure, axes


def new_panels(title: str, subtitle: str, count: int, *, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many small sets of axes on one scale, titled as :func:`new_figure` does."""
    rows = -(-count // columns)
    height = _HEAD + 1.5 * rows
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - _HEAD / height))
    figure = Figure(figsize=(_SIZE[0], height), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)
    figure.text(0.01, 1 - 0.25 / height, title, fontsize=13, in_layout=False)
    figure.text(0.01, 1 - 0.47 / height, subtitle, fontsize=9, color="#444444", in_layout=False)
    made = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for axes in made[:count]:
        _plain(axes)
    for axes in made[count:]:
        axes.set_axis_off()
    for axes in made[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)  # the lowest of its column
    return figure, made[:count]


def _plain(axes: Axes) -> None:
    """A grid behind the data, and no frame above or right of it."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _measured(entry: dict[str, Any]) -> str:
    return (
        f"{entry['protocol']}, neighbours: {entry['neighbours']}, {entry['queries']:,} queries, "
        f"{entry['items']:,} items"
    )


def _percent(axis: Any) -> None:
    axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def png_of(figure: Figure, *, dpi: int = _DPI) -> bytes:
    """The figure as a PNG file of so many pixels an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
