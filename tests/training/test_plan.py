from __future__ import annotations

import math
from typing import Any

import pytest

from hashsearch.errors import ArgumentError
from hashsearch.training.objectives import OBJECTIVES
from hashsearch.training.plan import TrainingPlan

SEMANTIC_TERMS = tuple(OBJECTIVES["adversarial"].default_weights)


# --- what a plan leaves to the defaults ------------------------------------------------


def test_weights_that_are_not_given_are_the_objectives_and_1_for_the_fine_head() -> None:
    plan = TrainingPlan(objective="dch", weights={"quantisation": 0.5})
    assert plan.all_weights == {"hamming": 1.0, "quantisation": 0.5, "fine": 1.0}
    assert plan.objective_weights == {"hamming": 1.0, "quantisation": 0.5}


def test_without_a_fine_head_there_is_no_weight_of_it() -> None:
    plan = TrainingPlan(objective="dch", fine_bits=0, weights={"fine": 0.5})
    assert plan.all_weights == {"hamming": 1.0, "quantisation": 0.1}


def test_constants_that_are_not_given_are_the_objectives() -> None:
    defaults = OBJECTIVES["adversarial"].default_constants
    assert TrainingPlan(constants={"gamma": 5}).all_constants == {**defaults, "gamma": 5.0}
    assert TrainingPlan(objective="dsh").all_constants == {}


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1, "temperature": 2, "weight_decay": 0},
        {"fine_bits": 0, "settle_epochs": 0, "epochs": 1, "batch_size": 2, "seed": 2**32 - 1},
        {"weights": {**dict.fromkeys(SEMANTIC_TERMS, 0), "fine": 1}},
        {"fine_bits": 0, "weights": {"fine": 0.0}},
    ],
)
def test_a_plan_at_the_edge_of_what_can_be_is_taken(change: dict[str, Any]) -> None:
    TrainingPlan(**change)


LATER: dict[str, Any] = {
    "neighbours": "shared-attributes(1)",
    "backbone_rate": 0.5,
    "freeze_epochs": 1,
    "accumulate": 2,
}


def test_what_came_later_is_recorded_only_where_it_differs() -> None:
    assert not LATER.keys() & TrainingPlan().to_record().keys()
    record = TrainingPlan(**{**LATER, "neighbours": " shared-attributes "}).to_record()
    assert {name: record[name] for name in LATER} == LATER
    before = TrainingPlan().to_record()
    assert {name: record[name] for name in before} == before


def test_constants_that_came_later_are_recorded_only_where_they_differ() -> None:
    before = {"gamma": 20.0, "settled_gamma": 2.0, "softness": 0.0, "views": 0.0}
    assert TrainingPlan().to_record()["constants"] == before
    given = {"nearest": 0.0, "ceiling": 0.6}
    assert TrainingPlan(constants=given).to_record()["constants"] == {**before, "ceiling": 0.6}


