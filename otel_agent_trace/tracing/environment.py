"""What the environment of a process says of its parent: ``TRACEPARENT``, ``TRACESTATE`` and ``BAGGAGE``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN

from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.carriers import BAGGAGE, FIELDS, TRACEPARENT, TRACESTATE, RemoteContext, fields_of
from otel_agent_trace.tracing.contexts import RUN_KEY

VARIABLES = {name.upper(): name for name in FIELDS}
"""The variables, with the fields that they hold."""
_COMPLAINING = {TRACESTATE: "opentelemetry.trace.span", BAGGAGE: "opentelemetry.baggage.propagation"}
"""Who complains of a field that is broken."""
_SWITCH = "OTEL_AGENT_TRACE_PARENT"
_OFF = ("off", "0", "false", "no")


class ProcessParent:
    """The parent of what has no other in this process, if its environment names one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._context: RemoteContext | None = None
        if environ.get(_SWITCH, "").strip().lower() not in _OFF:
            self._context = guarded(Diagnostics(), "environment", _context_in, environ)
        renewed_in_children(self)

    def renew(self) -> None:
        """In a forked child the variables are those of the process that forked it, and say nothing of the child."""
        self._context = None

    def base(self) -> Context:
        """The current context, below the parent of the process where nobody has said yet what is above."""
        current = otel_context.get_current()
        if self._context is None or RUN_KEY in current or trace.get_current_span(current) is not INVALID_SPAN:
            return current
        context: Context = self._context.as_parent_context(current)
        for name, value in baggage.get_all(current).items():  # the program's own goes before
            context = baggage.set_baggage(name, value, context)
        return context


def _context_in(environ: Mapping[str, str]) -> RemoteContext | None:
    carrier = {field: environ[name] for name, field in VARIABLES.items() if environ.get(name)}
    if not carrier:
        return None
    fields = fields_of(carrier)
    broken = set(carrier) - set(fields)  # too long
    with _kept_back(broken):
        context = RemoteContext(fields)
    parent = trace.get_current_span(context).get_span_context()
    if TRACEPARENT in carrier and not parent.is_valid:
        broken.add(TRACEPARENT)
    elif TRACESTATE in carrier and parent.is_valid and not parent.trace_state:
        broken.add(TRACESTATE)
    for name, field in VARIABLES.items():
        if field in broken:
            Diagnostics().warn_once(field, "%s of the environment is no W3C %s; what is broken is ignored", name, field)
    return context


@contextmanager
def _kept_back(broken: set[str]) -> Iterator[None]:
    """Note as broken what OpenTelemetry complains of, a line for each entry, and keep these lines back."""

    def note(field: str, record: logging.LogRecord) -> bool:
        broken.add(field)
        return False

    notes = [(logging.getLogger(name), partial(note, field)) for field, name in _COMPLAINING.items()]
    for logger, filtered in notes:
        logger.addFilter(filtered)
    try:
        yield
    finally:
        for logger, filtered in notes:
            logger.removeFilter(filtered)


PROCESS_PARENT = ProcessParent(os.environ)
"""Read once, when the program starts."""
