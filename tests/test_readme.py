from __future__ import annotations

import ast
import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pytest

from hashsearch.cli import cli
from hashsearch.datasets import fashion_mnist
from hashsearch.encoder import Encoder
from hashsearch.gallery.build import build
from hashsearch.training import objectives

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text()

SHELL = {"sh", "bash", "shell", "console"}
PYTHON = {"python", "pycon", "py"}
KNOWN = {*SHELL, *PYTHON, "text", "json", "toml", "bibtex"}


class Block(NamedTuple):
    """A fenced block, and the line that it begins on."""

    language: str
    line: int
    text: str


def blocks() -> list[Block]:
    fences = re.finditer(r"^```(\S*)[^\n]*\n(.*?)^```\s*$", TEXT, flags=re.DOTALL | re.MULTILINE)
    return [Block(found[1], TEXT.count("\n", 0, found.start()) + 2, found[2]) for found in fences]


def shell_lines() -> list[str]:
    """The lines of the shell blocks; a line that ends in a backslash goes on in the next."""
    return [
        line.removeprefix("$ ")
        for block in blocks()
        if block.language in SHELL
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.strip()
    ]


def commands() -> Iterator[list[str]]:
    """The words of each ``hashsearch ...`` in the shell blocks, behind that first one."""
    for line in shell_lines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set("();<>|&"):
                words.append(word)
                continue
            if words[:1] == ["hashsearch"]:
                yield words[1:]
            words = []


def test_every_block_is_closed_and_of_a_known_language() -> None:
    assert TEXT.count("\n```") % 2 == 0
    assert {block.language for block in blocks()} <= KNOWN


def test_commands_and_python_are_shown() -> None:
    assert list(commands())
    assert any(block.language in PYTHON for block in blocks())


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_exists_with_its_options(words: list[str]) -> None:
    with click.Context(cli, info_name="hashsearch") as context:
        name, command, rest = cli.resolve_command(context, words or ["--help"])
        assert command is not None
        if "--help" not in rest:
            # Parses the words, types of values and all, and runs nothing.
            command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_what_a_command_says_ships_is_there(words: list[str]) -> None:
    named = [word for word in words if word.startswith(("hashsearch/", "tests/"))]
    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize(
    "target", re.findall(r"\]\((?!https?://|#)([^)#\s]+)", TEXT) or ["README.md"]
)
def test_what_is_linked_is_there(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_python_examples_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with a gallery of some of the sample, and with the images that are named.

    An image in the reader's own folder may be any: it is one that ships.
    """
    examples = [block for block in blocks() if block.language in PYTHON]
    # Other tests must not find the reader's own objective.
    monkeypatch.setattr(objectives, "OBJECTIVES", dict(objectives.OBJECTIVES))
    monkeypatch.chdir(tmp_path)
    shipped = fashion_mnist.example_images()
    named = re.findall(r"[\"']([\w./-]+\.(?:jpg|jpeg|png))[\"']", "\n".join(map(str, examples)))
    for number, name in enumerate(dict.fromkeys(named)):
        own = shipped[number % len(shipped)] if Path(name).name == name else ROOT / name
        if own.exists():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(own.read_bytes())
    if examples:
        some = fashion_mnist.sample().items()[:200]
        build(some, Encoder.load("fashion-mnist")).gallery.save("indexes/fashion-mnist.h5")
    # Not __main__: a file that starts the command would start it.
    namespace: dict[str, Any] = {"__name__": "readme"}
    for block in examples:
        if ">>>" in block.text:
            run_session(block, namespace)
        else:
            # Padded, so that a traceback names the line of the README.
            padded = "\n" * (block.line - 1) + block.text
            exec(compile(ast.parse(padded), str(README), "exec"), namespace)  # noqa: S102 - our own


def test_the_objective_of_ones_own_is_trained_by_its_file(tmp_path: Path, photos: Path) -> None:
    (block,) = (block for block in blocks() if "class Mine(Objective)" in block.text)
    (tmp_path / "mine.py").write_text(block.text)
    options = "--backbone small-resnet --image-size 16 --epochs 1 --settle-epochs 0 --batch-size 8"
    line = f"mine.py train --objective mine --data {photos} --out mine.onnx --bits 16 {options}"
    subprocess.run([sys.executable, *line.split()], cwd=tmp_path, check=True)
    assert Encoder.load(tmp_path / "mine.onnx").record.objective == "mine"


def run_session(block: Block, namespace: dict[str, Any]) -> None:
    """Run the lines behind ``>>>`` and compare what they print."""
    session = doctest.DocTestParser().get_doctest(
        block.text, namespace, "README.md", str(README), block.line
    )
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=flags).run(
        session, out=report.append, clear_globs=False
    )
    namespace.update(session.globs)
    assert not failed, "".join(report)
