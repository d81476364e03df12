"""What of a carrier says where a trace comes from: W3C's fields in headers, environments, messages and metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

TRACEPARENT, TRACESTATE, BAGGAGE = FIELDS = ("traceparent", "tracestate", "baggage")
"""The fields of W3C Trace Context and W3C Baggage; in an environment they are written in capitals."""

_MOST_CHARS = {TRACEPARENT: 512, TRACESTATE: 512, BAGGAGE: 8192}
"""Longer ones are ignored."""
_MOST_ENTRIES = 10_000
_REQUEST_PREFIX = "http_"
_META = ("_meta", "meta")


def fields_of(carrier: object) -> dict[str, list[str]]:
    """The fields that a carrier holds, each with its values.

    Takes mappings, whatever has ``items()``, lists of pairs, and objects that have the fields as attributes; names in any
    case; texts or bytes, one or a list of them. In a request of CGI or WSGI only its headers count: its other variables
    are the server's own. Whatever is none of these holds no fields.
    """
    found = _fields_in(_pairs(carrier)) or _fields_in(_pairs(_meta_of(carrier)))
    return {name: values for name, values in found.items() if sum(map(len, values)) <= _MOST_CHARS[name]}


def _pairs(carrier: object) -> list[tuple[str, Any]]:
    """Names in lower case, with what stands there."""
    return [
        (_text(entry[0]).lower(), entry[1]) for entry in islice(_entries(carrier), _MOST_ENTRIES) if len(entry) == 2
    ]


def _entries(carrier: object) -> Iterable[Any]:
    if isinstance(carrier, list | tuple):
        return [entry for entry in carrier if isinstance(entry, list | tuple)]
    items = None if isinstance(carrier, type) else getattr(carrier, "items", None)
    return items() if callable(items) else [(name, getattr(carrier, name, None)) for name in FIELDS]


def _meta_of(carrier: object) -> object:
    """The metadata of a message or its parameters, as in the Model Context Protocol."""
    if isinstance(carrier, Mapping):
        return next((carrier[name] for name in _META if name in carrier), None)
    return next((meta for name in _META if (meta := getattr(carrier, name, None)) is not None), None)


def _fields_in(pairs: list[tuple[str, Any]]) -> dict[str, list[str]]:
    prefix = _REQUEST_PREFIX if any(name == "request_method" for name, _ in pairs) else ""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        field = name.removeprefix(_REQUEST_PREFIX)
        if field in FIELDS and name.startswith(prefix):
            found.setdefault(field, []).extend(_texts(value))
    return {name: values for name, values in found.items() if values}


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [_text(one) for one in values if isinstance(one, str | bytes)]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""
