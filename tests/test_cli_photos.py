"""The command that trains, on photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hashsearch.encoder import Encoder


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of photos of two types, one that is none, and one without a type."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "shop"
    rng = np.random.default_rng(0)
    for channel, kind in enumerate(("coats", "hats")):
        (folder / kind).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 100, (40, 30, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / kind / f"{number}.jpg")
    Image.fromarray(pixels).save(folder / "top.jpg")
    (folder / "coats" / "bad.jpg").write_bytes(b"no image")
    return folder


def test_photos_are_trained_on_and_found(run: Any, colours: Path) -> None:
    line = "train --data shop --backbone small-resnet --image-size 16 --out own.onnx --workers 1"
    options = "--bits 16 --fine-bits 8 --epochs 2 --settle-epochs 0 --batch-size 8 --device cpu"
    done = run(*line.split(), *options.split(), "--precision", "float32")
    assert done.status == 0
    assert "Try `hashsearch build-index shop --encoder own.onnx`." in done.out
    begun, *epochs, skipped, count, left_out = done.err.splitlines()
    assert begun.startswith("Training: epoch 1 of 2, ")
    assert [epoch.split()[1] for epoch in epochs] == ["1/2", "2/2"]
    assert skipped.startswith("Skipped ")
    assert "shop/coats/bad.jpg is not an image" in skipped
    assert count == "Images that could not be read: 1; all are in own.skipped.csv."
    assert left_out == "Images left out, of which same-type has nothing to compare: 1."
    record = Encoder.load("own.onnx").record
    assert (record.dataset, record.class_names) == ("shop", ("coats", "hats"))
    assert (record.preprocessing.kind, record.preprocessing.size) == ("photo", 16)
    (colours / "coats" / "bad.jpg").unlink()
    assert run("build-index", "shop", "-e", "own.onnx").status == 0
    found = run("query", "shop/hats/3.jpg", "-k", "1", "--json")
    assert found.status == 0
    assert "hats/3.jpg" in found.out


def test_without_a_network_photos_say_where_to_get_trained_weights(
    run: Any, colours: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    (colours / "coats" / "bad.jpg").unlink()
    told = run("train", "--data", "shop", "--out", "own.onnx", "--batch-size", "8")
    assert told.status == 1
    assert "the ImageNet weights of resnet18 cannot be had" in told.err
    assert "--backbone-weights FILE" in told.err
    assert not Path("own.onnx").exists()


def test_a_catalogue_file_says_what_is_learnt_from_and_how(run: Any, colours: Path) -> None:
    (colours / "coats" / "bad.jpg").unlink()
    rows = ["photo,kind,style,part,has"]
    for kind in ("coats", "hats"):
        for number in range(12):
            part = "validation" if number % 3 == 0 else "train" if number < 11 else "query"
            has = f"{kind};{'plain' if number % 2 else 'striped'}"
            rows.append(f"{kind}/{number}.jpg,{kind},{kind}-{number // 2},{part},{has}")
    (colours / "shop.csv").write_text("\n".join(rows) + "\n")
    line = "train --data shop/shop.csv --backbone small-resnet --image-size 16 --out own.onnx"
    options = "--bits 16 --fine-bits 8 --epochs 1 --settle-epochs 0 --batch-size 7 --workers 0"
    columns = {"image": "photo", "label": "kind", "item": "style", "split": "part"}
    named = [f"--column={role}={name}" for role, name in {**columns, "attributes": "has"}.items()]
    rule = "shared-attributes(2)"
    done = run(*line.split(), *options.split(), *named, "--neighbours", rule, "--device", "cpu")
    assert done.status == 0, done.err
    record = Encoder.load("own.onnx").record
    assert record.neighbour_rule == record.training["neighbours"] == rule
    assert record.class_names == ("coats", "hats", "plain", "striped")
    assert record.training["part"] == "official"
    assert (record.training["train_images"], record.training["validation_images"]) == (14, 8)
    done = run(*line.split(), *options.split(), *named, "--neighbours", "same-item")
    assert done.status == 1
    assert "8 validation images with no two neighbours by same-item" in done.err


SUITE = """
data = "../shop"
image_size = 28

[plan]
backbone = "lenet"
epochs = 1
settle_epochs = 0
batch_size = 8
precision = "float32"
device = "cpu"

[[runs]]
objectives = ["dch", "classifier-bits"]
bits = [16]
seeds = [0]
protocols = ["own-split"]
"""


def test_objectives_are_compared_on_photos(
    run: Any, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASHSEARCH_CACHE", str(colours.parent / "cache"))
    suite = Path("suites/shop.toml")
    suite.parent.mkdir()
    suite.write_text(SUITE)
    done = run("bench", "--suite", suite)
    assert done.status == 0
    page = Path("suites/README.md").read_text()
    assert "2 of 2 runs are recorded of shop (neighbours: same-type)" in page
    assert "| dch |" in page
    # Without the photos the report can be rendered all the same.
    colours.rename("elsewhere")
    assert run("bench", "--suite", suite, "--render").status == 0
    assert Path("suites/README.md").read_text() == page


def test_what_photos_cannot_be_measured_by_is_told(run: Any, colours: Path) -> None:
    line = "bench --objectives dch --data shop --protocols held-out"
    assert "no protocol of this data: 'held-out'; known: official" in run(*line.split()).error
    line = "bench --objectives dch --neighbours same-item"
    told = run(*line.split())
    assert (told.status, "--neighbours: of no meaning" in told.error) == (2, True)
    line = "bench --objectives lsh --data shop"
    assert "lsh is fitted to the small grey images" in run(*line.split()).error
