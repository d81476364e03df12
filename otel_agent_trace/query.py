"""Which runs are asked for: the filters that reading and the command share."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.model import AgentRun, RunStatus
from otel_agent_trace.policies.user_ids import known_forms
from otel_agent_trace.span import SpanRecord

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_NS_PER_S = 1_000_000_000
_MICROSECOND = timedelta(microseconds=1)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a run must be like: every filter that is given must fit."""

    agent: str | None = None
    status: RunStatus | None = None
    tool: str | None = None
    user_ids: frozenset[str] | None = None
    session_id: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None

    @classmethod
    def of(
        cls,
        *,
        agent: str | None,
        status: RunStatus | str | None,
        tool: str | None,
        user_id: str | None,
        session_id: str | None,
        since: Any,
        until: Any,
    ) -> Selection:
        """The selection that these arguments mean.

        Raises:
            ConfigurationError: an unknown status, or a time that cannot be read.
        """
        return cls(
            agent=agent,
            status=None if status is None else _status(status),
            tool=tool,
            user_ids=None if user_id is None else known_forms(user_id),
            session_id=session_id,
            since_ns=None if since is None else moment_ns(since),
            until_ns=None if until is None else moment_ns(until),
        )

    def takes(self, run: AgentRun) -> bool:
        """Whether the run is asked for."""
        return (
            (self.status is None or run.status is self.status)
            and (self.agent is None or run.agent_name == self.agent)
            and (self.session_id is None or run.session_id == self.session_id)
            and (self.user_ids is None or run.user_id in self.user_ids)
            and (self.since_ns is None or run.started_at_ns >= self.since_ns)
            and (self.until_ns is None or run.started_at_ns < self.until_ns)
            and (self.tool is None or _uses(run, self.tool))
        )


def of_service(traces: Iterator[list[SpanRecord]], service: str | None) -> Iterator[list[SpanRecord]]:
    """The traces in which a service takes part; all of them if none is named."""
    if service is None:
        return traces
    return (spans for spans in traces if any(_service(span) == service for span in spans))


def _service(span: SpanRecord) -> Any:
    return span.resource.attributes.get(semconv.SERVICE_NAME)


def _uses(run: AgentRun, tool: str) -> bool:
    return any(step.tool_name == tool for part in run.walk() for step in part.steps)


def _status(status: RunStatus | str) -> RunStatus:
    try:
        return RunStatus(status)
    except ValueError:
        names = ", ".join(known.value for known in RunStatus)
        msg = f"status {status!r} is none of {names}"
        raise ConfigurationError(msg) from None


def moment_ns(when: Any) -> int:
    """Unix nanoseconds for a datetime, a date, a timedelta (ago), Unix seconds or a text ("7d" ago, or ISO 8601).

    A time without an offset is local time.

    Raises:
        ConfigurationError: it cannot be read as a time.
    """
    try:
        return _unix_ns(when)
    except (ValueError, OverflowError):
        msg = f'time {when!r} is neither like "30m", "12h", "7d" (ago) nor ISO 8601 like "2026-11-22T18:00:00+01:00"'
        raise ConfigurationError(msg) from None


def _unix_ns(when: Any) -> int:
    if isinstance(when, timedelta):
        return time.time_ns() - when // _MICROSECOND * 1000
    if isinstance(when, datetime):
        return int(when.replace(microsecond=0).timestamp()) * _NS_PER_S + when.microsecond * 1000
    if isinstance(when, date):
        return _unix_ns(datetime(when.year, when.month, when.day))  # noqa: DTZ001 - a day is a local day
    if isinstance(when, int | float) and not isinstance(when, bool):
        return int(when * _NS_PER_S)
    text = str(when).strip()
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return time.time_ns() - int(float(ago[1]) * _UNITS_S[ago[2]] * _NS_PER_S)
    return _unix_ns(datetime.fromisoformat(text.replace("Z", "+00:00")))
