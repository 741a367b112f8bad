from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashsearch.datasets.item import Item
from hashsearch.datasets.neighbours import NEIGHBOUR_RULES, Facts, NeighbourRule, facts_of
from hashsearch.errors import ArgumentError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

TYPES = ("coat", "dress")
ATTRIBUTES = ("cotton", "red", "long")
ITEMS = [
    Item("a", b"", label="coat", key="1", attributes=("cotton", "red")),
    Item("b", b"", label="coat", key="2", attributes=("red", "cotton", "long")),
    Item("c", b"", label="dress", key="1", attributes=("red",)),
    Item("d", b"", label="hat", key=None, attributes=("striped",)),
    Item("e", b""),
]


def relevance(rule: str) -> list[str]:
    """Pairs of neighbours among the five, as two letters."""
    facts = facts_of(ITEMS, TYPES, ATTRIBUTES)
    table = NeighbourRule.parse(rule).relevance(facts, facts)
    assert table.dtype == bool
    return [ITEMS[row].id + ITEMS[column].id for row, column in np.argwhere(table)]


def test_facts_are_what_the_items_say_in_numbers() -> None:
    facts = facts_of(ITEMS, TYPES, ATTRIBUTES)
    assert facts.types.tolist() == [0, 0, 1, -1, -1]
    assert facts.items.tolist() == [0, 1, 0, -1, -1]
    assert facts.attributes.astype(int).tolist() == [
        [1, 1, 0],
        [1, 1, 1],
        [0, 1, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]
    assert len(facts) == 5
    some = facts[np.array([2, 0])]
    assert (some.types.tolist(), some.items.tolist()) == ([1, 0], [0, 0])
    assert some.attributes.tolist() == facts.attributes[[2, 0]].tolist()


@pytest.mark.parametrize(
    ("rule", "pairs"),
    [
        ("same-type", "aa ab ba bb cc"),
        ("same-item", "aa ac bb ca cc"),
        ("shared-attributes", "aa ab ac ba bb bc ca cb cc"),
        ("shared-attributes(2)", "aa ab ba bb"),
        ("shared-attributes(3)", "bb"),
        ("shared-attributes(4)", ""),
    ],
)
def test_who_is_a_neighbour_of_whom(rule: str, pairs: str) -> None:
    assert relevance(rule) == pairs.split()


@st.composite
def all_facts(draw: st.DrawFn) -> Facts:
    n, n_attributes = draw(st.integers(0, 6)), draw(st.integers(0, 5))

    def numbers() -> list[int]:
        return draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n))

    bits = draw(st.lists(st.booleans(), min_size=n * n_attributes, max_size=n * n_attributes))
    return Facts(
        np.array(numbers(), np.int64),
        np.array(numbers(), np.int64),
        np.array(bits, bool).reshape(n, n_attributes),
    )


def plain(rule: NeighbourRule, facts: Facts, row: int, column: int) -> bool:
    if rule.name == "shared-attributes":
        both = zip(facts.attributes[row], facts.attributes[column], strict=True)
        return sum(bool(a and b) for a, b in both) >= rule.least
    numbers = facts.types if rule.name == "same-type" else facts.items
    return bool(numbers[row] == numbers[column] != -1)


FACTUAL = [*(name for name in NEIGHBOUR_RULES if name != "pairs"), "shared-attributes(2)"]


@given(all_facts(), st.sampled_from(FACTUAL))
def test_relevance_is_its_definition_pair_by_pair(facts: Facts, text: str) -> None:
    rule = NeighbourRule.parse(text)
    table = rule.relevance(facts, facts)
    n = len(facts)
    assert table.tolist() == [[plain(rule, facts, i, j) for j in range(n)] for i in range(n)]
    # Who has nothing that is compared has no neighbours.
    assert not table[~rule.known(facts)].any()


@pytest.mark.parametrize(
    ("rule", "known"),
    [("same-type", "abc"), ("same-item", "abc"), ("shared-attributes(2)", "abc")],
)
def test_what_a_rule_can_compare_is_known(rule: str, known: str) -> None:
    facts = facts_of(ITEMS, TYPES, ATTRIBUTES)
    rows = np.flatnonzero(NeighbourRule.parse(rule).known(facts))
    assert "".join(ITEMS[row].id for row in rows) == known


def test_pairs_are_a_rule_that_facts_say_nothing_of() -> None:
    facts = facts_of(ITEMS, TYPES, ATTRIBUTES)
    rule = NeighbourRule.parse("pairs")
    with pytest.raises(ArgumentError, match=r"judged one by one.*take `hashsearch bench --pairs"):
        rule.relevance(facts, facts)
    with pytest.raises(ArgumentError, match="judged one by one"):
        rule.check(facts, "the shop")


@pytest.mark.parametrize("rule", [*NEIGHBOUR_RULES, "shared-attributes(17)"])
def test_a_rule_is_read_as_it_is_written(rule: str) -> None:
    parsed = NeighbourRule.parse(rule)
    assert NeighbourRule.parse(f" {parsed} ") == parsed
    assert str(parsed) in {rule, f"{rule}(1)"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "unknown neighbour rule ''"),
        ("same", "unknown neighbour rule 'same'; known: same-type, same-item"),
        ("shared-attributes(x)", "unknown neighbour rule"),
        ("shared-attributes(-1)", "unknown neighbour rule"),
        ("shared-attributes(٣)", "unknown neighbour rule"),
        ("shared-attributes(0)", "takes a number from 1 up"),
        ("same-type(2)", "the other rules none"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, told: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        NeighbourRule.parse(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "items", "told"),
    [
        (
            "same-type",
            [ITEMS[3]],
            "the shop says nothing that same-type compares; say of what type",
        ),
        ("same-item", [ITEMS[1], ITEMS[0]], None),
        ("same-item", [Item("x", b"", label="coat")], "same-item compares; take same-type"),
        (
            "shared-attributes(2)",
            [Item("x", b"", label="coat", key="1")],
            r"compares; take same-type or same-item",
        ),
    ],
)
def test_a_rule_that_looks_at_what_no_image_has_is_refused(
    rule: str, items: Sequence[Item], told: str | None
) -> None:
    facts = facts_of(items, TYPES, ATTRIBUTES)
    if told is None:
        NeighbourRule.parse(rule).check(facts, "the shop")
        return
    with pytest.raises(DatasetError, match=told):
        NeighbourRule.parse(rule).check(facts, "the shop")
