from __future__ import annotations

import base64
import hashlib
import io
import re

from page_reader import Read, assert_whole
from PIL import Image

from hashsearch.bench.page import (
    element,
    figure,
    image,
    markdown_page,
    page,
    report_page,
    table_element,
)
from hashsearch.bench.tables import Table

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)>&\"'\0\x1b[31m"


def png(width: int = 40, height: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_hostile_texts_stay_texts() -> None:
    table = Table(HOSTILE, (HOSTILE, "b"), ((HOSTILE, "1"),), HOSTILE)
    content = page(
        HOSTILE,
        [
            element("p", HOSTILE, title=HOSTILE),
            table_element(table),
            figure(png(), HOSTILE, HOSTILE),
            image(b"jpeg", HOSTILE),
        ],
    )
    read = Read(content)
    assert_whole(read)
    # As a heading, a title, a paragraph, in four parts of a table and a caption.
    assert read.text.count("<script>alert(1)</script>") == 8
    assert b"\0" not in content
    assert b"\x1b" not in content
    assert read.all("p")[0]["title"] == HOSTILE.replace("\0", "�").replace("\x1b", "�")


def test_the_policy_allows_the_style_of_the_page_alone() -> None:
    text = page("a", []).decode()
    (style,) = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in text


def test_a_name_that_is_no_utf_8_is_escaped() -> None:
    assert b"\\udcff" in page("a\udcff", [])


def test_a_plot_says_its_size_and_is_in_the_page() -> None:
    content = png(1080, 800)
    (shown,) = Read(page("a", [figure(content, "a plot", scale=2)])).all("img")
    assert (shown["width"], shown["height"], shown["alt"]) == ("540", "400", "a plot")
    assert base64.b64decode(str(shown["src"]).partition(",")[2]) == content


def test_a_report_has_its_tables_plots_and_notes() -> None:
    tables = [Table("Quality", ("gallery", "mAP"), (("at hand", "0.9"),), "tie-aware")]
    read = Read(report_page("Benchmark", "2 cores", tables, {"big-radius.png": png()}, ["a note"]))
    assert_whole(read)
    for text in ("Benchmark", "2 cores", "Quality", "at hand", "tie-aware", "a note"):
        assert text in read.text
    assert [shown["alt"] for shown in read.all("img")] == ["Plot: big radius"]


MARKDOWN = """# Runs of <b>all</b>

See [METHOD.md](METHOD.md) and [the paper](https://arxiv.org/abs/1907.00382), `a & b`.

| system | mAP |
| --- | ---: |
| dch | 0.9 |
| itq | less, and this goes on for longer than a number does |

![radius](recorded/plots/radius.png)

Behind it.
"""


def test_a_report_in_markdown_becomes_a_whole_page() -> None:
    read = Read(markdown_page(MARKDOWN, {"radius.png": png()}))
    assert_whole(read)
    assert read.text.count("Runs of <b>all</b>") == 2  # the title of the window, the heading
    assert read.text.count("dch") == read.text.count("Behind it.") == 1
    assert "a & b" in read.text
    assert [link.get("href") for link in read.all("a")] == [
        None,
        "https://arxiv.org/abs/1907.00382",
    ]
    assert [cell.get("class") for cell in read.all("td")] == ["text", None, "text", "folds"]
    assert [shown["alt"] for shown in read.all("img")] == ["radius"]


def test_a_script_in_a_link_of_markdown_is_no_link() -> None:
    read = Read(markdown_page("# a\n\n[x](javascript:alert(1)) <script>alert(1)</script>", {}))
    assert_whole(read)
    assert read.all("a") == []
