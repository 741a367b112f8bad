"""What is asked of a search engine, and what one offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Built", "Codes", "Peer", "Rows", "System", "Task", "Unable"]

Codes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


class Unable(Exception):
    """A peer does not offer what a task asks for; the message says what is missing."""


@dataclass(frozen=True)
class Task:
    """What to find: all items within ``radius``, or the ``k`` nearest where that is None.

    Attributes:
        n_bits: of a code.
        radius: in bits; items at this distance are in it.
        k: how many.
    """

    n_bits: int
    radius: int | None
    k: int


@dataclass(frozen=True)
class System:
    """An index with one setting of its dials.

    Attributes:
        setting: of the dials, such as ``nprobe 8``; empty: it has none.
        exact: whether it promises to miss nothing; its recall is measured either way.
        search: ``uint8 (q, n_bits // 8)`` to what the engine returns.
        rows: that to the rows found for each query, in any order; None: it lists none.
        batches: whether many queries in one call are a thing that it offers.
    """

    setting: str
    exact: bool
    search: Callable[[Codes], Any]
    rows: Callable[[Any], Sequence[Rows]] | None
    batches: bool = True


@dataclass(frozen=True)
class Built:
    """An index, with all the settings to search it with.

    Attributes:
        systems: one for each setting.
        bytes: what it takes, in memory or on disk, the larger part of the two if both.
        close: gives its resources back.
    """

    systems: Sequence[System]
    bytes: int
    close: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Peer:
    """A search engine.

    Attributes:
        name: of the engine and its index.
        build: indexes ``uint8 (n, n_bits // 8)`` for a task, with a folder for its files.
            Raises :class:`Unable` where it cannot answer the task.
        packages: to be imported first, as (name, extra that brings it).
        most_items: of more it takes hours to build on one core; None: it does not.
    """

    name: str
    build: Callable[[Codes, Task, Path], Built]
    packages: tuple[str, ...] = ()
    most_items: int | None = None
