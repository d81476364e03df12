"""Mask what a `Redactor` finds in one attribute: in its name, its value, and the bytes in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.policies.encoded_bytes import has_bytes, masked_bytes, with_masked_bytes
from otel_agent_trace.policies.rewriting import Attributes, container_in
from otel_agent_trace.redaction.redactor import Redactor
from otel_agent_trace.values import encode_string

KNOWN_NAMES = frozenset(name for name in vars(semconv).values() if type(name) is str and "." in name).union(
    semconv.USAGE.values()
)
"""Names of attributes in which nothing has to be looked for."""
NUMBERS = frozenset((int, float, bool, type(None)))

BytesMask = Callable[[Any, Callable[[Any], Any]], Any]


def bytes_mask(attributes: Attributes, *, is_log: bool) -> BytesMask | None:
    """Return what masks the bytes in values; None if there are none. Log records have no types by which to know."""
    if is_log:
        return masked_bytes
    return with_masked_bytes if has_bytes(attributes) else None


def masked_attribute(redactor: Redactor, name: str, value: Any, in_bytes: BytesMask | None = None) -> tuple[str, Any]:
    """Return the name and the value of an attribute with masks, the same objects where there are none."""
    if name in LISTS and type(value) is str:
        return name, _with_each_masked(redactor, value, in_bytes)
    text = name if type(name) is str else encode_string(name).text
    masked_name = text if text in KNOWN_NAMES else redactor.masked_text(text)
    new_name = name if masked_name is text else masked_name
    if in_bytes is not None:
        value = in_bytes(value, redactor)  # before a mask breaks up their base64
    if type(value) is str:
        return new_name, redactor.masked_text(value, text)
    if type(value) in NUMBERS and type(value) is not int:
        return new_name, value
    masked = redactor({text: value})
    return new_name, next(iter(masked.values())) if type(masked) is dict else masked


# ── lists of places and of types ─────────────────────────────────────────────────────────────────────────────────────


LISTS = frozenset((semconv.REDACTED, semconv.TYPES))
"""Names of attributes of ours in which texts stand under names without being the values of these."""


def _with_each_masked(redactor: Redactor, text: str, in_bytes: BytesMask | None) -> str:
    """Return JSON with masks in its texts, each of which is looked at by itself."""
    mask = functools.partial(_each_masked, redactor)
    if in_bytes is not None:
        text = in_bytes(text, mask)
    data = container_in(text)
    if data is None:
        return redactor.masked_text(text)
    masked = mask(data)
    return text if masked is data else msgspec.json.encode(masked).decode()


def _each_masked(redactor: Redactor, data: Any) -> Any:
    if type(data) is str:
        return redactor.masked_text(data)
    masked = data
    if type(data) is list:
        masked = [_each_masked(redactor, item) for item in data]
    elif type(data) is dict:
        masked = {redactor.masked_text(key): _each_masked(redactor, item) for key, item in data.items()}
    return data if masked == data else masked
