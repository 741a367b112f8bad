"""Networks that have learnt nothing: how fast they are does not depend on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from hashsearch.encoder import EncoderRecord
from hashsearch.images import normalise
from hashsearch.training.export import export, now, package_versions
from hashsearch.training.network import HashNetwork

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from hashsearch.images import Preprocessing

__all__ = ["UntrainedNetwork"]


class UntrainedNetwork:
    """A hash network with the weights that it starts from at random.

    Args:
        backbone: a name that :func:`~hashsearch.training.backbones.make_backbone` knows.
        preprocessing: of its images.
        n_bits: length of the semantic code.
        fine_bits: length of the fine code.
    """

    def __init__(
        self, backbone: str, preprocessing: Preprocessing, n_bits: int, fine_bits: int
    ) -> None:
        torch.manual_seed(0)
        self.network = HashNetwork(
            backbone,
            preprocessing.channels,
            n_bits,
            fine_bits,
            image_size=preprocessing.size,
        ).eval()
        # As in training: torch is up to ten times as slow without.
        self.network.to(memory_format=torch.channels_last)
        self.backbone, self.preprocessing = backbone, preprocessing

    @property
    def n_parameters(self) -> int:
        """How many numbers training would choose."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def export(self, path: Path) -> None:
        """Write it as an encoder.

        Args:
            path: of the ``.onnx`` file.

        Raises:
            ArgumentError: the file cannot be written.
        """
        record = EncoderRecord(
            name=path.stem,
            n_bits=self.network.n_bits,
            fine_bits=self.network.fine_bits,
            preprocessing=self.preprocessing,
            class_names=(),
            objective="none",
            weights={},
            backbone=self.backbone,
            dataset="none",
            neighbour_rule="none",
            seed=0,
            packages=package_versions(),
            created=now(),
        )
        export(self.network, record, path)

    @torch.no_grad()
    def seconds(self, pixels: npt.NDArray[np.uint8], threads: int) -> float:
        """How long torch takes from pixels to bits, in float32 on the CPU.

        Args:
            pixels: ``uint8 (n, channels, size, size)``.
            threads: that it may use.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            started = time.perf_counter()
            images = torch.from_numpy(normalise(pixels, self.preprocessing))
            outputs = self.network(images.contiguous(memory_format=torch.channels_last))
            torch.cat(outputs, dim=1).numpy() >= 0  # noqa: B015 - only how long it takes
            return time.perf_counter() - started
        finally:
            torch.set_num_threads(before)
