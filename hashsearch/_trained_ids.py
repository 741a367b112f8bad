"""Which images an encoder learnt from, as digests of their ids that stand in its file.

Six bytes an id: of a million images that took no part, one in 300 times a single one would be
taken for one that did, were a million others learnt from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["are_among", "listed"]

_BYTES = 6


def listed(ids: Iterable[str]) -> str:
    """The digests of ids as ASCII text, whatever order they come in.

    >>> listed(["b", "a"]) == listed(["a", "b"])
    True
    """
    return base64.b64encode(b"".join(sorted(map(_digest, ids)))).decode("ascii")


def are_among(ids: Sequence[str], text: str) -> npt.NDArray[np.bool_]:
    """Which ids are among those that :func:`listed` made a text of: ``bool (n,)``.

    >>> are_among(["a", "c"], listed(["a", "b"]))
    array([ True, False])

    Raises:
        ValueError: it made no such text.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no list of ids ({error})") from error
    if len(content) % _BYTES:
        raise ValueError(f"a list of ids has {_BYTES} bytes each, not {len(content)} in all")
    known = {content[start : start + _BYTES] for start in range(0, len(content), _BYTES)}
    return np.fromiter((_digest(name) in known for name in ids), bool, len(ids))


def _digest(name: str) -> bytes:
    # A name of a file may hold what is no UTF-8.
    return hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=_BYTES).digest()
