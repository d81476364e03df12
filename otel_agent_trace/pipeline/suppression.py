"""Suppress the tracing of what sinks, policies and gates do themselves."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY  # what the SDK's own processors set

from otel_agent_trace.pipeline.runtime_context import call_in, get_current

T = TypeVar("T")
_KEY = otel_context.create_key("otel_agent_trace.in_a_sink")


def is_in_a_sink() -> bool:
    """Return whether this code runs in a sink, to which its own spans must not be passed: each would cause another."""
    return _KEY in get_current()


def suppress_instrumentation(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function with instrumentation suppressed, and return its result."""
    context = otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, get_current())
    return call_in(otel_context.set_value(_KEY, True, context), call, *arguments)


class AtWork:
    """Keep the threads that are in a policy or a gate, so that it is not called for spans that it makes itself."""

    __slots__ = ("_thread_ids",)

    def __init__(self) -> None:
        self._thread_ids: set[int] = set()

    def is_here(self) -> bool:
        """Return whether this thread is in the policy or the gate."""
        return get_ident() in self._thread_ids

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of the policy or the gate, and return its result.

        It is no context manager: an exception of another thread that arrived in a method of one would leave the thread
        in the set.
        """
        thread_id = get_ident()
        try:
            self._thread_ids.add(thread_id)
            return function(*arguments)
        finally:
            self._thread_ids.discard(thread_id)
