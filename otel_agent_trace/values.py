"""Any Python value ⇄ standard JSON beside a tree of type tags: faithful to types, bounded, never raising on user data.

`encode` gives JSON that everybody can read, and a tag where JSON alone would not bring the same value back; `restore`
puts the two together again. A tag is a name, or an object with

- ``t`` the name of the type, ``x`` what that type needs beside the JSON,
- ``c`` the tags of the children, by index or key, ``k`` the tag of what is kept of a cut value.

What JSON can say has no tag at all, so plain values cost one look.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar, cast, overload

import msgspec

T = TypeVar("T")
Tag = str | dict[str, Any]
"""How to get the value back from its JSON; absent where the JSON is the value."""

_INT64_MIN, _INT64_END = -(2**63), 2**63
_SCALAR_COST_BYTES = 8
_DECIMAL_BITS = 2000  # CPython may be told to refuse integers of more than 640 decimal digits
_NAME_CHARACTERS = 256
_SPECIAL_FLOAT_JSON: dict[str, str | float] = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-0.0": -0.0}
_NUMBER = msgspec.json.Encoder()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What of one recorded value is kept at most.

    `value_bytes` counts the UTF-8 bytes of its texts (at least 1) and 8 for every other scalar and container, and the
    paths of what was cut; `depth` its nesting;
    `error_bytes` bounds an error's message and its stack trace, each. What exceeds them is a `Cut`.
    """

    value_bytes: int = 1_048_576
    depth: int = 32
    error_bytes: int = 16_384


NO_LIMITS = Limits(value_bytes=2**62, depth=150, error_bytes=2**62)
"""For values that were bounded when they were recorded."""


class Cut(msgspec.Struct, frozen=True, eq=False):
    """What is left of a value that a limit cut.

    `kept` is the part that fits, of the type of the whole (None where nothing could be kept), `size` the length of the
    whole (None where it has none), `reason` one of "bytes", "depth", "cycle".
    """

    kept: Any
    size: int | None
    reason: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cut):
            return NotImplemented
        return (self.size, self.reason) == (other.size, other.reason) and same(self.kept, other.kept)

    def __hash__(self) -> int:
        return hash((self.size, self.reason))


class Opaque(msgspec.Struct, frozen=True, eq=False):
    """A value of a class that the reading program did not register.

    `type_name` is its module and qualified name; `data` what was recorded of it: its fields, its value, or its `repr`.
    """

    type_name: str
    data: Any

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Opaque):
            return NotImplemented
        return self.type_name == other.type_name and same(self.data, other.data)

    def __hash__(self) -> int:
        return hash(self.type_name)


class Encoded(msgspec.Struct, frozen=True):
    """JSON-able data, the tag that restores it, and the paths of what was cut."""

    data: Any
    tag: Tag | None
    cuts: tuple[str, ...] = ()


class EncodedText(msgspec.Struct, frozen=True):
    """JSON text, the tag that restores it, and the paths of what was cut."""

    text: str
    tag: Tag | None
    cuts: tuple[str, ...] = ()


# ── classes of the caller's own ──────────────────────────────────────────────────────────────────────────────────────


class _ClassCodec(msgspec.Struct, frozen=True):
    cls: type
    name: str
    to_data: Callable[[Any], Any]
    from_data: Callable[[Any], Any]


_BY_CLASS: dict[type, _ClassCodec] = {}
_BY_NAME: dict[str, _ClassCodec] = {}


