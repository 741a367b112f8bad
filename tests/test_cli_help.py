"""The help of every command ends in examples, and each of them runs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from PIL import Image
from source_fixtures import write_fashion_mnist

from hashsearch.cli import cli
from hashsearch.datasets import fashion_mnist
from hashsearch.datasets.folder import folder_items
from hashsearch.encoder import Encoder
from hashsearch.gallery.build import build
from hashsearch.images import read_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAMPLE_ITEMS = 2000
PHOTOS = 40  # of a type; of both, more than a batch


def commands(
    group: click.Group = cli, name: str = "hashsearch"
) -> Iterator[tuple[str, click.Command]]:
    """All of them, by the words that call them."""
    yield name, group
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def examples_of(text: str) -> list[str]:
    """The lines below ``Examples:``; one that ends in a backslash goes on in the next."""
    _, _, lines = text.partition("Examples:\n")
    joined = lines.replace("\\\n", " ").splitlines()
    return [" ".join(line.partition(" #")[0].split()) for line in joined]


# Each once: those of the group are also those of commands.
EXAMPLES = {line: each for _, each in commands() for line in examples_of(each.epilog or "")}


def runs_until_stopped(command: click.Command) -> bool:
    """Servers have a port."""
    return any(option.name == "port" for option in command.params)


@pytest.fixture(scope="session")
def shopkeepers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples name: photos, lists, and the galleries ``shop`` and ``fashion-mnist``.

    Small, so that trainings are short: 80 photos, and 2,000 images of the sample.
    """
    folder = tmp_path_factory.mktemp("shopkeeper")
    sample = fashion_mnist.sample()
    kinds = ("Dress", "Coat")
    for kind in kinds:
        of_kind = sample.images[sample.labels == fashion_mnist.CLASS_NAMES.index(kind)]
        for number, image in enumerate(of_kind[: PHOTOS + 1]):
            file = folder / ("MORE" if number == PHOTOS else "PHOTOS") / kind / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
        # So that there is a duplicate.
        shutil.copy(folder / "PHOTOS" / kind / "0.png", folder / "PHOTOS" / kind / "1.png")
    rows = [f"PHOTOS/{kind}/{n}.png,{kind}" for kind in kinds for n in range(PHOTOS)]
    (folder / "catalogue.csv").write_text("\n".join(["image,kind", *rows]) + "\n")
    (folder / "sold.txt").write_text("Coat/6.png\nsold/long/ago.png\n")
    shipped = fashion_mnist.example_images()
    for name, source in zip(("img.jpg", "a.jpg", "b.png"), shipped, strict=False):
        read_image(source).save(folder / name)
    write_fashion_mnist(folder / "FASHION-MNIST")
    encoder = Encoder.load("fashion-mnist")
    for name, items in {
        "fashion-mnist": sample.items()[:SAMPLE_ITEMS],
        "shop": folder_items(folder / "PHOTOS"),
    }.items():
        build(items, encoder).gallery.save(folder / "indexes" / f"{name}.h5")
    return folder


@pytest.mark.parametrize(("name", "command"), [*commands()], ids=str)
def test_the_help_of_every_command_ends_in_examples_of_it(
    name: str, command: click.Command
) -> None:
    with click.Context(command, info_name=name, terminal_width=80) as context:
        shown = command.get_help(context)
    lines = examples_of(shown)
    assert lines
    assert lines == examples_of(command.epilog or "")
    assert all(line.startswith(name) for line in lines)
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_runs(
    line: str, shopkeepers_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands, in a shell, in a folder of its own where the files that it names are.

    A server would go on until it is stopped: one is known by its option ``--port``, and its
    examples are only parsed here, with all options and types; its own tests start it.
    """
    if runs_until_stopped(EXAMPLES[line]):
        _, name, *words = shlex.split(line)
        EXAMPLES[line].make_context(name, words)
        return
    folder = tmp_path / "shop"
    shutil.copytree(shopkeepers_folder, folder)
    python = shlex.quote(sys.executable)
    monkeypatch.delenv("HASHSEARCH_INDEXES", raising=False)
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path / "cache"))
    done = subprocess.run(
        ["sh", "-c", f'hashsearch() {{ {python} -m hashsearch "$@"; }}; {line}'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
