from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import PHOTOS_PER_TYPE
from page_reader import Read, assert_whole
from PIL import Image
from rich.cells import cell_len
from source_fixtures import write_fashion_mnist
from tiny_encoder import FINE_BITS, N_BITS, encoder_bytes

from hashsearch.cli import cli
from hashsearch.datasets import fashion_mnist
from hashsearch.datasets.image_set import ImageSet
from hashsearch.datasets.parts import TRAINING_PARTS
from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery
from hashsearch.images import read_image
from hashsearch.training.plan import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Iterator


def python(*args: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


def names(folder: str | Path = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- what works ------------------------------------------------------------------------


def test_a_folder_becomes_a_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, photos: Path, encoder_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    built = run("build-index", photos, "-e", encoder_file)
    assert built.status == 0
    assert built.out == (
        f"indexes/photos.h5: 16 items, by the encoder {encoder_file}. "
        "Try `hashsearch query IMAGE`.\n"
    )
    assert sorted(files(tmp_path)) == ["indexes/photos.h5"]
    gallery = Gallery.open("indexes/photos.h5")
    assert sorted(gallery.ids()) == sorted(
        f"{kind}/{number}.png" for kind in ("dark", "light") for number in range(PHOTOS_PER_TYPE)
    )
    assert gallery.labels() == [name.split("/")[0] for name in gallery.ids()]
    assert gallery.thumbnail(0) is not None


@pytest.mark.parametrize("where", [".", "../photos", "sub/.."])
def test_the_gallery_of_a_folder_has_its_name_however_it_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, encoder_file: Path, where: str
) -> None:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    Image.new("L", (28, 28), 9).save(folder / "a.png")
    monkeypatch.chdir(folder)
    assert run("build-index", where, "-e", encoder_file, "--indexes", tmp_path).status == 0
    assert (tmp_path / "photos.h5").is_file()


def test_a_folder_does_not_replace_the_gallery_of_another_one_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, encoder_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for shop in ("one", "two"):
        Path(shop, "photos").mkdir(parents=True)
        Image.new("L", (28, 28), 9).save(f"{shop}/photos/{shop}.png")
    assert run("build-index", "one/photos", "-e", encoder_file).status == 0
    refused = run("build-index", "two/photos", "-e", encoder_file)
    assert refused.status == 1
    assert "one/photos; give the new gallery a name of its own with --name" in refused.error
    assert Gallery.open("indexes/photos.h5").ids() == ["one.png"]
    assert run("build-index", "one/photos", "-e", encoder_file).status == 0
    assert run("build-index", "two/photos", "-e", encoder_file, "--name", "photos").status == 0
    assert Gallery.open("indexes/photos.h5").ids() == ["two.png"]


def test_a_folder_without_a_name_needs_one_for_its_gallery(run: Any) -> None:
    refused = run("build-index", "/")
    assert refused.status == 2
    assert "give one with --name" in refused.error


def test_without_a_folder_the_sample_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, encoder_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    built = run("build-index", "-e", encoder_file, "--no-thumbnails", "--json")
    assert built.json == {"gallery": "indexes/fashion-mnist.h5", "items": 10_000, "skipped": []}
    assert built.err == ""
    gallery = Gallery.open("indexes/fashion-mnist.h5")
    assert gallery.thumbnail(0) is None
    assert sorted(gallery.ids())[-1] == "test-09999"


def test_a_gallery_elsewhere_is_told_how_to_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, photos: Path, encoder_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    build = ("build-index", photos, "-e", encoder_file)
    built = run(*build, "--name", "my own.h5")
    assert built.out.endswith("`hashsearch query IMAGE --gallery 'my own.h5'`.\n")
    built = run(*build, "--indexes", "others")
    assert built.out.endswith("`hashsearch query IMAGE --gallery others/photos.h5`.\n")
    assert run("info", "--gallery", "others/photos.h5").status == 0
    monkeypatch.setenv("HASHSEARCH_INDEXES", "others")
    assert run(*build).out.endswith("`hashsearch query IMAGE`.\n")
    assert run("info", "--json").json["path"] == "others/photos.h5"


def test_bad_images_are_listed_and_the_others_built(
    shop: Path, run: Any, encoder_file: Path
) -> None:
    mixed = shop / "mixed"
    mixed.mkdir()
    Image.new("L", (28, 28), 9).save(mixed / "good.png")
    (mixed / "text.jpg").write_text("no image")
    (mixed / "two\nlines.jpg").write_text("no image")
    built = run("build-index", mixed, "-e", encoder_file)
    assert built.status == 1
    assert "1 items, 2 skipped" in built.out
    assert re.fullmatch(
        r"Skipped .*text\.jpg is not an image .*\nSkipped .*two\\nlines\.jpg is not .*\n"
        r"All are listed in indexes/mixed\.skipped\.csv\n",
        built.err,
    )
    built = run("build-index", mixed, "-e", encoder_file, "--json")
    assert [skipped["id"] for skipped in built.json["skipped"]] == ["text.jpg", "two\nlines.jpg"]


def test_a_query_searches_the_gallery_built_last(
    shop: Path, run: Any, photos: Path, encoder_file: Path
) -> None:
    image = photos / "dark" / "3.png"
    found = run("query", image, "-k", "3")
    assert found.status == 0
    assert found.err == ""
    title, *table = found.out.splitlines()
    assert title.startswith(f"{image} in indexes/shop.h5: ")
    assert title.endswith(" of 16 items within radius 2")
    assert len(table) == 7
    first = [cell.strip() for cell in re.split("[│┃]", table[3])][1:-1]
    assert first == ["1", "dark/3.png", "dark", "0", "0", "in"]
    newer = run("build-index", photos / "light", "-e", encoder_file)
    assert newer.status == 0
    assert run("query", image, "--json").json["gallery"] == "indexes/light.h5"
    os.utime("indexes/shop.h5")
    assert run("query", image, "--json").json["gallery"] == "indexes/shop.h5"
    assert run("query", image, "--json", "-g", "light").json["gallery"] == "indexes/light.h5"
    by_path = run("query", image, "--json", "-g", shop / "indexes" / "light.h5")
    assert by_path.json["gallery"] == str(shop / "indexes" / "light.h5")


def test_json_says_what_the_library_finds(
    shop: Path, run: Any, photos: Path, encoder_file: Path
) -> None:
    images = [photos / "dark" / "0.png", photos / "light" / "1.png"]
    answer = run("query", *images, "-k", "20", "--radius", "5", "--json")
    assert answer.err == ""
    gallery = Gallery.open("indexes/shop.h5")
    matches = gallery.nearest(Encoder.load(encoder_file).encode(images), k=20, radius=5)
    assert answer.json["radius"] == 5
    for query, image, found in zip(answer.json["queries"], images, matches, strict=True):
        assert query["query"] == str(image)
        assert query["ball_size"] == found.ball_size[0]
        listed = query["matches"]
        assert [match["rank"] for match in listed] == list(range(1, 17))
        assert [match["id"] for match in listed] == found.ids
        assert [match["label"] for match in listed] == found.labels
        assert [match["path"] for match in listed] == [str(photos / name) for name in found.ids]
        assert [match["distance"] for match in listed] == found.distance.tolist()
        assert [match["full_distance"] for match in listed] == found.full_distance.tolist()
        assert [match["in_ball"] for match in listed] == (found.distance <= 5).tolist()


def test_a_sheet_shows_query_and_matches(shop: Path, run: Any, photos: Path) -> None:
    images = [photos / "dark" / "0.png", photos / "light" / "1.png"]
    answer = run("query", *images, "-k", "3", "--sheet", "out/sheet.png", "--json")
    assert answer.err == "Wrote out/sheet.png\n"
    assert len(answer.json["queries"]) == 2
    assert names("out") == ["sheet.png"]
    assert read_image("out/sheet.png").height > 2 * 112


def test_an_image_may_come_by_standard_input(shop: Path, photos: Path) -> None:
    command = [sys.executable, "-m", "hashsearch", "query", "-", "--json"]
    content = (photos / "light" / "2.png").read_bytes()
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    (query,) = json.loads(done.stdout)["queries"]
    assert query["query"] == "standard input"
    assert query["matches"][0]["id"] == "light/2.png"
    done = subprocess.run(command, input=b"no image", capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.startswith(b"Error: standard input: ")
    assert done.stderr.count(b"\n") == 1


def test_an_unreadable_image_costs_its_own_answer_alone(shop: Path, run: Any, photos: Path) -> None:
    good = photos / "dark" / "0.png"
    Path("text.jpg").write_text("no image")
    answer = run("query", "text.jpg", good, "gone.png", "--json")
    assert answer.status == 1
    assert [query["query"] for query in answer.json["queries"]] == [str(good)]
    first, second = answer.err.splitlines()
    assert first.startswith("Error: text.jpg is not an image")
    assert second.startswith("Error: gone.png: no such file")


def test_info_and_verify(shop: Path, run: Any, encoder_file: Path) -> None:
    facts = run("info", "--json").json
    assert facts["items"] == 16
    assert (facts["n_bits"], facts["fine_bits"]) == (N_BITS, FINE_BITS)
    assert facts["labels"] == {"dark": PHOTOS_PER_TYPE, "light": PHOTOS_PER_TYPE}
    assert facts["encoder"]["name"] == str(encoder_file)
    shown = run("info").out
    assert re.search(r"│ items +│ 16 ", shown)
    assert re.search(r"│ labels: dark +│ 8 ", shown)
    checked = run("verify")
    assert checked.status == 0
    assert "items/id" in checked.out
    assert "DAMAGED" not in checked.out
    assert checked.out.endswith("Whole: every byte is as it was written.\n")
    assert all(dataset["ok"] for dataset in run("verify", "--json").json["datasets"])


def test_bench_records_and_prints(shop: Path, run: Any) -> None:
    measured = run("bench", "--radius", "3", "--json")
    assert measured.status == 0
    assert measured.json["settings"]["radius"] == 3
    assert 0 < measured.json["quality"][0]["map"]["value"] <= 1
    recorded = shop / "benchmarks" / "results" / "shop"
    assert json.loads((recorded / "result.json").read_text()) == measured.json
    assert list(recorded.glob("*.png"))
    *stages, last = measured.err.splitlines()
    assert stages[:2] == ["reading the gallery", "quality of the gallery"]
    assert last.startswith("Recorded: benchmarks/results/shop/result.json, ")
    assert set(re.findall(r"[\w-]+\.\w+", last)) == set(names(recorded))
    tables = run("bench", "--out", "here")
    assert tables.status == 0
    assert "mAP" in tables.out
    assert "p95 us" in tables.out
    assert (shop / "here" / "result.json").is_file()


def test_bench_reports_a_gallery_as_one_page(shop: Path, run: Any, photos: Path) -> None:
    assert run("bench", "--scales", "10", "--report", "pages/shop.html").status == 0
    page = Read(Path("pages/shop.html").read_bytes())
    assert_whole(page)
    assert "Benchmark of shop" in page.text
    assert "p95 us" in page.text
    alts = [shown["alt"] for shown in page.all("img")]
    assert alts == ["Plot: precision recall", "Plot: radius", "Plot: latency"]
    # Of a data set: its row of figures.
    run("bench", "--data", photos, "--gallery", "shop", "--report", "data.html")
    page = Read(Path("data.html").read_bytes())
    assert_whole(page)
    assert "mAP" in page.text
    Path("taken").touch()
    assert "choose a writable folder" in run("bench", "--report", "taken/a.html").error


def test_bench_compares_with_other_engines(shop: Path, run: Any) -> None:
    # The name of a set may be left out.
    tables = run("bench", "--peers", "--scales", "10", "--out", "here")
    assert tables.status == 0
    assert "Peers: 10 learned codes, 1 thread; all items within the radius 2" in tables.out
    assert "Peers: 10 uniform codes, 1 thread; the 10 nearest items by the whole code" in tables.out
    assert "FAISS IndexBinaryFlat" in tables.out
    assert "HNSW" not in tables.out
    assert (shop / "here" / "peers.png").is_file()
    assert run("bench", "--peers", "some").status == 2


def test_bench_measures_judged_pairs(shop: Path, run: Any) -> None:
    judgements = [("dark/0.png", "dark/1.png", "yes"), ("dark/0.png", "light/1.png", "no")]
    lines = ["query,gallery,relevant", *(",".join(judged) for judged in judgements)]
    Path("judged.csv").write_text("\n".join(lines))
    measured = run("bench", "--pairs", "judged.csv", "--radius", "8", "--json")
    assert measured.status == 0
    gallery = Gallery.open("indexes/shop.h5")
    distance = {}
    for name, other, answer in judgements:
        codes = dict(zip(gallery.ids(), gallery.codes()[:, : N_BITS // 8], strict=True))
        distance[answer] = int(np.bitwise_count(codes[name] ^ codes[other]).sum())
    pairs = measured.json["pairs"]
    assert (pairs["file"], pairs["pairs"], pairs["radius"]) == ("judged.csv", 2, 8)
    assert pairs["relevant_outside"]["value"] == (distance["yes"] > 8)
    assert pairs["irrelevant_inside"]["value"] == (distance["no"] <= 8)
    assert "pairs.png" in names("benchmarks/results/shop")
    tables = run("bench", "--pairs", "judged.csv", "--out", "here")
    assert "Judged pairs: judged.csv, 1 queries" in tables.out
    assert "wrong side of radius 2" in tables.out


def test_help_and_version(run: Any) -> None:
    assert "build-index" in run().out
    for command in ("build-index", "query", "inspect", "bench", "train", "info", "verify"):
        helped = run(command, "--help")
        assert helped.status == 0
        assert helped.out.startswith(f"Usage: hashsearch {command} ")
    assert run("--version").out.startswith("hashsearch, version ")


# --- names are data --------------------------------------------------------------------

ODD_NAMES = ["[red]x[/red]", "Größe 38", "服装", ":shoe:", "\x1b[31mred", "a_b"]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery ``odd`` whose ids and labels try to be something else, and a query."""
    monkeypatch.chdir(tmp_path)
    codes = np.zeros((len(ODD_NAMES), (N_BITS + FINE_BITS) // 8), np.uint8)
    gallery = Gallery.from_codes(
        codes,
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        ids=[f"{name} {'long ' * 12}" for name in ODD_NAMES],
        labels=ODD_NAMES,
    )
    gallery.save("indexes/odd.h5")
    Image.new("L", (28, 28), 9).save("query.png")
    return tmp_path


def test_ids_and_labels_are_printed_as_they_are(odd: Path, run: Any, encoder_file: Path) -> None:
    found = run("query", "query.png", "-e", encoder_file)
    assert found.status == 0
    cells = [[cell.strip() for cell in line.split("│")] for line in found.out.splitlines()[4:-1]]
    shown = {name.replace("\x1b", "\\x1b") for name in ODD_NAMES}
    assert {line[3] for line in cells} == shown
    # Nothing folds what is piped.
    assert {line[2] for line in cells} == {f"{name} {'long ' * 12}".strip() for name in shown}
    answer = run("query", "query.png", "-e", encoder_file, "--json").json
    assert {match["label"] for match in answer["queries"][0]["matches"]} == set(ODD_NAMES)
    facts = run("info").out
    assert all(f"labels: {name}" in facts for name in shown)


@pytest.mark.parametrize("width", [40, 70, 200])
def test_a_table_fits_the_terminal_and_loses_nothing(
    odd: Path, run: Any, encoder_file: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    found = run("query", "query.png", "-e", encoder_file)
    lines = re.sub(r"\x1b\[[\d;]*m", "", found.out).splitlines()[1:]
    assert max(map(cell_len, lines)) <= width
    rows = [line.split("│") for line in lines if line.startswith("│")]
    ids = "".join("".join(line[2].split()) for line in rows)
    assert ids.count("long" * 12) == len(ODD_NAMES)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_that_lacks_the_letters_gets_them_escaped(
    odd: Path, encoder_file: Path, encoding: str
) -> None:
    odd_query = os.fsdecode(b"q\xff.png")
    Path(odd_query).write_bytes(Path("query.png").read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    query = [sys.executable, "-m", "hashsearch", "query", odd_query, "-e", str(encoder_file)]
    shown = subprocess.run(query, capture_output=True, check=False, env=environment)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"Gr" in shown.stdout
    shown = subprocess.run([*query, "--json"], capture_output=True, check=False, env=environment)
    assert (shown.returncode, shown.stderr) == (0, b"")
    (answer,) = json.loads(shown.stdout.decode(encoding))["queries"]
    assert answer["query"] == odd_query
    assert {match["label"] for match in answer["matches"]} == set(ODD_NAMES)


# --- the encoder of a gallery ----------------------------------------------------------


def test_a_gallery_finds_its_encoder_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, photos: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("own.onnx").write_bytes(encoder_bytes())
    assert run("build-index", photos, "-e", "own.onnx").status == 0
    monkeypatch.chdir("elsewhere")
    image = photos / "dark" / "0.png"
    query = ("query", image, "--indexes", "../indexes")
    assert run(*query).status == 0

    own = tmp_path / "own.onnx"
    own.rename(tmp_path / "moved.onnx")
    gone = run(*query)
    assert gone.status == 1
    assert f"the encoder {own}, which is not there any more; say where it is" in gone.error
    assert run(*query, "-e", "../moved.onnx").status == 0

    own.write_bytes(encoder_bytes(seed=1))
    changed = run(*query)
    assert changed.status == 1
    assert f"the encoder {own} has changed since" in changed.error
    assert "rebuild" in changed.error


def test_a_gallery_that_knows_no_encoder_asks_for_one(odd: Path, run: Any) -> None:
    refused = run("query", "query.png")
    assert refused.status == 1
    assert "name it with --encoder" in refused.error


# --- bad input -------------------------------------------------------------------------


@pytest.fixture
def bad(shop: Path, encoder_file: Path) -> Path:
    """The working folder of ``shop`` with all that can be wrong in it."""
    good = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8))
    good.save("good.jpg")
    Path("folder").mkdir()
    Path("file").touch()
    Path("text.jpg").write_text("no image")
    Path("cut.jpg").write_bytes(Path("good.jpg").read_bytes()[:-1500])
    Path("other.onnx").write_bytes(encoder_bytes(seed=1))
    Path("text.onnx").write_text("no model")
    Path("cut.onnx").write_bytes(encoder_file.read_bytes()[:-1000])
    content = Path("indexes/shop.h5").read_bytes()
    Path("cut.h5").write_bytes(content[:-1000])
    Path("text.h5").write_text("no gallery")
    Path("strange.csv").write_text("query,gallery,relevant\ndark/0.png,hat.png,1\n")
    Path("unsure.csv").write_text("query,gallery,relevant\n\ndark/0.png,dark/1.png,maybe\n")
    Path("headless.csv").write_text("dark/0.png,dark/1.png,1\n")
    os.utime("indexes/shop.h5")
    return shop


BAD_INPUT = {
    "a folder as query": (1, "query folder", "folder is a folder; name an image file in it"),
    "no such query": (1, "query gone.jpg", "gone.jpg: no such file; check its name"),
    "a text as query": (1, "query text.jpg", "text.jpg is not an image that can be read; use "),
    "a cut query": (1, "query cut.jpg", "cut.jpg is damaged or cut short"),
    "a bad query with a sheet": (1, "query text.jpg --sheet s.png", "text.jpg is not an image"),
    "no query": (2, "query", "give image files, or items of the gallery"),
    "k 0": (2, "query good.jpg -k 0", "0 is not in the range x>=1"),
    "radius -1": (2, "query good.jpg --radius -1", "-1 is not in the range x>=0"),
    "bench radius -1": (2, "bench --radius -1", "-1 is not in the range x>=0"),
    "k is no number": (2, "query good.jpg -k ten", "'ten' is not a valid integer"),
    "unknown option": (2, "query good.jpg --nearest", "No such option"),
    "unknown command": (2, "search good.jpg", "No such command 'search'"),
    "another encoder": (1, "query good.jpg -e other.onnx", "search with that encoder, or rebuild"),
    "no such encoder": (1, "query good.jpg -e gone", "no encoder gone: name an .onnx file"),
    "a text as encoder": (1, "query good.jpg -e text.onnx", "is not an ONNX model"),
    "a cut encoder": (1, "query good.jpg -e cut.onnx", "is not an ONNX model"),
    "unknown gallery": (
        1,
        "query good.jpg -g nope",
        "no gallery nope in indexes/; there are: shop",
    ),
    "unknown gallery file": (1, "query good.jpg -g nope.h5", "there is no gallery at nope.h5"),
    "no gallery": (1, "query good.jpg --indexes folder", "build one with `hashsearch build-index`"),
    "a cut gallery": (1, "query good.jpg -g cut.h5", "cut.h5"),
    "a text as gallery": (1, "info -g text.h5", "text.h5"),
    "a cut gallery verified": (1, "verify -g cut.h5", "cut.h5"),
    "a folder as gallery": (1, "info -g folder.h5", "there is no gallery at folder.h5"),
    "a sheet under a file": (1, "query good.jpg --sheet file/s.png", "choose a writable folder"),
    "a sheet that is no PNG": (2, "query good.jpg --sheet s.jpg", "ends in .png"),
    "a folder as sheet": (2, "query good.jpg --sheet folder", "is a directory"),
    "a build of a file": (1, "build-index good.jpg -e other.onnx", "name a folder of image files"),
    "a build of nothing": (1, "build-index folder -e other.onnx", "no image files in folder"),
    "a build without encoder": (1, "build-index . -e gone.onnx", "no encoder gone.onnx"),
    "a build with a text": (1, "build-index . -e text.onnx", "is not an ONNX model"),
    "a build under a file": (
        1,
        "build-index . -e other.onnx --indexes file/i",
        "cannot write file",
    ),
    "a build under a name": (1, "build-index . -e other.onnx --name ../file/i", "cannot write"),
    "a scale of words": (1, "bench --scales many", "'many' is no scale"),
    "a bench under a file": (1, "bench --out file/b", "choose a writable folder"),
    "a bench of nothing": (1, "bench -g nope", "no gallery nope"),
    "pairs that are gone": (1, "bench --pairs gone.csv", "gone.csv: no such file; check its name"),
    "a folder as pairs": (1, "bench --pairs folder", "folder is a folder; name a CSV file in it"),
    "no pairs": (1, "bench --pairs file", "file is empty; write the line query,gallery,relevant"),
    "an image as pairs": (1, "bench --pairs good.jpg", "good.jpg, line 1: is not UTF-8 text; save"),
    "pairs without header": (1, "bench --pairs headless.csv", "line 1: the header has no column"),
    "pairs of strangers": (
        1,
        "bench --pairs strange.csv",
        "strange.csv, line 2: the gallery has no item 'hat.png'; write ids as",
    ),
    "an unsure judge": (1, "bench --pairs unsure.csv", "line 3: relevant is 'maybe'; write one of"),
    "a weight of words": (2, "train --out x.onnx --weight nonsense", "--weight takes TERM=VALUE"),
    "a weight of one": (2, "train --out x.onnx --weight hamming=x", "--weight takes TERM=VALUE"),
    "a constant of words": (
        2,
        "train --out x.onnx --constant gamma=few",
        "--constant takes NAME=VALUE",
    ),
    "unknown part": (2, "train --out x.onnx --part some", "'some' is not one of"),
    "bits in words": (2, "bench --objectives lsh --bits many", "--bits takes whole numbers"),
    "a share of no suite": (2, "bench --share 1 2", "--share: of no meaning beside a gallery"),
    "a report of no suite": (2, "bench --render", "--render: of no meaning beside a gallery"),
    "a suite and a gallery": (2, "bench --suite s.toml -g shop", "--gallery: of no meaning"),
    "no such suite": (1, "bench --suite gone.toml", "gone.toml: no such file"),
    "an unknown protocol": (
        1,
        "bench --objectives lsh --protocols none",
        "unknown protocol 'none'; known: held-out",
    ),
    "no images to train on": (1, "bench --objectives lsh --data-dir folder", "--data-dir"),
    "unknown objective": (1, "train --out x.onnx --objective guess", "unknown objective 'guess'"),
    "a weight in what has none": (
        1,
        "train --out x.onnx --objective lsh --weight hamming=1",
        "weights: of no meaning for the objective lsh; leave it out",
    ),
    "a default of what has none": (
        1,
        "train --out x.onnx --objective itq --epochs 20 --device auto",
        "epochs, device: of no meaning for the objective itq; leave it out",
    ),
    "fine bits of what has none": (
        1,
        "train --out x.onnx --objective lsh --fine-bits 64",
        "lsh has no fine code; fine_bits must be 0, not 64",
    ),
    "no epochs": (1, "train --out x.onnx --epochs 0", "at least 1 epoch"),
    "no data": (1, "train --out x.onnx --data-dir folder", "--download"),
    "unknown data": (1, "train --out x.onnx --data mnist", "mnist"),
    "fitted to photos": (
        1,
        "train --out x.onnx --data folder --objective lsh",
        "lsh is fitted to the small grey images of fashion-mnist alone",
    ),
    "a part of photos": (
        2,
        "train --out x.onnx --data folder --part few-labels",
        "--part: of no meaning for photos; leave it out",
    ),
    "options of photos without any": (
        2,
        "train --out x.onnx --image-size 64 --workers 0 --column label=kind",
        "--column, --image-size, --workers: of no meaning for fashion-mnist; leave it out",
    ),
    "a rule that does not exist": (
        1,
        "train --out x.onnx --neighbours same",
        "unknown neighbour rule 'same'; known: same-type, same-item",
    ),
    "a rule that the objective cannot do with": (
        1,
        "train --out x.onnx --objective ladder --neighbours shared-attributes(2)",
        "ladder needs one type an image, and shared-attributes(2) gives several; take adversarial",
    ),
    "no place to train to": (2, "train", "Missing option '--out'"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_told_in_one_line_and_changes_nothing(bad: Path, run: Any, case: str) -> None:
    status, line, mend = BAD_INPUT[case]
    before = files(bad)
    told = run(*line.split())
    assert told.status == status
    assert mend in told.error
    assert files(bad) == before
    if not line.startswith(("train", "search")):
        assert run(*line.split(), "--json").error == told.err


@pytest.fixture
def striped_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In place of Fashion-MNIST, 600 images to train on and 200 to search."""

    def stripes(n_items: int, name: str) -> ImageSet:
        labels = np.arange(n_items) % 10
        images = np.random.default_rng(len(name)).integers(0, 60, (n_items, 28, 28), dtype=np.uint8)
        images[np.arange(n_items), 2 * labels + 4] = 250
        ids = tuple(f"{name}-{row}" for row in range(n_items))
        return ImageSet(images, labels, fashion_mnist.CLASS_NAMES, ids)

    train, test = stripes(600, "train"), stripes(200, "test")
    monkeypatch.setattr(fashion_mnist, "load", lambda *_: train)
    monkeypatch.setattr(fashion_mnist, "sample", lambda: test)
    halves = train.subset(np.arange(300)), train.subset(np.arange(300, 600))
    monkeypatch.setitem(TRAINING_PARTS, "all-labels", lambda *_, **__: halves)
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


SUITE = """
[[runs]]
objectives = ["lsh", "pixel-sad"]
bits = [16]
seeds = [0]
protocols = ["held-out"]
"""


@pytest.mark.usefixtures("striped_data")
def test_a_suite_is_run_and_its_report_rendered(run: Any) -> None:
    suite = Path("suites/two.toml")
    suite.parent.mkdir()
    suite.write_text(SUITE)
    assert run("bench", "--suite", suite, "--render").status == 0
    page = Path("suites/README.md")
    assert "0 of 2 runs are recorded" in page.read_text()

    ran = run("bench", "--suite", suite)
    assert ran.status == 0
    assert "lsh" in ran.out
    assert ran.err.count("Recorded suites/recorded/runs/held-out/pixels/") == 2
    rendered = page.read_text()
    assert "2 of 2 runs are recorded" in rendered
    assert "Of the 200 test images, " in rendered

    again = run("bench", "--suite", suite, "--json")
    assert [record["system"] for record in again.json] == ["lsh", "pixel-sad"]
    page.unlink()
    assert run("bench", "--suite", suite, "--render", "--json").json == again.json
    assert page.read_text() == rendered
    suite.write_text(SUITE.replace("[0]", "[1]"))
    assert run("bench", "--suite", suite, "--render").err.count("is of no suite any more") == 2


@pytest.mark.usefixtures("striped_data")
def test_objectives_are_trained_and_measured(run: Any) -> None:
    told = run("bench", "--objectives", "itq,pixel-sad", "--bits", "16", "--json")
    assert told.status == 0
    figures = [record["result"]["map"]["value"] for record in told.json]
    assert all(0.1 < figure <= 1 for figure in figures)
    assert len(list(Path("benchmarks/results/objectives").rglob("*.json"))) == 2


@pytest.mark.usefixtures("striped_data")
def test_trainings_are_reported_as_pages(run: Any) -> None:
    Path("suite.toml").write_text(SUITE)
    assert run("bench", "--suite", "suite.toml", "--report", "suite.html").status == 0
    trained = run("bench", "--objectives", "itq", "--bits", "16", "--report", "objectives.html")
    assert trained.err.endswith("Wrote objectives.html\n")
    for name, systems in (("suite", {"lsh", "pixel-sad"}), ("objectives", {"itq"})):
        page = Read(Path(f"{name}.html").read_bytes())
        assert_whole(page)
        assert all(system in page.text for system in systems)
        assert "held-out" in [shown["alt"] for shown in page.all("img")]
    Path("other").mkdir()
    Path("other/suite.toml").write_text(SUITE)
    both = ("--suite", "suite.toml", "--suite", "other/suite.toml", "--report", "both.html")
    refused = run("bench", "--render", *both)
    assert refused.status == 2
    assert "of the suites of one folder" in refused.error


@pytest.mark.usefixtures("striped_data")
def test_objectives_are_measured_by_judged_pairs(run: Any) -> None:
    Path("judged.csv").write_text("query,gallery,relevant\ntest-0,test-10,1\ntest-0,test-1,0\n")
    line = "bench --objectives itq --bits 16 --protocols pairs --pairs judged.csv"
    told = run(*line.split())
    assert told.status == 0
    assert "relevant pairs beyond 2" in told.out
    assert "--pairs FILE" in run(*line.split()[:-2]).error
    refused = run(*line.replace("--protocols pairs ", "").split())
    assert (refused.status, "--pairs: of no meaning" in refused.error) == (2, True)


@pytest.mark.usefixtures("striped_data")
def test_a_training_that_diverges_is_told_after_the_report(run: Any) -> None:
    suite = Path("suite.toml")
    diverges = SUITE.replace('"lsh"', '"dch"') + "plan = { learning_rate = 1e39, epochs = 1 }"
    suite.write_text(diverges.replace(', "pixel-sad"', "") + SUITE)
    told = run("bench", "--suite", suite)
    assert told.status == 1
    assert "held-out/small-resnet/dch/" in told.err
    assert "not finite" in told.err
    assert "2 of 3 runs are recorded" in Path("README.md").read_text()


def black_png(side: int) -> bytes:
    """A whole PNG file of one bit a pixel, made without as many bytes in memory."""
    compress = zlib.compressobj(1)
    row = bytes(1 + -(-side // 8))
    parts = [
        (b"IHDR", struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", b"".join(compress.compress(row) for _ in range(side)) + compress.flush()),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def test_an_image_of_900_million_pixels_is_refused(shop: Path, run: Any) -> None:
    Path("huge.png").write_bytes(black_png(30_000))
    told = run("query", "huge.png")
    assert told.status == 1
    assert "huge.png" in told.error
    assert "million pixels; scale it down first" in told.error


def test_an_onnx_model_that_is_no_encoder_is_refused(shop: Path, run: Any, photos: Path) -> None:
    # The record's key stands in the file once; under another name nobody finds it.
    Path("plain.onnx").write_bytes(encoder_bytes().replace(b"\nhashsearch", b"\nsomebodys!"))
    told = run("build-index", photos, "-e", "plain.onnx")
    assert told.status == 1
    assert "is an ONNX model but no hashsearch encoder" in told.error
    assert names("indexes") == ["shop.h5"]


@pytest.mark.parametrize("place", [0.05, 0.3, 0.6, 0.95])
def test_a_flipped_bit_is_found(shop: Path, run: Any, photos: Path, place: float) -> None:
    path = Path("indexes/shop.h5")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    told = run("verify")
    assert told.status == 1
    assert told.err.count("\n") == 1
    assert "shop.h5" in told.err
    # A query may not need the bytes; what it says is right, or an error.
    found = run("query", photos / "dark" / "0.png", "--json")
    if found.status == 0:
        assert found.json["queries"][0]["matches"][0]["id"] == "dark/0.png"
    else:
        assert found.status == 1
        assert "shop.h5" in found.error


def test_two_builds_of_one_gallery_at_once(
    shop: Path, run: Any, photos: Path, encoder_file: Path, slow_build: Any
) -> None:
    slow_build("shop")
    told = run("build-index", photos, "--name", "shop", "-e", encoder_file)
    assert told.status == 1
    assert (
        "another process is writing indexes/shop.h5; wait until it is done"
        in told.error.replace(f"{shop}/", "")
    )


# --- stopping --------------------------------------------------------------------------


@pytest.fixture
def slow_build(tmp_path: Path, encoder_file: Path) -> Iterator[Any]:
    """Starts a build of a gallery of this name that takes its time; gives it when it runs."""
    large = tmp_path / "large.png"
    Image.effect_noise((2500, 2500), 60).save(large, compress_level=1)
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.png").symlink_to(large)
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hashsearch", "build-index", str(folder)]
        # A process that ignores Ctrl-C, as one in the background may, passes that on.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [*command, "--name", name, "-e", str(encoder_file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        signal.signal(signal.SIGINT, before)
        started.append(process)
        lock = tmp_path / "indexes" / f"{name}.h5.lock"
        while not lock.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(0.2)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_build_that_is_killed_leaves_the_old_gallery_whole(
    shop: Path, run: Any, photos: Path, encoder_file: Path, slow_build: Any
) -> None:
    before = Path("indexes/shop.h5").read_bytes()
    process = slow_build("shop")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert Path("indexes/shop.h5").read_bytes() == before
    assert run("query", photos / "dark" / "0.png").status == 0
    assert run("verify").status == 0
    rebuilt = run("build-index", photos / "dark", "--name", "shop", "-e", encoder_file)
    assert rebuilt.status == 0
    assert names("indexes") == ["shop.h5"]
    assert len(Gallery.open("indexes/shop.h5")) == PHOTOS_PER_TYPE


@pytest.mark.parametrize("name", ["shop", "new"])
def test_a_build_that_is_interrupted_says_so_and_leaves_nothing(
    shop: Path, slow_build: Any, name: str
) -> None:
    before = files(shop / "indexes")
    process = slow_build(name)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == ""
    # The terminal has written ^C: the message begins on a line of its own.
    assert err.startswith("\nStopped; nothing is half-written. The same command ")
    assert err.count("\n") == 2
    left = files(shop / "indexes")
    left.pop(f"{name}.h5.encoded", None)  # from which the same command goes on, if there is any
    assert left == before


@pytest.mark.parametrize("command", [["info"], ["query"], ["query", "--json"], ["verify"], []])
def test_a_reader_that_goes_away_is_no_error_to_speak_of(
    shop: Path, photos: Path, command: list[str]
) -> None:
    if "query" in command:
        command = [*command, str(photos / "dark" / "0.png")]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        process = subprocess.run(
            [sys.executable, "-m", "hashsearch", *command],
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert process.stderr == b""


# --- what is imported ------------------------------------------------------------------

IMPORTED = """
import sys
from hashsearch.cli import main
try:
    main(sys.argv[2:])
except SystemExit as left:
    assert left.code == 0
print([name for name in sys.argv[1].split(",") if name in sys.modules], file=sys.stderr)
"""


def test_help_imports_nothing_heavy() -> None:
    heavy = "numpy,faiss,onnxruntime,torch,h5py,PIL,rich,scipy,matplotlib"
    done = python("-c", IMPORTED, heavy, "--help")
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_a_query_imports_no_torch(shop: Path, photos: Path) -> None:
    query = ("query", photos / "dark" / "0.png", "--sheet", "sheet.png")
    done = python("-c", IMPORTED, "torch,torchvision,onnx,matplotlib,scipy,numpy", *query)
    assert (done.returncode, done.stderr) == (0, "Wrote sheet.png\n['numpy']\n")


# --- training --------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def idx_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See :func:`write_fashion_mnist`."""
    return write_fashion_mnist(tmp_path_factory.mktemp("idx"))


def test_the_options_of_train_have_the_defaults_of_a_plan() -> None:
    options = {option.name: option.default for option in cli.commands["train"].params}
    plan = {"bits" if name == "n_bits" else name: v for name, v in vars(TrainingPlan()).items()}
    shared = (options.keys() & plan.keys()) - {"weights", "constants"}  # written in another way
    assert len(shared) == 16
    assert {name: options[name] for name in shared} == {name: plan[name] for name in shared}


def test_training_stops_and_goes_on_and_makes_an_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, idx_files: Path, photos: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "train --out own.onnx --bits 16 --fine-bits 8 --precision float32 --device cpu"
    train = (
        *line.split(),
        "--data-dir",
        idx_files,
        "--batch-size",
        "50",
        "--epochs",
        "1",
        "--settle-epochs",
        "0",
        "--constant",
        "gamma=9",
        "--constant",
        "settled_gamma=1",
    )
    # Ctrl-C behind the last epoch, before the encoder is written.
    command = [sys.executable, "-m", "hashsearch", *map(str, train)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    begun, epoch = (process.stderr.readline().rstrip("\n") for _ in range(2))
    process.send_signal(signal.SIGINT)
    told = process.communicate()[1].strip()
    assert process.returncode == 1
    assert begun.startswith("Training: epoch 1 of 1, ")
    assert epoch.startswith("epoch 1/1  ")
    assert told.startswith("Stopped; nothing is half-written. ")
    assert names() == ["own.onnx.checkpoint"]

    other = run(*train, "--seed", "1")
    assert other.status == 1
    assert "own.onnx.checkpoint" in other.error

    done = run(*train)
    assert done.status == 0
    # The epoch that was done is told again, as it was.
    assert done.err.splitlines() == [epoch]
    assert re.match(r"own\.onnx: validation mAP [01]\.\d{4} \(epoch 1\)", done.out)
    assert names() == ["own.onnx"]
    encoder = Encoder.load("own.onnx")
    assert (encoder.n_bits, encoder.fine_bits, encoder.record.seed) == (16, 8, 0)
    assert encoder.record.dataset == "fashion-mnist"
    constants = encoder.record.training["constants"]
    assert (constants["gamma"], constants["settled_gamma"]) == (9.0, 1.0)
    assert run("build-index", photos, "-e", "own.onnx").status == 0


FITTED = {
    "--objective lsh --bits 16": ("pixels", 1, []),
    "--objective itq --bits 8 --seed 3": ("pixels", 1, ["quantisation"]),
    "--objective semantic-hashing --bits 16 --epochs 1 --batch-size 50 --fine-bits 0": (
        "logistic layers",
        4,
        ["reconstruction"],
    ),
}


@pytest.mark.parametrize("line", FITTED)
def test_what_is_fitted_becomes_an_encoder_like_any_other(
    bare: Path, run: Any, idx_files: Path, photos: Path, line: str
) -> None:
    backbone, epochs, terms = FITTED[line]
    # The state of a stopped run of another objective is not this one's to remove.
    Path("own.onnx.checkpoint").touch()
    done = run("train", "--out", "own.onnx", "--data-dir", idx_files, *line.split())
    assert done.status == 0
    *begun, epoch = done.err.splitlines()
    assert all(line.startswith(f"Training: epoch 1 of {epochs}, ") for line in begun)
    assert epoch.startswith(f"epoch {epochs}/{epochs}  {''.join(terms)} ")
    assert re.match(rf"own\.onnx: validation mAP [01]\.\d{{4}} \(epoch {epochs}\)", done.out)
    assert names() == ["own.onnx", "own.onnx.checkpoint"]
    record = Encoder.load("own.onnx").record
    options = dict(zip(line.split()[::2], line.split()[1::2], strict=True))
    assert record.objective == record.training["objective"] == options["--objective"]
    assert (record.n_bits, record.fine_bits) == (int(options["--bits"]), 0)
    assert record.seed == int(options.get("--seed", 0))
    assert (record.backbone, record.neighbour_rule, record.weights) == (backbone, "none", {})
    assert record.training["train_images"] == 100
    assert len(record.training["train_images_sha256"]) == 64
    assert record.training["seconds"] > 0
    (report,) = record.training["history"]
    assert record.figures == {"validation_map": report["validation_map"]}
    assert list(report["terms"]) == terms
    assert run("build-index", photos, "-e", "own.onnx").status == 0


@pytest.mark.parametrize(
    ("options", "mend"),
    [
        ("--weight nothing=1", "has no term 'nothing'"),
        ("--without nothing", "has no term 'nothing'"),
        ("--constant nothing=1", "has no constant 'nothing'; it has gamma, settled_gamma"),
        ("--constant gamma=0", "gamma must be a number above 0"),
        ("--bits 7", "multiple of 8"),
        ("--backbone huge", "unknown backbone 'huge'; known: "),
        ("--batch-size 5000", "lower --batch-size"),
        ("--out file/own.onnx", "choose a writable folder"),
    ],
)
def test_bad_training_plans_are_told_in_one_line(
    bare: Path, run: Any, idx_files: Path, options: str, mend: str
) -> None:
    Path("file").touch()
    line = "train --out own.onnx --device cpu --precision float32 --batch-size 50 --data-dir"
    told = run(*line.split(), idx_files, *options.split())
    assert told.status == 1
    assert mend in told.error
    assert names() == ["file"]
