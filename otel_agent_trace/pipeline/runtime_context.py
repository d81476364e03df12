"""Call the runtime context of OpenTelemetry, perhaps another package's (``OTEL_PYTHON_CONTEXT``) that raises anything.

What it raises is counted and logged once. `opentelemetry.context.detach` is not called: it logs a traceback each time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from otel_agent_trace.guard import Diagnostics, guarded

_DIAGNOSTICS = Diagnostics()


def get_current() -> Context:
    """Return the current context, an empty one if the runtime context raises."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    if type(runtime) is ContextVarsRuntimeContext:  # the usual one, without the rest: this runs once a span
        return runtime.get_current()
    context = guarded(_DIAGNOSTICS, "the current context", otel_context.get_current)
    return Context() if context is None else context


def attach(context: Context) -> Any:
    """Make a context current, and return the token of the runtime context; None if that raises."""
    return guarded(_DIAGNOSTICS, "attaching a context", otel_context.attach, context)


def detach(token: Any) -> None:
    """Restore what was current before the context with a token."""
    guarded(_DIAGNOSTICS, "detaching a context", _detach, token)


def call_in(context: Context, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of ours while a context is current, and return its result.

    It is called in a copy of the context variables, which Python leaves whatever is raised, and wherever: an exception
    of another thread may arrive when the context has been attached, and nobody can detach it yet.
    """
    return copy_context().run(_attached_call, context, call, arguments)


def _attached_call(context: Context, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    token = attach(context)
    try:
        return call(*arguments)
    finally:
        detach(token)


def _detach(token: Any) -> None:
    otel_context._RUNTIME_CONTEXT.detach(token)  # noqa: SLF001 - the public function logs what it raises
