from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from PIL import Image

from hashsearch.encoder import METADATA_KEY, Encoder, EncoderRecord, pretrained, sees_gpu
from hashsearch.errors import ArgumentError, EncoderError, ImageError
from hashsearch.images import FASHION_MNIST, Preprocessing

onnx = pytest.importorskip("onnx")
helper = onnx.helper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

N_BITS, FINE_BITS = 16, 8
# Mean 0 and deviation 1 / 255 keep the pixels whole numbers, so no rounding moves a bit.
PLAIN = Preprocessing("fashion-mnist", 4, 4, (0.0,), (1 / 255,))
RECORD = EncoderRecord(
    name="tiny",
    n_bits=N_BITS,
    fine_bits=FINE_BITS,
    preprocessing=PLAIN,
    class_names=("Dress", "Bag"),
    objective="adversarial",
    weights={"classification": 1.0},
    backbone="none",
    dataset="none",
    neighbour_rule="same-type",
    seed=7,
    figures={"map": 0.5},
)
GENERATOR = np.random.default_rng(3)
WEIGHTS = GENERATOR.integers(-2, 3, (16, N_BITS + FINE_BITS)).astype(np.float32)
BIASES = GENERATOR.integers(-50, 51, N_BITS + FINE_BITS).astype(np.float32)


def graph(nodes: list[Any], outputs: dict[str, int], batch: str | int = "n") -> Any:
    """A graph from ``pixels`` with the weights at hand."""
    kind = onnx.TensorProto.FLOAT
    return helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", kind, [batch, 1, 4, 4])],
        [helper.make_tensor_value_info(name, kind, [batch, w]) for name, w in outputs.items()],
        [onnx.numpy_helper.from_array(a, n) for n, a in (("w", WEIGHTS), ("b", BIASES))]
        + [onnx.numpy_helper.from_array(np.array([N_BITS, FINE_BITS]), "cut")],
    )


def tiny_nodes() -> list[Any]:
    return [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["both"]),
        helper.make_node("Split", ["both", "cut"], ["semantic", "fine"], axis=1),
    ]


OUTPUTS = {"semantic": N_BITS, "fine": FINE_BITS}


def onnx_model(body: Any = None, record: str | None = RECORD.to_json(), **more: Any) -> Any:
    """An ONNX model; with a record unless that is None."""
    model = helper.make_model(
        graph(tiny_nodes(), OUTPUTS) if body is None else body,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
        **more,
    )
    if record is not None:
        helper.set_model_props(model, {METADATA_KEY: record})
    return model


def tiny_model(**options: Any) -> bytes:
    model: bytes = onnx_model(**options).SerializeToString()
    return model


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(tiny_model(), threads=1)


def expected_codes(pixels: Pixels) -> Pixels:
    """Packed bits of the linear map, in whole numbers."""
    flat = pixels.reshape(len(pixels), 16).astype(np.int64)
    outputs = flat @ WEIGHTS.astype(np.int64) + BIASES.astype(np.int64)
    return np.packbits(outputs >= 0, axis=1, bitorder="little")


def refusal(model: bytes) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(EncoderError) as caught:
        Encoder(model, name="given.onnx", threads=1)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("given.onnx")
    assert "`hashsearch train`" in message
    return message


# Codes


@given(arrays(np.uint8, st.tuples(st.integers(0, 6), st.just(1), st.just(4), st.just(4))))
def test_codes_are_the_signs_of_the_outputs(encoder: Encoder, pixels: Pixels) -> None:
    codes = encoder.encode_pixels(pixels)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(pixels), encoder.code_bytes)
    assert_array_equal(codes, expected_codes(pixels))


def test_an_output_of_zero_is_a_one() -> None:
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["both"]),
        helper.make_node("Split", ["both", "cut"], ["semantic", "fine"], axis=1),
    ]
    encoder = Encoder(tiny_model(body=graph(nodes, OUTPUTS)), threads=1)
    assert_array_equal(encoder.encode_pixels(np.zeros((1, 1, 4, 4), np.uint8)), [[255, 255, 255]])


