"""``--agent-trace-html``: the runs of failed tests as pages, in pytest runs of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.waiting import DEADLOCK_S

TESTS = """
import os, pytest
from otel_agent_trace import AgentTracer, InMemoryBackend

def answer(question):
    tracer = AgentTracer(backend=InMemoryBackend())
    with tracer.run(agent_name="weather", user_input=question) as run:
        run.final_output = f"no </script> {question}"

def test_fails(agent_trace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer("one")
    answer("two")
    raise ValueError

def test_passes(agent_trace):
    answer("passed")

def test_without_the_fixture():
    answer("elsewhere")
    raise ValueError

def test_without_a_run(agent_trace):
    raise ValueError

class TestAgent:
    @pytest.mark.parametrize("city", ["Lyon", "a/b", "a-b", "../../x", "\\u00fc \\ud800", "y" * 300])
    def test_city(self, agent_trace, city):
        answer(city)
        raise ValueError
"""
USUAL = {
    "test_agents.py-test_fails.html",
    "test_agents.py-test_fails-2.html",
    "test_agents.py-TestAgent-test_city-Lyon.html",
    "test_agents.py-TestAgent-test_city-a-b.html",
}
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Return a function that runs pytest with the tests above, where every warning is an error."""
    pytester.makepyfile(test_agents=TESTS)

    def call(*arguments: str) -> pytest.RunResult:
        options = ("-W", "error", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *arguments)
        return pytester.runpytest_subprocess(*options, timeout=DEADLOCK_S)

    return call


def pages(folder: Path) -> dict[str, str]:
    """The pages in a folder by their names."""
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_each_run_of_a_failed_test_is_a_page(run: Run, pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    result = run("--agent-trace-html", "deep/pages", *workers)
    result.assert_outcomes(passed=1, failed=9)
    found = pages(pytester.path / "deep" / "pages")
    assert len(found) == 8
    assert set(found) > USUAL
    assert all(re.fullmatch(r"[\w.-]{1,140}\.html", name) for name in found)
    assert all(text.startswith("<!doctype html>") for text in found.values())
    assert all("<title>weather · success</title>" in text for text in found.values())
    result.stdout.fnmatch_lines(["*Pages of the runs*", "*deep/pages/test_agents.py-test_fails.html"])
    result.stdout.fnmatch_lines(["no run was recorded"])


def test_nothing_is_written_without_the_option(run: Run, pytester: pytest.Pytester) -> None:
    result = run()
    result.assert_outcomes(passed=1, failed=9)
    result.stdout.no_fnmatch_line("*Pages of the runs*")
    assert not [*pytester.path.rglob("*.html")]


def test_a_folder_that_cannot_be_written_does_not_end_the_session(run: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "file").touch()
    result = run("--agent-trace-html", "file/pages")
    result.assert_outcomes(passed=1, failed=9)
    result.stdout.fnmatch_lines(["not written: *"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
