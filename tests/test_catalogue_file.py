from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_fixtures import jpeg

from hashsearch.datasets.catalogue_file import read_catalogue_file
from hashsearch.datasets.item import Item, read_item
from hashsearch.errors import ArgumentError, DatasetError, DatasetMissing, ExtraMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FULL = (
    "image,id,label,item,split,attributes,colour,price\n"
    "a/1.jpg,one,Dress,d-7,train,cotton|long sleeve,red,20\n"
    "/else/2.jpg,two,,,Gallery,,,\n"
)


def table(folder: Path, text: str, name: str = "shop.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def parquet(folder: Path, columns: Mapping[str, Any]) -> Path:
    path = folder / "shop.parquet"
    pq.write_table(pa.table(dict(columns)), path)
    return path


def items_of(path: Path, **columns: str) -> list[Item]:
    return list(read_catalogue_file(path, columns).items)


def test_an_item_says_what_its_row_says(tmp_path: Path) -> None:
    catalogue = read_catalogue_file(table(tmp_path, FULL))
    assert catalogue.name == "shop.csv"
    assert catalogue.items == [
        Item(
            id="one",
            image=str(tmp_path / "a/1.jpg"),
            label="Dress",
            path=str(tmp_path / "a/1.jpg"),
            key="d-7",
            split="train",
            attributes=("cotton", "long sleeve"),
            columns={"colour": "red", "price": "20"},
        ),
        Item(id="two", image="/else/2.jpg", path="/else/2.jpg", split="gallery"),
    ]


def test_tsv_and_parquet_say_the_same(tmp_path: Path) -> None:
    expected = items_of(table(tmp_path, FULL))
    assert items_of(table(tmp_path, FULL.replace(",", "\t"), "shop.TSV")) == expected
    names, *rows = csv.reader(FULL.splitlines())
    columns = {
        name: [value or None for value in values]
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
    assert items_of(parquet(tmp_path, columns)) == expected


def test_parquet_of_numbers_lists_and_categories(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        {
            "path": ["a.jpg", "b.jpg"],
            "id": [7, 8],
            "label": pa.array(["Dress", None]).dictionary_encode(),
            "attributes": [["cotton", "blue"], None],
            "price": [1.5, None],
            "sold": [True, False],
        },
    )
    one, other = items_of(path)
    assert (one.id, one.label, one.attributes) == ("7", "Dress", ("cotton", "blue"))
    assert one.columns == {"price": "1.5", "sold": "true"}
    assert (other.label, other.attributes, other.columns) == (None, (), {"sold": "false"})


def test_parquet_of_more_rows_than_are_read_at_once(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(70_000)]
    assert [item.id for item in items_of(parquet(tmp_path, {"image": names}))] == names


def test_images_lie_beside_the_table_wherever_it_is_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpeg(tmp_path / "data" / "photos" / "1.jpg")
    table(tmp_path / "data", "image\nphotos/1.jpg\n")
    monkeypatch.chdir(tmp_path)
    (item,) = items_of(Path("data/shop.csv"))
    assert item.path == str(tmp_path / "data" / "photos" / "1.jpg")
    assert read_item(item).size == (12, 16)


@pytest.mark.parametrize(
    ("header", "role", "value"),
    [
        ("IMAGE,x", "id", "a.jpg"),
        ("Photo,Sku", "id", "b"),
        (" path , Category ", "label", "b"),
        ("file,type,category", "label", "b"),
        ("filename,Article", "key", "b"),
        ("image_path,article", "key", "b"),
        ("image,path", "id", "a.jpg"),
        ("image,tags", "attributes", ("b",)),
    ],
)
def test_columns_are_known_by_their_usual_names(
    tmp_path: Path, header: str, role: str, value: object
) -> None:
    row = ",".join(["a.jpg", "b", "c"][: header.count(",") + 1])
    (item,) = items_of(table(tmp_path, f"{header}\n{row}\n"))
    assert item.path == str(tmp_path / "a.jpg")
    assert getattr(item, role) == value


def test_named_columns_go_before_usual_ones(tmp_path: Path) -> None:
    path = table(tmp_path, "image,bild,id,label,Sorte\na.jpg,b.jpg,1,Kleid,Rock\n")
    (item,) = items_of(path, image="bild", label="sorte")
    assert (item.path, item.label, item.id) == (str(tmp_path / "b.jpg"), "Rock", "1")
    assert item.columns == {"image": "a.jpg", "label": "Kleid"}


def test_one_column_can_have_two_roles(tmp_path: Path) -> None:
    (item,) = items_of(table(tmp_path, "image,sku\na.jpg,7\n"), id="sku", item="sku")
    assert (item.id, item.key, item.columns) == ("7", "7", {})


def test_a_column_without_a_name_is_passed_over(tmp_path: Path) -> None:
    (item,) = items_of(table(tmp_path, ",image,\n0,a.jpg,x\n"))
    assert item.columns == {}


@pytest.mark.parametrize(
    ("cell", "split"),
    [
        ("train", "train"),
        ("VAL", "validation"),
        (" validation ", "validation"),
        ("query", "query"),
        ("gallery", "gallery"),
        ("", None),
    ],
)
def test_the_parts_of_a_split(tmp_path: Path, cell: str, split: str | None) -> None:
    (item,) = items_of(table(tmp_path, f"image,split\na.jpg,{cell}\n"))
    assert item.split == split


@pytest.mark.parametrize(
    ("cell", "attributes"),
    [("a|b", ("a", "b")), ("a; b ;;a", ("a", "b")), ("a b|c", ("a b", "c")), (" | ", ()), ("", ())],
)
def test_attributes_are_names_each_once(
    tmp_path: Path, cell: str, attributes: tuple[str, ...]
) -> None:
    (item,) = items_of(table(tmp_path, f"image,attributes\na.jpg,{cell}\n"))
    assert item.attributes == attributes


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = words.filter(lambda text: bool(text.strip()))


@given(
    st.dictionaries(
        names,
        st.fixed_dictionaries(
            {
                "image": names,
                "label": words,
                "item": words,
                "split": st.sampled_from(["train", "validation", "query", "gallery", ""]),
                "attributes": st.lists(st.sampled_from(["cotton", "long sleeve", "Größe, 38"])),
                "Farbe": words,
            }
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["excel", "unix"]),
    st.sampled_from([".csv", ".tsv"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_a_csv_writer_wrote_is_read(
    tmp_path: Path, rows: dict[str, dict[str, Any]], dialect: str, ending: str
) -> None:
    path = tmp_path / f"shop{ending}"
    with path.open("w", newline="", encoding="utf-8") as stream:
        columns = ["id", "image", "label", "item", "split", "attributes", "Farbe"]
        delimiter = "\t" if ending == ".tsv" else ","
        writer = csv.DictWriter(stream, columns, dialect=dialect, delimiter=delimiter)
        writer.writeheader()
        for id_, row in rows.items():
            writer.writerow({**row, "id": id_, "attributes": "|".join(row["attributes"])})
    assert items_of(path) == [
        Item(
            id=id_,
            image=(
                image := row["image"] if row["image"][0] == "/" else f"{tmp_path}/{row['image']}"
            ),
            label=row["label"] or None,
            path=image,
            key=row["item"] or None,
            split=row["split"] or None,
            attributes=tuple(dict.fromkeys(row["attributes"])),
            columns={"Farbe": row["Farbe"]} if row["Farbe"] else {},
        )
        for id_, row in rows.items()
    ]


HEADER = "image,id,split\n"
WRONG = {
    "empty": ("", "shop.csv is empty; name its columns in the first line"),
    "header only": (HEADER, "shop.csv lists no item; write one a row under its header"),
    "no image column": (
        "bild,label\na.jpg,Kleid\n",
        "line 1: no column is called image or path or .*; say which .* columns: bild, label",
    ),
    "column twice": ("image,price,Price\na,1,2\n", "line 1: more than one column is called price"),
    "no image": (HEADER + "a.jpg,1,\n ,2,\n", "line 3: has no image; give it one, or remove it"),
    "no id": (HEADER + "a.jpg,,\n", "line 2: has no id; give it one"),
    "id twice": (
        HEADER + "a.jpg,1,\n\nb.jpg,2,\nc.jpg,1,\n",
        "line 5: repeats the id '1' of line 2; remove one of them, or tell them apart by an id",
    ),
    "image twice": ("image\na.jpg\na.jpg\n", "line 3: repeats the image 'a.jpg' of line 2"),
    "split": (
        HEADER + "a.jpg,1,dev\n",
        "line 2: split is 'dev'; write one of train, validation, query, gallery, val, test, or",
    ),
    "cut short": (HEADER + "a.jpg,1\n", "line 2: the number of values is 2, .* 3; give each"),
    "open quote": (HEADER + '"a.jpg,1,\n', r"line 2: is not CSV \(.*\); mend the quotes"),
    "behind two lines": (HEADER + '"a\nb",1,\nc,1,\n', "line 4: repeats the id '1' of line 2"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_line_and_the_mend(tmp_path: Path, case: str) -> None:
    text, said = WRONG[case]
    path = table(tmp_path, text)
    with pytest.raises(DatasetError, match=said) as refused:
        read_catalogue_file(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_another_encoding_is_told_with_its_line_also_far_below(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    lines = [f"{number}.jpg" for number in range(20_000)]
    path.write_bytes("\n".join(["image", *lines, "Größe.jpg"]).encode("latin-1"))
    with pytest.raises(DatasetError, match="line 20002: is not UTF-8 text; save the file as UTF-8"):
        read_catalogue_file(path)


def test_a_tab_is_named_where_it_parts_the_values(tmp_path: Path) -> None:
    path = table(tmp_path, "image\tid\na.jpg\n", "shop.tsv")
    with pytest.raises(DatasetError, match="put one that holds a tab in quotes"):
        read_catalogue_file(path)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": "photo"}, "no column 'photo' for the image; its columns: image, id, split"),
        ({"colour": "id"}, "unknown role 'colour' of a column; known: image, id, label, item"),
    ],
)
def test_a_role_or_column_that_is_not_there_is_refused(
    tmp_path: Path, columns: dict[str, str], said: str
) -> None:
    with pytest.raises(ArgumentError, match=said):
        read_catalogue_file(table(tmp_path, HEADER + "a.jpg,1,\n"), columns)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": ["a.jpg", None]}, "row 2: has no image; give it one"),
        ({"image": ["a.jpg"] * 2}, r"row 2: repeats the image 'a\.jpg' of row 1"),
        ({"bild": ["a.jpg"]}, r"shop\.parquet: no column is called image"),
        ({"image": [{"x": 1}]}, "the column image, for the image, holds no texts; write texts"),
    ],
)
def test_what_is_wrong_in_parquet_is_told_with_its_row(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        read_catalogue_file(parquet(tmp_path, columns))


def test_a_parquet_column_that_holds_no_texts_is_left_out_with_a_note(tmp_path: Path) -> None:
    columns = {"image": ["a.jpg"], "size": [{"x": 1}], "raw": [b"x"], "price": [3]}
    catalogue = read_catalogue_file(parquet(tmp_path, columns))
    assert catalogue.items[0].columns == {"price": "3"}
    assert [note.partition(": ")[2] for note in catalogue.notes[1:]] == [
        "leaves out the column size: it holds no texts",
        "leaves out the column raw: it holds no texts",
    ]


def test_a_role_can_be_left_without_a_column_and_notes_say_which_has_one(tmp_path: Path) -> None:
    catalogue = read_catalogue_file(table(tmp_path, HEADER + "a.jpg,1,test\n"), {"id": ""})
    assert (catalogue.items[0].id, catalogue.items[0].split) == ("a.jpg", "gallery")
    assert catalogue.items[0].columns == {"id": "1"}
    (note,) = catalogue.notes
    assert "takes the columns image as image, split as split; --column" in note


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"PAR1" + bytes(len(content) // 3) + content[4 + len(content) // 3 :])


@pytest.mark.parametrize("damage", [cut, spoil, lambda path: path.write_bytes(b"")])
def test_damaged_parquet_is_told(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = parquet(tmp_path, {"image": [f"{number}.jpg" for number in range(1000)]})
    damage(path)
    with pytest.raises(
        DatasetError, match=r"cannot read .*shop\.parquet: .*; (give|write)"
    ) as told:
        read_catalogue_file(path)
    assert "\n" not in str(told.value)


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path, {"image": ["a.jpg"]})
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=r"Parquet needs the package pyarrow.*\[parquet\]"):
        read_catalogue_file(path)


@pytest.mark.parametrize("name", ["gone.csv", "gone.tsv", "gone.parquet"])
def test_a_file_that_is_missing_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetMissing, match=f"{name}: no such file; check its name"):
        read_catalogue_file(tmp_path / name)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"shop\.txt is no catalogue .* \.csv, \.tsv, \.parquet"):
        read_catalogue_file(table(tmp_path, FULL, "shop.txt"))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_first_line_says_what_parts_the_values(tmp_path: Path, mark: str) -> None:
    lines = [mark.join(line) for line in (["image", "price"], ["a.jpg", "1"])]
    (item,) = read_catalogue_file(table(tmp_path, "\n".join(lines) + "\n")).items
    assert (item.id, item.columns) == ("a.jpg", {"price": "1"})
