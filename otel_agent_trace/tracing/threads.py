"""Carry the context into threads, and report the first tool step that a thread has lost."""

from __future__ import annotations

import contextvars
import functools
import inspect
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from otel_agent_trace.extras import needed_by
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.state import open_runs

_WORKER = re.compile(r"(.+)_\d+")
"""Name of a thread of a `ThreadPoolExecutor`."""
_POOLS = ("concurrent.futures.thread", "multiprocessing.pool")
"""Modules whose threads do the work of others, one call after another."""
_STARTED_AT = 19
"""Index of the start time, in clock ticks since boot, after the name of the program in ``/proc/self/task/*/stat``."""


class _Step(Protocol):
    """Describe what is needed of a step that starts."""

    name: str
    function: Callable[..., Any] | None


class _Run(Protocol):
    """Describe what is needed of an open run."""

    thread_id: int

    @property
    def start_ns(self) -> int:
        """Return the start in Unix nanoseconds."""


def carry_context_into_threads() -> None:
    """Make threads, timers and thread pools of the whole program carry the context; again, it does nothing.

    Raises:
        ConfigurationError: the package for it is not installed.
    """
    with needed_by("threads=True", "threads"):
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor  # noqa: PLC0415 - an extra
    instrumentor = ThreadingInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()


class LostSteps(threading.local):
    """Log one warning in a process, for the first step that a thread has lost from the run that it belongs to.

    It is lost if nobody carried the context into the thread, while a run is current in another thread. There are threads
    that work on their own, which no run owns: those that began before the run, as one that watches a service; and those
    that do the same work as the run's own thread, as threads of a server, some of whose requests are runs and others
    single steps.
    """

    diagnostics = Diagnostics()
    is_reported = False
    first_ns = 0
    """Time of the first step of this thread that started outside any run, in Unix nanoseconds."""

    def check(self, step: _Step) -> None:
        """Warn if a step that starts outside any run is lost."""
        # What is handed over in a context, as by asyncio.to_thread and anyio, has context variables in its thread.
        if not LostSteps.is_reported and threading.current_thread() is not threading.main_thread() and _is_bare():
            self.first_ns = self.first_ns or time.time_ns()
            guarded(self.diagnostics, "lost step", self._report, step)

    def _report(self, step: _Step) -> None:
        thread = threading.current_thread()
        since_ns = _start_ns(thread) or self.first_ns
        run = next((run for run in open_runs() if run.is_current_somewhere and _may_own(run, thread, since_ns)), None)
        if run is None:
            return
        LostSteps.is_reported = True
        self.diagnostics.warn_once(
            "lost step",
            "step %r%s ran in thread %r outside any run, while run %s of %r is open; if it belongs to a run, carry the "
            "context: TracedExecutor (tracer.executor(pool)), tracer.with_context(function), "
            "contextvars.copy_context().run, or configure(threads=True)",
            step.name,
            _named(step.function),
            thread.name,
            run.run_id,
            run.agent_name,
        )


LOST_STEPS = LostSteps()


def _is_bare() -> bool:
    return not len(contextvars.copy_context())


def _may_own(run: _Run, thread: threading.Thread, since_ns: int) -> bool:
    """Return whether the work of a thread, which began at a time, may be part of a run that is current elsewhere."""
    if since_ns < run.start_ns:
        return False
    of_run = next((other for other in threading.enumerate() if other.ident == run.thread_id), None)
    return of_run is not thread and (of_run is None or _work(of_run) != _work(thread))


def _work(thread: threading.Thread) -> tuple[Any, str | None]:
    """Return what a thread does: its function, and of a worker its pool, which its name contains before the number."""
    function = _function(thread)
    worker = _WORKER.fullmatch(thread.name)
    return getattr(function, "__code__", function), worker and worker[1]


def _function(thread: threading.Thread) -> Any:
    """Return the function that a thread runs, without decorators and bound arguments."""
    target: Any = getattr(thread, "_target", None) or type(thread).run
    while isinstance(target, functools.partial):
        target = target.func
    return inspect.unwrap(target)


def _start_ns(thread: threading.Thread) -> int | None:
    """Return when a thread started, in Unix nanoseconds, up to a clock tick later; None where that is not known.

    Nor is it known when the present work of a pool's thread began, which may be much younger.
    """
    if getattr(_function(thread), "__module__", None) in _POOLS:
        return None
    try:
        with open(f"/proc/self/task/{thread.native_id}/stat", encoding="utf-8", errors="replace") as stat:
            ticks = int(stat.read().rpartition(")")[2].split()[_STARTED_AT])
        boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return boot_ns + (ticks + 1) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _named(function: Callable[..., Any] | None) -> str:
    if function is None:
        return ""
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f" (function {named.__module__}.{named.__qualname__})"