def outputs_of(*nodes: Any) -> Encoder:
    """An encoder whose network puts out ``both``, cut in two."""
    cut = helper.make_node("Split", ["both", "cut"], ["semantic", "fine"], axis=1)
    return Encoder(tiny_model(body=graph([*nodes, cut], OUTPUTS)), threads=1)


def test_a_network_that_puts_out_one_row_for_all_images_is_refused() -> None:
    encoder = outputs_of(
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["all"]),
        helper.make_node("Constant", [], ["rows"], value_ints=[0]),
        helper.make_node("ReduceMean", ["all", "rows"], ["both"]),
    )
    with pytest.raises(EncoderError, match=r"puts out \(1, 24\) numbers"):
        encoder.encode_pixels(np.zeros((3, 1, 4, 4), np.uint8))


def test_a_network_that_puts_out_no_numbers_is_refused() -> None:
    encoder = outputs_of(
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["all"]),
        helper.make_node("Sqrt", ["all"], ["both"]),
    )
    pixels = GENERATOR.integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)
    with pytest.raises(EncoderError, match="some that are none"):
        encoder.encode_pixels(pixels)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_batch_size_does_not_matter(encoder: Encoder, batch_size: int) -> None:
    pixels = GENERATOR.integers(0, 128, (5, 1, 4, 4), dtype=np.uint8)  # no bright border
    expected = expected_codes(pixels)
    assert_array_equal(encoder.encode_pixels(pixels, batch_size=batch_size), expected)
    images = (image[0] for image in pixels)
    assert_array_equal(encoder.encode(images, batch_size=batch_size), expected)


def test_sources_of_every_kind_may_be_mixed(encoder: Encoder, tmp_path: Path) -> None:
    pixels = GENERATOR.integers(0, 128, (5, 1, 4, 4), dtype=np.uint8)  # no bright border
    files = []
    for image in pixels[:3, 0]:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        files.append(buffer.getvalue())
    path = tmp_path / "item.png"
    path.write_bytes(files[0])
    sources = [path, files[1], io.BytesIO(files[2]), Image.fromarray(pixels[3, 0]), pixels[4, 0]]
    expected = expected_codes(pixels)
    assert_array_equal(encoder.encode(sources), expected)
    for row, source in enumerate(sources):
        assert_array_equal(encoder.encode(source), expected[row : row + 1])
    assert_array_equal(encoder.encode(str(path)), expected[:1])


def test_an_array_is_one_image_or_many(encoder: Encoder) -> None:
    pixels = GENERATOR.integers(0, 128, (3, 1, 4, 4), dtype=np.uint8)
    large = GENERATOR.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    assert_array_equal(encoder.encode(large), encoder.encode(list(large)))
    assert len(encoder.encode(large)) == 3
    colour = np.repeat(pixels[0, 0, :, :, None], 3, axis=2)
    assert_array_equal(encoder.encode(colour), expected_codes(pixels[:1]))


def test_no_images_have_no_codes(encoder: Encoder) -> None:
    codes = encoder.encode([])
    assert codes.shape == (0, 3)
    assert codes.dtype == np.uint8


def test_an_iterator_is_read_a_batch_at_a_time(encoder: Encoder) -> None:
    taken = 0

    def images() -> Any:
        nonlocal taken
        for _ in range(2):
            taken += 1
            yield np.zeros((4, 4), np.uint8)
        yield b"no image"
        taken += 1
        yield np.zeros((4, 4), np.uint8)

    with pytest.raises(ImageError, match="image data of 8 bytes"):
        encoder.encode(images(), batch_size=2)
    assert taken == 3  # the batch of the bad image was filled, and no more was read


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((1, 4, 4), np.uint8),
        np.zeros((1, 3, 4, 4), np.uint8),
        np.zeros((1, 1, 4, 5), np.uint8),
        np.zeros((1, 1, 4, 4), np.float32),
    ],
)
def test_pixels_of_another_kind_are_refused(encoder: Encoder, pixels: Any) -> None:
    with pytest.raises(ArgumentError, match=r"pixels must be uint8 \(n, 1, 4, 4\), not"):
        encoder.encode_pixels(pixels)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_nothing_is_refused(encoder: Encoder, batch_size: int) -> None:
    with pytest.raises(ArgumentError, match="batch_size must be at least 1"):
        encoder.encode([np.zeros((4, 4), np.uint8)], batch_size=batch_size)
    with pytest.raises(ArgumentError, match="batch_size must be at least 1"):
        encoder.encode_pixels(np.zeros((1, 1, 4, 4), np.uint8), batch_size=batch_size)


