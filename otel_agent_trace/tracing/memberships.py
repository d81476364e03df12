"""Let this process take part in a replay of another one, if the environment, its parent or a carrier names one.

What executes replays is imported then only, by name: it is built upon this package.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from typing import Any

from opentelemetry import trace

from otel_agent_trace.forks import ForkSafeLock, called_in_children
from otel_agent_trace.pipeline import SpanSink
from otel_agent_trace.tracing.contexts import replay_place_in
from otel_agent_trace.tracing.interception import INSTALLED, Answer, Interceptor, Request

REPLAY_VARIABLE = "OTEL_AGENT_TRACE_REPLAY"
"""Variable with the folder of a replay, which every process that is started during the replay inherits."""
_EXECUTION = "otel_agent_trace.replay.processes"


class Membership(Interceptor):
    """Let an interceptor of a replay answer here once there is one for this process.

    It is installed only where that may happen: in processes with `REPLAY_VARIABLE`, in children of multiprocessing, which
    may be older than the replay and have no such variable, and where replays have been.

    Attributes:
        folder: the folder of the replay that this process belongs to, also when it is over; None if it belongs to none.
        member: the interceptor of the replay in which it takes part now.
        leftovers: the interceptor that refuses what replays of this process have left behind, None before the first one.
    """

    def __init__(self) -> None:
        self.folder = os.environ.get(REPLAY_VARIABLE) or None
        self.member: Interceptor | None = None
        self.leftovers: Interceptor | None = None
        self._lock = ForkSafeLock()
        self._is_installed = self._has_received = False
        if self.folder is not None or _is_new_child() or parent_pid() is not None:
            self.install()
        called_in_children(self.install)

    def install(self) -> None:
        """Install it, behind all interceptors of this process."""
        with self._lock:
            if not self._is_installed:
                self._is_installed = True
                INSTALLED.add_last(self)

    def _remove(self) -> None:
        with self._lock:
            if self._is_installed:
                self._is_installed = False
                INSTALLED.remove(self)

    def receive(self) -> None:
        """Note that a carrier of a replay has arrived, whose calls must not be made if it is none of this process.

        A process that has nothing to do with replays ignores it: anybody may send one to a server.
        """
        if self._is_installed or self.leftovers is not None or parent_pid() is not None or _is_new_child():
            self._has_received = True
            self.install()

    # ── answering ────────────────────────────────────────────────────────────────────────────────────────────────────

    def intercept(self, request: Request) -> Answer | None:
        """Return the answer of the replay that this process takes part in."""
        if self._is_concerned(request.context):
            answer: Answer | None = importlib.import_module(_EXECUTION).intercept(request)
            return answer
        return None if self.leftovers is None else self.leftovers.intercept(request)

    def carried(self, context: Any) -> str | None:
        """Return the place that the member has for a context, else the one that a carrier has brought."""
        sources = (one.carried(context) for one in (self.member, self.leftovers) if one is not None)
        return next((place for place in sources if place is not None), None) or replay_place_in(context)

    def join(self) -> None:
        """Take part in a replay from now on, if there is one for this process."""
        if self._is_installed and self._is_concerned(None):
            importlib.import_module(_EXECUTION).joined()

    def _is_concerned(self, context: Any) -> bool:
        """Return whether there may be a replay for this process, or for a context in it."""
        if self.folder is not None or self.member is not None:
            return True
        if self._has_received and context is not None and replay_place_in(context) is not None:
            return True
        pid = parent_pid()
        if pid is not None:
            return os.access(marker_of(pid), os.F_OK)
        if not self._has_received and self.leftovers is None and not _is_new_child():  # another kind of forked child
            self._remove()
        return False

    # ── spans ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def provider_for(self, own: trace.TracerProvider) -> trace.TracerProvider | None:
        """Return the provider of the member for tracers with an own one; None while there is no member."""
        return None if self.member is None else self.member.provider_for(own)

    @property
    def sinks(self) -> tuple[SpanSink, ...]:  # type: ignore[override]
        """Return the sinks of the member, for spans of other instrumentations, which may be the first ones here."""
        self.join()
        return () if self.member is None else self.member.sinks


@functools.lru_cache(maxsize=4)
def marker_of(pid: int) -> str:
    """Return the path of the file that names the folder of a replay of a process, for children that are older than it."""
    import tempfile  # noqa: PLC0415 - for replays and their children only

    return os.path.join(tempfile.gettempdir(), f"otel_agent_trace-replay-of-{pid}")


def parent_pid() -> int | None:
    """Return the process that has started this child of multiprocessing; None before the child has begun its work."""
    process = sys.modules.get("multiprocessing.process")
    parent = None if process is None else process.parent_process()
    return None if parent is None else int(parent.pid)


def _is_new_child() -> bool:
    """Return whether this is a child of multiprocessing that imports its main module still."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


MEMBERSHIP = Membership()
