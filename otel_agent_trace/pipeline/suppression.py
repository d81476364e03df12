"""Keeping what sinks, policies and gates do themselves from being traced."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY  # what the SDK's own processors set

_KEY = otel_context.create_key("otel_agent_trace.in_a_sink")


def is_in_a_sink() -> bool:
    """Return whether this code runs on behalf of a sink, which must not hear of its own spans: that would never end."""
    return _KEY in otel_context.get_current()


def suppress_instrumentation(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call with instrumentations told to keep still, and return the result."""
    context = otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True)
    token = otel_context.attach(otel_context.set_value(_KEY, True, context))
    try:
        return call(*arguments)
    finally:
        otel_context.detach(token)


class AtWork:
    """Knows the threads in which a policy or a gate is at work: asked about what it traces there, it would never end."""

    __slots__ = ("_thread_ids",)

    def __init__(self) -> None:
        self._thread_ids: set[int] = set()

    def is_here(self) -> bool:
        """Return whether it is at work in this thread."""
        return get_ident() in self._thread_ids

    def __enter__(self) -> None:
        self._thread_ids.add(get_ident())

    def __exit__(self, *_: object) -> None:
        self._thread_ids.discard(get_ident())
