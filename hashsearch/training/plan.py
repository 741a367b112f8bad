"""What a training run is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeAlias

from hashsearch.codes import check_bit_counts
from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.errors import ArgumentError
from hashsearch.training.backbones import BACKBONES, check_backbone
from hashsearch.training.fitted import FITTED, FittedSystem
from hashsearch.training.objectives import OBJECTIVES
from hashsearch.training.objectives.base import is_number

__all__ = ["DEVICES", "PRECISIONS", "Plan", "TrainingPlan", "plan_for", "plan_for_photos"]

PRECISIONS = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")

# What came later stands in the record only where it differs, so that the records of runs from
# before are still those of the same plans.
_LATER = {"neighbours": "same-type", "backbone_rate": 1.0, "freeze_epochs": 0, "accumulate": 1}
_LATER_CONSTANTS = {"nearest": 0.0, "ceiling": 1.0}

_MOST_BITS = 4096

_PHOTO_BACKBONE = "resnet18"
_PHOTO_BATCH = 64  # two views of each at 224 pixels: 256 would take tens of GiB
_TRAINED_RATE = 0.1
_TRAINED_FREEZE = 1


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides what a run learns.

    Attributes:
        objective: a key of :data:`~hashsearch.training.objectives.OBJECTIVES`.
        backbone: a key of :data:`~hashsearch.training.backbones.BACKBONES`, or the name of a
            classifier of ``torchvision.models``.
        backbone_weights: that the backbone starts from: ``none``, or for a classifier of
            torchvision ``imagenet`` or the path of a file (see
            :func:`~hashsearch.training.backbones.make_backbone`).
        n_bits: length of the semantic code.
        fine_bits: length of the fine code; 0 trains without a fine head.
        weights: of the objective's terms, where they differ from its defaults, and
            ``fine`` for the fine head's loss; 0 trains without a term.
        constants: of the objective's losses, where they differ from its defaults (see
            :attr:`~hashsearch.training.objectives.Objective.default_constants`).
        epochs: over the training images.
        settle_epochs: further ones, at the end, at a quarter of the learning rate: the
            objective draws its neighbours closer together (see
            :meth:`~hashsearch.training.objectives.Objective.start_epoch`). The last one is kept:
            they fill the ball at some cost in mAP, which would choose the first. Where
            there are none, the epoch with the highest validation mAP is kept.
        batch_size: images a step; two views of each go through the network.
        learning_rate: the highest of the one-cycle schedule (AdamW).
        weight_decay: of AdamW.
        temperature: of the fine head's loss.
        seed: of everything random, below 2**32.
        device: ``auto`` takes a GPU where there is one.
        precision: of the network's arithmetic; ``auto`` takes bfloat16 where it is at least
            a fifth faster here. One seed gives one network on one machine, on the CPU, at
            one precision and number of threads.
        neighbours: who is a neighbour of whom, as
            :meth:`~hashsearch.datasets.neighbours.NeighbourRule.parse` reads it.
        backbone_rate: learning rate of the backbone, over that of all else.
        freeze_epochs: the first ones, in which the backbone stays as it is, its statistics
            included.
        accumulate: batches a step, whose gradients are averaged; each has its own pairs, and the
            adversary takes a step with each.

    Raises:
        ArgumentError: a value outside what it can be, or nothing left to learn.
    """

    objective: str = "adversarial"
    backbone: str = "small-resnet"
    backbone_weights: str = "none"
    n_bits: int = 48
    fine_bits: int = 64
    weights: dict[str, float] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    epochs: int = 20
    settle_epochs: int = 8
    batch_size: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    temperature: float = 0.15
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    neighbours: str = "same-type"
    backbone_rate: float = 1.0
    freeze_epochs: int = 0
    accumulate: int = 1

    def __post_init__(self) -> None:
        self._check_types()
        if self.objective not in OBJECTIVES:
            raise ArgumentError(
                f"unknown objective {self.objective!r}; known: {', '.join(OBJECTIVES)}"
            )
        check_backbone(self.backbone, self.backbone_weights)
        if self.precision not in PRECISIONS or self.device not in DEVICES:
            raise ArgumentError(
                f"precision is one of {', '.join(PRECISIONS)}; device is one of "
                f"{', '.join(DEVICES)}"
            )
        check_bit_counts(self.n_bits, self.fine_bits)
        if self.n_bits + self.fine_bits > _MOST_BITS:
            raise ArgumentError(
                f"a code of {self.n_bits + self.fine_bits:,} bits is longer than any that is of "
                f"use; take {_MOST_BITS:,} at most"
            )
        if not 0 <= self.seed < 2**32:
            raise ArgumentError(f"the seed must be from 0 to 2**32 - 1, not {self.seed}")
        if self.epochs < 1 or self.settle_epochs < 0 or self.batch_size < 2:
            raise ArgumentError(
                "at least 1 epoch, 0 settling epochs and 2 images a batch are needed"
            )
        if self.freeze_epochs < 0 or self.accumulate < 1:
            raise ArgumentError("at least 0 frozen epochs and 1 batch a step are needed")
        for name in ("learning_rate", "temperature", "backbone_rate"):
            if getattr(self, name) <= 0:
                raise ArgumentError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.weight_decay < 0:
            raise ArgumentError(f"weight_decay must be from 0 up, not {self.weight_decay}")
        OBJECTIVES[self.objective].resolve_constants(self.constants)
        weights = self.all_weights
        if self.fine_bits and not weights["fine"]:
            raise ArgumentError(
                "a fine head that is not trained has no meaning; train without one: --fine-bits 0"
            )
        if not any(weights.values()):
            raise ArgumentError("every term has weight 0; give one of them more to learn from")
        self._check_rule()

    def _check_types(self) -> None:
        """Refuse values of another type, which a suite's file may hold."""
        for name in ("objective", "backbone", "backbone_weights", "neighbours"):
            if not isinstance(value := getattr(self, name), str):
                raise ArgumentError(f"{name} must be a text, not {value!r}")
        counts = ("n_bits", "fine_bits", "epochs", "settle_epochs", "batch_size", "seed")
        for name in (*counts, "freeze_epochs", "accumulate"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ArgumentError(f"{name} must be a whole number, not {value!r}")
        for name in ("learning_rate", "weight_decay", "temperature", "backbone_rate"):
            if not is_number(value := getattr(self, name)):
                raise ArgumentError(f"{name} must be a finite number, not {value!r}")

    def _check_rule(self) -> None:
        """Refuse an objective that cannot learn from such neighbours, and name those that can."""
        kind = OBJECTIVES[self.objective]
        self.rule.check_factual()
        if self.rule.name == "shared-attributes" and not kind.several_classes:
            takes = [name for name, other in OBJECTIVES.items() if other.several_classes]
            raise ArgumentError(
                f"{self.objective} needs one type an image, and {self.rule} gives several; take "
                f"{', '.join(takes[:-1])} or {takes[-1]}, or --neighbours same-type"
            )
        if self.rule.name == "same-item" and not kind.compares_pairs:
            takes = [name for name, other in OBJECTIVES.items() if other.compares_pairs]
            raise ArgumentError(
                f"{self.objective} learns from types alone, and {self.rule} is no type; take "
                f"{', '.join(takes[:-1])} or {takes[-1]}, or --neighbours same-type"
            )

    @property
    def rule(self) -> NeighbourRule:
        """Who is a neighbour of whom."""
        return NeighbourRule.parse(self.neighbours)

    @property
    def total_epochs(self) -> int:
        """Settling epochs included."""
        return self.epochs + self.settle_epochs

    @property
    def all_weights(self) -> dict[str, float]:
        """Of every term, defaults included; ``fine`` only where there is a fine head."""
        weights = OBJECTIVES[self.objective].resolve_weights(self.weights, fine=1.0)
        if not self.fine_bits:
            del weights["fine"]
        return weights

    @property
    def objective_weights(self) -> dict[str, float]:
        """:attr:`all_weights` without the fine head's."""
        return {term: weight for term, weight in self.all_weights.items() if term != "fine"}

    @property
    def all_constants(self) -> dict[str, float]:
        """Of the objective, defaults included."""
        return OBJECTIVES[self.objective].resolve_constants(self.constants)

    def check_types(self, n_classes: int) -> None:
        """Refuse what the objective cannot train, before anything is read or trained.

        Args:
            n_classes: number of item types, or of attributes where the neighbours share those.

        Raises:
            ArgumentError: the objective cannot do with so many bits or types.
        """
        objective = OBJECTIVES[self.objective]
        objective(1, self.n_bits, n_classes, self.objective_weights, self.constants)
        objective.semantic_head(1, self.n_bits, n_classes)

    def to_record(self) -> dict[str, Any]:
        """What decides the outcome, as JSON, with what is left to the objective's defaults."""
        resolved = {
            "weights": self.all_weights,
            "constants": {
                name: value
                for name, value in self.all_constants.items()
                if _LATER_CONSTANTS.get(name) != value
            },
            "neighbours": str(self.rule),
        }
        record = {**asdict(self), **resolved, "revision": OBJECTIVES[self.objective].revision}
        for name, from_before in _LATER.items():
            if record[name] == from_before:
                del record[name]
        return record


Plan: TypeAlias = TrainingPlan | FittedSystem
"""Of an objective that the trainer trains, or of a system that is fitted."""


def plan_for(objective: str, **options: Any) -> Plan:
    """The plan of any objective: its own defaults, and the options that differ from them.

    Args:
        objective: a key of :data:`~hashsearch.training.objectives.OBJECTIVES` or of
            :data:`~hashsearch.training.fitted.FITTED`.
        options: attributes of its plan.

    Raises:
        ArgumentError: an unknown objective, an option that has no meaning for it, or a value
            outside what it can be.
    """
    known = [*OBJECTIVES, *FITTED]
    if objective not in known:
        raise ArgumentError(f"unknown objective {objective!r}; known: {', '.join(known)}")
    kind: type[Plan] = FITTED.get(objective, TrainingPlan)
    meaning = {entry.name for entry in fields(kind)} - {"objective"}
    if pointless := [name for name in options if name not in meaning]:
        raise ArgumentError(
            f"{', '.join(pointless)}: of no meaning for the objective {objective}; leave it out"
        )
    if objective in FITTED:
        return FITTED[objective](**options)
    return TrainingPlan(objective=objective, **options)


def plan_for_photos(objective: str, **options: Any) -> TrainingPlan:
    """The plan of an objective for photos: what is not given is what photos want.

    That is ``resnet18``, batches of 64, and for a classifier of torchvision its ImageNet weights.
    A backbone that starts from trained weights learns at a tenth of the rate, and rests in the
    first epoch, while the heads find their way.

    Args:
        objective: a key of :data:`~hashsearch.training.objectives.OBJECTIVES`.
        options: attributes of the plan.

    Raises:
        ArgumentError: as for :func:`plan_for`; or a system that is fitted, which takes none.
    """
    if objective in OBJECTIVES:
        backbone = options.setdefault("backbone", _PHOTO_BACKBONE)
        options.setdefault("batch_size", _PHOTO_BATCH)
        weights = options.setdefault(
            "backbone_weights", "none" if backbone in BACKBONES else "imagenet"
        )
        if weights != "none":
            options.setdefault("backbone_rate", _TRAINED_RATE)
            options.setdefault("freeze_epochs", _TRAINED_FREEZE)
    plan = plan_for(objective, **options)
    if not isinstance(plan, TrainingPlan):
        raise ArgumentError(
            f"{objective} is fitted to the small grey images of fashion-mnist alone; for photos "
            f"take another objective: {', '.join(OBJECTIVES)}"
        )
    return plan
