"""Format recorded values and messages as text for people, in lines and within bounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from otel_agent_trace.media import MEDIA_TYPES, media_part
from otel_agent_trace.model import Message
from otel_agent_trace.values import Opaque, Truncated, encode

_ONE_LINE_CHARS = 76
_ELLIPSIS = "…"
_BLANKS = " \n"  # tabs are expanded before; other white space is content, and is shown when it is escaped


class Bounds(NamedTuple):
    """Hold how many lines and characters of a value are shown."""

    lines: int
    chars: int


SHORT = Bounds(lines=10, chars=800)
WHOLE = Bounds(lines=2**62, chars=2**62)


def value_text(value: Any, bounds: Bounds) -> str:
    """Return a value as lines within the bounds: a text as it is, anything else as JSON, one item a line if it is long."""
    return bounded("\n".join(_value_lines(value)), bounds)


def message_text(message: Message) -> str:
    """Return the parts of a message, each on lines of its own."""
    return _parts_text(message.parts) or "(nothing)"


def bounded(text: str, bounds: Bounds) -> str:
    """Return a text within the bounds; one that was cut ends with how much is left out."""
    lines = text.expandtabs(4).rstrip(_BLANKS).split("\n")
    kept = "\n".join(lines[: bounds.lines])
    if len(kept) > bounds.chars:
        return f"{kept[: bounds.chars].rstrip(_BLANKS)}{_ELLIPSIS} ({len(text) - bounds.chars:,} more characters)"
    missing = len(lines) - bounds.lines
    return kept if missing <= 0 else f"{kept}\n{_ELLIPSIS} ({missing:,} more {'line' if missing == 1 else 'lines'})"


def shortened(value: Any, chars: int) -> str:
    """Return the beginning of a value on one line, of at most `chars` characters."""
    line = one_line(plain_text(value)[: 8 * chars])
    return line if len(line) <= chars else line[: chars - 1].rstrip() + _ELLIPSIS


def one_line(text: str) -> str:
    """Return the text with one blank in place of each run of white space."""
    return " ".join(text.split())


def shared_length(one: str, other: str) -> int:
    """Return the number of characters with which both texts begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def compact(value: Any) -> str:
    """Return the value as one line of JSON, with a label in place of each picture or file in it."""
    return json.dumps(_labelled(encode(value).data), ensure_ascii=False)


def _labelled(data: Any) -> Any:
    if isinstance(data, dict):
        label = _media_label(data)
        return {key: _labelled(item) for key, item in data.items()} if label is None else label
    return [_labelled(item) for item in data] if isinstance(data, list) else data


def plain_text(value: Any) -> str:
    """Return a text, also one that is the only value of a dictionary, as it is, and anything else as JSON."""
    if isinstance(value, Truncated):
        value = value.kept
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    elif _is_content(value):
        value = _parts_text(value)
    return "" if value is None else value if isinstance(value, str) else compact(value)


def _value_lines(value: Any) -> Iterator[str]:
    if isinstance(value, Truncated):
        value = value.kept
    if isinstance(value, Opaque):
        yield f"<{value.type_name}>"
        value = value.data
    if _is_content(value):
        value = _parts_text(value)
    if isinstance(value, str):
        yield from value.replace("\r\n", "\n").split("\n")
        return
    line = compact(value)
    if len(line) <= _ONE_LINE_CHARS:
        yield line
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _item_lines(f"{key if isinstance(key, str) else compact(key)}:", item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _item_lines("-", item)
    else:
        yield line


def _item_lines(mark: str, item: Any) -> Iterator[str]:
    """Yield one item after its mark; a text of several lines below the mark, indented."""
    if isinstance(item, str) and "\n" in item.strip():
        yield mark
        yield from (f"  {line}" for line in item.strip().replace("\r\n", "\n").split("\n"))
    else:
        yield f"{mark} {item.strip() if isinstance(item, str) else compact(item)}"


def _is_content(value: Any) -> bool:
    """Return whether a value is what a message may hold: texts, and at least one picture or file."""
    if not isinstance(value, list | tuple) or not all(isinstance(part, dict) for part in value):
        return False
    kinds = {part.get("type") for part in value if isinstance(part.get("type"), str)}
    return not kinds.isdisjoint(MEDIA_TYPES) and kinds <= {"text", *MEDIA_TYPES} and len(value) > 0


def _parts_text(parts: Iterable[Mapping[str, Any]]) -> str:
    return "\n".join(filter(None, map(_part_text, parts)))


def _part_text(part: Mapping[str, Any]) -> str:
    label = _media_label(part)
    if label is not None:
        return label
    kind = part.get("type")
    write = _PART_WRITERS.get(kind) if isinstance(kind, str) else None
    return write(part) if write is not None else f"[{compact(dict(part))}]"


def _content_text(value: Any) -> str:
    value = value.kept if isinstance(value, Truncated) else value
    return value.strip("\n") if isinstance(value, str) else compact(value)


def _tool_call_text(part: Mapping[str, Any]) -> str:
    arguments = part.get("arguments")
    return f"→ {part.get('name')}({'' if arguments in (None, {}) else _content_text(arguments)})"


_PART_WRITERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "text": lambda part: _content_text(part.get("content", "")),
    "reasoning": lambda part: f"(thinks) {_content_text(part.get('content', ''))}",
    "tool_call": _tool_call_text,
    "tool_call_response": lambda part: f"← {_content_text(part.get('response', part.get('result')))}",
}


# ── media ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _media_label(part: Mapping[str, Any]) -> str | None:
    """Return the name of a picture, sound or file in a message, never its content; None for any other part."""
    media = media_part(part)
    if media is None:
        return None
    name = media.get("mime_type") or media.get("modality") or "data"
    if media["type"] == "blob":
        size = media.get("size")
        return f"[{name}]" if size is None else f"[{name}, {_size_text(size)}]"
    missing = f", {media['missing']}" if isinstance(media.get("missing"), str) else ""
    return f"[file {media['file_id']}]" if media["type"] == "file" else f"[{media['uri']}{missing}]"


def _size_text(size_bytes: int) -> str:
    """Return a number of bytes in the largest unit of which there is at least one."""
    units = ("bytes", "KiB", "MiB", "GiB")
    power = min(max(size_bytes.bit_length() - 1, 0) // 10, len(units) - 1)
    return f"{size_bytes / 1024**power:.3g} {units[power]}"
