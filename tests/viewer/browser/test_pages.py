"""Every page, in light and dark, in forced colours and on a narrow window: it opens, and everybody can use it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Tabs, violations
from tests.support.viewed import Viewed

PAGES = {
    "": "Which of our three suppliers was late most often this year?",
    "runs/supplier-report": "KeyError: 'year'",
    "runs/supplier-report?item=0": "You are a careful analyst.",
    "sessions": "board-report",
    "sessions/board-report": "Turn 1 failed first",
    "compare?a=refund-before&b=refund-after": "30 equal steps",
    "metrics?by=agent": "By agent",
}
"""The pages, each with a text on it."""
_NARROW_PIXELS = 400
_OUT_OF_REACH = """() => [...document.querySelectorAll("button, a[href], input, select, summary")].filter((element) => {
  if (!element.checkVisibility()) return false;
  let { left, right } = element.getBoundingClientRect();
  for (let above = element.parentElement; above; above = above.parentElement) {
    if (getComputedStyle(above).overflowX !== "visible") right = Math.min(right, above.getBoundingClientRect().right);
  }
  return right > left && (left < 0 || right > innerWidth);
}).map((element) => element.outerHTML)"""
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.partition("?")[0] or "list")


def open_page(tabs: Tabs, shown: Viewed, path: str, **options: Any) -> Page:
    """Open a page, and wait for its content."""
    page = tabs.open(shown.url + path, **options)
    expect(page.get_by_text(PAGES[path]).first).to_be_visible()
    return page


@each_page
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_on_a_page_is_hard_to_use(tabs: Tabs, shown: Viewed, path: str, theme: str) -> None:
    page = open_page(tabs, shown, path, color_scheme=theme, reduced_motion="reduce")

    assert violations(page) == []


@each_page
def test_a_narrow_window_shows_all_controls(tabs: Tabs, shown: Viewed, path: str) -> None:
    page = open_page(tabs, shown, path, viewport={"width": _NARROW_PIXELS, "height": 800})

    assert page.evaluate("() => document.documentElement.scrollWidth") <= _NARROW_PIXELS
    assert page.evaluate(_OUT_OF_REACH) == []


@each_page
def test_marks_have_colours_where_colours_are_forced(tabs: Tabs, shown: Viewed, path: str) -> None:
    page = open_page(tabs, shown, path, forced_colors="active")

    unseen = """() => [...document.querySelectorAll(".mark, .bar-of-time, .list [aria-selected=true]")].filter((element) => {
      const style = getComputedStyle(element), back = getComputedStyle(document.body).backgroundColor;
      return style.backgroundColor === back && style.outlineStyle === "none";
    }).map((element) => element.className)"""
    assert page.evaluate(unseen) == []


def test_the_theme_is_chosen_and_kept(tabs: Tabs, shown: Viewed) -> None:
    page = open_page(tabs, shown, "", color_scheme="light")
    backs = {page.evaluate("() => getComputedStyle(document.body).backgroundColor")}

    page.get_by_role("button", name="Theme: auto").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    page.reload()

    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") not in backs


def test_times_are_those_of_the_reader(tabs: Tabs, shown: Viewed) -> None:
    page = open_page(tabs, shown, "", locale="en-US")
    text = "(iso) => import('./assets/h.js').then(({ whenText }) => whenText(iso))"

    assert page.evaluate(text, "2020-01-31T23:30:00+00:00") == "2020-02-01 00:30"
    assert page.evaluate(text, None) == ""


@pytest.mark.parametrize("code", ["eval('1')", "new Function('1')()", "document.body.innerHTML = '<b>b</b>'"])
def test_no_text_is_run_as_code(tabs: Tabs, shown: Viewed, code: str) -> None:
    page = open_page(tabs, shown, "")
    tabs.expect_problem("Content Security Policy|Trusted|eval")

    later = f"setTimeout(() => {{ try {{ resolve(String({code})) }} catch (error) {{ resolve(error.name) }} }})"
    assert page.evaluate(f"() => new Promise((resolve) => {later})") in ("EvalError", "TypeError")


def test_an_unknown_run_and_page_are_named(tabs: Tabs, shown: Viewed) -> None:
    tabs.expect_problem("404")

    expect(tabs.open(shown.url + "runs/none").get_by_role("alert")).to_contain_text("none")
    expect(tabs.open(shown.url + "sessions/none").get_by_role("alert")).to_contain_text("none")
    expect(tabs.open(shown.url + "compare").get_by_role("alert")).to_contain_text("Name two runs")
