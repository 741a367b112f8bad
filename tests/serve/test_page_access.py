from __future__ import annotations

import re
from typing import Literal

import pytest
from browser import DRESS, DRESS_ID, SAMPLES, faults, matches, start
from playwright.sync_api import Browser, Page, expect

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_no_fault(
    browser: Browser, address: str, loner: str, scheme: Literal["light", "dark"], width: int
) -> None:
    with browser.new_context(
        base_url=address,
        color_scheme=scheme,
        reduced_motion="reduce",
        viewport={"width": width, "height": 900},
        bypass_csp=True,  # axe is a script that is not the page's
    ) as context:
        page = context.new_page()
        start(page)
        assert faults(page) == []
        page.goto(f"/?id={loner}&radius=0")
        expect(page.locator("#beyond")).to_be_visible()
        page.locator("#why").evaluate("panel => { panel.open = true; }")
        page.locator("#choose").set_input_files(SAMPLES / "LICENSE")
        expect(page.get_by_role("alert")).to_contain_text("image")
        assert faults(page) == []


@pytest.mark.parametrize("size", [(320, 640), (390, 844), (820, 1180), (1440, 900), (2560, 1440)])
def test_nothing_is_wider_than_the_screen(
    browser: Browser, address: str, size: tuple[int, int]
) -> None:
    with browser.new_context(
        base_url=address, viewport={"width": size[0], "height": size[1]}, has_touch=True
    ) as context:
        page = context.new_page()
        wide = "document.documentElement.scrollWidth > innerWidth"
        start(page)
        assert not page.evaluate(wide)
        page.locator("#choose").set_input_files(DRESS)
        expect(page.locator("#query-name")).to_be_visible()
        page.locator("#why").evaluate("panel => { panel.open = true; }")
        assert not page.evaluate(wide)
        page.locator("#why").evaluate("panel => { panel.open = false; }")
        if size[1] > 800:  # what was found is seen without scrolling
            expect(page.locator("#ball .frame").first).to_be_in_viewport(ratio=1)


def test_a_phone_offers_its_camera(browser: Browser, address: str) -> None:
    with browser.new_context(
        base_url=address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    ) as context:
        page = context.new_page()
        page.goto("/")
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Take a photo").tap()
        expect(page.locator("#camera")).to_have_attribute("capture", "environment")
        chooser.value.set_files(DRESS)
        expect(page.locator("#query-name")).to_have_text("Your photo")
        assert matches(page)[0] == DRESS_ID


def test_a_keyboard_is_enough(page: Page) -> None:
    start(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        for _ in range(2):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    chooser.value.set_files(DRESS)
    expect(page.locator("#query-name")).to_be_focused()
    slider = page.get_by_role("slider", name="Radius")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**radius=3*")
    expect(slider).to_be_focused()
    expect(slider).to_have_attribute("aria-valuetext", re.compile("^3 bits, .* items inside$"))
    page.locator("#results [data-id]").nth(1).focus()
    second = matches(page)[1]
    page.keyboard.press("Enter")
    page.wait_for_url(f"**id={second}*")
