"""Any recorded value as text for people: escaped, laid out in lines, and no longer than asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from otel_agent_trace.cli.escape import escaped
from otel_agent_trace.values import Opaque, Truncated, encode

_ONE_LINE_CHARS = 76
_ELLIPSIS = "…"


class Bounds(NamedTuple):
    """How much of a value is shown."""

    lines: int
    chars: int


SHORT = Bounds(lines=10, chars=800)
WHOLE = Bounds(lines=2**62, chars=2**62)


def value_text(value: Any, bounds: Bounds) -> str:
    """The value over as many lines as it needs, within the bounds: text as it is, the rest as JSON."""
    return bounded(escaped("\n".join(_lines(value))), bounds)


def bounded(text: str, bounds: Bounds) -> str:
    """The beginning of a text, and how much of it was left out."""
    lines = text.expandtabs(4).rstrip().split("\n")
    kept = "\n".join(lines[: bounds.lines])
    if len(kept) > bounds.chars:
        return f"{kept[: bounds.chars].rstrip()}{_ELLIPSIS} ({len(text) - bounds.chars:,} more characters)"
    missing = len(lines) - bounds.lines
    return kept if missing <= 0 else f"{kept}\n{_ELLIPSIS} ({missing:,} more {'line' if missing == 1 else 'lines'})"


def shortened(value: Any, chars: int) -> str:
    """The beginning of a value on one line."""
    text = _said_alone(value)
    line = escaped(" ".join(text[: 8 * chars].split()))
    return line if len(line) <= chars else line[: chars - 1].rstrip() + _ELLIPSIS


def compact(value: Any) -> str:
    """The value as one line of JSON, not yet escaped."""
    return json.dumps(encode(value).data, ensure_ascii=False)


def _said_alone(value: Any) -> str:
    """A text, also where it is all that a dictionary holds."""
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return "" if value is None else value if isinstance(value, str) else compact(value)


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Truncated):
        value = value.kept
    if isinstance(value, Opaque):
        yield f"<{value.type_name}>"
        value = value.data
    if isinstance(value, str):
        yield from value.replace("\r\n", "\n").split("\n")
        return
    line = compact(value)
    if len(line) <= _ONE_LINE_CHARS:
        yield line
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(f"{key if isinstance(key, str) else compact(key)}:", item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _entry("-", item)
    else:
        yield line


def _entry(mark: str, item: Any) -> Iterator[str]:
    """One item behind its mark; a text of several lines under it."""
    if isinstance(item, str) and "\n" in item.strip():
        yield mark
        yield from (f"  {line}" for line in item.strip().replace("\r\n", "\n").split("\n"))
    else:
        yield f"{mark} {item.strip() if isinstance(item, str) else compact(item)}"
