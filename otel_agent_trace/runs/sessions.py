"""Find the traces of a session that lasted within another trace of it, and are parts of the same run.

Where contexts are lost, every span is a trace of its own: those of LangChain's callbacks in JavaScript under Traceloop,
the turns of Gemini CLI. Around them in time is the span of the whole graph, or the prompt that an agent program logged.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from otel_agent_trace import dialects
from otel_agent_trace.dialects import agent_events
from otel_agent_trace.dialects.parsing.signals import resumes_another
from otel_agent_trace.model import AgentRun, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

_MOST_SPANS = 32
"""Spans of a trace that may be a part of a run; one with more is a run of its own."""
_NEVER = 2**63
Session = tuple[str | None, str]
"""Service and id of a session."""


class Piece(NamedTuple):
    """Represent a trace that may be a part of a run, or be around the parts of one.

    Args:
        spans: its spans.
        run: the run that it is by itself; None for a frame around nothing.
        session: the session that it names, None for none.
        is_around: whether it is a span that others may belong below: a frame or a prompt.
    """

    spans: tuple[SpanRecord, ...]
    run: AgentRun | None
    session: Session | None
    is_around: bool = False

    @property
    def is_prompt(self) -> bool:
        """Return whether it is a prompt that an agent program logged, with the calls that it logged after it."""
        return self.is_around and self.run is not None

    @property
    def start_ns(self) -> int:
        """Return when its first span began, in Unix nanoseconds."""
        return min(span.start_ns for span in self.spans)

    @property
    def end_ns(self) -> int:
        """Return when its last span ended, or began where an end is not known, in Unix nanoseconds."""
        return max(_end_of(span) for span in self.spans)

    @property
    def order(self) -> tuple[int, int, str]:
        """Return the key by which a piece around others comes before them."""
        return self.start_ns, -self.end_ns, self.spans[0].span_id


def piece_of(spans: Sequence[SpanRecord], runs: Sequence[AgentRun]) -> Piece | None:
    """Return a trace of another tracer as a piece if it names a session, and is no run by itself.

    A trace is one if it has an agent, but that of a logged prompt; if a frame is around both models and tools; if it was
    interrupted for a person, or resumes one that was.
    """
    if len(runs) > 1 or len(spans) > _MOST_SPANS or any(map(dialects.is_ours, spans)):
        return None
    if not runs:
        facts = dialects.read_third_party(spans[0]) if len(spans) == 1 else None
        if facts is None or facts.kind is not None or facts.session_id is None:
            return None
        return Piece(tuple(spans), None, (_service_of(spans[0]), facts.session_id), is_around=True)
    (run,) = runs
    if run.session_id is None:
        return None
    is_around = run.dialect == agent_events.NAME and run.span_id is not None
    if not is_around and _is_whole(spans, run):
        return None
    return Piece(tuple(spans), run, (run.service_name, run.session_id), is_around)


def _is_whole(spans: Sequence[SpanRecord], run: AgentRun) -> bool:
    if run.interrupted_for is not None or any(map(resumes_another, spans)):
        return True
    kinds: set[StepKind | None] = set()
    for span in spans:
        kinds.add(_kind_of(span))
        if StepKind.AGENT in kinds:
            return True
    return run.span_id is not None and kinds >= {StepKind.MODEL, StepKind.TOOL}


def _kind_of(span: SpanRecord) -> StepKind | None:
    facts = dialects.read_third_party(span)
    return None if facts is None else facts.kind


def _service_of(span: SpanRecord) -> str | None:
    service = span.resource.attributes.get("service.name")
    return None if service is None else str(service)


def _end_of(span: SpanRecord) -> int:
    return span.start_ns if span.end_ns is None else span.end_ns


# ── which pieces are one run ─────────────────────────────────────────────────────────────────────────────────────────


def grouped(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield the pieces that are one run together, the one around the others first; each other piece by itself."""
    by_session: dict[Session | None, list[Piece]] = {}
    for piece in pieces:
        by_session.setdefault(piece.session, []).append(piece)
    yield from ([piece] for piece in by_session.pop(None, ()))
    for of_session in by_session.values():
        yield from _grouped_by_time(sorted(of_session, key=lambda piece: piece.order))


def _grouped_by_time(pieces: list[Piece]) -> Iterator[list[Piece]]:
    groups = [([top], end_ns) for top, end_ns in _outermost(pieces)]
    tops = {id(group[0]) for group, _ in groups}
    for piece in pieces:
        if id(piece) in tops:
            continue
        around = next((group for group, end_ns in groups if group[0].start_ns <= piece.start_ns < end_ns), None)
        if around is None:
            yield [piece]
        else:
            around.append(piece)
    yield from (group for group, _ in groups)


def _outermost(pieces: list[Piece]) -> list[tuple[Piece, int]]:
    """Return the outermost pieces around others, each with the time until which others belong to it.

    What follows a prompt belongs to it until the next one. Frames that overlap show that runs of the session were
    concurrent: nothing then belongs to any of them.
    """
    prompts = [piece for piece in pieces if piece.is_prompt]
    if prompts:
        return [(prompt, later.start_ns) for prompt, later in itertools.pairwise(prompts)] + [(prompts[-1], _NEVER)]
    found: list[tuple[Piece, int]] = []
    for piece in pieces:
        if piece.is_around:
            if not found or piece.start_ns >= found[-1][1]:
                found.append((piece, piece.end_ns))
            elif piece.end_ns > found[-1][1]:
                return []
    return found


# ── where they belong ────────────────────────────────────────────────────────────────────────────────────────────────


def parents_by_time(spans: Sequence[SpanRecord]) -> dict[str, str | None]:
    """Return for outermost spans of several traces, the first of which is around all others, the ids of their parents.

    Each belongs below the innermost frame that was around it in time. Empty if the first trace is not such a frame.
    """
    known = {span.span_id for span in spans}
    traces: dict[str, list[SpanRecord]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    around = [group[0] for group in traces.values() if len(group) == 1 and _is_around(group[0])]
    if not around or around[0] is not spans[0]:
        return {}
    outermost = [span for span in spans[1:] if span.parent_span_id not in known]
    top, *frames = around
    frames.sort(key=_order)
    return {top.span_id: None} | {span.span_id: _innermost(span, frames, top).span_id for span in outermost}


def _is_around(span: SpanRecord) -> bool:
    facts: SpanFacts | None = dialects.read_third_party(span)
    return facts is not None and (facts.kind is None or facts.dialect == agent_events.NAME)


def _innermost(span: SpanRecord, frames: list[SpanRecord], top: SpanRecord) -> SpanRecord:
    around = [frame for frame in frames if _order(frame) < _order(span) and _end_of(span) <= _end_of(frame)]
    return around[-1] if around else top


def _order(span: SpanRecord) -> tuple[int, int, str]:
    return span.start_ns, -_end_of(span), span.span_id
