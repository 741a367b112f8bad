from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from toy import file_size_limit

import hashsearch
from hashsearch.codes import unpack_bits
from hashsearch.datasets.fashion_mnist import CLASS_NAMES, sample
from hashsearch.encoder import Encoder, EncoderRecord
from hashsearch.errors import ArgumentError
from hashsearch.images import FASHION_MNIST, normalise
from hashsearch.training.export import export, now, package_versions
from hashsearch.training.network import HashNetwork

if TYPE_CHECKING:
    import numpy.typing as npt

# Two runtimes add in another order: an output this near to 0 may fall on either side.
NEAR_ZERO = 1e-5
SHARE_DIFFERING = 1e-4


@pytest.fixture(scope="module")
def pixels() -> npt.NDArray[np.uint8]:
    """500 real images, 50 of each type: ``uint8 (500, 1, 28, 28)``."""
    images = sample()
    rows = np.sort(np.argsort(images.labels, kind="stable").reshape(10, -1)[:, :50].ravel())
    return images.pixels[rows]


def trained_for_a_moment(pixels: npt.NDArray[np.uint8], n_bits: int, fine_bits: int) -> HashNetwork:
    """A network that has seen real images, so that its statistics are no round numbers."""
    torch.manual_seed(0)
    network = HashNetwork("small-resnet", 1, n_bits, fine_bits)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    for start in (0, 100):
        images = torch.from_numpy(normalise(pixels[start : start + 100], FASHION_MNIST))
        optimiser.zero_grad()
        torch.cat(network(images), dim=1).square().mean().backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
        optimiser.step()
    network.eval()
    with torch.no_grad():
        # Each semantic bit divides the images, as a trained one does.
        outputs, _ = network.heads(torch.from_numpy(normalise(pixels, FASHION_MNIST)))
        assert isinstance(network.semantic_head, torch.nn.Linear)
        network.semantic_head.bias.sub_(outputs.semantic.mean(dim=0))
    return network


def record(n_bits: int, fine_bits: int) -> EncoderRecord:
    return EncoderRecord(
        name="moment",
        n_bits=n_bits,
        fine_bits=fine_bits,
        preprocessing=FASHION_MNIST,
        class_names=CLASS_NAMES,
        objective="adversarial",
        weights={"classification": 1.0, "fine": 0.5},
        backbone="small-resnet",
        dataset="fashion-mnist",
        neighbour_rule="same-type",
        seed=0,
        training={"epochs": 1, "history": [{"epoch": 1, "validation_map": 0.25}]},
        figures={"validation_map": 0.25},
        packages=package_versions(),
        created=now(),
    )


Exported = tuple[HashNetwork, EncoderRecord, Path]


@pytest.fixture(scope="module", params=[(48, 64), (16, 0)], ids=["two heads", "one head"])
def exported(
    request: pytest.FixtureRequest,
    pixels: npt.NDArray[np.uint8],
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    n_bits, fine_bits = request.param
    network, about = trained_for_a_moment(pixels, n_bits, fine_bits), record(n_bits, fine_bits)
    # The folder is made on the way.
    path = tmp_path_factory.mktemp("export") / "new" / "moment.onnx"
    export(network, about, path)
    assert list(path.parent.iterdir()) == [path]
    return network, about, path


def test_torch_and_onnx_runtime_give_the_same_bits_on_real_images(
    exported: Exported, pixels: npt.NDArray[np.uint8]
) -> None:
    network, about, path = exported
    bits = unpack_bits(Encoder.load(path).encode_pixels(pixels))
    with torch.no_grad():
        outputs = torch.cat(network(torch.from_numpy(normalise(pixels, FASHION_MNIST))), dim=1)
    assert bits.shape == (500, about.n_bits + about.fine_bits)
    assert bits.shape == tuple(outputs.shape)
    differing = bits != (outputs >= 0).numpy()
    assert differing.mean() <= SHARE_DIFFERING
    assert (outputs.numpy()[differing] < NEAR_ZERO).all()
    assert (outputs.numpy()[differing] > -NEAR_ZERO).all()
    # Codes that are all alike would prove nothing.
    assert len(np.unique(bits, axis=0)) > 100


def test_both_runtimes_put_out_the_same_numbers(
    exported: Exported, pixels: npt.NDArray[np.uint8]
) -> None:
    network, about, path = exported
    session = Encoder.load(path).session
    images = normalise(pixels[:50], FASHION_MNIST)
    found = session.run(None, {"pixels": images})
    with torch.no_grad():
        expected = network(torch.from_numpy(images))
    assert [output.name for output in session.get_outputs()] == (
        ["semantic", "fine"] if about.fine_bits else ["semantic"]
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=NEAR_ZERO)


def test_the_record_comes_back_as_it_went_in(exported: Exported) -> None:
    _, about, path = exported
    encoder = Encoder.load(path)
    assert encoder.record == about
    assert (encoder.n_bits, encoder.fine_bits) == (about.n_bits, about.fine_bits)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 500])
def test_any_batch_size_gives_the_same_codes(
    batch_size: int, exported: Exported, pixels: npt.NDArray[np.uint8]
) -> None:
    encoder = Encoder.load(exported[2])
    some = pixels[::9]
    codes = unpack_bits(encoder.encode_pixels(some, batch_size=batch_size))
    reference = unpack_bits(encoder.encode_pixels(some))
    assert (codes != reference).mean() <= SHARE_DIFFERING


def test_the_file_holds_standard_operators_and_all_of_its_weights(exported: Exported) -> None:
    model = onnx.load(exported[2], load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert not model.functions
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert {tensor.data_location for tensor in model.graph.initializer} <= {
        onnx.TensorProto.DEFAULT
    }
    # What the oldest ONNX Runtime that the package allows can read: 1.18.
    assert model.ir_version <= 10
    assert [(opset.domain, opset.version <= 21) for opset in model.opset_import] == [("", True)]


def test_the_file_tells_nothing_of_where_it_was_made(exported: Exported) -> None:
    content = exported[2].read_bytes()
    for folder in (Path(hashsearch.__file__).parent, Path(torch.__file__).parent, Path.home()):
        assert str(folder).encode() not in content
    assert b".py" not in content
    assert b"site-packages" not in content


def test_exporting_again_replaces_the_file(exported: Exported, tmp_path: Path) -> None:
    network, about, _ = exported
    path = tmp_path / "moment.onnx"
    path.write_bytes(b"an older file")
    export(network, replace(about, name="anew"), path)
    assert Encoder.load(path).record.name == "anew"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def small(pixels: npt.NDArray[np.uint8]) -> tuple[HashNetwork, EncoderRecord]:
    return trained_for_a_moment(pixels, 8, 0), record(8, 0)


def test_a_full_disk_leaves_the_old_file(
    small: tuple[HashNetwork, EncoderRecord], tmp_path: Path
) -> None:
    path = tmp_path / "moment.onnx"
    path.write_bytes(b"an older file")
    with (
        file_size_limit(100_000),
        pytest.raises(ArgumentError, match="cannot write") as caught,
    ):
        export(*small, path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_can_be_no_file_is_refused(
    small: tuple[HashNetwork, EncoderRecord], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "moment.onnx", tmp_path / "folder"):
        with pytest.raises(ArgumentError, match="cannot write"):
            export(*small, path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_versions_and_time_are_said() -> None:
    assert package_versions()["torch"] == torch.__version__.split("+")[0]
    assert now().endswith("+00:00")
