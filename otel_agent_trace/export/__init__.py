"""Sends what a source holds to an OTLP endpoint: all of it, or the traces of the runs that are asked for."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

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
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs import run_to_spans
from otel_agent_trace.runs.assemble import by_trace
from otel_agent_trace.runs.stitch import Assembled
from otel_agent_trace.runs.tree import unique
from otel_agent_trace.sources import Progress, name_of, open_source
from otel_agent_trace.sources.search import find, narrowed, search
from otel_agent_trace.span import Problem, SpanRecord, SpanSource

_log = logging.getLogger("otel_agent_trace")
_MOST_KEPT = 20


class ExportSummary(msgspec.Struct):
    """What became of an export, up to now: numbers of spans where nothing else is said."""

    traces: int = 0
    """Read and meant, whatever became of them."""
    runs: int | None = None
    """That were asked for; None where no filter was given, and nobody looked."""
    traces_before: int = 0
    """Of these, delivered by the export that this one goes on with."""
    spans: int = 0
    """Accepted."""
    unfinished: int = 0
    """Sent without an end: they were running, or their program was killed."""
    refused: int = 0
    refused_spans: list[RefusedSpan] = []
    """The first of them."""
    rejected: int = 0
    """Not taken out of requests that were taken; the receiver does not say which."""
    notes: dict[str, None] = {}
    """What the receiver said of those, or as a warning; the first of it."""
    bytes: int = 0
    """Of the accepted requests, before compression."""
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether every span was accepted."""
        return not self.refused and not self.rejected

    def to_dict(self) -> dict[str, Any]:
        """JSON-able data."""
        told = {name: getattr(self, name) for name in self.__struct_fields__}
        return told | {"refused_spans": [span._asdict() for span in self.refused_spans], "notes": list(self.notes)}


class ExportKeywords(RunQuery, frozen=True, kw_only=True):
    """The keywords of `export_spans`: which runs, and how to send."""

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
    """A call of `export_spans`; keywords go before what `query` says."""

    source: Any
    endpoint: str | Settings
    query: RunQuery = RunQuery()


@called_with(ExportCall)
def export_spans(call: ExportCall) -> ExportSummary:
    """Send what a source holds to an OTLP endpoint, and say what became of it.

    Without a filter every span goes; with fields of `RunQuery` (as keywords, or a `query`) the whole traces of the runs
    that fit: of `limit` the newest, or those that `sort` puts first; of `run_id` one run, found as `load_run` does.
    Sending again what was sent is harmless to readers: ids stay what they were.

    `source` is as for `iter_runs`, and so are `on_problem` and `on_progress`. `endpoint` is ``http(s)://host:4318``,
    ``grpc(s)://host:4317``, or settings that were made before. `protocol` is "http/protobuf", "http/json" or "grpc", as
    for `settings_of`; `headers` go with each request, beside those of ``OTEL_EXPORTER_OTLP_HEADERS``; `timeout_s` are
    seconds for one request, `retry_timeout_s` seconds after which one that could not be delivered is given up. What
    `state` says was delivered before is left out, and what is delivered is noted there; it is removed at the end.
    `summary` is kept up to date, also when an error ends the export. `on_retry` is told why a request is sent again, in
    another thread.

    Raises:
        SourceError: the source cannot be read at all.
        EndpointError: the endpoint cannot be reached, is no receiver of OTLP, or refuses everything.
        RunNotFoundError: with `run_id`, no run has it.
        AmbiguousRunError: with `run_id`, several runs fit.
        ConfigurationError: an argument that cannot be meant.
        TypeError: a keyword that there is not; it names the closest one.
    """
    if call.retry_timeout_s <= 0:
        msg = f"retry_timeout_s must be a number of seconds greater than 0, not {call.retry_timeout_s!r}"
        raise ConfigurationError(msg)
    settings = _settings(call.endpoint, call.protocol, call.headers, call.timeout_s)
    summary = ExportSummary() if call.summary is None else call.summary
    source = open_source(call.source, on_progress=call.on_progress)
    query = call.query.but(**call.given())
    chosen = _Chosen(source, query, call.on_problem or _warn, summary, name_of(call.source))
    encoder = Encoder(settings.protocol)
    sender = Sender(settings, encoder.join, retry_timeout_s=call.retry_timeout_s, on_retry=call.on_retry)
    began = time.monotonic()
    try:
        _Export(encoder, sender, call.state, summary).run(chosen.traces())
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
        raise ConfigurationError("protocol, headers and timeout_s are in the settings already")
    return endpoint


def _warn(problem: Problem) -> None:
    _log.warning("%s (skipped)", problem)


