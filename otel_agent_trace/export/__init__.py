"""Send the spans of a source to an OTLP endpoint: all of them, or the traces of the runs that a query selects."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.export.pipeline import Pipeline
from otel_agent_trace.export.state import ExportState, state_path
from otel_agent_trace.keywords import called_with
from otel_agent_trace.mapping.history import whole_records
from otel_agent_trace.otlp import (
    Batch,
    BatchBuilder,
    EncodedSpan,
    Encoder,
    Outcome,
    RefusedSpan,
    Sender,
    Settings,
    settings_of,
)
from otel_agent_trace.otlp.settings import DEFAULT_RETRY_TIMEOUT_S
from otel_agent_trace.query import QueryKeywords, RunQuery
from otel_agent_trace.runs import run_to_spans
from otel_agent_trace.runs.assemble import Assembled, by_trace
from otel_agent_trace.runs.tree import unique
from otel_agent_trace.sources import Progress, name_of, open_source
from otel_agent_trace.sources.search import find, search, with_filters
from otel_agent_trace.span import Notice, Problem, SpanRecord, SpanSource

_log = logging.getLogger("otel_agent_trace")
_MAX_DETAILS = 20


class ExportSummary(msgspec.Struct):
    """Hold the outcome of an export up to now; counts are of spans unless their comment names something else."""

    traces: int = 0
    """Traces that were read and selected, delivered or not."""
    runs: int | None = None
    """Runs that the query selected; None for an export without a filter, which does not look for runs."""
    traces_before: int = 0
    """Traces among these that the interrupted export had delivered."""
    spans: int = 0
    """Spans that the receiver accepted."""
    unfinished: int = 0
    """Spans that were sent without an end, since they were running or their process was killed."""
    in_progress: int = 0
    """Spans of programs known to run that have not ended, and are left out: receivers could not add the end later."""
    refused: int = 0
    """Spans that the receiver refused when each was sent alone."""
    refused_spans: list[RefusedSpan] = []
    """First 20 of the refused spans, with the reasons."""
    rejected: int = 0
    """Spans that the receiver rejected by the `partial_success` of OTLP, which gives their number only."""
    notes: dict[str, None] = {}
    """First 20 different messages of the receiver about these, or its warnings."""
    bytes: int = 0
    """Size of the accepted requests in bytes, before compression."""
    seconds: float = 0.0
    """Duration of the export so far."""

    @property
    def is_complete(self) -> bool:
        """Return whether no span was refused or rejected."""
        return not self.refused and not self.rejected

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able data."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return fields | {"refused_spans": [span._asdict() for span in self.refused_spans], "notes": list(self.notes)}


class ExportKeywords(QueryKeywords, frozen=True, kw_only=True):
    """Define the keywords of `export_spans`: the filters of `RunQuery`, and how to send."""

    protocol: str | None = None
    headers: Mapping[str, str] | None = None
    timeout_s: float | None = None
    retry_timeout_s: float = DEFAULT_RETRY_TIMEOUT_S
    state: ExportState | None = None
    summary: ExportSummary | None = None
    on_problem: Callable[[Problem], None] | None = None
    on_progress: Progress | None = None
    on_retry: Callable[[str], None] | None = None


class ExportCall(ExportKeywords, frozen=True):
    """Hold the arguments of a call of `export_spans`; a filter given as keyword replaces that of `query`."""

    source: Any
    endpoint: str | Settings
    query: RunQuery = RunQuery()


@called_with(ExportCall)
def export_spans(call: ExportCall) -> ExportSummary:
    """Send the spans of a source to an OTLP endpoint, and return an `ExportSummary`.

    Without a filter every span is sent. With fields of `RunQuery` (as keywords, in a `query`, or both) the whole traces
    of the runs that match are: with `limit` the newest, or the first in the order of `sort`; with `run_id` one run,
    which is looked for as by `load_run`. Spans keep their ids, so that readers recognise one that was sent twice.

    `source`, `on_problem` and `on_progress` are those of `iter_runs`. `endpoint` is ``http(s)://host:4318``,
    ``grpc(s)://host:4317``, or `Settings`. `protocol` is "http/protobuf", "http/json" or "grpc", as for `settings_of`;
    `headers` are sent with each request, beside those of ``OTEL_EXPORTER_OTLP_HEADERS``; `timeout_s` is the timeout of
    one request in seconds, and after `retry_timeout_s` seconds a request that cannot be delivered is given up. Traces
    that `state` lists as delivered are left out, and those that are delivered now are added to it; its file is removed
    at the end. `summary` is kept up to date, also when an error ends the export. `on_retry` is called in another thread
    with the reason whenever a request is sent again.

    Raises:
        SourceError: the source cannot be read at all.
        EndpointError: the endpoint cannot be reached, is no receiver of OTLP, or refuses everything.
        RunNotFoundError: no run has the id `run_id`.
        AmbiguousRunError: several runs match `run_id`.
        ConfigurationError: an argument has an invalid value.
        TypeError: a keyword is unknown; the message names the closest one.
    """
    if call.retry_timeout_s <= 0:
        msg = f"retry_timeout_s must be greater than 0 seconds, got {call.retry_timeout_s!r}"
        raise ConfigurationError(msg)
    settings = _settings(call.endpoint, call.protocol, call.headers, call.timeout_s)
    summary = ExportSummary() if call.summary is None else call.summary
    source = open_source(call.source, on_progress=call.on_progress)
    query = call.replacing(call.query)
    selected = _SelectedTraces(source, query, call.on_problem or _log_problem, summary, name_of(call.source))
    encoder = Encoder(settings.protocol)
    sender = Sender(settings, encoder.join, retry_timeout_s=call.retry_timeout_s, on_retry=call.on_retry)
    began = time.monotonic()
    try:
        _Export(encoder, sender, call.state, summary).run(selected.traces())
    finally:
        sender.close()
        summary.seconds = time.monotonic() - began
    return summary


def _settings(
    endpoint: str | Settings, protocol: str | None, headers: Mapping[str, str] | None, timeout_s: float | None
) -> Settings:
    if isinstance(endpoint, str):
        return settings_of(endpoint, protocol=protocol, headers=headers, timeout_s=timeout_s)
    if (protocol, headers, timeout_s) != (None, None, None):
        raise ConfigurationError("protocol, headers and timeout_s cannot be combined with Settings, which have them")
    return endpoint


def _log_problem(problem: Problem) -> None:
    _log.warning("%s", problem.warning)


# ── which traces ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _SelectedTraces:
    """Read the traces of a source that a query selects, and count the runs in the summary."""

    def __init__(
        self,
        source: SpanSource,
        query: RunQuery,
        on_problem: Callable[[Problem], None],
        summary: ExportSummary,
        name: str,
    ) -> None:
        self._source, self._query, self._on_problem = source, query, on_problem
        self._summary, self._name = summary, name

    def traces(self) -> Iterator[list[SpanRecord]]:
        """Return an iterator over the spans of each selected trace."""
        if self._query.run_id is not None:
            return self._of_one_run()
        if self._query.limit is not None:
            return self._of_first_runs()
        return self._of_runs() if self._query.is_filter else self._source.traces(self._on_problem)

    def _of_one_run(self) -> Iterator[list[SpanRecord]]:
        whole = find(self._source, self._query, self._on_problem, self._name).whole
        self._summary.runs = 1
        return iter(by_trace(_spans_of(whole)).values())

    def _of_first_runs(self) -> Iterator[list[SpanRecord]]:
        """Yield the traces of the first runs in order.

        The source is read twice, for the ids of the traces and for the traces: the spans of all these runs may be more
        than fits into memory.
        """
        query = self._query if self._query.order else self._query.but(newest_first=True)
        ids_by_run = search(
            self._source, query, self._pass_notice, lambda found: {span.trace_id for span in _spans_of(found)}
        )
        first = list(ids_by_run)
        self._summary.runs = len(first)
        trace_ids = set().union(*first)
        traces = with_filters(self._source, query).traces(self._on_problem) if trace_ids else iter(())
        return (spans for spans in traces if spans and spans[0].trace_id in trace_ids)

    def _pass_notice(self, problem: Problem) -> None:
        """Pass on a notice, and ignore any other problem, which is reported when the source is read again."""
        if isinstance(problem, Notice):
            self._on_problem(problem)

    def _of_runs(self) -> Iterator[list[SpanRecord]]:
        """Yield the traces of all runs that match, each once although several runs may share one."""
        self._summary.runs = 0
        yielded: set[str] = set()
        for found in search(self._source, self._query.but(sort=None, newest_first=False), self._on_problem, _identity):
            self._summary.runs += 1
            if not found.spans:  # a backend with runs() has no spans
                yield run_to_spans(found.run)
                continue
            traces = by_trace(found.spans)
            yield from (spans for trace_id, spans in traces.items() if trace_id not in yielded)
            yielded.update(traces)


def _spans_of(found: Assembled) -> Sequence[SpanRecord]:
    return found.spans or run_to_spans(found.run)


def _identity(found: Assembled) -> Assembled:
    return found


# ── sending them ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Trace:
    """Count the batches in flight with spans of a trace, which is delivered when none is left and no span was refused."""

    __slots__ = ("digest", "in_flight", "is_clean")

    def __init__(self, digest: int) -> None:
        self.digest = digest
        self.in_flight = 0
        self.is_clean = True


class _TracedBatch(NamedTuple):
    """Hold a batch and the traces of its spans; a trace may have spans in several batches."""

    batch: Batch
    traces: list[_Trace]


class _Export:
    """Encode traces, send them in batches, and record which were delivered."""

    def __init__(self, encoder: Encoder, sender: Sender, state: ExportState | None, summary: ExportSummary) -> None:
        self._encoder, self._sender = encoder, sender
        self._state, self._summary = state, summary
        self._builder = BatchBuilder()
        self._traces_in_batch: list[_Trace] = []
        self._pipeline: Pipeline[_TracedBatch, Outcome] = Pipeline(self._send, self._record_outcome)

    def run(self, traces: Iterable[list[SpanRecord]]) -> None:
        """Send all traces; raises what `Sender.send` raises."""
        delivered = frozenset() if self._state is None else self._state.delivered()
        try:
            for spans in traces:
                self._add(spans, delivered)
            self._dispatch()
            self._pipeline.finish()
        finally:
            self._pipeline.close()
            if self._state is not None:
                self._state.close()
        if self._state is not None:
            self._state.remove()

    def _add(self, spans: list[SpanRecord], delivered: frozenset[int]) -> None:
        """Encode a trace and batch its spans, unless it was delivered before."""
        whole = whole_records(unique(spans)).values()  # receivers know no preceding calls
        records = [span for span in whole if not _is_in_progress(span)]
        self._summary.in_progress += len(whole) - len(records)
        if not records:
            return
        encoded = self._encoder.encode(records)
        trace = _Trace(_digest(encoded))
        self._summary.traces += 1
        if trace.digest in delivered:
            self._summary.traces_before += 1
            return
        self._summary.unfinished += [span.end_ns for span in records].count(None)
        self._batch(encoded, trace)

    def _batch(self, spans: Sequence[EncodedSpan], trace: _Trace) -> None:
        """Add spans to the current batch if it has room for all of them, else one by one, with new batches as needed."""
        if self._builder.add(spans, self._sender.limit):
            self._mark_in_batch(trace)
            return
        trace.in_flight += 1  # so that the answer to its first batch does not mark it as delivered
        for span in spans:
            if not self._builder.add([span], self._sender.limit):
                self._dispatch()
                self._builder.add([span], self._sender.limit)
            self._mark_in_batch(trace)
        trace.in_flight -= 1

    def _mark_in_batch(self, trace: _Trace) -> None:
        """Record that the current batch has spans of a trace."""
        if not self._traces_in_batch or self._traces_in_batch[-1] is not trace:
            self._traces_in_batch.append(trace)
            trace.in_flight += 1

    def _dispatch(self) -> None:
        """Send the current batch, if it has spans, and begin a new one."""
        batch = self._builder.take()
        if batch is not None:
            traced, self._traces_in_batch = _TracedBatch(batch, self._traces_in_batch), []
            self._pipeline.put(traced)

    def _send(self, traced: _TracedBatch) -> Outcome:
        return self._sender.send(traced.batch)

    def _record_outcome(self, traced: _TracedBatch, outcome: Outcome) -> None:
        """Count the outcome of a batch, and note the traces that were delivered with it as a whole."""
        for trace in traced.traces:
            trace.in_flight -= 1
            trace.is_clean = trace.is_clean and outcome.is_clean
        if self._state is not None:
            self._state.add(trace.digest for trace in traced.traces if trace.is_clean and not trace.in_flight)
        _add_outcome(self._summary, outcome)


def _is_in_progress(span: SpanRecord) -> bool:
    return span.end_ns is None and span.attributes.get(semconv.INTERRUPTED) is False


def _add_outcome(summary: ExportSummary, outcome: Outcome) -> None:
    summary.spans += outcome.accepted
    summary.bytes += outcome.sent_bytes
    summary.rejected += outcome.rejected
    summary.refused += len(outcome.refused)
    summary.refused_spans += outcome.refused[: _MAX_DETAILS - len(summary.refused_spans)]
    for note in outcome.notes[: _MAX_DETAILS - len(summary.notes)]:
        summary.notes[note] = None


def _digest(spans: list[EncodedSpan]) -> int:
    """Return a CRC-32 of a trace's id and one of its content, as 64 bits.

    A trace that has changed since it was delivered has another digest, and is sent again.
    """
    content, scope = 0, None
    for span in spans:
        if span.resource_scope is not scope:
            scope = span.resource_scope
            content = zlib.crc32(scope.head, content)
        content = zlib.crc32(span.data, content)
    return zlib.crc32(spans[0].trace_id.encode()) << 32 | content


__all__ = ["ExportState", "ExportSummary", "export_spans", "state_path"]
