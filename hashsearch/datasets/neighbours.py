"""Who is a neighbour of whom: a rule with a name, which every record and result states."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hashsearch.datasets.item import Item

__all__ = ["NEIGHBOUR_RULES", "Facts", "NeighbourRule", "facts_of"]

NEIGHBOUR_RULES = {
    "same-type": "both are of one type",
    "same-item": "both show the same article",
    "shared-attributes": "both have at least so many attributes in common",
    "pairs": "people judged the two alike, in a file of pairs",
}
"""What makes two images neighbours, by the name of the rule."""

_NAMES = ", ".join(
    f"{name}(N)" if name == "shared-attributes" else name for name in NEIGHBOUR_RULES
)
# ASCII: other digits would be numbers to Python, too.
_RULE = re.compile(r"(?P<name>[a-z-]+)(\((?P<least>[0-9]{1,9})\))?")


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of ``n`` images: all that a rule looks at.

    Attributes:
        types: ``int64 (n,)``, the number of the type; -1: none.
        items: ``int64 (n,)``, the number of the article; -1: none.
        attributes: ``bool (n, a)``, which of the ``a`` attributes each has.
    """

    types: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    attributes: npt.NDArray[np.bool_]

    @classmethod
    def of_types(cls, types: npt.NDArray[np.int64]) -> Facts:
        """Those of images of which nothing but the type is known."""
        n = len(types)
        return cls(types, np.full(n, -1, np.int64), np.zeros((n, 0), bool))

    def __len__(self) -> int:
        return len(self.types)

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> Facts:
        return Facts(self.types[rows], self.items[rows], self.attributes[rows])


@dataclass(frozen=True)
class NeighbourRule:
    """What makes two images neighbours.

    Attributes:
        name: a key of :data:`NEIGHBOUR_RULES`.
        least: for ``shared-attributes``, how many at least; 1 for the others.

    Raises:
        ArgumentError: no such rule, or fewer than one attribute.
    """

    name: str = "same-type"
    least: int = 1

    def __post_init__(self) -> None:
        if self.name not in NEIGHBOUR_RULES:
            raise ArgumentError(f"unknown neighbour rule {self.name!r}; known: {_NAMES}")
        if self.least < 1 or (self.least > 1 and self.name != "shared-attributes"):
            raise ArgumentError(
                f"{self}: shared-attributes takes a number from 1 up, the other rules none"
            )

    @classmethod
    def parse(cls, text: str) -> NeighbourRule:
        """The rule of a text, the inverse of ``str``.

        >>> NeighbourRule.parse("shared-attributes(2)")
        NeighbourRule(name='shared-attributes', least=2)
        >>> str(NeighbourRule.parse("same-type"))
        'same-type'

        Raises:
            ArgumentError: it names no rule.
        """
        match = _RULE.fullmatch(text.strip())
        if match is None:
            raise ArgumentError(f"unknown neighbour rule {text!r}; known: {_NAMES}")
        return cls(match["name"], int(match["least"] or 1))

    def __str__(self) -> str:
        return f"{self.name}({self.least})" if self.name == "shared-attributes" else self.name

    def relevance(self, queries: Facts, gallery: Facts) -> npt.NDArray[np.bool_]:
        """Which images of a gallery are neighbours of each query.

        An image without a type or an article is nobody's neighbour by it.

        Args:
            queries: of ``q`` images.
            gallery: of ``n`` images, numbered alike.

        Returns:
            ``bool (q, n)``.

        Raises:
            ArgumentError: the rule is ``pairs``, of which facts say nothing.
        """
        self.check_factual()
        if self.name == "shared-attributes":
            # Counted in floats, by the machine's fastest product; exact below 2**24 attributes.
            shared = queries.attributes.astype(np.float32) @ gallery.attributes.astype(np.float32).T
            enough: npt.NDArray[np.bool_] = shared >= self.least
            return enough
        one, other = (
            (queries.types, gallery.types)
            if self.name == "same-type"
            else (queries.items, gallery.items)
        )
        same: npt.NDArray[np.bool_] = (one[:, None] == other[None, :]) & (one >= 0)[:, None]
        return same

    def known(self, facts: Facts) -> npt.NDArray[np.bool_]:
        """Which images have what the rule compares: a type, an article, an attribute.

        Returns:
            ``bool (n,)``; an image without is nobody's neighbour.

        Raises:
            ArgumentError: as of :meth:`relevance`.
        """
        self.check_factual()
        return _KNOWN[self.name](facts)

    def check_factual(self) -> None:
        """Refuse a rule that looks at more than what is known of each image by itself.

        Raises:
            ArgumentError: the rule is ``pairs``.
        """
        if self.name == "pairs":
            raise ArgumentError(
                "pairs are judged one by one, in a file, so they can be measured, and not learnt "
                "from: take `hashsearch bench --pairs FILE`, or a suite with pairs = FILE"
            )

    def check(self, facts: Facts, what: str) -> None:
        """Refuse a rule that looks at what is not known of any image.

        Args:
            facts: of the images.
            what: what a message calls them.

        Raises:
            ArgumentError: as of :meth:`relevance`.
            DatasetError: no image has what the rule compares.
        """
        if not self.known(facts).any():
            others = [name for name, known in _KNOWN.items() if known(facts).any()]
            mend = f"take {' or '.join(others)}" if others else f"say {_LACKING[self.name]}"
            if self.name == "same-item":
                mend += (
                    ", or say with --column item=NAME which column of a catalogue names articles"
                )
            raise DatasetError(f"{what} says nothing that {self} compares; {mend}")


_LACKING = {
    "same-type": "of what type some items are (a sub-folder, or the column label)",
    "same-item": "which article some items show",
    "shared-attributes": "what attributes some items have (the column attributes)",
}
_KNOWN: dict[str, Callable[[Facts], npt.NDArray[np.bool_]]] = {
    "same-type": lambda facts: facts.types >= 0,
    "same-item": lambda facts: facts.items >= 0,
    "shared-attributes": lambda facts: facts.attributes.sum(axis=1) > 0,
}


def facts_of(
    items: Sequence[Item], class_names: Sequence[str], attribute_names: Sequence[str] = ()
) -> Facts:
    """What items say of themselves, in numbers.

    Args:
        items: ``n`` of them.
        class_names: the types, in the order of their numbers; another type counts as none.
        attribute_names: the attributes, likewise.
    """
    number = {name: place for place, name in enumerate(class_names)}
    column = {name: place for place, name in enumerate(attribute_names)}
    keys: dict[str, int] = {}
    attributes = np.zeros((len(items), len(column)), bool)
    for row, item in enumerate(items):
        attributes[row, [column[name] for name in item.attributes if name in column]] = True
    return Facts(
        types=np.array([number.get(item.label or "", -1) for item in items], np.int64),
        items=np.array(
            [-1 if item.key is None else keys.setdefault(item.key, len(keys)) for item in items],
            np.int64,
        ),
        attributes=attributes,
    )
