"""Suppress the tracing of what sinks, policies and gates do themselves."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY  # what the SDK's own processors set

_KEY = otel_context.create_key("otel_agent_trace.in_a_sink")


def is_in_a_sink() -> bool:
    """Return whether this code runs in a sink, to which its own spans must not be passed: each would cause another."""
    return _KEY in otel_context.get_current()


def suppress_instrumentation(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function with instrumentation suppressed, and return its result."""
    context = otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True)
    token = otel_context.attach(otel_context.set_value(_KEY, True, context))
    try:
        return call(*arguments)
    finally:
        otel_context.detach(token)


class AtWork:
    """Keep the threads that are in a policy or a gate, so that it is not called for spans that it makes itself."""

    __slots__ = ("_thread_ids",)

    def __init__(self) -> None:
        self._thread_ids: set[int] = set()

    def is_here(self) -> bool:
        """Return whether this thread is in the policy or the gate."""
        return get_ident() in self._thread_ids

    def __enter__(self) -> None:
        self._thread_ids.add(get_ident())

    def __exit__(self, *_: object) -> None:
        self._thread_ids.discard(get_ident())
