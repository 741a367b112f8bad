"""A real server and a real browser, for tests of the page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import Browser, Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = os.environ.get("HASHSEARCH_CHROMIUM") or shutil.which("chromium")
"""The browser's program; None: there is none here."""

_TIMEOUT_MS = 10_000


@contextmanager
def served(folder: Path, *options: str, port: int = 0) -> Iterator[str]:
    """The address of a server of the galleries in ``folder / "indexes"``, while it runs."""
    command = [sys.executable, "-m", "hashsearch", "serve", "--port", str(port), *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            # "Serving shop at http://127.0.0.1:8000 (Ctrl-C stops it)"
            yield server.stdout.readline().split(" at ")[1].split()[0]
        finally:
            server.terminate()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        # A container has no user namespaces for the sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watch:
    """What a page asked for, and what went wrong in it."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(_TIMEOUT_MS)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in {"error", "warning"}
                else None
            ),
        )
