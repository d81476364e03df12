"""Answer what pages of sessions ask for: the list of them, and the turns of one as a conversation."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from otel_agent_trace.errors import RunNotFoundError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import NO_COST
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sessions import AgentSession, load_sessions
from otel_agent_trace.sessions.turn import SessionTurn
from otel_agent_trace.span import ignore_problem
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.list_api import number_in, query_in
from otel_agent_trace.viewer.replies import data_reply
from otel_agent_trace.viewer.work import Stop, Work
from otel_agent_trace.views.figures import cost_text, count_text, duration_text, when_text
from otel_agent_trace.views.values_text import Bounds, bounded, compact, one_line

_COUNT, _MOST_SESSIONS, _MOST_TURNS = 200, 2000, 500
_TEXT = Bounds(lines=100, chars=1900)


class SessionsApi:
    """Answer requests about the sessions of a source."""

    def __init__(self, library: Library, work: Work) -> None:
        self._library = library
        self._work = work

    async def sessions(self, request: Request) -> Response:
        """Return the sessions whose runs match, the one that went on last first."""
        query = query_in(request, self._library, "count")
        count = number_in(request.query_params, "count", _COUNT, _MOST_SESSIONS)

        def read(stop: Stop) -> dict[str, Any]:
            found = self._read(query.but(newest_first=True, limit=count), stop)
            now = datetime.now().astimezone()
            return {"sessions": [_session_data(session, now) for session in found]}

        def answer(stop: Stop) -> dict[str, Any]:
            return self._library.answer(f"sessions {request.url.query}", lambda: read(stop))

        return data_reply(request, await self._work.run(request, answer, is_slow=True))

    async def session(self, request: Request) -> Response:
        """Return one session and some of its turns, each with its question and its answer."""
        session_id = unquote(request.path_params["id"])
        begin = number_in(request.query_params, "from", 0)
        count = number_in(request.query_params, "count", _MOST_TURNS, _MOST_TURNS)

        def read(stop: Stop) -> dict[str, Any]:
            found = self._read(RunQuery(session_id=session_id, prices=self._library.prices), stop)
            if not found:
                raise RunNotFoundError(f"no session {session_id!r} in {self._library.name}")
            (session,) = found
            now = datetime.now().astimezone()
            turns = zip(session.turns[begin : begin + count], session.runs[begin : begin + count], strict=True)
            return {
                "session": _session_data(session, now),
                "from": begin,
                "turns": [_turn_data(turn, run, now) for turn, run in turns],
                "first_failed": session.first_failed,
            }

        return data_reply(request, await self._work.run(request, read, is_slow=True))

    def _read(self, query: RunQuery, stop: Stop) -> list[AgentSession]:
        source = self._library.opened(stop)
        return load_sessions(source, query, on_problem=ignore_problem)


def _session_data(session: AgentSession, now: datetime) -> dict[str, Any]:
    data = session.to_dict()
    del data["runs"]
    return {
        **data,
        "question": one_line(session.turns[0].question or ""),
        "status": "running" if any(turn.is_running for turn in session.turns) else session.turns[-1].status,
        "when_text": when_text(session.started_at_ns, now),
        "duration_text": duration_text(session.duration_s),
        "tokens_text": count_text(session.usage.total_tokens if session.usage else None),
        "cost_text": cost_text(session.cost or NO_COST),
    }


def _turn_data(turn: SessionTurn, run: AgentRun, now: datetime) -> dict[str, Any]:
    return {
        **turn.to_dict(),
        "question": _text(run.user_input),
        "answer": _text(run.final_output),
        "error": None if run.error is None else bounded(str(run.error), _TEXT),
        "when_text": when_text(turn.started_at_ns, now),
        "duration_text": duration_text(turn.duration_s),
        "tokens_text": count_text(turn.usage.total_tokens if turn.usage else None),
        "cost_text": cost_text(turn.cost or NO_COST),
    }


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return bounded(value if isinstance(value, str) else compact(value), _TEXT)
