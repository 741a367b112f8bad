"""The protocols that every number names: what trains, what searches what, and what is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.errors import LeakError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    import numpy as np
    import numpy.typing as npt

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.datasets.pairs import JudgedPairs

__all__ = ["PROTOCOLS", "Protocol", "Task", "check_no_leak"]


@dataclass(frozen=True)
class Protocol:
    """What is trained on, what searches what, and what counts as found.

    Attributes:
        name: as every result names it.
        data: what it is a protocol of: Fashion-MNIST, a catalogue of one's own or another data
            set, or a gallery, of whose encoder's training nothing but its record is known.
        training: for Fashion-MNIST a key of :data:`~hashsearch.datasets.parts.TRAINING_PARTS`;
            for a catalogue the items that learn.
        searched: the images of the gallery: of Fashion-MNIST's test split (less the queries,
            where those are of it), of the whole training split, or of the test split's unseen
            types alone; of a catalogue's own split; or of all that does not train.
        neighbours: the rule; None where whoever measures names it.
        says: what it is, in a line.
        gallery_was_trained_on: a leak that the protocol is known for; no other one lets a
            gallery image take part in training.
        queries_were_trained_on: likewise, of the images that search.
    """

    name: str
    data: Literal["fashion-mnist", "catalogue", "gallery"]
    training: str
    searched: Literal["test", "train", "unseen types", "split", "rest"]
    neighbours: NeighbourRule | None
    says: str
    gallery_was_trained_on: bool = False
    queries_were_trained_on: bool = False

    @property
    def leaks(self) -> bool:
        """Whether it measures on images that trained, and says so by its name."""
        return self.gallery_was_trained_on or self.queries_were_trained_on


_SAME_TYPE, _SAME_ITEM = NeighbourRule("same-type"), NeighbourRule("same-item")
_PAIRS = NeighbourRule("pairs")
_ATTRIBUTES = NeighbourRule("shared-attributes", 2)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "held-out",
            "fashion-mnist",
            "all-labels",
            "test",
            _SAME_TYPE,
            "100 test images a type search the other test images; none was seen in training",
        ),
        Protocol(
            "seen-gallery",
            "fashion-mnist",
            "all-labels",
            "train",
            _SAME_TYPE,
            "the same queries search the training images: most papers report this, and it leaks",
            gallery_was_trained_on=True,
        ),
        Protocol(
            "few-labels",
            "fashion-mnist",
            "few-labels",
            "test",
            _SAME_TYPE,
            "as held-out, trained on 500 images a type, which the seed chooses",
        ),
        Protocol(
            "few-labels-attributes",
            "fashion-mnist",
            "few-labels",
            "test",
            _ATTRIBUTES,
            "as few-labels; neighbours are images whose types share two attributes, so that an "
            "image has neighbours of several types, which need not be neighbours of each other",
        ),
        Protocol(
            "unseen-types",
            "fashion-mnist",
            "seen-types",
            "unseen types",
            _SAME_TYPE,
            "trained without three types, which the seed chooses; their test images search "
            "each other",
        ),
        Protocol(
            "same-item",
            "fashion-mnist",
            "all-labels",
            "test",
            _SAME_ITEM,
            "deformed views of 2,000 test images look for their own image among all of them",
        ),
        Protocol(
            "pairs",
            "fashion-mnist",
            "all-labels",
            "test",
            _PAIRS,
            "pairs of test images that people judged: on which side of the radius they lie",
        ),
        Protocol(
            "pairs-seen",
            "gallery",
            "unknown",
            "rest",
            _PAIRS,
            "judged pairs of a gallery, some of whose images trained its encoder",
            gallery_was_trained_on=True,
            queries_were_trained_on=True,
        ),
        Protocol(
            "official",
            "catalogue",
            "the training items of its split",
            "split",
            None,
            "the queries of the data set's own split search its gallery",
        ),
        Protocol(
            "official-rest",
            "catalogue",
            "the training items of its split",
            "rest",
            None,
            "the data set says what trains; of the rest, up to 100 items a type search the others",
        ),
        Protocol(
            "own-split",
            "catalogue",
            "all but a fifth of each type, whole articles, set aside before",
            "rest",
            None,
            "the data set has no split: up to 100 items a type search others, and none of them "
            "is known to have trained",
        ),
        Protocol(
            "own-split-seen",
            "gallery",
            "unknown",
            "rest",
            None,
            "as own-split, but some of these very images trained the encoder",
            gallery_was_trained_on=True,
            queries_were_trained_on=True,
        ),
        Protocol(
            "own-split-unlabelled",
            "gallery",
            "unknown",
            "rest",
            None,
            "a gallery without labels: nothing says who is a neighbour; speed alone is measured",
        ),
    )
}
"""By name."""


@dataclass(frozen=True)
class Task:
    """A protocol on images in memory: those that search, and those that are searched.

    Attributes:
        protocol: what it is.
        rule: who is a neighbour of whom.
        queries: the images that search; facts are numbered as those of the gallery.
        gallery: what is searched.
        items: ``int64 (q,)``, the gallery item that each query shows; None unless queries are
            views of gallery items.
        pairs: whose places are rows of the gallery; None unless they are the neighbours.
    """

    protocol: Protocol
    rule: NeighbourRule
    queries: ImageSet
    gallery: ImageSet
    items: npt.NDArray[np.int64] | None = None
    pairs: JudgedPairs | None = None


def check_no_leak(
    protocol: Protocol,
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    trained_on: AbstractSet[str],
) -> None:
    """Refuse to measure on images that took part in training, unless the protocol says so.

    Args:
        protocol: what shall be measured by.
        query_ids: of the images that search.
        gallery_ids: of those that are searched.
        trained_on: ids of the images that trained the encoder, or chose its best epoch.

    Raises:
        LeakError: some query, or some gallery image, is among them where the protocol does not
            allow it.
    """
    parts = []
    if not protocol.queries_were_trained_on:
        parts.append(("queries", query_ids))
    if not protocol.gallery_was_trained_on:
        parts.append(("gallery images", gallery_ids))
    for what, ids in parts:
        leaked = [name for name in ids if name in trained_on]
        if leaked:
            raise LeakError(
                f"{len(leaked)} of {len(ids)} {what} of {protocol.name} took part in "
                f"training ({leaked[0]} is one); train on other images"
                + (
                    ", or measure with a protocol that names the leak (seen-gallery)"
                    * (protocol.data == "fashion-mnist")
                )
            )
