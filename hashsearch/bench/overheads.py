"""What the project adds around the network: starting up, and storing what it encodes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hashsearch.errors import HashsearchError
from hashsearch.gallery.build import build
from hashsearch.images import normalise

if TYPE_CHECKING:
    from hashsearch.bench.scale import Progress
    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.encoder import Encoder
    from hashsearch.gallery import Gallery

__all__ = ["cold_query", "encoding_throughput", "process_time"]

_COMMAND = "import sys; from hashsearch.cli import main; sys.exit(main())"


def cold_query(
    gallery: Gallery, images: ImageSet, *, rounds: int = 7, progress: Progress | None = None
) -> dict[str, Any]:
    """A query from a cold start to the printed table, against ``python -c "import torch"``.

    Both are new processes, taken in turns; the first turn, which reads the files into the
    system's cache, is not counted.

    Args:
        gallery: is saved to a temporary folder and searched there.
        images: the first one is the query, as a PNG file.
        rounds: how often each is timed.
        progress: told the number of rounds done.

    Returns:
        ``query_s`` and ``import_torch_s``, medians, and their ``ratio``; the latter two are
        None, and ``skipped`` says why, where torch is not installed. Ready for JSON.

    Raises:
        HashsearchError: the query command fails.
    """
    has_torch = importlib.util.find_spec("torch") is not None
    with tempfile.TemporaryDirectory(prefix="hashsearch-bench-") as folder:
        picture, path = Path(folder) / "query.png", Path(folder) / "gallery.h5"
        Image.fromarray(images.images[0]).save(picture)
        gallery.save(path)
        query = [sys.executable, "-c", _COMMAND, "query", str(picture), "--gallery", str(path)]
        query_times, torch_times = [], []
        for turn in range(rounds + 1):
            taken = process_time(query)
            other = process_time([sys.executable, "-c", "import torch"]) if has_torch else 0.0
            if turn:
                query_times.append(taken)
                torch_times.append(other)
            if progress:
                progress("cold starts", turn, rounds)
    query_s, torch_s = float(np.median(query_times)), float(np.median(torch_times))
    return {
        "rounds": rounds,
        "query_s": round(query_s, 3),
        "import_torch_s": round(torch_s, 3) if has_torch else None,
        "ratio": round(query_s / torch_s, 3) if has_torch else None,
        "skipped": None if has_torch else "torch is not installed: pip install '.[train]'",
    }


def encoding_throughput(
    images: ImageSet, encoder: Encoder, *, rounds: int = 5, progress: Progress | None = None
) -> dict[str, Any]:
    """Images a second into a gallery, against a bare ONNX Runtime loop over the same arrays.

    The bare loop is given the network's own float32 input and throws its output away, so
    the ratio charges the gallery with preprocessing, thumbnails, packing, sorting and
    indexing: all that `hashsearch build-index` does but reading files and writing one.

    Args:
        images: as many as shall be encoded a round.
        encoder: whose session the bare loop runs, in batches of the same size.
        rounds: how often each is timed, in turns; the first turn more is not counted.
        progress: told the number of rounds done.

    Returns:
        ``gallery_images_per_s`` and ``bare_images_per_s``, by median times, and their
        ``ratio``; ready for JSON.
    """
    batch_size = 256
    pixels = normalise(images.pixels, encoder.preprocessing)
    gallery_times, bare_times = [], []
    for turn in range(rounds + 1):
        start = time.perf_counter()
        build(images.items(), encoder, batch_size=batch_size)
        middle = time.perf_counter()
        _bare_loop(encoder, pixels, batch_size)
        end = time.perf_counter()
        if turn:
            gallery_times.append(middle - start)
            bare_times.append(end - middle)
        if progress:
            progress("encoding", turn, rounds)
    gallery_s, bare_s = float(np.median(gallery_times)), float(np.median(bare_times))
    return {
        "rounds": rounds,
        "images": len(images),
        "batch_size": batch_size,
        "gallery_images_per_s": round(len(images) / gallery_s, 1),
        "bare_images_per_s": round(len(images) / bare_s, 1),
        "ratio": round(bare_s / gallery_s, 3),
    }


def _bare_loop(encoder: Encoder, inputs: npt.NDArray[np.float32], batch_size: int) -> None:
    name = encoder.session.get_inputs()[0].name
    for start in range(0, len(inputs), batch_size):
        encoder.session.run(None, {name: inputs[start : start + batch_size]})


def process_time(command: list[str]) -> float:
    """The wall time of a new process in seconds.

    Raises:
        HashsearchError: it fails.
    """
    start = time.perf_counter()
    # The command is this interpreter with the project's own arguments.
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    taken = time.perf_counter() - start
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise HashsearchError(
            f"the timed process failed: {lines[-1] if lines else 'no message'}; "
            "run the same command by hand"
        )
    return taken
