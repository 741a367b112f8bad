"""Suites on catalogues, on judged pairs, and on several labels an image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bench_cases import CLASSES, image_set
from PIL import Image
from source_fixtures import mvc_rows, write_in_shop, write_mvc

from hashsearch.bench.pairs import judged_pairs
from hashsearch.bench.report import render, report_tables
from hashsearch.bench.suite import PhotoData, load_suite, make_suite, read_runs
from hashsearch.bench.suite_data import FashionMnist, Photos
from hashsearch.bench.suite_run import run_suite
from hashsearch.datasets.fashion_mnist import ATTRIBUTES, CLASS_NAMES, training_splits
from hashsearch.datasets.image_set import ImageSet
from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.datasets.pairs import read_pairs
from hashsearch.datasets.parts import TRAINING_PARTS
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError, DatasetError, LeakError
from hashsearch.metrics import average_precision

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.bench.suite import Run, Suite
    from hashsearch.datasets.catalogue import Catalogue

QUICK = """
[plan]
backbone = "lenet"
epochs = 1
settle_epochs = 0
batch_size = 16
precision = "float32"
fine_bits = 8
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def part(images: ImageSet, *, seed: int) -> tuple[ImageSet, ImageSet]:
        del seed
        return training_splits(images, validation=40)

    for name in ("all-labels", "few-labels"):
        monkeypatch.setitem(TRAINING_PARTS, name, part)
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoders"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A table of 150 small photos, two of an article, whose colour is the type."""
    rng = np.random.default_rng(3)
    lines = ["image,label,item,attributes"]
    (tmp_path / "shop").mkdir()
    for number in range(150):
        pixels = rng.integers(0, 90, (20, 16, 3), dtype=np.uint8)
        pixels[..., number % 3] += 150
        Image.fromarray(pixels).save(tmp_path / "shop" / f"{number:03}.png")
        worn = "long|warm" if number % 2 else "long"
        lines.append(f"{number:03}.png,type {number % 3},{number % 75},{worn}")
    path = tmp_path / "shop" / "shop.csv"
    path.write_text("\n".join(lines))
    return path


def suite_file(folder: Path, head: str, runs: str) -> Suite:
    path = folder / "photos.toml"
    path.write_text(f"{head}\n{QUICK}\n[[runs]]\n{runs}")
    return load_suite(path)


def run_all(suite: Suite, folder: Path, data: Any) -> dict[Run, dict[str, Any]]:
    return run_suite(suite, folder, data, progress=lambda *_: None)


OF_PHOTOS = """
objectives = ["adversarial", "dch"]
bits = [16]
seeds = [0, 1]
protocols = ["own-split"]
"""


def test_objectives_are_compared_on_a_catalogue(
    tmp_path: Path, shop: Path, own_cache: Path
) -> None:
    head = 'data = "shop/shop.csv"\nimage_size = 28\nneighbours = "shared-attributes(1)"'
    suite = suite_file(tmp_path, head, OF_PHOTOS)
    assert suite.photos == PhotoData(shop, None, None, "shared-attributes(1)", 28)
    told: list[Catalogue] = []
    records = run_all(suite, tmp_path / "runs", Photos(suite.photos, told.append))
    assert [catalogue.name for catalogue in told] == ["shop.csv"]
    assert len(list(own_cache.glob("*.onnx"))) == 4
    asked = {record["queries_sha256"] for record in records.values()}
    assert len(asked) == 1
    for run, record in records.items():
        assert run.path.parts[:2] == ("shop-csv", "own-split")
        assert (tmp_path / "runs" / run.path).is_file()
        assert record["neighbours"] == "shared-attributes(1)"
        assert record["plan"]["neighbours"] == "shared-attributes(1)"
        result = record["result"]
        assert (result["protocol"], result["unreadable"]) == ("own-split", 0)
        # A fifth of 150, of which a fifth, of each type.
        assert (result["queries"], result["items"]) == (6, 24)
        # Every photo is long.
        assert result["per_query"]["average_precision"] == [1.0] * result["queries"]
    assert read_runs(suite, tmp_path / "runs") == records
    page, plots = render([(suite, records)], "Head.", "plots")
    assert "4 of 4 runs are recorded of shop.csv (neighbours: shared-attributes(1))" in page
    assert "### own-split: the data set has no split" in page
    assert set(plots) >= {"photos-own-split.png"}
    (ranking, *_) = report_tables(suite, records)
    assert [row[0] for row in ranking.rows] == ["adversarial", "dch"]


