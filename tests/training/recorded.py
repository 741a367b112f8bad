"""What trainings compute, written down: ``torchrun ... recorded.py PHOTOS FILE`` for many."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_pre_hook
from toy import toy_set

from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.folder import folder_items
from hashsearch.datasets.photo_set import photo_parts, photo_preprocessing
from hashsearch.images import FASHION_MNIST
from hashsearch.training.feed import Reading
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.processes import ALONE, Processes, torchrun_processes
from hashsearch.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from hashsearch.datasets.training_set import TrainingSet
    from hashsearch.training.reports import StepReport

PLAN = TrainingPlan(
    n_bits=16,
    fine_bits=8,
    epochs=1,
    settle_epochs=1,
    batch_size=32,
    device="cpu",
    precision="float32",
)
SEMANTIC = ("classification", "hamming", "quantisation", "adversarial")
PHOTOS, HELD_PHOTOS = "photos", "photos that are held"
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
    PHOTOS: replace(PLAN, batch_size=10),
    HELD_PHOTOS: replace(PLAN, batch_size=10),
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
        skipped: which images could not be read, and why.
    """

    gradients: list[list[Tensor | None]]
    steps: list[tuple[dict[str, float], float | None]]
    maps: list[float]
    network: dict[str, Tensor]
    skipped: dict[str, str]


def write_photos(folder: Path) -> None:
    """Two types of 24 photos, lighter in a channel; two photos cannot be read."""
    for kind, name in enumerate(("coat", "dress")):
        (folder / name).mkdir(parents=True)
        for number in range(24):
            rng = np.random.default_rng([kind, number])
            pixels = rng.integers(0, 100, (20, 16, 3), dtype=np.uint8)
            pixels[..., kind] += 120
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
        (folder / name / "05.png").write_bytes(b"no image")


def record(name: str, photos: Path, processes: Processes = ALONE) -> Recorded:
    """Train, and watch; all but bfloat16 in float64, in which nothing hides behind rounding."""
    plan = PLANS[name]
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

    preprocessing = FASHION_MNIST
    train_set: TrainingSet = toy_set(100, seed=0)
    validation_set: TrainingSet = toy_set(41, seed=1)
    if name in {PHOTOS, HELD_PHOTOS}:
        preprocessing = photo_preprocessing(8)
        parts = photo_parts(Catalogue("shop", folder_items(photos)), plan.rule, preprocessing)
        train_set, validation_set = parts.train, parts.validation
    handle = register_optimizer_step_pre_hook(note)
    with nullcontext() if plan.precision == "bfloat16" else in_float64():
        trained = train(
            plan,
            train_set,
            validation_set,
            preprocessing,
            reading=Reading(held_bytes=0 if name == PHOTOS else 1 << 20),
            processes=processes,
            on_step=told,
        )
    handle.remove()
    maps = [report.validation_map for report in trained.history]
    state = trained.network.state_dict()
    return Recorded([*gradients.values()], steps, maps, state, trained.skipped)


@contextmanager
def in_float64() -> Iterator[None]:
    """What asks for float32 gets float64."""
    tensor, from_numpy = torch.tensor, torch.from_numpy

    def wide_tensor(*args: Any, **more: Any) -> Tensor:
        made = tensor(*args, **more)
        return made.double() if made.dtype == torch.float32 else made

    def wide_from_numpy(array: Any) -> Tensor:
        return from_numpy(array.astype(np.float64) if array.dtype == np.float32 else array)

    torch.set_default_dtype(torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "tensor", wide_tensor)
        patch.setattr(torch, "from_numpy", wide_from_numpy)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        yield
    torch.set_default_dtype(torch.float32)


if __name__ == "__main__":
    with torchrun_processes("cpu") as them:
        everything = {name: vars(record(name, Path(sys.argv[1]), them)) for name in PLANS}
        torch.save(everything, f"{sys.argv[2]}.{them.rank}")
