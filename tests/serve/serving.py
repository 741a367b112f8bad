"""A real server of a small gallery, for tests of what it answers."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image

from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery
from hashsearch.images import thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDS = [
    "plain",
    "a/b c.jpg",
    "é€𝄞",
    "100%",
    "shirt/image",
    "?x=1&y#z",
    "dot.",
    "copy",
    "lost",
    "bare",
]
"""Some are no addresses as they stand."""
LABELS = ["Shirt", "Shirt", "Coat", "Coat", "Bag", "Bag", "Bag", None, "Coat", "Bag"]
SEASONS = ["summer", "winter|summer", None, "winter", None, None, None, None, None, None]


class Server(NamedTuple):
    """A server that runs."""

    client: httpx.Client
    process: subprocess.Popen[str]
    log: Path
    """What it has said on standard error."""


@contextmanager
def serving(folder: Path, *options: str, key: str = "", files: int = 0) -> Iterator[Server]:
    """The galleries in ``folder / "indexes"``, while the body runs; ``files`` may be open."""
    command = [sys.executable, "-m", "hashsearch", "serve", "--port", "0", *options]
    if files:
        command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
    log = folder / "server.log"
    environment = {**os.environ, **({"HASHSEARCH_API_KEY": key} if key else {})}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http://" in line, log.read_text()
        try:
            address = line.split(" at ")[1].split()[0]
            with httpx.Client(base_url=address, timeout=20) as client:
                yield Server(client, process, log)
        finally:
            process.terminate()


def pictures() -> npt.NDArray[np.uint8]:
    """``uint8 (items, 28, 28)``; the one before the last two is a copy of the first."""
    images = np.random.default_rng(0).integers(0, 255, (len(IDS), 28, 28), dtype=np.uint8)
    images[IDS.index("copy")] = images[0]
    return images


def encoded(image: npt.NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def make_gallery(folder: Path, encoder_file: Path) -> Gallery:
    """A gallery of every kind of item: with a file, one that is lost, with no picture at all."""
    encoder = Encoder.load(encoder_file)
    images = pictures()
    paths: list[str | None] = []
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        kind = "BMP" if IDS[number] == "dot." else "PNG"
        path = folder / "photos" / f"{number}.{kind.lower()}"
        path.write_bytes(encoded(image, kind))
        paths.append(str(path))
    (folder / "photos" / f"{IDS.index('lost')}.png").write_bytes(b"secret: no image")
    paths[IDS.index("bare")] = None
    bare = IDS.index("bare")
    return Gallery.from_codes(
        encoder.encode(list(images)),
        n_bits=encoder.n_bits,
        fine_bits=encoder.fine_bits,
        ids=IDS,
        labels=LABELS,
        paths=paths,
        columns={"season": SEASONS},
        thumbnails=[
            None if number == bare else thumbnail(Image.fromarray(image))
            for number, image in enumerate(images)
        ],
        encoder_fingerprint=encoder.fingerprint,
        encoder_name=str(encoder_file),
    )
