"""The paper's objective with a discriminator that looks at the images itself.

The paper (arXiv 1907.00382) says that its discriminator judges "hash code-image pairs"; what it
sees of the image is left open. :class:`Adversarial` shows it the network's own features, which the
semantic head is a linear function of. Here it has a network of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from hashsearch.errors import ArgumentError
from hashsearch.training.objectives.adversarial import Adversarial

if TYPE_CHECKING:
    from hashsearch.training.objectives.base import Outputs

__all__ = ["AdversarialEyes"]

_CHANNELS, _CELLS = (16, 32), 4


class AdversarialEyes(Adversarial):
    """As :class:`Adversarial`, but D sees the grey image through two convolutions of its own.

    Constants, beside those of :class:`Adversarial`: ``pace``, D's learning rate over its usual one,
    0.001.
    """

    name = "adversarial-eyes"
    sees_pixels = True
    default_constants = {**Adversarial.default_constants, "pace": 1.0}  # noqa: RUF012 - read only

    def build(self, n_features: int, n_bits: int, n_classes: int) -> None:
        """See :meth:`Objective.build`."""
        del n_features  # D sees the image instead
        first, second = _CHANNELS
        super().build(second * _CELLS**2, n_bits, n_classes)
        self.eyes = nn.Sequential(
            nn.Conv2d(1, first, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(first, second, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.AdaptiveAvgPool2d(_CELLS),
            nn.Flatten(),
        )

    @property
    def adversary_rate(self) -> float:
        """See :attr:`Objective.adversary_rate`."""
        return super().adversary_rate * self.constants["pace"]

    def adversary_parameters(self) -> list[nn.Parameter]:
        """The discriminator's, and those of its eyes."""
        return [*self.eyes.parameters(), *super().adversary_parameters()]

    def _seen(self, outputs: Outputs) -> Tensor:
        """What D knows of each image: ``(n, 512)``.

        Raises:
            ArgumentError: the batch comes without its pixels.
        """
        if outputs.pixels is None:
            raise ArgumentError("a discriminator with eyes needs the pixels of the batch")
        seen: Tensor = self.eyes(outputs.pixels.mean(dim=1, keepdim=True))
        return seen
