"""How much the web service takes: searches a second, and hours of good and bad requests.

``python -m hashsearch.bench.load`` runs ``hashsearch serve`` in a process of its own and asks it
over HTTP from threads of this process, so on the same cores:

- ``throughput``: searches by id and by uploaded image (PNG, 28 x 28 pixels), from 1, 8 and 64
  clients, beside the bare loop in this process: the image encoded, the gallery searched, one
  after another.
- ``endurance``: see :mod:`hashsearch.bench.endurance`.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hashsearch.bench.endurance import endurance
from hashsearch.bench.machine import describe_machine, publish
from hashsearch.bench.scale import format_scale, parse_scale
from hashsearch.bench.service import (
    QUERIES,
    RADIUS,
    K,
    Server,
    answer,
    connect,
    form,
    query_images,
    scaled_gallery,
    served,
)
from hashsearch.encoder import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hashsearch.gallery import Gallery

__all__ = ["throughput"]

_MODULE = "hashsearch.bench.load"
_ENCODER = "fashion-mnist"
_CLIENTS = (1, 8, 64)
_ROUNDS = 3
_ENDURANCE_ITEMS = 10_000


def throughput(
    gallery: Gallery,
    encoder: Encoder,
    *,
    seconds: float = 10.0,
    clients: Sequence[int] = _CLIENTS,
    rounds: int = _ROUNDS,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Searches a second by so many clients, beside the bare loop.

    Args:
        gallery: of this encoder.
        encoder: with one thread, as the service has it.
        seconds: for each number of clients in a round.
        clients: how many ask at once.
        rounds: how often each is measured, in turns.
        folder: where the gallery lies meanwhile; None: a temporary one.

    Returns:
        ``items``, ``distinct_codes``, and ``by`` ``id`` and ``image``: ``bare_per_s``, and of each
        number of ``clients``: ``per_s``, ``share`` (of the bare loop's), ``p50_ms`` and ``p99_ms``.
        Rates are medians over the rounds, latencies are over all requests. Ready for JSON.
    """
    images = query_images()
    ids = [str(number) for number in range(0, len(gallery), max(len(gallery) // QUERIES, 1))]
    requests = {
        "id": [form({"id": id_}) for id_ in ids],
        "image": [form({}, image) for image in images],
    }

    def by_id(number: int) -> None:
        rows = gallery.content.rows_of([ids[number % len(ids)]])
        gallery.nearest(gallery.codes(rows), K, RADIUS)

    def by_image(number: int) -> None:
        gallery.nearest(encoder.encode(images[number % len(images)]), K, RADIUS)

    bare: dict[str, list[float]] = {"id": [], "image": []}
    rates: dict[tuple[str, int], list[float]] = {}
    asked: dict[tuple[str, int], list[_Asked]] = {}
    with served(gallery, folder) as (server, _):
        for _, (kind, loop) in itertools.product(
            range(rounds), (("id", by_id), ("image", by_image))
        ):
            bare[kind].append(_rate(loop, seconds))
            for count in clients:
                started = time.perf_counter()
                seen = _asked(server, requests[kind], count, seconds)
                elapsed = time.perf_counter() - started
                rates.setdefault((kind, count), []).append(len(seen.seconds) / elapsed)
                asked.setdefault((kind, count), []).append(seen)
    return {
        "items": len(gallery),
        "distinct_codes": gallery.n_distinct,
        "by": {
            kind: {
                "bare_per_s": round(float(np.median(bare[kind])), 1),
                "clients": {
                    str(count): _figures(
                        rates[kind, count], asked[kind, count], float(np.median(bare[kind]))
                    )
                    for count in clients
                },
            }
            for kind in bare
        },
    }


class _Asked(NamedTuple):
    """What clients have seen."""

    seconds: list[float]
    """That each search took."""
    failed: int
    """Searches that were not answered with 200."""


def _rate(work: Callable[[int], None], seconds: float) -> float:
    """How often a second the work is done, one after another; once before it counts."""
    work(0)
    started = time.perf_counter()
    for done in itertools.count(1):
        work(done)
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            return done / elapsed
    raise AssertionError


def _asked(server: Server, bodies: Sequence[bytes], clients: int, seconds: float) -> _Asked:
    """What so many clients see, each of which asks for one search after another."""
    ends = time.perf_counter() + seconds
    failed: Counter[int] = Counter()

    def ask(first: int, taken: list[float]) -> None:
        connection = connect(server)
        for number in itertools.count(first):
            started = time.perf_counter()
            if started >= ends:
                break
            status, _ = answer(connection, bodies[number % len(bodies)])
            taken.append(time.perf_counter() - started)
            failed[first] += status != HTTPStatus.OK
        connection.close()

    taken: list[list[float]] = [[] for _ in range(clients)]
    threads = [
        threading.Thread(target=ask, args=(number * len(bodies) // clients, own))
        for number, own in enumerate(taken)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _Asked([*itertools.chain(*taken)], sum(failed.values()))


def _figures(rates: list[float], asked: list[_Asked], bare: float) -> dict[str, float]:
    rate = float(np.median(rates))
    taken = np.concatenate([seen.seconds for seen in asked])
    return {
        "per_s": round(rate, 1),
        "share": round(rate / bare, 3),
        "p50_ms": round(1000 * float(np.percentile(taken, 50)), 2),
        "p99_ms": round(1000 * float(np.percentile(taken, 99)), 2),
        "failed": sum(seen.failed for seen in asked),
    }


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--items", default="10k,1m", help="sizes of galleries; empty: none")
    parser.add_argument("--seconds", type=float, default=10, help="for each number of clients")
    parser.add_argument(
        "--minutes", type=float, default=0, help="of endurance, with the first size"
    )
    parser.add_argument("--folder", type=Path, help="for galleries meanwhile")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    encoder = Encoder.load(_ENCODER, threads=1)
    scales = [parse_scale(text) for text in options.items.split(",") if text]
    report: dict[str, Any] = {"machine": describe_machine(), "throughput": []}
    for n_items in scales:
        gallery = scaled_gallery(n_items, encoder)
        found = throughput(gallery, encoder, seconds=options.seconds, folder=options.folder)
        report["throughput"].append(found)
    if options.minutes:
        gallery = scaled_gallery(scales[0] if scales else _ENDURANCE_ITEMS, encoder)
        report["endurance"] = endurance(gallery, options.minutes, folder=options.folder)
    publish(report, _lines(report), options.out)


def _lines(report: dict[str, Any]) -> Iterator[str]:
    for found in report["throughput"]:
        for kind, figures in found["by"].items():
            yield (
                f"{format_scale(found['items'])} items, by {kind}: "
                f"{figures['bare_per_s']:,.0f}/s bare"
            )
            for count, seen in figures["clients"].items():
                yield (
                    f"  {count} clients: {seen['per_s']:,.0f}/s ({seen['share']:.0%}), median "
                    f"{seen['p50_ms']:.1f} ms, 99 % within {seen['p99_ms']:.1f} ms, "
                    f"{seen['failed']} failed"
                )
    if found := report.get("endurance"):
        own = found["own_bytes"]
        yield (
            f"{found['minutes']:g} minutes: {found['good']:,} good requests, {found['failed']} "
            f"failed; {found['bad']:,} bad ones, {found['not_refused']} not refused; "
            f"{found['swaps']} new generations, {found['generations']} seen; own memory at most "
            f"{max(own) / 1e6:,.0f} MB, in the end {found['growth']:.3f} times what it was"
        )


if __name__ == "__main__":
    _main()
