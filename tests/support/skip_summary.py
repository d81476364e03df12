"""A pytest plugin: at the end each reason for skips once, with the number of tests."""

from __future__ import annotations

from collections import Counter

import pytest
from _pytest.terminal import TerminalReporter


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the reasons, the most frequent first."""
    reports = terminalreporter.getreports("skipped")
    if not reports:
        return
    terminalreporter.section("skipped tests by reason")
    for reason, number in Counter(map(_reason, reports)).most_common():
        terminalreporter.line(f"{number:5d}  {reason}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    _, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, str(report.longrepr))
    return reason.removeprefix("Skipped: ")