@overload
def register_type(cls: type[T]) -> type[T]: ...
@overload
def register_type(
    cls: None = None,
    *,
    name: str | None = None,
    to_data: Callable[[Any], Any] | None = None,
    from_data: Callable[[Any], Any] | None = None,
) -> Callable[[type[T]], type[T]]: ...
@overload
def register_type(
    cls: type[T],
    *,
    name: str | None = None,
    to_data: Callable[[T], Any] | None = None,
    from_data: Callable[[Any], T] | None = None,
) -> type[T]: ...
def register_type(
    cls: type | None = None,
    *,
    name: str | None = None,
    to_data: Callable[[Any], Any] | None = None,
    from_data: Callable[[Any], Any] | None = None,
) -> Any:
    """Let values of `cls` come back as themselves when runs are read by this program; a decorator as well.

    Args:
        cls: a dataclass, an enum, a named tuple, a pydantic model, an attrs or msgspec class; any class with the two
            functions.
        name: the name in the traces; by default module and qualified name (a class of ``__main__`` under the name
            that its module has when imported).
        to_data: gives what is recorded: any value that can be recorded itself.
        from_data: builds the value from that.

    Raises:
        TypeError: `cls` is of none of these kinds and a function is missing.
    """
    if cls is None:
        return lambda decorated: register_type(decorated, name=name, to_data=to_data, from_data=from_data)
    known_to, known_from = _functions_for(cls)
    writer, reader = to_data or known_to, from_data or known_from
    if writer is None or reader is None:
        msg = f"register_type({cls.__qualname__}): give to_data= and from_data=, nothing is known of such a class"
        raise TypeError(msg)
    codec = _ClassCodec(cls, name or type_name(cls), writer, reader)
    _BY_CLASS[cls] = _BY_NAME[codec.name] = codec
    return cls


def type_name(cls: type) -> str:
    """Module and qualified name, bounded; for ``__main__`` the name under which others import that module."""
    module = cls.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        module = spec.name if spec else pathlib.PurePath(file).stem if file else module
    name = f"{module}.{cls.__qualname__}" if module != "builtins" else cls.__qualname__
    return repaired(name[:_NAME_CHARACTERS])


def _functions_for(cls: type) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
    """What is known of a kind of class: how to take its values apart, how to build them."""
    if issubclass(cls, enum.Enum):
        return (lambda value: value.value), cls
    if dataclasses.is_dataclass(cls):
        names = tuple(field.name for field in dataclasses.fields(cls))
        return _taking(names), lambda data: _build_dataclass(cls, data)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _taking(cls._fields), lambda data: cls(**data)
    if issubclass(cls, msgspec.Struct):
        return _taking(cls.__struct_fields__), lambda data: cls(**data)
    if hasattr(cls, "__attrs_attrs__"):
        return _taking(tuple(field.name for field in cls.__attrs_attrs__)), lambda data: _build_attrs(cls, data)
    if hasattr(cls, "model_dump") and hasattr(cls, "model_validate"):
        return (lambda value: value.model_dump()), lambda data: _build_pydantic(cls, data)
    for base in (str, int, float, bytes, dict, list, tuple, set, frozenset):
        if issubclass(cls, base):
            return base, cls
    return None, None


def _taking(names: tuple[str, ...]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: getattr(value, name) for name in names if hasattr(value, name)}


def _build_dataclass(cls: type, data: dict[str, Any]) -> Any:
    given = {field.name for field in dataclasses.fields(cls) if field.init}
    value = cls(**{name: item for name, item in data.items() if name in given})
    for name, item in data.items():  # all of them: the class may change what it is given
        object.__setattr__(value, name, item)
    return value


def _build_attrs(cls: Any, data: dict[str, Any]) -> Any:
    return cls(
        **{field.alias or field.name.lstrip("_"): data[field.name] for field in cls.__attrs_attrs__ if field.init}
    )


def _build_pydantic(cls: Any, data: Any) -> Any:
    """From the names of the fields, also where they have aliases."""
    try:
        return cls.model_validate(data, by_alias=True, by_name=True)
    except TypeError:  # before pydantic 2.11
        return cls.model_validate(data)


# ── built-in types that JSON has no word for: one row each ───────────────────────────────────────────────────────────


class _TextCodec(msgspec.Struct, frozen=True):
    """A type whose values are one text each, with an optional JSON-able extra that restores them better."""

    name: str
    to_text: Callable[[Any], str]
    from_text: Callable[[str, Any], Any]
    extra: Callable[[Any], Any] | None = None


_MICROSECOND = datetime.timedelta(microseconds=1)
_US_PER_S = 1_000_000


def _zone(value: datetime.datetime | datetime.time) -> list[Any] | None:
    """What the text does not say of the time zone: name, fold, and a fixed offset that is odd or has a name."""
    zone = value.tzinfo
    key = zone.key if isinstance(zone, zoneinfo.ZoneInfo) else None
    fixed = _offset(zone) if type(zone) is datetime.timezone else [0]
    if len(fixed) > 1 or fixed[0] % _US_PER_S:
        return [key, value.fold, fixed]
    return [key, value.fold] if key or value.fold else None


