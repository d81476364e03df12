"""What stands in OpenTelemetry's context: the span, and beside it the run and the step around some code."""

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
"""Stands for a run that goes on in another process."""


class Parent:
    """What runs and steps can be put below, and knows itself how."""

    __slots__ = ()

    def as_parent_context(self, base: Context) -> Context | None:
        """That context, with this as what is current; None where it cannot be a parent yet."""
        raise NotImplementedError


def with_span(span: Span, base: Context) -> Context:
    """That context with a span of which nobody here knows the run."""
    return Context({**trace.set_span_in_context(span, base), RUN_KEY: None, STEP_KEY: None})


def with_own(span: Span, base: Context, key: str, value: object) -> Context:
    """That context with a span, and what we know beside it."""
    context = trace.set_span_in_context(span, base)
    dict.__setitem__(context, key, value)  # one more copy would cost as much again; nobody else has it yet
    return context


def detach(token: Token[Context], attached: Context | None = None) -> None:
    """Restore the context from before.

    In another execution context than that of the attachment there is something to restore only where what was attached
    has come along: in an async generator whose pieces are taken by different tasks.
    """
    try:
        token.var.reset(token)
    except ValueError:
        if attached is not None and otel_context.get_current() is attached:
            before = token.old_value
            otel_context.attach(Context() if before is Token.MISSING else before)


def disown_span() -> None:
    """Know the current span by its ids alone, in a forked child that has a copy of its parent's.

    So the child neither writes into a span nor ends one that is going on in its parent.
    """
    context = otel_context.get_current()
    span = trace.get_current_span(context)
    if isinstance(span, NonRecordingSpan):
        return
    told = span.get_span_context()
    remote = SpanContext(told.trace_id, told.span_id, True, told.trace_flags, told.trace_state)
    otel_context.attach(trace.set_span_in_context(NonRecordingSpan(remote), context))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=disown_span)
