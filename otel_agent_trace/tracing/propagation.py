"""Contexts across processes: into a carrier and out of it, and into the environment of a child."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeVar, overload

from opentelemetry import context as otel_context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.carriers import FIELDS, RemoteContext, fields_of, parent_context
from otel_agent_trace.tracing.environment import PROCESS_PARENT, VARIABLES

C = TypeVar("C", bound=MutableMapping[str, Any])
_PROPAGATORS = (TraceContextTextMapPropagator(), W3CBaggagePropagator())
_DIAGNOSTICS = Diagnostics()  # of what belongs to no tracer


@overload
def inject(carrier: None = None, *, context: Any = None) -> dict[str, str]: ...
@overload
def inject(carrier: C, *, context: Any = None) -> C: ...
def inject(carrier: Any = None, *, context: Any = None) -> Any:
    """Put the current context into a carrier: ``traceparent``, ``tracestate`` and ``baggage`` of the W3C.

    Args:
        carrier: a mapping such as the headers of a request; by default a new dict. Such fields of another context in it
            are replaced.
        context: another context than the current one: whatever `parent=` takes.
    """
    return injected(_DIAGNOSTICS, carrier, context)


def extract(carrier: object) -> RemoteContext:
    """The context that a carrier holds, for a ``with`` block or as `parent=`.

    Takes headers and other mappings, with names in any case, lists of pairs as in ASGI, the environ of WSGI, objects
    with such attributes as the metadata of MCP, or None. What is malformed or too long is ignored; where nothing is left,
    what starts in it has no parent.
    """
    return extracted(_DIAGNOSTICS, carrier)


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child process whose runs and steps shall stand below the current span.

    Args:
        environ: the environment to begin with, by default that of this process; variables of another context in it are
            left out.
    """
    kept = {
        name: value for name, value in (os.environ if environ is None else environ).items() if name not in VARIABLES
    }
    carrier = inject()
    return {**kept, **{name: carrier[field] for name, field in VARIABLES.items() if field in carrier}}


def injected(diagnostics: Diagnostics, carrier: Any, context: Any) -> Any:
    """The carrier, or a new one, with the fields of a context; see `inject`."""
    known = None if context is None else parent_context(diagnostics, context, otel_context.get_current())
    fields: dict[str, str] = {}
    for propagator in _PROPAGATORS:
        guarded(diagnostics, "inject", propagator.inject, fields, PROCESS_PARENT.base() if known is None else known)
    if carrier is None:
        return fields
    guarded(diagnostics, "inject", _clear, carrier)
    guarded(diagnostics, "inject", _fill, carrier, fields)
    return carrier


def _clear(carrier: MutableMapping[Any, Any]) -> None:
    """Headers may be used again, for a request of another run or of none."""
    names = carrier.keys() if hasattr(carrier, "keys") else ()  # a carrier need not be more than written to
    for name in [name for name in names if isinstance(name, str) and name.lower() in FIELDS]:
        del carrier[name]


def _fill(carrier: MutableMapping[Any, Any], fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        carrier[name] = value


def extracted(diagnostics: Diagnostics, carrier: object) -> RemoteContext:
    """The context that a carrier holds; see `extract`."""
    fields = None if carrier is None else guarded(diagnostics, "extract", fields_of, carrier)
    return guarded(diagnostics, "extract", RemoteContext, fields or {}) or RemoteContext({})
