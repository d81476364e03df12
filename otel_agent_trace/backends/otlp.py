"""Spans to a receiver of OTLP, from a queue, in a thread of its own."""

from __future__ import annotations

import queue
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.backends.exporting import ExportingSink
from otel_agent_trace.backends.span_senders import Delivery, Destination, SpanSender, name_of, sender_for
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded, shielded
from otel_agent_trace.otlp import Schedule
from otel_agent_trace.pipeline import Gate, PipelineSpan, Policy
from otel_agent_trace.pipeline.suppression import suppress_instrumentation
from otel_agent_trace.policies.user_ids import UserIds
from otel_agent_trace.signals import OneShotResult

_END_PATIENCE_S, _END_MOST_S = 1.0, 10.0
"""At the end: as long as nothing is answered, and in all."""
_CLOSING_S = 0.3


class _Asked(OneShotResult[bool]):
    """What will be told whether all that waited when it was asked was taken; nobody waits for it after `until`."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self.until = time.monotonic() + timeout_s


class OtlpBackend(ExportingSink):
    """Sends spans to a receiver of OTLP, or into an exporter; what `on_end` costs is a place in a queue.

    A forked child begins with an empty queue and a thread of its own. What waits when a process ends is sent, also in
    processes of `multiprocessing`; a receiver that does not answer holds the end up for a second at most. Everything
    may be called by a signal handler, whatever it interrupts: no lock is held while anything is waited for.

    Args:
        destination: the settings of an endpoint, or a span exporter, which is then called in a thread of ours alone; None
            for nowhere: all is dropped, and counted.
        user_ids: what happens to plain user ids that come through the SDK's own processors.
        policies: what else is done to what comes through them.
        schedule: how many spans may wait, and how long.
    """

    def __init__(
        self,
        destination: Destination | None,
        *,
        user_ids: UserIds = "pseudonym",
        policies: Iterable[Policy | Gate] = (),
        schedule: Schedule = Schedule(),  # noqa: B008 - immutable
    ) -> None:
        super().__init__(user_ids, policies)
        self._destination, self._schedule = destination, schedule
        self._of_parents: list[_Sending] = []  # a channel of gRPC must not be closed in a child, not even by chance
        self._sending: _Sending | None = None
        sender = None if destination is None else self._sender(destination)
        if destination is not None and sender is not None:
            self._sending = _Sending(destination, schedule, self._diagnostics, sender)
            renewed_in_children(self)
            _call_at_end_of_workers(self)
            _BACKENDS[id(self)] = self

    def _sender(self, destination: Destination) -> SpanSender | None:
        """Return what sends; None, with a warning, where a certificate or a proxy of the environment cannot be used."""
        try:
            return sender_for(destination, self._schedule.retry_timeout_s, self._diagnostics)
        except ConfigurationError as error:
            self._diagnostics.warn_once("settings", "nothing is sent to %s: %s", name_of(destination), error)
            return None

    def renew(self) -> None:
        """Begin anew, in a forked child."""
        if self._sending is not None and self._destination is not None:
            self._of_parents.append(self._sending)
            self._sending = _Sending(self._destination, self._schedule, self._diagnostics)
            _call_at_end_of_workers(self)

    def on_end(self, span: PipelineSpan) -> None:
        """Queue a span, but for those of the sending itself; what finds no room is dropped and counted."""
        if self._sending is None:
            self._diagnostics.count("dropped: nowhere to send")
        else:
            self._sending.put(span)

    def stats(self) -> dict[str, int]:
        """Return what was sent, and what was not, by reason."""
        return self._diagnostics.counts()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what waits now, and return whether all of it was taken within that time."""
        if self._sending is None:
            return True
        _hurry_all_but(self)
        return self._sending.flush(timeout_s)

    def close(self) -> None:
        """Send what waits, as long as it is being taken, and drop the rest."""
        if self._sending is not None:
            _hurry_all_but(self)
            self._sending.end()

    def hurry(self) -> None:
        """Begin to send what waits, and do not wait for it."""
        if self._sending is not None:
            self._sending.hurry()


_BACKENDS: weakref.WeakValueDictionary[int, OtlpBackend] = weakref.WeakValueDictionary()


def _hurry_all_but(one: OtlpBackend) -> None:
    """The others are likely to be waited for next, so they begin at once."""
    for reference in _BACKENDS.valuerefs():
        backend = reference()
        if backend is not None and backend is not one:
            backend.hurry()


