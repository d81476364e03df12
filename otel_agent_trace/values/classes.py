"""Classes of the caller's own: how their values are taken apart, and built again by programs that registered them."""

from __future__ import annotations

import collections
import dataclasses
import enum
import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")
_NAME_CHARACTERS = 256


def repaired(text: str) -> str:
    """The text with what UTF-8 cannot say written as escapes, so that one value never takes its neighbours along."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class ClassCodec(msgspec.Struct, frozen=True):
    """How values of a registered class are taken apart and built again."""

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
    known_to, known_from = functions_for(cls)
    writer, reader = to_data or known_to, from_data or known_from
    if writer is None or reader is None:
        msg = f"register_type({cls.__qualname__}): give to_data= and from_data=, nothing is known of such a class"
        raise TypeError(msg)
    codec = ClassCodec(cls, name or type_name(cls), writer, reader)
    BY_CLASS[cls] = BY_NAME[codec.name] = codec
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


def functions_for(cls: type) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
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
    for base, parts in _PARTS.items():
        if issubclass(cls, base):
            return parts, cls
    return None, None


_PARTS: dict[type, Callable[[Any], Any]] = {
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
"""How a subclass of a built-in type is taken apart: by what the type holds, since its own `__iter__` may never end."""


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
