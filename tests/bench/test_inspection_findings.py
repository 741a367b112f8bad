"""Each finding is made where there is a reason, and only there."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from bench_cases import class_codes

from hashsearch.bench.inspection import Figure, document, figures_of, inspect_gallery
from hashsearch.codes import pack_bits
from hashsearch.errors import ArgumentError
from hashsearch.gallery import Gallery


def figures(
    bits: npt.NDArray[np.bool_], labels: list[str] | None = None, *, fine: int = 0, **asked: Any
) -> dict[str, Figure]:
    """Of a gallery of these bits, by name."""
    gallery = Gallery.from_codes(
        pack_bits(bits), n_bits=bits.shape[1] - fine, fine_bits=fine, labels=labels
    )
    return {each.name: each for each in figures_of(inspect_gallery(gallery, **asked))}


def findings(made: dict[str, Figure]) -> list[str]:
    return [finding for each in made.values() for finding in each.findings]


def types_of(n_types: int, n_each: int) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Types of far codes, each item with one code of its type; 24 bits."""
    prototypes = np.random.default_rng(0).random((n_types, 24)) < 0.5
    label = np.arange(n_types * n_each) % n_types
    return prototypes[label], [f"type {number}" for number in label]


def test_codes_that_part_types_and_fill_their_bits_have_nothing_to_be_told() -> None:
    bits, labels = types_of(8, 40)
    bits = bits ^ (np.random.default_rng(1).random(bits.shape) < 0.02)
    made = figures(bits, labels)
    assert findings(made) == []
    assert made["map"].value > 0.95
    assert made["recall_within"].value > 0.9
    assert made["semantic_bits_in_use"].text == "24 of 24"


def test_constant_bits_are_named() -> None:
    bits, labels = types_of(8, 10)
    bits[:, 17] = True
    made = figures(bits, labels)
    assert "bit 17 is constant" in made["semantic_bits_in_use"].findings
    bits[:, 3] = False
    assert "bits 3, 17 are constant" in findings(figures(bits, labels))
    bits[:, :8] = False
    many = "bits 0, 1, 2, 3, 4 (and 4 more) are constant"
    assert many in findings(figures(bits, labels))


def test_fine_bits_are_told_apart_from_semantic_ones() -> None:
    bits, labels = types_of(8, 10)
    fine = np.random.default_rng(2).random((80, 16)) < 0.5
    fine[:, 5] = False
    fine[:, 7] = fine[:, 1]
    made = figures(np.hstack([bits, fine]), labels, fine=16)
    assert made["fine_bits_in_use"].findings == (
        "fine bit 5 is constant",
        "fine bits that repeat each other: 1 and 7",
    )
    assert made["distinct_whole_codes"].value == 80


def test_a_lopsided_bit_is_one_that_stands_for_no_type() -> None:
    bits, labels = types_of(4, 300)
    bits[:, 0] = np.arange(1200) < 6
    lopsided = [found for found in findings(figures(bits, labels)) if "lopsided" in found]
    assert lopsided == ["bit 0 is lopsided: the rarer value is on as few as 0.5 % of the items"]
    # Of 100 types, one that has 0.75 % of the items may have a bit of its own.
    bits, labels = types_of(100, 12)
    bits[:, 0] = [label == "type 7" and row > 300 for row, label in enumerate(labels)]
    assert not any("lopsided" in finding for finding in findings(figures(bits, labels, radius=0)))


def test_codes_that_are_too_few_and_too_crowded_for_the_types() -> None:
    bits, labels = types_of(2, 50)
    four = [f"{label}{row // 2 % 2}" for row, label in enumerate(labels)]
    made = figures(bits, four)
    assert made["code_entropy"].findings == (
        "the codes hold 1.00 bits, the types 2.00: too few to tell them apart",
    )
    assert made["largest_code"].findings == (
        "50 % of the items share one code, more than are of one type (25 %): it mixes types",
    )
    assert made["strangers_within"].value == pytest.approx(0.5, abs=0.02)
    assert "50 % of a ball are of another type" in findings(made)[-3]
    assert sum("are confused" in finding for finding in findings(made)) == 2


