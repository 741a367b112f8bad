"""What a fitted system is told, what it does, and the network that it leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hashsearch.codes import check_bit_counts
from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hashsearch.images import Preprocessing
    from hashsearch.training.reports import StepReport

__all__ = ["FittedEpoch", "FittedNetwork", "FittedSystem", "linear", "linear_on_normalised"]


class FittedNetwork(nn.Module):
    """Normalised pixels to the outputs that become the semantic code, as in every encoder.

    Args:
        layers: float32 ``(n, channels * h * w)`` to ``(n, n_bits)``.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """Float32 ``(n, channels, h, w)`` to ``(semantic,)``, float32 ``(n, n_bits)``."""
        return (self.layers(pixels.flatten(1)),)


class FittedEpoch(NamedTuple):
    """What an epoch leaves.

    Attributes:
        number: counted from 1.
        network: one of its own; later epochs do not change it.
        terms: as :class:`~hashsearch.training.reports.EpochReport` has them.
    """

    number: int
    network: FittedNetwork
    terms: dict[str, float]


@dataclass(frozen=True)
class FittedSystem(ABC):
    """A system and its settings: the plan of a run, where nothing is trained on types.

    As no type is looked at, none may choose: the last epoch is kept.

    Attributes:
        objective: its key in :data:`~hashsearch.training.fitted.FITTED`.
        backbone: what the record says stands in front of the code layer.
        n_bits: length of the semantic code.
        fine_bits: 0: there is no fine code.
        seed: of everything random, below 2**32.

    Raises:
        ArgumentError: a value outside what it can be.
    """

    backbone: ClassVar[str]
    revision: ClassVar[int] = 1
    """To be raised whenever the system comes to be fitted otherwise."""

    objective: str = field(init=False)
    n_bits: int = 48
    fine_bits: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_bit_counts(self.n_bits)
        if self.fine_bits:
            raise ArgumentError(
                f"{self.objective} has no fine code; fine_bits must be 0, not {self.fine_bits}"
            )
        if not 0 <= self.seed < 2**32:
            raise ArgumentError(f"the seed must be from 0 to 2**32 - 1, not {self.seed}")

    @property
    def total_epochs(self) -> int:
        """Number of the last epoch."""
        return 1

    def to_record(self) -> dict[str, Any]:
        """What decides the outcome, as JSON."""
        return {**asdict(self), "revision": self.revision}

    @abstractmethod
    def fitting(
        self,
        pixels: npt.NDArray[np.uint8],
        preprocessing: Preprocessing,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> Iterator[FittedEpoch]:
        """Fit, and tell of each epoch that leaves a network.

        Args:
            pixels: ``uint8 (n, channels, h, w)``.
            preprocessing: of the encoder, whose mean and standard deviation the network's
                input is normalised with.
            on_step: called after each step.

        Yields:
            The last is the result.

        Raises:
            TrainingError: the images do not suffice, or a value is not finite.
        """


def linear_on_normalised(
    weights: npt.NDArray[np.float64], bias: npt.NDArray[np.float64], preprocessing: Preprocessing
) -> nn.Linear:
    """The layer ``W x + b`` of pixels x in [0, 1], for normalised pixels z.

    As ``x = std z + mean`` in each channel, it is ``(W std) z + (W mean + b)``.

    Args:
        weights: W, ``float64 (n_out, channels * h * w)``.
        bias: b, ``float64 (n_out,)``.
        preprocessing: has the mean and std.
    """
    per_channel = weights.shape[1] // preprocessing.channels
    mean, std = np.repeat([preprocessing.mean, preprocessing.std], per_channel, axis=1)
    return linear(
        torch.from_numpy((weights * std).astype(np.float32)),
        torch.from_numpy((weights @ mean + bias).astype(np.float32)),
    )


def linear(weights: Tensor, bias: Tensor) -> nn.Linear:
    """A layer of copies of weights, float ``(n_out, n_in)``, and bias, float ``(n_out,)``."""
    # Without a device no initial weights are drawn, and torch's global generator stays.
    layer = nn.Linear(weights.shape[1], weights.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weights.clone()), nn.Parameter(bias.clone())
    return layer
