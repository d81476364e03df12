"""Read the sessions of a source whose runs a query selects."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from otel_agent_trace.keywords import called_with
from otel_agent_trace.query import RunQuery, score_name_in
from otel_agent_trace.reading import ReadCall, problem_reporter
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.scores import mean_of
from otel_agent_trace.sessions.runs import SessionReader, SessionRuns
from otel_agent_trace.sessions.session import AgentSession, session_of
from otel_agent_trace.sessions.turn import SessionTurn, turn_of
from otel_agent_trace.sources import name_of, open_source
from otel_agent_trace.sources.search import search
from otel_agent_trace.span import ignore_problem


@called_with(ReadCall)
def iter_sessions(call: ReadCall) -> Iterator[AgentSession]:
    """Yield the sessions of a source: the runs with one `session_id` that a query selects, as `AgentSession`s.

    Takes the arguments of `iter_runs`, and raises the same errors. Filters select runs, and those without a `session_id`
    are left out. Order and `limit` are those of sessions: without an order the session whose last run began first comes
    first, with `newest_first` or ``sort="time"`` the one whose last run began last, with another `sort` the longest from
    start to end, or the one with the most steps, the most tokens, the highest cost, or the largest mean of a score. With
    `prices` or ``sort="cost"`` the sessions have their `cost`.

    The whole source is read at once, and a few facts of each run are held. Runs are read again when they are asked for,
    and then only `strict` has an effect: problems were reported by the first reading.
    """
    return iter(_sessions(call))


@called_with(ReadCall)
def load_sessions(call: ReadCall) -> list[AgentSession]:
    """Return the sessions of a source as a list.

    Takes the arguments of `iter_sessions`, and raises the same errors.
    """
    return _sessions(call)


def _sessions(call: ReadCall) -> list[AgentSession]:
    query = call.merged_query()
    given = [*call.source] if isinstance(call.source, Iterator) else call.source  # it is read again for its runs
    source, name = open_source(given), name_of(given)
    on_problem = problem_reporter(call.strict, ignore_problem)
    sessions = []
    for session_id, turns in _turns_by_session(given, query, call).items():
        reader = SessionReader(source, name, session_id, query.service, on_problem)
        turns.sort(key=_age)
        sessions.append(session_of(session_id, turns, SessionRuns(reader, turns)))
    return _in_order(sessions, query)


def _turns_by_session(given: Any, query: RunQuery, call: ReadCall) -> dict[str, list[SessionTurn]]:
    source = open_source(given, on_progress=call.on_progress, media=False)
    found = defaultdict[str, list[SessionTurn]](list)
    on_problem = problem_reporter(call.strict, call.on_problem)
    unordered = query.but(sort=None, newest_first=False, limit=None)

    def kept(each: Assembled) -> tuple[str | None, SessionTurn]:
        return each.run.session_id, turn_of(each.run, query.costs.of(each.run) if query.needs_costs else None)

    for session_id, turn in search(source, unordered, on_problem, kept):
        if session_id:
            found[session_id].append(turn)
    return found


def _age(turn: SessionTurn) -> tuple[int, str]:
    return turn.started_at_ns, turn.run_id


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_order(sessions: list[AgentSession], query: RunQuery) -> list[AgentSession]:
    value = _value_by(query.order_name or "time")
    is_ordered = query.order is not None
    in_order = sorted(sessions, key=lambda session: (value(session), *_last_start(session)), reverse=is_ordered)
    return in_order[: query.limit]


def _value_by(sort: str) -> Callable[[AgentSession], Any]:
    """Return the key of an order; one of ``score:NAME`` is the mean of that score, and sessions without one come last."""
    name = score_name_in(sort)
    return _SORTS[sort] if name is None else functools.partial(_mean_or_none, name)


def _mean_or_none(name: str, session: AgentSession) -> tuple[bool, float]:
    mean = mean_of(session.scores_by_name().get(name, ()))
    return mean is not None, mean or 0.0


def _last_start(session: AgentSession) -> tuple[int, str]:
    return session.turns[-1].started_at_ns, session.session_id


def _duration_or_none_ns(session: AgentSession) -> int:
    return -1 if session.ended_at_ns is None else session.ended_at_ns - session.started_at_ns


_SORTS: dict[str, Callable[[AgentSession], Any]] = {
    "time": _last_start,
    "duration": _duration_or_none_ns,
    "steps": lambda session: sum(turn.steps for turn in session.turns),
    "cost": lambda session: session.cost.pico_usd if session.cost and session.cost.priced_calls else -1,
    "tokens": lambda session: session.usage.total_tokens if session.usage else 0,
}
"""`RunQuery.sort` → the key of which the largest come first."""
