"""`parent=`: what a run or a step is put below, in whatever form the caller has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.carriers import fields_of
from otel_agent_trace.tracing.contexts import Parent, with_span
from otel_agent_trace.tracing.remote import RemoteContext


def parent_context(diagnostics: Diagnostics, parent: object, base: Context) -> Context | None:
    """The context below that parent, a context of OpenTelemetry as it is, anything else over `base`.

    None, counted and said once, for what is no parent.
    """
    found = guarded(diagnostics, "parent", _over, parent, base)
    if found is None:
        diagnostics.count("parent ignored")
        diagnostics.warn_once(
            "parent ignored",
            "parent= takes a handle that has started, the id of an open run, a context, a span, or a carrier; "
            "a %s was ignored, and the current context used",
            type(parent).__name__,
        )
    return found


def _over(parent: Any, base: Context) -> Context | None:
    if isinstance(parent, Parent):
        return parent.over(base)
    if isinstance(parent, Context):
        return parent
    if isinstance(parent, Span):
        return with_span(parent, base)
    if isinstance(parent, SpanContext):
        return with_span(NonRecordingSpan(parent), base)
    return RemoteContext(fields_of(parent)).over(base) if isinstance(parent, Mapping) else None
