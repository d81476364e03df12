"""Convert pictures, sound and files in messages, in the shapes of providers and frameworks, to parts of the conventions.

Those are ``blob`` (``content``, in base64), ``uri`` and ``file`` (``file_id``), each with ``modality`` and ``mime_type``
where they are known. A blob has ``size``, in bytes, and ``sha256`` of what it holds too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from typing import Any

from otel_agent_trace.values import Truncated

Part = dict[str, Any]
MEDIA_TYPES = ("blob", "uri", "file")
"""Types of the parts of the conventions that hold media."""
_MODALITIES: dict[str, str | None] = {
    **dict.fromkeys(("image", "image_url", "image-url", "image-data", "input_image", "image_file"), "image"),
    **dict.fromkeys(("audio", "audio_url", "audio-url", "input_audio"), "audio"),
    **dict.fromkeys(("video", "video_url", "video-url", "input_video"), "video"),
    **dict.fromkeys(("document", "document_url", "document-url"), "document"),
    **dict.fromkeys(("file", "file-url", "file-data", "file-id", "input_file", "hosted_file"), None),
    **dict.fromkeys(("blob", "uri", "binary", "media", "data", "resource", "resource_link"), None),
    **dict.fromkeys(("inline_data", "inlineData", "file_data", "fileData"), None),
}
"""Types of parts that may hold media, with the modality where it is in the name; with ``_ref`` what is kept elsewhere."""
_HOLDERS = ("inline_data", "inlineData", "file_data", "fileData", "image", "video", "audio", "document", "media")
"""Keys that hold the media of a part without a type: those of Gemini, Bedrock, Haystack and Genkit."""
_NEEDED = {"data": "uri", "resource": "blob"}
"""Keys without which a type of part holds no media: A2A's data is any object, a resource of MCP may be a text."""
_MIME_TYPES = ("mime_type", "mimeType", "media_type", "mediaType", "image_mimetype", "contentType")
_CONTENTS = ("data", "bytes", "base64", "content", "base64_image", "binary_content", "blob", "file_data", "image")
_URIS = (
    *("uri", "url", "data_uri", "image_url", "audio_url", "video_url", "document_url"),
    *("file_uri", "fileUri", "file_url", "path", "content_ref", "uri_ref", "ref"),
)
_FILE_IDS = ("file_id", "fileId", "id")
_READ = frozenset({*_MIME_TYPES, *_CONTENTS, *_URIS, "file_id", "fileId", "format", "modality"})
_KINDS = ("type", "kind", "block_type", "part_kind", "content_type")
_SHAPES = frozenset({*_KINDS, "source_type"})
_DEEPEST = 4
_DATA_URI = re.compile(r"data:([^;,]{0,100})(?:;[^;,]{0,100})*;base64,", re.IGNORECASE)
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,20}://\S")
_URL_SAFE = str.maketrans("-_", "+/")


def media_part(part: Mapping[Any, Any]) -> Part | None:
    """Return a part that holds media, by value or by reference, as one of the conventions; None for any other part.

    A blob whose content was not recorded (``<replaced>``) has no `content`, `size` and `sha256`.
    """
    kind = _kind_of(part)
    found = {} if kind is None else _leaves(part)
    if kind is None or found.get("source_type") == "text" or _NEEDED.get(kind, kind) not in (kind, *found):
        return None
    source = _source(found, by_content=kind in ("blob", "binary"), by_id=kind == "hosted_file")
    if source is None:
        return {str(key): item for key, item in part.items() if item is not None} if kind == "blob" else None
    modality = _MODALITIES[kind]
    mime_type = source.pop("mime_type", None) or _mime_type(found, modality)
    facts = {
        "type": source.pop("type"),
        "modality": found.get("modality") or modality or modality_of(mime_type),
        "mime_type": mime_type,
        **source,
    }
    rest = {
        key: item
        for key, item in found.items()
        if key not in _READ and key not in _SHAPES and item != facts.get("file_id")
    }
    if kind in ("resource", "blob") and facts["type"] == "blob":
        rest["uri"] = found.get("uri")
    return {key: item for key, item in {**rest, **facts}.items() if item is not None}


def may_hold_media(part: Mapping[Any, Any]) -> bool:
    """Return whether a part has a type, or a key in place of one, of those that hold media."""
    return _kind_of(part) is not None