def _at_zone(value: Any, extra: Any) -> Any:
    if not extra:
        return value
    key, fold, *fixed = extra
    try:
        zone = zoneinfo.ZoneInfo(key) if key else _fixed_zone(*fixed) if fixed else value.tzinfo
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        zone = value.tzinfo
    return value.replace(tzinfo=zone, fold=fold)


def _offset(zone: datetime.timezone) -> list[Any]:
    """The offset in microseconds, and the name in ASCII where it was given one of bearable length."""
    offset, *names = zone.__getinitargs__()  # type: ignore[attr-defined]
    return [offset // _MICROSECOND, *(_escaped(name) for name in names if len(name) <= _NAME_CHARACTERS)]


def _fixed_zone(extra: Any) -> datetime.timezone:
    offset_us, *names = extra
    return datetime.timezone(offset_us * _MICROSECOND, *map(_unescaped, names))


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _unescaped(text: str) -> str:
    return text.encode("ascii").decode("unicode_escape")


def _integer_text(value: int) -> str:
    return str(value) if value.bit_length() < _DECIMAL_BITS else hex(value)


def _fraction_ends(value: fractions.Fraction) -> list[str] | None:
    """Numerator and denominator, where one is too long for the text to be read again."""
    ends = value.numerator, value.denominator
    return None if max(map(int.bit_length, ends)) < _DECIMAL_BITS else list(map(_integer_text, ends))


def _fraction_text(value: fractions.Fraction) -> str:
    ends = _fraction_ends(value)
    return str(value) if ends is None else "/".join(ends)


def _integers(texts: Iterable[str]) -> list[int]:
    return [int(text, 0) for text in texts]


def _range_ends(value: range) -> list[str]:
    return list(map(_integer_text, (value.start, value.stop, value.step)))


def _range_text(value: range) -> str:
    ends = _range_ends(value)
    return f"range({', '.join(ends if value.step != 1 else ends[:2])})"


def _bytes_text(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode("ascii")


_TEXT_CODECS: dict[type, _TextCodec] = {
    datetime.datetime: _TextCodec(
        "datetime",
        datetime.datetime.isoformat,
        lambda text, extra: _at_zone(datetime.datetime.fromisoformat(text), extra),
        _zone,
    ),
    datetime.date: _TextCodec("date", datetime.date.isoformat, lambda text, _: datetime.date.fromisoformat(text)),
    datetime.time: _TextCodec(
        "time", datetime.time.isoformat, lambda text, extra: _at_zone(datetime.time.fromisoformat(text), extra), _zone
    ),
    datetime.timedelta: _TextCodec(
        "timedelta",
        str,
        lambda _, extra: datetime.timedelta(*extra),
        lambda value: [value.days, value.seconds, value.microseconds],
    ),
    datetime.timezone: _TextCodec("timezone", str, lambda _, extra: _fixed_zone(extra), _offset),
    zoneinfo.ZoneInfo: _TextCodec("zoneinfo", str, lambda text, _: zoneinfo.ZoneInfo(text)),
    decimal.Decimal: _TextCodec("decimal", str, lambda text, _: decimal.Decimal(text)),
    fractions.Fraction: _TextCodec(
        "fraction",
        _fraction_text,
        lambda text, extra: fractions.Fraction(*_integers(extra)) if extra else fractions.Fraction(text),
        _fraction_ends,
    ),
    uuid.UUID: _TextCodec("uuid", str, lambda text, _: uuid.UUID(text)),
    complex: _TextCodec(
        "complex",
        str,
        lambda _, extra: complex(float(extra[0]), float(extra[1])),
        lambda value: [repr(value.real), repr(value.imag)],
    ),
    range: _TextCodec(
        "range",
        _range_text,
        lambda _, extra: range(*_integers(extra)),
        _range_ends,
    ),
    pathlib.PurePosixPath: _TextCodec("pureposixpath", str, lambda text, _: pathlib.PurePosixPath(text)),
    pathlib.PureWindowsPath: _TextCodec("purewindowspath", str, lambda text, _: pathlib.PureWindowsPath(text)),
    pathlib.PosixPath: _TextCodec("path", str, lambda text, _: pathlib.Path(text)),
    pathlib.WindowsPath: _TextCodec("path", str, lambda text, _: pathlib.Path(text)),
}
_TEXT_CODEC_BY_NAME = {codec.name: codec for codec in _TEXT_CODECS.values()}
_SEQUENCES: dict[type, str | None] = {
    list: None,
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    collections.deque: "deque",
}
_SEQUENCE_BY_NAME: dict[str, Callable[[Any], Any]] = {
    name: kind for kind, name in _SEQUENCES.items() if name is not None
}


# ── value → JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(value: Any, limits: Limits = NO_LIMITS) -> Encoded:
    """JSON-able data for any value, with its tag; never raises on what the value is or does."""
    if _plain_json(value, limits) is not None:
        return Encoded(value, None)
    walk = _Walk(limits)
    data, tag = walk.node(value, limits.depth, ())
    return Encoded(data, tag, tuple(walk.cuts))


def encode_text(value: Any, limits: Limits = NO_LIMITS) -> EncodedText:
    """Compact JSON text for any value, with its tag; never raises on what the value is or does."""
    text = _plain_json(value, limits)
    if text is not None:
        return EncodedText(text.decode(), None)
    walk = _Walk(limits)
    data, tag = walk.node(value, limits.depth, ())
    return EncodedText(_NUMBER.encode(data).decode(), tag, tuple(walk.cuts))


def encode_string(value: object, limits: Limits = NO_LIMITS) -> EncodedText:
    """A text that stands in an attribute as it is (a name, an id): repaired and bounded, with the tag that restores it.

    What is no text is recorded as the text that `str` makes of it.
    """
    text = value if type(value) is str else _guarded_text(str, value)
    if len(text) <= limits.value_bytes and text.isascii():
        return EncodedText(text, None)
    walk = _Walk(limits)
    data, tag = walk.text(text, ())
    return EncodedText(data, tag, tuple(walk.cuts))


def repaired(text: str) -> str:
    """The text with what UTF-8 cannot say written as escapes, so that one value never takes its neighbours along."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def is_iterator(value: object) -> bool:
    """Whether taking an item would change it: such values are never looked into."""
    return isinstance(
        value, Iterator | types.GeneratorType | types.AsyncGeneratorType | types.CoroutineType
    ) or hasattr(type(value), "__anext__")


def _plain_json(value: Any, limits: Limits) -> bytes | None:
    """The JSON of a value that JSON can say as it is, if the limits surely let it; None for what needs a walk."""
    try:
        if _room_after((value,), limits.depth + 1, limits.value_bytes) < 0:
            return None
        text = _NUMBER.encode(value)
    except (UnicodeEncodeError, RuntimeError):  # a lone surrogate; a change by another thread while we look
        return None
    return text if len(text) * _MAX_COST_OF_A_BYTE <= limits.value_bytes else None


def _room_after(items: Iterable[Any], depth: int, left: int) -> int:
    """What is left of so many characters after these items; negative where that is nothing, or one is not plain."""
    if depth == 0:
        return -1
    for item in items:
        kind = type(item)
        if kind is str:
            left -= len(item)
        elif kind is float:
            if item - item != 0.0 or (not item and math.copysign(1, item) < 0):
                return -1
        elif kind is int:
            if not _INT64_MIN <= item < _INT64_END:
                return -1
        elif kind is dict:
            if not _STRING_ONLY.issuperset(map(type, item)):
                return -1
            left = _room_after(item.values(), depth - 1, left - len(item))
        elif kind is list:
            left = _room_after(item, depth - 1, left - len(item))
        elif item is not None and kind is not bool:
            return -1
        if left < 0:
            return -1
    return left


_MAX_COST_OF_A_BYTE = 8
"""What a byte of JSON costs at most, by the limits' way of counting: a number of one digit."""
_STRING_ONLY = frozenset({str})


class _Walk:
    """One walk over one value: what is left of its budget, the containers it is inside of, what was cut."""

    __slots__ = ("cuts", "inside", "left")

    def __init__(self, limits: Limits) -> None:
        self.left = limits.value_bytes
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
        codec = _TEXT_CODECS.get(kind)
        if codec is not None:
            return self.coded(codec, value, path)
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
                return self.mapping(value, depth, path)
            if kind in _SEQUENCES:
                return self.sequence(value, _SEQUENCES[kind], depth, path)
            if kind is Opaque or kind is Cut:
                return self.marked(value, depth, path)
            return self.foreign(value, depth, path)
        finally:
            self.inside.discard(id(value))

    def text(self, value: str, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        try:
            size = len(value) if value.isascii() else len(value.encode())
        except UnicodeEncodeError:
            return self.broken_text(value, path)
        if size <= self.left:
            self.left -= size or 1
            return value, None
        kept = _prefix(value, self.left)
        self.left = 0
        return self.cut(kept, None, len(value), "bytes", path)

    def broken_text(self, value: str, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """A text with lone surrogates: repaired where everybody reads, whole in the tag."""
        kept = value if len(value) <= self.left else value[: max(0, self.left)]
        self.left = max(0, self.left - 2 * len(kept))
        tag: Tag = {"t": "str", "x": _escaped(kept)}
        shown = repaired(kept)
        return (shown, tag) if kept is value else self.cut(shown, tag, len(value), "bytes", path)

    def integer(self, value: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        self.left -= _SCALAR_COST_BYTES
        if _INT64_MIN <= value < _INT64_END:
            return value, None
        digits = value.bit_length() // 4 + 1
        if digits > self.left:
            return self.cut(None, None, digits, "bytes", path)
        self.left -= digits
        return _integer_text(value), "int"

    def number(self, value: float) -> tuple[Any, Tag | None]:
        self.left -= _SCALAR_COST_BYTES
        if value - value == 0.0 and (value or math.copysign(1, value) > 0):
            return value, None
        name = repr(value)
        return _SPECIAL_FLOAT_JSON[name], name

    def binary(self, value: bytes | bytearray, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        kept = value[: max(0, self.left * 3 // 4)]
        tag = type(value).__name__
        self.left -= len(kept) * 4 // 3
        shown = _bytes_text(kept)
        return (shown, tag) if len(kept) == len(value) else self.cut(shown, tag, len(value), "bytes", path)

    def coded(self, codec: _TextCodec, value: Any, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        try:
            shown, extra = codec.to_text(value), codec.extra(value) if codec.extra else None
        except Exception:  # noqa: BLE001 - a tzinfo or a Decimal context of the user's may raise anything
            return self.described(value, path)
        data, inner = self.text(shown, path)
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
            data.append(shown)
            if tag is not None:
                tags[str(index)] = tag
        tag = _container_tag(name, tags, getattr(value, "maxlen", None))
        return (data, tag) if len(data) == len(value) else self.cut(data, tag, len(value), "bytes", path)

    def mapping(self, value: dict[Any, Any], depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        items = list(islice(value.items(), max(0, self.left) + 1))
        data: dict[str, Any] = {}
        tags: dict[str, Tag] = {}
        keys: dict[str, list[Any]] = {}
        pairs: list[list[Any]] = []
        for key, item in items:
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
        if len(data) < len(pairs):  # keys that JSON cannot tell apart: the tag holds the whole
            whole: Tag | None = {"t": "items", "x": pairs}
        else:
            whole = _container_tag("dict" if keys else None, tags, keys)
        return (data, whole) if len(pairs) == len(value) else self.cut(data, whole, len(value), "bytes", path)

    def key(self, key: Any, depth: int, path: tuple[object, ...]) -> tuple[str, Any, Tag | None]:
        """The key as JSON spells it, its own data, its tag."""
        data, tag = self.node(key, depth, (*path, "(key)"))
        if type(data) is str:
            return data, data, tag
        return _NUMBER.encode(data).decode(), data, tag

    def marked(self, value: Opaque | Cut, depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """An `Opaque` or a `Cut` that was read somewhere, and is written again."""
        if isinstance(value, Opaque):
            data, tag = self.node(value.data, _below(value.data, depth), path)
            return data, _class_tag(repaired(_guarded_text(str, value.type_name)), tag)
        data, tag = self.node(value.kept, _below(value.kept, depth), path)
        size = value.size if type(value.size) is int and abs(value.size) < _INT64_END else None
        return self.cut(data, tag, size, repaired(_guarded_text(str, value.reason)), path)

    def foreign(self, value: Any, depth: int, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        """A value of some class: what is known of the class decides."""
        cls = type(value)
        codec = _BY_CLASS.get(cls)
        try:
            writer = codec.to_data if codec else None if is_iterator(value) else _functions_for(cls)[0]
            if writer is None:
                return self.described(value, path)
            parts = writer(value)
        except (KeyboardInterrupt, SystemExit):  # a signal handler's, that happened to arrive here
            raise
        except BaseException:  # noqa: BLE001 - the caller's class may do anything when it is looked at
            return self.described(value, path)
        data, tag = self.node(parts, _below(parts, depth), path)
        return data, _class_tag(codec.name if codec else _guarded_text(type_name, cls), tag)

    def described(self, value: Any, path: tuple[object, ...]) -> tuple[Any, Tag | None]:
        data, tag = self.text(_guarded_text(repr, value), path)
        return data, _class_tag(_guarded_text(type_name, type(value)), tag)

    def cut(
        self, kept: Any, tag: Tag | None, size: int | None, reason: str, path: tuple[object, ...]
    ) -> tuple[Any, Tag]:
        where = _path_text(path)
        self.left -= len(where)
        self.cuts.append(where)
        marked: dict[str, Any] = {"t": "cut", "x": [size, reason]}
        if tag is not None:
            marked["k"] = tag
        return kept, marked


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


def _below(parts: Any, depth: int) -> int:
    """The levels left for what a value of a class is made of: a container of it makes none of its own."""
    return depth if type(parts) is dict or type(parts) in _SEQUENCES else depth - 1


def _class_tag(name: str, inner: Tag | None) -> Tag:
    return {"t": "class", "x": name} if inner is None else {"t": "class", "x": name, "k": inner}


def _size(value: Any) -> int | None:
    return len(value) if type(value) in (dict, *_SEQUENCES) else None


def _prefix(text: str, size_bytes: int) -> str:
    return text.encode()[:size_bytes].decode("utf-8", "ignore") if size_bytes > 0 else ""


def _guarded_text(describe: Callable[[Any], str], value: Any) -> str:
    """What `repr` or `str` says, or that it could not: foreign code runs here, so anything may come out of it."""
    try:
        text = describe(value)
        return text if type(text) is str else str.__str__(text)
    except (KeyboardInterrupt, SystemExit):  # a signal handler's, that happened to arrive here
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the value's doing, not the program's
        return f"<{type(value).__name__} whose {describe.__name__} raised {type(error).__name__}>"


def _path_text(path: Iterable[object]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{repaired(str(part))}" for part in path)


# ── JSON → value ─────────────────────────────────────────────────────────────────────────────────────────────────────

_BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ArithmeticError, RecursionError)
_decode_json = msgspec.json.Decoder().decode


def decode_text(text: object, tag: Tag | None = None) -> Any:
    """The value of a JSON text; a text that is no JSON stays as it is, and so does what is no text."""
    if type(text) is not str:
        return text if tag is None else restore(text, tag)
    try:
        data = _decode_json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text
    return data if tag is None else restore(data, tag)


def restore(data: Any, tag: Tag | None) -> Any:
    """The value that `encode` was given; where tag and data do not fit (a damaged trace), the data as it stands."""
    if tag is None:
        return data
    name = tag if isinstance(tag, str) else tag.get("t") if isinstance(tag, dict) else None
    try:
        return _RESTORERS[name](data, tag if isinstance(tag, dict) else {})
    except _BROKEN:
        return data


def _restore_children(data: Any, tag: dict[str, Any]) -> Any:
    children = tag.get("c")
    if not children:
        return data
    if isinstance(data, list):
        return [restore(item, children.get(str(index))) for index, item in enumerate(data)]
    return {key: restore(item, children.get(key)) for key, item in data.items()}


def _restore_dict(data: Any, tag: dict[str, Any]) -> dict[Any, Any]:
    keys, children = tag.get("x") or {}, tag.get("c") or {}
    return {
        restore(*keys[name]) if name in keys else name: restore(item, children.get(name)) for name, item in data.items()
    }


def _restore_items(_: Any, tag: dict[str, Any]) -> dict[Any, Any]:
    return {restore(key, key_tag): restore(item, item_tag) for key, key_tag, item, item_tag in tag["x"]}


def _restore_class(data: Any, tag: dict[str, Any]) -> Any:
    name, parts = str(tag["x"]), restore(data, tag.get("k"))
    codec = _BY_NAME.get(name)
    if codec is None:
        return Opaque(name, parts)
    try:
        return codec.from_data(parts)
    except Exception:  # noqa: BLE001 - the caller's class may refuse data of another version in any way
        return Opaque(name, parts)


def _restore_cut(data: Any, tag: dict[str, Any]) -> Cut:
    size, reason = tag["x"]
    return Cut(restore(data, tag.get("k")), size, str(reason))


def _restore_text_codec(codec: _TextCodec) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda data, tag: codec.from_text(restore(data, tag.get("k")), tag.get("x"))


def _restore_sequence(build: Callable[[Any], Any]) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda data, tag: build(_restore_children(data, tag))


def _restore_special_float(name: str) -> Callable[[Any, dict[str, Any]], float]:
    return lambda _data, _tag: float(name)  # each NaN one of its own, as members of sets are


_RESTORERS: dict[str | None, Callable[[Any, dict[str, Any]], Any]] = {
    None: _restore_children,
    "dict": _restore_dict,
    "items": _restore_items,
    "class": _restore_class,
    "cut": _restore_cut,
    "none": lambda _data, _tag: None,
    "str": lambda _, tag: _unescaped(tag["x"]),
    "int": lambda data, _: int(data, 0),
    "bytes": lambda data, _: base64.b64decode(data, validate=True),
    "bytearray": lambda data, _: bytearray(base64.b64decode(data, validate=True)),
    **{name: _restore_special_float(name) for name in _SPECIAL_FLOAT_JSON},
    **{name: _restore_sequence(build) for name, build in _SEQUENCE_BY_NAME.items()},
    "deque": lambda data, tag: collections.deque(_restore_children(data, tag), tag.get("x")),
    **{name: _restore_text_codec(codec) for name, codec in _TEXT_CODEC_BY_NAME.items()},
}


# ── equality ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def same(one: Any, other: Any) -> bool:
    """Equal by type and value: NaN is NaN, -0.0 is not 0.0, True is not 1, a tuple is no list."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is float:
        return (one == other and math.copysign(1, one) == math.copysign(1, other)) or (one != one and other != other)  # noqa: PLR0124
    if kind is collections.deque and one.maxlen != other.maxlen:
        return False
    if kind is list or kind is tuple or kind is collections.deque:
        return len(one) == len(other) and all(map(same, one, other))
    if kind is dict:
        return _same_mappings(one, other)
    if kind is set or kind is frozenset:
        return _same_members(list(one), list(other))
    if kind in _PLAIN:
        return bool(one == other)
    codec = _TEXT_CODECS.get(kind)
    if codec is not None:
        extra = codec.extra or _no_extra
        return codec.to_text(one) == codec.to_text(other) and bool(extra(one) == extra(other))
    parts = _parts_of(kind)
    return bool(one == other) if parts is None else same(parts(one), parts(other))


_PLAIN = frozenset({str, int, bool, bytes, bytearray, type(None)})


def _no_extra(_: Any) -> None:
    """What a text codec without an extra has to say beside the text."""


def _parts_of(kind: type) -> Callable[[Any], Any] | None:
    """What makes values of a class equal, where their own equality is that of Python, or is none."""
    if issubclass(kind, msgspec.Struct) and not kind.__struct_config__.eq:
        return None
    known = _functions_for(kind)[0]
    if known is None and kind in _BY_CLASS and cast("Any", kind).__eq__ is object.__eq__:
        return _BY_CLASS[kind].to_data
    return known


def _same_mappings(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    if len(one) != len(other):
        return False
    if all(type(key) is str and key in other for key in one):
        return all(same(item, other[key]) for key, item in one.items())
    return _same_members(list(one.items()), list(other.items()))


def _same_members(one: list[Any], other: list[Any]) -> bool:
    """Whether each member of one has a twin of its own in the other, in any order."""
    if len(one) != len(other):
        return False
    rest = list(other)
    for item in one:
        index = next((i for i, candidate in enumerate(rest) if same(item, candidate)), None)
        if index is None:
            return False
        del rest[index]
    return True
