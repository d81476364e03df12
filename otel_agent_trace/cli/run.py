"""Define ``otel-agent-trace run``: any program of Python, unchanged, recorded in a local file."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Iterator, Sequence

import click

import otel_agent_trace
from otel_agent_trace.cli.programs import ALL_SIGNALS, run_program
from otel_agent_trace.cli.sources import SOURCE_VARIABLE, local_source
from otel_agent_trace.cli.streams import write_message
from otel_agent_trace.cli.viewer_beside import viewer_beside
from otel_agent_trace.instrumenting.reports import REPORT_VARIABLE, Entry, Report
from otel_agent_trace.store.lines import LineFile

_SITE = os.path.join(os.path.dirname(otel_agent_trace.__file__), "instrumenting", "site")
_LOOK_S = 0.05
_NOT_EXECUTABLE = 126


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--file", metavar="FILE", help="The file to record into; default: $OTEL_AGENT_TRACE_FILE, else traces.jsonl."
)
@click.option("--view", is_flag=True, help="Serve the page of the file meanwhile; its address is on standard error.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def command(file: str | None, program: Sequence[str], *, view: bool) -> int:
    """Run PROGRAM, unchanged, and record what it does in a local file.

    All instrumentations of OpenTelemetry that are installed are active in it, and in the processes of Python that it
    starts; their spans and its own are in the file as they end, whatever ends the program. Signals are passed on, and
    the exit code is that of PROGRAM (128 and the number of the signal that killed it, 127 if there is no such program, 126 if it cannot be executed).
    """
    path = os.path.abspath(local_source(file))
    LineFile(path).check()
    with Report.made() as report, viewer_beside(path) if view else contextlib.nullcontext():
        with _announced(report, path):
            ended = run_program(program, _environment(path, report), ALL_SIGNALS)
        if ended.failure is not None:
            _write_hint(program)
            return ended.code if isinstance(ended.failure, FileNotFoundError) else _NOT_EXECUTABLE
        _write_findings(report.entries(), path)
    return ended.code


def _write_hint(program: Sequence[str]) -> None:
    """Write how a file of Python is run, if a program that could not be started is one."""
    if program[0].endswith(".py") and os.path.isfile(program[0]):
        write_message(f"did you mean: {shlex.join(['otel-agent-trace', 'run', '--', 'python', *program])}")


def _environment(path: str, report: Report) -> dict[str, str]:
    """Return the variables by which each process of Python below the program starts to record."""
    places = [_SITE, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {SOURCE_VARIABLE: path, REPORT_VARIABLE: report.path, "PYTHONPATH": os.pathsep.join(places)}


@contextlib.contextmanager
def _announced(report: Report, path: str) -> Iterator[None]:
    """Write what the first process has found, as soon as it has, while a program runs: it may run for days."""
    is_over = threading.Event()

    def announce() -> None:
        while not is_over.wait(_LOOK_S):
            if _write_first(report.entries(), path):
                return
        _write_first(report.entries(), path)

    thread = threading.Thread(target=announce, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _write_first(entries: list[Entry], path: str) -> bool:
    """Write the instrumentations that the first process has found, and return whether there is one."""
    first = next((entry for entry in entries if entry.instrumented is not None), None)
    if first is None or first.instrumented is None:
        return False
    found = ", ".join(dict.fromkeys(first.instrumented)) or "none are installed"
    write_message(f"recording into {path}; instrumentations: {found}")
    return True


def _write_findings(entries: list[Entry], path: str) -> None:
    """Write why there is no file, what failed in any process, and which packages are missing."""
    if not entries:
        write_message(
            "nothing was recorded: no Python was started that reads PYTHONPATH, or none got as far as recording"
        )
    elif not os.path.lexists(path) and not any(entry.error for entry in entries):
        write_message(f"nothing was recorded, so that there is no {path}: no span was started")
    lines = [f"nothing was recorded by {entry.python}: {entry.error}" for entry in entries if entry.error]
    for entry in entries:
        lines += [f"the instrumentation {name} failed: {reason}" for name, reason in entry.failed.items()]
    packages: dict[str, str] = {}
    for entry in entries:
        if entry.missing:
            packages.setdefault(entry.package, entry.missing)
    lines += [
        f"{module} was imported, and there is no instrumentation for it: pip install {package}"
        for package, module in packages.items()
    ]
    for line in dict.fromkeys(lines):
        write_message(line)
