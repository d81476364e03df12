"""Make a trace of each session of an agent program that logs events rather than emitting spans.

Claude Code, Codex and Gemini CLI write log records that name their session. They name no span, or one of an internal
span of the program that no run could be read from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from otel_agent_trace.dialects.agent_events import ANSWERS, EVENT_NAME, event_name_of
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.span_facts import integer_of

MOST_RECORDS = 100_000
"""Records that are held until all files have been read; further ones are left out."""
_PROMPT = ".user_prompt"
_NS_PER_MS = 1_000_000


class SessionLogs:
    """Hold the log records of sessions, and return their spans."""

    def __init__(self) -> None:
        self._by_session: dict[tuple[str, str], list[tuple[str, LogRecord]]] = {}
        self._count = 0

    def take(self, log: LogRecord) -> bool:
        """Keep a record that is an event of an agent program, and return whether it is one."""
        session_id = log.session_id
        name = None if session_id is None else event_name_of(log)
        if session_id is None or name is None:
            return False
        if self._count < MOST_RECORDS:
            service = str(log.resource.attributes.get("service.name", ""))
            self._by_session.setdefault((service, session_id), []).append((name, log))
            self._count += 1
        return True

    def traces(self) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each session: its prompts, and below each what followed it."""
        for session, named_logs in self._by_session.items():
            yield _spans(_digest(*session, size=16), named_logs)


def _spans(trace_id: str, named_logs: list[tuple[str, LogRecord]]) -> list[SpanRecord]:
    found: dict[str, SpanRecord] = {}
    prompt_id: str | None = None
    for name, log in sorted(named_logs, key=lambda named: _order(named[1])):
        span = _span(trace_id, prompt_id, name, log)
        if name.endswith(_PROMPT):
            prompt_id = span.span_id
        elif prompt_id is not None:
            found[prompt_id] = _extended(found[prompt_id], name, span)
        if name.rpartition(".")[2] not in ANSWERS:
            found.setdefault(span.span_id, span)
    return list(found.values())


def _order(log: LogRecord) -> tuple[int, int]:
    return log.time_ns, integer_of(log.attributes.get("event.sequence")) or 0


def _span(trace_id: str, prompt_id: str | None, name: str, log: LogRecord) -> SpanRecord:
    """Return the span of an event, which was logged when what it reports had ended."""
    lasted_ns = max(0, integer_of(log.attributes.get("duration_ms")) or 0) * _NS_PER_MS
    return SpanRecord(
        trace_id,
        _digest(name, log.time_ns, sorted(log.attributes.items(), key=str), size=8),
        None if name.endswith(_PROMPT) else prompt_id or _digest(trace_id, size=8),
        name,
        log.time_ns - (0 if name.endswith(_PROMPT) else lasted_ns),
        log.time_ns,
        {**log.attributes, EVENT_NAME: name},
        resource=log.resource,
        scope=log.scope,
    )


def _extended(prompt: SpanRecord, name: str, span: SpanRecord) -> SpanRecord:
    """Return the span of a prompt with the end, or the answer, that a later event of it gives."""
    attributes = prompt.attributes
    if name.rpartition(".")[2] in ANSWERS and "response" in span.attributes:
        attributes = {**attributes, "response": span.attributes["response"]}
    return msgspec.structs.replace(prompt, attributes=attributes, end_ns=max(prompt.end_ns or 0, span.end_ns or 0))


def _digest(*parts: object, size: int) -> str:
    return hashlib.blake2b(repr(parts).encode("utf-8", "replace"), digest_size=size).hexdigest()
