"""What the page costs, as far as it can be counted: requests, bytes and elements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Response, expect

from tests.support.browser import Tabs
from tests.support.very_long_runs import write_long_run
from tests.support.viewed import Viewed, viewing

_STEPS = 50_000
_MOST_NODES = 400
_MOST_SHELL_REQUESTS, _MOST_SHELL_BYTES = 12, 60_000
_NODES = """() => document.querySelectorAll("*").length - document.querySelectorAll(".step *").length"""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    """The page of a store with a run of 50,000 steps."""
    with viewing(
        write_long_run(tmp_path_factory.mktemp("long") / "traces.jsonl", _STEPS), "--port", 0, "--no-open"
    ) as running:
        yield running


def scrolled_to(page: Page, place: str) -> None:
    """Move to the first or last row, and wait until it is drawn."""
    expect(page.get_by_role("treegrid")).to_be_focused()
    page.keyboard.press(place)
    number = {"Home": 1, "End": _STEPS + 1}[place]
    expect(page.locator(f"[aria-rowindex='{number}']")).to_be_in_viewport()


@pytest.mark.parametrize("path", ["", "runs/supplier-report", "metrics", "compare?a=refund-before&b=refund-after"])
def test_a_page_is_made_of_little(shown: Viewed, tabs: Tabs, path: str) -> None:
    page = tabs.open("about:blank")
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(shown.url + path)
    expect(page.locator(".page > *").nth(1)).to_be_visible()
    shell = [answer for answer in answers if "/api/" not in answer.url]

    assert len(shell) <= _MOST_SHELL_REQUESTS
    assert sum(answer.request.sizes()["responseBodySize"] for answer in shell) <= _MOST_SHELL_BYTES
    assert all(answer.headers.get("content-encoding") == "gzip" for answer in shell if answer.url.endswith(".js"))


@pytest.mark.slow
def test_a_run_of_50_000_steps_has_few_elements(long: Viewed, tabs: Tabs) -> None:
    page = tabs.open(long.url + "runs/long")
    expect(page.get_by_role("treegrid")).to_have_attribute("aria-rowcount", str(_STEPS + 1))
    assert page.evaluate(_NODES) <= _MOST_NODES
    for place in ("End", "Home", "End"):
        scrolled_to(page, place)
        assert page.evaluate(_NODES) <= _MOST_NODES
    page.mouse.move(200, 500)
    page.mouse.wheel(0, -1_000_000)
    expect(page.locator(f"[aria-rowindex='{_STEPS + 1}']")).to_have_count(0)

    assert page.evaluate(_NODES) <= _MOST_NODES
    expect(page.locator("[role=treegrid] [role=row]").nth(5).locator(".preview-text")).to_contain_text("number")


@pytest.mark.slow
def test_the_last_of_50_000_steps_is_found(long: Viewed, tabs: Tabs) -> None:
    page = tabs.open(long.url + "runs/long")
    expect(page.get_by_role("treegrid")).to_have_attribute("aria-rowcount", str(_STEPS + 1))
    page.keyboard.press("/")
    page.keyboard.type(f"result {_STEPS}")

    expect(page.locator("[aria-selected=true]").first).to_have_attribute("aria-rowindex", str(_STEPS + 1))
