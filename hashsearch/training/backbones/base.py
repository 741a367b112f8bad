"""What the hash network asks of a backbone."""

from __future__ import annotations

from torch import nn

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """Pixels ``(n, channels, h, w)`` to early maps and features.

    ``forward`` returns float ``(n, early_channels, h', w')`` and ``(n, n_features)``.

    Attributes:
        early_channels: of the early maps.
        n_features: width of the features.
        weights_record: which trained weights it started from, as an encoder's record has
            it: ``backbone_weights``, the name of torchvision's weights or of a file, and
            for a file ``backbone_weights_sha256``. Empty where it started at random.
    """

    early_channels: int
    n_features: int
    weights_record: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.weights_record = {}
