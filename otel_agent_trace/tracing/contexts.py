"""Keep the current run and step in OpenTelemetry's context, beside the current span."""

from __future__ import annotations

import os
from contextvars import Token

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context, create_key
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext

RUN_KEY = create_key("otel_agent_trace.run")
STEP_KEY = create_key("otel_agent_trace.step")
ELSEWHERE = object()
"""Value of `RUN_KEY` for a run of another process."""


class Parent:
    """Provide the parent context of runs and steps below it."""

    __slots__ = ()

    def as_parent_context(self, base: Context) -> Context | None:
        """Return a context in which this is current, based on another; None if it cannot be a parent yet."""
        raise NotImplementedError


def with_span(span: Span, base: Context) -> Context:
    """Return a context with a span whose run is not known in this process."""
    return Context({**trace.set_span_in_context(span, base), RUN_KEY: None, STEP_KEY: None})


def with_own(span: Span, base: Context, key: str, value: object) -> Context:
    """Return a context with a span, and with its run or step under a key."""
    context = trace.set_span_in_context(span, base)
    dict.__setitem__(context, key, value)  # a second copy would double the cost; nothing else refers to it yet
    return context


def detach(token: Token[Context], attached: Context | None = None) -> None:
    """Restore the context that was current before `attached`.

    In another execution context than that of the attachment, it is restored only if the attached one is current there: in
    an async generator whose items are read by different tasks.
    """
    try:
        token.var.reset(token)
    except ValueError:
        if attached is not None and otel_context.get_current() is attached:
            before = token.old_value
            otel_context.attach(Context() if before is Token.MISSING else before)


def make_span_remote() -> None:
    """Replace the current span, which is that of the parent process, by a remote one with the same ids in a forked child.

    So the child neither writes to a span that is open in its parent, nor ends it.
    """
    context = otel_context.get_current()
    span = trace.get_current_span(context)
    if isinstance(span, NonRecordingSpan):
        return
    local = span.get_span_context()
    remote = SpanContext(local.trace_id, local.span_id, True, local.trace_flags, local.trace_state)
    otel_context.attach(trace.set_span_in_context(NonRecordingSpan(remote), context))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=make_span_remote)
