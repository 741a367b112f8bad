"""Memory that is free again, and the process still holds."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["give_back"]


def give_back() -> None:
    """Give the system what decoding large images took, if the C library (glibc's) can.

    It takes 10 us where there is nothing to give. Without it, after images of 49 million pixels and
    four channels were uploaded, the service went on with 1.2 GB instead of 0.13.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return function
