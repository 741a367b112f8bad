"""Backbones by name: images to early feature maps and a feature vector.

The fine head sits on the early maps: what tells two items of one kind apart is in shapes
and textures that the later layers throw away.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from hashsearch.errors import ArgumentError, ExtraMissing
from hashsearch.training.backbones.base import Backbone
from hashsearch.training.backbones.lenet import LeNet
from hashsearch.training.backbones.small_resnet import SmallResNet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BACKBONES", "Backbone", "LeNet", "SmallResNet", "check_backbone", "make_backbone"]

BACKBONES: dict[str, Callable[[int, int], Backbone]] = {
    "small-resnet": SmallResNet,
    "lenet": LeNet,
}
"""Those of our own, each made of the images' channels and side."""


def check_backbone(name: str, weights: str) -> None:
    """Make sure that there is such a backbone, without making it.

    Args:
        name: as for :func:`make_backbone`.
        weights: as for :func:`make_backbone`.

    Raises:
        ArgumentError: an unknown backbone, one too large for an encoder's file, weights
            for one that takes none, or no file of that name.
        ExtraMissing: torchvision is not installed.
    """
    if name in BACKBONES:
        if weights != "none":
            raise ArgumentError(
                f"{name} has no trained weights; give --backbone-weights none, or take a "
                "classifier of torchvision.models, such as resnet18"
            )
        return
    try:
        # Imported here: it takes more than a second, and our own do without.
        from hashsearch.training.backbones import torchvision_backbone  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"{name!r} is none of {', '.join(BACKBONES)}, and others need the package "
            f"{error.name}: install hashsearch with its extra, `pip install '.[train]'` in its "
            "clone"
        ) from error

    known = torchvision_backbone.classifiers()
    if name not in known:
        close = get_close_matches(name.lower().replace("-", "_"), [*BACKBONES, *known])
        raise ArgumentError(
            f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}, and each classifier of "
            "torchvision.models by its name, such as alexnet"
            + (f"; did you mean {' or '.join(close)}?" if close else "")
        )
    torchvision_backbone.check_size(name)
    if weights not in {"none", "imagenet"} and not Path(weights).is_file():
        raise ArgumentError(
            f"there is no file of weights {weights}; give none, imagenet or the path of a file "
            "with --backbone-weights"
        )


def make_backbone(name: str, channels: int, image_size: int, weights: str = "none") -> Backbone:
    """A backbone with its initial weights.

    Args:
        name: a key of :data:`BACKBONES`, or a classifier of ``torchvision.models``.
        channels: of the images, 1 or 3.
        image_size: their side, in pixels.
        weights: to start from, for a classifier of torchvision: ``none`` (at random),
            ``imagenet`` (torchvision's best, downloaded into torch's cache) or the path of
            a file that holds its state dict.

    Raises:
        ArgumentError: see :func:`check_backbone`; or images too small for it, or a file of
            weights that is none of this backbone's.
        TrainingError: weights that cannot be downloaded.
        ExtraMissing: torchvision is not installed.
    """
    check_backbone(name, weights)
    if name in BACKBONES:
        return BACKBONES[name](channels, image_size)
    from hashsearch.training.backbones.torchvision_backbone import (  # noqa: PLC0415 - as above
        TorchvisionBackbone,
    )

    return TorchvisionBackbone(name, channels, image_size, weights)
