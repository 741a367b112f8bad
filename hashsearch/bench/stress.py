"""Kill writers at random moments, and see that the gallery is whole every time.

``python -m hashsearch.bench.stress`` makes 200 rounds. In each, another process builds the
gallery anew, adds items to it or removes some, and is killed (SIGKILL) after a random while, some
of them when they are done. The gallery must then open, pass every checksum, and hold all of the
items of before or all of those of after, with what belongs to them; the next round goes on with
what it holds.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hashsearch.errors import GalleryDamaged
from hashsearch.gallery import Gallery, changing, verify

__all__ = ["Outcome", "is_changed", "same_items", "stress"]

_MODULE = "hashsearch.bench.stress"
_ITEMS = 20_000
_CHANGED = 2_000
# A writer gets up to this many times the while that the last one took that was done.
_PATIENCE = 1.2


class Outcome(NamedTuple):
    """How many writers of a kind left the gallery as it was, and how many changed it."""

    operation: str
    before: int
    after: int


def stress(rounds: int, *, seed: int = 0, folder: Path | None = None) -> list[Outcome]:
    """Kill this many writers.

    Args:
        rounds: how many; the first of each kind is left to be done, which says how long that
            takes.
        seed: of what they do, and of the moments.
        folder: where the gallery lies meanwhile; None: a temporary one.

    Raises:
        GalleryDamaged: a writer left something else than the gallery of before or after, or
            said that it was done and was not.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing to guard
    tally: Counter[tuple[str, bool]] = Counter()
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="hashsearch-stress-", dir=folder) as place:
        path = Path(place) / "gallery.h5"
        _fresh(0, _ITEMS).save(path)
        for number in range(1, rounds + 1):
            operation = chance.choice(sorted(_OPERATIONS))
            before = Gallery.open(path)
            if operation == "remove" and len(before) < _ITEMS // 2:
                operation = "add"
            after = _OPERATIONS[operation](before, number)
            moment = None
            if operation in took:
                moment = chance.random() * _PATIENCE * took[operation]
            seconds = _write_and_kill(operation, path, number, moment)
            changed = is_changed(path, before, after)
            if seconds is not None and not changed:
                raise GalleryDamaged(f"{path}: {operation} said that it was done, and was not")
            took[operation] = took[operation] if seconds is None else seconds
            tally[operation, changed] += 1
    return [
        Outcome(operation, tally[operation, False], tally[operation, True])
        for operation in sorted(_OPERATIONS)
    ]


def is_changed(path: Path, before: Gallery, after: Gallery) -> bool:
    """Whether a file holds the gallery of after, not that of before.

    Raises:
        GalleryDamaged: it holds neither, or wrong bytes.
    """
    if not all(check.ok for check in verify(path)):
        raise GalleryDamaged(f"{path}: a killed writer left wrong bytes")
    found = Gallery.open(path)
    for gallery, is_after in ((after, True), (before, False)):
        if same_items(found, gallery):
            return is_after
    raise GalleryDamaged(f"{path} holds neither the items of before nor those of after")


def same_items(one: Gallery, other: Gallery) -> bool:
    """Whether two galleries hold the same items, with all that belongs to them."""
    names = _item_datasets(one)
    if names != _item_datasets(other) or not all(
        np.array_equal(one.content.datasets[name], other.content.datasets[name]) for name in names
    ):
        return False
    return one.has_thumbnails == other.has_thumbnails and all(
        one.thumbnail(row) == other.thumbnail(row) for row in range(len(one) * one.has_thumbnails)
    )


def _item_datasets(gallery: Gallery) -> list[str]:
    return sorted(
        name
        for name in gallery.content.datasets
        if not name.startswith(("faiss/", "items/thumbnail"))
    )


def _fresh(number: int, items: int) -> Gallery:
    """Learned codes come in bunches, so these do."""
    rng = np.random.default_rng(number)
    codes = rng.integers(0, 256, (items, 14), dtype=np.uint8)
    codes[:, :6] = rng.integers(0, 256, (200, 6), dtype=np.uint8)[rng.integers(0, 200, items)]
    return Gallery.from_codes(
        codes,
        ids=[f"{number}-{item}" for item in range(items)],
        labels=[f"type {code[0] % 10}" for code in codes],
        paths=[f"/photos/{number}/{item}.jpg" for item in range(items)],
        thumbnails=[code.tobytes() for code in codes],
    )


def _added(gallery: Gallery, number: int) -> Gallery:
    return gallery.merged(_fresh(number, _CHANGED))


def _rebuilt(gallery: Gallery, number: int) -> Gallery:
    del gallery
    return _fresh(number, _ITEMS)


def _removed(gallery: Gallery, number: int) -> Gallery:
    rows = np.random.default_rng(number).permutation(len(gallery))[:_CHANGED]
    return gallery.without(gallery.ids(rows))


_OPERATIONS = {"add": _added, "build": _rebuilt, "remove": _removed}


def _write_and_kill(operation: str, path: Path, number: int, moment: float | None) -> float | None:
    """Kill the writer so many seconds after it began, unless it is done by then.

    Returns:
        How many seconds the writing took, if it was done.
    """
    command = [sys.executable, "-m", _MODULE, "--write", operation, str(number), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:  # noqa: S603 - our own
        output = writer.stdout
        ready = output.readline() if output else b""  # it is about to write
        if moment is not None:
            time.sleep(moment)
            writer.kill()
        seconds = output.readline() if output else b""
    killed = moment is not None and writer.returncode == -signal.SIGKILL
    if not ready or (writer.returncode and not killed):
        raise GalleryDamaged(f"{operation} failed on a whole gallery; see above")
    return float(seconds) if seconds.endswith(b"\n") else None


def _write(operation: str, number: int, path: Path) -> None:
    with changing(path) as (opened, writer):
        changed = _OPERATIONS[operation](opened, number).indexed(opened.chosen_indexes)
        # Both to the process that kills this one.
        print("ready", flush=True)  # noqa: T201
        start = time.monotonic()
        writer.write(changed)
        print(time.monotonic() - start, flush=True)  # noqa: T201


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        operation, number, path = options.write
        _write(operation, int(number), Path(path))
        return
    for outcome in stress(options.rounds, seed=options.seed):
        print(  # noqa: T201 - its report
            f"{outcome.operation}: {outcome.before + outcome.after} writers, "
            f"{outcome.before} left the gallery of before, {outcome.after} that of after"
        )
    print("Nothing was lost.")  # noqa: T201


if __name__ == "__main__":
    _main()
