"""Cut the large texts and bytes of one value, the largest first, so that whatever stands beside them is kept.

A message with a picture is a few short texts and one of megabytes. What is left of the limit after all else goes first
to texts, then to what looks like media: bytes, and texts in base64. Of each kind the smaller ones are kept whole.
"""

from __future__ import annotations

import re
from typing import Any

from otel_agent_trace.values.builtin import bytes_text
from otel_agent_trace.values.encoded import Tag
from otel_agent_trace.values.limits import Limits

HEAD_BYTES = 64
"""Kept of every large text or bytes, which is the media type of a data URL."""
_LARGE_PART = 256
_SAMPLE_CHARACTERS = 256
_PROBE_CHARACTERS = 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]*").match
_MEDIA = re.compile(r"(data:[^,]{0,200},)?[A-Za-z0-9+/=_\r\n-]*").fullmatch
_ELLIPSIS = "..."


def large_characters(limits: Limits) -> int:
    """Return the length from which a text, or bytes, is cut before others: one of 256 parts of the limit."""
    return max(HEAD_BYTES, limits.value_bytes // _LARGE_PART)


class Leaf:
    """Stand for a large text or bytes, both in the JSON and among the tags, until it is known how much of it fits.

    Args:
        value: the text or bytes.
        path: where it stands.
        limit_bytes: the limit of the whole value.
        left_bytes: what is left of the limit.

    Raises:
        UnicodeEncodeError: the text has a lone surrogate where it may be kept.
    """

    __slots__ = ("_holders", "data", "is_media", "path", "reserved_bytes", "size_bytes", "tag", "value")

    def __init__(self, value: str | bytes | bytearray, path: str, limit_bytes: int, left_bytes: int) -> None:
        self.value = value
        self.path = path
        if type(value) is str:
            self.size_bytes = len(value if value.isascii() else value[: limit_bytes + 1].encode())
            self.is_media = _MEDIA(value[:_SAMPLE_CHARACTERS]) is not None
        else:
            self.size_bytes, self.is_media = -(len(value) * 4 // -3), True
        self.reserved_bytes = max(0, min(self.size_bytes, HEAD_BYTES + len(path), left_bytes))
        self.data: Any = None
        self.tag: Tag | None = None
        self._holders: list[tuple[Any, Any]] = []

    def stands_in(self, holder: Any, key: Any) -> None:
        """Note a list or dict that holds this, and its index or key there."""
        self._holders.append((holder, key))

    def settle(self, data: str, tag: Tag | None) -> None:
        """Set what is kept, and put it where this stands."""
        self.data, self.tag = data, tag
        for holder, key in self._holders:
            if holder[key] is self:  # two keys may have the same text in JSON
                holder[key] = data

    def whole(self) -> tuple[str, Tag | None]:
        """Return the JSON of the whole value, and its tag."""
        return self.kept(None)

    def kept(self, room_bytes: int | None) -> tuple[str, Tag | None]:
        """Return the JSON of what is kept in so many bytes, with its tag."""
        value = self.value
        if type(value) is str:
            return value if room_bytes is None else _beginning(_without_media(value, room_bytes), room_bytes), None
        kept = value if room_bytes is None else value[: room_bytes * 3 // 4]
        return bytes_text(kept), type(value).__name__  # type: ignore[arg-type]


def rooms_of(leaves: list[Leaf], left_bytes: int) -> list[int | None]:
    """Return how many bytes each leaf may have, None for one that is kept whole.

    Args:
        leaves: all leaves of a value.
        left_bytes: what is left of the limit, in addition to what the leaves have reserved.
    """
    total = max(0, left_bytes) + sum(leaf.reserved_bytes for leaf in leaves)
    if sum(leaf.size_bytes for leaf in leaves) <= total:
        return [None] * len(leaves)
    rooms: list[int | None] = [None] * len(leaves)
    pending = sum(leaf.reserved_bytes for leaf in leaves)
    for index in sorted(range(len(leaves)), key=lambda index: (leaves[index].is_media, leaves[index].size_bytes)):
        leaf = leaves[index]
        pending -= leaf.reserved_bytes
        if leaf.size_bytes <= total - pending:
            total -= leaf.size_bytes
        else:
            rooms[index] = max(0, total - pending - len(leaf.path))
            total = pending
    return rooms


def settled_tag(tag: Any) -> Any:
    """Return a tag in which those of leaves have taken their place, without those that are None."""
    if type(tag) is Leaf:
        return tag.tag
    if type(tag) is not dict:
        return tag
    settled = dict(tag)
    if "k" in tag:
        settled["k"] = settled_tag(tag["k"])
    if "c" in tag:
        children = {key: settled_tag(child) for key, child in tag["c"].items()}
        settled["c"] = {key: child for key, child in children.items() if child is not None}
    if tag.get("t") == "items":
        settled["x"] = [[key, key_tag, item, settled_tag(item_tag)] for key, key_tag, item, item_tag in tag["x"]]
    settled = {key: item for key, item in settled.items() if item or key not in ("k", "c")}
    return settled if settled.keys() - {"t"} else settled.get("t")


def _beginning(text: str, room_bytes: int) -> str:
    """Return as much of the beginning of a text as so many bytes of UTF-8 hold."""
    if text.isascii():
        return text[:room_bytes]
    return text[:room_bytes].encode("utf-8", "ignore")[:room_bytes].decode("utf-8", "ignore")


def _without_media(text: str, room: int) -> str:
    """Return a text with an ellipsis in place of each long run of base64 that other text follows.

    Such a run is a picture in Markdown, or in JSON that is a text. The text is probed for runs as far as it is kept, so
    that the time hardly depends on its length.
    """
    probe = max(HEAD_BYTES, min(_PROBE_CHARACTERS, room // 8))
    if _BASE64(text, len(text) - HEAD_BYTES).end() == len(text):  # type: ignore[union-attr]
        return text
    kept: list[str] = []
    start = at = length = 0
    while length + at - start < room and at < len(text):
        end = _BASE64(text, at).end()  # type: ignore[union-attr]
        if end - at >= probe:
            kept += text[start:at], _ELLIPSIS
            length += at - start
            start = at = end
        else:
            at += probe
    return "".join((*kept, text[start : start + room])) if kept else text
