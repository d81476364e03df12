"""Make a trace of each prompt to an agent program that logs events rather than emitting spans.

Claude Code, Codex and Gemini CLI write log records that name their session. They name no span, or one of an internal
span of the program that no run could be read from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from otel_agent_trace.dialects.agent_events import ANSWERS, EVENT_NAME, TOOLS, event_name_of
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.span_facts import integer_of

MOST_RECORDS = 100_000
"""Records that are held until all files have been read; further ones are counted."""
_PROMPT = ".user_prompt"
_NS_PER_MS = 1_000_000


class SessionLogs:
    """Hold the log records of sessions, and return their spans.

    Attributes:
        dropped: the number of records that were not held.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._by_session: dict[tuple[str, str], list[tuple[str, LogRecord]]] = {}
        self._count = 0

    def add(self, log: LogRecord) -> bool:
        """Keep a record that is an event of an agent program, and return whether it is one; others are ignored."""
        session_id = log.session_id
        name = None if session_id is None else event_name_of(log)
        if session_id is None or name is None:
            return False
        if self._count < MOST_RECORDS:
            service = str(log.resource.attributes.get("service.name", ""))
            self._by_session.setdefault((service, session_id), []).append((name, log))
            self._count += 1
        else:
            self.dropped += 1
        return True

    def traces(self) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each prompt: its own, and below it those of what followed."""
        for session, named_logs in self._by_session.items():
            unique = {_digest_of_log(*named): named for named in named_logs}  # lines of a file may be repeated
            ordered = sorted(unique.values(), key=lambda named: _order(named[1]))
            yield from _traces(_digest(*session, size=16), ordered)


def _traces(trace_id: str, named_logs: list[tuple[str, LogRecord]]) -> Iterator[list[SpanRecord]]:
    """Yield the spans of each prompt in a session; the first trace is what was logged before any prompt."""
    prompt: SpanRecord | None = None
    found: dict[str, SpanRecord] = {}
    for name, log in named_logs:
        if name.endswith(_PROMPT):
            if found:
                yield list(found.values())
            trace_id = _digest(trace_id, log.time_ns, size=16)
            prompt = _span(trace_id, None, name, log)
            found = {prompt.span_id: prompt}
            continue
        span = _span(trace_id, _digest(trace_id, size=8) if prompt is None else prompt.span_id, name, log)
        if name.rpartition(".")[2] not in ANSWERS:
            found.setdefault(span.span_id, span)
        if prompt is not None:
            prompt = found[prompt.span_id] = _extended(prompt, name, span)
    if found:
        yield list(found.values())


def _order(log: LogRecord) -> tuple[int, int]:
    return log.time_ns, integer_of(log.attributes.get("event.sequence")) or 0


def _span(trace_id: str, parent_id: str | None, name: str, log: LogRecord) -> SpanRecord:
    """Return the span of an event, which was logged when what it reports had ended; a prompt has no end yet."""
    lasted_ns = max(0, integer_of(log.attributes.get("duration_ms")) or 0) * _NS_PER_MS
    return SpanRecord(
        trace_id,
        _digest_of_log(name, log),
        parent_id,
        name,
        log.time_ns if parent_id is None else log.time_ns - lasted_ns,
        None if parent_id is None else log.time_ns,
        {**log.attributes, EVENT_NAME: name},
        resource=log.resource,
        scope=log.scope,
    )


def _extended(prompt: SpanRecord, name: str, span: SpanRecord) -> SpanRecord:
    """Return the span of a prompt with the answer and the end that a later event of it gives.

    No event reports the end. A prompt has ended with a model's answer, but not if tools were called after it.
    """
    kind = name.rpartition(".")[2]
    attributes = prompt.attributes
    if kind in ANSWERS and "response" in span.attributes:
        attributes = {**attributes, "response": span.attributes["response"]}
    return msgspec.structs.replace(prompt, attributes=attributes, end_ns=None if kind in TOOLS else span.end_ns)


def _digest_of_log(name: str, log: LogRecord) -> str:
    return _digest(name, log.time_ns, sorted(log.attributes.items(), key=str), size=8)


def _digest(*parts: object, size: int) -> str:
    return hashlib.blake2b(repr(parts).encode("utf-8", "replace"), digest_size=size).hexdigest()
