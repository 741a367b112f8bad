"""The hash network: a backbone with a semantic head and a fine head."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from hashsearch.codes import check_bit_counts
from hashsearch.training.backbones import make_backbone
from hashsearch.training.objectives import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HashNetwork"]

# The fine head keeps this many cells a side, so that it knows where a pattern is.
_FINE_GRID = 7


class HashNetwork(nn.Module):
    """Images to the outputs of two heads; a bit is 1 where an output is ``>= 0``.

    The fine head's outputs are standardised over the batch, so that each fine bit is
    set for about half of the items.

    Args:
        backbone: a name that :func:`~hashsearch.training.backbones.make_backbone` knows.
        channels: of the images, 1 or 3.
        n_bits: outputs of the semantic head.
        fine_bits: outputs of the fine head; 0 leaves it out.
        semantic_head: makes the semantic head for features of so many channels; a linear
            layer if None.
        image_size: side of the images, in pixels.
        backbone_weights: that the backbone starts from, as for
            :func:`~hashsearch.training.backbones.make_backbone`.

    Raises:
        ArgumentError: bit counts that are no multiples of 8, or a backbone that cannot be
            made (see :func:`~hashsearch.training.backbones.make_backbone`).
        TrainingError: weights that cannot be downloaded.
    """

    def __init__(
        self,
        backbone: str,
        channels: int,
        n_bits: int,
        fine_bits: int,
        semantic_head: Callable[[int], nn.Module] | None = None,
        *,
        image_size: int = 28,
        backbone_weights: str = "none",
    ) -> None:
        super().__init__()
        check_bit_counts(n_bits, fine_bits)
        self.backbone = make_backbone(backbone, channels, image_size, backbone_weights)
        self.n_bits = n_bits
        self.fine_bits = fine_bits
        make_head = semantic_head or partial(nn.Linear, out_features=n_bits)
        self.semantic_head = make_head(self.backbone.n_features)
        self.fine_head: nn.Module | None = None
        if fine_bits:
            self.fine_head = nn.Sequential(
                nn.AdaptiveAvgPool2d(_FINE_GRID),
                nn.Flatten(),
                nn.Linear(self.backbone.early_channels * _FINE_GRID**2, fine_bits, bias=False),
                nn.BatchNorm1d(fine_bits, affine=False),
            )

    def heads(self, pixels: Tensor) -> tuple[Outputs, Tensor | None]:
        """Outputs for the objective, and the fine head's.

        Args:
            pixels: normalised, float32 ``(n, channels, h, w)``.

        Returns:
            :class:`Outputs`, and float32 ``(n, fine_bits)`` or None without a fine head.
        """
        early, features = self.backbone(pixels)
        features = features.float()
        fine = None if self.fine_head is None else self.fine_head(early).float()
        return Outputs(self.semantic_head(features).float(), features, pixels), fine

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs that become bits: semantic, and fine where there is a fine head."""
        outputs, fine = self.heads(pixels)
        return (outputs.semantic,) if fine is None else (outputs.semantic, fine)
