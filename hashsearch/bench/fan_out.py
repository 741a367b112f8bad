"""How the slowest of many shards makes a query wait: from the answers of real ones.

``python -m hashsearch.bench.fan_out`` opens shards, galleries of drawn learned codes as
:mod:`hashsearch.bench.growth` draws them, in one process on one core, asks each for the best 10 of
many queries, one after another, and notes what every answer took: by the clock, and of the
processor, which leaves out what other work on the machine made it wait. :func:`fan_out` draws from
them what a query waits that must hear from so many shards.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.growth import drawn_codes
from hashsearch.bench.machine import describe_machine, one_core
from hashsearch.bench.scale import Originals, copy_codes, parse_scale
from hashsearch.datasets import fashion_mnist
from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery

__all__ = ["DRAWS", "fan_out", "shard_answers"]

_ENCODER = "fashion-mnist"
_BASE = 100_000  # encoded images that codes are drawn from
_K, _RADIUS = 10, 2
_WARM_UP = 20  # queries
DRAWS = 20_000
"""How many queries are simulated unless told."""


def shard_answers(
    items: int,
    shards: int,
    queries: int,
    base: npt.NDArray[np.uint8],
    *,
    n_bits: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Time the answers of shards to the same queries.

    Args:
        items: in each shard.
        shards: how many; all are open at once.
        queries: how many; their codes are drawn as those of the items are.
        base: ``uint8 (m, code_bytes)``, what codes are drawn from.
        n_bits: of the semantic code.
        seed: of the draws.

    Returns:
        ``items``, ``shards``, ``queries``, ``k``, ``load`` (how many processes wanted to run, on
        average of a minute, at the start), and of all answers in order ``clock_us`` and
        ``processor_us``. Ready for JSON.
    """
    load = os.getloadavg()[0]
    fine_bits = 8 * base.shape[1] - n_bits
    galleries = [
        Gallery.from_codes(
            drawn_codes("learned", items, base, n_bits, seed=seed + 1 + number),
            n_bits=n_bits,
            fine_bits=fine_bits,
        )
        for number in range(shards)
    ]
    asked = drawn_codes("learned", queries, base, n_bits, seed=seed)
    clock, processor = [], []
    for gallery in galleries:
        for number in range(-_WARM_UP, queries):
            code = asked[[number]]
            start, start_here = time.perf_counter_ns(), time.thread_time_ns()
            gallery.nearest(code, k=_K, radius=_RADIUS)
            end_here, end = time.thread_time_ns(), time.perf_counter_ns()
            if number >= 0:
                clock.append((end - start) / 1000)
                processor.append((end_here - start_here) / 1000)
    return {
        "items": items,
        "shards": shards,
        "queries": queries,
        "k": _K,
        "load": round(load, 1),
        "clock_us": [round(each, 1) for each in clock],
        "processor_us": [round(each, 1) for each in processor],
    }


def fan_out(
    answers_us: npt.NDArray[np.float64],
    shards: int,
    *,
    network_us: float,
    draws: int = DRAWS,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """What a query waits for the last of its shards, simulated.

    Each shard's answer is drawn with replacement from the measured ones, whichever shard and query
    they are of: shards are slow independently of each other.

    Args:
        answers_us: ``float64 (n,)``, measured, in microseconds.
        shards: that a query asks, all at once.
        network_us: of the way there and back, added once, in microseconds.
        draws: how many queries.
        seed: of the draws.

    Returns:
        ``float64 (draws,)``, in microseconds.

    >>> fan_out(np.array([300.0]), 10, network_us=500.0, draws=2).tolist()
    [800.0, 800.0]
    """
    rng = np.random.default_rng(seed)
    slowest = np.zeros(draws)
    for _ in range(shards):
        np.maximum(slowest, rng.choice(answers_us, draws), out=slowest)
    return slowest + network_us


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hashsearch.bench.fan_out", description=__doc__)
    parser.add_argument("--items", default="10m", help="in a shard [%(default)s]")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="JSON file of the answers", required=True)
    options = parser.parse_args()
    encoder = Encoder.load(_ENCODER)
    base = copy_codes(Originals(fashion_mnist.sample(), encoder), _BASE)
    with one_core():
        answers = shard_answers(
            parse_scale(options.items),
            options.shards,
            options.queries,
            base,
            n_bits=encoder.n_bits,
        )
    report = {"machine": describe_machine(), **answers}
    options.out.write_text(json.dumps(report) + "\n", encoding="utf-8")
    for name in ("clock_us", "processor_us"):
        p50, p99 = np.percentile(answers[name], [50, 99])
        print(f"{name}: median {p50:,.0f}, 99th {p99:,.0f}")  # noqa: T201 - its report


if __name__ == "__main__":
    _main()
