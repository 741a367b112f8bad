from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="the page is tested with playwright")
pytest.importorskip("axe_playwright_python", reason="... and axe-playwright-python")

from axe_playwright_python.sync_playwright import Axe
from browser import CHROMIUM, Watch, chromium, served
from playwright.sync_api import Browser, Page, Route, expect

import hashsearch.datasets
from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium here; HASHSEARCH_CHROMIUM names the program"
    ),
]

SAMPLES = Path(hashsearch.datasets.__file__).parent / "sample"
DRESS = SAMPLES / "dress-on-white.jpg"  # made from this item, of the same code:
DRESS_ID = "test-00075"
PHONE = {"width": 390, "height": 844}
FEW = 24  # matches that the page shows at first


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the gallery that ``build-index`` makes of the sample."""
    folder = tmp_path_factory.mktemp("served")
    build = [sys.executable, "-m", "hashsearch", "build-index"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def loner(galleries: Path) -> str:
    """An item that has a few others within radius 0, so that some of the first lie beyond."""
    gallery = Gallery.open(galleries / "indexes" / "fashion-mnist.h5")
    semantic = gallery.codes()[:, : gallery.n_bits // 8]
    _, first, items = np.unique(semantic, axis=0, return_index=True, return_counts=True)
    return gallery.ids(first[(items > 3) & (items < FEW // 2)])[0]


@pytest.fixture(scope="module")
def address(galleries: Path) -> Iterator[str]:
    with served(galleries) as address:
        yield address


# A browser of sync_playwright holds the thread's event loop, so it goes when this module is done.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
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


def test_an_uploaded_photo_finds_its_item_first(page: Page) -> None:
    find_dress(page)
    assert matches(page)[0] == DRESS_ID
    first = page.locator("#ball-matches a").first
    expect(first).to_have_accessible_name(f"Dress {DRESS_ID} distance 0 · whole 0")
    inside = ask(page, code=code_of(page))["ball_size"]
    said = f"{inside} of 10,000 items lie within 2 bits."
    expect(page.locator("#outcome")).to_have_text(said)
    expect(page.get_by_role("status").first).to_have_text(said)
    expect(page.get_by_role("img", name=DRESS.name)).to_be_visible()
    expect(page.locator("#query-name")).to_be_focused()


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_photo_may_be_pasted_or_dropped_anywhere(page: Page, kind: str) -> None:
    start(page)
    if kind == "drop":
        bring(page, "dragover", DRESS)
        expect(page.get_by_text("Drop the photo to search with it")).to_be_visible()
    bring(page, kind, DRESS)
    expect(page.locator("#query-name")).to_have_text("Your photo")
    expect(page.get_by_text("Drop the photo to search with it")).to_be_hidden()
    assert matches(page)[0] == DRESS_ID


def test_the_slider_tells_at_once_and_then_shows_the_service_s_answer(page: Page) -> None:
    find_dress(page)
    asked: list[Route] = []

    def hold_the_first(route: Route) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()

    page.route("**/api/search", hold_the_first)
    slide(page, 1)
    # No answer has come yet.
    expected = ask(page, code=code_of(page), radius=1)
    expect(page.locator("#outcome strong")).to_have_text(f"{expected['ball_size']}")
    expect(page.locator("#radius-said")).to_have_text("1 bit")
    expect(page.locator("#histogram rect.inside")).to_have_count(2)
    slide(page, 3)
    slide(page, 0)
    asked[0].continue_()
    page.wait_for_url("**radius=0*")
    expected = ask(page, code=code_of(page), radius=0)
    assert matches(page) == [match["id"] for match in expected["matches"]]
    # What was slid over meanwhile is never asked for, and is no step of the way back.
    assert len(asked) == 2
    page.go_back()
    expect(page.locator("#start")).to_be_visible()


def test_inside_the_ball_and_beyond_it_are_told_apart(page: Page, loner: str) -> None:
    page.goto(f"/?id={loner}&radius=0")
    expect(page.get_by_role("heading", name="Inside the ball")).to_be_visible()
    expect(page.get_by_role("heading", name="Beyond it")).to_be_visible()
    found = ask(page, id=loner, radius=0)["matches"]
    inside = [match["id"] for match in found if match["in_ball"]]
    assert 0 < len(inside) < FEW == len(found)
    assert matches(page, "#ball") == inside
    assert matches(page) == [match["id"] for match in found]
    assert set(distances(page, "#ball")) == {0}
    assert min(distances(page, "#beyond")) > 0


def test_types_filter_and_the_filter_is_in_the_address(page: Page) -> None:
    find_dress(page)
    bag = page.get_by_role("button", name="Bag")
    bag.focus()
    page.keyboard.press("Enter")
    expect(bag).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#ball .label, #beyond .label").first).to_have_text("Bag")
    assert set(page.locator("#results .grid .label").all_inner_texts()) == {"Bag"}
    expect(bag).to_be_focused()
    page.get_by_role("button", name="Coat").click()
    expect(page.locator("#timing")).to_contain_text("2,000 items")
    assert "label=Bag&label=Coat" in page.url
    page.reload()
    expect(bag).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#timing")).to_contain_text("2,000 items")
    page.go_back()
    expect(page.locator("#timing")).to_contain_text("1,000 items")
    bag.click()
    expect(page.locator("#timing")).to_contain_text("10,000 items")


def test_a_result_is_searched_with_and_the_way_back_leads_home(page: Page) -> None:
    page.goto("/")
    page.locator("#samples a", has_text="Sandal").click()
    expect(page.locator("#query-name")).to_have_text("Sandal")
    first, second = shown_address(page), matches(page)[3]
    page.locator("#results [data-id]").nth(3).click()
    page.wait_for_url(f"**id={second}")
    expect(page.locator("#query-picture img")).to_have_attribute("alt", second)
    page.go_back()
    page.wait_for_url(f"**{first}")
    expect(page.locator(f"#results [data-id={second}]")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Find it by photo")).to_be_visible()
    page.go_forward()
    expect(page.locator(f"#results [data-id={second}]")).to_be_visible()


def test_the_way_back_leads_to_the_same_place_of_the_page(page: Page) -> None:
    page.goto(f"/?id={DRESS_ID}&k=200")
    last = page.locator("#results [data-id]").last
    id_ = last.get_attribute("data-id")
    last.click()
    page.wait_for_url(f"**id={id_}")
    expect(page.locator("#query-name")).to_be_in_viewport()
    expect(page.locator(f"#results [data-id={id_}]")).to_have_count(0)
    page.go_back()
    expect(page.locator(f"#results [data-id={id_}]")).to_be_in_viewport()
    expect(page.locator("#results [data-id]").first).not_to_be_in_viewport()


def test_an_address_can_be_shared(page: Page, browser: Browser, address: str) -> None:
    find_dress(page)
    slide(page, 1)
    page.wait_for_url("**radius=1*")
    found = matches(page)
    with browser.new_context(base_url=address) as elsewhere:
        other = elsewhere.new_page()
        other.goto(shown_address(page))
        expect(other.locator("#query-name")).to_have_text("A shared photo")
        assert matches(other) == found
        expect(other.locator("#radius")).to_have_value("1")
        expect(other.locator("#query-picture svg")).to_be_visible()
    # Who took the photo sees it still.
    page.get_by_role("link", name="hashsearch").click()
    page.go_back()
    expect(page.locator("#query-name")).to_have_text("Your photo")
    expect(page.locator("#query-picture img")).to_be_visible()


def test_a_link_opens_in_a_tab_of_its_own(page: Page) -> None:
    find_dress(page)
    with page.context.expect_page() as opened:
        page.locator("#results [data-id]").nth(2).click(modifiers=["ControlOrMeta"])
    expect(opened.value.locator("#query-name")).to_have_text("Dress")
    expect(page.locator("#query-name")).to_have_text("Your photo")


def test_codes_are_compared_bit_by_bit(page: Page) -> None:
    page.goto(f"/?id={DRESS_ID}&k=60")
    answer = ask(page, id=DRESS_ID, k=60)
    place, match = next(
        (place, each) for place, each in enumerate(answer["matches"]) if each["distance"] == 2
    )
    page.locator("#results [data-id]").nth(place).hover()
    expect(page.locator("#compared-place")).to_have_text(f"{match['id']}, match {place + 1} of 60")
    semantic = page.get_by_role("img", name="Semantic code")
    own, its = (
        np.unpackbits(np.frombuffer(bytes.fromhex(code), np.uint8), bitorder="little")
        for code in (answer["query"]["code"], match["code"])
    )
    differing = np.flatnonzero(own != its)
    said = ", ".join(str(bit) for bit in differing if bit < 32)
    expect(semantic).to_have_accessible_name(f"Semantic code: 2 of 32 bits differ, at {said}")
    expect(semantic.locator(".differs")).to_have_count(2)
    marked: list[int] = page.locator("#strips .bit").evaluate_all(
        "bits => bits.flatMap((bit, i) => bit.classList.contains('differs') ? [i] : [])"
    )
    assert marked == differing.tolist()
    ones = "bits => bits.map(bit => Number(bit.classList.contains('%s')))"
    strips = page.locator("#strips .bit")
    assert strips.evaluate_all(ones % "above") == own.tolist()
    assert strips.evaluate_all(ones % "one") == its.tolist()
    page.get_by_role("button", name="Compare with the next match").click()
    expect(page.locator("#compared-place")).to_contain_text(f"match {place + 2} of 60")


def test_more_are_shown_when_they_are_wanted(page: Page) -> None:
    find_dress(page)
    assert len(matches(page)) == FEW
    few = matches(page)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#results [data-id]")).to_have_count(2 * FEW)
    assert matches(page)[:FEW] == few
    assert "k=48" in page.url


def test_a_file_that_is_no_photo_is_explained_and_what_was_found_stays(
    page: Page, tmp_path: Path
) -> None:
    find_dress(page)
    found = matches(page)
    bad = tmp_path / "dress.jpg"
    bad.write_bytes(DRESS.read_bytes()[:200])
    page.locator("#choose").set_input_files(bad)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("That cannot be searched with")
    expect(alert).to_contain_text("image")
    assert matches(page) == found
    page.locator("#choose").set_input_files(DRESS)
    expect(alert).to_be_empty()


def test_an_item_that_is_gone_is_explained_above_items_to_try(page: Page) -> None:
    page.goto("/?id=nobody")
    expect(page.get_by_role("alert")).to_contain_text("'nobody'")
    expect(page.locator("#samples img").first).to_be_visible()
    page.locator("#samples a").first.click()
    expect(page.locator("#query-name")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_empty()
    page.goto("/?gallery=gone")
    expect(page.get_by_role("alert")).to_contain_text("There is no 'gone'; there are fashion-mnist")


def test_an_empty_ball_says_how_far_the_nearest_is(page: Page) -> None:
    code = ask(page, id=DRESS_ID, k=1)["query"]["code"]
    far = f"ffffffff{code[8:]}"
    page.goto(f"/?code={far}")
    expect(page.get_by_role("heading", name="Beyond it")).to_be_visible()
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


def test_texts_of_a_gallery_are_text(browser: Browser, tmp_path: Path, encoder_file: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    folder = tmp_path / "photos"
    names = [f"{hostile}/a b&c=ü#?.png", "plain/100%25.png", "plain/'\"+.png"]
    for place, name in enumerate(names):
        # A label is the folder's name; slashes cannot be in it.
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(place).integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    build = ["build-index", str(folder), "--encoder", str(encoder_file)]
    subprocess.run(
        [sys.executable, "-m", "hashsearch", *build], cwd=tmp_path, check=True, capture_output=True
    )
    with (
        served(tmp_path, "--encoder", str(encoder_file)) as address,
        browser.new_context(base_url=address) as context,
    ):
        page = context.new_page()
        watch = Watch(page)
        page.goto("/")
        for name in names:
            page.goto("/")
            page.locator("#choose").set_input_files(folder / name)
            expect(page.locator("#query-name")).to_have_text("Your photo")
            first = page.locator("#results [data-id]").first
            expect(first).to_have_attribute("data-id", re.compile(re.escape(Path(name).name)))
            id_ = first.get_attribute("data-id")
            assert id_ is not None
            first.click()
            expect(page.locator("#query-picture img")).to_have_attribute("alt", id_)
            expect(page.locator("#query-name")).to_have_text(Path(name).parent.name)
            page.reload()
            expect(page.locator("#query-picture img")).to_have_js_property("naturalWidth", 28)
        page.get_by_role("button", name=hostile).click()
        expect(page.locator("#timing")).to_contain_text("1 item")
        assert watch.complaints == []


def faults(page: Page) -> list[str]:
    """What axe finds wrong, and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {json.dumps([node['target'] for node in each['nodes']])}" for each in found
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_no_fault(
    browser: Browser, address: str, loner: str, scheme: Any, width: int
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
        base_url=address, viewport=PHONE, has_touch=True, is_mobile=True
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


def test_a_whole_visit_stays_at_home_and_breaks_no_rule(page: Page, address: str) -> None:
    watch = Watch(page)
    find_dress(page)
    slide(page, 4)
    page.wait_for_url("**radius=4*")
    page.get_by_role("button", name="Shirt").first.click()
    page.get_by_label("Show each duplicate once").check()
    page.wait_for_url("**distinct=true*")
    page.locator("#results [data-id]").nth(5).click()
    page.wait_for_url("**id=*")
    page.get_by_role("button", name="Show more").click()
    page.wait_for_url("**k=48*")
    page.go_back()
    page.get_by_role("link", name="hashsearch").click()
    expect(page.locator("#samples img").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert watch.complaints == []
    origins = {url.split("/api")[0] for url in watch.requests if not url.startswith("blob:")}
    assert all(origin.startswith(address) for origin in origins)
    assert len(watch.requests) > 50
