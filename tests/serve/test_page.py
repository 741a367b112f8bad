from __future__ import annotations

import numpy as np
import pytest
from browser import (
    DRESS,
    DRESS_ID,
    FEW,
    Watch,
    ask,
    bring,
    code_of,
    distances,
    find_dress,
    matches,
    shown_address,
    slide,
    start,
)
from playwright.sync_api import Browser, Page, Route, expect

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.slow


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


def test_a_photo_may_be_chosen_before_the_page_is_ready(page: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/galleries", hold)
    with page.expect_request("**/api/galleries"):
        page.goto("/")
    page.locator("#choose").set_input_files(DRESS)
    held[0].continue_()
    expect(page.locator("#query-name")).to_have_text("Your photo")


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
    expect(page.get_by_role("heading", name="Beyond the ball")).to_be_visible()
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


def test_a_whole_visit_stays_at_home_and_breaks_no_rule(page: Page, address: str) -> None:
    watch = Watch(page)
    find_dress(page)
    slide(page, 4)
    page.wait_for_url("**radius=4*")
    page.get_by_role("button", name="Shirt").first.click()
    page.get_by_label("Hide duplicates").check()
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
