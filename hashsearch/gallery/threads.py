"""How many threads a search may use, and work spread over them.

NumPy leaves the interpreter to others while it works through an array, and FAISS while it
searches; so threads pay where the arrays are long, and only there.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["search_threads", "spread", "thread_count"]

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


class _State(threading.local):
    """Of each thread that searches."""

    allowed: int | None = None  # None: one a core
    is_helper = False


_state = _State()


@contextmanager
def search_threads(count: int) -> Iterator[None]:
    """Let the searches of this thread use so many threads while the body runs."""
    before = _state.allowed
    _state.allowed = count
    try:
        yield
    finally:
        _state.allowed = before


def thread_count() -> int:
    """How many threads a search may use here; one a core unless :func:`search_threads` says."""
    return _state.allowed or _cores()


def spread(work: Callable[[_Part], _Result], parts: Sequence[_Part]) -> list[_Result]:
    """The work done on every part, each in a thread of its own, in the order of the parts.

    Args:
        work: what to do; within it nothing is spread further.
        parts: no more than :func:`thread_count`.
    """
    if len(parts) == 1 or _state.is_helper or thread_count() == 1:
        return [work(part) for part in parts]
    return [*_pool().map(work, parts)]


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), thread_name_prefix="search", initializer=_help)


def _help() -> None:
    _state.allowed, _state.is_helper = 1, True


# Threads do not live on in a process that is forked.
os.register_at_fork(after_in_child=_pool.cache_clear)
