"""What the page sends of a photo: no more than a server takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browser import DRESS, DRESS_ID, matches, start
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.slow

_KEEP_WHAT_IS_SENT = """() => {
    window.sent = [];
    const send = window.fetch;
    window.fetch = (path, options) => {
        if (options?.body instanceof FormData) window.sent.push(options.body.get("image"));
        return send(path, options);
    };
}"""


def send(page: Page, photo: Path) -> bytes:
    """Search with a photo, and give what the server got of it."""
    start(page)
    page.evaluate(_KEEP_WHAT_IS_SENT)
    page.locator("#choose").set_input_files(photo)
    expect(page.locator("#query-name")).to_have_text("Your photo", timeout=30_000)
    expect(page.get_by_role("img", name=photo.name)).to_be_visible()
    (name,) = page.evaluate("window.sent.map((file) => file.name)")
    assert name == photo.name
    return bytes(page.evaluate("async () => [...new Uint8Array(await sent[0].arrayBuffer())]"))


def refused(page: Page, photo: Path) -> int:
    """The status that a photo gets from the server as it is."""
    upload: FilePayload = {
        "name": photo.name,
        "mimeType": "image/*",
        "buffer": photo.read_bytes(),
    }
    return page.request.post("/api/search", multipart={"image": upload}).status


def test_a_photo_of_too_many_pixels_is_sent_smaller_and_upright(page: Page, tmp_path: Path) -> None:
    photo = tmp_path / "dress.jpg"  # of more pixels than the server takes
    with Image.open(DRESS) as dress:
        large = dress.convert("RGB").resize((7_000, 9_000))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    large.transpose(Image.Transpose.ROTATE_90).save(photo, exif=exif)
    assert refused(page, photo) == 422
    with Image.open(io.BytesIO(send(page, photo))) as sent:
        assert sent.format == "JPEG"
        assert sent.size == (1_593, 2_048)
        assert 0x0112 not in sent.getexif()
        drawn = np.asarray(sent.convert("L").resize((70, 90)), float)
    wanted = np.asarray(large.convert("L").resize((70, 90)), float)
    assert np.abs(drawn - wanted).mean() < 3
    assert matches(page)[0] == DRESS_ID


def test_a_photo_of_too_many_bytes_is_sent_smaller_and_on_white(page: Page, tmp_path: Path) -> None:
    photo = tmp_path / "noise.png"  # of more bytes than the server takes
    pixels = np.random.default_rng(0).integers(0, 256, (2_000, 1_500, 4), np.uint8)
    pixels[:, :500, 3] = 0
    Image.fromarray(pixels).save(photo, compress_level=1)
    assert refused(page, photo) == 413
    content = send(page, photo)
    assert len(content) < 4 << 20
    with Image.open(io.BytesIO(content)) as sent:
        assert sent.size == (1_500, 2_000)
        assert np.asarray(sent)[:, :480].min() > 250


def test_a_small_photo_is_sent_as_it_is(page: Page) -> None:
    assert send(page, DRESS) == DRESS.read_bytes()
    assert matches(page)[0] == DRESS_ID
