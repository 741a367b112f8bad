from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bench_cases import CLASSES, class_codes, encoder, image_set
from PIL import Image
from tiny_encoder import FINE_BITS, N_BITS, encoder_bytes

from hashsearch import bench
from hashsearch.bench.overheads import cold_query, encoding_throughput
from hashsearch.bench.plots import draw
from hashsearch.errors import ArgumentError, HashsearchError
from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path / "cache"))


def image_gallery() -> Gallery:
    images = image_set()
    return Gallery.from_codes(
        encoder().encode_pixels(images.pixels),
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        ids=images.ids,
        labels=images.label_names,
        encoder_fingerprint=encoder().fingerprint,
        encoder_name="tiny",
    )


def code_gallery(labelled: bool = True) -> Gallery:
    codes, labels = class_codes(200)
    return Gallery.from_codes(
        codes,
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        labels=labels.tolist() if labelled else None,
    )


def test_a_run_past_the_real_items_is_one_record_with_everything(tmp_path: Path) -> None:
    heard = []
    result = bench.run(
        image_gallery(),
        scales=[500, 100],
        peers="basic",
        encoder=encoder(),
        images=image_set(),
        progress=lambda what, done, total: heard.append((what, done, total)),
    )
    held_out = len(image_set()) - result["quality"][0]["items"]
    assert held_out == result["quality"][0]["queries"]
    assert [entry["scale"] for entry in result["quality"]] == ["gallery", "100", "500"]
    assert [entry["items"] for entry in result["quality"][1:]] == [100, 500]
    assert result["quality"][2]["real_items"] == len(image_set()) - held_out
    for entry in result["quality"]:
        assert (entry["protocol"], entry["neighbours"]) == ("own-split", "same-type")
    # By chance it would be 10 of 240.
    assert result["same_item"]["recall_at"]["10"]["value"] > 0.1
    assert [(entry["scale"], entry["codes"]) for entry in result["latency"]] == [
        ("gallery", "learned"),
        ("100", "learned"),
        ("100", "uniform"),
        ("500", "learned"),
        ("500", "uniform"),
    ]
    assert [(entry["items"], entry["codes"]) for entry in result["peers"]] == [
        (100, "learned"),
        (100, "uniform"),
        (500, "learned"),
        (500, "uniform"),
    ]
    assert ("encoding deformed copies", 500 - len(image_set()) + held_out) in [
        (what, done) for what, done, _ in heard
    ]

    files = bench.record(result, tmp_path / "new" / "folder")
    assert [path.name for path in files] == [
        "result.json",
        "precision-recall.png",
        "radius.png",
        "latency.png",
        "peers.png",
    ]
    assert json.loads(files[0].read_text()) == result
    assert result["format"] == "hashsearch-bench"
    assert str(tmp_path) not in files[0].read_text()
    for path in files[1:]:
        picture = Image.open(path)
        assert picture.size == ((1100, 600) if path.name == "peers.png" else (720, 500))
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_the_same_seed_measures_the_same_quality() -> None:
    one, two = (bench.run(code_gallery(), scales=[]) for _ in range(2))
    assert one["quality"] == two["quality"]
    other = bench.run(code_gallery(), scales=[], seed=1)
    assert other["quality"] != one["quality"]


def test_queries_do_not_depend_on_the_order_of_the_codes() -> None:
    codes, labels = class_codes(200)
    ids = [f"item-{number:03d}" for number in range(200)]
    shuffled = np.random.default_rng(0).permutation(200)
    one, two = (
        bench.run(
            Gallery.from_codes(
                codes[order],
                n_bits=N_BITS,
                fine_bits=FINE_BITS,
                ids=[ids[row] for row in order],
                labels=labels[order].tolist(),
            ),
            scales=[],
        )
        for order in (np.arange(200), shuffled)
    )
    assert one["quality"] == two["quality"]


def test_without_labels_quality_is_left_out_and_latency_still_runs() -> None:
    result = bench.run(code_gallery(labelled=False), scales=[50])
    assert result["quality"] == []
    assert result["same_item"] is None
    assert any("quality is left out" in note for note in result["notes"])
    assert len(result["latency"]) == 3
    assert set(draw(result)) == {"latency.png"}


def test_one_missing_label_leaves_quality_out_and_says_so() -> None:
    codes, labels = class_codes(200)
    result = bench.run(
        Gallery.from_codes(
            codes, n_bits=N_BITS, fine_bits=FINE_BITS, labels=[None, *labels.tolist()[1:]]
        ),
        scales=[],
    )
    assert result["quality"] == []
    assert [note for note in result["notes"] if "label" in note] == [
        "quality is left out: 1 of 200 items have no label; "
        "build the gallery from a labelled source"
    ]


