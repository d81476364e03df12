"""The list of runs in a browser: its filters, search, keys and marks, and the way back to it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.browser import WITHOUT_STREAM, Tabs, is_shown_at
from tests.support.viewed import Viewed

FILTERS = {
    "status": "timeout",
    "agent": "coder",
    "tool": "run_tests",
    "model": "gpt-4o-mini",
    "user": "mara",
    "session": "board-report",
    "tag": "nightly",
    "where": "metadata.team=red",
    "score": "helpful=true",
    "tool_error": "query_table",
    "since": "3h",
    "until": "2026-01-01",
    "min_duration": "1m",
    "run": "supplier-report",
    "service": "shop",
}
PAGE_ROWS = 60
CHIPS = ("status", "agent", "tool")


def rows(page: Page) -> Locator:
    """The rows of the list that are in the document, without its header."""
    return page.locator(".list [role=row][data-run]")


def selected(page: Page) -> Locator:
    """The selected row."""
    return page.locator(".list [aria-selected=true]")


def count_is(page: Page, count: int) -> None:
    """Wait until the page shows that it has so many runs."""
    expect(page.locator(".count")).to_have_text(f"{count:,} run{'' if count == 1 else 's'}")


def totals(shown: Viewed, **filters: Any) -> int:
    """How many runs there are by filters."""
    return int(shown.client.get("/api/runs", params=filters).raise_for_status().json()["total"])


def opened(tabs: Tabs, shown: Viewed, query: str = "") -> Page:
    """Open the list, and wait for its rows."""
    page = tabs.open(shown.url + query)
    expect(rows(page).first).to_be_visible()
    return page


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_of_the_address_selects_runs(tabs: Tabs, shown: Viewed, name: str) -> None:
    page = tabs.open(f"{shown.url}?{name}={FILTERS[name].replace('=', '%3D')}")

    count_is(page, totals(shown, **{name: FILTERS[name]}))


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_selects_runs_and_lets_them_go(tabs: Tabs, shown: Viewed, name: str) -> None:
    page = opened(tabs, shown)
    value = next(iter(shown.json("/api/facets")[name]))
    chip = page.get_by_role("group", name=name).get_by_role("button", name=re.compile(rf"^{value} "))

    chip.click()
    is_shown_at(page, rf"\?{name}={value}$")
    count_is(page, totals(shown, **{name: value}))
    expect(chip).to_have_attribute("aria-pressed", "true")
    chip.click()

    is_shown_at(page, r"/$")
    count_is(page, totals(shown))


@pytest.mark.parametrize("name", ["user", "where", "score", "tool_error", "min_duration", "run"])
def test_a_filter_is_typed(tabs: Tabs, shown: Viewed, name: str) -> None:
    page = opened(tabs, shown)
    page.get_by_text("More filters").click()
    page.locator(f"input[name={name}]").fill(FILTERS[name])
    page.keyboard.press("Enter")

    is_shown_at(page, rf"\?{name}=")
    count_is(page, totals(shown, **{name: FILTERS[name]}))
    page.get_by_role("button", name=f"Remove filter {name}").click()
    count_is(page, totals(shown))


def test_a_wrong_filter_is_explained(tabs: Tabs, shown: Viewed) -> None:
    tabs.expect_problem("400")
    page = tabs.open(shown.url + "?since=someday")

    expect(page.get_by_role("alert")).to_contain_text("someday")


def test_a_stretch_of_the_histogram_is_the_window_shown(tabs: Tabs, shown: Viewed) -> None:
    page = opened(tabs, shown)
    chart = page.locator(".histogram svg")
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 10)
    page.mouse.up()

    is_shown_at(page, r"since=[^&]+&until=")
    query = page.evaluate("() => Object.fromEntries(new URLSearchParams(location.search))")
    count_is(page, totals(shown, **query))
    assert 0 < totals(shown, **query) < totals(shown)


def test_a_late_answer_to_an_earlier_filter_is_not_shown(tabs: Tabs, shown: Viewed) -> None:
    page = opened(tabs, shown)
    status, agent = (next(iter(shown.json("/api/facets")[name])) for name in ("status", "agent"))
    assert totals(shown, status=status, agent=agent) != totals(shown, status=status)
    late: list[Route] = []
    page.route(re.compile(r"/api/runs\?"), lambda route: route.continue_() if late else late.append(route))
    for name, value in (("status", status), ("agent", agent)):
        page.get_by_role("group", name=name).get_by_role("button", name=re.compile(rf"^{value} ")).click()
    count_is(page, totals(shown, status=status, agent=agent))
    with page.expect_response(lambda response: response.request == late[0].request):
        late[0].continue_()
    page.evaluate("() => fetch('api/about').then((answer) => answer.text())")  # which comes after that answer

    count_is(page, totals(shown, status=status, agent=agent))


def test_runs_are_found_by_a_text_within_them(tabs: Tabs, shown: Viewed) -> None:
    page = opened(tabs, shown)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("penalty for lateness")

    is_shown_at(page, r"\?text=penalty")
    count_is(page, 1)
    expect(rows(page)).to_contain_text(["Which of our three suppliers"])
    page.keyboard.press("Escape")
    count_is(page, totals(shown))


def test_a_search_is_cancelled(tabs: Tabs, shown: Viewed) -> None:
    page = opened(tabs, shown)
    waiting: list[Route] = []
    page.route("**/api/search*", lambda route: waiting.append(route))
    page.get_by_role("searchbox").fill("refund")

    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()

    expect(page.locator(".count")).to_have_text("0 runs, search cancelled")
    expect(page.get_by_role("progressbar")).to_be_hidden()
    assert len(waiting) == 1


@pytest.mark.parametrize("sort", ["time", "duration"])
def test_what_a_search_found_is_in_order(tabs: Tabs, shown: Viewed, sort: str) -> None:
    page = tabs.open(f"{shown.url}?text=refund&sort={sort}")
    listed = shown.client.get("/api/runs", params={"text": "refund", "sort": sort}).json()["rows"]

    for number, row in enumerate(listed[:5], 1):
        expect(page.locator(f".list [aria-rowindex='{number}']")).to_have_attribute("data-run", row["run_id"])


@pytest.mark.parametrize("key", ["Enter", "ArrowDown"])
def test_keys_lead_from_the_search_to_the_list(tabs: Tabs, shown: Viewed, key: str) -> None:
    page = opened(tabs, shown)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press(key)

    expect(page.get_by_role("grid")).to_be_focused()


def test_a_search_looks_for_news_only_after_changes(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(f"{shown.url}?text=refund", before=WITHOUT_STREAM)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(selected(page)).to_be_visible()  # after the search
    with page.expect_request("**/api/search?*since=*"):
        page.evaluate("() => { changed = 1 }")
    for _ in range(3):  # at the third one what would have followed the first one is done
        with page.expect_response("**/api/about"):
            pass
    page.keyboard.press("x")

    assert sum("since=" in url for url in asked) == 1
    expect(page.locator(".marked")).to_be_visible()


def test_keys_move_through_the_list(tabs: Tabs, shown: Viewed) -> None:
    page = opened(tabs, shown)
    grid, last = page.get_by_role("grid"), str(totals(shown))
    expect(selected(page)).to_have_attribute("aria-rowindex", "1")
    for key, number in (("j", "2"), ("ArrowDown", "3"), ("k", "2"), ("ArrowUp", "1"), ("End", last), ("Home", "1")):
        page.keyboard.press(key)
        expect(selected(page)).to_have_attribute("aria-rowindex", number)
        expect(selected(page)).to_be_in_viewport()
        expect(grid).to_have_attribute("aria-activedescendant", selected(page).get_attribute("id") or "")
    expect(grid).to_have_attribute("aria-rowcount", last)

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


@pytest.mark.parametrize("way", ["Escape", "back"])
def test_the_way_back_leads_to_the_same_place(tabs: Tabs, shown: Viewed, way: str) -> None:
    page = opened(tabs, shown)
    page.keyboard.press("End")
    for _ in range(3):
        page.keyboard.press("k")
    expect(selected(page)).to_have_attribute("data-run", re.compile("."))  # it is there when its part of the list is
    place, run_id = selected(page).get_attribute("aria-rowindex"), selected(page).get_attribute("data-run")
    assert place is not None
    page.keyboard.press("Enter")
    is_shown_at(page, f"/runs/{run_id}")
    expect(page.get_by_role("treegrid")).to_be_visible()

    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.go_back()

    expect(selected(page)).to_have_attribute("aria-rowindex", place)
    expect(selected(page)).to_have_attribute("data-run", run_id or "")
    expect(selected(page)).to_be_in_viewport()


def test_two_marked_runs_are_compared(tabs: Tabs, shown: Viewed) -> None:
    page = opened(tabs, shown)
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()
    for key in ("x", "j", "x"):
        page.keyboard.press(key)
    expect(page.locator(".marked")).to_have_count(2)
    expect(page.get_by_role("img", name=re.compile("^marked as"))).to_have_text(["A", "B"])
    for key in ("j", "x"):  # the first one gives way
        page.keyboard.press(key)
    expect(page.get_by_role("img", name=re.compile("^marked as"))).to_have_text(["A", "B"])
    expect(page.locator(".marked").first).to_have_attribute("aria-rowindex", "2")
    page.get_by_role("button", name="Compare").click()

    is_shown_at(page, r"/compare\?a=[^&]+&b=")
    expect(page.locator(".deltas")).to_be_visible()


def test_all_rows_in_view_are_asked_for_after_a_reset(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url, before=WITHOUT_STREAM)
    expect(rows(page).first).to_be_visible()
    while int(number := selected(page).get_attribute("aria-rowindex") or "") <= PAGE_ROWS:
        page.keyboard.press("PageDown")
        expect(selected(page)).not_to_have_attribute("aria-rowindex", number)
    with page.expect_request(lambda request: "count=0" not in request.url and "/api/runs?" in request.url) as asked:
        page.evaluate("() => { changed = 1 }")
    query = dict(parse_qsl(urlsplit(asked.value.url).query))

    assert int(query["from"]) <= PAGE_ROWS
    assert int(query["from"]) + int(query["count"]) >= int(number)


def test_a_look_during_the_first_load_does_not_begin_anew(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open("about:blank", before=WITHOUT_STREAM)
    held: list[Route] = []
    page.route(re.compile(r"/api/runs\?"), lambda route: held.append(route), times=1)
    with page.expect_request(re.compile(r"/api/runs\?")):
        page.goto(shown.url)
    page.evaluate("() => { changed = 1 }")
    for _ in range(2):
        with page.expect_response("**/api/about"):
            pass
    with page.expect_request(re.compile(r"/api/runs\?")) as next_asked:
        held[0].continue_()
        expect(rows(page).first).to_be_visible()
        page.keyboard.press("PageDown")

    assert "result=" in next_asked.value.url
    expect(selected(page)).not_to_have_attribute("aria-rowindex", "1")


def test_a_removed_run_is_neither_opened_nor_marked(tabs: Tabs, shown: Viewed) -> None:
    def without_first(route: Route) -> None:
        answer = route.fetch()
        listed = answer.json()
        listed["rows"][0] = {"run_id": None, "status": "interrupted"}  # as lists by an index have it
        route.fulfill(response=answer, json=listed)

    page = tabs.open("about:blank")
    page.route(re.compile(r"/api/runs\?"), without_first)
    page.goto(shown.url)
    expect(page.get_by_role("gridcell", name="removed")).to_be_visible()
    for key in ("x", "j", "x", "k", "Enter"):
        page.keyboard.press(key)

    expect(page.get_by_text("1 run marked")).to_have_count(1)
    is_shown_at(page, "/$")


def test_a_preview_shows_the_selected_run(tabs: Tabs, shown: Viewed) -> None:
    page = opened(tabs, shown, "?run=supplier-report")
    page.keyboard.press("Space")

    expect(page.get_by_label("Preview")).to_contain_text("mara")


@pytest.mark.parametrize("sort", ["duration", "steps", "tokens", "cost"])
def test_the_list_has_an_order(tabs: Tabs, shown: Viewed, sort: str) -> None:
    page = opened(tabs, shown)
    page.get_by_label("Order").select_option(sort)

    first = shown.json("/api/runs", sort=sort)["rows"][0]["run_id"]
    expect(rows(page).first).to_have_attribute("data-run", first)
    is_shown_at(page, rf"\?sort={sort}")
