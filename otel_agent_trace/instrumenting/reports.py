"""Pass what a program's processes found to the command that started them, in a file of JSON lines.

Each line is one write, so that it is there however a process ends.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping

import msgspec

from otel_agent_trace.signals import is_of_signal_handler

REPORT_VARIABLE = "OTEL_AGENT_TRACE_RUN"
"""Variable of the environment with the path of the file."""


class Entry(msgspec.Struct, omit_defaults=True):
    """Represent what one process found.

    Attributes:
        python: the interpreter.
        instrumented: the instrumentations that are active; None in entries about something else.
        failed: the reason for each instrumentation that failed.
        error: why nothing is recorded in the process.
        missing: a module that the program imported, and for which there is no instrumentation.
        package: the package to install for it.
    """

    python: str = ""
    instrumented: list[str] | None = None
    failed: dict[str, str] = {}
    error: str = ""
    missing: str = ""
    package: str = ""


_to_json = msgspec.json.Encoder().encode
_entry_in = msgspec.json.Decoder(Entry).decode


class Report:
    """Append entries to the file of a report, and read them; the file is the command's, and is there as long as that runs."""

    def __init__(self, path: str) -> None:
        self.path = path

    @staticmethod
    def of_environment(environ: Mapping[str, str]) -> Report | None:
        """Return the report that the environment names, if it does."""
        path = environ.get(REPORT_VARIABLE)
        return Report(path) if path else None

    @staticmethod
    @contextlib.contextmanager
    def made() -> Iterator[Report]:
        """Yield a new report, whose file is removed at the end of the block."""
        descriptor, path = tempfile.mkstemp(prefix="otel-agent-trace-run-", suffix=".jsonl")
        os.close(descriptor)
        try:
            yield Report(path)
        finally:
            os.unlink(path)

    def add(self, entry: Entry) -> None:
        """Append an entry, unless the command is over."""
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            if is_of_signal_handler(error):
                raise
            return
        try:
            os.write(descriptor, _to_json(entry) + b"\n")
        finally:
            os.close(descriptor)

    def entries(self) -> list[Entry]:
        """Return the entries up to now."""
        with open(self.path, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        return list(map(_entry_in, lines))
