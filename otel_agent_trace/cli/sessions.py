"""Define ``otel-agent-trace sessions``: the sessions of a source, newest first; and read one for ``show --session``."""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Any

import click

from otel_agent_trace.cli.options import filter_options, json_option, limit_option, prices_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import hints_on_error, source_of
from otel_agent_trace.cli.streams import stderr_console, stdout_console, write_json, write_message
from otel_agent_trace.errors import RunNotFoundError
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sessions import AgentSession, load_sessions
from otel_agent_trace.sources import name_of, prices_for

_LIMIT = 20
_MOST_COMPARED, _COMPARED_CHARS = 10_000, 200


@click.command("sessions")
@source_argument
@filter_options
@limit_option("sessions", _LIMIT)
@prices_option
@json_option
def command(source: str | None, limit: int, *, as_json: bool, prices: str | None, **filters: Any) -> None:
    """List the sessions of SOURCE, newest first: the conversations whose turns its runs are.

    Filters select runs; a session is listed with those of its runs that match.
    """
    name = source_of(source)
    query = RunQuery.of(**filters, prices=prices_for(name, prices))
    sessions = _sessions(name, query.but(limit=limit or None, newest_first=True))
    if as_json:
        write_json([session.to_dict() for session in sessions])
        return
    if not sessions:
        why = " match the filters" if query.is_filter else ": no run there has a session id"
        write_message(f"no sessions in {name_of(name)}{why}")
        return
    from otel_agent_trace.cli.printing import print_sessions  # noqa: PLC0415 - --json does without rich

    print_sessions(sessions, stdout_console(), datetime.now().astimezone())
    if len(sessions) == limit:
        which = "first" if query.sort else "newest"
        stderr_console().print(f"(the {which} {limit}; --limit 0 lists all)", style="dim")


def session_called(session_id: str, source: str, service: str | None, prices: Prices) -> AgentSession:
    """Return one session of a source.

    Raises:
        RunNotFoundError: there is no run of it; the message names the session with the closest id.
    """
    found = _sessions(source, RunQuery(session_id=session_id, service=service, prices=prices))
    if not found:
        raise RunNotFoundError(_unknown_text(session_id, source, service))
    return found[0]


def _sessions(source: str, query: RunQuery) -> list[AgentSession]:
    with reporting_progress() as reporter, hints_on_error(source):
        return load_sessions(source, query, on_problem=reporter.on_problem, on_progress=reporter.on_progress)


def _unknown_text(session_id: str, source: str, service: str | None) -> str:
    of_service = "" if service is None else f" of service {service!r}"
    text = f"no session {session_id!r}{of_service} in {name_of(source)}"
    known = [each.session_id for each in _sessions(source, RunQuery(service=service, newest_first=True))]
    if not known:
        return f"{text}, in which no run has a session id"
    short = [each for each in known[:_MOST_COMPARED] if len(each) <= _COMPARED_CHARS]
    closest = difflib.get_close_matches(session_id[:_COMPARED_CHARS], short, 1)
    return f"{text}; did you mean {closest[0]!r}?" if closest else f"{text}; the newest one is {known[0]!r}"
