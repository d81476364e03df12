"""Read fields of clients' objects and of mappings alike, and put the pieces of a field together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.categories import category_of_type
from otel_agent_trace.messages import mapping_of
from otel_agent_trace.model import Message, StepError, Usage
from otel_agent_trace.signals import is_of_signal_handler


class ModelResult(msgspec.Struct, frozen=True):
    """Hold the facts of a result; None, or empty, for each that it does not have."""

    messages: tuple[Message, ...] = ()
    """Answers, one for each choice."""
    usage: Usage | None = None
    model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    provider: str | None = None
    error: StepError | None = None
    """Failure of the model that the API reports in a result or an event, and its client does not raise."""


def get(holder: Any, name: str) -> Any:
    """Return a field of a mapping or an object; None if it has none, or where looking it up raises."""
    try:
        kind = type(holder)
        if kind is dict or issubclass(kind, Mapping):  # the first check takes a tenth of the second one's time
            return holder.get(name)
        return getattr(holder, name, None)
    except BaseException as error:  # a property or a metaclass of the program's; it costs no other fact
        if is_of_signal_handler(error):
            raise
        return None


def get_text(holder: Any, name: str) -> str | None:
    """Return a field that is a text, members of text enumerations included; None for anything else."""
    value = get(holder, name)
    return str.__str__(value) if issubclass(type(value), str) else None


def items_of(value: Any) -> Iterable[Any]:
    """Return the items of a list or tuple, none for anything else."""
    return value if isinstance(value, list | tuple) else ()


def fields_of(holder: Any, *names: str) -> dict[str, Any]:
    """Return those fields that have a value; Azure's first chunk has an empty id and model."""
    read = holder.get if type(holder) is dict else partial(get, holder)  # chunks are many
    found = {}
    for name in names:
        value = read(name)
        if value is not None and value != "":
            found[name] = value
    return found


def as_dict(value: Any) -> dict[str, Any]:
    """Return a copy of a mapping or of an object's fields as a dict; an empty one for anything else."""
    data = mapping_of(value)
    return dict(data if isinstance(data, Mapping) else getattr(value, "__dict__", {}))


def error_of(holder: Any) -> StepError | None:
    """Return the error in the field ``error``: a text, or an object with a message, a code or a type; None for none."""
    error = get(holder, "error")
    if error is None:
        return None
    status = get(error, "code")  # of OpenRouter, that of HTTP
    kind = str(status) if type(status) is int else get_text(error, "code") or get_text(error, "type")
    message = get_text(holder, "error") or get_text(error, "message")
    if not (kind or message):
        return None
    kind = kind or semconv.ERROR_TYPE_OTHER
    return StepError(type=kind, message=message or "", category=category_of_type(kind))


def append(whole: dict[str, Any], name: str, piece: Any) -> None:
    """Append a piece to a text; a piece that is no text, as arguments that came whole, replaces it."""
    if isinstance(piece, str):
        before = whole.get(name)
        whole[name] = before + piece if isinstance(before, str) else piece
    elif piece is not None:
        whole[name] = piece


def add_counts(whole: dict[str, Any], usage: Any) -> None:
    """Add token counts that are totals so far: of each, the largest is kept."""
    for name, count in as_dict(usage).items():
        before = whole.get(name)
        if count is not None and not (type(before) is type(count) is int and before > count):
            whole[name] = count
