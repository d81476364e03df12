"""Convert the arguments of callers to the form in which they are recorded: names as texts, metadata as a mapping."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.mapping.facts import GIVEN
from otel_agent_trace.types import StepFields
from otel_agent_trace.values import encode_string

RUN_FIELDS = GIVEN
"""Fields of a run that a caller passes; all other keys of a mapping are metadata."""
STEP_FIELDS = frozenset(StepFields.__annotations__)
"""Fields of a logged step that a caller passes; all other keys of a mapping are metadata."""
_COLLECTIONS = (list, tuple, set, frozenset)
_SHOWN_CHARS = 80
_TEXT_FIELDS = ("model", "agent_name", "session_id", "run_id", "prompt_name", "prompt_version")


def text_of(value: object) -> str:
    """Return a text as it is, the value of a member of a `str` enum, or the result of `str`; never raises."""
    if type(value) is str:
        return value
    return str.__str__(value) if issubclass(type(value), str) else encode_string(value).text


def merged_fields(
    diagnostics: Diagnostics, call: str, fields: Mapping[str, Any] | None, keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields of a mapping, overridden by the keywords that are not None; all keywords if it is None.

    A mapping whose methods raise counts as empty.

    Args:
        diagnostics: counts what fails.
        call: an example of the call for the error message: ``run(user_input=...)``.
        fields: the mapping.
        keywords: the keywords by name, with None for those that were not passed.

    Raises:
        TypeError: `fields` is not a mapping.
    """
    if fields is None:
        return {**keywords}
    given = {name: value for name, value in keywords.items() if value is not None}
    if not isinstance(fields, Mapping):
        shown = encode_string(repr(fields)).text if isinstance(fields, str) else type(fields).__name__
        raise TypeError(f"fields must be keywords or a mapping, not {shown[:_SHOWN_CHARS]}: write {call}")
    return {**(guarded(diagnostics, "fields", dict, fields) or {}), **given}


def run_fields(
    diagnostics: Diagnostics, given: Mapping[str, Any], bound: Mapping[str, Any], agent_name: str | None
) -> dict[str, Any]:
    """Return the fields of a run: those passed, else those bound; unknown keys are metadata, and names are texts."""
    merged = {**bound, **{key: value for key, value in given.items() if value is not None}}
    fields = {key: merged[key] for key in RUN_FIELDS if merged.get(key) is not None}
    fields["metadata"] = {**bound.get("metadata", {}), **metadata_among(diagnostics, given, RUN_FIELDS)} or None
    for name in _TEXT_FIELDS:
        if name in fields:
            fields[name] = text_of(fields[name])
    if "tags" in fields:
        fields["tags"] = guarded(diagnostics, "tags", texts_of, fields["tags"])
    fields.setdefault("agent_name", agent_name)
    return fields


def texts_of(value: object) -> tuple[str, ...]:
    """Return the items of a collection as texts, or anything else as a single one; an iterator is not consumed."""
    return tuple(map(text_of, value)) if isinstance(value, _COLLECTIONS) else (text_of(value),)


def metadata_of(diagnostics: Diagnostics, value: object) -> dict[Any, Any]:
    """Return a copy of a mapping; anything else under the key ``metadata``; never raises."""
    if value is None:
        return {}
    return guarded(diagnostics, "metadata", _mapping, value) or {}


def metadata_among(diagnostics: Diagnostics, fields: Mapping[Any, Any], known: Collection[str]) -> dict[Any, Any]:
    """Return the metadata in fields: that under the key ``metadata``, and the fields that are not known."""
    unknown = {key: value for key, value in fields.items() if key not in known}
    return {**metadata_of(diagnostics, fields.get("metadata")), **unknown}


def _mapping(value: object) -> dict[Any, Any]:
    return dict(value) if isinstance(value, Mapping) else {"metadata": value}
