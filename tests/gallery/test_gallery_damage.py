"""Damaged and foreign files: one clear error, never a crash, never a wrong answer."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashsearch.errors import GalleryDamaged, GalleryWriteError
from hashsearch.gallery import INDEX_KINDS, Gallery, verify
from hashsearch.gallery.faiss_indexes import serialised_indexes

if TYPE_CHECKING:
    from pathlib import Path

QUERIES = np.random.default_rng(1).integers(0, 256, (2, 14), np.uint8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    codes = np.random.default_rng(0).integers(0, 256, (40, 14), np.uint8)
    path = tmp_path_factory.mktemp("whole") / "g.h5"
    Gallery.from_codes(
        np.repeat(codes, 2, axis=0),
        labels=["coat", None] * 40,
        paths=[f"{number}.jpg" for number in range(80)],
        thumbnails=[b"picture"] * 80,
        encoder_name="test",
    ).save(path)
    return path


def everything(gallery: Gallery) -> list[object]:
    found: list[object] = [gallery.ids(), gallery.labels(), gallery.paths()]
    found += [gallery.codes().tolist(), [gallery.thumbnail(row) for row in range(len(gallery))]]
    for index in ("auto", *INDEX_KINDS):
        matches = gallery.nearest(QUERIES, k=9, radius=1, index=index)
        found += [matches.ids, matches.full_distance.tolist(), matches.ball_size.tolist()]
    return found


def extents(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and bytes of every dataset."""
    found: dict[str, tuple[int, int]] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: (item.id.get_offset(), item.nbytes)})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


def flipped(whole: Path, position: int, bit: int = 0) -> bytes:
    data = bytearray(whole.read_bytes())
    data[position] ^= 1 << bit
    return bytes(data)


