"""How building, opening, searching and memory grow with the gallery, to a hundred million items.

``python -m hashsearch.bench.growth --sizes 1k,10k,100k,1m,10m`` measures each size in processes of
its own, on one core, so that none finds the memory or the caches of another, and gives the exponent
of each figure: 1 where it grows like the number of items, 0 where it does not grow.

To encode so many images would take a day, so the codes are drawn: ``learned`` ones from those of
100,000 deformed images, with one in ten of the fine bits flipped at random; and ``uniform`` ones,
whose bits are independent. The first have no more distinct semantic codes than they are drawn from;
of the second hardly one repeats. Both are as long as those of the encoder that ships;
``uniform-64`` and the like are of so many bits, all semantic. Memory is read from ``/proc``, so it
takes Linux.
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
import numpy.typing as npt

from hashsearch.bench.latency import search_times
from hashsearch.bench.machine import describe_machine, held_from_now, one_core, peak_memory
from hashsearch.bench.overheads import process_time
from hashsearch.bench.peers.of_faiss import FAISS_PEERS
from hashsearch.bench.peers.system import Task
from hashsearch.bench.scale import Originals, copy_codes, format_scale, parse_scale
from hashsearch.datasets import fashion_mnist
from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery, changing, search_threads
from hashsearch.gallery.faiss_indexes import readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["drawn_codes", "exponents", "growth", "lines", "tell"]

_MODULE = "hashsearch.bench.growth"
_KINDS = ("learned", "uniform", "uniform-48", "uniform-64", "uniform-128")
_ENCODER = "fashion-mnist"
_FLIPPED = 0.1
_AT_ONCE = 1 << 20  # items
_QUERIES = 200
_WARM_UP = 20
_FAISS_QUERIES, _FAISS_WARM_UP = 20, 2  # each takes milliseconds
_RADIUS, _K = 2, 10
_BASE = 100_000  # encoded images that learned codes are drawn from


def growth(
    sizes: Sequence[int], kinds: Sequence[str] = _KINDS, *, folder: Path | None = None
) -> list[dict[str, Any]]:
    """Measure galleries of these sizes, one after another.

    Args:
        sizes: numbers of items.
        kinds: some of ``learned``, ``uniform``, and ``uniform-`` with a number of bits.
        folder: where codes and galleries lie meanwhile; None: a temporary one. It takes about 100
            bytes an item of the largest size.

    Returns:
        For each kind and size: ``codes``, ``items``, ``distinct_codes``, ``sort_s`` (``np.argsort``
        of as many ``uint64``, stable), ``build_s``, ``write_s``, ``build_bytes_per_item`` (the peak
        above what the caller's codes take), ``id_bytes_per_item`` (of those, the ids),
        ``file_bytes_per_item``, ``add_s`` (to add a hundredth more to the file),
        ``import_faiss_s``, ``open_s`` (to open the file and find the size of one ball),
        ``first_nearest_s`` (the first search for the best 10), ``nearest_us``, ``size_us``
        (medians of single queries), ``search_bytes_per_item`` (the peak while searching, the
        file's pages among it), and, of FAISS's indexes over the items, ``flat_ball_us`` and
        ``hash_ball_us`` (the whole ball) and ``flat_nearest_us`` (the best 10 by the whole code).
        Ready for JSON.
    """
    records = []
    with tempfile.TemporaryDirectory(prefix="hashsearch-growth-", dir=folder) as place:
        for kind in kinds:
            for n_items in sizes:
                codes, n_bits = _write_codes(kind, n_items, Path(place) / "codes.npy")
                record = {"codes": kind, "items": n_items}
                for part in ("build", "search", "faiss"):
                    record |= _in_a_process(part, codes, Path(place) / "gallery.h5", n_bits)
                records.append(record)
    return records


def exponents(records: Iterable[dict[str, Any]]) -> dict[str, float]:
    """The power of the number of items that each figure grows with, by least squares of logs.

    Args:
        records: of one kind of codes, from :func:`growth`.

    Returns:
        For each time (``_s``, ``_us``), its exponent; of memory, that of the bytes in all.

    >>> exponents([{"items": 10, "build_s": 1.0}, {"items": 1000, "build_s": 10.0}])
    {'build_s': 0.5}
    """
    records = list(records)
    if len({record["items"] for record in records}) < 2:
        return {}
    items = np.log([record["items"] for record in records])
    found = {}
    for name in records[0]:
        if name.endswith(("_s", "_us", "_per_item")) and name != "import_faiss_s":
            values = np.array([record[name] for record in records], float)
            if name.endswith("_per_item"):
                values *= np.exp(items)
            if (values > 0).all():
                found[name] = round(float(np.polyfit(items, np.log(values), 1)[0]), 2)
    return found


def lines(report: dict[str, Any]) -> Iterator[str]:
    """A report (as ``--out`` writes it) as text: a row for each figure, a column for each size."""
    for kind, grown in report["exponents"].items():
        records = [record for record in report["records"] if record["codes"] == kind]
        sizes = "".join(f"{format_scale(record['items']):>12}" for record in records)
        yield f"{kind + ' codes':24}{sizes}{'exponent':>12}"
        for name in records[0]:
            if name not in ("codes", "items"):
                figures = "".join(f"{record[name]:12,.4g}" for record in records)
                yield f"{name:24}{figures}{grown.get(name, ''):>12}"
        yield ""


def drawn_codes(
    kind: str, n_items: int, base: npt.NDArray[np.uint8], n_bits: int, *, seed: int
) -> npt.NDArray[np.uint8]:
    """Codes for a gallery of any size.

    Args:
        kind: ``learned`` or ``uniform``.
        n_items: how many.
        base: ``uint8 (m, code_bytes)``, what learned ones are drawn from.
        n_bits: of the semantic code, which is kept.
        seed: of the draw.

    Returns:
        ``uint8 (n_items, code_bytes)``.
    """
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        return rng.integers(0, 256, (n_items, base.shape[1]), dtype=np.uint8)
    codes = base[rng.integers(0, len(base), n_items)]
    fine = codes[:, n_bits // 8 :]
    fine ^= np.packbits(rng.random((*fine.shape, 8), np.float32) < _FLIPPED, axis=2)[:, :, 0]
    return codes


def _write_codes(kind: str, n_items: int, path: Path) -> tuple[Path, int]:
    """Codes of a kind, in a file, and how many of their bits are semantic ones."""
    kind, _, length = kind.partition("-")
    if length:
        n_bits = int(length)
        base = np.zeros((1, n_bits // 8), np.uint8)
    else:
        encoder = Encoder.load(_ENCODER)
        n_bits = encoder.n_bits
        base = copy_codes(Originals(fashion_mnist.sample(), encoder), _BASE)
    shape = (n_items, base.shape[1])
    codes = np.lib.format.open_memmap(path, "w+", dtype=np.uint8, shape=shape)
    for begin in range(0, n_items, _AT_ONCE):
        some = codes[begin : begin + _AT_ONCE]
        some[:] = drawn_codes(kind, len(some), base, n_bits, seed=begin)
    codes.flush()
    return path, n_bits


def _in_a_process(what: str, codes: Path, gallery: Path, n_bits: int) -> dict[str, Any]:
    command = [sys.executable, "-m", _MODULE, "--part", what, str(codes), str(gallery), str(n_bits)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise SystemExit(f"{what} of {codes} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _build(codes_path: Path, path: Path, n_bits: int) -> dict[str, Any]:
    codes = np.load(codes_path)
    fine_bits = 8 * codes.shape[1] - n_bits
    # What is loaded with the first gallery is no memory of this one.
    Gallery.from_codes(codes[:10], n_bits=n_bits, fine_bits=fine_bits)
    before = held_from_now()
    start = time.perf_counter()
    built = Gallery.from_codes(codes, n_bits=n_bits, fine_bits=fine_bits)
    build_s = time.perf_counter() - start
    peak = peak_memory() - before
    start = time.perf_counter()
    built.save(path)
    write_s = time.perf_counter() - start
    file_bytes = path.stat().st_size
    few = codes[: max(1, len(codes) // 100)] ^ np.uint8(1)
    start = time.perf_counter()
    with changing(path) as (opened, writer):
        new = Gallery.from_codes(
            few,
            n_bits=opened.n_bits,
            fine_bits=opened.fine_bits,
            ids=[f"new {number}" for number in range(len(few))],
            indexes=(),
        )
        writer.write(opened.merged(new).indexed(opened.chosen_indexes))
    add_s = time.perf_counter() - start
    built.save(path)
    words = np.random.default_rng(0).integers(0, 1 << 63, len(codes), dtype=np.uint64)
    start = time.perf_counter()
    np.argsort(words, kind="stable")
    sort_s = time.perf_counter() - start
    ids = built.content.datasets["items/id"].nbytes
    return {
        "distinct_codes": built.n_distinct,
        "sort_s": sort_s,
        "build_s": build_s,
        "write_s": write_s,
        "build_bytes_per_item": peak / len(codes),
        "id_bytes_per_item": ids / len(codes),
        "file_bytes_per_item": file_bytes / len(codes),
        "add_s": add_s,
    }


def _search(codes_path: Path, path: Path, n_bits: int) -> dict[str, Any]:
    del n_bits
    codes = np.load(codes_path, mmap_mode="r")
    queries = np.ascontiguousarray(codes[:: max(1, len(codes) // _QUERIES)])
    with_faiss, bare = (
        process_time([sys.executable, "-c", f"import {name}"]) for name in ("faiss", "numpy")
    )
    before = held_from_now()
    start = time.perf_counter()
    gallery = Gallery.open(path)
    gallery.within(queries[:1], limit=0)
    open_s = time.perf_counter() - start
    start = time.perf_counter()
    gallery.nearest(queries[:1], k=_K)
    first_s = time.perf_counter() - start
    medians = []
    for search in (
        lambda code: gallery.nearest(code, k=_K),
        lambda code: gallery.within(code, limit=0),
    ):
        search_times(search, queries[:_WARM_UP])
        medians.append(float(np.median(search_times(search, queries))))
    return {
        "import_faiss_s": with_faiss - bare,
        "open_s": open_s,
        "first_nearest_s": first_s,
        "nearest_us": medians[0],
        "size_us": medians[1],
        "search_bytes_per_item": (peak_memory() - before) / len(codes),
    }


def _by_faiss(codes_path: Path, path: Path, n_bits: int) -> dict[str, Any]:
    del path
    whole = np.load(codes_path)
    queries = readable(whole[:: max(1, len(whole) // _FAISS_QUERIES)])
    ball, nearest = Task(n_bits, _RADIUS, _K), Task(8 * whole.shape[1], None, _K)
    flat, hashed = FAISS_PEERS[:2]
    medians = {}
    with search_threads(1):
        for name, peer, task in (
            ("flat_ball_us", flat, ball),
            ("hash_ball_us", hashed, ball),
            ("flat_nearest_us", flat, nearest),
        ):
            width = task.n_bits // 8
            items = np.ascontiguousarray(whole[:, :width])
            (system,) = peer.build(items, task, codes_path.parent).systems
            asked = readable(queries[:, :width])
            search_times(system.search, asked[:_FAISS_WARM_UP])
            medians[name] = float(np.median(search_times(system.search, asked)))
    return medians


def tell(records: Sequence[dict[str, Any]], kinds: Sequence[str], out: Path | None) -> None:
    """Print what was measured, with its exponents, and write it to a JSON file.

    Args:
        records: with ``codes``, ``items`` and figures.
        kinds: of codes.
        out: the file; None: none.
    """
    report = {
        "machine": describe_machine(),
        "records": records,
        "exponents": {
            kind: exponents(record for record in records if record["codes"] == kind)
            for kind in kinds
        },
    }
    if out:
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for line in lines(report):
        print(line)  # noqa: T201 - its report


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--sizes", default="1k,10k,100k,1m,10m")
    parser.add_argument("--kinds", default=",".join(_KINDS), help="of codes [%(default)s]")
    parser.add_argument("--folder", type=Path, help="for codes and galleries meanwhile")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        what, codes, gallery, n_bits = options.part
        part = {"build": _build, "search": _search, "faiss": _by_faiss}[what]
        with one_core():
            figures = part(Path(codes), Path(gallery), int(n_bits))
        print(json.dumps(figures))  # noqa: T201 - to the other process
        return
    sizes = [parse_scale(text) for text in options.sizes.split(",")]
    kinds = options.kinds.split(",")
    records = growth(sizes, kinds, folder=options.folder)
    tell(records, kinds, options.out)


if __name__ == "__main__":
    _main()
