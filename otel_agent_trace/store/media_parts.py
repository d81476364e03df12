"""Put ``uri`` parts in place of the binary content in the attributes of spans, and the content back in place of those.

Content is found as long base64 in the texts of attributes. Where it is a part of a message in a known shape, or a JSON
text of its own, as bytes are, a part as the conventions have it takes its place:

    {"type": "uri", "modality": "image", "mime_type": "image/png", "uri": "traces.jsonl.media/<sha256>.png"}

Within other texts, as in JSON that is a text, only the reference does. The attribute ``agent_trace.media`` lists by
attribute what stands where: an array for each place, with its start and length in characters, the text that was there
before the base64 and after it, the name of the file, and whether the base64 is of the variant for URLs.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.media import media_part, modality_of
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.span import Event, SpanRecord
from otel_agent_trace.store.media import (
    DEFAULT_MIME_TYPE,
    DamagedMediaError,
    MediaFolder,
    is_media_name,
    mime_type_of,
    name_of,
)
from otel_agent_trace.values import binary

MOST_INLINE_CHARACTERS = 40 << 20
"""Most characters of content that stay in a span when they cannot be stored: readers refuse lines of more than 64 MiB."""
_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder().decode
_NOT_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)
_WRITERS: tuple[Callable[[Any], str], ...] = (
    lambda data: _to_json(data).decode(),
    lambda data: json.dumps(data, ensure_ascii=False),
    json.dumps,
    lambda data: json.dumps(data, separators=(",", ":")),
)
"""Ways in which the JSON of an object may have been written."""
_MOST_DEPTH = 32


# ── out of a span ────────────────────────────────────────────────────────────────────────────────────────────────────


class Outside:
    """Put the content of spans into a folder.

    Args:
        folder: the folder.
        on_failure: called with the error if content cannot be stored, which then stays in the span.
    """

    def __init__(self, folder: MediaFolder, on_failure: Callable[[OSError], None]) -> None:
        self.folder, self._on_failure = folder, on_failure

    def record(self, span: SpanRecord) -> SpanRecord:
        """Return a span without its content, the same object if it has none."""
        room = _Room(MOST_INLINE_CHARACTERS)
        attributes = self._attributes(span.attributes, room)
        events = tuple(self._event(event, room) for event in span.events)
        if attributes is span.attributes and all(new is old for new, old in zip(events, span.events, strict=True)):
            return span
        return msgspec.structs.replace(span, attributes=attributes, events=events)

    def _event(self, event: Event, room: _Room) -> Event:
        attributes = self._attributes(event.attributes, room)
        return event if attributes is event.attributes else msgspec.structs.replace(event, attributes=attributes)

    def _attributes(self, attributes: Mapping[str, Any], room: _Room) -> Mapping[str, Any]:
        """Return attributes without their content, the same object if they have none."""
        if semconv.MEDIA in attributes:  # read from a store whose folder is missing
            return attributes
        types = attributes.get(semconv.TYPES)
        has_bytes = type(types) is str and '"byte' in types
        changed, places = dict(attributes), dict[str, Any]()
        for key, value in attributes.items():
            if type(value) is str and len(value) >= binary.LEAST_CHARACTERS:
                text = _Text(value, has_bytes=has_bytes)
                if text.contents:
                    changed[key], places[key] = self._stored(text, room)
        places = {key: listed for key, listed in places.items() if listed}
        return {**changed, semconv.MEDIA: _to_json(places).decode()} if places else attributes

    def _stored(self, text: _Text, room: _Room) -> tuple[str, list[_Listed]]:
        """Return a text with parts in place of its content, and the list of them."""
        pieces, places = list[str](), list[_Listed]()
        length = end = 0
        for place in text.places():
            before = text.short[end : place.start]
            shown, name = self._shown(place, room)
            length += len(before)
            if name is not None:
                is_for_urls = place.content.is_for_urls
                places.append(_Listed(length, len(shown), place.before, place.after, name, is_for_urls))
            pieces += before, shown
            length += len(shown)
            end = place.end
        return "".join((*pieces, text.short[end:])), places

    def _shown(self, place: _Place, room: _Room) -> tuple[str, str | None]:
        """Return what takes the place of content, and the name of its file; the text that was there if it stays."""
        content = place.content
        given = content.mime_type or (place.part or {}).get("mime_type")
        try:
            name = self.folder.put(content.data, given)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            self._on_failure(error)
            if room.take(len(content.run)):
                return place.before + content.run + place.after, None
            name = name_of(content.data, given)
        uri = self.folder.uri(name)
        if place.part is None:
            return uri, name
        mime_type = given or mime_type_of(content.data) or DEFAULT_MIME_TYPE
        modality = place.part.get("modality") or modality_of(mime_type)
        facts = {"type": "uri", "modality": modality, "mime_type": mime_type, "uri": uri}
        others = {key: item for key, item in place.part.items() if key not in _OF_CONTENT}
        return _to_json({**facts, **others}).decode(), name


_OF_CONTENT = frozenset({"type", "modality", "mime_type", "uri", "content", "size", "sha256", "file_id"})


class _Room:
    """Hold how many characters of content may still be somewhere."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, size: int) -> bool:
        """Return whether so many more may be there, and count them."""
        if size > self._left:
            return False
        self._left -= size
        return True


