"""How many cores a search uses, and how its work is spread over them.

NumPy gives way to other threads while it is at work on an array of some length. So long scans gain
from several cores, and so do look-ups in hash tables, which do a few long operations for many
queries. What does many short ones, as the ranking of a ball does, loses by it: its threads wait for
the interpreter more than they work.
"""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["in_threads", "parts", "search_threads", "thread_count", "usable_cores"]

Part = TypeVar("Part")
Answer = TypeVar("Answer")

_chosen: int | None = None
_here = threading.local()


def thread_count() -> int:
    """How many threads a search may use here: one within a part of a search, else as told.

    Unless :func:`search_threads` says otherwise: as many as this process may use cores.
    """
    if getattr(_here, "in_part", False):
        return 1
    return usable_cores() if _chosen is None else _chosen


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def search_threads(count: int) -> Iterator[None]:
    """Let searches, ours and FAISS's, use this many threads while the body runs.

    It holds for the whole process; answers are the same with any number.

    Args:
        count: at least 1.
    """
    global _chosen  # noqa: PLW0603 - as FAISS's own number is, which goes with it
    import faiss  # noqa: PLC0415 - a search that names no threads does without it

    before = _chosen, faiss.omp_get_max_threads()
    _chosen = count
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        _chosen = before[0]
        faiss.omp_set_num_threads(before[1])


def parts(length: int, least: int) -> list[slice]:
    """Cut ``length`` things into one run a thread, none shorter than ``least``; at least one."""
    most = length // least
    if most < 2:
        return [slice(0, length)]
    count = min(thread_count(), most)
    cuts = [length * number // count for number in range(count + 1)]
    return [slice(begin, end) for begin, end in itertools.pairwise(cuts)]


def in_threads(work: Callable[[Part], Answer], pieces: Sequence[Part]) -> list[Answer]:
    """What the work gives of each piece, in their order; at once, if there are several."""
    if len(pieces) == 1:
        return [work(pieces[0])]
    return list(_pool().map(lambda piece: _apart(work, piece), pieces))


def _apart(work: Callable[[Part], Answer], piece: Part) -> Answer:
    """Work in a thread of the pool, which waits for no other of them."""
    _here.in_part = True
    return work(piece)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="hashsearch")


# A forked process has the pool, but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