# --- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"objective": "triplet"}, "unknown objective 'triplet'; known: adversarial, "),
        ({"precision": "float16"}, "precision is one of auto, float32, bfloat16"),
        ({"device": "tpu"}, "device is one of auto, cpu, cuda"),
        ({"n_bits": 12}, "n_bits must be a positive multiple of 8, not 12"),
        ({"n_bits": 0}, "n_bits must be a positive multiple of 8, not 0"),
        ({"fine_bits": 12}, "fine_bits must be 0 or a multiple of 8, not 12"),
        ({"fine_bits": -8}, "fine_bits must be 0 or a multiple of 8, not -8"),
        ({"epochs": 0}, "at least 1 epoch"),
        ({"settle_epochs": -1}, "0 settling epochs"),
        ({"batch_size": 1}, "2 images a batch"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, not 0.0"),
        ({"temperature": 0.0}, "temperature must be above 0, not 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be from 0 up, not -1.0"),
        ({"seed": -1}, r"the seed must be from 0 to 2\*\*32 - 1, not -1"),
        ({"seed": 2**32}, r"the seed must be from 0 to 2\*\*32 - 1, not 4294967296"),
        ({"freeze_epochs": -1}, "at least 0 frozen epochs and 1 batch a step"),
        ({"accumulate": 0}, "at least 0 frozen epochs and 1 batch a step"),
        ({"backbone_rate": 0.0}, "backbone_rate must be above 0, not 0.0"),
        ({"neighbours": "same"}, "unknown neighbour rule 'same'; known: same-type, same-item"),
        ({"neighbours": 1}, "neighbours must be a text, not 1"),
        ({"neighbours": "shared-attributes(0)"}, "takes a number from 1 up"),
        (
            {"objective": "classifier-bits", "neighbours": "shared-attributes(2)"},
            r"classifier-bits needs one type an image, and shared-attributes\(2\) gives several; "
            "take adversarial, dch, .*adversarial-eyes or adversarial-pairs, or --neighbours same",
        ),
        (
            {"objective": "csq", "neighbours": "same-item"},
            "csq learns from types alone, and same-item is no type; take adversarial, dch, "
            "hashnet, dpsh, dsh, adversarial-eyes or adversarial-pairs, or --neighbours same-type",
        ),
        ({"weights": {"fine": 0.0}}, "--fine-bits 0"),
        ({"fine_bits": 0, "weights": dict.fromkeys(SEMANTIC_TERMS, 0.0)}, "every term has weight"),
        ({"weights": dict.fromkeys((*SEMANTIC_TERMS, "fine"), 0.0)}, "--fine-bits 0"),
    ],
)
def test_a_value_outside_what_it_can_be_is_refused(change: dict[str, Any], told: str) -> None:
    refused(change, told)


@pytest.mark.parametrize(
    "name",
    [
        *("n_bits", "fine_bits", "epochs", "settle_epochs", "batch_size", "seed"),
        *("freeze_epochs", "accumulate"),
    ],
)
@pytest.mark.parametrize("value", [8.0, 8.5, True, "8", None, math.nan])
def test_a_count_that_is_no_whole_number_is_refused(name: str, value: object) -> None:
    refused({name: value}, f"{name} must be a whole number, not {value!r}")


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "temperature", "backbone_rate"])
@pytest.mark.parametrize("value", ["1", None, True, math.nan, math.inf, -math.inf, 10**400])
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    refused({name: value}, f"{name} must be a finite number, not {value!r}")


@pytest.mark.parametrize("name", ["objective", "backbone", "backbone_weights"])
def test_a_name_that_is_no_text_is_refused(name: str) -> None:
    refused({name: ["dch"]}, rf"{name} must be a text, not \['dch'\]")


@pytest.mark.parametrize(
    ("kind", "name"), [("weights", "hamming"), ("weights", "fine"), ("constants", "gamma")]
)
@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, "1", None, True, 10**400])
def test_a_weight_or_constant_that_can_be_none_is_refused(
    kind: str, name: str, value: object
) -> None:
    least = {"weights": "from 0 up", "constants": "above 0"}[kind]
    told = rf"(weight of|constant) {name} must be a number {least}, not {value!r}"
    refused({kind: {name: value}}, told)


def test_a_constant_of_0_is_refused() -> None:
    refused({"constants": {"settled_gamma": 0}}, "settled_gamma must be a number above 0, not 0")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"objective": "dch", "weights": {"triplet": 1.0}},
            "objective dch has no term 'triplet'; it has hamming, quantisation, fine",
        ),
        (
            {"objective": "orthohash", "constants": {"gamma": 1.0}},
            "objective orthohash has no constant 'gamma'; it has margin, scale",
        ),
        (
            {"objective": "dsh", "constants": {"margin": 1.0}},
            "objective dsh has no constant 'margin'; it has none",
        ),
        ({"weights": [1.0]}, r"terms must be a table of names and numbers, not \[1.0\]"),
        ({"constants": 20.0}, "constants must be a table of names and numbers, not 20.0"),
    ],
)
def test_names_that_the_objective_does_not_have_are_refused_with_those_it_has(
    change: dict[str, Any], told: str
) -> None:
    refused(change, f"^{told}$")


def refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told) as caught:
        TrainingPlan(**change)
    assert "\n" not in str(caught.value)