def test_where_photos_lie_is_no_part_of_a_run_and_what_they_are_told_is(
    tmp_path: Path, shop: Path
) -> None:
    def paths(photos: PhotoData) -> list[Path]:
        suite = make_suite(["dch"], bits=[16], seeds=[0], protocols=["official"], photos=photos)
        return [run.path for run in suite.runs]

    here = PhotoData(shop)
    assert paths(here) == paths(replace(here, path=tmp_path / "elsewhere" / "shop.csv"))
    assert paths(here) != paths(replace(here, neighbours="same-item"))
    assert paths(here) != paths(replace(here, image_size=32))
    assert paths(here) != paths(replace(here, columns={"item": "article"}))


def test_what_is_set_aside_shares_no_article_with_what_is_learnt(shop: Path) -> None:
    data = Photos(PhotoData(shop, image_size=28))
    assert (data.name, data.protocol) == ("shop.csv", "own-split")
    key = {f"{number:03}.png": number % 75 for number in range(150)}
    measured = [item.id for item in data.measured.items]
    learnt = [item.id for item in data.learnt.items]
    assert sorted([*measured, *learnt]) == sorted(key)
    assert len(measured) == 30
    assert not {key[name] for name in measured} & {key[name] for name in learnt}


@pytest.mark.parametrize(
    ("write", "protocol"),
    [
        (write_in_shop, "official"),
        (lambda folder: write_mvc(folder, mvc_rows(articles=12)), "official-rest"),
    ],
)
def test_a_data_set_is_measured_by_its_own_split(tmp_path: Path, write: Any, protocol: str) -> None:
    write(tmp_path / "data")
    data = Photos(PhotoData(tmp_path / "data", image_size=28))
    assert data.protocol == protocol
    suite = make_suite(
        ["dch"],
        bits=[16],
        seeds=[0],
        protocols=["own-split"],
        photos=PhotoData(tmp_path / "data", image_size=28),
    )
    with pytest.raises(
        ArgumentError, match=f"cannot be measured by own-split; .* allows {protocol}"
    ):
        data.check(suite.runs[0])


def test_a_split_that_trains_on_its_queries_is_refused(
    tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_file(tmp_path, 'data = "shop/shop.csv"\nimage_size = 28', OF_PHOTOS)
    assert suite.photos is not None
    data = Photos(suite.photos)
    # As if what is set aside had been learnt from, too.
    monkeypatch.setattr(data, "learnt", data.measured)
    with pytest.raises(LeakError, match="of own-split took part in training"):
        data.measuring(suite.runs[0])


def test_a_photo_that_cannot_be_read_is_missing_and_counted(tmp_path: Path, shop: Path) -> None:
    runs = OF_PHOTOS.replace("[0, 1]", "[0]").replace('"adversarial", ', "")
    suite = suite_file(tmp_path, 'data = "shop/shop.csv"\nimage_size = 28', runs)
    assert suite.photos is not None
    searched = Photos(suite.photos).measured.items[-1]
    (shop.parent / searched.id).write_bytes(b"no image")
    (record,) = run_all(suite, tmp_path / "runs", Photos(suite.photos)).values()
    assert record["result"]["unreadable"] == 1
    assert record["result"]["queries"] + record["result"]["items"] == 29


def test_a_catalogue_that_is_too_small_to_set_some_aside(tmp_path: Path, shop: Path) -> None:
    lines = shop.read_text().splitlines()
    shop.write_text("\n".join(lines[:4]))
    with pytest.raises(DatasetError, match="too few items to set some aside"):
        Photos(PhotoData(shop))


# --- judged pairs ----------------------------------------------------------------------


def test_judged_pairs_are_a_protocol_of_suites(tmp_path: Path, own_cache: Path) -> None:
    train = image_set(240)
    test = replace(image_set(120), ids=tuple(f"test-{row}" for row in range(120)))
    judged = tmp_path / "judged.csv"
    judged.write_text(
        "query,gallery,relevant\n"
        + "\n".join(
            f"test-{row},test-{row + 1},{int(test.labels[row] == test.labels[row + 1])}"
            for row in range(0, 118, 2)
        )
    )
    runs = 'objectives = ["dch", "lsh"]\nbits = [16]\nseeds = [0, 1]\nprotocols = ["pairs"]'
    suite = suite_file(tmp_path, 'pairs = "judged.csv"', runs)
    before = [run.path for run in suite.runs]
    data = FashionMnist(train, test, "bars")
    records = run_all(suite, tmp_path / "runs", data)
    for record in records.values():
        encoder = Encoder.load(own_cache / record["training"]["cached_as"])
        expected = judged_pairs(
            encoder.encode_pixels(test.pixels),
            read_pairs(judged, test.ids),
            n_bits=16,
            radius=2,
        )
        assert record["result"] == {**expected, "per_query": {}}
        assert record["neighbours"] == "pairs"
    (table,) = report_tables(suite, records)
    first = [record["result"] for run, record in records.items() if run.system == "dch"]
    mean = sum(result["relevant_outside"]["value"] for result in first) / 2
    assert table.rows[0][:3] == ("dch", "16 + 8", "2")
    assert table.rows[0][3].startswith(f"{mean:.4f}")
    assert "relevant pairs beyond 2" in table.columns[3]
    page, plots = render([(suite, records)], "Head.", "plots")
    assert "### pairs: pairs of test images that people judged" in page
    assert "photos-pairs.png" not in plots
    # Other judgements are other runs.
    judged.write_text(judged.read_text().replace(",1\n", ",0\n", 1))
    assert [run.path for run in load_suite(tmp_path / "photos.toml").runs] != before


def test_pairs_of_strangers_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "judged.csv").write_text("query,gallery,relevant\na,b,1\n")
    runs = 'objectives = ["lsh"]\nbits = [16]\nseeds = [0]\nprotocols = ["pairs"]'
    suite = suite_file(tmp_path, 'pairs = "judged.csv"', runs)
    with pytest.raises(DatasetError, match=r"judged.csv, line 2: the gallery has no item 'a'"):
        run_all(suite, tmp_path / "runs", FashionMnist(image_set(240), image_set(120)))


