"""Batches of pixels for the trainer: from memory, or from files that several processes read.

What is read does not depend on who reads it: batches come in the order in which they are asked
for, whatever the number of processes, and the views of an image are made by the trainer. Where
several processes train, each asks for its share of a batch.
"""

from __future__ import annotations

import signal
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hashsearch.errors import ArgumentError, ImageError, TrainingError, first_line
from hashsearch.training.processes import ALONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hashsearch.datasets.training_set import TrainingSet
    from hashsearch.training.processes import Processes

__all__ = ["Batch", "Feed", "Reading", "feed_of", "readers_watched"]

Rows = npt.NDArray[np.int64]
_T = TypeVar("_T")

_AT_ONCE = 64  # photos a batch where nothing else says how many
_SENT = 500  # photos from process to process at once


@dataclass(frozen=True)
class Reading:
    """How photos are read; it changes nothing but time and memory.

    Attributes:
        workers: processes that read for each that trains; 0: it reads by itself.
        held_bytes: photos whose pixels all fit into so much memory, of this machine, are read once
            and kept, by each process that trains.

    Raises:
        ArgumentError: a number below 0.
    """

    workers: int = 0
    held_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        if self.workers < 0 or self.held_bytes < 0:
            raise ArgumentError(
                f"workers and held bytes must be from 0 up, not {self.workers} and "
                f"{self.held_bytes}"
            )


class Batch(NamedTuple):
    """Images that could be read.

    Attributes:
        rows: which of the set's, ``int64 (n,)``.
        pixels: ``uint8 (n, channels, h, w)``.
    """

    rows: Rows
    pixels: Tensor


class Feed(ABC):
    """Gives the pixels of a set.

    Attributes:
        at_once: how many images to ask for where all are wanted.
    """

    at_once: int

    @abstractmethod
    def batches(self, asked: Sequence[Rows]) -> Iterator[Batch]:
        """The images of each batch that is asked for, in this order.

        Args:
            asked: rows of the set, ``int64 (n,)`` each.

        Yields:
            As many batches, without the images that cannot be read.
        """

    def all(self, processes: Processes = ALONE) -> Iterator[Batch]:
        """All images, in their order; of several processes each gets its share."""
        rows = np.arange(self._n_images())
        rows = rows[processes.share(len(rows))]
        starts = range(0, len(rows), self.at_once)
        return self.batches([rows[start : start + self.at_once] for start in starts])

    @abstractmethod
    def _n_images(self) -> int: ...


class _HeldFeed(Feed):
    """From memory.

    Args:
        pixels: of all images, ``uint8 (n, channels, h, w)``.
        readable: which of them are there, ``bool (n,)``.
        device: where batches shall be.
        at_once: see :class:`Feed`.
    """

    def __init__(
        self, pixels: Tensor, readable: npt.NDArray[np.bool_], device: torch.device, at_once: int
    ) -> None:
        self.pixels, self.readable, self.device, self.at_once = pixels, readable, device, at_once

    def batches(self, asked: Sequence[Rows]) -> Iterator[Batch]:
        for some in asked:
            rows = some[self.readable[some]]
            there = torch.from_numpy(rows).to(self.pixels.device)
            yield Batch(rows, self.pixels[there].to(self.device))

    def _n_images(self) -> int:
        return len(self.pixels)


class _ReadFeed(Feed):
    """From files, each time anew.

    Args:
        images: what is read.
        device: where batches shall be.
        workers: processes that read.
        skipped: gets the reason of each image that cannot be read, by its id.
    """

    at_once = _AT_ONCE

    def __init__(
        self, images: TrainingSet, device: torch.device, workers: int, skipped: dict[str, str]
    ) -> None:
        self.images, self.device, self.skipped = images, device, skipped
        self.asked = _Asked()
        with _unwarned():
            self.loader: DataLoader[Any] = DataLoader(
                _Reader(images),
                batch_size=None,
                sampler=self.asked,
                num_workers=workers,
                persistent_workers=workers > 0,
                collate_fn=_as_it_is,
                worker_init_fn=_leave_interrupts,
                # One of its own, so that the trainer's draws do not depend on who reads.
                generator=torch.Generator(),
            )

    def batches(self, asked: Sequence[Rows]) -> Iterator[Batch]:
        self.asked.batches = asked
        with _unwarned():  # of the processes, which are started here
            read = iter(self.loader)
        for rows, pixels, skipped in read:
            self.skipped.update(skipped)
            yield Batch(rows, pixels.to(self.device))

    def _n_images(self) -> int:
        return len(self.images)


