"""Convert recorded values and messages to JSON of bounded size, with media replaced by what they are."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from otel_agent_trace.media import media_part
from otel_agent_trace.model import Message
from otel_agent_trace.values import Tag, Truncated, encode

LIMIT_CHARS = 65_536
"""Length of the JSON up to which a value is sent whole."""
_SMALL_BYTES = 256
"""Number of bytes up to which binary content is shown as the text that it is recorded as."""
_OF_BYTES = ("bytes", "bytearray")
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(;[^,]{0,100})?;base64,", re.IGNORECASE)
_ANY_TYPE = "application/octet-stream"
_TYPE_OF_BEGINNING = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


class Media(NamedTuple):
    """Hold binary content with its media type."""

    media_type: str
    content: bytes


KeepMedia = Callable[[str, Media], object]
"""Function that is called with the digest (SHA-256 in hexadecimal digits) and the content of each medium in a value."""


def _drop(_digest: str, _media: Media) -> None:
    """Keep nothing."""


class JsonWriter:
    """Convert values to JSON-able data, each within a length.

    Args:
        limit_chars: the length of the JSON of a value, or of a text, up to which it is whole.
        keep_media: is called with the media in values.
    """

    def __init__(self, limit_chars: int = LIMIT_CHARS, keep_media: KeepMedia = _drop) -> None:
        self.limit_chars, self._keep = limit_chars, keep_media

    def value(self, value: Any, path: str) -> dict[str, Any] | None:
        """Return a value as ``{"json": …}``; of one that is too long, the beginning of its text, and the path to it all.

        None for None.
        """
        if value is None:
            return None
        data = self._plain(value)
        if len(json.dumps(data, ensure_ascii=False).encode()) <= self.limit_chars:
            return {"json": data}
        text = text_of_data(data)
        return {"text": text[: self.limit_chars], "chars": len(text), "path": path}

    def text(self, text: str, path: str) -> dict[str, Any]:
        """Return a text as ``{"text": …}``, with its length and the path to it all if it is too long."""
        if len(text) <= self.limit_chars:
            return {"text": text}
        return {"text": text[: self.limit_chars], "chars": len(text), "path": path}

    def message(self, message: Message, path: str) -> dict[str, Any]:
        """Return a message with its parts."""
        return {
            "role": message.role,
            "name": message.name,
            "parts": [self.part(part, f"{path}.parts.{place}") for place, part in enumerate(message.parts)],
        }

    def part(self, part: Mapping[Any, Any], path: str) -> dict[str, Any]:
        """Return a part of a message: a text, reasoning, a call of a tool or its result, media, or any other."""
        media = media_part(part)
        kind = part.get("type")
        if media is not None:
            return {"type": "media", "media": self._media(media)}
        if kind in ("text", "reasoning"):
            return {"type": kind, **self._content(part.get("content"), path)}
        if kind == "tool_call":
            return {"type": kind, **_call_names(part), "value": self.value(part.get("arguments"), path)}
        if kind == "tool_call_response":
            result = self.value(result_in(part), path)
            return {"type": "tool_result", **_call_names(part), "value": result}
        return {"type": "other", "value": self.value(dict(part), path)}

    def _content(self, content: Any, path: str) -> dict[str, Any]:
        kept = content.kept if isinstance(content, Truncated) else content
        if kept is None or isinstance(kept, str):
            return self.text(kept or "", path)
        return {"value": self.value(kept, path)}

    def _plain(self, value: Any) -> Any:
        encoded = encode(value)
        return self._with_media(encoded.data, encoded.tag)

    def _with_media(self, data: Any, tag: Tag | None) -> Any:
        """Return encoded data with ``{"$media": …}`` in place of binary content; it is at most 150 levels deep."""
        if isinstance(data, str):
            media = _media_in_text(data, tag)
            return data if media is None else {"$media": self._kept(media)}
        below = tag.get("c", {}) if isinstance(tag, dict) else {}
        if isinstance(data, dict):
            part = media_part(data)
            if part is not None and part.get("type") == "blob":
                return {"$media": self._media(part)}
            return {key: self._with_media(item, below.get(key)) for key, item in data.items()}
        if isinstance(data, list):
            return [self._with_media(item, below.get(str(index))) for index, item in enumerate(data)]
        return data

    def _media(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a part that holds media is: its type, and its size and digest, or where it is."""
        kind = next((str(part[key]) for key in ("mime_type", "modality") if part.get(key)), _ANY_TYPE)
        content = part.get("content")
        if isinstance(content, str):
            return {**self._kept(Media(kind, _decoded(content))), **_name_of(part)}
        places = {key: str(part[key]) for key in ("uri", "file_id") if part.get(key) is not None}
        size = {"bytes": part["size"]} if type(part.get("size")) is int else {}
        return {"type": kind, **size, **_name_of(part), **places}

    def _kept(self, media: Media) -> dict[str, Any]:
        digest = sha256(media.content).hexdigest()
        self._keep(digest, media)
        return {"type": media.media_type, "bytes": len(media.content), "digest": digest}


WriterOf = Callable[[int, int], JsonWriter]
"""Function that returns what converts the values of an item, given its number, each up to a number of characters."""


def writer_of(_number: int, limit_chars: int) -> JsonWriter:
    """Return what converts the values of any item, each up to a number of characters."""
    return JsonWriter(limit_chars)


def text_of_data(data: Any) -> str:
    """Return data as text: a text as it is, anything else as JSON on several lines."""
    return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, indent=2)


def whole_text(value: Any) -> str:
    """Return a whole value as text: a text as it is, anything else as JSON on several lines."""
    return text_of_data(encode(value).data)


def result_in(part: Mapping[Any, Any]) -> Any:
    """Return the result of a tool in the part of a message that holds one."""
    return part.get("response", part.get("result"))


def _call_names(part: Mapping[Any, Any]) -> dict[str, Any]:
    return {key: None if part.get(key) is None else str(part[key]) for key in ("name", "id")}


def _name_of(part: Mapping[str, Any]) -> dict[str, str]:
    found = next((part[key] for key in ("name", "filename") if isinstance(part.get(key), str)), None)
    return {} if found is None else {"name": found}


def _media_in_text(text: str, tag: Tag | None) -> Media | None:
    """Return the binary content of a text that is a data URI, or that stands for bytes; None for any other."""
    if tag in _OF_BYTES and len(text) > _SMALL_BYTES:
        content = _decoded(text)
        types = (type_ for beginning, type_ in _TYPE_OF_BEGINNING.items() if content.startswith(beginning))
        return Media(next(types, _ANY_TYPE), content)
    found = _DATA_URI.match(text)
    if found is None:
        return None
    return Media(text[len("data:") : text.index(";")], _decoded(text[found.end() :]))


def _decoded(content: str) -> bytes:
    """Return the bytes of base64, as far as the text is such."""
    try:
        return base64.b64decode(content.translate(_URL_SAFE), validate=False)
    except (binascii.Error, ValueError):
        return content.encode("utf-8", "surrogatepass")


_URL_SAFE = str.maketrans("-_", "+/")