# ── the end of processes of `multiprocessing` ────────────────────────────────────────────────────────────────────────


def _call_at_end_of_workers(backend: OtlpBackend) -> None:
    """Have a backend shut down at the end of a process that `multiprocessing` made: these run no `atexit`.

    To be called again in each forked child: whoever imports `multiprocessing` may do so later than we are made.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if util is None or process is None:
        return
    util.register_after_fork(backend, _register)  # a new process first forgets what was registered, then calls these
    if process.parent_process() is not None:
        _register(backend)


def _register(backend: OtlpBackend) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    util.Finalize(None, _end, args=(weakref.ref(backend),), exitpriority=0)


def _end(reference: weakref.ref[OtlpBackend]) -> None:
    backend = reference()
    if backend is not None:
        backend.shutdown()


# ── what waits ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Taken(NamedTuple):
    """Spans that are on their way, and their size."""

    spans: list[PipelineSpan]
    size: int


class _SpanQueue:
    """A queue bounded by number and by estimated bytes, for any number of threads that put and one that takes.

    Of what was taken the memory counts until it is released, and each span until it is answered for: so every span is
    counted once, either by whoever takes them, or by whoever closes the queue meanwhile.

    The lock may be taken again by a signal handler of the thread that holds it. A sum that such a handler spoils in this
    moment is right again as soon as the queue is empty.
    """

    def __init__(self, max_spans: int, max_bytes: int) -> None:
        self._max_spans, self._max_bytes = max_spans, max_bytes
        self._half_spans, self._half_bytes = max_spans / 2, max_bytes / 2
        self._spans: deque[tuple[PipelineSpan, int]] = deque()
        self._bytes = 0
        self._unanswered = 0
        self._is_closed = False
        self.is_half_full = False
        """It is time to send, however short ago that was; until something is taken."""
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._spans)

    def put(self, span: PipelineSpan) -> str | None:
        """Add a span; why not, if it cannot be added."""
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

    def take(self, number: int) -> _Taken:
        """The first so many spans, or as many as there are."""
        with self._lock:
            entries = [self._spans.popleft() for _ in range(min(number, len(self._spans)))]
            self._unanswered += len(entries)
            self.is_half_full = False
        return _Taken([span for span, _ in entries], sum(size for _, size in entries))

    def answer(self, number: int | None = None) -> int:
        """So many of the taken spans are answered for, or all; how many nobody has counted before."""
        with self._lock:
            number = self._unanswered if number is None else min(number, self._unanswered)
            self._unanswered -= number
        return number

    def close(self) -> int:
        """Take no more spans, and forget those that are here; how many these and the unanswered ones are."""
        with self._lock:
            self._is_closed = True
            left = len(self._spans) + self._unanswered
            self._spans.clear()
            self._unanswered = 0
        return left

    def release(self, taken: _Taken) -> None:
        """Nothing is kept of them any more."""
        with self._lock:
            self._bytes = max(self._bytes - taken.size, 0) if self._spans else 0


# ── what sends ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Sending:
    """The queue of one process, and the thread that empties it.

    The thread is started here, not with the first span: at the end of a program, and in a signal handler, none can be.
    """

    def __init__(
        self, destination: Destination, schedule: Schedule, diagnostics: Diagnostics, sender: SpanSender | None = None
    ) -> None:
        self._destination, self._schedule, self._diagnostics = destination, schedule, diagnostics
        self._sender = sender
        self._queue = _SpanQueue(schedule.max_waiting_spans, schedule.max_waiting_bytes)
        self._calls: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._is_called = False
        self._hurried: _Asked | None = None
        self._silent_since: float | None = None
        """When somebody asked whom nothing was answered since; None where nobody is waiting."""
        self._is_over = False
        self._ended: OneShotResult[bool] = OneShotResult()
        self._thread = threading.Thread(
            target=suppress_instrumentation, args=(self._work,), name="otel_agent_trace.otlp", daemon=True
        )
        guarded(diagnostics, "OtlpBackend.thread", self._thread.start)

    # ── in the threads of the program ────────────────────────────────────────────────────────────────────────────────

    def put(self, span: PipelineSpan) -> None:
        """Queue a span."""
        if threading.get_ident() == self._thread.ident:
            return  # somebody traces what the sending does: it would never end
        full = self._queue.put(span)
        if full is not None:
            self._diagnostics.count(f"dropped: {full}")
            name = name_of(self._destination)
            self._diagnostics.warn_once(full, "spans for %s are dropped: %s (logged once)", name, full)
        elif self._queue.is_half_full and not self._is_called:
            self._is_called = True
            self._calls.put(None)

    def flush(self, timeout_s: float) -> bool:
        """Send what waits now; whether all of it was taken, within that time."""
        if self._is_over:
            return True
        if threading.get_ident() == self._thread.ident:
            return False  # nobody else could do it
        hurried, self._hurried = self._hurried, None
        is_taken = self._asked(timeout_s).wait(timeout_s) is True
        return is_taken and (hurried is None or hurried.wait(0) is True)

    def end(self) -> None:
        """Send what waits as long as it is being taken, and drop the rest."""
        if self._is_over:
            return
        self._send_the_last()
        self._is_over = True
        left = self._queue.close()
        if self._sender is not None:
            self._sender.stop()
        self._calls.put(None)
        if left:
            self._diagnostics.count("dropped: waiting at the end", left)
            name = name_of(self._destination)
            self._diagnostics.warn_once("end", "%d spans could not be sent to %s before the end", left, name)
            return
        self._ended.wait(_CLOSING_S)

    def hurry(self) -> None:
        """Begin to send what waits."""
        if self._hurried is None or self._hurried.is_set:
            self._hurried = self._asked(_END_MOST_S)

    def _send_the_last(self) -> None:
        """Returns as soon as all is answered, or nothing is any more."""
        asked = self._asked(_END_MOST_S)
        while (left_s := min(asked.until - time.monotonic(), _END_PATIENCE_S - self._silence_s())) > 0:
            if asked.wait(left_s) is not None:
                return

    def _asked(self, timeout_s: float) -> _Asked:
        """What will be told whether all that waits now was taken."""
        self._wait_from_now()
        asked = _Asked(timeout_s)
        self._calls.put(asked)
        if self._sender is not None:
            self._sender.hurry()
        return asked

    def _wait_from_now(self) -> None:
        """Or from when it was asked before, if that was a moment ago: who was just waited for is not once more."""
        if self._silence_s() > _END_MOST_S:
            self._silent_since = time.monotonic()

    def _silence_s(self) -> float:
        now, since = time.monotonic(), self._silent_since
        if since is None:
            self._silent_since = since = now
        return now - since

    # ── in the thread that sends ─────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while not self._is_over:
            shielded(self._diagnostics, "OtlpBackend", self._round)
        if self._sender is not None:
            shielded(self._diagnostics, "OtlpBackend.close", self._sender.close)
        self._ended.set(True)

    def _round(self) -> None:
        """Wait until it is time, and send what waits then."""
        try:
            asked = self._calls.get(timeout=self._schedule.delay_s)
        except queue.Empty:
            asked = None
        self._is_called = False
        is_taken = self._send_all()
        if asked is not None and self._sender is not None and not self._is_over:
            is_taken = self._sender.flush(max(asked.until - time.monotonic(), 0)) and is_taken
        if self._calls.empty():
            self._silent_since = None
        if asked is not None:
            asked.set(is_taken)

    def _send_all(self) -> bool:
        left, is_taken = len(self._queue), True
        while left > 0 and not self._is_over:
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

    def _send(self, spans: Sequence[PipelineSpan]) -> bool:
        """Send spans; whether all were taken."""
        if self._sender is None:  # in a child, which need not pay for it when it is forked
            self._sender = sender_for(self._destination, self._schedule.retry_timeout_s, self._diagnostics)
        is_taken = True
        for delivery in self._sender.send(spans):
            is_taken = self._note(delivery) and is_taken
            if self._is_over:
                return False
        return is_taken

    def _note(self, delivery: Delivery) -> bool:
        """Count what became of some spans; whether all were taken."""
        if delivery.is_counted:
            self._queue.answer(delivery.number)
            return False
        for reason, number in delivery.counts.items():
            self._count(reason, number)
        self._count("lost: sending", delivery.number - sum(delivery.counts.values()))
        return delivery.counts.get("sent") == delivery.number

    def _count(self, reason: str, number: int | None = None) -> None:
        """So many spans, or all the others that were taken, are answered for, unless the end has counted them."""
        counted = self._queue.answer(number)
        if counted:
            self._diagnostics.count(reason, counted)
            self._silent_since = time.monotonic()
