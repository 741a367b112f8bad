"""What Ray costs a build, and what a second worker brings it: against plain multiprocessing.

``python -m hashsearch.bench.ray_encoding`` encodes JPEGs of 1,000 x 1,000 pixels, with the encoder
that ships, in three ways, each with one worker and with two, of one core each:

- ``multiprocessing``: a pool of Python's own processes reads and encodes the same files in chunks
  as large, and gives codes and thumbnails back; no gallery is made of them;
- ``one machine``: ``hashsearch build-index``, kept to as many cores;
- ``ray``: ``hashsearch build-index --ray``, on a cluster of as many cores of this machine.

Each is a command of its own, and is given so many photos and three times as many, in turns. The
quickest of each is taken: other work on the machine can only make them slower. The photos a second
are those of the difference, so that no start counts; what the start takes stands beside them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashsearch.bench.builds import write_photos
from hashsearch.bench.machine import describe_machine, publish
from hashsearch.datasets.folder import folder_items
from hashsearch.encoder import Encoder
from hashsearch.errors import HashsearchError
from hashsearch.gallery.encoding import Reader, encode_here
from hashsearch.gallery.threads import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashsearch.datasets.item import Item

__all__ = ["WAYS", "encode_in_processes", "lines", "ray_encoding"]

_MODULE = "hashsearch.bench.ray_encoding"
_ENCODER = "fashion-mnist"
_CHUNK = 128
_MORE = 3  # times as many photos

WAYS = ("multiprocessing", "one machine", "ray")


def ray_encoding(
    photos: int, workers: Sequence[int] = (1, 2), *, rounds: int = 3, folder: Path | None = None
) -> dict[str, Any]:
    """Time every way with every number of workers.

    Args:
        photos: how many at first; then three times as many.
        workers: numbers of them; none more than this process may use cores.
        rounds: how often each is timed, in turns.
        folder: where photos and galleries lie meanwhile; None: a temporary one.

    Returns:
        ``photos``, ``rounds``, ``load`` (how many processes wanted to run, on average of a minute,
        the most at the start or after a round) and ``ways``: for each way and number of workers,
        the ``seconds`` of every run by number of photos. Ready for JSON.

    Raises:
        HashsearchError: a command fails.
    """
    loads = [os.getloadavg()[0]]
    seconds: dict[tuple[str, int], dict[int, list[float]]] = {
        (way, count): {photos: [], _MORE * photos: []} for way in WAYS for count in workers
    }
    with tempfile.TemporaryDirectory(prefix="hashsearch-ray-", dir=folder) as place:
        few, many = Path(place) / "few", Path(place) / "many"
        write_photos(many, _MORE * photos)
        few.mkdir()
        for path in sorted(many.iterdir())[:photos]:
            (few / path.name).hardlink_to(path)
        for _ in range(rounds):
            for (way, count), taken in seconds.items():
                for source, number in ((few, photos), (many, _MORE * photos)):
                    taken[number].append(_timed(way, count, source, Path(place) / "gallery.h5"))
            loads.append(os.getloadavg()[0])
    return {
        "photos": photos,
        "rounds": rounds,
        "load": round(max(loads), 1),
        "ways": [
            {"way": way, "workers": count, "seconds": _rounded(taken)}
            for (way, count), taken in seconds.items()
        ],
    }


def encode_in_processes(folder: Path, workers: int) -> int:
    """Encode the images of a folder by a plain pool of processes; how many there are."""
    items = folder_items(folder)
    chunks = [items[first : first + _CHUNK] for first in range(0, len(items), _CHUNK)]
    # Started, not forked: a fork has the threads' locks, but not the threads.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return sum(len(codes) for codes in pool.imap_unordered(_encode_chunk, chunks))


def lines(report: dict[str, Any]) -> Iterator[str]:
    """A report as text: a row for each way and number of workers.

    Photos a second and start are left out where they cannot be: other work came in between.
    """
    yield f"{'':16}{'workers':>8}{'few, s':>10}{'many, s':>10}{'photos/s':>10}{'start, s':>10}"
    for each in report["ways"]:
        (few, short), (many, long) = (
            (int(photos), min(times)) for photos, times in each["seconds"].items()
        )
        told = f"{each['way']:16}{each['workers']:8}{short:10.1f}{long:10.1f}"
        rate = (many - few) / (long - short) if long > short else 0.0
        start = short - few / rate if rate else -1.0
        yield f"{told}{rate:10,.0f}{start:10.1f}" if start >= 0 else f"{told}{'-':>10}{'-':>10}"


def _encode_chunk(items: list[Item]) -> list[tuple[bytes, bytes | None]]:
    """In a process of the pool: the codes and thumbnails of some images."""
    encoder = _encoder()
    reader = Reader(encoder.preprocessing, checksum=False, thumbnails=True)
    batches = encode_here(items, lambda some: [[] for _ in some], encoder, reader, threads=2)
    return [(read.code, read.thumbnail) for batch in batches for read in batch]


@cache
def _encoder() -> Encoder:
    """Once a process."""
    return Encoder.load(_ENCODER, threads=1)


def _timed(way: str, workers: int, photos: Path, gallery: Path) -> float:
    """The wall time of a command, in seconds."""
    build = [sys.executable, "-m", "hashsearch", "build-index", str(photos), "--name", str(gallery)]
    commands = {
        "multiprocessing": [sys.executable, "-m", _MODULE, "--plain", str(workers), str(photos)],
        "one machine": build,
        "ray": [*build, "--ray"],
    }
    # Ray's own way to say what a machine has, whatever it finds there.
    environment = os.environ | {"RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": workers})}
    cores = sorted(os.sched_getaffinity(0))
    if way == "one machine":
        os.sched_setaffinity(0, cores[:workers])
    try:
        start = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own commands
            commands[way], env=environment, capture_output=True, text=True, check=False
        )
        taken = time.perf_counter() - start
    finally:
        os.sched_setaffinity(0, cores)
    gallery.unlink(missing_ok=True)
    if done.returncode:
        raise HashsearchError(f"{' '.join(commands[way])} failed: {done.stderr.strip()}")
    return taken


def _rounded(taken: dict[int, list[float]]) -> dict[str, list[float]]:
    return {str(photos): [round(each, 2) for each in times] for photos, times in taken.items()}


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--workers", default="1,2", help="numbers of them [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for photos and galleries meanwhile")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    parser.add_argument("--plain", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        workers, photos = options.plain
        encode_in_processes(Path(photos), int(workers))
        return
    workers = [int(text) for text in options.workers.split(",")]
    if not all(1 <= count <= usable_cores() for count in workers):
        parser.error(f"--workers must be from 1 to the {usable_cores()} cores here")
    report = {
        "machine": describe_machine(),
        **ray_encoding(options.photos, workers, rounds=options.rounds, folder=options.folder),
    }
    publish(report, lines(report), options.out)


if __name__ == "__main__":
    _main()
