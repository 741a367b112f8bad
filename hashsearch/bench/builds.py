"""Builds as a shop has them: killed and resumed, of a million files, of large photos.

``python -m hashsearch.bench.builds`` makes files of images and builds galleries of them with
``hashsearch build-index``, in processes of their own:

- ``kills``: builds are killed (SIGKILL) at random moments and started again, until so many are
  killed. None may lose what it had kept, and each that is done at last must equal one that nobody
  disturbed.
- ``memory``: what a build of a million files holds over time. The files are links to 10,000 images.
- ``reading``: JPEGs of 1,000 x 1,000 pixels into a gallery, against the slower of its two parts
  alone: reading the files, and running the network.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from hashsearch.bench.machine import describe_machine, held_by, publish
from hashsearch.bench.scale import parse_scale
from hashsearch.bench.stress import same_items
from hashsearch.datasets import fashion_mnist
from hashsearch.datasets.folder import folder_items
from hashsearch.encoder import Encoder
from hashsearch.errors import GalleryDamaged
from hashsearch.gallery import Gallery
from hashsearch.gallery.build import build
from hashsearch.gallery.journal import resumable
from hashsearch.gallery.threads import usable_cores
from hashsearch.images import prepared, read_image, thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["kills", "memory", "reading", "write_photos"]

_MODULE = "hashsearch.bench.builds"
_ENCODER = "fashion-mnist"
_KILLED_ITEMS = 4_000
_LONGEST = 2.5  # seconds until a build is killed
_PHOTO_SIDE = 1_000
_ROUNDS = 3


def kills(count: int, *, seed: int = 0, folder: Path | None = None) -> dict[str, Any]:
    """Kill builds, and see that those which are resumed end as one that nobody disturbed.

    Args:
        count: how many are killed.
        seed: of the moments.
        folder: where files and galleries lie meanwhile; None: a temporary one.

    Returns:
        ``killed``, ``finished`` (builds that were done at last, all of them equal to the
        undisturbed one) and ``images`` of each. Ready for JSON.

    Raises:
        GalleryDamaged: one of them differs, or a build went back behind what it had kept.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing to guard
    killed = finished = 0
    with tempfile.TemporaryDirectory(prefix="hashsearch-builds-", dir=folder) as place:
        photos = Path(place) / "photos"
        _write_links(photos, _KILLED_ITEMS)
        undisturbed, path = Path(place) / "undisturbed.h5", Path(place) / "killed.h5"
        if _build(photos, undisturbed).wait():
            raise GalleryDamaged("a build that nobody disturbed failed; see above")
        whole = Gallery.open(undisturbed)
        kept = 0
        while killed < count or path.with_name(f"{path.name}.encoded").exists():
            builder = _build(photos, path)
            if killed < count:
                time.sleep(chance.random() * _LONGEST)
                builder.kill()
            killed += builder.wait() < 0
            if path.exists():  # written, even if it was killed on its way out
                if not same_items(Gallery.open(path), whole):
                    raise GalleryDamaged(f"{path} differs from a build that nobody disturbed")
                finished += 1
                kept = 0
                path.unlink()
            elif (now := _n_kept(path)) < kept:
                raise GalleryDamaged(f"a killed build kept {now} images, and had kept {kept}")
            else:
                kept = now
    return {"killed": killed, "finished": finished, "images": _KILLED_ITEMS}


def memory(items: int, *, folder: Path | None = None, every: float = 1.0) -> dict[str, Any]:
    """What a build of many files holds in memory over time.

    Args:
        items: how many files; they are links to 10,000 images of 28 x 28 pixels.
        folder: where files and gallery lie meanwhile; None: a temporary one.
        every: seconds between two looks.

    Returns:
        ``images``, ``seconds``, ``gallery_bytes`` and ``curve``, by look: ``seconds`` since the
        start, and of the process ``own_bytes`` (anonymous memory) and
        ``file_bytes`` (pages of files, which the system takes back when it needs them). Ready for
        JSON.
    """
    curve = []
    with tempfile.TemporaryDirectory(prefix="hashsearch-builds-", dir=folder) as place:
        photos, path = Path(place) / "photos", Path(place) / "many.h5"
        _write_links(photos, items)
        started = time.monotonic()
        builder = _build(photos, path)
        while builder.poll() is None:
            if held := held_by(builder.pid):
                curve.append({"seconds": round(time.monotonic() - started, 1), **held})
            time.sleep(every)
        seconds = time.monotonic() - started
        if builder.returncode:
            raise GalleryDamaged("the build failed; see above")
        return {
            "images": items,
            "seconds": round(seconds, 1),
            "gallery_bytes": path.stat().st_size,
            "curve": curve,
        }


