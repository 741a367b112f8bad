"""A record as tables of text, for whoever prints them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Table", "interval", "tables"]


@dataclass(frozen=True)
class Table:
    """Rows of text under column names.

    Attributes:
        title: what is measured, by which protocol and rule.
        columns: their names; all but the first ``n_text`` hold numbers.
        rows: one text a column.
        note: how to read it; may be empty.
        n_text: how many columns, the first ones, hold text.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    n_text: int = 1


def tables(result: dict[str, Any]) -> list[Table]:
    """The tables of a record (see :func:`hashsearch.bench.run`), those that have rows."""
    made = [
        _quality(result),
        _same_item(result),
        _pairs(result),
        _latency(result),
        _storage(result),
        *(_peers(entry, task) for entry in result["peers"] for task in _TASKS),
        _overheads(result),
    ]
    return [table for table in made if table.rows]


def _quality(result: dict[str, Any]) -> Table:
    entries = result["quality"]
    settings = result["settings"]
    radius = settings["radius"]
    rows = [
        (
            _scale(entry),
            _count(entry["items"]),
            interval(entry["map"]),
            interval(entry["precision_within"]),
            interval(entry["recall_within"]),
            f"{entry['empty_balls']:.1%}",
            f"{entry['mean_ball_size']:,.1f}",
            _share(entry["precision_at"].get("10")),
        )
        for entry in entries
    ]
    queries = f"{_count(entries[0]['queries'])} queries" if entries else ""
    one_order = next(
        (entry["one_order_map"] for entry in entries if "one_order_map" in entry), None
    )
    note = "In brackets: 95 % bootstrap interval over queries. mAP: tie-aware, by distance."
    if one_order:
        note += f" By the order that a search returns, mAP is {_share(one_order)}."
    return Table(
        f"Quality: {settings['protocol']}, neighbours: {settings['neighbours']}, {queries}",
        (
            "gallery",
            "items",
            "mAP",
            f"precision within {radius}",
            f"recall within {radius}",
            "empty balls",
            "ball size",
            "precision@10",
        ),
        tuple(rows),
        note,
    )


def _same_item(result: dict[str, Any]) -> Table:
    entry = result["same_item"]
    rows = [
        (f"recall@{k}", interval(value))
        for k, value in (entry or {"recall_at": {}})["recall_at"].items()
    ]
    title = "Same item"
    if entry:
        title += (
            f": deformed views of {_count(entry['queries'])} among {_count(entry['items'])} items"
        )
    return Table(title, ("metric", "value"), tuple(rows))


