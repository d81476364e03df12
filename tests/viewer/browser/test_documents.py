"""Runs on their own: as documents from a folder, and in notebooks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from otel_agent_trace import Message, StepKind, compute_metrics, diff_runs, iter_sessions, load_run, load_runs
from otel_agent_trace.prices import NO_COST
from otel_agent_trace.viewer.html_file import document_of
from otel_agent_trace.viewer.html_index import index_document
from otel_agent_trace.views.summaries import summary_of
from tests.support import long_runs
from tests.support.browser import Tabs, violations
from tests.support.hostile_runs import RUN_ID, write_hostile_runs
from tests.support.sample_runs import make_run
from tests.support.shown_runs import refund_run, report_run, shown_runs
from tests.support.waiting import wait_until


def opened(tabs: Tabs, folder: Path, **options: Any) -> Page:
    """Open the document of a run from a folder, without a network."""
    file = folder / "run.html"
    file.write_text(document_of(report_run(time.time_ns())), encoding="utf-8")
    page = tabs.open(file.as_uri(), offline=True, **options)
    expect(page.locator("[aria-selected=true]").first).to_contain_text("query_table")
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_document_is_easy_to_use(tabs: Tabs, tmp_path: Path, theme: str) -> None:
    page = opened(tabs, tmp_path, color_scheme=theme)
    expect(page.get_by_role("tabpanel")).to_contain_text("deliveries")

    assert violations(page) == []


def test_a_document_shows_the_run_offline(tabs: Tabs, tmp_path: Path) -> None:
    page = opened(tabs, tmp_path)
    expect(page.locator(".step")).to_contain_text("KeyError: 'year'")
    page.keyboard.press("Home")
    expect(page.get_by_role("tabpanel")).to_contain_text("You are a careful analyst.")
    expect(page.get_by_role("tabpanel")).to_contain_text("Read the three contracts.")
    page.keyboard.press("/")
    page.keyboard.type("penalty")
    page.keyboard.press("Enter")
    expect(page.locator(".step h2")).to_contain_text("contracts")
    page.get_by_role("tab", name="Source").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("not known here")  # no tracer of ours recorded this run


def test_the_address_of_a_step_of_a_document_survives(tabs: Tabs, tmp_path: Path) -> None:
    page = opened(tabs, tmp_path)
    expect(page).to_have_url(re.compile("#step=[0-9a-f]{16}$"))
    first = page.url
    page.get_by_role("row").filter(has_text="penalty").click()
    expect(page).not_to_have_url(first)
    page.reload()

    expect(page.locator(".step h2")).to_contain_text("contracts")
    page.goto(f"{first.partition('#')[0]}#step=none")
    page.reload()
    expect(page.get_by_role("alert")).to_have_text("There is no step none in this run.")
    expect(page.locator(".step h2")).to_contain_text("query_table")


def copied(page: Page, form: str) -> str:
    """Return what a copy of the selected step puts into the clipboard."""
    page.evaluate("() => navigator.clipboard.writeText('')")
    page.get_by_role("button", name=f"Copy as {form}").click()
    return str(wait_until(lambda: page.evaluate("() => navigator.clipboard.readText()"), "nothing was copied"))


_CLIPBOARD: dict[str, Any] = {"permissions": ["clipboard-read", "clipboard-write"]}


def test_a_document_offers_the_copies_that_it_has(tabs: Tabs, tmp_path: Path) -> None:
    page = opened(tabs, tmp_path, **_CLIPBOARD)
    copies = page.get_by_role("button", name="Copy as")
    expect(page.locator(".step h2")).to_contain_text("query_table")
    expect(copies).to_have_text(["JSON"])
    step = json.loads(copied(page, "JSON"))
    page.keyboard.press("Home")
    expect(page.locator(".step h2")).to_contain_text("researcher")
    expect(copies).to_have_text(["JSON", "Markdown"])
    run = json.loads(copied(page, "JSON"))

    assert (step["name"], step["status"], step["input"]["table"]) == ("query_table", "error", "deliveries")
    assert (run["run_id"], run["input"], run["error"]["type"]) == ("supplier-report", run["input"], "KeyError")
    assert len(run["steps"]) == 13
    assert run["steps"][-1] == {"depth": 1, **step}
    assert run["steps"][0]["facts"]["tokens"] == "640 in, 80 out"
    assert "KeyError" in copied(page, "Markdown")


def test_a_copy_of_a_document_has_whole_values_and_no_more_than_the_document(tabs: Tabs, tmp_path: Path) -> None:
    long, odd = "long " * 20_000, {"path": "a.py", "chars": 5, "json": {"digest": [1]}}
    message = Message(role="user", parts=({"type": "text", "content": long}, {"type": "text", "content": "short"}))
    call = long_runs.step(1, kind=StepKind.MODEL, messages=(message,))
    run = long_runs.run_of((long_runs.step(0, input=long, output=odd), call))
    found = {}
    for has_content in (True, False):
        file = tmp_path / f"{has_content}.html"
        file.write_text(document_of(run, has_content=has_content), encoding="utf-8")
        page = tabs.open(file.as_uri(), offline=True, **_CLIPBOARD)
        found[has_content] = json.loads(copied(page, "JSON"))["steps"]
    first, second = found[True]

    assert (first["input"], first["output"]) == (long, odd)
    assert second["messages"][0]["parts"] == [{"type": "text", "text": long}, {"type": "text", "text": "short"}]
    assert [step["name"] for step in found[False]] == [step["name"] for step in found[True]]
    assert [(step["input"], step["output"], step["messages"]) for step in found[False]] == [(None, None, [])] * 2


def test_a_document_loads_nothing_and_runs_only_itself(tabs: Tabs, tmp_path: Path) -> None:
    page = opened(tabs, tmp_path)
    tabs.expect_problem("Content Security Policy|Trusted|eval")
    code = "new Promise((resolve) => setTimeout(() => { try { resolve(eval('1')) } catch (error) { resolve(error.name) } }))"

    assert page.evaluate(f"() => {code}") == "EvalError"
    assert (
        page.evaluate("() => fetch('https://example.com').then(() => 'loaded', (error) => error.name)") == "TypeError"
    )


def test_a_list_of_documents_is_searched_and_filtered(tabs: Tabs, tmp_path: Path) -> None:
    runs = [*shown_runs(time.time_ns(), 60), make_run(1, agent_name="<b>\u202eodd", user_input="</option>")]
    listed = [(summary_of(run, NO_COST), f"{run.run_id}.html") for run in runs]
    (tmp_path / "index.html").write_text(index_document(listed), encoding="utf-8")
    (tmp_path / "supplier-report.html").write_text(document_of(report_run(time.time_ns())), encoding="utf-8")
    page = tabs.open((tmp_path / "index.html").as_uri(), offline=True)
    heading, rows = page.get_by_role("heading"), page.locator("tbody tr:visible")
    expect(heading).to_have_text("64 runs")
    assert violations(page) == []
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("() => document.querySelector('main').scrollWidth") <= 400
    expect(rows.first.get_by_role("cell").nth(4)).to_be_in_viewport()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.keyboard.press("/")
    for wanted, found in (("KEYERROR", "KeyError"), ("three SUPP", "three suppliers")):
        page.get_by_role("searchbox").fill(wanted)
        expect(rows.filter(has_not_text=found)).to_have_count(0)
        expect(heading).to_have_text(re.compile("^[1-9][0-9]* of 64 runs$"))
    page.get_by_role("searchbox").fill("supplier-rep")
    expect(heading).to_have_text("1 of 64 runs")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator(".step h2")).to_contain_text("query_table")
    page.go_back()
    expect(rows).to_have_count(1)
    page.get_by_role("searchbox").fill("")
    page.get_by_role("combobox", name="Status").select_option("success")
    page.get_by_role("combobox", name="Agent").select_option("<b>\\u202eodd")
    expect(rows).to_have_count(1)
    expect(rows.get_by_role("link")).to_have_attribute("title", make_run(1).run_id)


@pytest.fixture(scope="module")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "traces.jsonl"
    write_hostile_runs(path)
    return path


def shown_in_notebooks(store: Path) -> Iterator[object]:
    """Yield all that shows itself in notebooks, with hostile contents."""
    run = load_run(store, RUN_ID)
    yield run
    yield from run.steps
    yield from iter_sessions(store)
    yield compute_metrics(load_runs(store))
    yield diff_runs(run, load_run(store, "second"))


def test_html_for_notebooks_is_plain(tabs: Tabs, hostile_store: Path) -> None:
    page = tabs.open("about:blank")
    for item in shown_in_notebooks(hostile_store):
        page.set_content(f"<body>{item._repr_html_()}</body>")  # type: ignore[attr-defined]

        assert page.locator("style, svg, script, iframe, img, base, meta, link, [onload], [onerror]").count() == 0
        assert page.evaluate("() => globalThis.harmed") is None
        assert "<script>" in page.locator("body").inner_text() or type(item).__name__ == "MetricsReport"


def test_a_run_is_viewed_in_a_frame_of_a_notebook(tabs: Tabs) -> None:
    page = tabs.open("about:blank")
    page.set_content(f"<body>{report_run(time.time_ns()).view()._repr_html_()}</body>")
    frame = page.frame_locator("iframe")

    assert page.locator("iframe").get_attribute("sandbox") is not None
    assert "allow-same-origin" not in (page.locator("iframe").get_attribute("sandbox") or "")
    expect(frame.locator("[aria-selected=true]").first).to_contain_text("query_table")
    frame.get_by_role("row").filter(has_text="penalty").click()
    expect(frame.locator(".step h2")).to_contain_text("contracts")
    frame.get_by_role("row").filter(has_text="researcher").first.click()
    frame.get_by_role("button", name="Copy as Markdown").click()
    expect(frame.get_by_role("group", name="Copy")).to_contain_text("Copied")


def test_a_small_run_compares_with_another(tabs: Tabs) -> None:
    page = tabs.open("about:blank")
    now_ns = time.time_ns()
    page.set_content(
        f"<body>{diff_runs(refund_run('a', now_ns, 200), refund_run('b', now_ns, 50))._repr_html_()}</body>"
    )

    expect(page.locator("body")).to_contain_text("issue_refund")
