"""Galleries for other programs, and back."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet
import pytest

from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError, CodesError, DatasetError, EncoderMismatch, ExtraMissing
from hashsearch.gallery import Gallery, export_gallery, import_gallery

if TYPE_CHECKING:
    from pathlib import Path

CODES = np.arange(24, dtype=np.uint8).reshape(4, 6)


def gallery(**columns: Any) -> Gallery:
    return Gallery.from_codes(
        CODES,
        n_bits=16,
        fine_bits=32,
        ids=["ä", "b", "c", "d"],
        encoder_name="shop",
        encoder_fingerprint=64 * "f",
        **columns,
    )


def facts(gallery: Gallery) -> list[Any]:
    return [
        gallery.codes().tolist(),
        gallery.ids(),
        gallery.labels(),
        gallery.paths(),
        gallery.n_bits,
        gallery.fine_bits,
        gallery.encoder_name,
        gallery.encoder_fingerprint,
        {name: gallery.column(name) for name in gallery.column_names},
    ]


@pytest.mark.parametrize("name", ["folder", "file.parquet"])
@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"labels": ["Bag", None, "Coat", None]},
        {"labels": [*"aabb"], "paths": [*"123", None]},
        {"columns": {"price / EUR": ["1", None, "2", "2"], ".": [*"wxyz"], "né%2F": [*"aaaa"]}},
    ],
)
def test_what_is_exported_comes_back(tmp_path: Path, name: str, columns: dict[str, Any]) -> None:
    written = gallery(**columns)
    files = export_gallery(written, tmp_path / name)
    assert all(file.is_file() for file in files)
    assert facts(import_gallery(tmp_path / name)) == facts(written)


def test_an_export_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    export_gallery(gallery(labels=[*"aabb"], paths=[*"1234"]), tmp_path)
    export_gallery(gallery(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"codes.npy", "ids.npy", "gallery.json"}


def test_other_programs_read_it(tmp_path: Path) -> None:
    written = gallery(labels=["Bag", None, "Coat", None])
    export_gallery(written, tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), written.codes())
    assert np.load(tmp_path / "labels.npy").tolist() == [label or "" for label in written.labels()]
    export_gallery(written, tmp_path / "shop.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "shop.parquet")
    assert table.column_names == ["id", "label", "code"]
    assert table.to_pylist()[1] == {
        "id": written.ids([1])[0],
        "label": written.labels([1])[0],
        "code": written.codes([1]).tobytes(),
    }


def test_codes_from_anywhere(tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", CODES)
    np.save(tmp_path / "ids.npy", np.array(["w", "x", "y", "z"]))
    np.save(tmp_path / "labels.npy", np.array(["Bag", "", "", "Coat"]))
    alone = import_gallery(tmp_path / "codes.npy", n_bits=16)
    assert (alone.ids(), alone.n_bits, alone.fine_bits) == ([*"0123"], 16, 32)
    whole = import_gallery(
        tmp_path / "codes.npy", n_bits=48, ids=tmp_path / "ids.npy", labels=tmp_path / "labels.npy"
    )
    assert (whole.ids(), whole.fine_bits) == ([*"wxyz"], 0)
    assert whole.labels() == ["Bag", None, None, "Coat"]


def test_a_slice_of_a_parquet_file_is_read_as_it_stands(tmp_path: Path) -> None:
    export_gallery(gallery(), tmp_path / "all.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    pyarrow.parquet.write_table(table.slice(1, 2), tmp_path / "some.parquet")
    some = import_gallery(tmp_path / "some.parquet", n_bits=16)
    assert facts(some)[:2] == [gallery().codes([1, 2]).tolist(), gallery().ids([1, 2])]


def test_an_export_that_was_stopped_is_not_read(tmp_path: Path) -> None:
    export_gallery(gallery(), tmp_path)
    (tmp_path / "gallery.json").unlink()
    assert "the export was stopped" in refused(tmp_path, n_bits=16)
    export_gallery(gallery(), tmp_path / "other")
    (tmp_path / "other" / "ids.npy").unlink()
    assert "ids.npy" in refused(tmp_path / "other")


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(3))
    with pytest.raises(ArgumentError, match=r"holds labels\.npy, and not from an export"):
        export_gallery(gallery(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.npy"]
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below", "file/x.parquet"):
        with pytest.raises(ArgumentError, match="cannot write"):
            export_gallery(gallery(), tmp_path / place)


def test_bits_that_are_given_go_before_the_recorded_ones(tmp_path: Path) -> None:
    export_gallery(gallery(), tmp_path)
    again = import_gallery(tmp_path, n_bits=24)
    assert (again.n_bits, again.fine_bits) == (24, 24)
    assert again.encoder_fingerprint is None  # that encoder's codes divide otherwise
    assert import_gallery(tmp_path, n_bits=16, fine_bits=32).encoder_name == "shop"


def test_the_encoder_that_made_the_codes(tmp_path: Path, encoder_file: Path) -> None:
    encoder = Encoder.load(encoder_file)
    codes = encoder.encode_pixels(np.zeros((2, 1, 28, 28), np.uint8))
    np.save(tmp_path / "codes.npy", codes)
    made = import_gallery(tmp_path / "codes.npy", encoder=encoder)
    assert (made.n_bits, made.fine_bits) == (encoder.n_bits, encoder.fine_bits)
    assert made.encoder_fingerprint == encoder.fingerprint
    export_gallery(gallery(), tmp_path / "shop")
    with pytest.raises(EncoderMismatch, match="holds codes of encoder ffffffffffff, not of"):
        import_gallery(tmp_path / "shop", encoder=encoder)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ExtraMissing, match=r"Parquet needs the package pyarrow.*\[parquet\]"):
        export_gallery(gallery(), tmp_path / "x.parquet")
    with pytest.raises(ExtraMissing, match=r"Parquet needs the package pyarrow"):
        import_gallery(tmp_path / "x.parquet")


def refused(path: Path, **arguments: Any) -> str:
    with pytest.raises((ArgumentError, CodesError, DatasetError)) as caught:
        import_gallery(path, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_codes_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "codes.npy"
    assert "No such file" in refused(path, n_bits=16)
    path.write_bytes(b"no array")
    assert "cannot read" in refused(path, n_bits=16)
    np.save(path, np.array([{}], object), allow_pickle=True)
    assert "cannot read" in refused(path, n_bits=16)
    np.save(path, CODES.astype(np.int64))
    assert "must be a uint8 array" in refused(path, n_bits=16)
    np.save(path, CODES)
    assert "give --bits" in refused(path)
    assert "48 + 48 bits need 12" in refused(path, n_bits=48, fine_bits=48)
    assert "must hold texts" in refused(path, n_bits=16, ids=path)
    path.write_bytes(b"PK\x03\x04 and no more")
    assert "cannot read" in refused(path, n_bits=16)
    with path.open("wb") as file:
        np.savez(file, codes=CODES)
    assert "is an archive" in refused(path, n_bits=16)


def test_records_that_are_none(tmp_path: Path) -> None:
    export_gallery(gallery(), tmp_path)
    record = tmp_path / "gallery.json"
    whole = json.loads(record.read_text())
    for wrong in (
        "{",
        "[]",
        json.dumps({**whole, "n_bits": "16"}),
        json.dumps({**whole, "files": 1}),
    ):
        record.write_text(wrong)
        assert "export the gallery again" in refused(tmp_path)


def test_parquet_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    assert "cannot read" in refused(path)
    path.write_bytes(b"PAR1 and no more")
    assert "cannot read" in refused(path)
    code = pyarrow.array([b"abcdef"], pyarrow.binary(6))
    for columns, message in (
        ({"id": ["a"]}, "has no column code"),
        ({"id": ["a"], "code": ["abcdef"]}, "column code must be fixed-size binary"),
        (
            {"id": pyarrow.array([None], pyarrow.string()), "code": code},
            "column id must be strings",
        ),
        ({"id": ["a"], "label": [0], "code": code}, "column label must be strings"),
    ):
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        assert message in refused(path, n_bits=16)
    table = pyarrow.table({"code": code})
    for record in ("{", '{"n_bits": "16"}'):
        pyarrow.parquet.write_table(table.replace_schema_metadata({"hashsearch": record}), path)
        assert str(path) in refused(path, n_bits=16)
