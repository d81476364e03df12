"""What callers give, in the form in which it is recorded: texts as texts, metadata as a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_agent_trace.guard import Ledger, guarded
from otel_agent_trace.values import encode_string


def text_of(value: object) -> str:
    """A text as it is (of an enum of texts the value), anything else as the text that `str` makes of it; never raises."""
    if type(value) is str:
        return value
    return str.__str__(value) if issubclass(type(value), str) else encode_string(value).text


def metadata_of(ledger: Ledger, value: object) -> dict[Any, Any]:
    """A copy of a mapping; anything else under the key ``metadata``; never raises."""
    if value is None:
        return {}
    return guarded(ledger, "metadata", _mapping, value) or {}


def _mapping(value: object) -> dict[Any, Any]:
    return dict(value) if isinstance(value, Mapping) else {"metadata": value}
