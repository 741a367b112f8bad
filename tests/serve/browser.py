"""A real server and a real browser, and what tests of the page do with them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

import hashsearch.datasets

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = os.environ.get("HASHSEARCH_CHROMIUM") or shutil.which("chromium")
"""The browser's program; None: there is none here."""

SAMPLES = Path(hashsearch.datasets.__file__).parent / "sample"
DRESS = SAMPLES / "dress-on-white.jpg"
DRESS_ID = "test-00075"
"""The item that the photo was made from; both have the same code."""
FEW = 24
"""Matches that the page shows at first."""

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


def start(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#samples img").first).to_be_visible()


def find_dress(page: Page) -> None:
    page.goto("/")
    page.locator("#choose").set_input_files(DRESS)
    expect(page.locator("#query-name")).to_have_text("Your photo")


def matches(page: Page, where: str = "#results") -> list[str]:
    """Ids of the matches in a part of the page, as they stand there."""
    ids: list[str] = page.locator(f"{where} [data-id]").evaluate_all(
        "links => links.map(link => link.dataset.id)"
    )
    return ids


def distances(page: Page, where: str) -> list[int]:
    return [int(text) for text in page.locator(f"{where} .distances b").all_inner_texts()]


def slide(page: Page, radius: int) -> None:
    page.locator("#radius").fill(str(radius))


def shown_address(page: Page) -> str:
    return page.url.removeprefix(page.evaluate("location.origin"))


def code_of(page: Page) -> str:
    """Of the photo that the page searched with."""
    return parse_qs(urlsplit(page.url).query)["code"][0]


def ask(page: Page, **form: str | int) -> Any:
    """The service's own answer."""
    answer = page.request.post("/api/search", multipart={k: str(v) for k, v in form.items()})
    assert answer.ok, answer.text()
    return answer.json()


def bring(page: Page, kind: str, file: Path) -> None:
    """Drop or paste a file, as the browser tells a page of it."""
    content = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(
        """([kind, name, content]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name, { type: "image/jpeg" }));
            const event = kind === "paste"
                ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
                : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [kind, file.name, content],
    )


def faults(page: Page) -> list[str]:
    """What axe finds wrong, and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {json.dumps([node['target'] for node in each['nodes']])}" for each in found
    ]