def test_an_encoder_without_fine_bits_has_one_output() -> None:
    nodes = tiny_nodes()
    record = dataclasses.replace(RECORD, fine_bits=0)
    body = graph(nodes, {"semantic": N_BITS})
    encoder = Encoder(tiny_model(body=body, record=record.to_json()), threads=1)
    pixels = GENERATOR.integers(0, 256, (3, 1, 4, 4), dtype=np.uint8)
    assert encoder.code_bytes == 2
    assert_array_equal(encoder.encode_pixels(pixels), expected_codes(pixels)[:, :2])


# Identity


def test_the_record_comes_back_from_the_file(encoder: Encoder) -> None:
    assert encoder.record == RECORD
    assert (encoder.n_bits, encoder.fine_bits, encoder.code_bytes) == (N_BITS, FINE_BITS, 3)
    assert encoder.preprocessing == PLAIN


def test_the_fingerprint_is_the_checksum_of_the_file(tmp_path: Path) -> None:
    first = tiny_model()
    second = tiny_model(record=dataclasses.replace(RECORD, seed=8).to_json())
    path = tmp_path / "mine.onnx"
    path.write_bytes(first)
    loaded = Encoder.load(path, threads=1)
    assert loaded.fingerprint == hashlib.sha256(first).hexdigest()
    assert loaded.fingerprint == Encoder(first, threads=1).fingerprint
    assert loaded.fingerprint != Encoder(second, threads=1).fingerprint
    assert loaded.name == str(path)


def test_encoders_that_ship_are_loaded_by_name() -> None:
    for name, path in pretrained().items():
        assert Encoder.load(name, threads=1).fingerprint == Encoder.load(path).fingerprint
        assert Encoder.load(name, threads=1).name == name