def test_no_flipped_bit_goes_unseen_or_changes_an_answer(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "flipped.h5"
    expected = everything(Gallery.open(whole))
    used = np.zeros(whole.stat().st_size, bool)
    for offset, size in extents(whole).values():
        used[offset : offset + size] = True
    rng = np.random.default_rng(2)
    positions = np.concatenate(
        [
            np.arange(48),  # the seal's head
            rng.choice(np.flatnonzero(used), 120),
            rng.choice(np.flatnonzero(~used), 200),
        ]
    )
    for position in positions.tolist():
        path.write_bytes(flipped(whole, position, int(rng.integers(8))))
        with pytest.raises(GalleryDamaged, match=r"flipped\.h5"):
            assert everything(Gallery.open(path)) == expected


def test_damage_to_an_array_that_is_not_used_disturbs_nobody(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    offset, _ = extents(whole)["faiss/multihash"]
    path.write_bytes(flipped(whole, offset + 20))
    gallery = Gallery.open(path)
    expected = Gallery.open(whole).nearest(QUERIES).ids
    assert gallery.nearest(QUERIES).ids == expected
    assert gallery.nearest(QUERIES, index="hash").ids == expected
    with pytest.raises(GalleryDamaged, match=r"faiss/multihash .*build-index"):
        gallery.nearest(QUERIES, index="multihash")


def test_what_is_prepared_is_found_whole_by_every_search(whole: Path, tmp_path: Path) -> None:
    Gallery.open(whole).prepare()
    path = tmp_path / "g.h5"
    for name, (offset, _) in extents(whole).items():
        path.write_bytes(flipped(whole, offset))
        if name.startswith("faiss/") or name == "items/thumbnail":
            Gallery.open(path).prepare()
        else:
            with pytest.raises(GalleryDamaged, match=name):
                Gallery.open(path).prepare()


def test_verify_names_the_damaged_dataset(whole: Path, tmp_path: Path) -> None:
    assert {check.dataset for check in verify(whole)} == set(extents(whole))
    for name, (offset, size) in extents(whole).items():
        path = tmp_path / "g.h5"
        path.write_bytes(flipped(whole, offset + size - 1, 7))
        assert [check for check in verify(path) if not check.ok] == [(name, size, False)]


def test_a_file_cut_at_any_length_is_refused(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    path = tmp_path / "cut.h5"
    lengths = {0, 1, 15, 16, 1023, 1024, 1025, len(data) - 1, *range(0, len(data), 997)}
    for length in lengths:
        path.write_bytes(data[:length])
        for use in (Gallery.open, verify):
            with pytest.raises(GalleryDamaged, match=r"cut\.h5"):
                use(path)
    path.write_bytes(data + b"more")
    with pytest.raises(GalleryDamaged, match="bytes of"):
        Gallery.open(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    for data in (b"", b"hello\n" * 1000, np.random.default_rng(0).bytes(5000)):
        path.write_bytes(data)
        with pytest.raises(GalleryDamaged, match="not a hashsearch gallery"):
            Gallery.open(path)
    with h5py.File(path, "w") as file:
        file["items"] = np.arange(5)
    with pytest.raises(GalleryDamaged, match="not a hashsearch gallery"):
        Gallery.open(path)


@pytest.mark.parametrize(("version", "mend"), [(1, "; rebuild it"), (3, "; upgrade hashsearch")])
def test_another_format_says_what_to_do(
    whole: Path, tmp_path: Path, version: int, mend: str
) -> None:
    data = bytearray(whole.read_bytes())
    data[16:20] = struct.pack("<I", version)
    data[1020:1024] = struct.pack("<I", zlib.crc32(data[:1020]))
    (tmp_path / "other.h5").write_bytes(data)
    with pytest.raises(GalleryDamaged, match=f"version {version}, .*{mend}"):
        Gallery.open(tmp_path / "other.h5")


def test_a_gallery_keeps_its_permissions_and_a_read_only_one_is_not_replaced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.h5"
    gallery = Gallery.from_codes(np.zeros((3, 1), np.uint8), n_bits=8, fine_bits=0)
    gallery.save(path)
    path.chmod(0o600)
    gallery.without(["1"]).save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o400)
    with pytest.raises(GalleryWriteError, match=r"own.h5: it is read-only; .*chmod u\+w"):
        gallery.save(path)
    assert len(Gallery.open(path)) == 2
    assert sorted(tmp_path.glob(".*tmp")) == []


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("items/id_rank", np.zeros(20, np.float32)),
        ("codes/offsets", np.arange(21, dtype=np.int64)),
        ("faiss/flat", np.zeros(80, np.float32)),
    ],
)
def test_a_sealed_file_of_other_types_is_told_when_opened(
    name: str, array: npt.NDArray[Any], tmp_path: Path
) -> None:
    made = twenty()
    Gallery(replace(made.content, datasets={**made.content.datasets, name: array})).save(
        tmp_path / "other.h5"
    )
    with pytest.raises(GalleryDamaged, match=rf"{name} holds (float32|int64), not "):
        Gallery.open(tmp_path / "other.h5")


@pytest.mark.parametrize("case", ["other codes", "another width", "no index"])
def test_a_sealed_index_of_other_codes_is_told_before_it_is_searched(
    case: str, tmp_path: Path
) -> None:
    made = twenty()
    other = {
        "other codes": faiss_of(np.arange(40, dtype=np.uint8)[:, None]),
        "another width": faiss_of(np.zeros((20, 8), np.uint8)),
        "no index": np.zeros(80, np.uint8),
    }[case]
    datasets = {**made.content.datasets, "faiss/flat": other}
    Gallery(replace(made.content, datasets=datasets)).save(tmp_path / "other.h5")
    opened = Gallery.open(tmp_path / "other.h5")
    query = np.zeros((1, 1), np.uint8)
    with pytest.raises(GalleryDamaged, match=r"faiss/flat is (not an|no) index of .*build-index"):
        opened.nearest(query, k=1, index="flat")
    assert opened.nearest(query, k=1).ids == ["0"]


def twenty() -> Gallery:
    codes = np.arange(20, dtype=np.uint8)[:, None]
    return Gallery.from_codes(codes, n_bits=8, fine_bits=0, indexes=["flat"])


def faiss_of(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return serialised_indexes(codes, ["flat"])["faiss/flat"]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_file_that_is_written_over_anyhow_is_told_or_answers_as_before(
    data: st.DataObject, whole: Path, tmp_path: Path
) -> None:
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        place = data.draw(st.integers(0, len(content) - 1), label="place")
        patch = data.draw(st.binary(min_size=1, max_size=64), label="patch")
        how = data.draw(st.sampled_from(["over", "into", "out"]), label="how")
        content[place : place + (0 if how == "into" else len(patch))] = (
            b"" if how == "out" else patch
        )
    path = tmp_path / "changed.h5"
    path.write_bytes(content)
    try:
        told, found = "", everything(Gallery.open(path))
    except GalleryDamaged as error:
        told, found = str(error), []
    if told:
        assert str(path) in told
        assert "\n" not in told
    else:
        assert found == everything(Gallery.open(whole))