class _Asked(Sampler[Rows]):
    """The batches of this epoch; the loader and its processes stay for the next."""

    def __init__(self) -> None:
        self.batches: Sequence[Rows] = ()

    def __iter__(self) -> Iterator[Rows]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Reader(Dataset[Any]):
    """Reads a batch; what cannot be read is left out, and said why."""

    def __init__(self, images: TrainingSet) -> None:
        self.images = images

    def __getitem__(self, rows: Rows) -> tuple[Rows, Tensor, dict[str, str]]:
        kept, pixels, skipped = [], [], {}
        for row in rows:
            try:
                pixels.append(self.images.read(int(row)))
                kept.append(row)
            except ImageError as error:  # noqa: PERF203 - each file can be the bad one
                skipped[self.images.ids[row]] = str(error)
        if not pixels:
            return np.empty(0, np.int64), torch.empty(0, dtype=torch.uint8), skipped
        # A tensor goes from process to process in shared memory, an array through a pipe.
        return np.array(kept, np.int64), torch.from_numpy(np.stack(pixels)), skipped


@contextmanager
def _unwarned() -> Iterator[None]:
    """More processes than cores are the caller's choice: files may lie on a slow disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _as_it_is(batch: _T) -> _T:
    return batch


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C is the trainer's to answer; the processes end with it."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def feed_of(
    images: TrainingSet,
    shape: tuple[int, int, int],
    device: torch.device,
    reading: Reading,
    skipped: dict[str, str],
    *,
    processes: Processes = ALONE,
) -> Feed:
    """What gives the pixels of a set.

    Args:
        images: the set.
        shape: of an image: channels, height and width.
        device: where batches shall be.
        reading: how files are read.
        skipped: gets the reason of each image that cannot be read, by its id.
        processes: that all make this feed; files that are held are read by one of them.
    """
    if images.pixels is not None:
        # Copied: an array read from a file may be read-only, which no tensor can be.
        pixels = torch.tensor(images.pixels, device=device)
        return _HeldFeed(pixels, np.ones(len(images), bool), device, at_once=500)
    if len(images) * int(np.prod(shape)) > reading.held_bytes:
        return _ReadFeed(images, device, reading.workers, skipped)
    pixels = torch.zeros((len(images), *shape), dtype=torch.uint8)
    readable = np.zeros(len(images), bool)
    reader = _ReadFeed(images, torch.device("cpu"), reading.workers, skipped)
    for batch in _whole(reader.all(processes)):
        pixels[torch.from_numpy(batch.rows)] = batch.pixels
        readable[batch.rows] = True
    # What a row has in one process is 0 in the others.
    for some in (*torch.split(pixels, _SENT), torch.from_numpy(readable.view(np.uint8))):
        processes.sum_([some])
    return _HeldFeed(pixels, readable, device, at_once=_AT_ONCE)


@contextmanager
def readers_watched() -> Iterator[None]:
    """While the body trains: say in one line that a process which reads has ended.

    Raises:
        TrainingError: the system has killed one, for want of memory as a rule.
    """
    try:
        yield
    # Torch raises it wherever the trainer is just then.
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a process that reads photos has ended ({first_line(error)}); go on with the same "
            "command and fewer of them, or none: --workers 0"
        ) from error


def _whole(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Those with anything in them."""
    return (batch for batch in batches if len(batch.rows))