# --- several labels an image -----------------------------------------------------------


def test_types_have_attributes_that_make_neighbours_of_several_types(tmp_path: Path) -> None:
    attributes = {"boot": ("warm", "dark"), "coat": ("warm", "dark", "long"), "dress": ("long",)}
    train, test = (replace(image_set(count), class_attributes=attributes) for count in (240, 120))
    test = replace(test, ids=tuple(f"test-{row}" for row in range(120)))
    assert train.attribute_names == ("dark", "long", "warm")
    boot, coat = (np.flatnonzero(test.labels == CLASSES.index(name))[0] for name in CLASSES[:2])
    assert test.facts.attributes[boot].tolist() == [True, False, True]
    assert test.facts.attributes[coat].tolist() == [True, True, True]
    runs = 'objectives = ["dch"]\nbits = [16]\nseeds = [0]\nprotocols = ["few-labels-attributes"]'
    suite = suite_file(tmp_path, "", f'{runs}\nplan = {{ neighbours = "shared-attributes(2)" }}')
    (record,) = run_all(suite, tmp_path / "runs", FashionMnist(train, test, "bars")).values()
    assert record["neighbours"] == record["plan"]["neighbours"] == "shared-attributes(2)"
    # Boots and coats are neighbours of each other; a dress, with one attribute, of nobody.
    values = record["result"]["per_query"]["average_precision"]
    assert None in values
    assert record["result"]["map"]["defined"] == sum(value is not None for value in values)


def test_the_attributes_of_fashion_mnist_are_no_parting_of_its_types() -> None:
    assert tuple(ATTRIBUTES) == CLASS_NAMES
    images = ImageSet(
        np.zeros((10, 1, 1), np.uint8),
        np.arange(10),
        CLASS_NAMES,
        tuple(CLASS_NAMES),
        ATTRIBUTES,
    )
    related = NeighbourRule("shared-attributes", 2).relevance(images.facts, images.facts)
    assert related.diagonal().all()
    number = CLASS_NAMES.index
    top, shirt, pullover = number("T-shirt/top"), number("Shirt"), number("Pullover")
    assert related[top, shirt]
    assert related[shirt, pullover]
    assert not related[top, pullover]
    distance = np.where(related, 0, 1)
    assert np.all(average_precision(distance, related) == 1)
