"""Register user-defined classes: how their values are converted to data, and built from data when they are read."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

import msgspec

from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.values.fields import dumped, loader_of
from otel_agent_trace.values.models import is_model, model_data, origin_of

T = TypeVar("T")
_NAME_CHARACTERS = 256


def repaired(text: str) -> str:
    """Return a text with escapes for lone surrogates, which UTF-8 cannot encode, so that a span with it can be sent."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class ClassCodec(msgspec.Struct, frozen=True):
    """Describe how values of a registered class are converted to data and built from it."""

    cls: type
    name: str
    to_data: Callable[[Any], Any]
    from_data: Callable[[Any], Any]


BY_CLASS: dict[type, ClassCodec] = {}
BY_NAME: dict[str, ClassCodec] = {}


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
    """Register a class, so that its recorded values are restored as instances; usable as a decorator.

    Values of classes that the reading program did not register are restored as `Opaque`. No class is ever imported
    because a trace names it.

    Args:
        cls: a dataclass, an enum, a named tuple, a pydantic model, an attrs or msgspec class; or any class, with both
            functions.
        name: the name in traces; by default module and qualified name (for a class of ``__main__``, with the name
            that its module has when it is imported).
        to_data: converts an instance to the data to record: any value.
        from_data: builds an instance from that data.

    Returns:
        `cls`; a decorator if it is omitted.

    Raises:
        TypeError: `cls` is of no such kind, and a function is missing.
    """
    if cls is None:
        return lambda decorated: register_type(decorated, name=name, to_data=to_data, from_data=from_data)
    known_to, known_from = functions_for(cls)
    writer, reader = to_data or known_to, from_data or known_from
    if writer is None or reader is None:
        msg = f"register_type({cls.__qualname__}) needs to_data= and from_data= for a class of this kind"
        raise TypeError(msg)
    codec = ClassCodec(cls, name or type_name(cls), writer, reader)
    BY_CLASS[cls] = BY_NAME[codec.name] = codec
    return cls


def type_name(cls: type) -> str:
    """Return module and qualified name in at most 256 characters; ``__main__`` gives way to the module's real name."""
    module = origin_of(cls).__module__  # that of a variant of a generic model is where it was written first
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        module = spec.name if spec else pathlib.PurePath(file).stem if file else module
    name = f"{module}.{cls.__qualname__}" if module != "builtins" else cls.__qualname__
    return repaired(name[:_NAME_CHARACTERS])


model_name = functools.lru_cache(maxsize=256)(type_name)
"""Return the name of a pydantic model, which is asked for often."""


def functions_for(cls: type) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
    """Return the functions that convert instances of a class to data and back, None for each that is not known."""
    loaded = loader_of(cls)
    if loaded is None:
        return _functions_for_kind(cls)
    return loaded, _functions_for_kind(cls)[1] or (lambda data: cls(**data))


def _functions_for_kind(cls: type) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
    if is_model(cls):
        return model_data, functools.partial(_build_pydantic, cls)
    if issubclass(cls, enum.Enum):
        return (lambda value: value.value), cls
    if dataclasses.is_dataclass(cls):
        return _functions_for_dataclass(cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _field_getter(cls._fields), lambda data: cls(**data)
    if issubclass(cls, msgspec.Struct):
        return _field_getter(cls.__struct_fields__), lambda data: cls(**data)
    if hasattr(cls, "__attrs_attrs__"):
        return _field_getter(tuple(field.name for field in cls.__attrs_attrs__)), lambda data: _build_attrs(cls, data)
    if hasattr(cls, "model_dump") and hasattr(cls, "model_validate"):
        return dumped, lambda data: _build_pydantic(cls, data)
    for base, to_builtin in _TO_BUILTIN.items():
        if issubclass(cls, base):
            return to_builtin, cls
    return None, None


_TO_BUILTIN: dict[type, Callable[[Any], Any]] = {
    str: str,
    int: int,
    float: float,
    bytes: bytes,
    dict: dict.copy,
    list: list.copy,
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    set: set,
    frozenset: frozenset,
    collections.deque: lambda value: collections.deque(collections.deque.__iter__(value)),
}
"""Converters for subclasses of built-in types. They bypass the subclass's own `__iter__`, which may never end."""


def _field_getter(names: tuple[str, ...]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: item for name in names if (item := _field(value, name)) is not _MISSING}


_MISSING: Any = object()


def _field(value: Any, name: str) -> Any:
    """Return a field of an object, `_MISSING` if it has none, or a text with the exception that reading it raised."""
    try:
        return getattr(value, name, _MISSING)
    except BaseException as error:  # a field may be a property or another descriptor, which may raise anything
        if is_of_signal_handler(error):
            raise
        return f"<{type(value).__name__} whose {name} raised {type(error).__name__}>"


def _functions_for_dataclass(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return the functions of a dataclass; one of pydantic is built without validation, and may have extra fields."""
    names = tuple(field.name for field in dataclasses.fields(cls))
    getter = _field_getter(names)
    if not getattr(cls, "__is_pydantic_dataclass__", False):
        return getter, lambda data: _build_dataclass(cls, data)
    has_extra = (getattr(cls, "__pydantic_config__", None) or {}).get("extra") == "allow"
    return (lambda value: {**vars(value), **getter(value)}) if has_extra else getter, (
        lambda data: _with_fields(object.__new__(cls), data, names)
    )


def _with_fields(value: Any, data: dict[str, Any], names: Iterable[str]) -> Any:
    """Return an instance after all its fields were set; a default that is not recorded is the class's attribute."""
    for name, item in data.items():
        object.__setattr__(value, name, item)
    missing = [name for name in names if not hasattr(value, name)]
    if missing:
        raise TypeError(f"{missing[0]} was not recorded")
    return value


def _build_dataclass(cls: type, data: dict[str, Any]) -> Any:
    parameters = {field.name for field in dataclasses.fields(cls) if field.init}
    value = cls(**{name: item for name, item in data.items() if name in parameters})
    return _with_fields(value, data, ())  # all, since `__post_init__` may have changed them again


def _build_attrs(cls: Any, data: dict[str, Any]) -> Any:
    fields = cls.__attrs_attrs__
    value = cls(**{field.alias or field.name.lstrip("_"): data[field.name] for field in fields if field.init})
    return _with_fields(value, data, ())  # all, since converters may have changed them again


def _build_pydantic(cls: Any, data: Any) -> Any:
    """Return a pydantic model from data by field names, even if its fields have aliases."""
    try:
        return cls.model_validate(data, by_alias=True, by_name=True)
    except TypeError:  # before pydantic 2.11
        return cls.model_validate(data)
