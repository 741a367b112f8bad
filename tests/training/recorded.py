"""What trainings compute, written down; by several processes with ``torchrun recorded.py FILE``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from toy import toy_set
from torch.optim.optimizer import register_optimizer_step_pre_hook

from hashsearch.images import FASHION_MNIST
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.processes import ALONE, Processes, torchrun_processes
from hashsearch.training.trainer import train

if TYPE_CHECKING:
    from torch import Tensor

    from hashsearch.training.reports import StepReport

PLAN = TrainingPlan(
    n_bits=16,
    fine_bits=8,
    epochs=2,
    settle_epochs=0,
    batch_size=32,
    device="cpu",
    precision="float32",
)
SEMANTIC = ("classification", "hamming", "quantisation", "adversarial")
PLANS = {
    "adversarial": PLAN,
    "dch": replace(PLAN, objective="dch"),
    "classifier-bits": replace(PLAN, objective="classifier-bits"),
    "ladder": replace(PLAN, objective="ladder"),
    "adversarial-eyes": replace(PLAN, objective="adversarial-eyes"),
    "no fine head": replace(PLAN, fine_bits=0),
    "two batches a step": replace(PLAN, accumulate=2, batch_size=16),
    "the fine loss alone": replace(PLAN, weights=dict.fromkeys(SEMANTIC, 0.0)),
    "a frozen backbone": replace(PLAN, freeze_epochs=1, backbone_rate=0.5),
    "bfloat16": replace(PLAN, precision="bfloat16"),
}


@dataclass
class Recorded:
    """Of one training.

    Attributes:
        gradients: before the first step of each optimiser: of the network and what learns beside
            it, and of the discriminator; None where a parameter has none.
        steps: terms of the loss, and the discriminator's accuracy.
        maps: validation mAP of each epoch.
        network: its state.
    """

    gradients: list[list[Tensor | None]]
    steps: list[tuple[dict[str, float], float | None]]
    maps: list[float]
    network: dict[str, Tensor]


def record(plan: TrainingPlan, processes: Processes = ALONE) -> Recorded:
    """Train, and watch."""
    gradients: dict[int, list[Tensor | None]] = {}
    steps: list[tuple[dict[str, float], float | None]] = []

    def note(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        gradients.setdefault(
            id(optimiser),
            [
                None if parameter.grad is None else parameter.grad.clone()
                for group in optimiser.param_groups
                for parameter in group["params"]
            ],
        )

    def told(report: StepReport) -> None:
        steps.append((report.terms, report.adversary_accuracy))

    handle = register_optimizer_step_pre_hook(note)  # type: ignore[no-untyped-call]  # torch's stub lacks it
    try:
        trained = train(
            plan,
            toy_set(100, seed=0),
            toy_set(41, seed=1),
            FASHION_MNIST,
            processes=processes,
            on_step=told,
        )
    finally:
        handle.remove()
    maps = [report.validation_map for report in trained.history]
    return Recorded([*gradients.values()], steps, maps, trained.network.state_dict())


if __name__ == "__main__":
    with torchrun_processes("cpu") as all_of_them:
        everything = {name: vars(record(plan, all_of_them)) for name, plan in PLANS.items()}
        torch.save(everything, f"{Path(sys.argv[1])}.{all_of_them.rank}")
