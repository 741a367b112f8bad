"""Write a trained network as an encoder: one ``.onnx`` file with its record."""

from __future__ import annotations

import itertools
import logging
import warnings
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxscript  # noqa: F401 - torch exports with it, and misses it only at the end of a run
import torch

from hashsearch._trained_ids import listed
from hashsearch.codes import unpack_bits
from hashsearch.encoder import METADATA_KEY, TRAINED_ON_KEY, Encoder, EncoderRecord
from hashsearch.errors import ImageError
from hashsearch.files import write_atomically
from hashsearch.images import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import nn

    from hashsearch.datasets.training_set import TrainingSet
    from hashsearch.images import Preprocessing

__all__ = ["differing_bits", "export", "now", "package_versions"]

_OPSET = 18
_COMPARED = 200  # photos; those in memory are compared all
_AT_ONCE = 50


def package_versions() -> dict[str, str]:
    """Versions of what trains and exports."""
    names = ("hashsearch", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")
    return {name: metadata.version(name) for name in names}


def differing_bits(
    network: nn.Module, path: Path, images: TrainingSet, preprocessing: Preprocessing
) -> float:
    """The share of bits that ONNX Runtime sets differently than torch does.

    Args:
        network: on the CPU, in eval mode.
        path: of the ``.onnx`` file that it was exported to.
        images: to encode with both; of those that are read one by one, the first 200 that can be,
            or noise where none can be any more.
        preprocessing: of the images.
    """
    pixels = images.pixels
    if pixels is None:
        some = [*itertools.islice(_readable(images), _COMPARED)]
        pixels = np.stack(some) if some else _noise(preprocessing)
    codes = Encoder(path.read_bytes()).encode_pixels(pixels, batch_size=_AT_ONCE)
    with torch.no_grad():
        parts = [
            torch.cat(network(torch.from_numpy(normalise(part, preprocessing))), dim=1)
            for part in np.array_split(pixels, max(len(pixels) // _AT_ONCE, 1))
        ]
    bits = torch.cat(parts).numpy() >= 0
    return float(np.mean(unpack_bits(codes) != bits))


def _readable(images: TrainingSet) -> Iterator[npt.NDArray[np.uint8]]:
    for row in range(len(images)):
        try:
            yield images.read(row)
        except ImageError:  # noqa: PERF203 - told when it was first met
            continue


def _noise(preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    size = preprocessing.size
    shape = (_AT_ONCE, preprocessing.channels, size, size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def export(
    network: nn.Module, record: EncoderRecord, path: Path, trained_on: Sequence[str] = ()
) -> None:
    """Write an encoder; the file appears whole or not at all.

    Args:
        network: normalised pixels to a tuple of float32 ``(n, n_bits)`` and, where the record
            has fine bits, ``(n, fine_bits)``; on the CPU, in eval mode.
        record: goes into the file's metadata.
        path: of the ``.onnx`` file.
        trained_on: ids of the images that trained it or chose its best epoch, for
            :meth:`~hashsearch.encoder.Encoder.took_part`; none: the file lists none.

    Raises:
        ArgumentError: the file cannot be written.
    """
    model = _onnx_model(network, record)
    properties = {METADATA_KEY: record.to_json()}
    if trained_on:
        properties[TRAINED_ON_KEY] = listed(trained_on)
    for key, value in properties.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())


def _onnx_model(network: nn.Module, record: EncoderRecord) -> onnx.ModelProto:
    preprocessing = record.preprocessing
    shape = (2, preprocessing.channels, preprocessing.size, preprocessing.size)
    names = ["semantic", "fine"][: 2 if record.fine_bits else 1]
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # The exporter warns about its own use of other packages.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (torch.zeros(shape),),
                dynamo=True,
                input_names=["pixels"],
                output_names=names,
                dynamic_shapes={"pixels": {0: torch.export.Dim("n")}},
                opset_version=_OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    # Traces of the source tree's paths are of no use to whoever runs the model.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model
