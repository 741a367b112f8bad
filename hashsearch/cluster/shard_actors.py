"""Ray actors that hold the shards of a gallery, and how they are asked.

Each shard is held by one actor, or by several for more traffic. Ray starts an actor that died
again, on a node that is left, where it opens its shard anew. Meanwhile whoever asks tries again,
with another actor of the shard if there is one, until the deadline of the question. Ray's own
retries (``max_task_retries``) know neither: they would wait for the very actor that died.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from hashsearch.errors import GalleryError, first_line
from hashsearch.gallery import Gallery
from hashsearch.gallery.change import selected
from hashsearch.gallery.sharding import open_shard
from hashsearch.gallery.shards import found_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hashsearch.gallery.gallery import Search
    from hashsearch.gallery.manifest import Manifest, ShardFile
    from hashsearch.gallery.shards import Found

Codes: TypeAlias = "npt.NDArray[np.uint8]"

__all__ = ["Answers", "Question", "ShardActors"]

_PAUSE = 0.05  # seconds between two tries, while all actors of a shard are away
_PATIENCE = 0.25  # seconds until another actor is asked, too, and as much for a hundred queries
_AWAY = 5.0  # seconds; Ray takes up to two to say that a process is gone, and longer of a node
_OPENING = 300.0  # seconds; a large shard from a slow disk
_CORE = 0.001  # that an actor asks for
_KEPT = 16  # selections of items that an actor remembers


@dataclass(frozen=True)
class Question:
    """What one shard is asked.

    Attributes:
        shard: its number.
        items: reference to which of its items are meant, packed bits ``uint8 (n / 8,)``; None: all.
    """

    shard: int
    items: ray.ObjectRef[Any] | None = None


@dataclass(frozen=True)
class Answers:
    """What the shards answer.

    Attributes:
        found: one a question; None where there was no answer.
        reasons: why, of those without one, in their order.
    """

    found: list[Any]
    reasons: list[str]


class ShardHolder:
    """The actor: one shard, open.

    Args:
        folder: of the sharded gallery.
        manifest: of it.
        shard: which it is.
    """

    def __init__(self, folder: Path, manifest: Manifest, shard: ShardFile) -> None:
        self._folder = folder
        self._manifest = manifest
        self._shard = shard
        self._selections: OrderedDict[str, Gallery] = OrderedDict()

    @cached_property
    def _gallery(self) -> Gallery:
        """Opened when it is first asked for: Ray gives up an actor that fails as it starts."""
        gallery = Gallery(open_shard(self._folder, self._manifest, self._shard))
        gallery.nearest(gallery.codes([0]), k=1)  # what that reads, no later search waits for
        return gallery

    def find(self, search: Search, items: list[ray.ObjectRef[Any]]) -> Found:
        """What a search finds here.

        Args:
            search: what is searched for.
            items: see :class:`Question`; none or one, in a list: else Ray would fetch them every
                time.
        """
        return found_in(self._selected(items), search)

    def count(self, codes: Codes, items: list[ray.ObjectRef[Any]]) -> npt.NDArray[np.int64]:
        """How many of the items lie at each distance; see :meth:`Gallery.histogram`."""
        return self._selected(items).count(codes)

    def node(self) -> str:
        """The id of the node that this is on, with its shard open.

        Raises:
            GalleryMissing, GalleryDamaged: it cannot be opened there.
        """
        _ = self._gallery
        return str(ray.get_runtime_context().get_node_id())

    def _selected(self, items: list[ray.ObjectRef[Any]]) -> Gallery:
        whole = self._gallery
        if not items:
            return whole
        name = items[0].hex()
        if name not in self._selections:
            keep = np.unpackbits(ray.get(items[0]), count=len(whole)).astype(bool)
            self._selections[name] = Gallery(selected(whole.content, keep))
            if len(self._selections) > _KEPT:
                self._selections.popitem(last=False)
        self._selections.move_to_end(name)
        return self._selections[name]


class ShardActors:
    """The actors of all shards; they end when this is forgotten.

    Args:
        folder: of the sharded gallery, under this path on every node.
        manifest: of it.
        replicas: actors of each shard, on different nodes as far as there are so many.
        deadline: seconds that a question may take, with all tries.
        partial_ok: wait for a shard no longer than others take, while none of its actors answers;
            the first question that it does not answer takes until the deadline.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        replicas: int,
        deadline: float,
        partial_ok: bool,
    ) -> None:
        # A shard takes memory all the time, and a core now and then; but actors that ask for no
        # core at all Ray does not spread. Those of one shard are started one after another, so that
        # they come to lie on different nodes.
        holder: Any = ray.remote(ShardHolder)
        holder = holder.options(
            num_cpus=_CORE, scheduling_strategy="SPREAD", max_restarts=-1, max_task_retries=0
        )
        self.deadline = deadline
        self._partial_ok = partial_ok
        self._turn = itertools.count()
        self._actors: list[list[_Actor]] = [
            [_Actor(holder.remote(folder, manifest, shard)) for _ in range(replicas)]
            for shard in manifest.shards
        ]

    def nodes(self) -> list[list[str]]:
        """The ids of the nodes that the actors of each shard are on, when all are open.

        Raises:
            RayError: an actor is away, cannot open its shard, or does not for minutes.
        """
        asked = [[actor.handle.node.remote() for actor in actors] for actors in self._actors]
        return [ray.get(references, timeout=_OPENING) for references in asked]

    def ask(self, method: str, argument: Search | Codes, questions: Sequence[Question]) -> Answers:
        """Ask the shards, all at once, until each has answered or the time is over.

        Args:
            method: of :class:`ShardHolder`, that is asked for.
            argument: of it.
            questions: one a shard.

        Raises:
            HashsearchError: a shard refuses the question; to ask again would not help.
        """
        now = time.monotonic()
        turn = next(self._turn)
        n_queries = len(argument if isinstance(argument, np.ndarray) else argument.codes)
        patience = _PATIENCE * (1 + n_queries / 100)
        tries = []
        for each in questions:
            actors = self._actors[each.shard]
            hurried = self._partial_ok and all(actor.away > now for actor in actors)
            end = now + (patience if hurried else self.deadline)
            call = _call(method, argument, each.items)
            tries.append(_Try(actors, turn, call, patience=patience, end=end))
        open_ = tries
        while open_:
            now = time.monotonic()
            for one in open_:
                if one.due <= now:
                    one.ask(now)
            left = max(min(min(one.due, one.end) for one in open_) - now, 0)
            asked = {reference: one for one in open_ for reference in one.asked}
            if asked:
                # One call for all is several times quicker than one for each; who fails is asked
                # again after a pause, however long the others take.
                back, _ = ray.wait([*asked], num_returns=len(asked), timeout=min(left, _PAUSE))
                for reference in back:
                    asked[reference].take(reference)
            else:
                time.sleep(left)
            now = time.monotonic()
            open_ = [one for one in open_ if one.answer is None and one.end > now]
        lost = [one for one in tries if one.answer is None]
        for one in lost:
            one.give_up(now)
        return Answers([one.answer for one in tries], [one.reason for one in lost])


