"""How fast the usual backbones turn photos into codes, and how large they are.

``python -m hashsearch.bench.backbones`` makes each of them with random weights, writes
it as an encoder, and times it in ONNX Runtime on all cores, from pixels to codes, beside torch. The
two take turns, so that whatever else the machine does hits both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashsearch.bench.machine import describe_machine, publish
from hashsearch.datasets.photo_set import photo_preprocessing
from hashsearch.encoder import Encoder
from hashsearch.gallery.threads import usable_cores
from hashsearch.training.untrained import UntrainedNetwork

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BACKBONES", "lines", "measure"]

BACKBONES = (
    "resnet18",
    "resnet50",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "alexnet",
)

_MODULE = "hashsearch.bench.backbones"
_N_BITS, _FINE_BITS = 48, 64
_LEAST_ROUNDS = 3
_PAUSE = 0.05  # seconds: the threads of one runtime still wait busily when the other begins


def measure(
    backbones: Iterable[str] = BACKBONES,
    *,
    size: int = 224,
    batch: int = 16,
    seconds: float = 5.0,
) -> list[dict[str, Any]]:
    """Speed and size of each backbone with heads of 48 and 64 bits.

    Args:
        backbones: names that ``hashsearch train --backbone`` takes.
        size: of the photos, in pixels a side.
        batch: photos at once.
        seconds: to measure each for, once it is warm.

    Returns:
        For each: ``backbone``, ``images_per_s`` (ONNX Runtime, in its fastest round),
        ``times_torch`` (that over torch's), ``parameters`` and ``file_bytes`` (of the encoder).
        Ready for JSON.
    """
    preprocessing = photo_preprocessing(size)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, size, size), dtype=np.uint8)
    records = []
    with tempfile.TemporaryDirectory(prefix="hashsearch-backbones-") as folder:
        for backbone in backbones:
            network = UntrainedNetwork(backbone, preprocessing, _N_BITS, _FINE_BITS)
            path = Path(folder) / f"{backbone}.onnx"
            network.export(path)
            encoder = Encoder.load(path)
            ours: list[float] = []
            torchs: list[float] = []
            end = None
            while end is None or len(ours) < _LEAST_ROUNDS or time.perf_counter() < end:
                time.sleep(_PAUSE)
                started = time.perf_counter()
                encoder.encode_pixels(pixels)
                took = time.perf_counter() - started
                time.sleep(_PAUSE)
                by_torch = network.seconds(pixels, usable_cores())
                if end is None:  # the first round warms both up
                    end = time.perf_counter() + seconds
                    continue
                ours.append(took)
                torchs.append(by_torch)
            records.append(
                {
                    "backbone": backbone,
                    "images_per_s": round(batch / min(ours), 2),
                    "times_torch": round(min(torchs) / min(ours), 2),
                    "parameters": network.n_parameters,
                    "file_bytes": path.stat().st_size,
                }
            )
            path.unlink()
    return records


def lines(report: dict[str, Any]) -> Iterator[str]:
    """A report (as ``--out`` writes it) as text: a row for each backbone."""
    yield f"{'backbone':24}{'images/s':>10}{'x torch':>10}{'parameters':>14}{'file, MB':>10}"
    for record in report["records"]:
        yield (
            f"{record['backbone']:24}{record['images_per_s']:10.1f}{record['times_torch']:10.2f}"
            f"{record['parameters'] / 1e6:12.2f} M{record['file_bytes'] / 1e6:10.1f}"
        )


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--backbones", default=",".join(BACKBONES), help="[%(default)s]")
    parser.add_argument("--size", type=int, default=224, help="pixels a side [%(default)s]")
    parser.add_argument("--batch", type=int, default=16, help="photos at once [%(default)s]")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="to measure each for [%(default)s]"
    )
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    settings = {"size": options.size, "batch": options.batch, "seconds": options.seconds}
    report = {
        "machine": describe_machine(),
        **settings,
        "n_bits": _N_BITS,
        "fine_bits": _FINE_BITS,
        "records": measure(options.backbones.split(","), **settings),
    }
    publish(report, lines(report), options.out)


if __name__ == "__main__":
    _main()
