"""What a training run is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeAlias

from hashsearch.codes import check_bit_counts
from hashsearch.errors import ArgumentError
from hashsearch.training.backbones import check_backbone
from hashsearch.training.fitted import FITTED, FittedSystem
from hashsearch.training.objectives import OBJECTIVES
from hashsearch.training.objectives.base import is_number

__all__ = ["DEVICES", "PRECISIONS", "Plan", "TrainingPlan", "plan_for"]

PRECISIONS = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")


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
        if not 0 <= self.seed < 2**32:
            raise ArgumentError(f"the seed must be from 0 to 2**32 - 1, not {self.seed}")
        if self.epochs < 1 or self.settle_epochs < 0 or self.batch_size < 2:
            raise ArgumentError(
                "at least 1 epoch, 0 settling epochs and 2 images a batch are needed"
            )
        for name in ("learning_rate", "temperature"):
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

    def _check_types(self) -> None:
        """Refuse values of another type, which a suite's file may hold."""
        for name in ("objective", "backbone", "backbone_weights"):
            if not isinstance(value := getattr(self, name), str):
                raise ArgumentError(f"{name} must be a text, not {value!r}")
        for name in ("n_bits", "fine_bits", "epochs", "settle_epochs", "batch_size", "seed"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ArgumentError(f"{name} must be a whole number, not {value!r}")
        for name in ("learning_rate", "weight_decay", "temperature"):
            if not is_number(value := getattr(self, name)):
                raise ArgumentError(f"{name} must be a finite number, not {value!r}")

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
            n_classes: number of item types.

        Raises:
            ArgumentError: the objective cannot do with so many bits or types.
        """
        objective = OBJECTIVES[self.objective]
        objective(1, self.n_bits, n_classes, self.objective_weights, self.constants)
        objective.semantic_head(1, self.n_bits, n_classes)

    def to_record(self) -> dict[str, Any]:
        """What decides the outcome, as JSON, with what is left to the objective's defaults."""
        resolved = {"weights": self.all_weights, "constants": self.all_constants}
        return {**asdict(self), **resolved, "revision": OBJECTIVES[self.objective].revision}


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
