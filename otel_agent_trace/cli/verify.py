"""Define ``otel-agent-trace verify``: look for damage in the files of a source."""

from __future__ import annotations

from typing import Any

import click

from otel_agent_trace.cli.options import json_option, source_argument
from otel_agent_trace.cli.sources import hints_on_error, local_source
from otel_agent_trace.cli.streams import write_json, write_message
from otel_agent_trace.sources.damage import inspect
from otel_agent_trace.span import Problem
from otel_agent_trace.views.escape import escaped_line
from otel_agent_trace.views.figures import plural

_OK, _DAMAGED, _UNREADABLE = 0, 1, 2


@click.command("verify")
@source_argument
@json_option
def command(source: str | None, *, as_json: bool) -> int:
    """Read every line and every compressed frame of SOURCE, and print PATH:LINE: and the reason for each damage.

    JSON of other programs, blank lines and carriage returns are no damage. The exit status is 1 if there is damage, and
    2 if a file cannot be read at all.
    """
    name = local_source(source)
    damage: list[Problem] = []

    def on_damage(problem: Problem) -> None:
        if as_json:
            damage.append(problem)
        else:
            print(escaped_line(str(problem)))  # noqa: T201

    with hints_on_error(name):
        inspected = inspect(name, on_damage)
    for problem in inspected.unreadable:
        write_message(f"error: {problem}")
    if as_json:
        write_json(
            {
                "files": inspected.files,
                "lines": inspected.lines,
                "bytes": inspected.size_bytes,
                "damage": inspected.damage,
                "damaged": [_data_of(problem) for problem in damage],
                "unreadable": [_data_of(problem) for problem in inspected.unreadable],
            }
        )
    elif not inspected.damage and not inspected.unreadable:
        counts = (
            plural(inspected.files, "file"),
            plural(inspected.lines, "line"),
            plural(inspected.size_bytes, "byte"),
        )
        print(f"no damage in {', '.join(counts)}")  # noqa: T201
    return _UNREADABLE if inspected.unreadable else _DAMAGED if inspected.damage else _OK


def _data_of(problem: Problem) -> dict[str, Any]:
    """Return a damage as JSON data."""
    return {"path": problem.path, "line": problem.line, "reason": problem.reason}
