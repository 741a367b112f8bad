"""Images read and encoded by many workers, on Ray Data.

The engine of :func:`hashsearch.gallery.build.build` for more than one machine. Items go out in
chunks, a row of a data set each; an actor on every core, or on every GPU, reads the images of a
chunk and encodes them; codes, stamps, thumbnails and the reasons of what cannot be read stream
back, in any order, and the build notes each chunk in its journal and makes the gallery of all, as
it does on one machine. So the gallery is the same item for item; a chunk whose worker or node is
lost is encoded by another (Ray repeats the work); and where the driver is lost, the same command
goes on from the journal.

Images that are files are read where they are encoded, so every machine must see them at the same
path. Others (arrays, bytes) are sent.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import warnings
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
import ray.data

from hashsearch import __version__
from hashsearch.encoder import Encoder, sees_gpu
from hashsearch.errors import ClusterError, HashsearchError, first_line
from hashsearch.gallery.encoding import encode_here
from hashsearch.images import describe

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from hashsearch.datasets.item import Item
    from hashsearch.gallery.encoding import FindKnown, Read, Reader
    from hashsearch.gallery.journal import Found

__all__ = ["encode_on_ray"]

_CHUNK = 128  # images: what is encoded again when a worker is lost
_MOST_BLOCKS = 10_000  # of a data set; each is an object to keep account of


def encode_on_ray(
    items: Sequence[Item], find_known: FindKnown, encoder: Encoder, reader: Reader
) -> Generator[list[Read], None, None]:
    """The engine of the Ray cluster that this process is connected to.

    On a cluster with GPUs that ONNX Runtime can use there, each has one actor; else each core has
    one. A GPU rounds otherwise than a processor does, which may turn a bit whose output is almost
    0; on processors of one kind the codes are those of one machine.

    Args:
        items: to be encoded.
        find_known: what is known of them.
        encoder: makes the codes.
        reader: reads the images.

    Yields:
        Chunks, as they are done, in any order.

    Raises:
        ClusterError: a file that this machine reads is not there on another, which also may have
            another release of hashsearch; or Ray fails.
        EncoderError: the encoder fails.
    """
    rows = []
    for first in range(0, len(items), _CHUNK):
        chunk = items[first : first + _CHUNK]
        rows.append({"first": first, "work": pickle.dumps((chunk, find_known(chunk)))})
    if not rows:
        return
    left = {row["first"] for row in rows}
    _be_quiet()
    try:
        for row in _encoded(rows, encoder, reader).iter_rows():
            first, done = row["first"], pickle.loads(row["done"])  # noqa: S301 - of our actors
            if isinstance(done, HashsearchError):
                raise done
            _check_seen(items, first, done)
            left.discard(first)
            yield [replace(read, number=first + read.number) for read in done.reads]
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the Ray cluster failed ({first_line(error)}); see that it runs, and give the same "
            "command again: it goes on where it was"
        ) from error
    if left:
        raise ClusterError(
            f"the Ray cluster lost {len(left)} chunks of images without a word; give the same "
            "command again: it goes on where it was"
        )


def _encoded(rows: list[dict[str, Any]], encoder: Encoder, reader: Reader) -> ray.data.Dataset:
    """Chunks encoded, a row each; nothing is done until they are asked for."""
    pool = _pool()
    return ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS)).map(
        _Encode,  # type: ignore[arg-type]  # a class whose objects are such functions
        fn_constructor_args=(ray.put(encoder.model), encoder.name, reader, pool, __version__),
        compute=ray.data.ActorPoolStrategy(min_size=1),  # and as many as the cluster has room for
        num_cpus=pool.cores,
        num_gpus=int(pool.gpu),
    )


class _Done(NamedTuple):
    """What an actor gives back of a chunk.

    Attributes:
        reads: of its items, numbered from 0.
        unseen: the numbers of those whose file cannot be opened there.
        machine: the name of the actor's.
    """

    reads: list[Read]
    unseen: list[int]
    machine: str


class _Encode:
    """An actor: encodes chunks one after another.

    Args:
        model: the bytes of the encoder's file, in the object store.
        name: of the encoder.
        reader: reads the images.
        pool: that it belongs to.
        version: of hashsearch, where the build was started.
    """

    def __init__(
        self, model: ray.ObjectRef[bytes], name: str, reader: Reader, pool: _Pool, version: str
    ) -> None:
        self._model = model
        self._name = name
        self._reader = reader
        self._pool = pool
        self._version = version

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A chunk, encoded.

        Args:
            row: ``first``, the number of its first item, and ``work``, pickled.

        Returns:
            ``first``, and ``done``, pickled: a :class:`_Done`, or the error to raise. An error that
            is raised here would reach the build as a page of Ray's own frames.
        """
        done: _Done | HashsearchError
        try:
            items, found = pickle.loads(row["work"])  # noqa: S301 - of our own driver
            done = self._encoded(items, found)
        except HashsearchError as error:
            done = error
        except Exception as error:  # as an installation that lacks something raises
            done = ClusterError(
                f"{socket.gethostname()} cannot encode ({type(error).__name__}: "
                f"{first_line(error)}); install there what is installed here"
            )
        return {"first": row["first"], "done": pickle.dumps(done)}

    def _encoded(self, items: list[Item], found: list[list[Found]]) -> _Done:
        left = iter(found)
        batches = encode_here(
            items,
            lambda batch: [next(left) for _ in batch],
            self._encoder,
            self._reader,
            threads=self._pool.readers,
        )
        reads = [read for batch in batches for read in batch]
        unseen = [read.number for read in reads if read.reason and not _is_seen(items[read.number])]
        return _Done(reads, unseen, socket.gethostname())

    @cached_property
    def _encoder(self) -> Encoder:
        if __version__ != self._version:
            raise ClusterError(
                f"{socket.gethostname()} has hashsearch {__version__}, and the build was started "
                f"with {self._version}; install one release on all machines of the cluster"
            )
        return Encoder(ray.get(self._model), name=self._name, threads=1, gpu=self._pool.gpu)


