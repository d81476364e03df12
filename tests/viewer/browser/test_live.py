"""Runs that another process writes while the page is open."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from otel_agent_trace import AgentTracer, FileBackend
from otel_agent_trace.tracing.file_scores import score_in_file
from tests.support.browser import WITHOUT_STREAM, Tabs
from tests.support.processes import environment
from tests.support.requirements import needs_locks
from tests.support.viewed import Viewed, viewing

_WRITER = """
import sys
from otel_agent_trace import AgentTracer, FileBackend

with AgentTracer(backend=FileBackend(sys.argv[1])) as tracer:
    with tracer.run(run_id="live", agent_name="slow", user_input="count to three") as run:
        for line in sys.stdin:
            with run.step(line.strip(), {}):
                pass
            print(line, flush=True)
        run.final_output = "three"
"""


class Writer:
    """A process that writes a run: a step for each word it is sent."""

    def __init__(self, path: Path) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = [sys.executable, "-c", _WRITER, str(path)]
        self.process = subprocess.Popen(command, text=True, env=environment(), **pipes)  # type: ignore[call-overload]

    def step(self, name: str) -> None:
        """Write a step."""
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a run in a process of its own, for the time of a block, at the end of which it ends well unless it was killed."""
    writer = Writer(path)
    try:
        yield writer
    finally:
        writer.process.communicate()


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[tuple[Viewed, Path]]:
    """The page of a store with one run, to which more are written."""
    path = tmp_path / "traces.jsonl"
    with AgentTracer(backend=FileBackend(str(path))) as tracer, tracer.run(run_id="old", agent_name="first"):
        pass
    with viewing(path, "--port", 0, "--no-open") as running:
        yield running, path


def write_run(path: Path, run_id: str, question: str | None = None) -> None:
    """Write a run in this process."""
    with (
        AgentTracer(backend=FileBackend(str(path))) as tracer,
        tracer.run(run_id=run_id, agent_name="second", user_input=question),
    ):
        pass


def is_live(page: Page) -> None:
    """Wait until changes reach the page."""
    expect(page.get_by_role("img", name="live", exact=True)).to_be_visible()


def test_a_new_run_is_counted_and_then_shown(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    page = tabs.open(viewed.url)
    rows = page.locator(".list [data-run]")
    expect(rows).to_have_count(1)
    is_live(page)
    write_run(path, "new")
    fresh = page.get_by_role("button", name="1 new")
    expect(fresh).to_be_visible()
    expect(rows).to_have_count(1)
    fresh.click()

    expect(rows).to_have_count(2)
    expect(rows.first).to_have_attribute("data-run", "new")
    expect(fresh).to_be_hidden()


def test_a_search_counts_what_is_new(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    page = tabs.open(f"{viewed.url}?text=where")
    expect(page.locator(".count")).to_have_text("0 runs")
    is_live(page)
    write_run(path, "other", "what else?")
    write_run(path, "new", "where is it?")

    expect(page.get_by_role("button", name="1 new")).to_be_visible()


def test_all_pages_of_a_browser_follow_changes(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    first = tabs.open(viewed.url)
    pages = [first, *(tabs.open_in(first.context, viewed.url) for _ in range(7))]
    for page in pages:
        expect(page.locator(".list [data-run]")).to_have_count(1)
    is_live(pages[0])
    pages.pop(0).close()  # which had the stream
    is_live(pages[0])
    write_run(path, "new")

    for page in pages:
        expect(page.get_by_role("button", name="1 new")).to_be_visible()


@needs_locks
def test_a_run_grows_until_it_ends(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    with writing(path) as writer:
        writer.step("one")
        page = tabs.open(viewed.url + "runs/live")
        tree, head = page.get_by_role("treegrid"), page.get_by_role("heading", level=1)
        expect(head).to_contain_text("running")
        is_live(page)
        writer.step("two")
        expect(tree).to_contain_text("two")
        writer.step("three")
        expect(tree).to_contain_text("three")

    expect(head).to_contain_text("success")
    expect(head).to_contain_text("3 steps")


@needs_locks
def test_a_killed_run_is_interrupted(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    with writing(path) as writer:
        writer.step("one")
        page = tabs.open(viewed.url + "runs/live")
        head = page.get_by_role("heading", level=1)
        expect(head).to_contain_text("running")
        is_live(page)
        writer.process.kill()

        expect(head).to_contain_text("interrupted")


@needs_locks
def test_only_what_runs_moves(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    with writing(path) as writer:
        writer.step("one")
        page = tabs.open(viewed.url)
        mark = page.locator("[data-run=live] .status")
        expect(mark).to_have_css("animation-name", "turning")
        page.emulate_media(reduced_motion="reduce")

        expect(mark).to_have_css("animation-name", "none")


def test_a_score_of_another_process_is_shown(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    page = tabs.open(viewed.url + "runs/old")
    is_live(page)
    score_in_file(str(path), "old", "helpful", 0.5)

    expect(page.locator(".run-head .score")).to_have_text("helpful 0.5")
    expect(page.get_by_role("region", name="Step").get_by_role("listitem")).to_contain_text("helpful 0.5")


def test_a_page_that_is_not_secure_looks_now_and_then(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    page = tabs.open(viewed.url, before=WITHOUT_STREAM)
    run_page = tabs.open(viewed.url + "runs/old", before=WITHOUT_STREAM)
    search = tabs.open(viewed.url + "?text=where", before=WITHOUT_STREAM)
    expect(search.locator(".count")).to_have_text("0 runs")
    is_live(page)
    write_run(path, "new", "where is it?")
    score_in_file(str(path), "old", "helpful", 0.5)

    expect(page.get_by_role("button", name="1 new")).to_be_visible()
    expect(page.locator(".list [data-run]")).to_have_count(1)
    expect(search.get_by_role("button", name="1 new")).to_be_visible()
    expect(run_page.locator(".run-head .score")).to_have_text("helpful 0.5")


def test_a_page_that_a_server_did_not_answer_any_more_is_shown_by_the_next(
    growing: tuple[Viewed, Path], tabs: Tabs
) -> None:
    viewed, path = growing
    tabs.expect_problem(r"net::ERR_|status 503|the server responded with a status of 503")
    page = tabs.open(viewed.url)
    is_live(page)
    page.route("**/api/runs/old*", lambda route: route.fulfill(status=503, json={"error": "stopped"}), times=1)
    page.locator("[data-run=old]").dblclick()
    expect(page.get_by_role("alert")).to_have_text("stopped")
    viewed.end()
    with viewing(path, "--port", viewed.port, "--no-open"):
        expect(page.get_by_role("treegrid")).to_be_visible()
        page.close()


def test_a_page_goes_on_with_another_server(growing: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = growing
    tabs.expect_problem(r"net::ERR_|status 503|the server responded with a status of 503")
    page = tabs.open(viewed.url + "runs/old")
    expect(page.get_by_role("treegrid")).to_be_visible()
    is_live(page)
    viewed.end()
    expect(page.get_by_role("img", name="not live")).to_be_visible()
    score_in_file(str(path), "old", "helpful", 0.5)
    with viewing(path, "--port", viewed.port, "--no-open"):
        is_live(page)
        expect(page.locator(".run-head .score")).to_have_text("helpful 0.5")
        page.close()
