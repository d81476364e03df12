"""Start recording in a process, before its program begins."""

from __future__ import annotations

import os
import sys

from otel_agent_trace.backends.file import FileBackend
from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.instrumenting.imports import ImportWatch
from otel_agent_trace.instrumenting.instrumentors import Instrumentors
from otel_agent_trace.instrumenting.packages import INSTRUMENTATIONS, missing_for
from otel_agent_trace.instrumenting.providers import CurrentProvider, GlobalProvider
from otel_agent_trace.instrumenting.reports import Entry, Report


def start() -> None:
    """Record the spans of this process in the file of the environment, and write into the report what was found."""
    report = Report.of_environment(os.environ)
    if report is not None:
        guarded(Diagnostics(), "otel-agent-trace run", _start, report)


def _start(report: Report) -> None:
    try:
        provider = GlobalProvider(FileBackend())
    except AgentTraceError as error:  # a setting of the environment
        report.add(Entry(sys.executable, error=str(error)))
        return
    provider.install()
    instrumentors = Instrumentors(CurrentProvider(), provider.adopt)
    instrumentors.activate()
    watch = ImportWatch(INSTRUMENTATIONS, _Missing(report, instrumentors.names).note)
    sys.meta_path.insert(0, watch)
    report.add(Entry(sys.executable, instrumentors.active, instrumentors.failed))


class _Missing:
    """Write into a report which package to install for a module that is imported without an instrumentation."""

    def __init__(self, report: Report, active: set[str]) -> None:
        self._report, self._active = report, active

    def note(self, module: str) -> None:
        """Write it, if there is one."""
        missing = guarded(Diagnostics(), "import", missing_for, module, self._active)
        if missing is not None:
            self._report.add(Entry(missing=module, package=missing.package))
