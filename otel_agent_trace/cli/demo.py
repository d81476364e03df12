"""Define ``otel-agent-trace demo``: trace an example agent, then print its runs as the other commands do."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from otel_agent_trace import reading
from otel_agent_trace.cli.options import json_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import source_of
from otel_agent_trace.cli.streams import stdout_console, write_json, write_message
from otel_agent_trace.errors import SourceError
from otel_agent_trace.metrics import compute_metrics
from otel_agent_trace.model import AgentRun
from otel_agent_trace.views.escape import escaped_line
from otel_agent_trace.views.summaries import short_ids, summary_of

if TYPE_CHECKING:
    from rich.console import Console

_PROGRAM = "otel-agent-trace"


@click.command("demo")
@source_argument
@click.option("--file", metavar="FILE", help="The same as SOURCE.")
@json_option
def command(source: str | None, file: str | None, *, as_json: bool) -> None:
    """Trace an example agent that answers questions over a few texts, then list, show and measure its runs.

    The traces are added to SOURCE, a file: by default $OTEL_AGENT_TRACE_FILE, else traces.jsonl.

    It needs no service and no key; where OPENAI_API_KEY or OPENAI_BASE_URL is set, a model decides in place of rules.
    """
    file = source_of(file or source)
    began = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    is_new = not os.path.lexists(file)
    _ask_all(file)
    runs = _runs_since(began, file)
    if as_json:
        summaries = [summary_of(run).to_dict() for run in runs]
        write_json({"file": file, "runs": summaries, "metrics": compute_metrics(runs).to_dict()})
    else:
        _print_runs(runs, file, [] if is_new else ["--since", began])


def _ask_all(file: str) -> None:
    """Ask the agent every question and print its answers; the errors of some are part of the demo."""
    from otel_agent_trace.backends import FileBackend  # noqa: PLC0415 - OpenTelemetry is imported when it is used
    from otel_agent_trace.demo import QUESTIONS, make_tools, run_agent  # noqa: PLC0415
    from otel_agent_trace.tracing import AgentTracer  # noqa: PLC0415

    tools = make_tools()
    with AgentTracer(backend=FileBackend(file), sampling=False) as tracer:  # it shows the runs that it makes
        for question in QUESTIONS:
            write_message(f"Q: {question}")
            try:
                write_message(f"A: {run_agent(question, tools, tracer)}")
            except Exception as error:  # noqa: BLE001 - an agent may raise anything, and its run shows what
                write_message(f"A: {type(error).__name__}: {error}")


def _runs_since(began: str, file: str) -> list[AgentRun]:
    with reporting_progress() as reporter:
        runs = reading.load_runs(file, since=began, newest_first=True, on_problem=reporter.on_problem)
    if not runs:
        raise SourceError(f"{file}: no run was written; check that the file is writable and that the disk is not full")
    return runs


def _print_runs(runs: Sequence[AgentRun], file: str, since: Sequence[str]) -> None:
    """Print the output of ``list``, ``show`` and ``metrics`` for these runs, each below its command line."""
    from otel_agent_trace.cli.printing import print_report, print_run, print_runs  # noqa: PLC0415 - --json does without rich

    console = stdout_console()
    shown = _run_to_show(runs)
    short_id = short_ids([run.run_id for run in runs])[shown.run_id]
    _print_command(console, "list", file, *since)
    print_runs([summary_of(run) for run in runs], console, datetime.now().astimezone())
    _print_command(console, "show", file, short_id)
    print_run(shown, console, full=False)
    _print_command(console, "metrics", file, *since)
    print_report(compute_metrics(runs), console)
    console.print("\nTry next:", style="bold")
    for words in (("replay", file, short_id, "--step"), ("show", file, "--full"), ("list", file, "--status", "error")):
        console.print(f"  {_command_text(*words)}", soft_wrap=True)


def _print_command(console: Console, *words: str) -> None:
    console.print(f"\n$ {_command_text(*words)}", style="bold", soft_wrap=True)


def _run_to_show(runs: Sequence[AgentRun]) -> AgentRun:
    """Return the run that succeeded although a step failed, or else the one with the most steps."""
    return max(runs, key=lambda run: (run.error is None and any(step.error for step in run.steps), len(run.steps)))


def _command_text(*words: str) -> str:
    return escaped_line(shlex.join([_PROGRAM, *words]))
