"""Two runs beside each other, and the report, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from otel_agent_trace.model import RunStatus, StepError
from tests.support.browser import Tabs, is_shown_at
from tests.support.sample_runs import make_run, write_runs_to
from tests.support.viewed import Viewed, viewing

PAIR = "compare?a=refund-before&b=refund-after"


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Viewed]:
    """The page of two runs that failed with messages which differ in numbers only."""
    errors = [StepError(type="KeyError", message=f"{number}: order {number} is unknown") for number in (48213, 50117)]
    runs = [make_run(at, status=RunStatus.ERROR, error=error) for at, error in enumerate(errors)]
    with viewing(write_runs_to(tmp_path / "traces.jsonl", runs), "--port", 0, "--no-open") as running:
        yield running


def test_the_first_difference_is_in_view(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + PAIR)
    current = page.locator("[aria-current=true]")

    expect(current).to_contain_text("First difference")
    expect(current).to_contain_text("Refunds above 50 EUR")
    expect(current).to_be_in_viewport()
    expect(page.get_by_text("30 equal steps")).to_be_visible()
    expect(page.locator(".deltas")).to_contain_text("+1")


def test_keys_lead_from_difference_to_difference(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + PAIR)
    current = page.locator("[aria-current=true]")
    expect(current).to_contain_text("First difference")
    page.keyboard.press("n")
    page.keyboard.press("n")
    expect(current).to_contain_text("issue_refund")
    expect(current).to_contain_text('"amount_eur": 50')
    expect(current).to_be_in_viewport()
    page.keyboard.press("p")
    page.keyboard.press("p")
    expect(current).to_contain_text("First difference")
    page.get_by_role("button", name="Next difference").click()
    expect(current).to_contain_text("gpt-4o-mini")


def test_equal_steps_are_unfolded(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + PAIR)
    page.get_by_text("30 equal steps").click()

    expect(page.locator(".equal-steps p")).to_have_count(30)


def test_a_step_of_a_comparison_opens_in_its_run(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + PAIR)
    page.get_by_role("link", name="issue_refund").last.click()

    is_shown_at(page, "/runs/refund-after")
    expect(page.locator(".step h2")).to_contain_text("issue_refund")


def test_a_run_does_not_differ_from_itself(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "compare?a=refund-after&b=refund-after")

    expect(page.get_by_text("The runs do not differ")).to_be_visible()
    expect(page.get_by_role("button", name="Next difference")).to_be_disabled()


def section(page: Page, title: str) -> Locator:
    """The part of the report with a title."""
    return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))


def test_a_mark_of_the_report_opens_its_runs(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "metrics?by=agent", locale="en-US")
    expect(page.get_by_text("Success")).to_be_visible()
    labels = page.locator("figure", has_text="Runs (errors marked)").locator(".labels > *")
    expect(labels).to_have_text([re.compile(r"^\d+$"), "0", *[re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d$")] * 2])
    sizes = []
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 800})
        sizes.append(labels.last.evaluate("(label) => label.getBoundingClientRect().width"))
    assert sizes[0] == sizes[1] > 0
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("link", name="coder").first.click()
    is_shown_at(page, r"/\?agent=coder$")
    expect(page.locator(".list [data-run]").first).to_contain_text("coder")
    page.go_back()
    page.get_by_role("group", name="Runs (errors marked)").get_by_role("link").last.click()

    is_shown_at(page, r"/\?since=")
    expect(page.locator(".list [data-run]").first).to_be_visible()


def test_the_report_is_of_the_filtered_runs(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "metrics?agent=researcher")
    expect(page.locator(".figures")).to_contain_text("Runs")
    page.get_by_label("By").select_option("status")
    is_shown_at(page, r"agent=researcher&by=status")
    expect(page.get_by_role("heading", name="By status")).to_be_visible()
    page.get_by_role("link", name="Show the runs").click()

    is_shown_at(page, r"/\?agent=researcher$")


def test_a_message_opens_runs_by_its_part_without_numbers(failing: Viewed, tabs: Tabs) -> None:
    page = tabs.open(failing.url + "metrics")
    page.get_by_role("link", name="KeyError: #: order # is unknown").click()

    is_shown_at(page, r"/\?text=is\+unknown$")
    expect(page.locator(".list [data-run]")).to_have_count(2)


def test_the_report_has_shares_of_true_scores_and_plain_counts_of_errors(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "metrics")

    expect(section(page, "Scores")).to_contain_text(re.compile(r"helpfultrue [\d.]+ % [\d.]+ % to [\d.]+ %\d+$"))
    for title in ("Errors of runs", "Errors of steps"):
        expect(section(page, title)).to_contain_text("timeout")
        expect(section(page, title).get_by_role("link")).to_have_count(0)
