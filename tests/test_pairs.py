from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from hashsearch.datasets.pairs import read_pairs
from hashsearch.errors import DatasetError, DatasetMissing

if TYPE_CHECKING:
    from pathlib import Path

IDS = ["a", "b", "c", 'shoes, "red".jpg', "Größe 38"]
HEADER = "query,gallery,relevant\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "judged.csv"


def test_pairs_are_places_among_the_ids_in_the_order_of_the_file(file: Path) -> None:
    file.write_text(HEADER + "c,a,1\na,c,0\nb,a,0\n")
    pairs = read_pairs(file, IDS)
    assert len(pairs) == 3
    assert pairs.name == "judged.csv"
    assert_array_equal(pairs.queries, [2, 0, 1])
    assert_array_equal(pairs.items, [0, 2, 0])
    assert_array_equal(pairs.relevant, [True, False, False])
    assert {pairs.queries.dtype, pairs.items.dtype} == {np.dtype(np.int64)}
    assert pairs.relevant.dtype == bool


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(lambda pair: pair[0] != pair[1]),
        st.booleans(),
        min_size=1,
    ),
    st.sampled_from(["unix", "excel", "excel-tab"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_what_a_csv_writer_wrote_is_read(
    file: Path, judged: dict[tuple[int, int], bool], dialect: str
) -> None:
    ids = [*IDS[:3], "two\nlines", 'comma, and "quotes" \' ;']
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, dialect, delimiter=",")
        writer.writerow(["query", "gallery", "relevant"])
        for (query, item), relevant in judged.items():
            writer.writerow([ids[query], ids[item], int(relevant)])
    pairs = read_pairs(file, ids)
    places = zip(pairs.queries.tolist(), pairs.items.tolist(), strict=True)
    assert dict(zip(places, pairs.relevant.tolist(), strict=True)) == judged


@pytest.mark.parametrize(
    ("answer", "relevant"),
    [
        *[(text, True) for text in ("1", "true", "TRUE", "Yes", " yes ")],
        *[(text, False) for text in ("0", "false", "False", "NO", "no\t")],
    ],
)
def test_the_ways_to_say_yes_and_no(file: Path, answer: str, relevant: bool) -> None:
    file.write_text(f"{HEADER}a,b,{answer}\n")
    assert read_pairs(file, IDS).relevant.tolist() == [relevant]


@pytest.mark.parametrize(
    "text",
    [
        "relevant,gallery,query\n1,b,a\n",
        "Query, Gallery ,RELEVANT\na,b,1\n",
        "query,judge,gallery,relevant\na,someone,b,1\n",
        "\ufeffquery,gallery,relevant\r\na,b,1\r\n",
        "\nquery,gallery,relevant\n\na,b,1\n\n",
        "query,gallery,relevant\na,b,1",
        '"query","gallery","relevant"\n"a","b","1"\n',
    ],
    ids=["order", "case", "more columns", "spreadsheet", "empty lines", "no end", "quotes"],
)
def test_one_pair_in_many_forms(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    pairs = read_pairs(file, IDS)
    assert (pairs.queries.tolist(), pairs.items.tolist()) == ([0], [1])
    assert pairs.relevant.tolist() == [True]


WRONG = {
    "empty": ("", "judged.csv is empty; write the line query,gallery,relevant"),
    "empty lines": ("\n\n", "judged.csv is empty"),
    "header only": (HEADER, "judged.csv holds no pairs; write one a line"),
    "no header": ("a,b,1\n", "line 1: the header has no column query; write query,gallery,rel"),
    "missing column": ("query,gallery\na,b\n", "line 1: the header has no column relevant"),
    "semicolons": ("query;gallery;relevant\na;b;1\n", "line 1: .* with commas between"),
    "late header": ("\n\nquery\na\n", "line 3: the header has no column gallery"),
    "column twice": ("query,gallery,relevant,Query\na,b,1,a\n", "more than one column query"),
    "too few values": (HEADER + "a,b,1\na,c\n", "line 3: the number of values is 2, .* 3; give"),
    "too many values": (HEADER + "a,b,c,1\n", "line 2: the number of values is 4, .* in quotes"),
    "unknown query": (HEADER + "a,b,1\n\nz,b,1\n", "line 4: the gallery has no item 'z'; write"),
    "unknown item": (HEADER + "a,A,1\n", "line 2: the gallery has no item 'A'; .* --gallery"),
    "spaces around": (HEADER + "a, b,1\n", "line 2: the gallery has no item ' b'"),
    "itself": (HEADER + "a,a,1\n", "line 2: 'a' is paired with itself; remove the line"),
    "maybe": (HEADER + "a,b,maybe\n", "line 2: relevant is 'maybe'; write one of 1, true, yes,"),
    "no answer": (HEADER + "a,b,\n", "line 2: relevant is ''; write one of"),
    "twice": (HEADER + "a,b,1\nb,a,1\na,b,yes\n", "line 4: repeats the pair of line 2; remove"),
    "contradiction": (HEADER + "a,b,1\na,c,1\na,b,0\n", "line 4: contradicts line 2 .*; keep one"),
    "open quote": (HEADER + 'a,b,1\na,"c,1\n', r"line 3: is not CSV \(.*\); mend the quotes"),
    "text behind a quote": (HEADER + '"a"x,b,1\n', "line 2: is not CSV"),
    "behind two lines": (HEADER + '"two\nlines",b,1\n', r"line 2: the gallery has no .*two\\nlin"),
    "after two lines": (HEADER + 'Größe 38,"a",1\n"b",c,1\nc,c,0\n', "line 4: 'c' is paired"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_line_and_the_mend(file: Path, case: str) -> None:
    text, said = WRONG[case]
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=said) as refused:
        read_pairs(file, IDS)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_a_line_is_counted_behind_an_id_of_two_lines(file: Path) -> None:
    file.write_text(HEADER + '"two\nlines",a,1\na,a,1\n')
    with pytest.raises(DatasetError, match="line 4: 'a' is paired with itself"):
        read_pairs(file, ["a", "two\nlines"])


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_told_with_its_line(file: Path, encoding: str) -> None:
    file.write_bytes((HEADER + "a,b,1\nGröße 38,b,1\n").encode(encoding))
    line = 3 if encoding == "latin-1" else 1
    with pytest.raises(DatasetError, match=f"line {line}: is not UTF-8 text; save the file as"):
        read_pairs(file, IDS)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"gone\.csv: no such file; check its name"):
        read_pairs(tmp_path / "gone.csv", IDS)
    with pytest.raises(DatasetError, match="is a folder; name a CSV file in it"):
        read_pairs(tmp_path, IDS)
