"""Define the pytest plugin: the fixture `agent_trace`, the marker `agent_replay`, and their options.

pytest imports this module whenever it starts, so that it imports nothing of the library before a test uses it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otel_agent_trace.pytest_plugin.agent_trace import AgentTrace

_MARKER = "agent_replay"
_MODES = ("none", "once", "rewrite")
_TRACE: pytest.StashKey[AgentTrace] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--agent-replay``, and its setting in the configuration file."""
    group = parser.getgroup("agent_trace", "tests of agents (otel-agent-trace)")
    group.addoption(
        "--agent-replay",
        choices=_MODES,
        help="cassettes of tests with the marker agent_replay: 'none' (the default) replays them, and fails where one is "
        "missing; 'once' records those that are missing; 'rewrite' records all anew",
    )
    group.addoption(
        "--agent-trace-html",
        metavar="DIR",
        help="write the runs of failed tests with the fixture agent_trace into this folder, each as a page of its own",
    )
    parser.addini("agent_replay", "default of --agent-replay", default=_MODES[0])


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and check the setting.

    Raises:
        UsageError: the setting is none of the modes.
    """
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(name=None, **options): replay the calls of tools and models from cassettes/NAME.jsonl, which "
        "--agent-replay=once records; options are those of otel_agent_trace.replay_run",
    )
    if _mode_of(config) not in _MODES:
        raise pytest.UsageError(f"agent_replay={_mode_of(config)!r} must be one of {', '.join(_MODES)}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Register what replays tests, if there are any with the marker."""
    if any(item.get_closest_marker(_MARKER) for item in session.items):
        from otel_agent_trace.pytest_plugin.replaying import Replays  # noqa: PLC0415 - only for those who replay

        session.config.pluginmanager.register(Replays(_MARKER, _mode_of(session.config)), "agent_trace_replays")


def _mode_of(config: pytest.Config) -> str:
    return config.getoption("agent_replay") or str(config.getini("agent_replay"))


@pytest.fixture
def agent_trace(request: pytest.FixtureRequest) -> Iterator[AgentTrace]:
    """Capture the runs of agents in this test, of every tracer; nothing of them is written elsewhere."""
    from otel_agent_trace.pytest_plugin.agent_trace import tracing  # noqa: PLC0415 - only for those who use it

    with tracing(request.node) as trace:
        request.node.stash[_TRACE] = trace
        yield trace


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the runs to the report of a test that failed, unless they are in the message of its error."""
    report = yield
    if report.failed and call.when == "call" and _TRACE in item.stash:
        text = item.stash[_TRACE].text_not_shown()
        report.sections += [("Runs of the agent", text)] if text else []
        folder = item.config.getoption("agent_trace_html")
        if folder:
            whole = os.path.join(item.config.invocation_params.dir, folder)  # wherever the test has gone
            report.sections.append(("Pages of the runs", _pages_text(whole, item)))
    return report


def _pages_text(folder: str, item: pytest.Item) -> str:
    """Write the runs of a test as pages, and return their paths, or why there are none."""
    from otel_agent_trace.pytest_plugin.html_pages import write_pages  # noqa: PLC0415 - only for those who ask for it

    trace = item.stash[_TRACE]
    try:
        return "\n".join(write_pages(folder, item.nodeid, trace)) or "no run was recorded"
    except OSError as error:
        return f"not written: {error}"
