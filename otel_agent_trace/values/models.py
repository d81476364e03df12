"""Take instances of pydantic models apart, field by field, and build them again without validation.

`model_dump` loses the classes of nested values, and excluded and private fields; `model_validate` runs validators a second
time, and refuses what clients of model providers build without validation. So what an instance holds is read and set as it
is. No code of the class runs: no serializer, no validator, no property, no ``__setattr__``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from otel_agent_trace.values.builtin import escaped, unescaped
from otel_agent_trace.values.members import class_dicts, is_subclass

State = dict[str, Any]
"""Facts about a model that are missing in its data, each with a list of names, and left out where that is empty.

- ``unset``: fields, and extra ones, that are not in ``model_fields_set``, or have no value; ``unset_escaped`` where UTF-8
  cannot represent one of their names,
- ``extra``, ``private``: names in the data that are no fields, or True where the data has them in a mapping under
  ``__pydantic_extra__`` or ``__pydantic_private__``, since a name is there twice, or UTF-8 cannot represent one,
- ``root``: True where the data is the root of a `RootModel`.
"""
_PARTS = {"extra": "__pydantic_extra__", "private": "__pydantic_private__"}
_BUILTIN_FACTORIES = (list, dict, set, frozenset, tuple, str, int, float, bool)


def is_model(cls: type) -> bool:
    """Return whether a class is a model of pydantic 2."""
    module = sys.modules.get("pydantic.main")
    return module is not None and is_subclass(cls, module.BaseModel)


def model_data(value: Any) -> Any:
    """Return the data of a model: its fields, its extra fields, private ones and other attributes, or its root."""
    return taken_apart(value)[0]


def taken_apart(value: Any) -> tuple[Any, State]:
    """Return the data of a model, and its state; values of cached properties are left out."""
    fields = model_fields(type(value))
    stored, are_set = _slot(value, "__dict__"), _slot(value, "__pydantic_fields_set__") or set()
    extra, private = _slot(value, "__pydantic_extra__") or {}, _slot(value, "__pydantic_private__") or {}
    data: dict[str, Any] = stored.copy() if stored.keys() <= fields.keys() else _without_cached(value, stored, fields)
    state: State = {}
    if extra:
        _add(data, state, "extra", extra)
    if not (are_set.issuperset(fields) and are_set.issuperset(extra) and stored.keys() >= fields.keys()):
        unset = [name for name in fields if name not in are_set or name not in stored]
        unset += [name for name in extra if name not in are_set]
        state |= {"unset": unset} if _can_be_sent(unset) else {"unset_escaped": list(map(escaped, unset))}
    if private:
        _add(data, state, "private", private)
    if len(data) == 1 and "root" in data and type(value).__pydantic_root_model__:
        return data["root"], {**state, "root": True}
    return data, state


def put_together(cls: Any, data: Any, state: State) -> Any:
    """Return an instance of a model with data and state of `taken_apart`; nothing is validated.

    A field that the class had not when the data was recorded has its default.

    Raises:
        TypeError: such a field has no default, or one that only code of the program makes; the data is no mapping.
    """
    stored = {"root": data} if state.get("root") else dict(data)
    extra, private = (_taken(stored, state.get(part), key) for part, key in _PARTS.items())
    fields, unset = model_fields(cls), {*state.get("unset", ()), *map(unescaped, state.get("unset_escaped", ()))}
    are_set = {*(name for name in stored if name in fields), *extra} - unset
    for name, field in fields.items():
        if name not in stored and name not in unset:
            stored[name] = _default(name, field)
    for name, attribute in cls.__private_attributes__.items():
        if name not in private and attribute.default_factory is None and _is_given(attribute.default):
            private[name] = attribute.get_default()
    value = object.__new__(cls)
    object.__setattr__(value, "__dict__", stored)
    object.__setattr__(value, "__pydantic_fields_set__", are_set)
    has_parts = cls.model_config.get("extra") == "allow", cls.__private_attributes__
    for key, part, has_part in zip(_PARTS.values(), (extra, private), has_parts, strict=True):
        if part or has_part or not cls.__pydantic_root_model__:  # the class of a `RootModel` has None for them
            object.__setattr__(value, key, part if part or has_part else None)
    return value


def model_fields(cls: Any) -> Mapping[str, Any]:
    """Return the fields of a model, or of a dataclass of pydantic, by name."""
    fields: Mapping[str, Any] | None = getattr(cls, "__pydantic_fields__", None)
    return cls.model_fields if fields is None else fields  # before pydantic 2.10


def origin_of(cls: type) -> type:
    """Return the generic model of which a class is a variant for certain types; the class itself if it is none."""
    metadata = getattr(cls, "__pydantic_generic_metadata__", None) if is_model(cls) else None
    return (metadata or {}).get("origin") or cls


def _slot(value: Any, name: str) -> Any:
    """Return what a slot of a model holds, None where that was never set."""
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None


def _without_cached(value: Any, stored: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes without those that properties of the class keep there."""
    dicts = class_dicts(type(value))
    return {
        name: item
        for name, item in list(stored.items())
        if name in fields
        or not (
            name in _PARTS.values()  # where a `RootModel` keeps them
            or any(name in members and hasattr(type(members[name]), "__get__") for members in dicts)
        )
    }


def _add(data: dict[str, Any], state: State, part: str, items: Mapping[str, Any]) -> None:
    if items.keys().isdisjoint(data) and items.keys().isdisjoint(_PARTS.values()) and _can_be_sent(items):
        data.update(items)
        state[part] = list(items)
    else:
        data[_PARTS[part]] = dict(items)
        state[part] = True


def _taken(stored: dict[str, Any], names: list[str] | bool | None, key: str) -> dict[str, Any]:
    """Return a part of the data, and remove it from there."""
    if names is True:
        return dict(stored.pop(key))
    return {name: stored.pop(name) for name in names or () if name in stored}


def _can_be_sent(names: Iterable[str]) -> bool:
    """Return whether UTF-8 can represent all names."""
    try:
        "".join(names).encode()
    except (UnicodeEncodeError, TypeError):
        return False
    return True


def _default(name: str, field: Any) -> Any:
    if field.default_factory in _BUILTIN_FACTORIES:
        return field.default_factory()
    if field.default_factory is not None or not _is_given(field.default):
        raise TypeError(f"{name} was not recorded")
    return field.get_default()


def _is_given(default: Any) -> bool:
    return default is not sys.modules["pydantic_core"].PydanticUndefined and default is not ...
