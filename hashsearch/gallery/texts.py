"""Texts of very different lengths, one behind the other: a long one costs its own bytes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["pack_texts", "unpack_texts"]


def pack_texts(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """Texts as UTF-8, and where each begins and ends.

    Returns:
        ``uint8 (bytes,)`` and ``uint64 (n + 1,)``.

    >>> pack_texts(["a", "é"])
    (array([ 97, 195, 169], dtype=uint8), array([0, 1, 3], dtype=uint64))
    """
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.uint64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:], dtype=np.uint64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def unpack_texts(
    packed: npt.NDArray[np.uint8], offsets: npt.NDArray[np.uint64], places: npt.NDArray[np.int64]
) -> list[str]:
    """Some of the texts that :func:`pack_texts` packed.

    Args:
        packed: ``uint8 (bytes,)``.
        offsets: ``uint64 (n + 1,)``.
        places: which, ``int64 (m,)``.
    """
    begins, ends = offsets[places].tolist(), offsets[places + 1].tolist()
    return [packed[begin:end].tobytes().decode() for begin, end in zip(begins, ends, strict=True)]