def _pairs(result: dict[str, Any]) -> Table:
    entry = result.get("pairs")
    if not entry:
        return Table("Judged pairs", (), ())
    rows = []
    for kind, wrong in (("relevant", "relevant_outside"), ("irrelevant", "irrelevant_inside")):
        at_distance = entry["at_distance"]["distance"][kind]
        if entry[kind]:
            rows.append(
                (
                    kind,
                    _count(entry[kind]),
                    _count(entry[wrong]["queries"]),
                    interval(entry[wrong]),
                    *(str(_quantile(at_distance, share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
                    str(_quantile(entry["at_distance"]["full_distance"][kind], 0.5)),
                )
            )
    note = (
        "Wrong side: relevant pairs outside, irrelevant ones inside; in brackets the 95 % interval "
        "over queries. Least to most: quartiles of the distance in bits."
    )
    areas = [entry["separation"][name] for name in ("distance", "full_distance")]
    if None not in areas:
        note += (
            f" A relevant pair is nearer than an irrelevant one with probability {areas[0]:.4f}, "
            f"by the full distance {areas[1]:.4f}; a tie counts half."
        )
    return Table(
        f"Judged pairs: {entry['file']}, {_count(entry['queries'])} queries",
        (
            "judged",
            "pairs",
            "queries",
            f"wrong side of radius {entry['radius']}",
            "least",
            "25 %",
            "median",
            "75 %",
            "most",
            "full median",
        ),
        tuple(rows),
        note,
    )


def _quantile(at_distance: list[int], share: float) -> int:
    """The least distance within which this share of the pairs lies, of those that are there."""
    within = list(accumulate(at_distance))
    return next(
        distance
        for distance, count in enumerate(at_distance)
        if count and within[distance] >= share * within[-1]
    )


_OPERATIONS = {"nearest": "nearest {k}", "within": "whole ball", "size": "size of the ball"}


def _latency(result: dict[str, Any]) -> Table:
    settings = result["settings"]
    rows = [
        (
            _scale(entry),
            entry["codes"],
            _count(entry["distinct_codes"]),
            _OPERATIONS[operation["operation"]].format(**operation),
            _count(operation["p50_us"]),
            _count(operation["p95_us"]),
            _count(operation["p99_us"]),
            _count(operation["queries_per_s"]),
            _count(operation["batched_queries_per_s"]),
            _count(operation["all_cores_queries_per_s"]),
            "-"
            if operation["floor_us"] is None
            else f"{operation['p50_us'] / operation['floor_us']:,.1f}",
            f"{entry['recall']:.3f}",
        )
        for entry in result["latency"]
        for operation in entry["operations"]
    ]
    return Table(
        f"Latency: radius {settings['radius']}, 1 thread, {result['machine']['cpu']}",
        (
            "gallery",
            "codes",
            "distinct",
            "operation",
            "p50 us",
            "p95 us",
            "p99 us",
            "queries/s",
            "batched q/s",
            "... all cores",
            "x floor",
            "recall",
        ),
        tuple(rows),
        "Recall: against brute force. Uniform random codes are the worst case; real ones bunch. "
        "x floor: how many times what the least bytes take from memory (what a cache holds takes "
        "less).",
    )


def _storage(result: dict[str, Any]) -> Table:
    rows = [
        (
            _scale(entry),
            entry["codes"],
            _count(entry["items"]),
            "-" if entry["build_s"] is None else f"{entry['build_s']:.2f}",
            str(entry["code_bytes"]),
            "-" if entry["bytes_per_item"] is None else f"{entry['bytes_per_item']:.1f}",
            "-" if entry["file_bytes"] is None else f"{entry['file_bytes'] / 1e6:,.2f}",
        )
        for entry in result["latency"]
    ]
    return Table(
        "Building and storage",
        ("gallery", "codes", "items", "build s", "code bytes", "file bytes/item", "file MB"),
        tuple(rows),
        "A file holds codes, ids, labels and thumbnails where there are any, and the indexes.",
    )


_TASKS = {
    "ball": "all items within the radius {radius} of the semantic code",
    "nearest": "the {k} nearest items by the whole code",
}


def _peers(entry: dict[str, Any], task: str) -> Table:
    done = [system for system in entry["systems"] if system["task"] == task]
    rows = [
        (
            system["name"],
            system["setting"],
            f"{system['build_s']:.2f}",
            f"{system['bytes_per_item']:.1f}",
            _count(system["p50_us"]),
            _count(system["p95_us"]),
            _count(system["queries_per_s"]),
            _count(system["batched_queries_per_s"]) if system["batched_queries_per_s"] else "-",
            "-" if system["recall"] is None else f"{system['recall']:.3f}",
            f"{system['ratio']:,.2f}",
        )
        for system in done
        if not system["skipped"]
    ]
    notes = ["x first: how many times the median of the first system, which is ours."]
    notes += [f"{system['name']}: {system['skipped']}." for system in done if system["skipped"]]
    return Table(
        f"Peers: {_count(entry['items'])} {entry['codes']} codes, 1 thread; "
        + _TASKS[task].format(**entry),
        (
            "system",
            "setting",
            "build s",
            "bytes/item",
            "p50 us",
            "p95 us",
            "queries/s",
            "batched q/s",
            "recall",
            "x first",
        ),
        tuple(rows),
        " ".join(notes),
        n_text=2,
    )


def _overheads(result: dict[str, Any]) -> Table:
    overheads = result["overheads"] or {"skipped": "not asked for"}
    if overheads["skipped"]:
        return Table("Overheads", (), ())
    cold, encoding = overheads["cold_query"], overheads["encoding"]
    torch_s = cold["import_torch_s"]
    rows = (
        (
            "cold query, against importing torch",
            f"{cold['query_s']:.2f} s",
            cold["skipped"] if torch_s is None else f"{torch_s:.2f} s",
            "-" if torch_s is None else f"{cold['ratio']:.2f}",
        ),
        (
            "encoding into a gallery, against ONNX Runtime alone",
            f"{_count(encoding['gallery_images_per_s'])} images/s",
            f"{_count(encoding['bare_images_per_s'])} images/s",
            f"{encoding['ratio']:.2f}",
        ),
    )
    return Table("Overheads", ("what", "hashsearch", "reference", "ratio"), rows)


def _scale(entry: dict[str, Any]) -> str:
    return "at hand" if entry["scale"] == "gallery" else str(entry["scale"])


def _share(estimate: dict[str, Any] | None) -> str:
    return "-" if estimate is None or estimate["value"] is None else f"{estimate['value']:.4f}"


def interval(estimate: Mapping[str, Any]) -> str:
    """An estimate (:func:`hashsearch.bench.quality.estimate`), its interval if it has one."""
    if estimate["value"] is None:
        return "-"
    if estimate["low"] is None:
        return f"{estimate['value']:.4f}"
    return f"{estimate['value']:.4f} [{estimate['low']:.4f}, {estimate['high']:.4f}]"


def _count(value: float) -> str:
    return f"{value:,.0f}"
