"""Replay many recorded runs with one program, and list those in which it makes other calls."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from otel_agent_trace import reading
from otel_agent_trace.cli.programs import NOT_STARTED
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.replay_program import DIVERGED, ReplayedProgram, is_failed, replayed
from otel_agent_trace.cli.sources import hints_on_error
from otel_agent_trace.cli.streams import write_json, write_lines, write_message
from otel_agent_trace.errors import RunNotFoundError
from otel_agent_trace.model import AgentRun, RunStatus
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import name_of
from otel_agent_trace.sources.search import nothing_found_text
from otel_agent_trace.values import encode
from otel_agent_trace.views.escape import escaped_line

INTERRUPTED = 130
_QUESTION = "{input}"
_SHOWN_BYTES = 4_000
"""Bytes of the output of a program to show, from its end."""


def replay_many(
    source: str, query: RunQuery, words: Sequence[str], options: Mapping[str, Any], *, as_json: bool
) -> int:
    """Replay each run that matches with a program, write a line for each, and return the exit code of the command.

    Raises:
        RunNotFoundError: no run matches.
    """
    with reporting_progress() as reporter, hints_on_error(source):
        runs = reading.load_runs(source, query=query, on_problem=reporter.on_problem, on_progress=reporter.on_progress)
    if not runs:
        raise RunNotFoundError(nothing_found_text(query, name_of(source)))
    code = 0
    for run in runs:
        with tempfile.TemporaryFile() as output:
            done = _replayed(run, words, options, output)
            if done.ended.code == NOT_STARTED or done.ended.is_stopped:
                return done.ended.code or INTERRUPTED
            difference = _difference(run, done, options)
            _write_result(run, difference, done, as_json=as_json)
            if difference:
                code = DIVERGED
                _write_details(run, done, output)
    return code


def _replayed(run: AgentRun, words: Sequence[str], options: Mapping[str, Any], output: IO[bytes]) -> ReplayedProgram:
    question = _text_of(run.user_input)
    given = [word.replace(_QUESTION, question) for word in words]
    streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
    return replayed(run, given, options, **streams)


def _text_of(question: Any) -> str:
    """Return a question as a word of a command line: a text as it is, anything else as JSON."""
    if question is None or isinstance(question, str):
        return question or ""
    return json.dumps(encode(question).data, ensure_ascii=False)


def _difference(run: AgentRun, done: ReplayedProgram, options: Mapping[str, Any]) -> str:
    """Return what differs, in one line; empty for nothing. A program that fails where the run succeeded differs too."""
    if is_failed(done, options):
        return done.divergences[0].reason
    is_new = done.ended.code != 0 and run.status is RunStatus.SUCCESS
    return f"the program failed with exit code {done.ended.code}, and the recorded run succeeded" if is_new else ""


def _write_result(run: AgentRun, difference: str, done: ReplayedProgram, *, as_json: bool) -> None:
    if as_json:
        divergences = [one.facts() for one in done.divergences]
        result = {
            "run_id": run.run_id,
            "same": not difference,
            "exit_code": done.ended.code,
            "divergences": divergences,
        }
        write_json(result, indent=None)
    else:
        text = f"diverged: {difference}" if difference else "same"
        sys.stdout.write(f"{escaped_line(f'{run.run_id} {text}')}\n")
    sys.stdout.flush()


def _write_details(run: AgentRun, done: ReplayedProgram, output: IO[bytes]) -> None:
    """Write the first divergence and the end of the program's output to standard error."""
    for divergence in done.divergences[:1]:
        write_message(f"run {run.run_id}:")
        write_lines(str(divergence))
    size = output.seek(0, 2)
    output.seek(max(0, size - _SHOWN_BYTES))
    text = output.read().decode(errors="replace")
    if text.strip():
        cut = "" if size <= _SHOWN_BYTES else f", of {size:,} bytes the last {_SHOWN_BYTES:,}"
        write_message(f"run {run.run_id}: output of the program{cut}:")
        write_lines(text)
