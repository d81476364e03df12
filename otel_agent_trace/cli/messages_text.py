"""The messages of a model step as text for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otel_agent_trace.cli.values_text import compact
from otel_agent_trace.model import Message


def message_text(message: Message) -> str:
    """What a message says, part after part, not yet escaped."""
    return "\n".join(filter(None, map(_part_text, message.parts))) or "(nothing)"


def _part_text(part: Mapping[str, Any]) -> str:
    write = _WRITERS.get(part.get("type"))
    return write(part) if write is not None else f"[{compact(dict(part))}]"


def _said(value: Any) -> str:
    return value.strip("\n") if isinstance(value, str) else compact(value)


def _call(part: Mapping[str, Any]) -> str:
    arguments = part.get("arguments")
    return f"→ {part.get('name')}({'' if arguments in (None, {}) else _said(arguments)})"


_WRITERS: dict[Any, Callable[[Mapping[str, Any]], str]] = {
    "text": lambda part: _said(part.get("content", "")),
    "reasoning": lambda part: f"(thinks) {_said(part.get('content', ''))}",
    "tool_call": _call,
    "tool_call_response": lambda part: f"← {_said(part.get('response', part.get('result')))}",
    "blob": lambda part: f"[{part.get('mime_type') or part.get('modality') or 'data'}]",
    "file": lambda part: f"[file {part.get('file_id') or ''}]",
    "uri": lambda part: f"[{part.get('uri')}]",
}
