"""`TracerBackend`, a backend of your own for runs and steps, and `BackgroundBackend` before a slow one."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.pipeline.suppression import suppress_instrumentation
from otel_agent_trace.signals import OneShotResult

_Calls = queue.Queue["tuple[Callable[..., None], tuple[Any, ...]] | None"]

_CLOSE_S = 5.0


@runtime_checkable
class TracerBackend(Protocol):
    """Your own backend: it is told of runs and steps instead of spans.

    - Calls never overlap, but MAY come from any thread, and happen in the host's time: wrap a slow store in
      `BackgroundBackend`. What a call raises is counted and logged once; the host does not notice.
    - `start_run` comes when a run starts (status running). It MAY be missing: where the run's start was not seen.
    - `log_step` comes when a step has ended, inner steps first. It is a preview: what stands in the run is what counts.
    - `end_run` comes when the run has ended, with the whole run, and is authoritative. It MAY come again for the same
      `run_id`, when a step ends after its run, or a model call that is a trace of its own goes on with the run of an
      earlier one: so upsert by `run_id`.
    - A sub-agent is a run of its own, with `parent_run_id`; it also stands in the run that called it.
    - Runs and steps are immutable and belong to whoever is given them.
    - `flush(timeout_s)` and `close()`, where a backend has them, are called when the tracer flushes or closes.

    `otel_agent_trace.testing.check_backend` runs this contract against an implementation.
    """

    def start_run(self, run: AgentRun) -> None:
        """A run has started."""
        ...

    def log_step(self, run_id: str, step: AgentStep) -> None:
        """A step of a run has ended."""
        ...

    def end_run(self, run: AgentRun) -> None:
        """A run has ended, or has more steps than it had."""
        ...


class BackgroundBackend:
    """Calls a `TracerBackend` in a thread of its own, so that a slow store costs the host nothing but the queueing.

    At most `max_pending` calls wait; further previews (`start_run`, `log_step`) are dropped and counted, an `end_run`
    waits up to `enqueue_timeout_s` seconds for room before it is.
    """

    def __init__(self, backend: TracerBackend, *, max_pending: int = 10_000, enqueue_timeout_s: float = 0.1) -> None:
        self._backend = backend
        self._max_pending = max_pending
        self._enqueue_timeout_s = enqueue_timeout_s
        self._diagnostics = Diagnostics()
        self._lock = ForkSafeLock()
        self._begin()

    def _begin(self) -> None:
        self._calls: _Calls = queue.Queue(self._max_pending)
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def start_run(self, run: AgentRun) -> None:
        """Queue the call."""
        self._put(self._backend.start_run, (run,), 0)

    def log_step(self, run_id: str, step: AgentStep) -> None:
        """Queue the call."""
        self._put(self._backend.log_step, (run_id, step), 0)

    def end_run(self, run: AgentRun) -> None:
        """Queue the call."""
        self._put(self._backend.end_run, (run,), self._enqueue_timeout_s)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what is queued now has been called and the backend flushed; False if it could not be in time."""
        return self._ask(self._flush_backend, timeout_s) is True

    def close(self) -> None:
        """Close the backend after what is queued.

        After 5 seconds what still waits is dropped and counted, and the backend, in the midst of a call, is left alone.
        """
        if self._has_work() and self._ask(self._reached, _CLOSE_S) is None:
            self._diagnostics.count("dropped: waiting at close", self._calls.qsize())
            return
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            thread.join(_CLOSE_S)
        close = getattr(self._backend, "close", None)
        if close is not None:
            close()

    def stats(self) -> dict[str, int]:
        """What was dropped or failed, by reason."""
        return self._diagnostics.counts()

    def _ask(self, call: Callable[[float], bool], timeout_s: float) -> bool | None:
        """What a call in the thread, given the seconds that are left, gives; None if it failed or took too long."""
        deadline = time.monotonic() + timeout_s
        answer: OneShotResult[bool | None] = OneShotResult()
        try:
            self._running().put((self._answer, (call, deadline, answer)), timeout=timeout_s)
        except queue.Full:
            return None
        return answer.wait(deadline - time.monotonic())

    def _answer(self, call: Callable[[float], bool], deadline: float, answer: OneShotResult[bool | None]) -> None:
        answer.set(guarded(self._diagnostics, call.__qualname__, call, max(0.0, deadline - time.monotonic())))

    def _flush_backend(self, timeout_s: float) -> bool:
        flush = getattr(self._backend, "flush", None)
        return flush is None or flush(timeout_s) is not False

    def _reached(self, timeout_s: float) -> bool:
        return True

    def _put(self, call: Callable[..., None], arguments: tuple[Any, ...], enqueue_timeout_s: float) -> None:
        try:
            self._running().put((call, arguments), block=enqueue_timeout_s > 0, timeout=enqueue_timeout_s or None)
        except queue.Full:
            self._diagnostics.count(f"dropped: {call.__name__}")
            self._diagnostics.warn_once(
                "full", "the queue before %s is full; calls are dropped", type(self._backend).__name__
            )

    def _has_work(self) -> bool:
        """Whether this process has queued anything; else no thread is needed, which late at exit cannot be started."""
        return self._process == os.getpid() and (self._thread is not None or not self._calls.empty())

    def _running(self) -> _Calls:
        """The queue of this process, with a thread that works on it; a forked child begins with an empty one."""
        with self._lock:
            if self._process != os.getpid():
                self._begin()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, args=(self._calls,), name="otel_agent_trace", daemon=True
                )
                self._thread.start()
            return self._calls

    def _work(self, calls: _Calls) -> None:
        while (item := calls.get()) is not None:
            call, arguments = item
            guarded(self._diagnostics, call.__qualname__, suppress_instrumentation, call, *arguments)
