"""Send spans to an OTLP receiver from a queue, in a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_agent_trace.backends.exporting import ExportingSink
from otel_agent_trace.backends.span_senders import (
    NOT_TAKEN,
    Delivery,
    Destination,
    QueuedLog,
    SpanSender,
    name_of,
    noun_for,
    sender_for,
)
from otel_agent_trace.closer import is_shared
from otel_agent_trace.copies import packed, present
from otel_agent_trace.endings import shut_down_at_end_of_worker, shut_down_at_exit
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded, shielded, warn
from otel_agent_trace.otlp import Schedule, Settings
from otel_agent_trace.pipeline import DataOptions, Gate, PipelineSpan, Policy
from otel_agent_trace.pipeline.suppression import suppress_instrumentation
from otel_agent_trace.signals import OneShotResult
from otel_agent_trace.span import LogRecord

if TYPE_CHECKING:
    from typing_extensions import Unpack

_END_SILENCE_S, _END_MOST_S = 1.0, 10.0
"""Longest waits at the end of a process: for a receiver that does not answer, and in all."""
_CLOSE_TIMEOUT_S = 0.3


class _FlushRequest(OneShotResult[bool]):
    """Pass the result of a flush, whether all spans queued before were accepted, which is awaited until `until`."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self.until = time.monotonic() + timeout_s


