"""Who does the work of requests: a few threads, with a short queue before them.

A search takes less than a millisecond of Python and NumPy, and an image some more in ONNX Runtime,
which lets other threads run meanwhile. So there are as many threads as cores, and who finds the
queue full is sent away at once: to wait longer than the client does helps nobody.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from starlette.exceptions import HTTPException

from hashsearch.gallery.threads import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hashsearch.serve.limits import Limits

__all__ = ["Guest", "Workers"]

Answer = TypeVar("Answer")

_RETRY_AFTER = "1"  # seconds; a full queue takes less


class Workers:
    """The threads, and who is at them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="hashsearch-serve")
        self.requests = 0
        """That are read, wait or are worked at."""
        self.held_bytes = 0
        """Of their bodies."""

    @contextmanager
    def guest(self) -> Iterator[Guest]:
        """A request that is let in, until the body is left.

        Raises:
            HTTPException: 503, there are too many.
        """
        if self.requests >= self._limits.requests:
            raise _busy()
        self.requests += 1
        guest = Guest(self)
        try:
            yield guest
        finally:
            self.requests -= 1
            self.held_bytes -= guest.held_bytes

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """What the work gives, done by a thread; who stops waiting takes it from the queue."""
        return await asyncio.wrap_future(self._pool.submit(work))

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown()

    def hold(self, size: int) -> None:
        """Make room for so many bytes.

        Raises:
            HTTPException: 503, all requests together hold too many.
        """
        if self.held_bytes + size > self._limits.held_bytes:
            raise _busy()
        self.held_bytes += size


class Guest:
    """A request that was let in, and the bytes that it holds."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.held_bytes = 0

    def hold(self, size: int) -> None:
        """Hold so many bytes more, until it leaves.

        Raises:
            HTTPException: 503, all requests together hold too many.
        """
        self._workers.hold(size)
        self.held_bytes += size


def _busy() -> HTTPException:
    return HTTPException(
        503, "the service is busy; try again in a second", {"Retry-After": _RETRY_AFTER}
    )
