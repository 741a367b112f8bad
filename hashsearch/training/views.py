"""The two views of each image that a batch of training holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hashsearch.training.augment import erase, flip, warp

if TYPE_CHECKING:
    from hashsearch.images import Preprocessing

__all__ = ["Views"]

_SHIFT = 1.4 / 28  # of a photo's side, as of the images that the views were chosen for


class Views:
    """Makes what the network is trained with.

    Args:
        preprocessing: of the images.
        device: where the images are.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._warp: dict[str, Any] = {}
        if preprocessing.kind == "photo":
            self._warp = {"shift": _SHIFT * preprocessing.size, "padding": "border"}
        shape = (1, preprocessing.channels, 1, 1)
        self._mean = torch.tensor(preprocessing.mean, device=device).reshape(shape)
        self._std = torch.tensor(preprocessing.std, device=device).reshape(shape)

    def of(
        self, pixels: Tensor, generator: torch.Generator, among: tuple[int, int] | None = None
    ) -> Tensor:
        """One view of each image, then another one of each.

        Args:
            pixels: ``uint8 (n, channels, h, w)``.
            generator: where the randomness comes from (on the CPU).
            among: which these images are of those of a batch, as for
                :func:`~hashsearch.training.augment.warp`.

        Returns:
            float32 ``(2 n, channels, h, w)``, normalised.
        """
        # Flipped before the views part: a mirrored item is another picture of another item.
        images = flip(pixels.float() / 255, generator, among=among)
        view = warp(images, generator, graded=True, among=among, **self._warp)
        view = self.normalised(erase(view, generator, among=among))
        other_view = self.normalised(warp(images, generator, among=among, **self._warp))
        return torch.cat([view, other_view])

    def normalised(self, images: Tensor) -> Tensor:
        """As :func:`hashsearch.images.normalise`, of views that are no bytes any more."""
        return ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