class _Content(NamedTuple):
    """Hold content that was found in a text: itself, its base64, and what is written around that, and about it.

    `mark` is a text that stands nowhere else.
    """

    data: bytes
    run: str
    mark: str
    is_for_urls: bool
    mime_type: str | None
    before: str
    after: str


class _Place(NamedTuple):
    """Hold a place in a short text: the text that is written before the base64 and after it, and its part, if it is one."""

    start: int
    end: int
    before: str
    after: str
    content: _Content
    part: Mapping[str, Any] | None


class _Text:
    """Find the content in a text.

    `short` is the text with a mark in place of each content, that is its base64 and the head of its data URI.
    """

    def __init__(self, text: str, *, has_bytes: bool) -> None:
        self.contents: list[_Content] = []
        self._starts: list[int] = []
        pieces, length, last = list[str](), 0, 0
        for start, end in binary.runs(text):
            content = _content_at(text, start, end, has_bytes=has_bytes)
            if content is not None:
                before = text[last : start - len(content.before)]
                pieces += before, content.mark
                self._starts.append(length + len(before))
                length += len(before) + len(content.mark)
                last = end + len(content.after)
                self.contents.append(content)
        self.short = "".join((*pieces, text[last:])) if pieces else text

    def places(self) -> Iterator[_Place]:
        """Yield the place of each content, in order: that of its part, of its JSON text, or only its own."""
        parts = self._parts()
        for start, content in zip(self._starts, self.contents, strict=True):
            end = start + len(content.mark)
            first, last, part = parts.get(start, (start, end, None))
            before, after = self.short[first:start], self.short[end:last]
            yield _Place(first, last, before + content.before, content.after + after, content, part)

    def _parts(self) -> dict[int, tuple[int, int, Mapping[str, Any]]]:
        """Return start, end and facts of each part and of each JSON text that is only content, by its content's start."""
        try:
            data = _from_json(self.short)
        except _NOT_JSON:
            return {}
        parts: dict[int, tuple[int, int, Mapping[str, Any]]] = {}
        at = 0
        for found, part in _found_in(data, {content.mark for content in self.contents}, _MOST_DEPTH):
            first, last = self._literal(found, at)
            inside = [start for start in self._starts if first <= start < last]
            if len(inside) == 1:
                parts[inside[0]] = first, last, part
            at = max(at, last)
        return parts

    def _literal(self, found: Any, at: int) -> tuple[int, int]:
        """Return start and end of the JSON of an object or a text; twice the same if it is written in another way."""
        for literal in dict.fromkeys(write(found) for write in _WRITERS):
            start = self.short.find(literal, at)
            end = start + len(literal)
            if start >= 0 and not self.short[end : end + 8].lstrip().startswith(":"):  # no key of an object
                return start, end
        return at, at


def _content_at(text: str, start: int, end: int, *, has_bytes: bool) -> _Content | None:
    """Return the content of a run; None if it is no binary content, or could not be written again as it is."""
    head = binary.data_uri_head(text, start)
    if not (head or has_bytes or binary.seems_binary(text, start, end)):
        return None
    run = text[start:end]
    found = binary.decoded(run)
    if found is None:
        return None
    data, is_for_urls = found
    padding = "=" * (len(text[end : end + 2]) - len(text[end : end + 2].lstrip("=")))
    before, mime_type = (head[0], head["mime_type"] or None) if head else ("", None)
    return _Content(data, run, secrets.token_hex(16), is_for_urls, mime_type, before, padding)


