"""Define `TracerBackend`, the protocol of backends for runs and steps, and `BackgroundBackend` for slow ones."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from otel_agent_trace.closer import CLOSER, is_shared
from otel_agent_trace.copies import Shared, missing_in, packed
from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.guard import Diagnostics, guarded, warn
from otel_agent_trace.model import AgentRun, AgentStep, Score
from otel_agent_trace.pipeline.suppression import suppress_instrumentation
from otel_agent_trace.signals import OneShotResult

_Calls = queue.SimpleQueue["tuple[Callable[..., None], tuple[Any, ...]] | None"]
"""Queue in C: the locks of a `queue.Queue` stay locked if another thread raises an exception in its Python code."""

_CLOSE_S = 5.0
_POLL_S = 0.001


@runtime_checkable
class TracerBackend(Protocol):
    """Implement this protocol to receive runs and steps instead of spans.

    - Calls never overlap, but MAY come from any thread. They block the program: wrap a slow store in `BackgroundBackend`.
      An exception that a call raises is counted and logged once; the program does not notice it.
    - `start_run` is called when a run starts (status running). The call MAY be missing, if the run's start was not
      observed.
    - `log_step` is called when a step has ended, inner steps first. The step is a preview: the run that is passed to
      `end_run` is authoritative.
    - `end_run` is called when a run has ended, with the whole run. It MAY be called again with the same `run_id`: when a
      step ends after its run, or when a model call that is a trace of its own continues the run of an earlier one. So
      upsert by `run_id`.
    - `score(run_id, score)`, if a backend has it, is called when a run or a step of it is scored, before or after the end of
      the run; a run that ends later has its scores too. Without it, `end_run` is called again for a run that is scored
      after its end, if it is among the latest ones.
    - A sub-agent is a run of its own, with `parent_run_id`; it is also part of the run that called it.
    - Runs and steps are immutable and may be kept.
    - `flush(timeout_s)` and `close()`, if a backend has them, are called when the tracer flushes or closes.

    `otel_agent_trace.testing.check_backend` runs this contract against an implementation.
    """

    def start_run(self, run: AgentRun) -> None:
        """Store a run that has started."""
        ...

    def log_step(self, run_id: str, step: AgentStep) -> None:
        """Store a step of a run that has ended."""
        ...

    def end_run(self, run: AgentRun) -> None:
        """Store a run that has ended, or replace it by one that has more steps."""
        ...


class BackgroundBackend(Shared):
    """Call a `TracerBackend` in a thread of its own, so that a slow store costs the program no more than the queueing.

    Args:
        backend: the backend.
        max_pending: how many calls may wait in the queue.
        enqueue_timeout_s: how many seconds `end_run` waits for room in a full queue. After that it is dropped and
            counted; previews (`start_run`, `log_step`) are dropped at once.
    """

    _example = (None,)

    def __init__(self, backend: TracerBackend, *, max_pending: int = 10_000, enqueue_timeout_s: float = 0.1) -> None:
        self._backend = backend
        self._max_pending = max_pending
        self._enqueue_timeout_s = enqueue_timeout_s
        self._diagnostics = Diagnostics()
        self._lock = ForkSafeLock()
        self._begin()
        self._share()

    def _copy_settings(self) -> dict[str, Any]:
        return {
            "backend": packed(self._backend),
            "max_pending": self._max_pending,
            "enqueue_timeout_s": self._enqueue_timeout_s,
        }

    def _copy_from(self, settings: dict[str, Any]) -> None:
        if missing_in([settings["backend"]]):
            warn("a BackgroundBackend from another process is without its backend, and keeps nothing")
        BackgroundBackend.__init__(self, **settings)

    def _begin(self) -> None:
        self._calls: _Calls = queue.SimpleQueue()
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

    @property
    def score(self) -> Callable[[str, Score], None]:
        """Return the function that queues the call.

        Raises:
            AttributeError: the backend has no `score`.
        """
        call: Callable[[str, Score], None] = self._backend.score  # type: ignore[attr-defined]
        return lambda run_id, score: self._put(call, (run_id, score), self._enqueue_timeout_s)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all queued calls are done and the backend is flushed; return False after `timeout_s` seconds."""
        return self._in_thread(self._flush_backend, timeout_s) is True

    def close(self) -> None:
        """Close the backend after all queued calls.

        After 5 seconds the calls that still wait are dropped and counted, and the backend, which is in a call, is not
        closed.
        """
        if self._has_work() and self._in_thread(self._reached, _CLOSE_S) is None:
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
        """Return the number of calls that were dropped or failed, by reason."""
        return self._diagnostics.counts()

    def _in_thread(self, call: Callable[[float], bool], timeout_s: float) -> bool | None:
        """Call a function in the thread, with the seconds left; return its result, None if it fails or takes too long."""
        deadline = time.monotonic() + timeout_s
        result: OneShotResult[bool | None] = OneShotResult()
        if not self._add((self._set_result, (call, deadline, result)), timeout_s):
            return None
        return result.wait(deadline - time.monotonic())

    def _set_result(self, call: Callable[[float], bool], deadline: float, result: OneShotResult[bool | None]) -> None:
        result.set(guarded(self._diagnostics, call.__qualname__, call, max(0.0, deadline - time.monotonic())))

    def _flush_backend(self, timeout_s: float) -> bool:
        flush = getattr(self._backend, "flush", None)
        return flush is None or flush(timeout_s) is not False

    def _reached(self, timeout_s: float) -> bool:
        return True

    def _put(self, call: Callable[..., None], arguments: tuple[Any, ...], enqueue_timeout_s: float) -> None:
        if not self._add((call, arguments), enqueue_timeout_s):
            self._diagnostics.count(f"dropped: {call.__name__}")
            self._diagnostics.warn_once(
                "full", "the queue of calls to %s is full; calls are dropped", type(self._backend).__name__
            )

    def _add(self, item: tuple[Callable[..., None], tuple[Any, ...]], timeout_s: float) -> bool:
        """Add a call to the queue, and return whether there was room within `timeout_s` seconds."""
        calls, deadline = self._running(), time.monotonic() + timeout_s
        while calls.qsize() >= self._max_pending:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        calls.put(item)
        return True

    def _has_work(self) -> bool:
        """Return whether this process has queued calls; without any, no thread is needed, and at exit none can start."""
        return self._process == os.getpid() and (self._thread is not None or not self._calls.empty())

    def _running(self) -> _Calls:
        """Return the queue of this process, after starting its thread if necessary; that of a forked child is empty."""
        with self._lock:
            if self._process != os.getpid():
                self._begin()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=_work, args=(self._calls, self._diagnostics), name="otel_agent_trace", daemon=True
                )
                self._thread.start()
            return self._calls

    def __del__(self) -> None:
        """Close a backend that the program has dropped, in another thread: a collection must not wait for it."""
        if getattr(self, "_thread", None) is not None:
            CLOSER.call_soon(self._release)

    def _release(self) -> None:
        """Make the queued calls, and close the backend, unless the program still refers to it."""
        if is_shared(self._backend, 1):
            self.flush()
            self._calls.put(None)
            self._thread = None
        else:
            self.close()


def _work(calls: _Calls, diagnostics: Diagnostics) -> None:
    """Make the calls of a queue; a function, since a method would keep a backend that the program drops."""
    while (item := calls.get()) is not None:
        call, arguments = item
        guarded(diagnostics, call.__qualname__, suppress_instrumentation, call, *arguments)
        del item, call, arguments  # the next one may come much later
