"""Contents that would harm a page that took them for more than text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from otel_agent_trace import load_run
from otel_agent_trace.viewer.html_file import document_of
from tests.support.browser import Tabs
from tests.support.hostile_runs import RUN_ID, SESSION_ID, write_hostile_runs
from tests.support.viewed import Viewed, viewing

_RUN, _SESSION = quote(RUN_ID, safe=""), quote(SESSION_ID, safe="")
_PAGES = ("", f"sessions/{_SESSION}", "sessions", "metrics?by=agent", f"compare?a={_RUN}&b=second")
_NAMES = ("agent", "model", "tool", "deep", "long", "failing")
_FOREIGN = """() => [...document.body.querySelectorAll("script, style, iframe, img, base, meta, a[href^='javascript']")]
  .filter((element) => element.type !== "application/octet-stream" && !(element.type === "module" && element.parentElement === document.body))
  .map((element) => element.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "traces.jsonl"
    write_hostile_runs(path)
    return path


@pytest.fixture(scope="module")
def hostile(hostile_store: Path) -> Iterator[Viewed]:
    with viewing(hostile_store, "--port", 0, "--no-open") as running:
        yield running


def is_unharmed(page: Page) -> None:
    """Check that nothing ran and nothing was made of the contents, and that the page is still one."""
    assert page.evaluate("() => globalThis.harmed") is None
    assert page.evaluate("() => [{}.constructor === Object, {}.harmed]") == [True, None]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_role("banner")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_in_viewport()


def look_at_all_steps(page: Page) -> None:
    """Look at each step of the hostile run, in each of its tabs."""
    for number, name in enumerate(_NAMES):
        page.locator(f"[role=treegrid] [aria-rowindex='{number + 1}'] .preview-text").click()
        expect(page.locator(f"[aria-rowindex='{number + 1}'][aria-selected=true]")).to_be_visible()
        expect(page.locator(".step h2")).to_contain_text(name)
        for tab in page.get_by_role("tab").all():
            tab.click()
            expect(tab).to_have_attribute("aria-selected", "true")
            expect(page.get_by_role("tabpanel")).not_to_be_empty()
            for folded in page.locator(".step details:not([open]) > summary").all()[:5]:
                folded.click()
            assert page.evaluate(_FOREIGN) == []


@pytest.mark.parametrize("path", _PAGES, ids=["list", "session", "sessions", "metrics", "compare"])
def test_a_page_shows_hostile_contents_as_text(hostile: Viewed, tabs: Tabs, path: str) -> None:
    page = tabs.open(hostile.url + path)
    expect(page.locator("main")).to_contain_text("<script>globalThis.harmed=1</script>")

    assert page.evaluate(_FOREIGN) == []
    is_unharmed(page)


def test_a_hostile_run_is_shown_as_text(hostile: Viewed, tabs: Tabs) -> None:
    page = tabs.open(hostile.url)
    page.locator(".list a", has_text="<script>").last.click()
    expect(page.get_by_role("treegrid")).to_be_visible()
    assert page.evaluate("() => decodeURIComponent(location.pathname.slice('/runs/'.length))") == RUN_ID
    look_at_all_steps(page)
    is_unharmed(page)


def test_a_text_that_turns_round_turns_nothing_else_round(hostile: Viewed, tabs: Tabs) -> None:
    page = tabs.open(f"{hostile.url}runs/{_RUN}")
    name = page.get_by_role("heading", level=1).locator("b")

    expect(name).to_contain_text(r"\u202ereversed\u2066\u200f")
    expect(name).to_have_css("unicode-bidi", "isolate")


def test_long_values_unfold_in_parts(hostile: Viewed, tabs: Tabs) -> None:
    page = tabs.open(f"{hostile.url}runs/{_RUN}")
    page.locator("[role=treegrid] [aria-rowindex='5'] .preview-text").click()
    expect(page.locator(".step h2")).to_contain_text("long")

    assert page.evaluate("() => document.body.textContent.length") < 300_000
    is_unharmed(page)


def test_a_document_of_a_hostile_run_is_one_of_text(hostile_store: Path, tmp_path: Path, tabs: Tabs) -> None:
    file = tmp_path / "run.html"
    file.write_text(document_of(load_run(hostile_store, RUN_ID)), encoding="utf-8")
    page = tabs.open(file.as_uri(), offline=True)
    expect(page.get_by_role("treegrid")).to_be_visible()
    look_at_all_steps(page)

    is_unharmed(page)
