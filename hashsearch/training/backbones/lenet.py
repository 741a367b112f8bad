"""The first convolutional networks, for comparison."""

from __future__ import annotations

from torch import Tensor, nn

from hashsearch.errors import ArgumentError
from hashsearch.training.backbones.base import Backbone

__all__ = ["LeNet"]

_LEAST_SIDE = 12  # what two 5 x 5 convolutions and two poolings leave a pixel of


class LeNet(Backbone):
    """LeNet-5 without its last layer, 0.06 M parameters for grey 28 x 28 images.

    LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
    Recognition", Proceedings of the IEEE 86(11), 1998, figure 2: C1 (6 maps of 5 x 5
    filters), S2 (pooling), C3 (16 maps of 5 x 5 filters), S4 (pooling), C5 (120 units),
    F6 (84 units, the features). The early maps are those of C3: 10 x 10 of 28 x 28 pixels,
    which C1 pads to 32 x 32 as the paper does. As is usual today, units are ReLU instead
    of tanh, pooling takes the maximum instead of a trained mean, and each map of C3 sees
    all of S2 instead of a part of it.

    Args:
        channels: of the images.
        image_size: their side, in pixels, 12 or more.

    Raises:
        ArgumentError: the images are too small.
    """

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        if image_size < _LEAST_SIDE:
            raise ArgumentError(
                f"lenet needs images of {_LEAST_SIDE} pixels a side, not {image_size}; "
                "take backbone small-resnet"
            )
        side = (image_size // 2 - 4) // 2
        self.early = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
        )
        self.late = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * side**2, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        )
        self.early_channels = 16
        self.n_features = 84

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Backbone`."""
        early = self.early(pixels)
        return early, self.late(early)