def test_items_without_a_label_prove_no_code_too_crowded() -> None:
    bits, labels = types_of(2, 50)
    bits[:60] = bits[0]
    some: list[str | None] = [*[None] * 60, *labels[60:]]
    gallery = Gallery.from_codes(pack_bits(bits), n_bits=24, fine_bits=0, labels=some)
    made = {each.name: each for each in figures_of(inspect_gallery(gallery))}
    assert "share one code" in made["largest_code"].findings[0]
    assert "mixes types" not in made["largest_code"].findings[0]
    assert "types" not in made["code_entropy"].text
    assert "map" in made


def test_without_labels_one_code_for_most_is_a_finding() -> None:
    bits = np.zeros((100, 8), bool)
    bits[:38] = np.random.default_rng(0).random((38, 8)) < 0.5
    made = figures(bits, radius=0)
    assert made["largest_code"].findings[0].startswith("6")
    assert made["largest_code"].findings[0].endswith("% of the items share one code")
    assert "leaves little out" in made["median_ball"].findings[0]
    assert "map" not in made
    bits[:99] = False
    assert "less than one balanced bit" in figures(bits)["code_entropy"].findings[0]


def test_codes_all_far_apart_leave_balls_empty() -> None:
    bits = np.random.default_rng(0).random((200, 64)) < 0.5
    made = figures(bits)
    assert made["empty_balls"].value == 1
    assert made["empty_balls"].findings == (
        "100 % of the queries have nobody in their ball: raise the radius",
    )


def test_codes_at_random_are_no_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    labels = [f"type {row % 4}" for row in range(400)]
    made = figures(rng.random((400, 16)) < 0.5, labels)
    assert made["map"].findings[0].startswith("the ranking is no better than chance")
    assert "chance 0.26" in made["map"].text


def test_neighbours_beyond_the_ball_are_a_finding_and_the_radius_that_would_do_a_figure() -> None:
    bits, labels = types_of(4, 50)
    bits = bits ^ (np.random.default_rng(1).random(bits.shape) < 0.12)
    made = figures(bits, labels, radius=1)
    assert "of the neighbours are outside the ball" in made["recall_within"].findings[0]
    assert 3 <= made["best_radius"].value <= 9


def test_few_items_give_figures_and_no_findings() -> None:
    assert findings(figures(np.zeros((19, 8), bool))) == []
    assert findings(figures(np.zeros((20, 8), bool))) != []


def test_the_figures_of_a_ball_are_counted_by_the_search() -> None:
    codes, labels = class_codes(150, n_bits=32, fine_bits=8)
    gallery = Gallery.from_codes(codes, n_bits=32, fine_bits=8, labels=labels.tolist())
    found = inspect_gallery(gallery, radius=3, n_queries=40)
    sizes = gallery.within(gallery.codes(found.drawn.queries), 3, limit=0).ball_size
    assert found.use.others.tolist() == (sizes - 1).tolist()
    assert found.use.sizes.sum() == 150
    made = {each.name: each for each in figures_of(found)}
    assert made["median_ball"].value == np.median(sizes - 1)


def test_worst_and_best_queries_are_one_of_a_type_without_themselves() -> None:
    codes, labels = class_codes(200, n_bits=32, fine_bits=8)
    gallery = Gallery.from_codes(codes, n_bits=32, fine_bits=8, labels=labels.tolist())
    types = inspect_gallery(gallery).of_types
    assert types is not None
    for shown in (types.worst, types.best):
        assert len({gallery.labels([example.row])[0] for example in shown}) == len(shown) == 4
        assert all(example.row not in example.matches.rows for example in shown)
    averages = [[example.average_precision for example in of] for of in (types.worst, types.best)]
    assert averages[0] == sorted(averages[0])
    assert averages[1] == sorted(averages[1], reverse=True)
    assert averages[0][0] <= averages[1][-1]


def test_one_seed_gives_one_document() -> None:
    codes, labels = class_codes(200, n_bits=32, fine_bits=8)
    gallery = Gallery.from_codes(codes, n_bits=32, fine_bits=8, labels=labels.tolist())
    first, again, other = (
        json.dumps(document(inspect_gallery(gallery, n_queries=20, seed=seed)))
        for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("asked", [{"radius": -1}, {"seed": -1}, {"n_queries": 0}])
def test_numbers_that_cannot_be_are_refused(asked: dict[str, Any]) -> None:
    gallery = Gallery.from_codes(np.zeros((3, 1), np.uint8), n_bits=8, fine_bits=0)
    with pytest.raises(ArgumentError, match="must be"):
        inspect_gallery(gallery, **asked)
