"""Decide about the traces in a journal, by the policy in its first line, as its process would have done."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.policies.tail_sampling import TailSampling
from otel_agent_trace.policies.trace_facts import TraceFacts
from otel_agent_trace.sampling import NEVER, DroppedTraces, randomness_of, threshold_before, threshold_in
from otel_agent_trace.span import FLAG_REMOTE_PARENT, SpanRecord
from otel_agent_trace.store.decisions import Decisions
from otel_agent_trace.store.dropped_counts import counted_traces
from otel_agent_trace.store.journal_lines import LOGS, as_kept, as_otlp
from otel_agent_trace.store.liveness import RECEIVED, SAMPLED_ELSEWHERE, SAMPLING, owner_of
from otel_agent_trace.store.liveness import is_alive as is_writer_alive
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import open_regular

_TRACE_ID = re.compile(rb'"traceId":"([0-9a-f]{32})"')
_NS_PER_S = 1e9


class SampledJournal(NamedTuple):
    """Hold the content of a journal after its policy has decided.

    Args:
        content: lines of OTLP/JSON of the traces that are kept, or go on in a process that is alive.
        dropped: what is counted of each dropped trace, by its id; -1 traces for one that is kept although another process has
            counted it, which had not known the decision in time.
        is_waiting: whether the decision about a trace is another process's, and not known yet.
    """

    content: bytes
    dropped: dict[str, DroppedTraces] = {}  # noqa: RUF012 - never changed
    is_waiting: bool = False


class _Trace(msgspec.Struct):
    """Hold the lines and the spans of a trace."""

    lines: list[bytes] = msgspec.field(default_factory=list)
    spans: dict[str, SpanRecord] = msgspec.field(default_factory=dict)

    def add_spans(self, spans: Iterable[SpanRecord]) -> None:
        """Add spans, of each its end rather than its start."""
        for span in spans:
            if span.end_ns is not None or span.span_id not in self.spans:
                self.spans[span.span_id] = span


class _Decision(NamedTuple):
    """Hold a threshold, None for a trace that waits or goes on, and what is counted of a dropped one."""

    threshold: int | None
    counted: DroppedTraces | None = None
    is_waiting: bool = False
    has_waited: bool = False
    """True if the time is over for which a trace waits for the decision of another process."""
    is_kept_here: bool = False
    """True if a rule keeps the trace, whose root span the process of the journal had."""


def sampled(files: StoreFiles, text: bytes, *, is_alive: bool) -> SampledJournal:
    """Return what a journal has after its policy has decided; all of it if there is no policy.

    Args:
        files: the names of the store.
        text: the journal.
        is_alive: whether its process may be alive, and goes on with what is open.
    """
    owner = owner_of(text[: text.find(b"\n") + 1])
    policy = _policy_of(owner.get(SAMPLING, ""))
    if policy is None:
        return SampledJournal(as_otlp(text))
    elsewhere = set(owner.get(SAMPLED_ELSEWHERE, "").split(","))
    decisions, counted, others, kept = Decisions(files), counted_traces(files), list[bytes](), list[bytes]()
    dropped, is_waiting = dict[str, DroppedTraces](), False
    waits = is_alive and RECEIVED in owner  # the decision is its process's, so that most spans need not be decoded
    for trace_id, trace in _traces_in(as_otlp(text).split(b"\n"), others, has_spans=not waits).items():
        known, before = decisions.of(int(trace_id, 16)), decisions.count_of(int(trace_id, 16))
        if waits and known:
            trace.add_spans(span for line in trace.lines for span in _spans_in(line) or ())
        if trace_id in counted and not known and (known is False or before is None):
            continue  # its lines would have been blanked soon
        decision = (
            _decision_about_received(policy, trace_id, trace, known, is_alive=is_alive)
            if RECEIVED in owner
            else _decision(policy, trace_id, trace, known, is_elsewhere=trace_id in elsewhere, is_alive=is_alive)
        )
        if decision.has_waited and _goes_on(files, trace_id, text):
            decision = _Decision(None, is_waiting=True)
        is_waiting |= decision.is_waiting
        if decision.counted is not None and before is None:
            dropped[trace_id] = decision.counted
        elif before is not None and known is None and decision.is_kept_here:
            dropped[trace_id] = before._replace(traces=-1)
        if decision.threshold != NEVER and not decision.is_waiting:
            kept += _lines_of(trace, decision.threshold)
    return SampledJournal(b"\n".join([*others, *kept]), dropped, is_waiting)


def _policy_of(text: str) -> TailSampling | None:
    """Return the policy of a text; None for one of a later version, whose traces are all kept."""
    try:
        return TailSampling.parse(text) if text else None
    except ConfigurationError:
        return None


def _traces_in(lines: Iterable[bytes], others: list[bytes], *, has_spans: bool) -> dict[str, _Trace]:
    """Return the traces in lines by their ids, with their spans or without, and add other lines to `others`."""
    traces: dict[str, _Trace] = {}
    for line in lines:
        found = _TRACE_ID.search(line)
        if found is None:
            others.append(line)
            continue
        spans = _spans_in(line) if has_spans else ()
        if spans is None:  # the last line of a process that was killed
            continue
        trace = traces.setdefault(found[1].decode(), _Trace())
        trace.lines.append(line)
        trace.add_spans(spans)
    return traces


def _spans_in(line: bytes) -> Collection[SpanRecord] | None:
    """Return the spans in a line, none of one of log records; None if it cannot be read."""
    try:
        return () if line.startswith(LOGS) else otlp_json.decode(line)
    except (ValueError, RecursionError):
        return None


def _decision(
    policy: TailSampling, trace_id: str, trace: _Trace, known: bool | None, *, is_elsewhere: bool, is_alive: bool
) -> _Decision:
    spans = trace.spans
    root = _root_in(spans)
    if root is None:
        return _Decision(None if known is not False else NEVER)
    incoming = threshold_in(root.trace_state)
    if known:
        return _Decision(incoming or 0)
    randomness = randomness_of(int(trace_id, 16), root.trace_state)
    facts = _facts_of(root, spans.values(), is_interrupted=root.end_ns is None)
    if is_elsewhere or root.flags & FLAG_REMOTE_PARENT:
        threshold = policy.threshold_of_rest(randomness, incoming)
        return _as_elsewhere(policy, facts, spans.values(), known, threshold=threshold, is_alive=is_alive)
    if is_alive:
        return _Decision(None)
    return _as_here(policy, facts, randomness, incoming)


def _root_in(spans: Mapping[str, SpanRecord]) -> SpanRecord | None:
    """Return the first of the spans whose parents are not there; None of logs alone.

    The trace of these was decided, or its spans are in another journal.
    """
    roots = (span for span in spans.values() if span.parent_span_id not in spans)
    return min(roots, key=lambda span: span.start_ns, default=None)


def _decision_about_received(
    policy: TailSampling, trace_id: str, trace: _Trace, known: bool | None, *, is_alive: bool
) -> _Decision:
    """Return the decision about a trace of other processes, whose root span has not come (see `pipeline.ReceivedDecider`)."""
    first = _root_in(trace.spans)
    if known is False:
        return _Decision(NEVER)
    if first is None or (is_alive and known is None):
        return _Decision(None)
    incoming = threshold_before(first.trace_state, first.attributes.get(semconv.SAMPLING_PROBABILITY))
    if known:
        return _Decision(incoming or 0)
    is_interrupted = first.parent_span_id is not None and not first.flags & FLAG_REMOTE_PARENT
    facts = _facts_of(first, trace.spans.values(), is_interrupted=is_interrupted)
    return _as_here(policy, facts, randomness_of(int(trace_id, 16), first.trace_state), incoming)


def _as_here(policy: TailSampling, facts: TraceFacts, randomness: int, incoming: int | None) -> _Decision:
    """Return the decision about a trace that the process of the journal would have decided."""
    threshold = policy.threshold(facts, randomness, incoming)
    if threshold == NEVER:
        return _Decision(NEVER, facts.counted())
    return _Decision(threshold, is_kept_here=True)


def _as_elsewhere(
    policy: TailSampling,
    facts: TraceFacts,
    spans: Collection[SpanRecord],
    known: bool | None,
    *,
    threshold: int,
    is_alive: bool,
) -> _Decision:
    """Return the decision about a trace that another process decides."""
    if threshold != NEVER:
        return _Decision(threshold)
    if known is False:
        return _Decision(NEVER)
    if is_alive and any(span.end_ns is None for span in spans):
        return _Decision(None)
    last_ns = max(span.end_ns or span.start_ns for span in spans)
    if is_alive or time.time_ns() - last_ns < policy.wait_s * _NS_PER_S:
        return _Decision(None, is_waiting=True)
    return _Decision(NEVER, facts.counted(), has_waited=True)


def _goes_on(files: StoreFiles, trace_id: str, text: bytes) -> bool:
    """Return whether a process that is alive has spans of a trace, so that it may still decide.

    Args:
        files: the names of the store.
        trace_id: the id of the trace.
        text: the journal that is read, whose lock its reader may have.
    """
    for path in files.journals():
        with suppress(OSError):
            content = _content_of(path) if is_writer_alive(path) else b""
            if trace_id.encode() in content and content != text:
                return True
    return False


def _content_of(path: str) -> bytes:
    with open(open_regular(path), "rb") as file:
        return file.read()


def _facts_of(root: SpanRecord, spans: Iterable[SpanRecord], *, is_interrupted: bool) -> TraceFacts:
    facts = TraceFacts()
    for span in spans:
        if span.end_ns is not None:
            facts.note(span.attributes, span.start_ns, is_error=span.status_code == semconv.STATUS_ERROR)
    if is_interrupted:
        facts.note_death(_agent_in(root.attributes), root.start_ns)
    else:
        is_error = root.status_code == semconv.STATUS_ERROR
        facts.note_root(root.attributes, root.start_ns, root.end_ns or root.start_ns, is_error=is_error)
    return facts


def _agent_in(attributes: Any) -> object:
    is_agent = attributes.get(semconv.OPERATION_NAME) == semconv.OPERATION_INVOKE_AGENT
    return attributes.get(semconv.AGENT_NAME) if is_agent else None


def _lines_of(trace: _Trace, threshold: int | None) -> list[bytes]:
    """Return the lines of a trace, its spans with the threshold."""
    if threshold is None:
        return trace.lines
    return [as_kept(line, threshold).rstrip(b"\n") for line in trace.lines]
