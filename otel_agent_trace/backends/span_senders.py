"""Send the queued spans of an `OtlpBackend`: with our own OTLP sender, or with any span exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.guard import Diagnostics, shielded
from otel_agent_trace.otlp import Batch, BatchBuilder, EncodedSpan, Encoder, NotServedError, Outcome, Sender, Settings
from otel_agent_trace.pipeline.sizes import values_bytes
from otel_agent_trace.span import LogRecord, SpanRecord

Destination = Settings | SpanExporter
"""Destination of spans: the settings of an OTLP endpoint, or an exporter."""
NOT_TAKEN = "dropped: the receiver takes no logs"
"""Reason in counts; not to take logs is no failure of a flush."""


class QueuedSpan(Protocol):
    """Represent a queued span, or log record, after the policies, in two forms that are made on first use."""

    @property
    def record(self) -> SpanRecord | LogRecord:
        """Return the span as plain data."""
        ...

    @property
    def readable(self) -> ReadableSpan:
        """Return the span as an object of the SDK."""
        ...


class QueuedLog(NamedTuple):
    """Hold a queued log record."""

    record: LogRecord

    @property
    def readable(self) -> ReadableSpan:
        """Raise an error: exporters of spans take no log records.

        Raises:
            TypeError: always.
        """
        msg = "a log record is no span"
        raise TypeError(msg)

    def estimated_bytes(self) -> int:
        """Return the estimated memory of the record in bytes."""
        return _LOG_BYTES + values_bytes(self.record.attributes) + values_bytes({"body": self.record.body})


_LOG_BYTES = 1000
"""Bytes of a log record without the values in it."""


class Delivery(NamedTuple):
    """Hold the number of spans of a request, and how many of them had which outcome; the others are lost."""

    number: int
    counts: Mapping[str, int]
    is_counted: bool = False
    """True if the spans are counted already, under the failure that they caused."""


class SpanSender(Protocol):
    """Send spans in the thread that empties a queue; `hurry` and `stop` are called from any thread and signal handler."""

    last_failure: str
    """Reason why the latest request was not accepted, without secrets; empty if there is none."""

    def send(self, spans: Sequence[QueuedSpan]) -> Iterator[Delivery]:
        """Send spans, and yield the outcome of each request."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Send the spans that the sender still holds, and return whether all were accepted."""
        ...

    def hurry(self) -> None:
        """Retry without further delay, since another thread waits for the result."""
        ...

    def stop(self) -> None:
        """Stop sending."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def name_of(destination: Destination) -> str:
    """Return the name of a destination for messages: its address without secrets, or the class of the exporter."""
    return destination.shown if isinstance(destination, Settings) else type(destination).__name__


def noun_for(destination: Destination) -> str:
    """Return what is sent to a destination, for messages."""
    return "log records" if isinstance(destination, Settings) and destination.signal == "logs" else "spans"


def sender_for(destination: Destination, retry_timeout_s: float, diagnostics: Diagnostics) -> SpanSender:
    """Return a sender for a destination.

    Raises:
        ConfigurationError: a certificate or a proxy of the environment cannot be used.
    """
    if isinstance(destination, Settings):
        return OtlpSender(destination, retry_timeout_s, diagnostics)
    return ExporterSender(destination, diagnostics)


class OtlpSender:
    """Send spans or log records by OTLP in requests of limited size, which are retried as the OTLP specification demands."""

    def __init__(self, settings: Settings, retry_timeout_s: float, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics
        self._settings, self._noun = settings, noun_for(settings)
        self._encoder = Encoder(settings.protocol, settings.signal)
        self._sender = Sender(
            settings, self._encoder.join, retry_timeout_s=retry_timeout_s, on_retry=self._note_failure
        )
        self.last_failure = ""
        self._is_stopped = False
        self._is_unserved = False
        """True once the receiver has answered that it takes no log records."""
        self.hurry, self.close = self._sender.hurry, self._sender.close

    def send(self, spans: Sequence[QueuedSpan]) -> Iterator[Delivery]:
        """Send spans in as many requests as necessary, without those that cannot be encoded."""
        if self._is_unserved:
            yield Delivery(len(spans), {NOT_TAKEN: len(spans)})
            return
        builder = BatchBuilder()
        for span in spans:
            encoded = shielded(self._diagnostics, "span that cannot be sent", self._encoded, span)
            if encoded is None:
                yield Delivery(1, {}, is_counted=True)
            elif not builder.add(encoded, self._sender.limit):
                yield from self._sent(builder.take())
                builder.add(encoded, self._sender.limit)
        yield from self._sent(builder.take())

    def flush(self, timeout_s: float) -> bool:
        """Return True: this sender holds no spans between calls."""
        return True

    def stop(self) -> None:
        """Stop sending, and stop waiting for an answer."""
        self._is_stopped = True
        self._sender.stop()

    def _note_failure(self, reason: str) -> None:
        self.last_failure = reason

    def _encoded(self, span: QueuedSpan) -> list[EncodedSpan]:
        return self._encoder.encode([span.record])

    def _sent(self, batch: Batch | None) -> Iterator[Delivery]:
        if batch is None or self._is_stopped:
            return
        outcome = Outcome()
        shielded(self._diagnostics, "sending", self._try, batch, outcome)
        for note in [*(refused.reason for refused in outcome.refused), *outcome.notes][:1]:
            self._diagnostics.warn_once("refused", "%s were not accepted: %s (logged once)", self._noun, note)
        counts = {"sent": outcome.accepted, "rejected": outcome.rejected, "refused": len(outcome.refused)}
        if self._is_unserved:
            counts[NOT_TAKEN] = len(batch.spans)
        yield Delivery(len(batch.spans), counts)

    def _try(self, batch: Batch, outcome: Outcome) -> None:
        try:
            self._sender.send(batch, outcome)
            self.last_failure = ""
        except AgentTraceError as error:
            if isinstance(error, NotServedError) and self._settings.signal == "logs":
                self._is_unserved = True
                self._diagnostics.warn_once(
                    "unserved", "log records are not sent any more: %s; OTEL_LOGS_EXPORTER=none leaves them out", error
                )
            elif not self._is_stopped:
                self._note_failure(str(error))
                self._diagnostics.warn_once("sending", "could not send %s: %s (logged once)", self._noun, error)


class ExporterSender:
    """Send spans with an exporter, which retries and logs errors as it does.

    A forked child uses the same exporter, as under the SDK's own processors.
    """

    last_failure = ""  # exporters log their own

    def __init__(self, exporter: SpanExporter, diagnostics: Diagnostics) -> None:
        self._exporter, self._diagnostics = exporter, diagnostics
        self._name = type(exporter).__name__

    def send(self, spans: Sequence[QueuedSpan]) -> Iterator[Delivery]:
        """Export all spans in one call; if it fails, all are lost."""
        made = [shielded(self._diagnostics, "span that cannot be sent", _readable, span) for span in spans]
        readable = [span for span in made if span is not None]
        if len(readable) < len(made):
            yield Delivery(len(made) - len(readable), {}, is_counted=True)
        is_taken = shielded(self._diagnostics, f"{self._name}.export", self._export, readable)
        yield Delivery(len(readable), {"sent": len(readable)} if is_taken else {})

    def flush(self, timeout_s: float) -> bool:
        """Flush the exporter."""
        flushed = shielded(
            self._diagnostics, f"{self._name}.force_flush", self._exporter.force_flush, int(timeout_s * 1000)
        )
        return flushed is True

    def hurry(self) -> None:
        """Do nothing: exporters have no such method."""

    def stop(self) -> None:
        """Do nothing: a call of `export` cannot be interrupted."""

    def close(self) -> None:
        """Shut down the exporter."""
        self._exporter.shutdown()

    def _export(self, spans: Sequence[ReadableSpan]) -> bool:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            return True
        self._diagnostics.warn_once(
            "sending", "could not send spans: %s.export() returned %s (logged once)", self._name, result
        )
        return False


def _readable(span: QueuedSpan) -> ReadableSpan:
    return span.readable
