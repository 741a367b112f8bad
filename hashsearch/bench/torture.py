"""Hundreds of image files, whole and damaged, each with what must become of it.

``python -m hashsearch.bench.torture`` writes them into a folder, reads each as an image and as
the pixels of both kinds of preprocessing, and prints a table. A whole file must give the picture
that was put into it, which NumPy drew and the readers never saw; a damaged one must be refused in
one line that names it. :mod:`hashsearch.bench.torture_files` says what damaged means.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.machine import describe_machine, publish
from hashsearch.bench.torture_files import specimens
from hashsearch.errors import ImageError
from hashsearch.images import FASHION_MNIST, Preprocessing, read_image, to_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from PIL import Image

    from hashsearch.bench.torture_files import Specimen

    Pixels = npt.NDArray[np.uint8]

__all__ = ["OUTCOMES", "lines", "torture"]

_MODULE = "hashsearch.bench.torture"
_PHOTO = Preprocessing("photo", 224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

_AS_IT_SHOULD_BE = ("read right", "named")
OUTCOMES = {
    "read right": "the picture that was put in",
    "read wrong": "another picture",
    "refused": "a whole file was refused",
    "named": "a damaged file was refused in one line with its name",
    "unnamed": "a damaged file was refused otherwise",
    "accepted": "a damaged file was read",
    "crashed": "something else was raised than an ImageError",
}
"""What can become of a file; only the first and ``named`` are as they should be."""


def torture(
    folder: Path,
    files: Iterable[Specimen] | None = None,
    *,
    read: Callable[[Path], Image.Image] = read_image,
    prepare: Callable[[Path, Preprocessing], Pixels] = to_pixels,
) -> dict[str, Any]:
    """Write the files, read each of them, and say what became of them.

    Args:
        folder: where they are written; it must be there.
        files: some of :func:`specimens`; None: all.
        read: what reads an image.
        prepare: what makes pixels of it.

    Returns:
        ``files``; ``outcomes``, how many files by name of the outcome (:data:`OUTCOMES`), in all;
        ``formats``, the same by format; ``failures``, the names of the files by each outcome that
        ought not to be; ``seconds``. Ready for JSON.
    """
    start = time.perf_counter()
    formats: dict[str, Counter[str]] = {}
    failures: dict[str, list[str]] = {}
    count = 0
    for specimen in specimens() if files is None else files:
        path = folder / specimen.name
        path.write_bytes(specimen.content)
        outcome = _outcome(path, specimen, read, prepare)
        count += 1
        kind = specimen.name.partition("-")[0].partition(".")[0]
        formats.setdefault(kind, Counter())[outcome] += 1
        if outcome not in _AS_IT_SHOULD_BE:
            failures.setdefault(outcome, []).append(specimen.name)
    return {
        "files": count,
        "outcomes": {name: sum(each[name] for each in formats.values()) for name in OUTCOMES},
        "formats": {
            kind: {name: each[name] for name in OUTCOMES} for kind, each in formats.items()
        },
        "failures": failures,
        "seconds": time.perf_counter() - start,
    }


def _outcome(
    path: Path,
    specimen: Specimen,
    read: Callable[[Path], Image.Image],
    prepare: Callable[[Path, Preprocessing], Pixels],
) -> str:
    """What became of a file; of several ways to read it, the first that went wrong."""
    outcomes = [
        _reading(path, specimen, preprocessing, read, prepare)
        for preprocessing in (None, FASHION_MNIST, _PHOTO)
    ]
    wrong = [outcome for outcome in outcomes if outcome not in _AS_IT_SHOULD_BE]
    return (wrong or outcomes)[0]


def _reading(
    path: Path,
    specimen: Specimen,
    preprocessing: Preprocessing | None,
    read: Callable[[Path], Image.Image],
    prepare: Callable[[Path, Preprocessing], Pixels],
) -> str:
    """What became of a file in one way: as pixels, or, where there is no preprocessing, whole."""
    try:
        if preprocessing:
            found = prepare(path, preprocessing)
        else:
            found = np.asarray(read(path).convert("RGB"))
    except ImageError as error:
        if specimen.picture is not None:
            return "refused"
        message = str(error)
        return "named" if str(path) in message and "\n" not in message else "unnamed"
    except Exception:
        return "crashed"
    if specimen.picture is None:
        return "accepted"
    expected, mean = specimen.picture, specimen.mean
    if preprocessing:
        # An array is what it is: no reading of files is in this.
        expected, mean = to_pixels(expected, preprocessing), specimen.prepared_mean
    if found.shape != expected.shape:
        return "read wrong"
    difference = np.abs(found.astype(int) - expected)
    alike = difference.mean() <= mean and difference.max() <= specimen.most
    return "read right" if alike else "read wrong"


def lines(report: dict[str, Any]) -> Iterator[str]:
    """A report of :func:`torture` as text: a row for each format, a column for each outcome."""
    yield f"{'format':12}{'files':>8}" + "".join(f"{name:>12}" for name in OUTCOMES)
    rows = {**report["formats"], "all": report["outcomes"]}
    for kind, outcomes in rows.items():
        counts = "".join(f"{outcomes[name]:12,}" for name in OUTCOMES)
        yield f"{kind:12}{sum(outcomes.values()):8,}{counts}"
    for outcome, names in report["failures"].items():
        yield f"{outcome} ({OUTCOMES[outcome]}): {', '.join(names)}"


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hashsearch-torture-") as place:
        folder: Path = options.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        report = {"machine": describe_machine(), **torture(folder)}
    publish(report, lines(report), options.out)


if __name__ == "__main__":
    _main()
