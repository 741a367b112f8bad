"""An encoder that is made in no time: one random linear layer for each of the two codes."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from hashsearch.encoder import METADATA_KEY, EncoderRecord
from hashsearch.images import FASHION_MNIST

N_BITS, FINE_BITS = 16, 24


def encoder_bytes(seed: int = 0) -> bytes:
    """The ``.onnx`` file; every seed gives another encoder."""
    rng = np.random.default_rng(seed)
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
        name="tiny",
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        preprocessing=FASHION_MNIST,
        class_names=("dark", "light"),
        objective="none",
        weights={},
        backbone="linear",
        dataset="made",
        neighbour_rule="same-type",
        seed=seed,
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, record.to_json()
    content: bytes = model.SerializeToString()
    return content
