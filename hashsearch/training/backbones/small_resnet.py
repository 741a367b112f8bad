"""The default at 28 x 28: small, and quick to train on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from hashsearch.training.backbones.base import Backbone

__all__ = ["SmallResNet"]


class SmallResNet(Backbone):
    """A residual network for 28 x 28 images, 0.68 M parameters.

    Three stages of 32, 64 and 128 channels at 28, 14 and 7 pixels a side, of one, two and
    two residual blocks (He, Zhang, Ren and Sun, CVPR 2016). The early half ends after
    the first block of the second stage.

    Args:
        channels: of the images.
        image_size: their side, in pixels; any will do.
    """

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        del image_size
        self.early = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            _ResidualBlock(32, 32),
            _ResidualBlock(32, 64, stride=2),
        )
        self.late = nn.Sequential(
            _ResidualBlock(64, 64),
            _ResidualBlock(64, 128, stride=2),
            _ResidualBlock(128, 128),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.early_channels = 64
        self.n_features = 128

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Backbone`."""
        early = self.early(pixels)
        return early, self.late(early)


class _ResidualBlock(nn.Module):
    def __init__(self, width_in: int, width_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
            nn.Conv2d(width_out, width_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(width_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or width_in != width_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(width_out),
            )
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.relu(self.body(maps) + self.shortcut(maps))
        return out
