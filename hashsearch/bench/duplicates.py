"""How the search for near-identical items grows with the gallery and with the distance.

``python -m hashsearch.bench.duplicates --out FOLDER`` measures each size in a process of its own,
with as many threads as there are cores, and writes ``duplicates.json``. The codes are ``learned``
ones, those of deformed copies of the images that ship, by the encoder that ships; and ``uniform``
ones, of as many independent fair bits. Copies take about half a millisecond each to encode, once:
they are cached. Memory is read from ``/proc``, so it takes Linux.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashsearch.bench.growth import tell
from hashsearch.bench.machine import held_from_now, peak_memory
from hashsearch.bench.scale import Originals, copy_codes, parse_scale, uniform_codes
from hashsearch.datasets import fashion_mnist
from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery
from hashsearch.gallery.duplicates import find_duplicates

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["duplicates_growth"]

_MODULE = "hashsearch.bench.duplicates"
_ENCODER = "fashion-mnist"
_KINDS = ("learned", "uniform")
_WARM_UP = 1000  # items


def duplicates_growth(
    sizes: Sequence[int], distances: Sequence[int], kinds: Sequence[str] = _KINDS
) -> list[dict[str, Any]]:
    """Measure :func:`hashsearch.gallery.duplicates.find_duplicates` at these sizes.

    Args:
        sizes: numbers of items.
        distances: largest distances, in bits.
        kinds: of codes, some of ``learned`` and ``uniform``.

    Returns:
        For each kind and size: ``codes``, ``items``, and for each distance ``within_<bits>_s``,
        ``within_<bits>_bytes_per_item`` (the peak above what the gallery takes),
        ``within_<bits>_groups``, ``within_<bits>_in_groups`` (items) and
        ``within_<bits>_largest`` (items of the largest group). Ready for JSON.
    """
    encoder = Encoder.load(_ENCODER)
    records = []
    with tempfile.TemporaryDirectory(prefix="hashsearch-duplicates-") as place:
        path = Path(place) / "codes.npy"
        for kind in kinds:
            for n_items in sizes:
                codes = (
                    copy_codes(Originals(fashion_mnist.sample(), encoder), n_items)
                    if kind == "learned"
                    else uniform_codes(n_items, encoder.code_bytes)
                )
                np.save(path, codes)
                part = [str(path), str(encoder.n_bits), *map(str, distances)]
                records.append({"codes": kind, "items": n_items} | _in_a_process(part))
    return records


def _in_a_process(part: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", _MODULE, "--part", *part]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise SystemExit(f"{' '.join(part)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _measure(path: Path, n_bits: int, distances: Sequence[int]) -> dict[str, Any]:
    codes = np.load(path)
    fine_bits = 8 * codes.shape[1] - n_bits
    # What is loaded with the first search is neither time nor memory of another.
    few = Gallery.from_codes(codes[:_WARM_UP], n_bits=n_bits, fine_bits=fine_bits)
    find_duplicates(few, 1)
    gallery = Gallery.from_codes(codes, n_bits=n_bits, fine_bits=fine_bits, indexes=())
    figures: dict[str, Any] = {}
    for distance in distances:
        before = held_from_now()
        start = time.perf_counter()
        found = find_duplicates(gallery, distance)
        name = f"within_{distance}"
        figures[f"{name}_s"] = time.perf_counter() - start
        figures[f"{name}_bytes_per_item"] = (peak_memory() - before) / len(codes)
        figures[f"{name}_groups"] = len(found)
        figures[f"{name}_in_groups"] = len(found.rows)
        figures[f"{name}_largest"] = int(found.sizes.max(initial=0))
    return figures


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--sizes", default="10k,100k,1m")
    parser.add_argument("--distances", default="0,2,4,8", help="in bits [%(default)s]")
    parser.add_argument("--kinds", default=",".join(_KINDS), help="of codes [%(default)s]")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        path, n_bits, *distances = options.part
        figures = _measure(Path(path), int(n_bits), [int(text) for text in distances])
        print(json.dumps(figures))  # noqa: T201 - to the other process
        return
    sizes = [parse_scale(text) for text in options.sizes.split(",")]
    distances = [int(text) for text in options.distances.split(",")]
    kinds = options.kinds.split(",")
    records = duplicates_growth(sizes, distances, kinds)
    tell(records, kinds, options.out)


if __name__ == "__main__":
    _main()
