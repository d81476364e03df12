"""Read contexts from carriers: the W3C fields, and one of our own, in headers, environments, messages and metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.policies.user_ids import is_pseudonym
from otel_agent_trace.tracing.contexts import (
    INHERITED,
    Blocks,
    Parent,
    current_context,
    with_replay_place,
    with_session,
    with_span,
)
from otel_agent_trace.tracing.memberships import MEMBERSHIP

TRACEPARENT, TRACESTATE, BAGGAGE, SESSION, REPLAY = FIELDS = (
    *("traceparent", "tracestate", "baggage"),
    *("agentsession", "agentreplay"),
)
"""Fields of W3C Trace Context and W3C Baggage, and ours with session and user of a run, and with its place in a replay; as
environment variables their names are in capitals. Ours are no baggage, which instrumentations send with every request of
the program."""

_MAX_CHARS = {TRACEPARENT: 512, TRACESTATE: 512, BAGGAGE: 8192, SESSION: 2048, REPLAY: 128}
"""Longest values that are read; longer ones are ignored."""
_MAX_ENTRIES = 10_000
_REQUEST_PREFIX = "http_"
_META = ("_meta", "meta")
_TRACE_CONTEXT = TraceContextTextMapPropagator()
_BAGGAGE = W3CBaggagePropagator()


def fields_of(carrier: object) -> dict[str, list[str]]:
    """Return the fields in a carrier, each with its values.

    A carrier is a mapping, an object with ``items()``, a list of pairs, or an object that has the fields as attributes;
    with names in any case, and with a text, bytes, or a list of those as values. In a request of CGI or WSGI only the
    headers are read, as its other variables are the server's own. Anything else has no fields.
    """
    found = _fields_in(_pairs(carrier)) or _fields_in(_pairs(_meta_of(carrier)))
    return {name: values for name, values in found.items() if sum(map(len, values)) <= _MAX_CHARS[name]}


def _pairs(carrier: object) -> list[tuple[str, Any]]:
    """Return the entries of a carrier, with names in lower case."""
    return [
        (_header_text(entry[0]).lower(), entry[1])
        for entry in islice(_entries(carrier), _MAX_ENTRIES)
        if len(entry) == 2
    ]


def _entries(carrier: object) -> Iterable[Any]:
    if isinstance(carrier, list | tuple):
        return [entry for entry in carrier if isinstance(entry, list | tuple)]
    items = None if isinstance(carrier, type) else getattr(carrier, "items", None)
    return items() if callable(items) else [(name, getattr(carrier, name, None)) for name in FIELDS]


def _meta_of(carrier: object) -> object:
    """Return the metadata of a message or its parameters, as in the Model Context Protocol."""
    if isinstance(carrier, Mapping):
        return next((carrier[name] for name in _META if name in carrier), None)
    return next((meta for name in _META if (meta := getattr(carrier, name, None)) is not None), None)


def _fields_in(pairs: list[tuple[str, Any]]) -> dict[str, list[str]]:
    prefix = _REQUEST_PREFIX if any(name == "request_method" for name, _ in pairs) else ""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        field = name.removeprefix(_REQUEST_PREFIX)
        if field in FIELDS and name.startswith(prefix):
            found.setdefault(field, []).extend(_header_texts(value))
    return {name: values for name, values in found.items() if values}


def _header_texts(value: object) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [_header_text(one) for one in values if isinstance(one, str | bytes)]


def _header_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def session_field(fields: Mapping[str, str | None]) -> str | None:
    """Return the value of `SESSION` for session and user, in the syntax of a query; None if there is nothing to send."""
    text = urlencode(_of_session(fields), errors="replace")
    return text if 0 < len(text) <= _MAX_CHARS[SESSION] else None


def _of_session(fields: Mapping[str, str | None]) -> dict[str, str]:
    """Return session and user, the latter only if it is a pseudonym: no plain user id leaves the process, or enters it."""
    session = {name: value for name in INHERITED if (value := fields.get(name))}
    if not is_pseudonym(session.get("user_id", "")):
        session.pop("user_id", None)
    return session


def _received_session(fields: Mapping[str, list[str]]) -> dict[str, str]:
    values = fields.get(SESSION, ())
    return _of_session(dict(parse_qsl(values[0]))) if len(values) == 1 and values[0].isascii() else {}


class RemoteContext(Context, Parent):
    """Represent the context of a remote caller, for a ``with`` block, sync or async, or as ``parent=``.

    It replaces the span, the run with its session and user, and the baggage of the current context; if the caller sent no
    span, there is none. An object may be used again, by several threads or tasks at once too.
    """

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        context = with_span(INVALID_SPAN, baggage.clear(Context()))
        if len(fields.get(TRACEPARENT, ())) == 1:  # W3C: with several, none is valid
            context = _TRACE_CONTEXT.extract(fields, context)
        context = with_session(_received_session(fields), _BAGGAGE.extract(fields, context))
        if fields.get(REPLAY):
            MEMBERSHIP.receive()
            context = with_replay_place(fields[REPLAY][0], context)
        super().__init__(context)
        self._fields = fields
        self._blocks = Blocks()

    def __copy__(self) -> RemoteContext:
        return self

    def __deepcopy__(self, memo: object) -> RemoteContext:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteContext, (self._fields,)

    def as_parent_context(self, base: Context) -> Context:
        """Return a context with the span, the run and the baggage of this one."""
        return Context({**base, **self})

    def __enter__(self) -> RemoteContext:
        current = current_context()
        self._blocks.enter(self.as_parent_context(current), current)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._blocks.leave()

    async def __aenter__(self) -> RemoteContext:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def parent_context(diagnostics: Diagnostics, parent: object, base: Context) -> Context | None:
    """Return the context of a parent: a context of OpenTelemetry as it is, anything else merged over `base`.

    For an object that cannot be a parent, return None, count it, and log one warning.
    """
    found = guarded(diagnostics, "parent", _as_context, parent, base)
    if found is None:
        diagnostics.count("parent ignored")
        diagnostics.warn_once(
            "parent ignored",
            "parent= must be a run or step that has started, the id of an open run, a context, a span, or a carrier; "
            "a %s was ignored, and the current context is used",
            type(parent).__name__,
        )
    return found


def _as_context(parent: Any, base: Context) -> Context | None:
    if isinstance(parent, Parent):
        return parent.as_parent_context(base)
    if isinstance(parent, Context):
        return parent
    if isinstance(parent, Span):
        return with_span(parent, base)
    if isinstance(parent, SpanContext):
        return with_span(NonRecordingSpan(parent), base)
    return RemoteContext(fields_of(parent)).as_parent_context(base) if isinstance(parent, Mapping) else None