def test_an_unknown_name_lists_what_ships(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no encoder no-such-name: name an") as caught:
        Encoder.load("no-such-name")
    assert all(name in str(caught.value) for name in pretrained())
    with pytest.raises(EncoderError, match="cannot be read"):
        Encoder.load(tmp_path)


def test_neither_torch_nor_onnx_is_imported() -> None:
    code = (
        "import sys, hashsearch.encoder; "
        "print([name for name in ('torch', 'onnx', 'faiss', 'h5py') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout.strip() == b"[]"


# Files that are no encoder


@pytest.mark.parametrize(
    "content", [b"", b"no model\n", b"ORTM" * 20, b"\x08\x09" * 8, b"\xff" * 64]
)
def test_a_file_of_something_else_is_refused(content: bytes) -> None:
    refusal(content)


@given(st.data())
def test_a_file_cut_anywhere_is_refused(data: st.DataObject) -> None:
    whole = tiny_model()
    refusal(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_a_model_without_a_record_is_refused() -> None:
    assert "is an ONNX model but no hashsearch encoder" in refusal(tiny_model(record=None))


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(RECORD.to_json()), **fields})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("no JSON", "its record is not usable"),
        ("[]", "its record is not usable"),
        ("7", "its record is not usable"),
        ("{}", "its record is not usable"),
        ("[" * 100_000, "its record is not usable"),
        (changed(format_version=2), "format version 2 is newer"),
        (changed(format_version="two"), "its record is not usable"),
        (changed(n_bits=12), "n_bits must be a positive multiple of 8"),
        (changed(n_bits="16"), "its record is not usable"),
        (changed(n_bits=16.0), "bit counts must be whole numbers"),
        (changed(surprise=1), "its record is not usable"),
        (changed(preprocessing={"kind": "fashion-mnist"}), "preprocessing in the record"),
        (changed(preprocessing=None), "preprocessing in the record"),
        (changed(n_bits=8), r"puts out \[\[16\], \[8\]\] values where its record says \[8, 8\]"),
        (changed(fine_bits=0), "where its record says"),
        (changed(preprocessing=FASHION_MNIST.to_record()), r"record says \[n, 1, 28, 28\]"),
    ],
)
def test_a_record_that_is_not_usable_is_refused(record: str, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        Encoder(tiny_model(record=record), threads=1)
    refusal(tiny_model(record=record))


def test_a_model_for_a_fixed_number_of_images_is_refused() -> None:
    assert "takes [[2, 1, 4, 4]]" in refusal(tiny_model(body=graph(tiny_nodes(), OUTPUTS, 2)))


# Files that would reach past themselves


def foreign() -> Any:
    return helper.make_node("Gelu", ["flat"], ["activated"], domain="com.microsoft")


def inside_if() -> list[Any]:
    """The foreign operator in both branches of an If."""
    kind = onnx.TensorProto.FLOAT
    result = helper.make_tensor_value_info("activated", kind, None)
    branch = helper.make_graph([foreign()], "branch", [], [result])
    flag = helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
    return [
        helper.make_node("Constant", [], ["flag"], value=flag),
        helper.make_node("If", ["flag"], ["chosen"], then_branch=branch, else_branch=branch),
    ]


@pytest.mark.parametrize("nodes", [lambda: [foreign()], inside_if], ids=["graph", "subgraph"])
def test_an_operator_of_another_domain_is_refused(nodes: Callable[[], list[Any]]) -> None:
    flatten, *rest = tiny_nodes()
    body = graph([flatten, *nodes(), *rest], OUTPUTS)
    assert "operator 'Gelu' of domain 'com.microsoft'" in refusal(tiny_model(body=body))


def test_an_operator_in_a_function_is_refused() -> None:
    function = helper.make_function(
        "mine", "Wrapped", ["flat"], ["activated"], [foreign()],
        [helper.make_opsetid("com.microsoft", 1)],
    )  # fmt: skip
    assert "domain 'com.microsoft'" in refusal(tiny_model(functions=[function]))


def test_an_operator_that_nobody_knows_is_refused() -> None:
    node = helper.make_node("Surprise", ["flat"], ["activated"], domain="my.own")
    flatten, *rest = tiny_nodes()
    message = refusal(tiny_model(body=graph([flatten, node, *rest], OUTPUTS)))
    assert "operator 'Surprise' of domain 'my.own'" in message


def test_the_standard_domain_may_be_spelled_out() -> None:
    body = graph(tiny_nodes(), OUTPUTS)
    for node in body.node:
        node.domain = "ai.onnx"
    pixels = GENERATOR.integers(0, 256, (2, 1, 4, 4), dtype=np.uint8)
    encoder = Encoder(tiny_model(body=body), threads=1)
    assert_array_equal(encoder.encode_pixels(pixels), expected_codes(pixels))


@pytest.mark.parametrize("present", [True, False])
def test_tensors_in_another_file_are_refused(
    present: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outside.onnx"
    onnx.save(
        onnx_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    if not present:
        (tmp_path / "weights.bin").unlink()
    monkeypatch.chdir(tmp_path)
    assert "tensors in another file" in refusal(path.read_bytes())
    with pytest.raises(EncoderError, match="tensors in another file"):
        Encoder.load(path)


def test_an_outside_tensor_in_an_attribute_is_refused() -> None:
    value = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "value")
    onnx.external_data_helper.set_external_data(value, "secrets.bin")
    node = helper.make_node("Constant", [], ["unused"], value=value)
    message = refusal(tiny_model(body=graph([node, *tiny_nodes()], OUTPUTS)))
    assert "tensors in another file" in message


@given(st.data())
def test_a_damaged_file_is_refused_in_one_line_or_works(data: st.DataObject) -> None:
    content = bytearray(tiny_model())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        codes = Encoder(bytes(content), threads=1).encode_pixels(np.zeros((2, 1, 4, 4), np.uint8))
    except EncoderError as error:
        assert "\n" not in str(error)  # noqa: PT017 - working is as good an outcome
    else:
        assert codes.shape[0] == 2


@pytest.mark.skipif(sees_gpu(), reason="it may have one")
def test_a_gpu_that_cannot_be_used_is_told(encoder_file: Path) -> None:
    with pytest.raises(EncoderError, match="tiny cannot run on a GPU here; install"):
        Encoder(encoder_file.read_bytes(), name="tiny", gpu=True)
