"""The torture set in part, and that a reader that gets it wrong would be told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from hashsearch.bench import torture as module
from hashsearch.bench.torture import OUTCOMES, lines, torture
from hashsearch.bench.torture_files import Specimen, specimens
from hashsearch.errors import ImageError
from hashsearch.images import read_image, to_pixels

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.images import Preprocessing

GOOD = {"read right", "named"}


@pytest.fixture(scope="module")
def files() -> list[Specimen]:
    return specimens()


@pytest.fixture(scope="module")
def few(files: list[Specimen]) -> list[Specimen]:
    """Some small files of each format, whole and damaged."""
    return [file for file in files if len(file.content) < 20_000][::7]


def test_the_set_is_large_and_its_files_have_their_own_names(files: list[Specimen]) -> None:
    assert len(files) >= 300
    assert len({file.name for file in files}) == len(files)
    assert sum(file.picture is None for file in files) > 100


def test_all_files_come_out_as_they_should(files: list[Specimen], tmp_path: Path) -> None:
    report = torture(tmp_path, files[::4])
    assert report["failures"] == {}
    assert report["files"] == sum(report["outcomes"].values()) == len(files[::4])
    assert report["outcomes"].keys() == OUTCOMES.keys()
    assert {name for name, count in report["outcomes"].items() if count} == GOOD
    for name, count in report["outcomes"].items():
        assert sum(each[name] for each in report["formats"].values()) == count
    assert {path.name for path in tmp_path.iterdir()} == {file.name for file in files[::4]}


def outcomes(folder: Path, files: list[Specimen], **readers: Any) -> dict[str, int]:
    found: dict[str, int] = torture(folder, files, **readers)["outcomes"]
    return {name: count for name, count in found.items() if count}


def test_a_mirrored_picture_is_wrong(few: list[Specimen], tmp_path: Path) -> None:
    def mirrored(path: Path) -> Image.Image:
        return read_image(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    whole = [file for file in few if file.picture is not None and file.picture.shape[1] > 1]
    assert outcomes(tmp_path, whole, read=mirrored) == {"read wrong": len(whole)}


def test_pixels_that_are_off_are_wrong(few: list[Specimen], tmp_path: Path) -> None:
    def dark(path: Path, preprocessing: Preprocessing) -> Any:
        return to_pixels(path, preprocessing) // 2

    whole = [file for file in few if file.picture is not None]
    assert outcomes(tmp_path, whole, prepare=dark) == {"read wrong": len(whole)}


def test_a_reader_that_leaves_it_to_pillow_gets_some_wrong(
    files: list[Specimen], tmp_path: Path
) -> None:
    def plain(path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image.convert("RGB")

    names = {"png-alpha8.png", "png-grey16.png", "png-turned6.png", "gif-part-of-canvas.gif"}
    some = [file for file in files if file.name in {*names, "png-colour8.png"}]
    report = torture(tmp_path, some, read=plain)
    assert set(report["failures"].pop("read wrong")) == names
    assert report["failures"] == {}


def test_a_reader_that_reads_everything_is_told(few: list[Specimen], tmp_path: Path) -> None:
    bad = [file for file in few if file.picture is None]

    def white(path: Path) -> Image.Image:
        return Image.new("RGB", (64, 48), "white")

    assert outcomes(tmp_path, bad, read=white) == {"accepted": len(bad)}


@pytest.mark.parametrize(
    ("message", "outcome"),
    [("{path} is bad", "named"), ("a bad file", "unnamed"), ("{path}\nis bad", "unnamed")],
)
def test_a_reader_that_refuses_everything_is_told(
    message: str, outcome: str, few: list[Specimen], tmp_path: Path
) -> None:
    def refuse(path: Path) -> Image.Image:
        raise ImageError(message.format(path=path))

    bad = sum(file.picture is None for file in few)
    expected = {"refused": len(few) - bad, outcome: bad}
    assert outcomes(tmp_path, few, read=refuse) == expected


def test_a_reader_that_crashes_is_told(few: list[Specimen], tmp_path: Path) -> None:
    def crash(path: Path) -> Image.Image:
        raise ZeroDivisionError

    report = torture(tmp_path, few, read=crash)
    assert report["failures"] == {"crashed": [file.name for file in few]}


def test_the_report_is_a_table_and_names_what_failed(tmp_path: Path) -> None:
    picture = np.full((4, 6, 3), 255, np.uint8)
    wrong = Specimen("png-black.png", b"", picture)
    report = torture(tmp_path, [wrong, Specimen("foreign-empty.jpg", b"", None)])
    head, *rows, total, failed = lines(report)
    assert head.split()[:2] == ["format", "files"]
    assert [row.split()[:2] for row in rows] == [["png", "1"], ["foreign", "1"]]
    assert total.split()[:2] == ["all", "2"]
    assert failed == "refused (a whole file was refused): png-black.png"


def test_the_command_writes_files_and_report(
    few: list[Specimen],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "specimens", lambda: few)
    folder, out = tmp_path / "set", tmp_path / "torture.json"
    monkeypatch.setattr("sys.argv", ["torture", "--folder", str(folder), "--out", str(out)])
    module._main()
    report = json.loads(out.read_text())
    assert report["files"] == len(few)
    assert {path.name for path in folder.iterdir()} == {file.name for file in few}
    assert capsys.readouterr().out.splitlines() == list(lines(report))
