"""What a hundred million, a billion and ten billion items take: a plan, from measured figures.

``python -m hashsearch.bench.scale_plan`` writes ``benchmarks/scale.md`` from what
``benchmarks/recorded/2-cores`` has measured. Each figure there names what it was reckoned from, and
what was assumed: nothing else is in it. The same records give the same page.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hashsearch.bench.fan_out import DRAWS, fan_out
from hashsearch.bench.growth import exponents
from hashsearch.errors import DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Plan", "plan", "render"]

_RECORDED = Path("benchmarks/recorded/2-cores")
_PAGE = Path("benchmarks/scale.md")
_RECORDS = ("growth", "builds", "shard-answers", "ray-encoding")
_SIZES = (10**8, 10**9, 10**10)
_KINDS = ("learned", "uniform")

# Assumed.
_CORES = 16
_MEMORY_GB = 64
_NETWORK_US = 500.0


class Plan(NamedTuple):
    """What a number of items takes in shards.

    Attributes:
        items: in all.
        codes: their kind.
        shards: how many.
        machines: that hold and search them, and build them before.
        file_bytes: of all files.
        memory_bytes: that a machine holds while its shards are searched.
        encode_hours: to read and encode the photos.
        arrange_s: to make and write the file of one shard, once it is encoded.
        nearest_us: the best 10 of one shard, median.
    """

    items: int
    codes: str
    shards: int
    machines: int
    file_bytes: float
    memory_bytes: float
    encode_hours: float
    arrange_s: float
    nearest_us: float


def plan(items: int, shard: dict[str, Any], photos_per_s: float) -> Plan:
    """Reckon it.

    Args:
        items: in all.
        shard: what was measured of a gallery as large as a shard, a record of
            :func:`hashsearch.bench.growth.growth`.
        photos_per_s: that a core reads and encodes.
    """
    shards = math.ceil(items / shard["items"])
    held = shard["search_bytes_per_item"] * shard["items"]
    on_one = min(_CORES, int(_MEMORY_GB * 1e9 // held))
    machines = math.ceil(shards / on_one)
    return Plan(
        items,
        shard["codes"],
        shards,
        machines,
        file_bytes=shard["file_bytes_per_item"] * items,
        memory_bytes=min(on_one, shards) * held,
        encode_hours=items / (photos_per_s * _CORES * machines) / 3600,
        arrange_s=shard["build_s"] + shard["write_s"],
        nearest_us=shard["nearest_us"],
    )


def render(records: dict[str, dict[str, Any]]) -> str:
    """The page, in Markdown.

    Args:
        records: by name, ``growth``, ``builds``, ``shard-answers`` and ``ray-encoding``: what the
            modules of these names recorded.
    """
    return "\n".join(_lines(records)) + "\n"


def _lines(records: dict[str, dict[str, Any]]) -> Iterator[str]:
    growth, builds = records["growth"]["records"], records["builds"]
    answers = records["shard-answers"]
    cores = builds["machine"]["cores"]
    photos_per_s = builds["reading"]["images_per_s"]["build"] / cores
    shard_items = answers["items"]
    shards = {kind: _record(growth, kind, shard_items) for kind in _KINDS}
    plans = [plan(items, shards[kind], photos_per_s) for kind in _KINDS for items in _SIZES]
    largest = max(each["items"] for each in growth)
    listing = max(look["own_bytes"] for look in builds["memory"]["curve"])
    listed = builds["memory"]["images"]

    yield "# A hundred million, a billion, ten billion items"
    yield ""
    yield (
        "Written by `python -m hashsearch.bench.scale_plan` from the records in "
        "[recorded/2-cores](recorded/2-cores); [METHOD](METHOD.md) says how those are made. The "
        f"largest gallery that was built has {_count(largest)} items, on one core of "
        f"{_machine(records['growth'])}. What lies beyond is reckoned, from what the letters in "
        "the tables say, not measured."
    )
    yield ""
    yield "## What is assumed"
    yield ""
    yield from (
        f"- **A, machines**: {_CORES} cores, each as quick as the measured one, and "
        f"{_MEMORY_GB} GB of memory. Each holds as many shards as it has cores and memory for.",
        f"- **B, shards**: {_count(shard_items)} items, the size that was measured; codes of 12 "
        "bytes, drawn from learned ones, or uniform, which never repeat and are the worst case; "
        "ids as short as numbers; no labels, paths or thumbnails.",
        f"- **C, encoding**: JPEGs of 1,000 x 1,000 pixels, by the encoder that ships, on local "
        f"disks. A core reads and encodes {photos_per_s:,.0f} a second: what {cores} cores were "
        f"measured to do together, {builds['reading']['images_per_s']['build']:,.0f}, each its "
        "part. Cores and machines add up.",
        "- **D, one build a shard**: each shard is built by a command of its own. Its list of "
        f"files and what is known of them took {listing / 1e6:,.0f} MB for {_count(listed)}, and "
        "grows like their number.",
        "- **E, a query asks all shards at once**, each on a core of its own that does nothing "
        "else. To encode the query, and to merge the answers, is not in the times.",
        f"- **F, network**: {_NETWORK_US:,.0f} us there and back.",
        "- **G, chance**: shards are slow independently of each other.",
        "- **H, one copy** of each shard. That no query may fail while a machine is away takes "
        "twice the machines.",
    )
    yield ""
    yield "## In shards"
    yield ""
    yield from _table(
        (
            "items",
            "codes (B)",
            "shards (B)",
            "machines (A, H)",
            "files, GB (B)",
            "memory a machine, searching, GB (A, B)",
            "reading and encoding, hours (A, C)",
            "then making the file of each shard, s (B)",
            "best 10 of a shard, median, ms (B, E)",
        ),
        [
            (
                _count(each.items),
                each.codes,
                f"{each.shards:,}",
                f"{each.machines:,}",
                f"{each.file_bytes / 1e9:,.1f}",
                f"{each.memory_bytes / 1e9:,.1f}",
                f"{each.encode_hours:,.1f}",
                f"{each.arrange_s:,.1f}",
                f"{each.nearest_us / 1000:,.2f}",
            )
            for each in plans
        ],
    )
    yield ""
    most = shard_items * listing / listed
    yield (
        f"The build of one shard holds {most / 1e9:,.1f} GB for its files and what is known of "
        f"them (D), and {shards['learned']['build_bytes_per_item'] * shard_items / 1e9:,.2f} GB "
        "while it is arranged (B). All shards work on every query, so "
        f"{_SIZES[-1] // 10**9:,} billion items "
        f"are asked no more queries a second than one shard is: "
        f"{1e6 / shards['learned']['nearest_us']:,.0f}, one after another (B, E); more take more "
        "copies of all."
    )
    yield ""
    yield from _workers(records["ray-encoding"])
    yield from _waiting(answers)
    yield from _in_one(growth)


def _workers(report: dict[str, Any]) -> Iterator[str]:
    """What was measured of adding up workers, for assumption C."""
    photos = [int(number) for number in report["ways"][0]["seconds"]]
    yield "## Whether workers add up"
    yield ""
    yield (
        "`python -m hashsearch.bench.ray_encoding`: the quickest run of whole commands, with their "
        f"start, on {report['machine']['cores']} cores with a load of up to {report['load']:g}: "
        "past the number of cores, other work took its share, and the times are that much longer. "
        "That workers add up past two, and over machines, is assumed (C)."
    )
    yield ""
    yield from _table(
        ("way", "workers", *(f"{number:,} photos, s" for number in photos), "runs of each"),
        [
            (
                each["way"],
                str(each["workers"]),
                *(f"{min(times):.1f}" for times in each["seconds"].values()),
                str(min(len(times) for times in each["seconds"].values())),
            )
            for each in report["ways"]
        ],
    )
    yield ""


def _waiting(answers: dict[str, Any]) -> Iterator[str]:
    yield "## How long a query waits for the last shard"
    yield ""
    load, cores = answers["load"], answers["machine"]["cores"]
    asked, k = answers["queries"], answers["k"]
    n_answers = len(answers["clock_us"])
    yield (
        f"Simulated (E, F, G): {DRAWS:,} queries, each of which waits for the slowest of its "
        f"shards, whose answers are drawn, with replacement, from {n_answers:,} real ones. "
        f"{answers['shards']} shards of {_count(answers['items'])} items (B, learned), open in one "
        f"process, were asked the best {k} of {asked:,} queries each, on one core of "
        f"{_machine(answers)}. *Processor*: what the core took for it. *Clock*: until the answer "
        f"was there, with a load of {load:g} on the machine's {cores} cores: past their number, "
        "answers waited for other work, which E excludes. No wait can be longer here than the "
        f"slowest of the {n_answers:,} answers, so the last rows say the least of the tail."
    )
    yield ""
    rows = []
    for shards in (1, 10, 100, 1000):
        waits = [
            np.percentile(
                fan_out(np.array(answers[name]), shards, network_us=_NETWORK_US), (50, 95, 99)
            )
            for name in ("processor_us", "clock_us")
        ]
        rows.append(
            (
                f"{shards:,}",
                _count(shards * answers["items"]),
                *(f"{each / 1000:,.1f}" for each in np.concatenate(waits)),
            )
        )
    heads = [f"{name}, {p}" for name in ("processor", "clock") for p in ("p50", "p95", "p99")]
    yield from _table(("shards", "items", *(f"{head}, ms" for head in heads)), rows)
    yield ""


def _in_one(growth: Sequence[dict[str, Any]]) -> Iterator[str]:
    largest = max(each["items"] for each in growth)
    yield "## The same in one gallery"
    yield ""
    yield (
        f"Why shards: one core, one file. {_count(largest)} items are measured. The others are "
        "reckoned by the power of the number of items with which each figure grew from "
        f"{_count(largest // 10)} to {_count(largest)} (in brackets), which is assumed to go on: "
        "over all sizes the powers are smaller, as whatever its size a search takes some time."
    )
    yield ""
    names = {
        "file_bytes_per_item": ("file, GB", 1e-9),
        "build_bytes_per_item": ("memory to build, GB", 1e-9),
        "build_s": ("to build of codes, s", 1.0),
        "open_s": ("to open, ms", 1e3),
        "nearest_us": ("best 10, median, ms", 1e-3),
    }
    rows = []
    for kind in _KINDS:
        measured = [_record(growth, kind, items) for items in (largest // 10, largest)]
        powers = exponents(measured)
        for name, (told, unit) in names.items():
            at_largest = measured[1][name] * (largest if name.endswith("_per_item") else 1) * unit
            figures = [at_largest * (items / largest) ** powers[name] for items in _SIZES]
            rows.append((f"{told} ({powers[name]:g})", kind, *(_figure(each) for each in figures)))
    yield from _table(("figure", "codes (B)", *map(_count, _SIZES)), rows)


def _record(growth: Iterable[dict[str, Any]], kind: str, items: int) -> dict[str, Any]:
    for record in growth:
        if (record["codes"], record["items"]) == (kind, items):
            return record
    raise DatasetMissing(
        f"growth.json has no {kind} codes of {items:,} items; measure them with "
        "`python -m hashsearch.bench.growth`"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * (len(heads) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _machine(report: dict[str, Any]) -> str:
    machine = report["machine"]
    return f"{machine['cpu']}, {machine['memory_gib']:g} GiB"


def _count(items: int) -> str:
    for unit, name in ((10**9, "billion"), (10**6, "million")):
        if items >= unit:
            return f"{items / unit:,g} {name}"
    return f"{items:,}"


def _figure(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hashsearch.bench.scale_plan", description=__doc__
    )
    parser.add_argument("--recorded", type=Path, default=_RECORDED, help="folder [%(default)s]")
    parser.add_argument("--out", type=Path, default=_PAGE, help="the page [%(default)s]")
    options = parser.parse_args()
    records = {
        name: json.loads((options.recorded / f"{name}.json").read_text(encoding="utf-8"))
        for name in _RECORDS
    }
    options.out.write_text(render(records), encoding="utf-8")


if __name__ == "__main__":
    _main()
