"""Report what commands that remove runs have removed, or would."""

from __future__ import annotations

import msgspec

from otel_agent_trace.cli.streams import write_json, write_message
from otel_agent_trace.forgetting import Forgotten
from otel_agent_trace.span import Notice, Problem
from otel_agent_trace.views.escape import escaped_line
from otel_agent_trace.views.figures import plural

_OK, _LEFT = 0, 1


def report_removed(removed: Forgotten, *, as_json: bool) -> int:
    """Write what was removed, and what could not be, and return the exit status: 1 if something is left."""
    for problem in removed.left:
        write_message(f"not removed: {problem}")
    if as_json:
        write_json(removed.to_dict())
    else:
        print(escaped_line(_sentence(removed)))  # noqa: T201
    return _LEFT if removed.left else _OK


def as_kept(problem: Problem) -> Problem:
    """Return a problem of reading with what is done about it: the piece stays, as it is."""
    if isinstance(problem, Notice):
        return problem
    return msgspec.structs.replace(problem, reason=f"{problem.reason}; what cannot be read is kept as it is")


def _sentence(removed: Forgotten) -> str:
    counts = [plural(removed.runs, "run"), plural(removed.spans, "span")]
    counts += [plural(removed.logs, "log record")] if removed.logs else []
    what = f"{', '.join(counts)} ({plural(removed.size_bytes, 'byte')})"
    files = plural(len(removed.paths), "file")
    if removed.applied:
        return f"{what if removed.paths or not removed.runs else 'nothing'} removed from {files}"
    return f"{what} would be removed from {files}; --apply removes them"
