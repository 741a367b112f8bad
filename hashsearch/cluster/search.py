"""A sharded gallery, searched by many machines: its shards lie with Ray actors.

What is known of the items (ids, labels, pictures) is read from the files by whoever asks; they are
mapped, so that takes no memory of its own. What a search reads is in the memory of the actors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from hashsearch.cluster.shard_actors import Answers, Question, ShardActors
from hashsearch.errors import ArgumentError, ShardMissing
from hashsearch.gallery import ShardedGallery
from hashsearch.gallery.manifest import read_manifest
from hashsearch.gallery.sharding import open_shards
from hashsearch.gallery.shards import merged_answers, selected_shards

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from hashsearch.gallery import Gallery, Matches
    from hashsearch.gallery.gallery import Search
    from hashsearch.gallery.shards import ShardedContent

__all__ = ["RayGallery"]


@dataclass(frozen=True)
class _Part:
    """What is searched of a shard.

    Attributes:
        shard: its number among all.
        keep: ``bool (n,)``, which of its items; None: all.
        items: reference to the same, packed.
    """

    shard: int
    keep: npt.NDArray[np.bool_] | None = None
    items: ray.ObjectRef[Any] | None = None

    def only(self, keep: npt.NDArray[np.bool_]) -> _Part:
        """Some of these items."""
        if self.keep is not None:
            within = self.keep.copy()
            within[within] = keep
            keep = within
        return _Part(self.shard, keep, ray.put(np.packbits(keep)))


class RayGallery(ShardedGallery):
    """A sharded gallery whose shards are searched by Ray actors; :meth:`open` makes one.

    It answers as :class:`ShardedGallery` does. Where a shard gives no answer until the deadline, a
    search raises :class:`hashsearch.errors.ShardMissing`, which names it; or, if it was told to do
    with a part, answers without it, and :attr:`Matches.missing` names it.
    """

    def __init__(
        self,
        content: ShardedContent,
        actors: ShardActors,
        parts: Sequence[_Part],
        *,
        partial_ok: bool,
    ) -> None:
        super().__init__(content)
        self._actors = actors
        self._parts = parts
        self._partial_ok = partial_ok

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        replicas: int = 1,
        deadline: float = 10.0,
        partial_ok: bool = False,
    ) -> RayGallery:
        """Start the actors of a sharded gallery, in the Ray cluster that this process has joined.

        They open their shards while this returns; a search waits for them.

        Args:
            path: of its folder, the same on every node.
            replicas: actors of each shard.
            deadline: seconds until a search gives up on a shard.
            partial_ok: answer without shards that do not.

        Raises:
            ArgumentError: ``replicas`` below 1, or a deadline that is not above 0.
            GalleryMissing, GalleryDamaged: as :meth:`Gallery.open`; or no folder of shards.
        """
        if replicas < 1 or not deadline > 0:
            raise ArgumentError(
                f"replicas must be 1 or more, and deadline above 0, not {replicas} and {deadline}"
            )
        folder = Path(path).absolute()
        manifest = read_manifest(folder)
        content = open_shards(folder, manifest).content
        actors = ShardActors(
            folder, manifest, replicas=replicas, deadline=deadline, partial_ok=partial_ok
        )
        parts = [_Part(number) for number in range(len(content.shards))]
        return cls(content, actors, parts, partial_ok=partial_ok)

    def nodes(self) -> list[list[str]]:
        """The ids of the nodes that each shard lies on; waits until all have been opened there.

        Raises:
            ShardMissing: an actor is away, or cannot be started.
            GalleryMissing, GalleryDamaged: a node cannot open a shard.
        """
        try:
            return self._actors.nodes()
        except RayTaskError as error:
            raise (error.cause or error) from None
        except (RayActorError, GetTimeoutError) as error:
            raise ShardMissing(
                f"{self.path}: a shard is not open; try again, and see `ray status` if it stays so"
            ) from error

    @property
    def waits(self) -> bool:
        """Whether a search waits for other processes: it does."""
        return True

    def prepare(self) -> None:
        """Wait until all shards have been opened, and read what look-ups use.

        Raises:
            As :meth:`nodes`.
        """
        self.nodes()
        self.content.find([""])

    def answer(self, search: Search) -> Matches:
        """What a search finds, in all shards.

        Raises:
            ShardMissing: a shard, or with ``partial_ok`` every one, gives no answer in time.
        """
        answers = self._ask("find", search)
        missing = tuple(
            name
            for name, found in zip(self.shard_names, answers.found, strict=True)
            if found is None
        )
        return merged_answers(answers.found, search, self.content, missing)

    def count(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """What :meth:`histogram` gives, of codes that are checked: always of all shards.

        With ``partial_ok``, those that give no answer are counted here, in their files.

        Raises:
            ShardMissing: as :meth:`answer`.
        """
        answers = self._ask("count", codes)
        counts: npt.NDArray[np.int64] = np.sum(
            [
                shard.count(codes) if found is None else found
                for shard, found in zip(self.shards, answers.found, strict=True)
            ],
            axis=0,
        )
        return counts

    def _ask(self, method: str, argument: Search | npt.NDArray[np.uint8]) -> Answers:
        questions = [Question(part.shard, part.items) for part in self._parts]
        answers = self._actors.ask(method, argument, questions)
        missing = [found is None for found in answers.found]
        if any(missing) and (all(missing) or not self._partial_ok):
            raise ShardMissing(
                f"{self.path}: no answer of shard {self.shard_names[missing.index(True)]} within "
                f"{self._actors.deadline:g} seconds ({answers.reasons[0]}); try again, and see "
                "`ray status` if it stays so"
            )
        return answers

    def _kept(self, keep: npt.NDArray[np.bool_]) -> Gallery:
        own = np.split(keep, self.content.starts[1:-1])
        return RayGallery(
            selected_shards(self.content, keep),
            self._actors,
            [part.only(kept) for part, kept in zip(self._parts, own, strict=True) if kept.any()],
            partial_ok=self._partial_ok,
        )