def reading(
    count: int, encoder: Encoder, *, folder: Path | None = None, rounds: int = _ROUNDS
) -> dict[str, Any]:
    """How near a build comes to the slower of its two parts alone.

    Args:
        count: how many photos of 1,000 x 1,000 pixels.
        encoder: that encodes them.
        folder: where they lie meanwhile; None: a temporary one.
        rounds: how often each is timed, in turns, after one that is not counted.

    Returns:
        Images a second by median times: ``reading`` (files to pixels and thumbnails, in as many
        threads as there are cores), ``network`` (pixels to codes), ``build`` (files to a gallery
        in memory, with its journal on disk), ``share`` (of the slower of the first two), and
        ``bound``: the share that cores which are never idle would reach, since both parts run on
        the same ones. Ready for JSON.
    """
    seconds: dict[str, list[float]] = {"reading": [], "network": [], "build": []}
    with tempfile.TemporaryDirectory(prefix="hashsearch-builds-", dir=folder) as place:
        photos = Path(place) / "photos"
        write_photos(photos, count)
        items = folder_items(photos)
        pixels = np.concatenate([*_read(photos, encoder)])
        for turn in range(rounds + 1):
            times = {}
            start = time.perf_counter()
            for _ in _read(photos, encoder):
                pass
            times["reading"] = time.perf_counter() - start
            start = time.perf_counter()
            encoder.encode_pixels(pixels)
            times["network"] = time.perf_counter() - start
            start = time.perf_counter()
            with resumable(Path(place) / "photos.h5", encoder) as journal:
                build(items, encoder, journal=journal)
            times["build"] = time.perf_counter() - start
            if turn:
                for part, taken in times.items():
                    seconds[part].append(taken)
    median = {part: float(np.median(times)) for part, times in seconds.items()}
    slower = max(median["reading"], median["network"])
    return {
        "images": count,
        "encoder": encoder.name,
        "images_per_s": {part: round(count / taken, 1) for part, taken in median.items()},
        "share": round(slower / median["build"], 3),
        "bound": round(slower / (median["reading"] + median["network"]), 3),
    }


def write_photos(folder: Path, count: int) -> None:
    """Large JPEGs of the sample's items, on a background with some noise, in colour."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = fashion_mnist.sample().images
    noise = rng.normal(0, 3, (_PHOTO_SIDE, _PHOTO_SIDE, 3)).astype(np.float32)
    for number in range(count):
        item = Image.fromarray(255 - images[number % len(images)])
        large = item.resize((_PHOTO_SIDE, _PHOTO_SIDE), Image.Resampling.BICUBIC).convert("RGB")
        tint = np.float32(0.7) + rng.random(3, np.float32) * np.float32(0.3)
        pixels = np.asarray(large) * tint + noise
        photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        photo.save(folder / f"{number:05d}.jpg", quality=90)


def _read(photos: Path, encoder: Encoder) -> Iterator[Any]:
    """The pixels of all files, in all threads, with the thumbnails that a build makes."""
    preprocessing = encoder.preprocessing

    def read(path: Path) -> Any:
        image = read_image(path, least_side=preprocessing.least_side)
        thumbnail(image)
        return prepared(image, preprocessing)[None]

    with ThreadPoolExecutor(usable_cores()) as pool:
        yield from pool.map(read, sorted(photos.iterdir()))


def _write_links(folder: Path, count: int) -> None:
    """Files of the sample's images, each linked as often as it takes."""
    folder.mkdir(parents=True)
    images = fashion_mnist.sample().images
    for number in range(count):
        parent = folder / f"{number // 10_000:04d}"
        path = parent / f"{number % 10_000:04d}.png"
        if number < len(images):
            parent.mkdir(exist_ok=True)
            Image.fromarray(images[number]).save(path)
        else:
            parent.mkdir(exist_ok=True)
            path.hardlink_to(folder / "0000" / path.name)


def _build(photos: Path, path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hashsearch", "build-index", str(photos), "--name", str(path)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own


def _n_kept(path: Path) -> int:
    """How many images a build that was killed has kept."""
    journal = path.with_name(f"{path.name}.encoded")
    if not journal.exists():
        return 0
    with closing(sqlite3.connect(journal)) as connection:
        if not connection.execute("select count(*) from sqlite_master").fetchone()[0]:
            return 0
        return int(connection.execute("select count(*) from item").fetchone()[0])


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--items", default="1m", help="for the memory; empty: leave it out")
    parser.add_argument("--photos", type=int, default=1500, help="for the reading")
    parser.add_argument("--encoder", default=_ENCODER, help="for the reading")
    parser.add_argument("--folder", type=Path, help="for files and galleries meanwhile")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": describe_machine()}
    if options.photos:
        report["reading"] = reading(
            options.photos, Encoder.load(options.encoder), folder=options.folder
        )
    if options.kills:
        report["kills"] = kills(options.kills, folder=options.folder)
    if options.items:
        report["memory"] = memory(parse_scale(options.items), folder=options.folder)
    publish(report, _lines(report), options.out)


def _lines(report: dict[str, Any]) -> Iterator[str]:
    if found := report.get("reading"):
        rates = ", ".join(f"{part} {rate}/s" for part, rate in found["images_per_s"].items())
        yield (
            f"{found['images']} photos of {_PHOTO_SIDE} x {_PHOTO_SIDE}: {rates}; "
            f"{found['share']:.0%} of the slower part (cores never idle: {found['bound']:.0%})"
        )
    if found := report.get("kills"):
        yield (
            f"{found['killed']} builds of {found['images']:,} images killed; "
            f"{found['finished']} were done at last, each as if nobody had disturbed it"
        )
    if found := report.get("memory"):
        curve = found["curve"]
        yield f"{found['images']:,} images in {found['seconds']:,.0f} s; own memory in MB:"
        for share in (0.1, 0.5, 0.9):
            look = curve[int(share * len(curve))]
            yield f"  after {share:.0%} of the time: {look['own_bytes'] / 1e6:,.0f}"
        yield f"  at most: {max(look['own_bytes'] for look in curve) / 1e6:,.0f}"


if __name__ == "__main__":
    _main()
