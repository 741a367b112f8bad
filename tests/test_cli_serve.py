"""The command that serves: what it refuses before it does. What it does is in tests/serve."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Outcome


def test_what_is_not_there_is_told(run: Callable[..., Outcome], shop: Path) -> None:
    refused = run("serve", "none")
    assert refused.status == 1
    assert "no gallery none in indexes/; there are: shop" in refused.error
    assert "no encoder none" in run("serve", "-e", "none").error


def test_a_port_that_is_taken_is_told(run: Callable[..., Outcome], shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", "--port", str(port))
    assert refused.status == 1
    assert f"cannot listen on 127.0.0.1, port {port}: " in refused.error
    assert "--host and --port" in refused.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "70000 is not in the range"),
        (["--max-pixels", "90"], "90 is not in the range"),
        (["--queue", "0"], "0 is not in the range"),
        (["--ray"], "--ray is for galleries in shards; name one"),
        (["--replicas", "2"], "--replicas: of no meaning without --ray"),
        (["--partial-ok"], "--partial-ok: of no meaning without --ray"),
        (["--api-key", ""], "--api-key takes letters, digits and signs of ASCII, at least one"),
        (["--api-key", "é"], "--api-key takes letters, digits and signs of ASCII, at least one"),
        (
            ["--allow-host", "a*.example"],
            "--allow-host takes a name, *.NAME or *, not 'a*.example'",
        ),
        (["--allow-host", "http://x"], "not 'http://x'; leave out scheme, port and path"),
        (["--allow-host", "x:8000"], "not 'x:8000'; leave out scheme, port and path"),
        (["--cors", "shop.example"], "not 'shop.example'; write it as https://shop.example"),
        (["--cors", "https://x/"], "not 'https://x/'; write it as https://shop.example"),
        (["--cors", "https://x:443"], "browsers leave out the usual port; write it as https://x"),
        (["--timeout", "nan"], "nan is no number of seconds"),
        (["--timeout", "inf"], "inf is not in the range"),
        (["--timeout", "3601"], "3601.0 is not in the range"),
    ],
)
def test_wrong_usage_is_told(
    run: Callable[..., Outcome], shop: Path, arguments: list[str], message: str
) -> None:
    refused = run("serve", *arguments)
    assert refused.status == 2
    assert message in refused.error


def test_help_loads_no_web_framework_and_serving_no_torch() -> None:
    for code, absent in (
        ("from hashsearch.cli import cli; cli.commands['serve']", "fastapi"),
        ("import hashsearch.serve", "torch"),
    ):
        check = f"import sys; {code}; assert {absent!r} not in sys.modules"
        subprocess.run([sys.executable, "-c", check], check=True)
