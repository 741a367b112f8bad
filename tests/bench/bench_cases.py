"""Small galleries, images and an encoder, made from a seed."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from hashsearch.codes import pack_bits
from hashsearch.datasets.image_set import ImageSet
from hashsearch.encoder import METADATA_KEY, Encoder, EncoderRecord
from hashsearch.images import Preprocessing

N_BITS, FINE_BITS = 16, 24
CLASSES = ("boot", "coat", "dress", "bag")


def class_codes(
    n_items: int, *, n_bits: int = N_BITS, fine_bits: int = FINE_BITS, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """Codes that bunch: the prototype of the class with few bits flipped, random fine bits."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(CLASSES), n_items)
    prototypes = np.random.default_rng(99).random((len(CLASSES), n_bits)) < 0.5
    flipped = rng.random((n_items, n_bits)) < 0.05
    fine = rng.random((n_items, fine_bits)) < 0.5
    codes = pack_bits(np.hstack([prototypes[label] ^ flipped, fine]))
    return codes, np.array(CLASSES)[label]


@cache
def image_set(n_items: int = 240) -> ImageSet:
    """Images of bars: where they stand is the class, how thick and bright they are the item."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, len(CLASSES), n_items)
    images = rng.integers(0, 40, (n_items, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        start, thickness = 3 + 6 * label, rng.integers(2, 6)
        image[start : start + thickness, 4:24] = rng.integers(120, 255)
        image[4:24, rng.integers(4, 22)] = 200
    ids = tuple(f"made-{number:04d}" for number in range(n_items))
    return ImageSet(images, labels.astype(np.int64), CLASSES, ids)


@cache
def encoder() -> Encoder:
    """The encoder of :func:`encoder_file`."""
    return Encoder(encoder_file(), name="linear", threads=1)


@cache
def encoder_file() -> bytes:
    """A network of one random linear layer for each of the two codes, as an .onnx file."""
    rng = np.random.default_rng(2)
    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"])]
    weights, outputs = [], []
    for name, bits in (("semantic", N_BITS), ("fine", FINE_BITS)):
        matrix = rng.standard_normal((28 * 28, bits)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"{name}_weights"))
        nodes.append(helper.make_node("MatMul", ["flat", f"{name}_weights"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", bits]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, 28, 28])
    graph = helper.make_graph(nodes, "linear", [pixels], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    record = EncoderRecord(
        name="linear",
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        preprocessing=Preprocessing("fashion-mnist", 28, 28, (0.3,), (0.35,)),
        class_names=CLASSES,
        objective="none",
        weights={},
        backbone="linear",
        dataset="made",
        neighbour_rule="same-type",
        seed=2,
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, record.to_json()
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