# ── which traces ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Chosen:
    """The traces of a source that are to go."""

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
        """Return each trace, whole."""
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
        """Read twice: which traces these are, and the traces; many runs may be asked for, and their spans be large."""
        query = self._query if self._query.order else self._query.but(newest_first=True)
        first = list(search(self._source, query, _ignore, lambda found: {span.trace_id for span in _spans_of(found)}))
        self._summary.runs = len(first)
        meant = set().union(*first)
        traces = narrowed(self._source, query).traces(self._on_problem) if meant else iter(())
        return (spans for spans in traces if spans and spans[0].trace_id in meant)

    def _of_runs(self) -> Iterator[list[SpanRecord]]:
        self._summary.runs = 0
        given: set[str] = set()
        for found in search(self._source, self._query.but(sort=None, newest_first=False), self._on_problem, _itself):
            self._summary.runs += 1
            if not found.spans:  # of a backend that has only runs
                yield run_to_spans(found.run)
                continue
            traces = by_trace(found.spans)
            yield from (spans for trace_id, spans in traces.items() if trace_id not in given)
            given.update(traces)


def _spans_of(found: Assembled) -> Sequence[SpanRecord]:
    return found.spans or run_to_spans(found.run)


def _itself(found: Assembled) -> Assembled:
    return found


def _ignore(problem: Problem) -> None:
    """Say nothing: the source is read again."""


# ── sending them ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Trace:
    """A trace on its way: delivered when all its batches are answered, and nothing of it was refused."""

    __slots__ = ("digest", "is_clean", "on_their_way")

    def __init__(self, digest: int) -> None:
        self.digest = digest
        self.on_their_way = 0
        self.is_clean = True


class _Load(NamedTuple):
    """A batch, and the traces of which it has spans; a trace that goes on in the next is one of them there as well."""

    batch: Batch
    traces: list[_Trace]


class _Export:
    def __init__(self, encoder: Encoder, sender: Sender, state: ExportState | None, summary: ExportSummary) -> None:
        self._encoder, self._sender = encoder, sender
        self._state, self._summary = state, summary
        self._packer = BatchBuilder()
        self._packed: list[_Trace] = []
        self._pipeline: Pipeline[_Load, Outcome] = Pipeline(self._send, self._take)

    def run(self, traces: Iterable[list[SpanRecord]]) -> None:
        before = frozenset() if self._state is None else self._state.delivered()
        try:
            for spans in traces:
                self._add(spans, before)
            self._dispatch()
            self._pipeline.finish()
        finally:
            self._pipeline.close()
            if self._state is not None:
                self._state.close()
        if self._state is not None:
            self._state.remove()

    def _add(self, spans: list[SpanRecord], before: frozenset[int]) -> None:
        """Pack a trace, unless it was delivered before."""
        records = list(whole_records(unique(spans)).values())  # receivers know no earlier calls
        if not records:
            return
        encoded = self._encoder.encode(records)
        trace = _Trace(_digest(encoded))
        self._summary.traces += 1
        if trace.digest in before:
            self._summary.traces_before += 1
            return
        self._summary.unfinished += [span.end_ns for span in records].count(None)
        self._pack(encoded, trace)

    def _pack(self, spans: Sequence[EncodedSpan], trace: _Trace) -> None:
        """Into the batch that is being made, if there is room for all; else one by one, into as many as it takes."""
        if self._packer.add(spans, self._sender.limit):
            self._mark(trace)
            return
        trace.on_their_way += 1  # it is not delivered before it is packed
        for span in spans:
            if not self._packer.add([span], self._sender.limit):
                self._dispatch()
                self._packer.add([span], self._sender.limit)
            self._mark(trace)
        trace.on_their_way -= 1

    def _mark(self, trace: _Trace) -> None:
        """The batch that is being made has something of the trace."""
        if not self._packed or self._packed[-1] is not trace:
            self._packed.append(trace)
            trace.on_their_way += 1

    def _dispatch(self) -> None:
        batch = self._packer.take()
        if batch is not None:
            load, self._packed = _Load(batch, self._packed), []
            self._pipeline.put(load)

    def _send(self, load: _Load) -> Outcome:
        return self._sender.send(load.batch)

    def _take(self, load: _Load, outcome: Outcome) -> None:
        """Note what became of a batch; only what a receiver has answered is ever noted as delivered."""
        for trace in load.traces:
            trace.on_their_way -= 1
            trace.is_clean = trace.is_clean and outcome.is_clean
        if self._state is not None:
            self._state.add(trace.digest for trace in load.traces if trace.is_clean and not trace.on_their_way)
        _count(self._summary, outcome)


def _count(summary: ExportSummary, outcome: Outcome) -> None:
    summary.spans += outcome.accepted
    summary.bytes += outcome.sent_bytes
    summary.rejected += outcome.rejected
    summary.refused += len(outcome.refused)
    summary.refused_spans += outcome.refused[: _MOST_KEPT - len(summary.refused_spans)]
    for note in outcome.notes[: _MOST_KEPT - len(summary.notes)]:
        summary.notes[note] = None


def _digest(spans: list[EncodedSpan]) -> int:
    """64 bits of a trace's id and content: a trace that has changed has another, but for one of 4 billion."""
    content, within = 0, None
    for span in spans:
        if span.resource_scope is not within:
            within = span.resource_scope
            content = zlib.crc32(within.head, content)
        content = zlib.crc32(span.data, content)
    return zlib.crc32(spans[0].trace_id.encode()) << 32 | content


__all__ = ["ExportState", "ExportSummary", "export_spans", "state_path"]
