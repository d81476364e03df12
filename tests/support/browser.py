"""Pages in a real browser, and all that went wrong in them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Response, expect, sync_playwright

from tests.support.requirements import cannot_run
from tests.support.waiting import PROMPT_S

_HTTP_ERROR = 400
_USUAL = {"locale": "en-GB", "timezone_id": "Europe/Berlin", "viewport": {"width": 1280, "height": 760}}
WITHOUT_STREAM = """{
  const read = fetch, every = setInterval;
  delete Navigator.prototype.locks;
  setInterval = (call, ms) => every(call, ms / 4);
  fetch = async (url, ...options) => {
    const answer = await read(url, ...options);
    if (!String(url).endsWith("/api/about") || !globalThis.changed) return answer;
    return Response.json({ ...(await answer.json()), changes: changed });
  };
}"""
"""Script after which a page looks for changes every half second, as one that is not secure does every two; it finds one
whenever the global variable `changed` has another value."""
expect.set_options(timeout=PROMPT_S * 1000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium for the time of a block; skip without it, or fail where all tests must run.

    For a module, not for the whole session: while it runs, this thread has a loop of asyncio, which tests with their own
    must not meet.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        cannot_run("no Chromium is installed: apt-get install chromium fonts-noto-core fonts-noto-color-emoji")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


class Tabs:
    """Open pages, and keep what went wrong in them: errors and warnings of the console, exceptions, refused requests."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._problems: list[str] = []
        self._expected: list[str] = []

    def open(self, url: str, *, before: str = "", **options: Any) -> Page:
        """Open a page in a browser profile of its own.

        Args:
            url: its address.
            before: a script that runs before those of the page.
            options: those of `Browser.new_context`.
        """
        context = self._browser.new_context(**{**_USUAL, **options})
        context.add_init_script(before)
        context.set_default_timeout(PROMPT_S * 1000)
        return self.open_in(context, url)

    def open_in(self, context: Any, url: str) -> Page:
        """Open one more page in a profile."""
        page: Page = context.new_page()
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self._problems.append(f"exception: {error}"))
        page.on("response", self._note_response)
        page.goto(url)
        return page

    def expect_problem(self, pattern: str) -> None:
        """Let pass what this pattern matches."""
        self._expected.append(pattern)

    @property
    def problems(self) -> list[str]:
        """What went wrong and is not expected."""
        return [each for each in self._problems if not any(re.search(pattern, each) for pattern in self._expected)]

    def close(self) -> None:
        """Close all pages."""
        for context in self._browser.contexts:
            context.close()

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._problems.append(f"console {message.type}: {message.text} {message.location.get('url', '')}")

    def _note_response(self, response: Response) -> None:
        if response.status >= _HTTP_ERROR:
            self._problems.append(f"status {response.status}: {response.url}")


def violations(page: Page) -> list[str]:
    """Return what axe finds to be hard to use on a page: its rule, and where."""
    axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)
    found = page.evaluate("() => axe.run()")["violations"]
    return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each in found for node in each["nodes"]]


def address(page: Page) -> str:
    """Return the path and query of a page's address."""
    return str(page.evaluate("() => location.pathname + location.search"))


def is_shown_at(page: Page, pattern: str) -> None:
    """Wait until the address matches a pattern."""
    expect(page).to_have_url(re.compile(pattern))
