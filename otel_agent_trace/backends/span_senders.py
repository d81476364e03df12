"""What the queue of an `OtlpBackend` is emptied into: our own sender, or somebody's span exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.guard import Diagnostics, shielded
from otel_agent_trace.otlp import Batch, BatchBuilder, EncodedSpan, Encoder, Outcome, Sender, Settings
from otel_agent_trace.span import SpanRecord

Destination = Settings | SpanExporter
"""Where spans go: to an endpoint by OTLP, or into an exporter."""


class QueuedSpan(Protocol):
    """A span that waits, after the policies; each form is made when it is asked for."""

    @property
    def record(self) -> SpanRecord:
        """As plain data."""
        ...

    @property
    def readable(self) -> ReadableSpan:
        """As the SDK has it."""
        ...


class Delivery(NamedTuple):
    """What became of so many spans, by reason; those of which nothing is said are lost."""

    number: int
    counts: Mapping[str, int]
    is_counted: bool = False
    """Whether they are counted already, under the failure that they caused."""


class SpanSender(Protocol):
    """Send spans, in the one thread that empties a queue; `hurry` and `stop` come from any, signal handlers included."""

    def send(self, spans: Sequence[QueuedSpan]) -> Iterator[Delivery]:
        """Send the spans, and yield after each request what became of the spans in it."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Send what was not sent at once, and return whether all of it was taken."""
        ...

    def hurry(self) -> None:
        """Wait no longer for a better moment: somebody waits for us."""
        ...

    def stop(self) -> None:
        """Send nothing more."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def name_of(destination: Destination) -> str:
    """Return what a destination is called in messages: its address without secrets, or the class of the exporter."""
    return destination.shown if isinstance(destination, Settings) else type(destination).__name__


def sender_for(destination: Destination, retry_timeout_s: float, diagnostics: Diagnostics) -> SpanSender:
    """Make what sends to a destination.

    Raises:
        ConfigurationError: a certificate or a proxy of the environment that cannot be used.
    """
    if isinstance(destination, Settings):
        return OtlpSender(destination, retry_timeout_s, diagnostics)
    return ExporterSender(destination, diagnostics)


class OtlpSender:
    """Our own: packs spans into requests, and sends those again that a receiver may take later."""

    def __init__(self, settings: Settings, retry_timeout_s: float, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics
        self._encoder = Encoder(settings.protocol)
        self._sender = Sender(settings, self._encoder.join, retry_timeout_s=retry_timeout_s)
        self._is_stopped = False
        self.hurry, self.close = self._sender.hurry, self._sender.close

    def send(self, spans: Sequence[QueuedSpan]) -> Iterator[Delivery]:
        """Send them in as many requests as it takes; one that cannot be encoded costs itself."""
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
        """Return true: nothing waits here."""
        return True

    def stop(self) -> None:
        """Send nothing more, and wait for no receiver."""
        self._is_stopped = True
        self._sender.stop()

    def _encoded(self, span: QueuedSpan) -> list[EncodedSpan]:
        return self._encoder.encode([span.record])

    def _sent(self, batch: Batch | None) -> Iterator[Delivery]:
        if batch is None or self._is_stopped:
            return
        outcome = Outcome()
        shielded(self._diagnostics, "sending", self._try, batch, outcome)
        for note in [*(refused.reason for refused in outcome.refused), *outcome.notes][:1]:
            self._diagnostics.warn_once("refused", "spans are not taken: %s (logged once)", note)
        counts = {"sent": outcome.accepted, "rejected": outcome.rejected, "refused": len(outcome.refused)}
        yield Delivery(len(batch.spans), counts)

    def _try(self, batch: Batch, outcome: Outcome) -> None:
        try:
            self._sender.send(batch, outcome)
        except AgentTraceError as error:
            if not self._is_stopped:
                self._diagnostics.warn_once("sending", "spans cannot be sent: %s (logged once)", error)


class ExporterSender:
    """Somebody's exporter, which has its own way to send, to try again, and to say what went wrong.

    A forked child goes on with the same exporter, as it does under the SDK's own processors.
    """

    def __init__(self, exporter: SpanExporter, diagnostics: Diagnostics) -> None:
        self._exporter, self._diagnostics = exporter, diagnostics
        self._name = type(exporter).__name__

    def send(self, spans: Sequence[QueuedSpan]) -> Iterator[Delivery]:
        """Export them in one call; when it fails, all of them are lost."""
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
        """An exporter cannot be asked to."""

    def stop(self) -> None:
        """An export that is on its way is left alone."""

    def close(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def _export(self, spans: Sequence[ReadableSpan]) -> bool:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            return True
        self._diagnostics.warn_once(
            "sending", "spans cannot be sent: %s.export() gives %s (logged once)", self._name, result
        )
        return False


def _readable(span: QueuedSpan) -> ReadableSpan:
    return span.readable