def _found_in(data: Any, marks: set[str], depth: int) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield the parts that hold one of the marks, and texts that are one, in order, each with its facts as a part."""
    if type(data) is str:
        if data in marks:
            yield data, {}
    elif depth and type(data) is list:
        for item in data:
            yield from _found_in(item, marks, depth - 1)
    elif depth and type(data) is dict:
        part = media_part(data) if "type" in data or len(data) == 1 else None
        held = [item for item, _ in _found_in_values(data, marks, depth)] if part is not None else []
        if part is not None and len(held) == 1 and type(held[0]) is str:
            yield data, part
        else:
            yield from _found_in_values(data, marks, depth)


def _found_in_values(data: dict[str, Any], marks: set[str], depth: int) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    for item in data.values():
        yield from _found_in(item, marks, depth - 1)


# ── into a span ──────────────────────────────────────────────────────────────────────────────────────────────────────

MISSING, _DAMAGED = "not in the media folder", "damaged: "
MOST_CHARACTERS_OF_A_TRACE = 1 << 30
"""Most characters of content that are put back into the spans of one trace, which may name a file any number of times."""


class Inside:
    """Put the content of files back into the spans of one trace.

    Args:
        folders: the folders of the stores that the spans come from.
        on_missing: called if content cannot be put back: with the name of its file, the reason, and whether it is damaged.
    """

    def __init__(self, folders: Iterable[MediaFolder], on_missing: Callable[[str, str, bool], None]) -> None:
        self._folders, self._on_missing = tuple(folders), on_missing
        self._known: dict[tuple[str, bool], tuple[str, str]] = {}
        self._room = _Room(MOST_CHARACTERS_OF_A_TRACE)

    def records(self, spans: Iterable[SpanRecord]) -> list[SpanRecord]:
        """Return spans with their content; a part without it has the reason in its member ``missing``."""
        return [self._record(span) for span in spans]

    def _record(self, span: SpanRecord) -> SpanRecord:
        if semconv.MEDIA not in span.attributes and not any(semconv.MEDIA in event.attributes for event in span.events):
            return span
        events = tuple(
            msgspec.structs.replace(event, attributes=self._attributes(event.attributes)) for event in span.events
        )
        return msgspec.structs.replace(span, attributes=self._attributes(span.attributes), events=events)

    def _attributes(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        whole = dict(attributes)
        for key, places in _listed(whole.pop(semconv.MEDIA, None)).items():
            if type(whole.get(key)) is str:
                whole[key] = self._text(whole[key], places)
        return whole

    def _text(self, text: str, places: list[_Listed]) -> str:
        pieces, end = list[str](), 0
        for place in places:
            start, length = place.start, place.length
            shown = text[start : start + length]
            if start < end or length < 0 or not is_media_name(place.name) or place.name not in shown:
                break  # not what was written
            pieces += text[end:start], self._shown(place, shown)
            end = start + length
        return "".join((*pieces, text[end:]))

    def _shown(self, place: _Listed, shown: str) -> str:
        """Return the text that was in a place; with the reason in the part that is there, if its content is missing."""
        run, reason = self._run(place)
        if not reason:
            return f"{place.before}{run}{place.after}"
        self._on_missing(place.name, reason, reason.startswith(_DAMAGED))
        return (
            f'{shown[:-1]},"missing":{_to_json(reason).decode()}}}' if shown.startswith("{") else f"{shown} (missing)"
        )

    def _run(self, place: _Listed) -> tuple[str, str]:
        """Return the base64 of a file, and an empty text, or else the reason why there is none."""
        key = place.name, place.is_for_urls
        if key not in self._known:
            self._known[key] = self._read(*key)
        run, reason = self._known[key]
        return (run, reason) if self._room.take(len(run)) else ("", "too much for one trace")

    def _read(self, name: str, is_for_urls: bool) -> tuple[str, str]:
        for folder in self._folders:
            try:
                content = folder.get(name)
            except DamagedMediaError as error:
                return "", f"{_DAMAGED}{error}"
            if content is not None:
                return binary.encoded(content, is_for_urls=is_for_urls), ""
        return "", MISSING


class _Listed(msgspec.Struct, frozen=True, array_like=True):
    """Represent an item of ``agent_trace.media`` (see above)."""

    start: int
    length: int
    before: str
    after: str
    name: str
    is_for_urls: bool


_listed_in = msgspec.json.Decoder(dict[str, list[_Listed]]).decode


def _listed(text: Any) -> dict[str, list[_Listed]]:
    """Return what an attribute lists; nothing if it is not what was written."""
    try:
        return _listed_in(text) if type(text) is str else {}
    except _NOT_JSON:
        return {}
