"""The discriminator of the adversarial objective: it tells own codes from swapped ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """A small perceptron on image features and a code.

    Args:
        n_features: width of the image features.
        n_bits: length of the semantic code.
        hidden: width of its two hidden layers.
    """

    def __init__(self, n_features: int, n_bits: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features + n_bits, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        """Logits that each code is its image's own.

        Args:
            features: float ``(n, n_features)``.
            codes: float ``(n, n_bits)``, from -1 to 1.

        Returns:
            float ``(n,)``.
        """
        logits: Tensor = self.layers(torch.cat([features, codes], dim=1))
        return logits.squeeze(1)
