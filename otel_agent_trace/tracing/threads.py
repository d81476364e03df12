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
from typing import TYPE_CHECKING, Any

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.state import open_runs

if TYPE_CHECKING:
    from otel_agent_trace.tracing.active import ActiveRun, ActiveStep

_WORKER = re.compile(r"(.+)_\d+")
"""Name of a thread of a `ThreadPoolExecutor`."""
_STARTED_AT = 19
"""Index of the start time, in clock ticks since boot, after the name of the program in ``/proc/self/task/*/stat``."""


def carry_context_into_threads() -> None:
    """Make threads, timers and thread pools of the whole program carry the context; again, it does nothing.

    Raises:
        ConfigurationError: the package for it is not installed.
    """
    try:
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor  # noqa: PLC0415 - an extra
    except ImportError as error:
        msg = f"threads=True needs a package: pip install 'otel-agent-trace[threads]' ({error})"
        raise ConfigurationError(msg) from error
    instrumentor = ThreadingInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()


class LostSteps:
    """Log one warning in a process, for the first step that a thread has lost from the run that it belongs to.

    It is lost if nobody carried the context into the thread, a run is current in another thread, and that run started
    before the thread. Threads that do the same work as that of the run, as those of a server, are not its own: each
    handles a request, of which some are runs and others single steps.
    """

    def __init__(self) -> None:
        self._diagnostics = Diagnostics()
        self._is_reported = False

    def check(self, step: ActiveStep) -> None:
        """Warn if a step that starts outside any run is lost."""
        # A thread has context variables if its work was handed over in a context, as by asyncio.to_thread and anyio.
        if not self._is_reported and threading.current_thread() is not threading.main_thread() and _is_bare():
            guarded(self._diagnostics, "lost step", self._report, step)

    def _report(self, step: ActiveStep) -> None:
        run = next((run for run in open_runs() if _may_own(run, threading.current_thread())), None)
        if run is None:
            return
        self._is_reported = True
        self._diagnostics.warn_once(
            "lost",
            "step %r%s ran in thread %r outside any run, while run %s of %r is open; if it belongs to a run, carry the "
            "context: TracedExecutor (tracer.executor(pool)), tracer.with_context(function), "
            "contextvars.copy_context().run, or configure(threads=True)",
            step.name,
            _named(step.function),
            threading.current_thread().name,
            run.run_id,
            run.agent_name,
        )


LOST_STEPS = LostSteps()


def _is_bare() -> bool:
    return not len(contextvars.copy_context())


def _may_own(run: ActiveRun, thread: threading.Thread) -> bool:
    """Return whether code of a run may have started a thread: not if it is older, or does the same work as the run's."""
    if not run.is_current_somewhere:
        return False
    started_ns = _start_ns(thread)
    if started_ns is not None and started_ns < run.start_ns:
        return False
    of_run = next((other for other in threading.enumerate() if other.ident == run.thread_id), None)
    return of_run is not thread and (of_run is None or _work(of_run) != _work(thread))


def _work(thread: threading.Thread) -> tuple[Any, str | None]:
    """Return what a thread does: its function, and of a worker its pool, which its name contains before the number."""
    target: Any = getattr(thread, "_target", None) or type(thread).run
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    worker = _WORKER.fullmatch(thread.name)
    return getattr(target, "__code__", target), worker and worker[1]


def _start_ns(thread: threading.Thread) -> int | None:
    """Return when a thread started, in Unix nanoseconds, up to a clock tick later; None where the system does not tell."""
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
