from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import (
    DRESS,
    DRESS_ID,
    FEW,
    ask,
    bring,
    distances,
    faults,
    find_dress,
    matches,
    served,
    start,
)
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from hashsearch.gallery import Gallery
from hashsearch.images import thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.slow


def test_a_file_that_is_no_photo_is_explained_and_what_was_found_stays(
    page: Page, tmp_path: Path
) -> None:
    find_dress(page)
    found = matches(page)
    bad = tmp_path / "dress.jpg"
    bad.write_bytes(DRESS.read_bytes()[:200])
    page.locator("#choose").set_input_files(bad)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("dress.jpg cannot be searched with")
    expect(alert).to_contain_text("cut short")
    assert matches(page) == found
    with page.expect_file_chooser() as chooser:
        alert.get_by_role("button", name="Choose another").click()
    chooser.value.set_files(DRESS)
    expect(alert).to_be_empty()


def test_an_item_that_is_gone_is_explained_above_items_to_try(page: Page) -> None:
    page.goto("/?id=nobody")
    expect(page.get_by_role("alert")).to_contain_text("'nobody'")
    expect(page.locator("#samples img").first).to_be_visible()
    page.locator("#samples a").first.click()
    expect(page.locator("#query-name")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_empty()
    page.goto("/?gallery=gone")
    expect(page.get_by_role("alert")).to_contain_text("There is no gone; there is fashion-mnist")
    expect(page.locator("#samples img").first).to_be_visible()


def test_an_empty_ball_says_how_far_the_nearest_is(page: Page) -> None:
    code = ask(page, id=DRESS_ID, k=1)["query"]["code"]
    far = f"ffffffff{code[8:]}"
    page.goto(f"/?code={far}")
    expect(page.get_by_role("heading", name="Beyond the ball")).to_be_visible()
    expect(page.locator("#ball")).to_be_hidden()
    nearest = min(distances(page, "#beyond"))
    expect(page.locator("#outcome")).to_contain_text(
        f"Nothing lies within 2 bits; the nearest item is {nearest} away."
    )
    page.get_by_role("button", name=f"Widen to {nearest}").click()
    expect(page.get_by_role("heading", name="Inside the ball")).to_be_visible()
    expect(page.locator("#radius")).to_have_value(str(nearest))


def test_a_lost_server_is_explained_and_found_again(browser: Browser, galleries: Path) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        with served(galleries) as address:
            page.goto(f"{address}/?id={DRESS_ID}")
            expect(page.locator("#results [data-id]")).to_have_count(FEW)
        page.get_by_role("button", name="Bag").click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The server does not answer")
        expect(page.locator("#results [data-id]")).to_have_count(FEW)
        port = urlsplit(address).port
        assert port is not None
        with served(galleries, port=port):
            page.get_by_role("button", name="Try again").click()
            expect(page.locator("#results .label").first).to_have_text("Bag")
            expect(alert).to_be_empty()


def test_a_busy_server_is_asked_again(page: Page) -> None:
    start(page)
    refused: list[str] = []

    def busy(route: Route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.fulfill(
                status=503, headers={"Retry-After": "1"}, json={"detail": "try again later"}
            )

    page.route("**/api/search", busy)
    page.locator("#choose").set_input_files(DRESS)
    expect(page.get_by_role("alert")).to_contain_text("It is asked again in 1 second.")
    expect(page.locator("#query-name")).to_have_text("Your photo")
    expect(page.get_by_role("alert")).to_be_empty()
    assert len(refused) == 1


def test_a_key_is_asked_for_once(browser: Browser, galleries: Path) -> None:
    with (
        served(galleries, "--api-key", "swordfish") as address,
        browser.new_context(base_url=address) as context,
    ):
        page = context.new_page()
        page.goto("/")
        dialog = page.get_by_role("dialog", name="This server asks for a key")
        dialog.get_by_role("button", name="Not now").click()
        expect(page.get_by_role("alert")).to_contain_text("Without one it gives no answer.")
        page.get_by_role("button", name="Try again").click()
        dialog.get_by_label("API key").fill("swordfsh")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("It did not accept that key.")
        dialog.get_by_label("API key").fill("swordfish")
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        page.locator("#choose").set_input_files(DRESS)
        expect(page.locator("#query-name")).to_have_text("Your photo")
        # The pictures come with the key, too.
        expect(page.locator("#results img").first).to_have_js_property("naturalWidth", 28)
        page.reload()
        expect(page.locator("#query-name")).to_have_text("A shared photo")
        expect(dialog).to_be_hidden()


def test_without_a_gallery_the_page_says_how_to_build_one(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path) as address, browser.new_context(base_url=address) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_role("heading", name="There is no gallery yet")).to_be_visible()
        expect(page.locator("pre")).to_contain_text("hashsearch build-index")
        assert faults(page) == []


HOSTILE = "<img src=x onerror=alert(1)>"
ODD_IDS = [f"{HOSTILE}/a b&c=ü#?.png", "100%25/+.png", "'\"\\ \u202e.png", "image"]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of two galleries without an encoder: one odd, one bare."""
    folder = tmp_path_factory.mktemp("shops")
    (folder / "indexes").mkdir()
    codes = np.random.default_rng(0).integers(0, 256, (20, 4), dtype=np.uint8)
    ids = [*ODD_IDS, *(f"item {number}" for number in range(4, 20))]
    bare = Gallery.from_codes(codes, n_bits=32, fine_bits=0, ids=ids)
    bare.save(folder / "indexes" / "beta.h5")
    # The one that was written last is the default.
    Gallery.from_codes(
        codes,
        n_bits=16,
        fine_bits=16,
        ids=ids,
        labels=[HOSTILE, *(f"type {number}" for number in range(1, 20))],
        thumbnails=[thumbnail(Image.new("RGB", (90, 120), "teal"))] * 20,
        columns={"season": ["<b>summer</b>", "winter", None, *["winter"] * 17]},
    ).save(folder / "indexes" / "alpha.h5")
    with served(folder) as address:
        yield address


@pytest.mark.parametrize("id_", ODD_IDS)
def test_texts_of_a_gallery_are_text(page: Page, shops: str, id_: str) -> None:
    label = HOSTILE if id_ is ODD_IDS[0] else f"type {ODD_IDS.index(id_)}"
    page.goto(f"{shops}/?id=item 4&radius=16")
    link = page.get_by_role("link").filter(has=page.get_by_text(id_, exact=True))
    expect(link).to_have_attribute("data-id", id_)
    expect(link.locator(".label")).to_have_text(label)
    link.click()
    expect(page.locator("#query-name")).to_have_text(label)
    page.reload()
    expect(page.locator("#query-picture img")).to_have_attribute("alt", id_)
    expect(page.locator("#query-picture img")).to_have_js_property("naturalWidth", 72)


def test_what_is_known_of_a_match_filters(page: Page, shops: str) -> None:
    page.goto(f"{shops}/?id=item 4&radius=16")
    page.locator("#results a").filter(has_text=HOSTILE).first.focus()
    page.get_by_role("button", name="Only items with season=<b>summer</b>").click()
    expect(page.locator("#timing")).to_contain_text("1 item in")
    assert matches(page) == [ODD_IDS[0]]
    page.get_by_role("button", name="type 1").first.click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No item is left")
    alert.get_by_role("button", name="Clear the filters").click()
    expect(page.locator("#results a")).to_have_count(19)
    expect(alert).to_be_empty()


def test_many_types_are_shown_when_they_are_wanted(page: Page, shops: str) -> None:
    page.goto(f"{shops}/?id=item 4&label=type 7")
    types = page.get_by_role("group", name="Only these types").get_by_role("button")
    expect(types.first).to_be_visible()
    assert types.count() < 20
    expect(page.get_by_role("button", name="type 7 1")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="All 20 types").click()
    expect(types).to_have_count(20)


def test_galleries_are_chosen_and_one_without_an_encoder_takes_no_photos(
    page: Page, shops: str
) -> None:
    page.goto(shops)
    expect(page.locator("#samples img").first).to_be_visible()
    expect(page.get_by_text("it takes no photos")).to_be_visible()
    expect(page.get_by_role("button", name="Choose a photo").first).to_be_hidden()
    bring(page, "drop", DRESS)
    expect(page.get_by_role("alert")).to_contain_text("This gallery takes no photos")
    page.locator("#samples a").first.click()
    expect(page.locator("#results img").first).to_be_visible()
    page.get_by_role("combobox", name="Gallery").select_option("beta")
    page.wait_for_url("**gallery=beta")
    # Its items have the same ids, but neither labels nor pictures: their ids stand for both.
    page.locator("#samples a").first.click()
    page.wait_for_url("**gallery=beta&id=*")
    first = page.locator("#results a").first
    expect(first.locator(".words")).to_have_text(first.get_attribute("data-id") or "")
    expect(page.get_by_role("group", name="Only these types")).to_be_hidden()
    expect(page.locator("#strips figure")).to_have_count(1)
    page.go_back()
    page.go_back()
    expect(page.get_by_role("combobox", name="Gallery")).to_have_value("alpha")
    expect(page.locator("#results img").first).to_be_visible()
