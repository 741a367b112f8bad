"""Write a trained network as an encoder: one ``.onnx`` file with its record."""

from __future__ import annotations

import logging
import os
import warnings
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING

import onnx
import torch

from hashsearch.encoder import METADATA_KEY, EncoderRecord
from hashsearch.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.images import Preprocessing
    from hashsearch.training.network import HashNetwork

__all__ = ["export", "now", "package_versions"]

_OPSET = 18


def package_versions() -> dict[str, str]:
    """Versions of what trains and exports."""
    names = ("hashsearch", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy")
    return {name: metadata.version(name) for name in names}


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def export(network: HashNetwork, record: EncoderRecord, path: Path) -> None:
    """Write an encoder; the file appears whole or not at all.

    Args:
        network: on the CPU, in eval mode.
        record: goes into the file's metadata.
        path: of the ``.onnx`` file.

    Raises:
        TrainingError: the file cannot be written.
    """
    model = _onnx_model(network, record.preprocessing)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, record.to_json()
    onnx.checker.check_model(model)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(model.SerializeToString())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written ({error.strerror}); name another file with --out"
        ) from error


def _onnx_model(network: HashNetwork, preprocessing: Preprocessing) -> onnx.ModelProto:
    shape = (2, preprocessing.channels, preprocessing.size, preprocessing.size)
    names = ["semantic", "fine"][: 2 if network.fine_bits else 1]
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
