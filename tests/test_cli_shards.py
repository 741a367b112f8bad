"""Commands over galleries in shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest import PHOTOS_PER_TYPE

from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 2 * PHOTOS_PER_TYPE
SHARDS = "indexes/shop.shards"


@pytest.fixture
def sharded(shop: Path, run: Any) -> Path:
    """The shop's working folder, with its gallery also in three shards."""
    made = run("shard", "shop", "--shards", "3")
    assert made.status == 0
    assert made.out == f"{SHARDS}: {SIZE} items in 3 shards, of 5 to 6.\n"
    assert made.err == ""
    return shop


@pytest.mark.parametrize("name", [SHARDS, "shop.shards"])
def test_a_query_of_shards_answers_as_one_of_the_file(
    sharded: Path, run: Any, photos: Path, encoder_file: Path, name: str
) -> None:
    for options in (
        ["-k", "9"],
        ["--label", "light", "-k", "99"],
        ["--id", "dark/3.png", "--distinct"],
    ):
        query = ["query", photos / "dark" / "0.png", "-e", encoder_file, "--json", *options]
        of_shards, of_file = (run(*query, "-g", each) for each in (name, "shop"))
        assert of_shards.status == of_file.status == 0
        assert of_shards.json["gallery"] == SHARDS
        assert of_shards.json["queries"] == of_file.json["queries"]


def test_a_file_goes_before_shards_of_its_name(sharded: Path, run: Any) -> None:
    assert run("info", "-g", "shop", "--json").json["path"] == "indexes/shop.h5"
    assert run("info", "--json").json["path"] == "indexes/shop.h5"
    (sharded / "indexes" / "shop.h5").unlink()
    assert run("info", "-g", "shop", "--json").json["path"] == SHARDS


def test_info_and_verify_tell_of_the_shards(sharded: Path, run: Any) -> None:
    told = run("info", "-g", SHARDS, "--json").json
    assert (told["items"], sorted(told["shards"].values())) == (SIZE, [5, 5, 6])
    name = next(iter(told["shards"]))
    assert name in run("info", "-g", SHARDS).out
    checked = run("verify", "-g", SHARDS)
    assert "Whole: every byte is as it was written." in checked.out
    assert f"{name}: codes/distinct" in checked.out
    shard = sharded / SHARDS / name
    content = bytearray(shard.read_bytes())
    code = Gallery.open(shard).content.datasets["items/fine"].tobytes()
    content[content.index(code)] ^= 1
    shard.write_bytes(content)
    checked = run("verify", "-g", SHARDS)
    assert checked.status == 1
    assert f"{name}: items/fine damaged" in checked.err


def test_galleries_are_joined_as_shards(
    shop: Path, run: Any, photos: Path, encoder_file: Path
) -> None:
    for kind in ("dark", "light"):
        assert run("build-index", photos / kind, "-e", encoder_file).status == 0
    refused = run("shard", "dark", "light")
    assert refused.status == 2
    assert "--name" in refused.error
    # Both have an item 0.png.
    assert (
        "8 ids are in more than one of the galleries"
        in run("shard", "dark", "light", "--name", "both").error
    )
    joined = run("shard", "dark", "shop", "--name", "both", "--json").json
    assert joined["gallery"] == "indexes/both.shards"
    assert joined["items"] == SIZE + PHOTOS_PER_TYPE
    assert [*joined["shards"].values()] == [PHOTOS_PER_TYPE, SIZE]
    assert run("info", "-g", "both", "--json").json["shards"] == joined["shards"]


def test_what_would_change_shards_is_refused(
    sharded: Path, run: Any, photos: Path, encoder_file: Path
) -> None:
    for command in (
        ["remove", "dark/0.png"],
        ["compact"],
        ["add", photos / "dark", "-e", encoder_file],
    ):
        refused = run(*command, "-g", SHARDS)
        assert refused.status == 1
        assert f"cannot change {SHARDS}: it is in shards; change the gallery" in refused.error


@pytest.mark.parametrize("command", ["duplicates", "export"])
def test_what_only_reads_does_as_with_the_file(sharded: Path, run: Any, command: str) -> None:
    def told(gallery: str) -> Any:
        if command == "duplicates":
            return run("duplicates", gallery, "--json").json["groups"]
        assert run("export", "out", "-g", gallery).status == 0
        assert run("build-index", "--codes", "out", "--name", "again").status == 0
        again = Gallery.open("indexes/again.h5")
        return again.ids(), again.labels(), again.codes().tolist()

    assert told(SHARDS) == told("shop")
