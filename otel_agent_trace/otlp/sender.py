"""Send batches, retry as the receiver asks, and halve a batch that it rejects until the bad span is alone."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from otel_agent_trace.errors import EndpointError
from otel_agent_trace.formats.otlp_proto import PartialSuccess
from otel_agent_trace.http import Retries, RetryPolicy
from otel_agent_trace.otlp.answers import ConnectionLostError, RejectedError, RetryableError, ServerError
from otel_agent_trace.otlp.batches import MAX_REQUEST_BYTES, USUAL_REQUEST_BYTES, Batch, EncodedSpan, Join
from otel_agent_trace.otlp.settings import DEFAULT_RETRY_TIMEOUT_S, Settings

_LEAST_LIMIT = 64 << 10
_TIMES_LOST = 3
"""Lost connections after which a single span above the limit is too large: some receivers close them instead of answering 413."""
_FROZEN_S, _MAX_THAWS = 1.0, 10
_REFUSED_IN_A_ROW = 100
"""Spans in a row that are each refused alone, after which the reason is the endpoint rather than the spans."""


class RefusedSpan(NamedTuple):
    """Identify a span that the receiver refused when it was sent alone, with the reason that it gave."""

    trace_id: str
    span_id: str
    name: str
    reason: str


class Outcome(msgspec.Struct):
    """Hold the counts of spans of a batch that were accepted, rejected and refused."""

    accepted: int = 0
    rejected: int = 0
    """Spans that the receiver rejected by the `partial_success` of OTLP, which gives their number only."""
    refused: list[RefusedSpan] = []
    """Spans that the receiver refused when each was sent alone."""
    notes: list[str] = []
    """Messages of the receiver about rejected spans, or its warnings."""
    sent_bytes: int = 0
    """Size of the accepted requests in bytes, before compression."""

    @property
    def is_clean(self) -> bool:
        """Return whether every span was accepted."""
        return not self.rejected and not self.refused


class Transport(Protocol):
    """Describe an object that sends single requests, from any thread."""

    def send(self, body: bytes) -> PartialSuccess:
        """Send one request, and return how many of its spans were rejected, and the receiver's message.

        Raises:
            RejectedError: the receiver rejected the request as a whole.
            ServerError: the receiver failed.
            RetryableError: the receiver may accept the request later.
            EndpointError: the endpoint cannot be reached, or is no receiver of OTLP.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class Sender:
    """Send batches to an endpoint, from any thread.

    Args:
        settings: the endpoint.
        join: the function of the spans' `Encoder` that makes a request of them.
        retry_timeout_s: the seconds after which a request that cannot be delivered is given up.
        on_retry: called with the reason when a request is sent again, in the thread that sends it.

    Raises:
        ConfigurationError: a certificate, or a proxy of the environment, cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        join: Join,
        *,
        retry_timeout_s: float = DEFAULT_RETRY_TIMEOUT_S,
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        self._settings, self._join = settings, join
        self._policy, self._on_retry = RetryPolicy(timeout_s=retry_timeout_s), on_retry
        self._transport = _transport(settings)
        self._is_stopped = False
        self._interruptions: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._any_accepted = False
        self._refused_in_a_row = 0
        self.limit = USUAL_REQUEST_BYTES
        """Most bytes of a request; lowered when the receiver rejects one as too large."""

    def send(self, batch: Batch, outcome: Outcome | None = None) -> Outcome:
        """Send a batch, in as many requests as needed, and return the outcome after the responses.

        Args:
            batch: the spans.
            outcome: the object to count in, which is up to date also when an error is raised; by default a new one.

        Raises:
            EndpointError: the endpoint cannot be reached, is no receiver of OTLP, or refuses everything.
        """
        outcome = Outcome() if outcome is None else outcome
        pending = [batch]
        while pending:
            part = pending.pop()
            try:
                partial = self._deliver(part, is_whole=part is batch)
            except RejectedError as rejection:
                self._lower_limit(part, rejection)
                if len(part.spans) > 1:
                    pending.extend(reversed(part.halves()))
                elif rejection.for_size and (lighter := part.lighter()) is not None:
                    outcome.notes.append(f"{rejection}; it is sent without its pictures and other binary content")
                    pending.append(lighter)
                else:
                    outcome.refused.append(self._refused_span(part.spans[0], rejection))
            else:
                self._count_accepted(part, partial, outcome)
        return outcome

    def stop(self) -> None:
        """Stop sending further requests, without waiting for those in flight; may be called by a signal handler."""
        self._is_stopped = True
        self.hurry()

    def hurry(self) -> None:
        """End the current wait before a retry, so that it is sent now; may be called by a signal handler."""
        if self._interruptions.empty():
            self._interruptions.put(None)

    def close(self) -> None:
        """Stop sending, and close the connections."""
        self.stop()
        self._transport.close()

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _deliver(self, part: Batch, *, is_whole: bool) -> PartialSuccess:
        """Send one request, again as long as its errors can be retried, and return the receiver's response."""
        attempts = _Attempts(part, self._policy.begin(), is_whole=is_whole)
        while True:
            began = time.monotonic()
            try:
                return self._send_once(part)
            except (ServerError, RetryableError) as error:
                attempts.note_time(time.monotonic() - began, self._settings.timeout_s)
                wait_s = attempts.wait_s(error)
                if wait_s is None:
                    raise attempts.final_error(error) from error
                if self._on_retry is not None:
                    self._on_retry(str(error))
            began = time.monotonic()
            self._wait(wait_s)
            attempts.note_time(time.monotonic() - began, wait_s)

    def _send_once(self, part: Batch) -> PartialSuccess:
        if self._is_stopped:
            raise EndpointError("sending was stopped")
        return self._transport.send(part.body(self._join))

    def _wait(self, seconds: float) -> None:
        """Wait, unless `hurry` was called; all its calls before the wait ends are handled by this one."""
        try:
            self._interruptions.get(timeout=seconds)
            while True:
                self._interruptions.get_nowait()
        except queue.Empty:
            return

    # ── all requests ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _count_accepted(self, part: Batch, partial: PartialSuccess, outcome: Outcome) -> None:
        """Count the spans of a request that the receiver accepted, as a whole or in part."""
        rejected = min(partial.rejected_spans, len(part.spans))
        outcome.accepted += len(part.spans) - rejected
        outcome.rejected += rejected
        outcome.sent_bytes += part.size
        if partial.message:
            outcome.notes.append(partial.message)
        with self._lock:
            self._any_accepted = self._any_accepted or rejected < len(part.spans)
            self._refused_in_a_row = 0

    def _lower_limit(self, part: Batch, rejection: RejectedError) -> None:
        """Halve the limit of later requests if one was too large for the receiver."""
        if rejection.for_size and len(part.spans) > 1:
            self.limit = max(min(self.limit, part.size // 2), _LEAST_LIMIT)

    def _refused_span(self, span: EncodedSpan, rejection: RejectedError) -> RefusedSpan:
        """Return a span that was refused when it was sent alone.

        Raises:
            EndpointError: so many spans were refused in a row that the reason is not the spans.
        """
        is_server_error = isinstance(rejection.__cause__, ServerError)
        with self._lock:
            self._refused_in_a_row += 1
            is_hopeless = self._refused_in_a_row >= _REFUSED_IN_A_ROW and (is_server_error or not self._any_accepted)
        if is_hopeless:
            raise EndpointError(f"{rejection} ({_REFUSED_IN_A_ROW} spans in a row, each sent alone)") from rejection
        return RefusedSpan(span.trace_id, span.span_id, span.name, str(rejection))


class _Attempts:
    """Decide about the attempts at one request, by the retry policy and the kind of each error.

    A failure of the server (500) is retried once, since it may be an accident, and then taken for a rejection.
    """

    def __init__(self, part: Batch, retries: Retries, *, is_whole: bool) -> None:
        self._part, self._retries, self._is_whole = part, retries, is_whole
        self._may_retry_server_error = is_whole or len(part.spans) == 1
        self._times_lost = self._thaws = 0

    def note_time(self, took_s: float, limit_s: float) -> None:
        """Do not count a request or wait that took longer than it can: the process was frozen, as AWS Lambda's are.

        The number is limited, since a server that is slow to connect and to answer takes longer than the timeout too.
        """
        if took_s > limit_s + _FROZEN_S and self._thaws < _MAX_THAWS:
            self._thaws += 1
            self._retries.excuse(took_s)

    def wait_s(self, error: ServerError | RetryableError) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up."""
        if isinstance(error, ServerError):
            may_retry, self._may_retry_server_error = self._may_retry_server_error, False
            wait_s = self._retries.backoff_s() if self._is_whole else 0.0  # a part comes after the wait of the whole
            return wait_s if may_retry else None
        self._times_lost += isinstance(error, ConnectionLostError)
        return None if self._is_too_large(error) else self._retries.wait_s(error.after_s)

    def final_error(self, error: ServerError | RetryableError) -> RejectedError | EndpointError:
        """Return the error to raise after the last attempt."""
        if isinstance(error, ServerError):
            return RejectedError(str(error))
        if self._is_too_large(error):
            return RejectedError(f"{error} (a span of {self._part.size >> 10} KiB)", for_size=True)
        asks = "" if error.after_s is None else f"it asks to wait {error.after_s:.0f} s; "
        return EndpointError(f"{error} ({asks}given up after {self._retries.spent_s:.0f} s)")

    def _is_too_large(self, error: RetryableError) -> bool:
        """Return whether a connection was lost because a single span is too large for the receiver."""
        is_oversize = len(self._part.spans) == 1 and self._part.size > MAX_REQUEST_BYTES
        return is_oversize and isinstance(error, ConnectionLostError) and self._times_lost >= _TIMES_LOST


def _transport(settings: Settings) -> Transport:
    if settings.protocol == "grpc":
        from otel_agent_trace.otlp.grpc_transport import GrpcTransport  # noqa: PLC0415

        return GrpcTransport(settings)
    from otel_agent_trace.otlp.http_transport import HttpTransport  # noqa: PLC0415

    return HttpTransport(settings)
