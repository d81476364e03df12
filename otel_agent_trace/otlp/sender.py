"""Send batches: wait where a receiver asks for it, and halve what it refuses until the bad span stands alone."""

from __future__ import annotations

import queue
import threading
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
"""A single span above the limit whose connection is lost so often is too large: some receivers say it so."""
_REFUSED_IN_A_ROW = 100
"""So many spans, each refused alone and none taken between them, and it is not the spans."""


class RefusedSpan(NamedTuple):
    """Name a span that a receiver does not take, with the reason that it gives."""

    trace_id: str
    span_id: str
    name: str
    reason: str


class Outcome(msgspec.Struct):
    """Count what became of a batch: `accepted` spans in `sent_bytes` of requests, before compression."""

    accepted: int = 0
    rejected: int = 0
    """Spans that the receiver did not take out of requests that it took; it does not say which."""
    refused: list[RefusedSpan] = []
    notes: list[str] = []
    """The words of the receiver about those, or its warnings."""
    sent_bytes: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether every span was taken."""
        return not self.rejected and not self.refused


class Transport(Protocol):
    """Send one request at a time, from any thread."""

    def send(self, body: bytes) -> PartialSuccess:
        """Send it; raise what `answers` has, or `EndpointError`."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class Sender:
    """Send batches to an endpoint, from any thread.

    Args:
        settings: where and how.
        join: how encoded spans are made a request, of the `Encoder` that they are from.
        retry_timeout_s: seconds after which a request that could not be delivered is given up.
        on_retry: is called with the reason when a request is sent again, in the thread that sends it.

    Raises:
        ConfigurationError: a certificate that cannot be used.
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
        """How large a request may be; it becomes less when the receiver finds one too large."""

    def send(self, batch: Batch, outcome: Outcome | None = None) -> Outcome:
        """Send a batch, in as many requests as it takes, and wait for the answers.

        Args:
            batch: the spans.
            outcome: is kept up to date, also when an error ends it.

        Raises:
            EndpointError: the endpoint cannot be reached, is no receiver of OTLP, or refuses everything.
        """
        outcome = Outcome() if outcome is None else outcome
        pending = [batch]
        while pending:
            part = pending.pop()
            try:
                partial = self._delivered(part, is_whole=part is batch)
            except RejectedError as refusal:
                self._note_size(part, refusal)
                if len(part.spans) > 1:
                    pending.extend(reversed(part.halves()))
                else:
                    outcome.refused.append(self._refused(part.spans[0], refusal))
            else:
                self._note_accepted(part, partial, outcome)
        return outcome

    def stop(self) -> None:
        """Let no request be sent any more; those on their way are not waited for. For signal handlers too."""
        self._is_stopped = True
        self.hurry()

    def hurry(self) -> None:
        """Whoever waits to send a request again does it now. For signal handlers too."""
        if self._interruptions.empty():
            self._interruptions.put(None)

    def close(self) -> None:
        """Close the connections."""
        self.stop()
        self._transport.close()

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _delivered(self, part: Batch, *, is_whole: bool) -> PartialSuccess:
        """Send it until it is answered for good."""
        attempts = _Attempts(part, self._policy.begin(), is_whole=is_whole)
        while True:
            try:
                return self._send_once(part)
            except (ServerError, RetryableError) as error:
                wait_s = attempts.wait_s(error)
                if wait_s is None:
                    raise attempts.given_up(error) from error
                if self._on_retry is not None:
                    self._on_retry(str(error))
            self._wait(wait_s)

    def _send_once(self, part: Batch) -> PartialSuccess:
        if self._is_stopped:
            raise EndpointError("sending was stopped")
        return self._transport.send(part.body(self._join))

    def _wait(self, seconds: float) -> None:
        try:
            self._interruptions.get(timeout=seconds)
            while True:  # several at once are one
                self._interruptions.get_nowait()
        except queue.Empty:
            return

    # ── what is remembered of all ────────────────────────────────────────────────────────────────────────────────────

    def _note_accepted(self, part: Batch, partial: PartialSuccess, outcome: Outcome) -> None:
        rejected = min(partial.rejected_spans, len(part.spans))
        outcome.accepted += len(part.spans) - rejected
        outcome.rejected += rejected
        outcome.sent_bytes += part.size
        if partial.message:
            outcome.notes.append(partial.message)
        with self._lock:
            self._any_accepted = self._any_accepted or rejected < len(part.spans)
            self._refused_in_a_row = 0

    def _note_size(self, part: Batch, refusal: RejectedError) -> None:
        if refusal.for_size and len(part.spans) > 1:
            self.limit = max(min(self.limit, part.size // 2), _LEAST_LIMIT)

    def _refused(self, span: EncodedSpan, refusal: RejectedError) -> RefusedSpan:
        failed = isinstance(refusal.__cause__, ServerError)
        with self._lock:
            self._refused_in_a_row += 1
            hopeless = self._refused_in_a_row >= _REFUSED_IN_A_ROW and (failed or not self._any_accepted)
        if hopeless:
            raise EndpointError(f"{refusal} ({_REFUSED_IN_A_ROW} spans in a row, each sent alone)") from refusal
        return RefusedSpan(span.trace_id, span.span_id, span.name, str(refusal))


class _Attempts:
    """The attempts at one request: what the policy says, and what the kind of failure adds to it."""

    def __init__(self, part: Batch, retries: Retries, *, is_whole: bool) -> None:
        self._part, self._retries, self._is_whole = part, retries, is_whole
        self._may_fail = is_whole or len(part.spans) == 1  # once: that may have been by chance
        self._times_lost = 0

    def wait_s(self, error: ServerError | RetryableError) -> float | None:
        """Seconds until it is sent again; None to give up."""
        if isinstance(error, ServerError):
            may_fail, self._may_fail = self._may_fail, False
            wait_s = self._retries.backoff_s() if self._is_whole else 0.0  # of a part, the whole has waited
            return wait_s if may_fail else None
        self._times_lost += isinstance(error, ConnectionLostError)
        return None if self._is_too_large(error) else self._retries.wait_s(error.after_s)

    def given_up(self, error: ServerError | RetryableError) -> RejectedError | EndpointError:
        """Make the error to raise for the last failure."""
        if isinstance(error, ServerError):
            return RejectedError(str(error))
        if self._is_too_large(error):
            return RejectedError(f"{error} (a span of {self._part.size >> 10} KiB)", for_size=True)
        return EndpointError(f"{error} (given up after {self._retries.spent_s:.0f} s)")

    def _is_too_large(self, error: RetryableError) -> bool:
        """Whether the connection is lost because of what is sent."""
        oversize = len(self._part.spans) == 1 and self._part.size > MAX_REQUEST_BYTES
        return oversize and isinstance(error, ConnectionLostError) and self._times_lost >= _TIMES_LOST


def _transport(settings: Settings) -> Transport:
    if settings.protocol == "grpc":
        from otel_agent_trace.otlp.grpc_transport import GrpcTransport  # noqa: PLC0415

        return GrpcTransport(settings)
    from otel_agent_trace.otlp.http_transport import HttpTransport  # noqa: PLC0415

    return HttpTransport(settings)