class _Pool(NamedTuple):
    """What each actor has for itself, so that all of them use the cluster once.

    Attributes:
        cores: how many.
        gpu: whether it has one of those.
    """

    cores: int
    gpu: bool

    @property
    def readers(self) -> int:
        """Threads of an actor that read images; one more than cores: one may wait for the disk."""
        return self.cores + 1


def _pool() -> _Pool:
    """A GPU an actor, with its share of the cores, where there are GPUs; else a core an actor."""
    machines = [each["Resources"] for each in ray.nodes() if each["Alive"]]  # type: ignore[no-untyped-call]
    shares = [int(each.get("CPU", 0) // each["GPU"]) for each in machines if each.get("GPU")]
    # Asked of a machine that has one: another may have ONNX Runtime for processors alone.
    if shares and ray.get(ray.remote(num_gpus=0.01)(sees_gpu).remote()):  # type: ignore[arg-type]
        return _Pool(max(min(shares), 1), gpu=True)
    return _Pool(1, gpu=False)


def _check_seen(items: Sequence[Item], first: int, done: _Done) -> None:
    """A file that is there on this machine must be so where it is encoded.

    Raises:
        ClusterError: it is not, so that it would be skipped for the place of its folder.
    """
    for number in done.unseen:
        item = items[first + number]
        if _is_seen(item):
            raise ClusterError(
                f"{done.machine} cannot read {describe(item.image)}, which this machine can; mount "
                "its folder at the same path on every machine of the cluster"
            )


def _is_seen(item: Item) -> bool:
    """Whether its image is no file, or one that may be read here."""
    image = item.image
    return not isinstance(image, str | os.PathLike) or os.access(image, os.R_OK)


def _be_quiet() -> None:
    """Let Ray Data show nothing: the build has a progress bar, and errors of one line."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it sets what it calls deprecated itself
        context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