def _call(
    method: str, argument: Search | Codes, items: ray.ObjectRef[Any] | None
) -> Callable[[Any], ray.ObjectRef[Any]]:
    """What asks an actor, given its handle, and gives the reference to its answer."""
    listed = [] if items is None else [items]

    def call(handle: Any) -> ray.ObjectRef[Any]:
        reference: ray.ObjectRef[Any] = getattr(handle, method).remote(argument, listed)
        return reference

    return call


@dataclass(eq=False)
class _Actor:
    """One of the actors of a shard.

    Attributes:
        handle: Ray's.
        away: until then, others are asked rather than this one, which failed or was slow.
    """

    handle: Any
    away: float = 0.0


class _Try:
    """A question on its way to actors of its shard, to as many as it takes."""

    def __init__(
        self,
        actors: Sequence[_Actor],
        turn: int,
        call: Callable[[Any], ray.ObjectRef[Any]],
        *,
        patience: float,
        end: float,
    ) -> None:
        self.answer: Any = None
        self.reason = "it is still being opened, or at work"
        self.asked: dict[ray.ObjectRef[Any], _Actor] = {}
        """Those that have not answered yet."""
        self.due = 0.0
        """When to ask one, or one more."""
        self.end = end
        """When to give up."""
        turn %= len(actors)
        self._actors = [*actors[turn:], *actors[:turn]]
        self._call = call
        self._patience = patience

    def ask(self, now: float) -> None:
        """Ask the actor whose turn it is."""
        self.give_up(now)
        free = [actor for actor in self._actors if actor not in self.asked.values()]
        actor = min(free, key=lambda actor: actor.away > now)
        self.asked[self._call(actor.handle)] = actor
        self.due = now + self._patience if len(free) > 1 else math.inf

    def give_up(self, now: float) -> None:
        """Take those that were asked and have not answered for away."""
        for slow in self.asked.values():
            slow.away = now + _AWAY

    def take(self, reference: ray.ObjectRef[Any]) -> None:
        """Take what has come back: the answer, or why there is none yet.

        Raises:
            HashsearchError: the question is refused.
        """
        actor = self.asked.pop(reference)
        try:
            self.answer = ray.get(reference)
            actor.away = 0.0
            return
        except RayTaskError as error:
            if not isinstance(error.cause, GalleryError):
                raise (error.cause or error) from None
            self.reason = str(error.cause)
        except RayActorError:
            self.reason = "its process is gone, and is being started again"
        except RayError as error:
            self.reason = first_line(error)
        now = time.monotonic()
        actor.away = now + _AWAY
        # At once, where there is another; to ask the same again is of use after a while.
        others = any(each.away <= now for each in self._actors)
        self.due = min(self.due, now if others else now + _PAUSE)
