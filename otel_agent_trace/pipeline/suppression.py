"""Keeping what a sink does itself from being traced."""

from __future__ import annotations

from collections.abc import Callable
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
