"""Define the hooks that record and replay the tests with the marker."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any

import pytest

from otel_agent_trace.pytest_plugin.cassette_files import cassette_path
from otel_agent_trace.pytest_plugin.cassettes import Cassette, Recorded, Refused, Replayed
from otel_agent_trace.replay.divergences import ReplayDivergence

CASSETTE: pytest.StashKey[Cassette] = pytest.StashKey()
_PACKAGE = __name__.partition(".")[0]


class Replays:
    """Record or replay tests, each from the first of its own fixtures to the end of its function.

    Args:
        marker: the name of the marker.
        mode: ``none``, ``once`` or ``rewrite``.
    """

    def __init__(self, marker: str, mode: str) -> None:
        self._marker = marker
        self._mode = mode

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Choose what happens, and end it if the setup fails."""
        marker = item.get_closest_marker(self._marker)
        if marker is None:
            return (yield)
        cassette = item.stash[CASSETTE] = self._cassette(item, marker)
        try:
            return (yield)
        except BaseException as error:
            cassette.end(error)
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        """Begin with the first fixture of the test itself; others are shared with tests that have other cassettes."""
        if fixturedef.scope == "function" and CASSETTE in request.node.stash:
            request.node.stash[CASSETTE].begin()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Begin at the latest, and end with the function of the test."""
        if CASSETTE not in item.stash:
            return (yield)
        cassette = item.stash[CASSETTE]
        cassette.begin()
        try:
            cassette.check()
            result = yield
        except BaseException as error:
            cassette.end(error)
            if isinstance(error, ReplayDivergence):
                _cut_to_callers(error.__traceback__)
            raise
        cassette.end(None)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note whether the test passes, as all other plugins decide; each of its subtests has a report, too."""
        report = yield
        cassette = item.stash.get(CASSETTE, None)
        if cassette is not None and not report.passed:
            cassette.has_passed = False
        elif cassette is not None and call.when == "call" and cassette.has_passed is None:
            cassette.has_passed = True
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """Keep the cassette of a test that has passed, unless the teardown fails."""
        cassette = item.stash.get(CASSETTE, None)
        if cassette is None:
            return (yield)
        cassette.end(GeneratorExit())  # unless it has ended: with --setup-only, no test is called
        result = yield
        if cassette.has_passed:
            cassette.keep()
        return result

    def _cassette(self, item: pytest.Item, marker: pytest.Mark) -> Cassette:
        try:
            path = cassette_path(item, *marker.args)
        except (TypeError, ValueError) as error:
            return Refused(str(error))
        if self._mode == "rewrite" or (self._mode == "once" and not path.exists()):
            return Recorded(path)
        if not path.exists():
            return Refused(f"there is no cassette {path}; record it: pytest --agent-replay=once")
        return Replayed(path, marker.kwargs)


def _cut_to_callers(traceback: TracebackType | None) -> None:
    """End a traceback with the last frame outside of this library: what called a tool or model."""
    last, frame = None, traceback
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            last = frame
        frame = frame.tb_next
    if last is not None:
        last.tb_next = None
