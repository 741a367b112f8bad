"""Fixtures of the tests of the page.

Not a conftest.py: there is one above, which tests import by that name. PYTEST_DONT_REWRITE, as the
search for doctests imports this before.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browser import CHROMIUM, FEW, Watch, chromium, served

from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the gallery that ``build-index`` makes of the sample."""
    folder = tmp_path_factory.mktemp("served")
    build = [sys.executable, "-m", "hashsearch", "build-index"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def loner(galleries: Path) -> str:
    """An item that has a few others within radius 0, so that some of the first lie beyond."""
    gallery = Gallery.open(galleries / "indexes" / "fashion-mnist.h5")
    semantic = gallery.codes()[:, : gallery.n_bits // 8]
    _, first, items = np.unique(semantic, axis=0, return_index=True, return_counts=True)
    return gallery.ids(first[(items > 3) & (items < FEW // 2)])[0]


@pytest.fixture(scope="session")
def address(galleries: Path) -> Iterator[str]:
    """Of a server of them."""
    with served(galleries) as address:
        yield address


# A browser of sync_playwright holds the thread's event loop, so it goes when a module is done.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium here; HASHSEARCH_CHROMIUM names the program")
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page whose script and style must not fail, whatever a test does."""
    with browser.new_context(base_url=address) as context:
        page = context.new_page()
        watch = Watch(page)
        yield page
        # Chromium itself reports answers that are errors; some tests want those.
        expected = "Failed to load resource"
        assert [each for each in watch.complaints if not each.startswith(expected)] == []
