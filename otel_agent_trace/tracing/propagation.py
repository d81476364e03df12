"""Propagate contexts across processes: through carriers, and through the environment of a child process."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeVar, overload

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.carriers import (
    FIELDS,
    REPLAY,
    SESSION,
    RemoteContext,
    fields_of,
    parent_context,
    session_field,
)
from otel_agent_trace.tracing.contexts import INHERITED, current_context, session_in
from otel_agent_trace.tracing.current import run_in
from otel_agent_trace.tracing.environment import PROCESS_PARENT, VARIABLES
from otel_agent_trace.tracing.interception import INSTALLED
from otel_agent_trace.tracing.memberships import REPLAY_VARIABLE

C = TypeVar("C", bound=MutableMapping[str, Any])
_WRITERS = (TraceContextTextMapPropagator().inject, W3CBaggagePropagator().inject)
_DIAGNOSTICS = Diagnostics()  # for functions that are not methods of a tracer


@overload
def inject(carrier: None = None, *, context: Any = None) -> dict[str, str]: ...
@overload
def inject(carrier: C, *, context: Any = None) -> C: ...
def inject(carrier: Any = None, *, context: Any = None) -> Any:
    """Write the current context to a carrier, as the W3C fields ``traceparent``, ``tracestate`` and ``baggage``.

    The session of the current run, and its user if that is a pseudonym, are written as ``agentsession``.

    Args:
        carrier: a mapping such as the headers of a request; by default a new dict. Fields of another context in it are
            replaced.
        context: another context than the current one: anything that `parent=` accepts.

    Returns:
        The carrier.
    """
    return injected(_DIAGNOSTICS, carrier, context)


def extract(carrier: object) -> RemoteContext:
    """Return the context in a carrier, for a ``with`` block or as `parent=`.

    Malformed fields, and those that are too long, are ignored; without any field, spans that start in the context have no
    parent.

    Args:
        carrier: headers or another mapping, with names in any case; a list of pairs, as in ASGI; the environ of WSGI; an
            object with the fields as attributes, as the metadata of MCP; or None.
    """
    return extracted(_DIAGNOSTICS, carrier)


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child process, whose runs and steps are children of the current span.

    Args:
        environ: the environment to extend, by default that of this process; variables of a context in it are replaced.
    """
    kept = {
        name: value for name, value in (os.environ if environ is None else environ).items() if name not in VARIABLES
    }
    carrier = inject()
    replay = {name: value for name, value in os.environ.items() if name == REPLAY_VARIABLE}
    return {**kept, **replay, **{name: carrier[field] for name, field in VARIABLES.items() if field in carrier}}


def injected(diagnostics: Diagnostics, carrier: Any, context: Any) -> Any:
    """Return the carrier, or a new one, with the fields of a context; see `inject`."""
    known = None if context is None else parent_context(diagnostics, context, current_context())
    written = PROCESS_PARENT.base(current_context()) if known is None else known
    fields: dict[str, str] = {}
    for write in (*_WRITERS, _write_session, _write_place):
        guarded(diagnostics, "inject", write, fields, written)
    if carrier is None:
        return fields
    guarded(diagnostics, "inject", _clear, carrier)
    guarded(diagnostics, "inject", _fill, carrier, fields)
    return carrier


def _write_session(fields: dict[str, str], context: Context) -> None:
    """Write session and user of the run in a context, or of the one that another process sent."""
    run = run_in(context)
    field = session_field(session_in(context) if run is None else {name: run.fact(name) for name in INHERITED})
    if field is not None:
        fields[SESSION] = field


def _write_place(fields: dict[str, str], context: Context) -> None:
    """Write the place of a context in the replay that is in progress, or that it belongs to."""
    place = None if INSTALLED.interceptor is None else INSTALLED.carried(context)
    if place is not None:
        fields[REPLAY] = place


def _clear(carrier: MutableMapping[Any, Any]) -> None:
    """Remove the fields: headers may be reused, for a request of another run or of none."""
    names = carrier.keys() if hasattr(carrier, "keys") else ()  # a carrier may be write-only
    for name in [name for name in names if isinstance(name, str) and name.lower() in FIELDS]:
        del carrier[name]


def _fill(carrier: MutableMapping[Any, Any], fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        carrier[name] = value


def extracted(diagnostics: Diagnostics, carrier: object) -> RemoteContext:
    """Return the context in a carrier; see `extract`."""
    fields = None if carrier is None else guarded(diagnostics, "extract", fields_of, carrier)
    return guarded(diagnostics, "extract", RemoteContext, fields or {}) or RemoteContext({})
