"""The command that looks at codes: verdict, page, plots, document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_reader import Read, assert_whole
from PIL import Image

from hashsearch.codes import pack_bits
from hashsearch.gallery import Gallery
from hashsearch.images import read_image

PLOTS = ["bits", "codes", "confusion", "correlation", "distances", "map", "radius"]
HOSTILE = ["<script>alert(1)</script>", "$\\frac{", "[red]x", "Größe 服装"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name: str, n_items: int = 120, **facts: Any) -> Gallery:
    rng = np.random.default_rng(0)
    label = np.arange(n_items) % len(HOSTILE)
    bits = (rng.random((len(HOSTILE), 16)) < 0.5)[label] ^ (rng.random((n_items, 16)) < 0.05)
    if facts.get("fine_bits", 8):
        bits = np.hstack([bits, rng.random((n_items, 8)) < 0.5])
    facts = {"n_bits": 16, "fine_bits": 8, **facts}
    gallery = Gallery.from_codes(pack_bits(bits), **facts)
    gallery.save(f"indexes/{name}.h5")
    return gallery


def labels_of(n_items: int = 120) -> list[str]:
    return [HOSTILE[row % len(HOSTILE)] for row in range(n_items)]


def plots(folder: str, stem: str = "inspect") -> list[str]:
    return sorted(path.stem.removeprefix(f"{stem}-") for path in Path(folder).glob(f"{stem}-*.png"))


def test_a_shop_is_inspected_with_its_pictures(shop: Path, run: Any) -> None:
    done = run("inspect", "shop", "--out", "report")
    assert done.status == 0
    assert "Codes of shop: 16 items" in done.out
    assert "Fewer than 20 items prove nothing of their codes." in done.out
    assert re.search(r"│ mAP, by distance +│ [01]\.\d", done.out)
    assert done.err.splitlines()[-1].startswith("Wrote report/inspect.html, report/inspect-map.png")
    page = Path("report/inspect.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 4
    assert "dark/0.png" in page
    assert plots("report") == PLOTS
    for name in PLOTS:
        assert read_image(Path(f"report/inspect-{name}.png")).size == (1080, 800)


def test_hostile_labels_and_ids_are_text_everywhere(run: Any) -> None:
    save("odd", labels=labels_of(), ids=[f"<img src=x onerror=alert({row})>" for row in range(120)])
    done = run("inspect", "--out", "odd.html")
    assert done.status == 0
    page = Read(Path("odd.html").read_bytes())
    assert_whole(page)
    assert page.text.count("<script>alert(1)</script>") > 1
    assert "<img src=x onerror=alert(" in page.text
    assert plots(".", "odd") == PLOTS


def test_one_document_holds_all_figures(run: Any) -> None:
    save("codes", labels=labels_of())
    done = run("inspect", "codes", "--json", "--radius", "3", "--queries", "20", "--seed", "4")
    document = done.json
    assert document["format"] == "hashsearch-inspection"
    assert document["settings"] == {
        "radius": 3,
        "queries": 20,
        "searched": 100,
        "bits_of_items": 120,
        "seed": 4,
    }
    assert document["gallery"]["items"] == 120
    figures = {figure["name"]: figure for figure in document["figures"]}
    assert document["judgement"].startswith("Good codes")
    assert figures["recall_within"]["value"] == document["quality"]["recall_within"]["value"]
    assert len(document["ones"]) == 24
    assert len(document["worst"]) == len(document["best"]) == 4
    assert len(document["worst"][0]["first_ids"]) == 8
    assert "trained on these very images" in document["notes"][-1]
    assert Path("benchmarks/results/codes/inspect.html").is_file()


def test_without_labels_what_needs_them_is_left_out_and_its_old_plots_go(run: Any) -> None:
    save("codes", labels=labels_of())
    assert run("inspect", "--out", "here").status == 0
    assert plots("here") == PLOTS
    save("codes")
    done = run("inspect", "--out", "here")
    assert "no item has a label: precision, recall, " in done.out
    assert "mAP" not in done.out
    assert "Nothing stands out." in Path("here/inspect.html").read_text()
    assert plots("here") == ["bits", "codes", "correlation", "distances", "map"]
    page = Path("here/inspect.html").read_text()
    assert "Worst" not in page
    assert "no item has a label" in page


def test_without_fine_bits(run: Any) -> None:
    save("plain", fine_bits=0, labels=labels_of())
    done = run("inspect", "plain", "--out", "here")
    assert done.status == 0
    assert "fine bit" not in done.out
    assert "16 + 0 bits" in done.out


def test_one_item_says_that_there_is_nothing_to_compare(run: Any) -> None:
    save("one", 1, labels=["coat"])
    done = run("inspect", "one", "--out", "here")
    assert done.status == 0
    assert "one item has no others to be compared with" in done.out
    assert "!" not in done.out
    assert "Codes of one: 1 item, 16 + 8 bits" in done.out
    assert "Fewer than 20 items prove nothing" in Path("here/inspect.html").read_text()
    assert plots("here") == ["bits"]
    assert run("inspect", "one", "--out", "here", "--json").json["quality"] is None


def test_pictures_are_of_files_where_there_are_no_thumbnails(run: Any) -> None:
    Image.new("RGB", (40, 40), (200, 30, 30)).save("red.png")
    save("codes", labels=labels_of(), paths=["red.png", "gone.png"] * 60)
    run("inspect", "codes", "--out", "p.html")
    page = Read(Path("p.html").read_bytes())
    assert any(str(shown["src"]).startswith("data:image/jpeg") for shown in page.all("img"))
    assert "blank" in [box.get("class") for box in page.all("div")]


def test_without_any_picture_none_are_shown(run: Any) -> None:
    save("codes", labels=labels_of())
    run("inspect", "codes", "--out", "p.html")
    page = Read(Path("p.html").read_bytes())
    assert "no thumbnails, and no images are at hand" in page.text
    assert "blank" not in [box.get("class") for box in page.all("div")]


def test_what_cannot_be_inspected_is_told(run: Any) -> None:
    assert "no gallery in indexes/" in run("inspect").error
    save("codes")
    assert "there are: codes" in run("inspect", "other").error
    Path("file").touch()
    assert "choose a writable folder" in run("inspect", "--out", "file/x.html").error
    assert run("inspect", "--queries", "0").status == 2
