"""Semantic hashing: a deep autoencoder whose narrow middle is driven to be binary.

Sources: Salakhutdinov and Hinton, "Semantic Hashing", International Journal of Approximate
Reasoning 50 (2009), for the layers, the noise and the code; Hinton and Salakhutdinov,
"Reducing the Dimensionality of Data with Neural Networks", Science 313 (2006), for pixels:
logistic visible units in place of word counts, and the cross-entropy of reconstruction.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.training.fitted.base import (
    FittedEpoch,
    FittedNetwork,
    FittedSystem,
    linear,
    linear_on_normalised,
)
from hashsearch.training.fitted.rbm import Rbm, train_rbm
from hashsearch.training.reports import StepReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hashsearch.images import Preprocessing

__all__ = ["SemanticHashing", "unroll"]


@dataclass(frozen=True)
class SemanticHashing(FittedSystem):
    """Pixels - 500 - 500 - n_bits logistic units, unsupervised.

    Each layer is first trained as a restricted Boltzmann machine on the activities of the
    one below (:mod:`~hashsearch.training.fitted.rbm`). The stack is then unrolled into an
    autoencoder and fine-tuned by backpropagation to rebuild the pixels. Noise on the inputs
    of the code units makes them useless between 0 and 1, so they learn to be either: a bit
    is 1 where a unit is at least 0.5, that is, its input at least 0. As in the paper the
    noise of an image is drawn once and stays.

    Layers, noise, batches and epochs are those of the paper (2000 words - 500 - 500 - 128).
    It fine-tunes by conjugate gradients on large batches; here Adam does, on the same small
    ones.

    With the default layers, epochs 1 to 150 are those of the three machines, whose steps tell
    their mean squared error of reconstruction, and 151 to 200 those of fine-tuning. A run
    takes minutes, and one that was stopped starts over. It runs on the CPU; one seed gives
    one network on one machine with one number of threads.

    Attributes:
        epochs: of each Boltzmann machine, and again of fine-tuning.
        batch_size: images a step.
        learning_rate: of fine-tuning (Adam's default).
        hidden: widths of the layers before the code.
        noise: standard deviation of what is added to the input of a code unit.
    """

    backbone = "logistic layers"

    objective: str = field(default="semantic-hashing", init=False)
    epochs: int = 50
    batch_size: int = 100
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = (500, 500)
    noise: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1 or self.batch_size < 1 or any(width < 1 for width in self.hidden):
            raise ArgumentError("at least 1 epoch, 1 image a batch and 1 unit a layer are needed")
        if not 0 < self.learning_rate < math.inf:
            raise ArgumentError(f"learning_rate must be above 0, not {self.learning_rate}")
        if not 0 <= self.noise < math.inf:
            raise ArgumentError(f"noise must be a number from 0 up, not {self.noise}")

    @property
    def total_epochs(self) -> int:
        """Number of the last epoch."""
        return (len(self.hidden) + 2) * self.epochs

    def fitting(
        self,
        pixels: npt.NDArray[np.uint8],
        preprocessing: Preprocessing,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> Iterator[FittedEpoch]:
        """See :meth:`FittedSystem.fitting`.

        The term of fine-tuning is ``reconstruction``: the cross-entropy of an image's pixels
        and what is rebuilt of them, in nats.
        """
        n = len(pixels)
        if n < self.batch_size:
            raise TrainingError(
                f"{n} training images do not fill a batch of {self.batch_size}; lower --batch-size"
            )
        generator = torch.Generator().manual_seed(self.seed)
        images = torch.from_numpy(pixels.reshape(n, -1) / np.float32(255))
        up, down = unroll(self._pretrained(images, generator, on_step))
        encoder, decoder = _chained(up), nn.Sequential(nn.Sigmoid(), _chained(down))
        noise = self.noise * torch.randn(n, self.n_bits, generator=generator)
        optimiser = torch.optim.Adam(
            [*encoder.parameters(), *decoder.parameters()], lr=self.learning_rate
        )
        steps = n // self.batch_size
        for epoch in range(self.total_epochs - self.epochs + 1, self.total_epochs + 1):
            order = torch.randperm(n, generator=generator)
            total = 0.0
            for step in range(steps):
                rows = order[step * self.batch_size : (step + 1) * self.batch_size]
                loss = reconstruction_loss(
                    decoder(encoder(images[rows]) + noise[rows]), images[rows]
                )
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
                optimiser.step()
                terms = {"reconstruction": float(loss.detach())}
                if not math.isfinite(terms["reconstruction"]):
                    raise TrainingError(
                        f"the loss is not finite at epoch {epoch}, step {step + 1}; "
                        "lower --learning-rate"
                    )
                total += terms["reconstruction"]
                if on_step:
                    on_step(StepReport(epoch, step + 1, steps, terms, None))
            # A finite loss can have a gradient that is not; after the last step no loss tells.
            if not all(bool(part.isfinite().all()) for part in encoder.parameters()):
                raise TrainingError(
                    f"the network is not finite after epoch {epoch}; lower --learning-rate"
                )
            network = _network(up, preprocessing)
            yield FittedEpoch(epoch, network, {"reconstruction": total / steps})

    def _pretrained(
        self,
        images: Tensor,
        generator: torch.Generator,
        on_step: Callable[[StepReport], None] | None,
    ) -> list[Rbm]:
        """A machine a layer, the lowest first; images float32 ``(n, pixels)``."""
        machines: list[Rbm] = []
        activities = images
        steps = len(images) // self.batch_size

        def tell(epoch: int, step: int, error: float) -> None:
            if on_step:
                layer = len(machines)
                terms = {f"pretraining {layer + 1}": error}
                on_step(StepReport(layer * self.epochs + epoch, step, steps, terms, None))

        for width in (*self.hidden, self.n_bits):
            machine = train_rbm(
                activities,
                width,
                epochs=self.epochs,
                batch_size=self.batch_size,
                generator=generator,
                on_step=tell,
            )
            machines.append(machine)
            activities = machine.hidden(activities)
        return machines


def unroll(machines: Sequence[Rbm]) -> tuple[list[nn.Linear], list[nn.Linear]]:
    """The layers of an autoencoder that starts as a stack of Boltzmann machines.

    Args:
        machines: the lowest first; the hidden units of one are the visible ones of the next.

    Returns:
        The layers from the pixels to the code, and those back. A pair of them starts with
        the same weights and is not tied any more.
    """
    up = [linear(machine.weights.T, machine.hidden_bias) for machine in machines]
    down = [linear(machine.weights, machine.visible_bias) for machine in reversed(machines)]
    return up, down


def reconstruction_loss(outputs: Tensor, pixels: Tensor) -> Tensor:
    """``- sum of p log q + (1 - p) log(1 - q)`` over an image's pixels, mean over images.

    Args:
        outputs: ``q = sigmoid(outputs)`` is what was rebuilt, float ``(n, pixels)``.
        pixels: p, float ``(n, pixels)``, in [0, 1].

    Returns:
        A scalar, in nats.
    """
    summed = functional.binary_cross_entropy_with_logits(outputs, pixels, reduction="sum")
    return summed / len(pixels)


def _chained(layers: Sequence[nn.Linear]) -> nn.Sequential:
    """Logistic units between the layers."""
    first, *others = layers
    return nn.Sequential(first, *(module for layer in others for module in (nn.Sigmoid(), layer)))


def _network(up: Sequence[nn.Linear], preprocessing: Preprocessing) -> FittedNetwork:
    """A copy of the layers from the pixels to the code that takes normalised pixels."""
    first, *others = copy.deepcopy(up)
    weights, bias = (part.detach().double().numpy() for part in (first.weight, first.bias))
    return FittedNetwork(_chained([linear_on_normalised(weights, bias, preprocessing), *others]))
