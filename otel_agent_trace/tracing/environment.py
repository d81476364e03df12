"""Read the parent of a process from its environment: ``TRACEPARENT``, ``TRACESTATE``, ``BAGGAGE``, ``AGENTSESSION``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN

from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.carriers import (
    BAGGAGE,
    FIELDS,
    REPLAY,
    SESSION,
    TRACEPARENT,
    TRACESTATE,
    RemoteContext,
    fields_of,
)
from otel_agent_trace.tracing.contexts import RUN_KEY

VARIABLES = {name.upper(): name for name in FIELDS}
"""Field by name of its variable."""
_PARSER_LOGGERS = {TRACESTATE: "opentelemetry.trace.span", BAGGAGE: "opentelemetry.baggage.propagation"}
"""Loggers of OpenTelemetry that warn of a malformed field."""
_SWITCH = "OTEL_AGENT_TRACE_PARENT"
_OFF = ("off", "0", "false", "no")


class ProcessParent:
    """Provide the parent of spans that have no other in this process, if the environment names one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._context: RemoteContext | None = None
        if environ.get(_SWITCH, "").strip().lower() not in _OFF:
            self._context = guarded(Diagnostics(), "environment", _context_in, environ)
        renewed_in_children(self)

    def renew(self) -> None:
        """Forget the parent, in a forked child: its environment is that of the process that forked it."""
        self._context = None

    def base(self, current: Context) -> Context:
        """Return the current context, with the parent of the process if it has no span yet."""
        if self._context is None or RUN_KEY in current or trace.get_current_span(current) is not INVALID_SPAN:
            return current
        context: Context = self._context.as_parent_context(current)
        for name, value in baggage.get_all(current).items():  # baggage of the program takes precedence
            context = baggage.set_baggage(name, value, context)
        return context


def _context_in(environ: Mapping[str, str]) -> RemoteContext | None:
    carrier = {field: environ[name] for name, field in VARIABLES.items() if environ.get(name)}
    if not carrier:
        return None
    fields = fields_of(carrier)
    broken = set(carrier) - set(fields) - {SESSION, REPLAY}  # too long
    with _filtered_warnings(broken):
        context = RemoteContext(fields)
    parent = trace.get_current_span(context).get_span_context()
    if TRACEPARENT in carrier and not parent.is_valid:
        broken.add(TRACEPARENT)
    elif TRACESTATE in carrier and parent.is_valid and not parent.trace_state:
        broken.add(TRACESTATE)
    for name, field in VARIABLES.items():
        if field in broken:
            Diagnostics().warn_once(
                field, "%s of the environment is not a valid W3C %s; invalid parts are ignored", name, field
            )
    return context


@contextmanager
def _filtered_warnings(broken: set[str]) -> Iterator[None]:
    """Collect the fields that OpenTelemetry warns of, and drop its warnings, which are one for each entry."""

    def note(field: str, record: logging.LogRecord) -> bool:
        broken.add(field)
        return False

    filters = [(logging.getLogger(name), partial(note, field)) for field, name in _PARSER_LOGGERS.items()]
    for logger, drop in filters:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger, drop in filters:
            logger.removeFilter(drop)


PROCESS_PARENT = ProcessParent(os.environ)
"""Parent of this process, read once at import."""