def _kind_of(part: Mapping[Any, Any]) -> str | None:
    named = next((part[key] for key in _KINDS if part.get(key) is not None), None)
    if named is not None:
        kind = named.removesuffix("_ref") if type(named) is str else None
        return kind if kind in _MODALITIES else None
    return next((key for key in _HOLDERS if isinstance(part.get(key), Mapping)), None)


def _leaves(part: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the values in a part and in the objects within it by key; the outermost of equal keys."""
    found: dict[str, Any] = {}
    level = [part]
    for _ in range(_DEEPEST):
        below: list[Mapping[Any, Any]] = []
        for holder in level:
            for key, item in holder.items():
                if isinstance(item, Mapping) and not _is_bytes(item):
                    below.append(item)
                    if key == "source" and item.get("type") in ("text", "content"):
                        found["source_type"] = "text"
                elif item is not None:
                    found.setdefault(str(key), item)
        level = below
    return found


def _source(found: Mapping[str, Any], *, by_content: bool, by_id: bool) -> Part | None:
    """Return the type of the part with what it holds, or where that is; None where neither is known."""
    ids = _FILE_IDS if by_id or found.get("source_type") == "id" else _FILE_IDS[:2]
    file_id = next((found[key] for key in ids if found.get(key)), None)
    for key in (*_CONTENTS, *_URIS):
        item = found.get(key) if key != "content" or by_content else None
        if type(item) is str and _URI.match(item):
            return {"type": "uri", "uri": item}
        if item and (key in _CONTENTS or (type(item) is str and _DATA_URI.match(item))) and file_id is None:
            return {"type": "blob", **_blob(item)}
        if item and key in _URIS and file_id is None:
            return {"type": "uri", "uri": str(item)}
    return None if file_id is None else {"type": "file", "file_id": str(file_id)}


# ── contents ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _blob(content: Any) -> Part:
    """Return the content of a blob in base64, with size and digest; nothing for a text that stands in its place."""
    if type(content) is Truncated:
        return {"content": content}
    facts: Part = {}
    if type(content) is str:
        uri = _DATA_URI.match(content)
        if uri:
            facts["mime_type"] = uri[1] or None
            content = content[uri.end() :]
        data = _decoded(content)
    else:
        data = _bytes_of(content)
        content = None if data is None else base64.b64encode(data).decode()
    if data is None:
        return facts
    return {**facts, "content": content, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _decoded(text: str) -> bytes | None:
    """Return the bytes of base64, also of the variant for URLs and with line breaks; None for any other text."""
    compact = text if not any(mark in text for mark in " \n\r-_") else "".join(text.split()).translate(_URL_SAFE)
    digits = compact.rstrip("=")
    try:
        data = binascii.a2b_base64(digits + "=" * (-len(digits) % 4))
    except ValueError:
        return None
    return data if digits and len(data) == len(digits) * 3 // 4 else None  # characters of other texts are left out


def _is_bytes(value: Mapping[Any, Any]) -> bool:
    return value.get("type") == "Buffer" or "0" in value


def _bytes_of(value: Any) -> bytes | None:
    """Return bytes, also in the forms that JavaScript writes: a Buffer, an array, an object with an item for each."""
    if isinstance(value, Mapping):
        value = value.get("data") if value.get("type") == "Buffer" else list(value.values())
    try:
        return bytes(value) if isinstance(value, bytes | bytearray | list | tuple) and value else None
    except (ValueError, TypeError):
        return None


# ── types ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _mime_type(found: Mapping[str, Any], modality: str | None) -> str | None:
    given = next((found[key] for key in _MIME_TYPES if type(found.get(key)) is str), None)
    if given is not None:
        return str(given)
    ending = found.get("format")
    if type(ending) is str:
        return (
            str(ending)
            if "/" in ending
            else f"{modality}/{ending}"
            if modality in _MEDIA
            else _type_of_file(f"x.{ending}")
        )
    name = found.get("filename", found.get("name"))
    return _type_of_file(name) if type(name) is str else None


def _type_of_file(name: str) -> str | None:
    return str(guessed) if (guessed := mimetypes.guess_type(name, strict=False)[0]) else None


_MEDIA = ("image", "audio", "video")


def modality_of(mime_type: str | None) -> str | None:
    """Return the modality of a media type; None if the type is not known."""
    if mime_type is None:
        return None
    first = mime_type.partition("/")[0]
    return first if first in _MEDIA else "document"