class OtlpBackend(ExportingSink):
    """Send spans to an OTLP receiver, or with an exporter, from a queue; `on_end` only adds a span to it.

    A forked child begins with an empty queue and a thread of its own. Spans that wait when a process ends are sent, in
    processes of `multiprocessing` as well; a receiver that does not answer delays the end by one second at most. Every
    method may be called by a signal handler, whatever it interrupts: no lock is held during a wait.

    Args:
        destination: the settings of an endpoint, or a span exporter, which is called in one thread only; with None all
            spans are dropped and counted.
        policies: policies for spans of the SDK's own processors.
        data: what is done to the data of these spans: `user_ids`, `content`, `mask` and `redact`, as for `configure`.
        schedule: how many spans may wait, and how long.
        logs: the settings of the endpoint for log records, which have a queue and a thread of their own from the first
            one on; None for no log records.

    Raises:
        ConfigurationError: one of the arguments about data or policies is not valid.
    """

    _example = (None,)

    def __init__(
        self,
        destination: Destination | None,
        *,
        policies: Iterable[Policy | Gate] = (),
        schedule: Schedule = Schedule(),  # noqa: B008 - immutable
        logs: Settings | None = None,
        **data: Unpack[DataOptions],
    ) -> None:
        super().__init__(policies, **data)
        self._destination, self._schedule = destination, schedule
        self._log_settings, self._log_diagnostics = logs, Diagnostics()
        self._log_sending: _Sending | None = None
        self._log_lock = ForkSafeLock()
        self._is_closed = False
        self._of_parents: list[_Sending] = []  # kept, since a gRPC channel must not be closed in a child, even by gc
        self._sending: _Sending | None = None
        sender = None if destination is None else self._sender(destination)
        if destination is not None and sender is not None:
            self._sending = _Sending(destination, schedule, self._diagnostics, sender)
            renewed_in_children(self)
            shut_down_at_end_of_worker(self)
            _BACKENDS[id(self)] = self

    def _copy_settings(self) -> dict[str, Any]:
        return {
            **super()._copy_settings(),
            "destination": packed(self._destination),
            "schedule": self._schedule,
            "logs": self._log_settings,
        }

    def _copy_from(self, settings: dict[str, Any]) -> None:
        destination = next(iter(present([settings["destination"]])), None)
        if destination is not settings["destination"]:
            warn("an OtlpBackend from another process is without its exporter, and sends nothing")
        super()._copy_from({**settings, "destination": destination})

    def _sender(self, destination: Destination) -> SpanSender | None:
        """Return the sender; None, with a warning, if a certificate or a proxy of the environment cannot be used."""
        try:
            return sender_for(destination, self._schedule.retry_timeout_s, self._diagnostics)
        except ConfigurationError as error:
            self._diagnostics.warn_once("settings", "nothing is sent to %s: %s", name_of(destination), error)
            return None

    def renew(self) -> None:
        """Begin with an empty queue and a thread of its own, in a forked child."""
        if self._sending is not None and self._destination is not None:
            self._of_parents += [each for each in (self._sending, self._log_sending) if each is not None]
            self._log_sending = None
            self._sending = _Sending(self._destination, self._schedule, self._diagnostics)

    def on_end(self, span: PipelineSpan) -> None:
        """Queue a span, unless it is one of the sending itself; if the queue is full, it is dropped and counted."""
        if self._sending is None:
            self._diagnostics.count("dropped: nowhere to send")
        else:
            self._sending.put(span)

    @property
    def takes_logs(self) -> bool:
        """Return whether it sends log records, which an exporter of spans does not."""
        return self._log_settings is not None

    def on_log(self, log: LogRecord) -> None:
        """Queue a log record, as `on_end` queues a span; an exporter of spans takes none."""
        if self._log_settings is None:
            return
        sending = self._log_sending or self._started_log_sending(self._log_settings)
        if sending is None:
            self._log_diagnostics.count("dropped: after the end")
        else:
            sending.put(QueuedLog(log))

    def _started_log_sending(self, settings: Settings) -> _Sending | None:
        """Return the queue of log records, after starting its thread; None after the end."""
        with self._log_lock:
            if self._log_sending is None and not self._is_closed:
                self._log_sending = _Sending(settings, self._schedule, self._log_diagnostics)
            return self._log_sending

    def _sendings(self) -> list[_Sending]:
        return [each for each in (self._sending, self._log_sending) if each is not None]

    def stats(self) -> dict[str, int]:
        """Return the number of spans, and of log records, that were sent, and of those that were not, by reason."""
        logs = {f"logs {reason}": number for reason, number in self._log_diagnostics.counts().items()}
        return {**self._diagnostics.counts(), **logs}

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send all that is queued, and return whether it was accepted within `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        sendings = self._sendings()
        if sendings:
            _hurry_others(self)
        for sending in sendings[1:]:
            sending.hurry()
        flushed = [sending.flush(max(deadline - time.monotonic(), 0)) for sending in sendings]
        return all(flushed)

    def close(self) -> None:
        """Send what is queued as long as it is accepted, at most 10 seconds, and drop the rest."""
        self._is_closed = True
        sendings = self._sendings()
        if sendings:
            _hurry_others(self)
        _end_all(sendings)

    def hurry(self) -> None:
        """Begin to send what is queued, without waiting."""
        for sending in self._sendings():
            sending.hurry()

    def __del__(self) -> None:
        """Let the thread end after it has sent the queued spans, without waiting for that."""
        for sending in (getattr(self, "_sending", None), getattr(self, "_log_sending", None)):
            if sending is not None:
                _RELEASED.add(sending, self._of_parents)


_BACKENDS: weakref.WeakValueDictionary[int, OtlpBackend] = weakref.WeakValueDictionary()


def _hurry_others(one: OtlpBackend) -> None:
    """Make all other backends begin to send: they are likely to be flushed next."""
    for reference in _BACKENDS.valuerefs():
        backend = reference()
        if backend is not None and backend is not one:
            backend.hurry()


# ── backends that the program has dropped ────────────────────────────────────────────────────────────────────────────


class _Released:
    """Hold what sends the last spans of dropped backends until it has done so; the end of the process waits for it."""

    def __init__(self) -> None:
        self._sendings: set[_Sending] = set()
        self._of_parents: list[_Sending] = []
        renewed_in_children(self)
        shut_down_at_exit(self)
        shut_down_at_end_of_worker(self)

    def renew(self) -> None:
        """Keep those of the parent process without using them, in a forked child."""
        self._of_parents += self._sendings
        self._sendings = set()

    def add(self, sending: _Sending, of_parents: list[_Sending]) -> None:
        """Let a thread end when its queue is empty; called by the garbage collector, so that it takes no lock."""
        self._of_parents += of_parents
        if not sending.is_over:
            self._sendings.add(sending)
            sending.end_when_empty(self._sendings.discard)

    def shutdown(self) -> None:
        """Send what is left as at the end of a process."""
        _end_all(list(self._sendings))


def _end_all(sendings: list[_Sending]) -> None:
    """Send what is queued in all, within the time of one; the first begins at once, the others beside it."""
    for sending in sendings[1:]:
        sending.hurry()
    until = time.monotonic() + _END_MOST_S
    for sending in sendings:
        sending.end(max(until - time.monotonic(), 0))


# ── the queue ────────────────────────────────────────────────────────────────────────────────────────────────────────


_Queued = PipelineSpan | QueuedLog


class _TakenSpans(NamedTuple):
    """Hold spans that were taken from the queue, and their estimated size in bytes."""

    spans: list[_Queued]
    size: int


class _SpanQueue:
    """Provide a queue limited by number and estimated bytes, for many threads that put spans and one that takes them.

    Spans that were taken count towards the memory until they are released. Each has an outcome, which `answer` counts
    once: the thread that takes spans calls it; what it has not counted yet, the caller of `close` counts.

    The lock is re-entrant, so that a signal handler may put a span while its thread holds it. If it interrupts a change
    of the byte count, that is corrected when the queue is empty.
    """

    def __init__(self, max_spans: int, max_bytes: int) -> None:
        self._max_spans, self._max_bytes = max_spans, max_bytes
        self._half_spans, self._half_bytes = max_spans / 2, max_bytes / 2
        self._spans: deque[tuple[_Queued, int]] = deque()
        self._bytes = 0
        self._unanswered = 0
        self._is_closed = False
        self.is_half_full = False
        """True from when half of the limit is reached until spans are taken."""
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._spans)

    def put(self, span: _Queued) -> str | None:
        """Add a span and return None, or return the reason why it cannot be added."""
        size = span.estimated_bytes()
        with self._lock:
            if self._is_closed:
                return "after the end"
            number, size_of_all = len(self._spans), self._bytes + size
            if number >= self._max_spans:
                return "queue full"
            if size_of_all > self._max_bytes and size_of_all > size:
                return "queue too large"
            self._bytes = size_of_all
            self._spans.append((span, size))
            if number + 1 >= self._half_spans or size_of_all >= self._half_bytes:
                self.is_half_full = True
        return None

    def take(self, number: int) -> _TakenSpans:
        """Remove and return the first `number` spans, or all if there are fewer."""
        with self._lock:
            entries = [self._spans.popleft() for _ in range(min(number, len(self._spans)))]
            self._unanswered += len(entries)
            self.is_half_full = False
        return _TakenSpans([span for span, _ in entries], sum(size for _, size in entries))

    def answer(self, number: int | None = None) -> int:
        """Note the outcome of `number` taken spans, or of all; return how many of them were not counted before."""
        with self._lock:
            number = self._unanswered if number is None else min(number, self._unanswered)
            self._unanswered -= number
        return number

    def close(self) -> int:
        """Accept no more spans, and remove all; return how many these are, and the taken ones without an outcome."""
        with self._lock:
            self._is_closed = True
            left = len(self._spans) + self._unanswered
            self._spans.clear()
            self._unanswered = 0
        return left

    def release(self, taken: _TakenSpans) -> None:
        """Subtract the size of taken spans, which are not referred to any more."""
        with self._lock:
            self._bytes = max(self._bytes - taken.size, 0) if self._spans else 0


# ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Sending:
    """Hold the queue of one process, and the thread that empties it.

    The thread is started at once, not with the first span: none can be started at the end of a program, or in a signal
    handler.
    """

    def __init__(
        self, destination: Destination, schedule: Schedule, diagnostics: Diagnostics, sender: SpanSender | None = None
    ) -> None:
        self._destination, self._schedule, self._diagnostics = destination, schedule, diagnostics
        self._sender = sender
        self._queue = _SpanQueue(schedule.max_waiting_spans, schedule.max_waiting_bytes)
        self._calls: queue.SimpleQueue[_FlushRequest | None] = queue.SimpleQueue()
        self._is_called = False
        self._hurried: _FlushRequest | None = None
        self._silent_since: float | None = None
        """Monotonic time of the last outcome or the first request since then; None if there is no request."""
        self.is_over = False
        self._on_end: Callable[[_Sending], None] | None = None
        self._ended: OneShotResult[bool] = OneShotResult()
        self._thread = threading.Thread(
            target=suppress_instrumentation, args=(self._work,), name="otel_agent_trace.otlp", daemon=True
        )
        guarded(diagnostics, "OtlpBackend.thread", self._thread.start)

    # ── in the threads of the program ────────────────────────────────────────────────────────────────────────────────

    def put(self, span: _Queued) -> None:
        """Queue a span, or a log record."""
        if threading.get_ident() == self._thread.ident:
            return  # an instrumentation traces the sending: each request would cause another
        full = self._queue.put(span)
        if full is not None:
            self._diagnostics.count(f"dropped: {full}")
            name = name_of(self._destination)
            noun = noun_for(self._destination)
            self._diagnostics.warn_once(full, "%s for %s are dropped: %s (logged once)", noun, name, full)
        elif self._queue.is_half_full and not self._is_called:
            self._is_called = True
            self._calls.put(None)

    def flush(self, timeout_s: float) -> bool:
        """Send all queued spans; return whether they were accepted within `timeout_s` seconds."""
        if self.is_over:
            return True
        if threading.get_ident() == self._thread.ident:
            return False  # it would wait for itself
        hurried, self._hurried = self._hurried, None
        is_taken = self._request_flush(timeout_s).wait(timeout_s) is True
        return is_taken and (hurried is None or hurried.wait(0) is True)

    def end(self, most_s: float) -> None:
        """Send what is queued as long as it is accepted, for `most_s` seconds at most, and drop the rest."""
        if self.is_over:
            return
        self._send_the_last(most_s)
        self.is_over = True
        left = self._queue.close()
        if self._sender is not None:
            self._sender.stop()
        self._calls.put(None)
        if left:
            self._diagnostics.count("dropped: waiting at the end", left)
            name = name_of(self._destination)
            noun = noun_for(self._destination)
            reason = "" if self._sender is None else self._sender.last_failure
            message = "%d %s could not be sent to %s before it was closed: %s"
            self._diagnostics.warn_once(
                "end", message, left, noun, name, reason.removeprefix(name).lstrip(": ") or "no response yet"
            )
            return
        self._ended.wait(_CLOSE_TIMEOUT_S)

    def hurry(self) -> None:
        """Begin to send the queued spans."""
        if self._hurried is None or self._hurried.is_set:
            self._hurried = self._request_flush(_END_MOST_S)

    def end_when_empty(self, on_end: Callable[[_Sending], None]) -> None:
        """Let the thread send the queued spans, and then end and call a function."""
        self._on_end = on_end
        self._calls.put(None)

    def _send_the_last(self, most_s: float) -> None:
        """Wait until all queued spans have an outcome, or the receiver does not answer."""
        request = self._request_flush(most_s)
        while (left_s := min(request.until - time.monotonic(), _END_SILENCE_S - self._silence_s())) > 0:
            if request.wait(left_s) is not None:
                return

    def _request_flush(self, timeout_s: float) -> _FlushRequest:
        """Request that the thread sends all queued spans, and return the request."""
        self._measure_silence()
        request = _FlushRequest(timeout_s)
        self._calls.put(request)
        if self._sender is not None:
            self._sender.hurry()
        return request

    def _measure_silence(self) -> None:
        """Measure the receiver's silence from now, unless it is measured since a recent request, not to wait again."""
        if self._silence_s() > _END_MOST_S:
            self._silent_since = time.monotonic()

    def _silence_s(self) -> float:
        now, since = time.monotonic(), self._silent_since
        if since is None:
            self._silent_since = since = now
        return now - since

    # ── in the thread of its own ─────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while not self.is_over:
            shielded(self._diagnostics, "OtlpBackend", self._round)
            if self._on_end is not None and not self._queue:
                self.is_over = True
        if self._sender is not None:
            shielded(self._diagnostics, "OtlpBackend.close", self._close_sender, self._sender)
        if self._on_end is not None:
            self._on_end(self)
        self._ended.set(True)

    def _close_sender(self, sender: SpanSender) -> None:
        """Close a sender, after its backend was dropped only if the program does not use its exporter elsewhere."""
        if self._on_end is None or isinstance(self._destination, Settings) or not is_shared(self._destination, 2):
            sender.close()

    def _round(self) -> None:
        """Wait for a request or the next time to send, and send the queued spans."""
        try:
            request = self._calls.get(timeout=self._schedule.delay_s)
        except queue.Empty:
            request = None
        self._is_called = False
        is_taken = self._send_all()
        if request is not None and self._sender is not None and not self.is_over:
            is_taken = self._sender.flush(max(request.until - time.monotonic(), 0)) and is_taken
        if self._calls.empty():
            self._silent_since = None
        if request is not None:
            request.set(is_taken)

    def _send_all(self) -> bool:
        left, is_taken = len(self._queue), True
        while left > 0 and not self.is_over:
            number = min(left, self._schedule.batch_spans)
            is_taken = bool(shielded(self._diagnostics, "OtlpBackend", self._send_some, number)) and is_taken
            left -= number
        return is_taken

    def _send_some(self, number: int) -> bool:
        taken = self._queue.take(number)
        try:
            return self._send(taken.spans)
        finally:
            self._count("lost: sending")
            self._queue.release(taken)

    def _send(self, spans: Sequence[_Queued]) -> bool:
        """Send spans, and return whether all were accepted."""
        if self._sender is None:  # in a forked child, where it is made on first use
            self._sender = sender_for(self._destination, self._schedule.retry_timeout_s, self._diagnostics)
        is_taken = True
        for delivery in self._sender.send(spans):
            is_taken = self._note(delivery) and is_taken
            if self.is_over:
                return False
        return is_taken

    def _note(self, delivery: Delivery) -> bool:
        """Count the outcome of some spans, and return whether all were accepted."""
        if delivery.is_counted:
            self._queue.answer(delivery.number)
            return False
        for reason, number in delivery.counts.items():
            self._count(reason, number)
        self._count("lost: sending", delivery.number - sum(delivery.counts.values()))
        return delivery.counts.get("sent", 0) + delivery.counts.get(NOT_TAKEN, 0) == delivery.number

    def _count(self, reason: str, number: int | None = None) -> None:
        """Count `number` taken spans, or all without an outcome, by reason, unless `end` has counted them."""
        counted = self._queue.answer(number)
        if counted:
            self._diagnostics.count(reason, counted)
            self._silent_since = time.monotonic()


_RELEASED = _Released()
