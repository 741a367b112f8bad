"""What a service takes, at most, of whoever asks it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What is beyond them is refused with a status that says so.

    Attributes:
        upload_bytes: of the body of a request (413).
        pixels: of an image that is uploaded (422).
        requests: that are read, wait or are worked at, all at once (503).
        decoded_pixels: of the images that are decoded at once; others wait.
        held_bytes: of the bodies of those, all together (503).
        seconds: for a request to be read, answered and taken (408 while it is read, else 503), and
            for its head to arrive.
    """

    upload_bytes: int = 10 << 20
    pixels: int = 50_000_000
    decoded_pixels: int = 100_000_000
    requests: int = 128
    held_bytes: int = 256 << 20
    seconds: float = 30.0
