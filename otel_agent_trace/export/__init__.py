"""Sends what a source holds to an OTLP endpoint: all of it, or the traces of the runs that are asked for."""

from __future__ import annotations

import heapq
import logging
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.export.pipeline import Pipeline
from otel_agent_trace.export.state import ExportState, state_path
from otel_agent_trace.model import AgentRun, RunStatus
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
from otel_agent_trace.query import Selection, of_service
from otel_agent_trace.runs import assemble
from otel_agent_trace.runs.tree import unique
from otel_agent_trace.sources import Progress, open_source
from otel_agent_trace.span import Problem, SpanRecord, SpanSource, Wanted, narrowed

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


def export_spans(
    source: Any,
    endpoint: str | Settings,
    *,
    agent: str | None = None,
    status: RunStatus | str | None = None,
    tool: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    service: str | None = None,
    since: Any = None,
    until: Any = None,
    limit: int | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    patience_s: float = DEFAULT_RETRY_TIMEOUT_S,
    state: ExportState | None = None,
    summary: ExportSummary | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Progress | None = None,
    on_retry: Callable[[str], None] | None = None,
) -> ExportSummary:
    """Send what a source holds to an OTLP endpoint, and say what became of it.

    Without a filter every span goes; with filters the whole traces of the runs that fit. Sending again what was sent is
    harmless to readers: ids stay what they were.

    Args:
        source: as for `iter_runs`.
        endpoint: ``http(s)://host:4318``, ``grpc(s)://host:4317``, or settings that were made before.
        agent: the agent's name.
        status: running, success, error or timeout.
        tool: a tool that the run called.
        user_id: the user, or their pseudonym.
        session_id: the conversation.
        service: a service that takes part in the trace.
        since: began at that time or later, as for `iter_runs`.
        until: began before that time.
        limit: only the newest so many runs.
        protocol: "http/protobuf", "http/json" or "grpc", as for `settings_of`.
        headers: of the requests, beside those of ``OTEL_EXPORTER_OTLP_HEADERS``.
        timeout_s: seconds for one request.
        patience_s: seconds after which a request that could not be delivered is given up.
        state: what was delivered before is left out, and what is delivered is noted; removed at the end.
        summary: is kept up to date, also when an error ends the export.
        on_problem: is told what cannot be read; without it a warning is logged.
        on_progress: is told the bytes read and, where it is known, their total.
        on_retry: is told why a request is sent again, in another thread.

    Raises:
        SourceError: the source cannot be read at all.
        EndpointError: the endpoint cannot be reached, is no receiver of OTLP, or refuses everything.
        ConfigurationError: an argument that cannot be meant.
    """
    selection = Selection.of(
        agent=agent, status=status, tool=tool, user_id=user_id, session_id=session_id, since=since, until=until
    )
    if patience_s <= 0 or (limit is not None and limit < 0):
        raise ConfigurationError("limit and patience_s are no negative numbers")
    settings = _settings(endpoint, protocol, headers, timeout_s)
    summary = ExportSummary() if summary is None else summary
    meant = Wanted(since_ns=selection.since_ns, until_ns=selection.until_ns, service=service)
    opened = narrowed(open_source(source, on_progress=on_progress), meant)
    wanted = _Wanted(
        opened,
        selection=selection,
        service=service,
        limit=limit,
        on_problem=on_problem or _warn,
        summary=summary,
    )
    encoder = Encoder(settings.protocol)
    sender = Sender(settings, encoder.join, retry_timeout_s=patience_s, on_retry=on_retry)
    began = time.monotonic()
    try:
        _Export(encoder, sender, state, summary).run(wanted.traces())
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


class _Wanted:
    """The traces of a source that are to go."""

    def __init__(
        self,
        source: SpanSource,
        *,
        selection: Selection,
        service: str | None,
        limit: int | None,
        on_problem: Callable[[Problem], None],
        summary: ExportSummary,
    ) -> None:
        self._source = source
        self._selection, self._service, self._limit = selection, service, limit
        self._on_problem, self._summary = on_problem, summary

    def traces(self) -> Iterator[list[SpanRecord]]:
        """Each trace, whole."""
        if self._limit is not None:
            newest = self._newest(self._limit)
            self._summary.runs = len(newest)
            meant = {trace_id for _, _, trace_id in newest}
            return (spans for spans in self._all() if spans[0].trace_id in meant)
        if self._selection != Selection():
            self._summary.runs = 0
            return (spans for spans in self._all() if self._fits(spans))
        return self._all()

    def _all(self) -> Iterator[list[SpanRecord]]:
        return of_service(self._source.traces(self._on_problem), self._service)

    def _fits(self, spans: list[SpanRecord]) -> bool:
        number = sum(1 for _ in self._runs(spans))
        self._summary.runs = (self._summary.runs or 0) + number
        return number > 0

    def _runs(self, spans: list[SpanRecord]) -> Iterator[AgentRun]:
        return (run for run in assemble(spans) if self._selection.takes(run))

    def _newest(self, limit: int) -> list[tuple[int, str, str]]:
        """The newest runs by start and id, as in a list of them, each with the id of its trace."""
        ages = (
            (run.started_at_ns, run.run_id, spans[0].trace_id)
            for spans in of_service(self._source.traces(lambda _: None), self._service)  # told when read again
            for run in self._runs(spans)
        )
        return heapq.nlargest(limit, ages)


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
        records = list(unique(spans).values())
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