def test_types_too_small_to_ask_are_searched_and_named() -> None:
    codes, labels = class_codes(200)
    names = labels.tolist()
    names[:6] = ["glove", "scarf", "scarf", "scarf", "scarf", "glove"]
    result = bench.run(
        Gallery.from_codes(codes, n_bits=N_BITS, fine_bits=FINE_BITS, labels=names), scales=[]
    )
    assert result["notes"][-1] == "2 types of fewer than five items give no queries: glove, scarf"
    (quality,) = result["quality"]
    asked = sum(min(100, names.count(name) // 5) for name in set(names))
    assert (quality["queries"], quality["items"]) == (asked, 200 - asked)


def test_default_scales_go_as_far_as_the_gallery() -> None:
    assert bench.run(code_gallery())["settings"]["scales"] == []


def test_a_scale_beyond_a_gallery_of_codes_is_refused_before_any_work() -> None:
    heard = []
    with pytest.raises(ArgumentError, match=r"10k needs .* largest scale is 1\d\d"):
        bench.run(code_gallery(), scales=[10_000], progress=lambda what, *_: heard.append(what))
    assert heard == ["reading the gallery"]


@pytest.mark.parametrize("wrong", [{"radius": -1}, {"seed": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match="or more"):
        bench.run(code_gallery(), scales=[], **wrong)  # type: ignore[arg-type]  # ints by name


def test_images_that_do_not_give_the_codes_are_not_taken_for_the_gallery_s_own() -> None:
    images = image_set()
    others = images.subset(np.roll(np.arange(len(images)), 1))
    swapped = type(images)(others.images, others.labels, CLASSES, images.ids)
    result = bench.run(image_gallery(), scales=[], encoder=encoder(), images=swapped)
    assert result["same_item"] is None
    assert any("images are not at hand" in note for note in result["notes"])


def test_a_record_is_not_half_written_where_it_cannot_be(tmp_path: Path) -> None:
    result = bench.run(code_gallery(), scales=[])
    (tmp_path / "file").write_text("whole")
    with pytest.raises(ArgumentError, match="cannot write"):
        bench.record(result, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "whole"


def test_tables_say_what_the_record_says() -> None:
    result = bench.run(
        image_gallery(), scales=[100], peers="basic", encoder=encoder(), images=image_set()
    )
    made = {table.title.partition(":")[0]: table for table in bench.tables(result)}
    made["Peers"] = next(table for table in made.values() if table.title.startswith("Peers"))
    made = {name: table for name, table in made.items() if not name.startswith("Peers ")}
    assert set(made) == {"Quality", "Same item", "Latency", "Building and storage", "Peers"}
    for table in made.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}
    first = result["quality"][0]
    assert made["Quality"].rows[0][2].startswith(f"{first['map']['value']:.4f} [")
    assert "same-type" in made["Quality"].title
    assert made["Latency"].rows[0][-1] == "1.000"
    assert len(made["Latency"].rows) == 3 * len(result["latency"])


def test_a_plot_shows_the_radius_that_was_used() -> None:
    one, two = (draw(bench.run(code_gallery(), scales=[], radius=radius)) for radius in (1, 4))
    for name in ("radius.png", "precision-recall.png"):
        pixels = [np.asarray(Image.open(io.BytesIO(plots[name]))) for plots in (one, two)]
        assert (pixels[0] != pixels[1]).any()


def test_a_cold_query_is_the_command_itself(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    path.write_bytes(encoder_bytes())
    codes = encoder().encode_pixels(image_set().pixels)
    fingerprint = encoder().fingerprint

    def gallery_of(name: Path) -> Gallery:
        return Gallery.from_codes(
            codes,
            n_bits=N_BITS,
            fine_bits=FINE_BITS,
            encoder_fingerprint=fingerprint,
            encoder_name=str(name),
        )

    measured = cold_query(gallery_of(path), image_set(), rounds=1)
    assert measured["query_s"] > 0
    assert (measured["ratio"] is None) == (measured["skipped"] is not None)
    with pytest.raises(HashsearchError, match=r"timed process failed: .*missing\.onnx"):
        cold_query(gallery_of(tmp_path / "missing.onnx"), image_set(), rounds=1)


def test_encoding_throughput_counts_both_ways() -> None:
    images = image_set().subset(np.arange(60))
    measured = encoding_throughput(images, encoder(), rounds=1)
    assert measured["images"] == 60
    assert measured["ratio"] == pytest.approx(
        measured["gallery_images_per_s"] / measured["bare_images_per_s"], abs=0.01
    )
