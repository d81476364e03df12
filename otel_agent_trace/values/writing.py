"""Encode values as JSON and type tags, within limits, whatever the value is or its class does."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.values.binary import LEAST_BYTES, content_characters
from otel_agent_trace.values.builtin import (
    SEQUENCES,
    SPECIAL_FLOAT_JSON,
    TEXT_CODECS,
    TextCodec,
    bytes_text,
    escaped,
    integer_text,
)
from otel_agent_trace.values.classes import BY_CLASS, functions_for, model_name, repaired, type_name
from otel_agent_trace.values.encoded import Encoded, EncodedText, Opaque, Tag
from otel_agent_trace.values.fields import is_mapped
from otel_agent_trace.values.leaves import Leaf, large_characters, rooms_of, settled_tag
from otel_agent_trace.values.limits import MEDIA_OF_A_VALUE, NO_LIMITS, Limits, Truncated
from otel_agent_trace.values.models import model_data, taken_apart
from otel_agent_trace.values.plain import INT64_END, INT64_MIN, plain_json

_SCALAR_COST_BYTES = 8
_FEW_NAMES, _NAMES_CHARACTERS = 64, 4096
# Classes are looked up by id, since a metaclass may define `__hash__` and `__eq__`.
_CODEC_BY_ID = {id(kind): codec for kind, codec in TEXT_CODECS.items()}
_SEQUENCE_IDS = frozenset(map(id, SEQUENCES))
_JSON = msgspec.json.Encoder()


def encode(value: Any, limits: Limits = NO_LIMITS) -> Encoded:
    """Return any value as data that JSON represents, with its tag; never raises because of the value."""
    if plain_json(value, limits) is not None:
        return Encoded(value, None)
    walk = _Walk(limits)
    data, tag = walk.settled(*walk.node(value, limits.depth, ()))
    return Encoded(data, tag, tuple(walk.cuts))


def encode_text(value: Any, limits: Limits = NO_LIMITS) -> EncodedText:
    """Return any value as compact JSON text, with its tag; never raises because of the value."""
    text = plain_json(value, limits)
    if text is not None:
        return EncodedText(text.decode(), None)
    walk = _Walk(limits)
    data, tag = walk.settled(*walk.node(value, limits.depth, ()))
    return EncodedText(_JSON.encode(data).decode(), tag, tuple(walk.cuts))


def encode_string(value: object, limits: Limits = NO_LIMITS) -> EncodedText:
    """Return a text for an attribute that holds a text itself, not JSON (a name, an id), with the tag that restores it.

    Any other value is converted with `str`, which sends no query for a mapped object. Lone surrogates are written as escapes, and a text that is too long is
    truncated.
    """
    text = value if type(value) is str else _text_of(value)
    if len(text) <= limits.value_bytes and text.isascii():
        return EncodedText(text, None)
    walk = _Walk(limits)
    data, tag = walk.settled(*walk.text(text, ()))
    return EncodedText(data, tag, tuple(walk.cuts))


def _text_of(value: object) -> str:
    try:
        is_readable = not is_mapped(type(value))
    except BaseException as error:  # a metaclass may raise anything
        if is_of_signal_handler(error):
            raise
        is_readable = True
    return _guarded_text(str, value) if is_readable else encode_text(value).text


def is_iterator(value: object) -> bool:
    """Return whether iterating over a value would consume it, so that it is recorded by its `repr` only."""
    return _iterates(type(value))  # not `__class__`, for which a lazy object of Django queries the database


def _iterates(cls: type) -> bool:
    return issubclass(cls, _ITERATORS) or hasattr(cls, "__anext__")


def _writer_of(cls: type) -> Callable[[Any], Any] | None:
    """Return what converts instances of a class that is not registered to data; None if they are recorded by their `repr`."""
    writer = functions_for(cls)[0]
    return writer if writer is None or writer is model_data or not _iterates(cls) else None


_ITERATORS = (Iterator, types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)


class _Walk:
    """Encode one value: hold the rest of its limit, the containers being visited, and the paths of truncated parts.

    Large texts and bytes are cut at the end, when the room for them is known (see `values.leaves`).
    """

    __slots__ = ("cuts", "inside", "large", "leaves", "left", "limit", "media_bytes", "media_left")

    def __init__(self, limits: Limits) -> None:
        self.limit = self.left = limits.value_bytes
        self.large = large_characters(limits)
        self.media_bytes, self.media_left = limits.most_media_bytes, MEDIA_OF_A_VALUE * limits.most_media_bytes
        self.leaves: list[Leaf] = []
        self.inside: set[int] = set()
        self.cuts: list[str] = []

    def node(self, value: Any, depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        kind = type(value)
        if kind is str:
            return self.text(value, path)
        if value is None or kind is bool:
            self.left -= _SCALAR_COST_BYTES
            return value, None
        if kind is int:
            return self.integer(value, path)
        if kind is float:
            return self.number(value)
        if kind is bytes or kind is bytearray:
            return self.binary(value, path)
        codec = _CODEC_BY_ID.get(id(kind))
        if codec is not None:
            return self.with_codec(codec, value, path)
        return self.nested(value, depth, path)

    def nested(self, value: Any, depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        if id(value) in self.inside:
            return self.cut(None, None, None, "cycle", path)
        if depth == 0 or self.left <= 0:
            return self.cut(None, None, _size(value), "depth" if depth == 0 else "bytes", path)
        self.left -= _SCALAR_COST_BYTES
        self.inside.add(id(value))
        try:
            kind = type(value)
            if kind is dict:
                items = _with_names(value)
                return self.pairs(value, depth, path) if items is None else self.named(items, depth, path)
            if _is_sequence(kind):
                return self.sequence(value, SEQUENCES[kind], depth, path)
            if kind is Opaque or kind is Truncated:
                return self.stand_in(value, depth, path)
            return self.instance_of_class(value, depth, path)
        finally:
            self.inside.discard(id(value))

    def settled(self, data: Any, tag: Any) -> tuple[Any, Tag | None]:
        """Return JSON and tag with what is kept of each leaf in its place."""
        if not self.leaves:
            return data, tag
        for leaf, room in zip(self.leaves, rooms_of(self.leaves, self.left), strict=True):
            shown, kind = leaf.kept(room)
            leaf.settle(shown, kind if room is None else _cut_tag(kind, len(leaf.value), "bytes"))
            if room is not None:
                self.cuts.append(leaf.path)
        return data.data if type(data) is Leaf else data, settled_tag(tag)

    def leaf(self, value: str | bytes | bytearray, path: tuple[object, ...]) -> tuple[Any, Any]:
        """Return a leaf in place of JSON and of tag."""
        leaf = Leaf(value, path_text(path), self.limit, self.left)
        self.left -= leaf.reserved_bytes
        self.leaves.append(leaf)
        return leaf, leaf

    def is_whole_media(self, value: str | bytes | bytearray) -> bool:
        """Return whether a value is kept whole, as it is binary content, or has such; count both parts of it.

        Raises:
            UnicodeEncodeError: the text has a lone surrogate.
        """
        if type(value) is str:
            is_looked_at = len(value) <= min(self.media_bytes, self.media_left) * 4 // 3 + self.left
            characters = content_characters(value) if is_looked_at else 0
            size, rest = characters * 3 // 4, len(value.encode()) - characters if characters else 0
        else:
            size, rest = len(value) if len(value) >= LEAST_BYTES else 0, 0
        if not size or size > min(self.media_bytes, self.media_left) or rest > self.left:
            return False
        self.media_left -= size
        self.left -= rest
        return True

    def text(self, value: str, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        if len(value) > self.large:
            try:
                return (value, None) if self.is_whole_media(value) else self.leaf(value, path)
            except UnicodeEncodeError:
                pass
        return self.text_in_turn(value, path)

    def text_in_turn(self, value: str, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """Return a text, cut to what is left here, whatever comes after it."""
        room = max(0, self.left)
        try:
            data = None if value.isascii() else value[: room + 1].encode()  # each character is a byte at least
        except UnicodeEncodeError:
            return self.text_with_surrogates(value, path)
        if len(value if data is None else data) <= room:
            self.left -= len(value if data is None else data) or 1
            return value, None
        kept = value[:room] if data is None else data[:room].decode("utf-8", "ignore")
        self.left = 0
        return self.cut(kept, None, len(value), "bytes", path)

    def text_with_surrogates(self, value: str, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """Return a text with lone surrogates: with escapes in the JSON, for every reader, and unchanged in the tag."""
        kept = value if len(value) <= self.left else value[: max(0, self.left)]
        self.left = max(0, self.left - 2 * len(kept))
        tag: Tag = {"t": "str", "x": escaped(kept)}
        shown = repaired(kept)
        return (shown, tag) if kept is value else self.cut(shown, tag, len(value), "bytes", path)

    def integer(self, value: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        self.left -= _SCALAR_COST_BYTES
        if INT64_MIN <= value < INT64_END:
            return value, None
        digits = value.bit_length() // 4 + 1
        if digits > self.left:
            return self.cut(None, None, digits, "bytes", path)
        self.left -= digits
        return integer_text(value), "int"

    def number(self, value: float) -> tuple[Any, Tag | None]:
        self.left -= _SCALAR_COST_BYTES
        if value - value == 0.0 and (value or math.copysign(1, value) > 0):
            return value, None
        name = repr(value)
        return SPECIAL_FLOAT_JSON[name], name

    def binary(self, value: bytes | bytearray, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        if len(value) > self.large:
            if self.is_whole_media(value):
                return bytes_text(value), type(value).__name__
            return self.leaf(value, path)
        kept = value[: max(0, self.left * 3 // 4)]
        tag = type(value).__name__
        self.left -= len(kept) * 4 // 3
        shown = bytes_text(kept)
        return (shown, tag) if len(kept) == len(value) else self.cut(shown, tag, len(value), "bytes", path)

    def with_codec(self, codec: TextCodec, value: Any, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        try:
            shown, extra = codec.to_text(value), codec.extra(value) if codec.extra else None
        except BaseException as error:  # a user-defined tzinfo may raise anything
            if is_of_signal_handler(error):
                raise
            return self.repr_of(value, path)
        data, inner = self.text_in_turn(shown, path)
        if inner is None:
            return data, codec.name if extra is None else {"t": codec.name, "x": extra}
        if isinstance(inner, dict) and inner["t"] == "str":  # a path with undecodable bytes
            return data, {"t": codec.name, "x": extra, "k": inner}
        return data, inner

    def sequence(
        self, value: Any, name: str | None, depth: int, path: tuple[object, ...]
    ) -> tuple[list[Any], Tag | None]:
        data: list[Any] = []
        tags: dict[str, Tag] = {}
        items = list(islice(iter(value), max(0, self.left) + 1))
        for index, item in enumerate(items):
            if self.left <= 0:
                break
            shown, tag = self.node(item, depth - 1, (*path, index))
            if type(shown) is Leaf:
                shown.stands_in(data, index)
            data.append(shown)
            if tag is not None:
                tags[str(index)] = tag
        tag = _container_tag(name, tags, getattr(value, "maxlen", None))
        return (data, tag) if len(data) == len(value) else self.cut(data, tag, len(value), "bytes", path)

    def named(self, items: dict[str, Any], depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """Return a mapping whose keys are names, as of fields; the most frequent scalars are encoded here."""
        data: dict[str, Any] = {}
        tags: dict[str, Tag] = {}
        for name, item in items.items():
            left = self.left - (len(name) or 1)
            if left < 0:
                return self.cut(data, _container_tag(None, tags), len(items), "bytes", path)
            kind = type(item)
            if item is None or kind is bool or (kind is int and INT64_MIN <= item < INT64_END):
                self.left, data[name] = left - _SCALAR_COST_BYTES, item
            elif kind is str and len(item) <= min(left, self.large) and item.isascii():
                self.left, data[name] = left - (len(item) or 1), item
            else:
                self.left = left
                data[name], tag = self.node(item, depth - 1, (*path, name))
                if tag is not None:
                    tags[name] = tag
                if type(data[name]) is Leaf:
                    data[name].stands_in(data, name)
        return data, {"c": tags} if tags else None

    def pairs(self, value: dict[Any, Any], depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """Return a mapping with keys of any type."""
        items = list(islice(chain.from_iterable(value.items()), max(0, self.left) + 2))  # a pair counts 2 bytes or more
        data: dict[str, Any] = {}
        tags: dict[str, Tag] = {}
        keys: dict[str, list[Any]] = {}
        pairs: list[list[Any]] = []
        for key, item in zip(items[::2], items[1::2], strict=False):
            if self.left <= 0:
                break
            name, key_data, key_tag = self.key(key, depth - 1, path)
            shown, tag = self.node(item, depth - 1, (*path, name))
            if key_tag is not None or name is not key_data:
                keys[name] = [key_data, key_tag]
            if tag is not None:
                tags[name] = tag
            data[name] = shown
            pairs.append([key_data, key_tag, shown, tag])
            if type(shown) is Leaf:
                shown.stands_in(data, name)
                shown.stands_in(pairs[-1], 2)
        if len(data) < len(pairs):  # keys that are equal in JSON, as 1 and "1": the tag holds all pairs
            whole: Tag | None = {"t": "items", "x": pairs}
        else:
            whole = _container_tag("dict" if keys else None, tags, keys)
        return (data, whole) if len(pairs) == len(value) else self.cut(data, whole, len(value), "bytes", path)

    def key(self, key: Any, depth: int, path: tuple[object, ...]) -> tuple[str, Any, Tag | None]:
        """Return a key as a text for JSON, its own encoded data, and its tag."""
        if type(key) is str and key.isascii() and len(key) <= self.left:
            self.left -= len(key) or 1
            return key, key, None
        large, self.large = self.large, sys.maxsize  # a key cannot wait, since JSON has keys that are texts
        data, tag = self.node(key, depth, (*path, "(key)"))
        self.large = large
        if type(data) is str:
            return data, data, tag
        return _JSON.encode(data).decode(), data, tag

    def stand_in(self, value: Opaque | Truncated, depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """Return an `Opaque` or a `Truncated` that was read from a trace and is written again."""
        if isinstance(value, Opaque):
            data, tag = self.node(value.data, _depth_within(value.data, depth), path)
            state = value.state if plain_json(value.state, NO_LIMITS) is not None else {}
            return data, _class_tag(repaired(_guarded_text(str, value.type_name)), tag, state)
        data, tag = self.node(value.kept, _depth_within(value.kept, depth), path)
        size = value.size if type(value.size) is int and abs(value.size) < INT64_END else None
        return self.cut(data, tag, size, repaired(_guarded_text(str, value.reason)), path)

    def instance_of_class(self, value: Any, depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """Return an instance of a class by its registered function, its fields, or its `repr`."""
        cls = type(value)
        try:
            codec = BY_CLASS.get(cls)
            writer = codec.to_data if codec else _writer_of(cls)
            if writer is None:
                return self.repr_of(value, path)
            content, state = taken_apart(value) if writer is model_data else (writer(value), None)
        except BaseException as error:  # properties and functions of a user-defined class may raise anything
            if is_of_signal_handler(error):
                raise
            return self.repr_of(value, path)
        if type(content) is dict:  # not by `node`, since each call more is one level less of nesting that Python allows
            items = _with_names(content)
            data, tag = self.pairs(content, depth, path) if items is None else self.named(items, depth, path)
        else:
            data, tag = self.node(content, _depth_within(content, depth), path)
        name = _guarded_text(type_name if state is None else model_name, cls) if codec is None else codec.name
        return data, _class_tag(name, tag, state)

    def repr_of(self, value: Any, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        data, tag = self.text(_guarded_text(repr, value), path)
        return data, _class_tag(_guarded_text(type_name, type(value)), tag)

    def cut(
        self, kept: Any, tag: Tag | None, size: int | None, reason: str, path: tuple[object, ...]
    ) -> tuple[Any, Tag]:
        where = path_text(path)
        self.left -= len(where)
        self.cuts.append(where)
        return kept, _cut_tag(tag, size, reason)


def _cut_tag(tag: Tag | None, size: int | None, reason: str) -> Tag:
    marked: dict[str, Any] = {"t": "cut", "x": [size, reason]}
    if tag is not None:
        marked["k"] = tag
    return marked


def _container_tag(name: str | None, children: dict[str, Tag], extra: Any = None) -> Tag | None:
    extra = None if extra == {} else extra
    if not children and extra is None:
        return name
    tag: dict[str, Any] = {"t": name} if name else {}
    if children:
        tag["c"] = children
    if extra is not None:
        tag["x"] = extra
    return tag


def _depth_within(content: Any, depth: int) -> int:
    """Return the levels left for the content of an instance: a container takes the place of the instance."""
    return depth if type(content) is dict or _is_sequence(type(content)) else depth - 1


def _with_names(mapping: dict[Any, Any]) -> dict[str, Any] | None:
    """Return a copy of a mapping if all keys are short texts in ASCII, and few; else None."""
    if len(mapping) > _FEW_NAMES:
        return None
    items = mapping.copy()  # another thread may change it
    for key in items:
        if type(key) is not str:
            return None
    names = "".join(items)
    return items if names.isascii() and len(names) <= _NAMES_CHARACTERS else None


def _is_sequence(kind: type) -> bool:
    return id(kind) in _SEQUENCE_IDS


def _class_tag(name: str, inner: Tag | None, state: dict[str, Any] | None = None) -> Tag:
    """Return the tag of an instance; a pydantic model has a state, left out if it is empty, or no longer that of the data."""
    tag: dict[str, Any] = {"t": "class" if state is None else "model", "x": name}
    if inner is not None:
        tag["k"] = inner
    if state and not (type(inner) is dict and inner.get("t") == "cut"):
        tag["s"] = state
    return tag


def _size(value: Any) -> int | None:
    return len(value) if type(value) is dict or _is_sequence(type(value)) else None


def _guarded_text(describe: Callable[[Any], str], value: Any) -> str:
    """Return what `repr` or `str` returns for a value, or a text with the exception that its class raised."""
    try:
        text = describe(value)
        return text if type(text) is str else str.__str__(text)
    except BaseException as error:  # a user-defined `__repr__` or `__str__` may raise anything
        if is_of_signal_handler(error):
            raise
        return f"<{type(value).__name__} whose {describe.__name__} raised {type(error).__name__}>"


def path_text(path: Iterable[object]) -> str:
    """Return keys and indexes as a path: ``.answers[0].city``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{repaired(str(part))}" for part in path)
