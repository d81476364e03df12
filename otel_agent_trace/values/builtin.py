"""Define how built-in types that JSON does not have are written as texts and lists, one row for each type."""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import fractions
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

SPECIAL_FLOAT_JSON: dict[str, str | float] = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-0.0": -0.0}
_DECIMAL_BITS = 2000  # PYTHONINTMAXSTRDIGITS may forbid decimal texts of more than 640 digits, about 2125 bits
_NAME_CHARACTERS = 256


class TextCodec(msgspec.Struct, frozen=True):
    """Describe a type whose values are written as a text, with optional data for what the text omits."""

    name: str
    to_text: Callable[[Any], str]
    from_text: Callable[[str, Any], Any]
    extra: Callable[[Any], Any] | None = None


_MICROSECOND = datetime.timedelta(microseconds=1)
_US_PER_S = 1_000_000


def _zone(value: datetime.datetime | datetime.time) -> list[Any] | None:
    """Return what ISO 8601 omits of a time zone: its key, the fold, and a fixed offset with a name or microseconds."""
    zone = value.tzinfo
    key = zone.key if isinstance(zone, zoneinfo.ZoneInfo) else None
    fixed = _offset(zone) if type(zone) is datetime.timezone else [0]
    if len(fixed) > 1 or fixed[0] % _US_PER_S:
        return [key, value.fold, fixed]
    return [key, value.fold] if key or value.fold else None


def _with_zone(value: Any, extra: Any) -> Any:
    if not extra:
        return value
    key, fold, *fixed = extra
    try:
        zone = zoneinfo.ZoneInfo(key) if key else _fixed_zone(*fixed) if fixed else value.tzinfo
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        zone = value.tzinfo
    return value.replace(tzinfo=zone, fold=fold)


def _offset(zone: datetime.timezone) -> list[Any]:
    """Return the offset in microseconds, and the name in ASCII if there is one of at most 256 characters."""
    offset, *names = zone.__getinitargs__()  # type: ignore[attr-defined]
    return [offset // _MICROSECOND, *(escaped(name) for name in names if len(name) <= _NAME_CHARACTERS)]


def _fixed_zone(extra: Any) -> datetime.timezone:
    offset_us, *names = extra
    return datetime.timezone(offset_us * _MICROSECOND, *map(unescaped, names))


def escaped(text: str) -> str:
    """Return a text in ASCII, with escapes for all other characters."""
    return text.encode("unicode_escape").decode("ascii")


def unescaped(text: str) -> str:
    """Return the text that was given to `escaped`."""
    return text.encode("ascii").decode("unicode_escape")


def integer_text(value: int) -> str:
    """Return an integer in decimal digits, or in hexadecimal ones if `int` may refuse so many decimal digits."""
    return str(value) if value.bit_length() < _DECIMAL_BITS else hex(value)


def _fraction_ends(value: fractions.Fraction) -> list[str] | None:
    """Return numerator and denominator if either is too long for `Fraction` to parse, else None."""
    ends = value.numerator, value.denominator
    return None if max(map(int.bit_length, ends)) < _DECIMAL_BITS else list(map(integer_text, ends))


def _fraction_text(value: fractions.Fraction) -> str:
    ends = _fraction_ends(value)
    return str(value) if ends is None else "/".join(ends)


def _integers(texts: Iterable[str]) -> list[int]:
    return [int(text, 0) for text in texts]


def _range_ends(value: range) -> list[str]:
    return list(map(integer_text, (value.start, value.stop, value.step)))


def _range_text(value: range) -> str:
    ends = _range_ends(value)
    return f"range({', '.join(ends if value.step != 1 else ends[:2])})"


def bytes_text(value: bytes | bytearray) -> str:
    """Return bytes in base64."""
    return base64.b64encode(value).decode("ascii")


TEXT_CODECS: dict[type, TextCodec] = {
    datetime.datetime: TextCodec(
        "datetime",
        datetime.datetime.isoformat,
        lambda text, extra: _with_zone(datetime.datetime.fromisoformat(text), extra),
        _zone,
    ),
    datetime.date: TextCodec("date", datetime.date.isoformat, lambda text, _: datetime.date.fromisoformat(text)),
    datetime.time: TextCodec(
        "time", datetime.time.isoformat, lambda text, extra: _with_zone(datetime.time.fromisoformat(text), extra), _zone
    ),
    datetime.timedelta: TextCodec(
        "timedelta",
        str,
        lambda _, extra: datetime.timedelta(*extra),
        lambda value: [value.days, value.seconds, value.microseconds],
    ),
    datetime.timezone: TextCodec("timezone", str, lambda _, extra: _fixed_zone(extra), _offset),
    zoneinfo.ZoneInfo: TextCodec("zoneinfo", str, lambda text, _: zoneinfo.ZoneInfo(text)),
    decimal.Decimal: TextCodec("decimal", str, lambda text, _: decimal.Decimal(text)),
    fractions.Fraction: TextCodec(
        "fraction",
        _fraction_text,
        lambda text, extra: fractions.Fraction(*_integers(extra)) if extra else fractions.Fraction(text),
        _fraction_ends,
    ),
    uuid.UUID: TextCodec("uuid", str, lambda text, _: uuid.UUID(text)),
    complex: TextCodec(
        "complex",
        str,
        lambda _, extra: complex(float(extra[0]), float(extra[1])),
        lambda value: [repr(value.real), repr(value.imag)],
    ),
    range: TextCodec(
        "range",
        _range_text,
        lambda _, extra: range(*_integers(extra)),
        _range_ends,
    ),
    pathlib.PurePosixPath: TextCodec("pureposixpath", str, lambda text, _: pathlib.PurePosixPath(text)),
    pathlib.PureWindowsPath: TextCodec("purewindowspath", str, lambda text, _: pathlib.PureWindowsPath(text)),
    pathlib.PosixPath: TextCodec("path", str, lambda text, _: pathlib.Path(text)),
    pathlib.WindowsPath: TextCodec("path", str, lambda text, _: pathlib.Path(text)),
}
TEXT_CODEC_BY_NAME = {codec.name: codec for codec in TEXT_CODECS.values()}
SEQUENCES: dict[type, str | None] = {
    list: None,
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    collections.deque: "deque",
}
SEQUENCE_BY_NAME: dict[str, Callable[[Any], Any]] = {name: kind for kind, name in SEQUENCES.items() if name is not None}
