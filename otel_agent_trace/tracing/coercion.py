"""What callers give, in the form in which it is recorded: texts as texts, metadata as a mapping."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.mapping.facts import GIVEN
from otel_agent_trace.values import encode_string

RUN_FIELDS = GIVEN
"""What `AgentTracer.start_run` takes beside metadata."""
_COLLECTIONS = (list, tuple, set, frozenset)


def text_of(value: object) -> str:
    """A text as it is (of an enum of texts the value), anything else as the text that `str` makes of it; never raises."""
    if type(value) is str:
        return value
    return str.__str__(value) if issubclass(type(value), str) else encode_string(value).text


def texts_of(value: object) -> tuple[str, ...]:
    """Return the items of a collection as texts, anything else as the only one; an iterator is not consumed."""
    return tuple(map(text_of, value)) if isinstance(value, _COLLECTIONS) else (text_of(value),)


def given_fields(diagnostics: Diagnostics, fields: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """Both together; of a mapping whose methods raise nothing."""
    if isinstance(fields, Mapping):
        fields = guarded(diagnostics, "fields", dict, fields)
    return {**({} if fields is None else fields), **more}


def metadata_of(diagnostics: Diagnostics, value: object) -> dict[Any, Any]:
    """A copy of a mapping; anything else under the key ``metadata``; never raises."""
    if value is None:
        return {}
    return guarded(diagnostics, "metadata", _mapping, value) or {}


def metadata_among(diagnostics: Diagnostics, fields: Mapping[Any, Any], known: Collection[str]) -> dict[Any, Any]:
    """The metadata that fields hold: what stands under that key, and whatever has a key that is not known."""
    unknown = {key: value for key, value in fields.items() if key not in known}
    return {**metadata_of(diagnostics, fields.get("metadata")), **unknown}


def _mapping(value: object) -> dict[Any, Any]:
    return dict(value) if isinstance(value, Mapping) else {"metadata": value}
