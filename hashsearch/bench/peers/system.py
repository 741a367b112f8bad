"""What is asked of a search engine, and what one offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Built", "Codes", "Contender", "Peer", "Rows", "System", "Task", "Unable"]

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
        rows: that to the rows found for each query, in any order; None: it lists none, but
            returns matches with the sizes of balls.
        batches: whether many queries in one call are a thing that it offers.
    """

    setting: str
    exact: bool
    search: Callable[[Codes], Any]
    rows: Callable[[Any], Sequence[Rows]] | None
    batches: bool = True


@dataclass(frozen=True)
class Contender:
    """A system of an engine, and what it took to have it.

    Attributes:
        name: of the engine and its index.
        index: of ours, the way to search where it is not left to the gallery.
        system: what is asked.
        build_s: seconds to build it.
        bytes_per_item: on disk, without ids, labels and pictures.
    """

    name: str
    index: str | None
    system: System
    build_s: float
    bytes_per_item: float


@dataclass(frozen=True)
class Built:
    """An index, with all the settings to search it with.

    Attributes:
        systems: one for each setting.
        bytes: as the engine writes it.
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
        is_basic: whether it is quickly built, and there without further packages.
        packages: to be imported before it is built, which is timed.
        most_items: of more it takes hours to build on one core; None: it does not.
    """

    name: str
    build: Callable[[Codes, Task, Path], Built]
    is_basic: bool = False
    packages: tuple[str, ...] = ()
    most_items: int | None = None
