"""A web service to measure: its process, and what it is asked over HTTP."""

from __future__ import annotations

import http.client
import io
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from hashsearch.bench.scale import Originals, scaled_codes
from hashsearch.datasets import fashion_mnist
from hashsearch.datasets.deform import deformed
from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashsearch.encoder import Encoder

__all__ = [
    "FORM",
    "QUERIES",
    "RADIUS",
    "K",
    "Server",
    "answer",
    "connect",
    "form",
    "query_images",
    "scaled_gallery",
    "served",
]

QUERIES = 500
"""How many different ones are asked, in turns."""

K, RADIUS = 24, 2
"""Matches and radius of a search that names none."""

_BOUNDARY = "----hashsearch"
FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
"""The headers of a search."""

_DISPOSITION = 'Content-Disposition: form-data; name="'
_QUERY_SEED = 11
_PATIENCE_S = 60.0


class Server(NamedTuple):
    """A service that runs."""

    port: int
    process: int


def scaled_gallery(n_items: int, encoder: Encoder) -> Gallery:
    """The sample's images, and past them deformed copies; ids are numbers.

    See :func:`hashsearch.bench.scale.copy_codes` for how long copies take the first time.
    """
    sample = fashion_mnist.sample()
    codes = encoder.encode_pixels(sample.images[:n_items, None])
    scaled = scaled_codes(n_items, codes, Originals(sample, encoder))
    names = np.array(sample.label_names)
    return Gallery.from_codes(
        scaled.codes,
        n_bits=encoder.n_bits,
        fine_bits=encoder.fine_bits,
        labels=names[scaled.sources].tolist(),
        encoder_fingerprint=encoder.fingerprint,
        encoder_name=encoder.name,
    )


@contextmanager
def served(gallery: Gallery, folder: Path | None) -> Iterator[tuple[Server, Path]]:
    """A service of this gallery, and the file that it serves."""
    with tempfile.TemporaryDirectory(prefix="hashsearch-load-", dir=folder) as place:
        path = Path(place) / "indexes" / "load.h5"
        gallery.save(path)
        command = [sys.executable, "-m", "hashsearch", "serve", "--port", "0"]
        with subprocess.Popen(  # noqa: S603 - our own
            command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            said = process.stdout.readline() if process.stdout else ""
            try:
                address = said.split(" at ")[1].split()[0]
                yield Server(int(address.rpartition(":")[2]), process.pid), path
            finally:
                process.terminate()


def query_images() -> list[bytes]:
    """Deformed views of the sample's images, as PNG files."""
    files = []
    for view in deformed(fashion_mnist.sample().images[:QUERIES], seed=_QUERY_SEED):
        buffer = io.BytesIO()
        Image.fromarray(view).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def form(fields: dict[str, str], image: bytes | None = None) -> bytes:
    """The body of a search."""
    parts = [
        f'--{_BOUNDARY}\r\n{_DISPOSITION}{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if image is not None:
        head = f'{_DISPOSITION}image"; filename="image"\r\n\r\n'
        parts.append(f"--{_BOUNDARY}\r\n{head}".encode() + image + b"\r\n")
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()


def connect(server: Server) -> http.client.HTTPConnection:
    """A connection for many requests."""
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=_PATIENCE_S)


def answer(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
    """Status and content that a search gets; the body is that of a :func:`form`."""
    connection.request("POST", "/api/search", body, FORM)
    response = connection.getresponse()
    return response.status, response.read()
