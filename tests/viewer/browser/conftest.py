"""A browser for each module, and pages in it that fail the test for whatever goes wrong in them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Tabs, chromium
from tests.support.sample_runs import write_runs_to
from tests.support.shown_runs import shown_runs
from tests.support.viewed import Viewed, viewing


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    tabs = Tabs(browser)
    yield tabs
    tabs.close()
    assert tabs.problems == []


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    """The page of runs as a small company has them; no test of it changes anything."""
    path = write_runs_to(tmp_path_factory.mktemp("shown") / "traces.jsonl", shown_runs(time.time_ns()))
    with viewing(Path(path), "--port", 0, "--no-open") as running:
        yield running
