from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from source_fixtures import mvc_rows, write_in_shop, write_kaggle_styles, write_mvc

from hashsearch.bench.catalogue import catalogue_table, measure_catalogue
from hashsearch.codes import hamming_distance
from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.item import Item
from hashsearch.datasets.neighbours import NeighbourRule
from hashsearch.errors import ArgumentError, DatasetError, LeakError
from hashsearch.gallery import Gallery
from hashsearch.metrics import average_precision, precision_within, recall_within

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_BITS = 16
ATTRIBUTES = ("wool", "red", "long")
RULES = ("same-type", "same-item", "shared-attributes(1)", "shared-attributes(2)")


def made(count: int, splits: tuple[str | None, ...]) -> tuple[Catalogue, Gallery]:
    rng = np.random.default_rng(count)
    items = [
        Item(
            id=f"{number:03d}",
            image=b"",
            label=f"type {number % 4}" if number % 7 else None,
            key=f"article {number % 16}" if number % 9 else None,
            split=splits[number % len(splits)],
            attributes=tuple(name for name in ATTRIBUTES if rng.random() < 0.6),
        )
        for number in range(count)
    ]
    codes = rng.integers(0, 4, (count, N_BITS // 8 + 1), dtype=np.uint8)
    # One was not readable: it has no code.
    gallery = Gallery.from_codes(
        codes[:-1], n_bits=N_BITS, fine_bits=8, ids=[item.id for item in items[:-1]]
    )
    return Catalogue("made", items), gallery


def is_neighbour(rule: str, one: Item, other: Item) -> bool:
    if rule == "same-type":
        return one.label is not None and one.label == other.label
    if rule == "same-item":
        return one.key is not None and one.key == other.key
    return len({*one.attributes} & {*other.attributes}) >= int(rule[-2])


@pytest.mark.parametrize("rule", RULES)
def test_figures_are_those_of_the_definitions(rule: str) -> None:
    catalogue, gallery = made(120, ("train", "query", "gallery", "gallery", "query"))
    result = measure_catalogue(gallery, catalogue, NeighbourRule.parse(rule), radius=3)
    known = {*gallery.ids()}
    queries = [item for item in catalogue.split("query") if item.id in known]
    searched = [item for item in catalogue.split("gallery") if item.id in known]
    relevant = np.array([[is_neighbour(rule, one, other) for other in searched] for one in queries])
    code = dict(zip(gallery.ids(), gallery.codes(), strict=True))
    asked, found = (np.array([code[item.id] for item in items]) for items in (queries, searched))
    distance = hamming_distance(asked[:, :2], found[:, :2])
    for name, values in (
        ("map", average_precision(distance, relevant)),
        ("precision_within", precision_within(distance, relevant, 3)),
        ("recall_within", recall_within(distance, relevant, 3)),
    ):
        assert result[name]["value"] == pytest.approx(np.nanmean(values))
    full = hamming_distance(asked, found)
    hits = []
    for row in range(len(queries)):
        order = sorted(
            range(len(searched)),
            key=lambda n: (max(distance[row, n] - 3, 0), full[row, n], searched[n].id),
        )
        if relevant[row].any():
            hits.append((relevant[row, order[0]], relevant[row, order[:10]].any()))
    first, ten = np.mean(hits, axis=0)
    assert result["found_at"]["1"]["value"] == pytest.approx(first)
    assert result["found_at"]["10"]["value"] == pytest.approx(ten)
    assert (result["protocol"], result["neighbours"]) == ("official", rule)
    assert (result["queries"], result["items"]) == (len(queries), len(searched))


@pytest.mark.parametrize(
    ("splits", "protocol", "pool"),
    [
        (("train", "validation", "gallery"), "official-rest", 39),
        ((None,), "own-split", 119),
    ],
)
def test_without_queries_of_its_own_some_are_drawn(
    splits: tuple[str | None, ...], protocol: str, pool: int
) -> None:
    catalogue, gallery = made(120, splits)
    taken = {item.id for item in catalogue.items if item.split in {"train", "validation"}}
    result = measure_catalogue(gallery, catalogue, NeighbourRule(), trained_on=taken)
    assert result["protocol"] == protocol
    assert result["queries"] + result["items"] == pool


def test_what_was_trained_on_is_measured_only_under_a_name_that_says_so() -> None:
    catalogue, gallery = made(120, (None,))
    rule = NeighbourRule()
    result = measure_catalogue(gallery, catalogue, rule, trained_on={"003"})
    assert result["protocol"] == "own-split-seen"
    assert "Some of these very images trained the encoder" in catalogue_table(result).note
    catalogue, gallery = made(120, ("train", "query", "gallery"))
    (query, *_), (searched, *_) = catalogue.split("query"), catalogue.split("gallery")
    for id_, what in ((query.id, "queries"), (searched.id, "gallery images")):
        with pytest.raises(LeakError, match=f"1 of (39|40) {what} of official took part"):
            measure_catalogue(gallery, catalogue, rule, trained_on={id_})
    allowed = measure_catalogue(gallery, catalogue, rule, trained_on={catalogue.items[0].id})
    assert allowed["protocol"] == "official"
    assert "very images" not in catalogue_table(allowed).note


def test_a_measurement_takes_nothing_from_a_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, photos: Path, encoder_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    write_kaggle_styles(tmp_path / "more")
    assert run("build-index", photos, "-e", encoder_file).status == 0
    assert run("add", "more", "-g", "photos").status == 0
    before = len(Gallery.open("indexes/photos.h5"))
    refused = run("bench", "--data", photos)
    assert refused.status == 1
    assert "holds images of" in refused.error
    assert len(Gallery.open("indexes/photos.h5")) == before
    refused = run("bench", "--data", photos, "--gallery", "new", "--neighbours", "same-item")
    assert (
        "says nothing that same-item compares; take same-type, or say with --column item=NAME"
        in (refused.error)
    )
    assert not (tmp_path / "indexes" / "new.h5").exists()


def test_what_nobody_says_cannot_be_compared() -> None:
    items = [Item(str(number), b"", label="a") for number in range(10)]
    gallery = Gallery.from_codes(
        np.zeros((10, 2), np.uint8), n_bits=16, fine_bits=0, ids=[item.id for item in items]
    )
    with pytest.raises(DatasetError, match="says nothing that same-item compares; take same-type"):
        measure_catalogue(gallery, Catalogue("plain", items), NeighbourRule("same-item"))
    few = Catalogue("few", [Item("0", b"", key="x"), Item("1", b"", key="x")])
    with pytest.raises(ArgumentError, match="too few"):
        measure_catalogue(gallery, few, NeighbourRule("same-item"))


def enough_of_mvc(folder: Path) -> Path:
    """So many that some are left to be measured."""
    return write_mvc(folder, mvc_rows(articles=12))


@pytest.mark.parametrize(
    ("write", "rule", "name", "protocol"),
    [
        (enough_of_mvc, "same-item", "mvc", "official-rest"),
        (write_in_shop, "same-item", "in-shop", "official"),
        (write_in_shop, "shared-attributes(1)", "in-shop", "official"),
    ],
)
def test_a_data_set_becomes_a_gallery_and_a_row(  # noqa: PLR0917 - fixtures and cases
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Any,
    encoder_file: Path,
    write: Callable[[Path], Path],
    rule: str,
    name: str,
    protocol: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data")
    done = run("bench", "--data", "data", "-e", encoder_file, "--neighbours", rule, "--json")
    assert done.json["data"] == name
    assert (done.json["protocol"], done.json["neighbours"]) == (protocol, rule)
    assert done.json["map"]["value"] is not None
    assert len(Gallery.open("indexes/data.h5")) > done.json["items"]
    again = run("bench", "--data", "data", "--neighbours", rule)
    assert f"{name}: {protocol}, neighbours: {rule}" in again.out


def test_kaggles_products_become_a_gallery_and_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, encoder_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        f"{number},Men,Apparel,Topwear,{('Shirts', 'Tops')[number % 2]},Blue,Fall,2011,NA,a, b"
        for number in range(1, 13)
    ]
    write_kaggle_styles(tmp_path / "styles", rows)
    done = run("bench", "--data", "styles", "-e", encoder_file, "--json")
    assert (done.json["data"], done.json["protocol"]) == ("kaggle-styles", "own-split")
    gallery = Gallery.open("indexes/styles.h5")
    assert set(gallery.column("usage")) == {"NA"}
    assert set(gallery.column("productDisplayName")) == {"a, b"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--neighbours", "same-item"], "--data"),
        (["--data", "x", "--peers"], "--peers"),
        (["--suite", "x.toml", "--data", "x"], "--data"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    run: Any, options: list[str], said: str
) -> None:
    refused = run("bench", *options)
    assert refused.status == 2
    assert said in refused.error
