"""Read the fields of pydantic models and of objects that are mapped to a database, without effects on the program.

Pydantic warns about values that do not fit their annotation, as in the results of OpenAI's ``parse()``; computed fields
run code of the program. Reading an attribute of a mapped object, or its ``repr``, may send a query, which blocks, fails
outside of a session, and cannot be awaited in an async one. So only what such an object has loaded is read.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.values.members import class_dicts

_OPTIONS = {"round_trip": True, "warnings": False}
"""Options of ``model_dump``: no computed fields, since ``model_validate`` needs none, and no warnings."""
_FUNCTIONS = (types.FunctionType, types.MethodType)
"""Types of a real ``model_dump``: a mock has an attribute of every name, and one of `AsyncMock` warns after it was called."""


def fields_of(value: Any, *, exclude_none: bool = False) -> dict[Any, Any] | None:
    """Return the fields of a mapped object, or of one with the method ``model_dump``; None for all other objects.

    Args:
        value: the object.
        exclude_none: whether fields of a pydantic model that are None are omitted.
    """
    loaded = loader_of(type(value))
    if loaded is not None:
        data = loaded(value)
    elif issubclass(type(getattr(value, "model_dump", None)), _FUNCTIONS):
        data = dumped(value, exclude_none=exclude_none)
    else:
        return None
    return data if type(data) is dict else None


# ── pydantic ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def dumped(value: Any, *, exclude_none: bool = False) -> Any:
    """Return what ``model_dump`` returns, with the options that it accepts; the fields as they are if it raises."""
    options = {**_OPTIONS, "exclude_none": True} if exclude_none else _OPTIONS
    function = getattr(type(value), "model_dump", None)
    names = _keywords_of(function if type(function) is types.FunctionType else value.model_dump)
    try:
        return value.model_dump(
            **(options if names is None else {key: options[key] for key in options if key in names})
        )
    except BaseException as error:  # a serializer of the program may raise anything, a warning may be an error
        if is_of_signal_handler(error) or not hasattr(type(value), "__pydantic_serializer__"):
            raise
        return _stored_fields(value)


@functools.lru_cache(maxsize=256)
def _keywords_of(function: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names of a function's parameters; None if it accepts all keywords."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return frozenset(parameters)


def _stored_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a pydantic model without its serializers, and without those that it excludes."""
    cls, stored = type(value), vars(value)
    fields = getattr(cls, "__pydantic_fields__", None) or cls.model_fields  # the former since pydantic 2.10
    shown = {name: stored[name] for name, field in fields.items() if name in stored and not field.exclude}
    return {**shown, **(value.__pydantic_extra__ or {})}


# ── mapped objects ───────────────────────────────────────────────────────────────────────────────────────────────────


def loader_of(cls: type) -> Callable[[Any], Any] | None:
    """Return the function that reads what a mapped object, or a query or lazy object of Django, has loaded; None for other classes."""
    for name, is_mapped, loaded in _MAPPERS:
        module = sys.modules.get(name)
        if module is not None and is_mapped(module, cls):
            return loaded
    return None


def is_mapped(cls: type) -> bool:
    """Return whether instances of a class are mapped to a database, so that attributes may not simply be read."""
    return loader_of(cls) is not None


def _is_mapped_by_sqlalchemy(_: Any, cls: type) -> bool:
    return any("_sa_class_manager" in members for members in class_dicts(cls))


def _loaded_by_sqlalchemy(value: Any) -> dict[str, Any]:
    """Return the primary key of a stored object, and its attributes that are loaded; those of an expired one are not."""
    stored = vars(value)
    state = stored["_sa_instance_state"]
    loaded = {name: item for name, item in stored.items() if name in state.manager or not name.startswith("_")}
    if not state.identity:
        return loaded
    keys = [state.mapper.get_property_by_column(column).key for column in state.mapper.primary_key]
    return {**dict(zip(keys, state.identity, strict=True)), **loaded}


def _loaded_by_django(value: Any) -> dict[str, Any]:
    return {name: item for name, item in vars(value).items() if not name.startswith("_")}


def _results_of_django(value: Any) -> Any:
    """Return the results of a query set that was evaluated, else only what it selects; its ``repr`` sends the query."""
    results = vars(value)["_result_cache"]
    return f"<{type(value).__name__} of {value.model.__name__}, not evaluated>" if results is None else list(results)


def _object_behind(value: Any) -> Any:
    """Return what a lazy object of Django stands for, as ``request.user``, once that was loaded."""
    loaded = vars(value)["_wrapped"]
    is_loaded = loaded is not sys.modules["django.utils.functional"].empty
    return loaded if is_loaded else f"<{type(value).__name__}, not evaluated>"


def _loaded_by_peewee(value: Any) -> dict[str, Any]:
    return dict(vars(value)["__data__"])


def _is_instance_of(base: str) -> Callable[[Any, type], bool]:
    return lambda module, cls: issubclass(cls, getattr(module, base, ()))


_MAPPERS: tuple[tuple[str, Callable[[Any, type], bool], Callable[[Any], Any]], ...] = (
    ("sqlalchemy.orm", _is_mapped_by_sqlalchemy, _loaded_by_sqlalchemy),
    ("django.db.models", _is_instance_of("Model"), _loaded_by_django),
    ("django.db.models", _is_instance_of("QuerySet"), _results_of_django),
    ("django.utils.functional", _is_instance_of("LazyObject"), _object_behind),
    ("peewee", _is_instance_of("Model"), _loaded_by_peewee),
)
"""Names of modules, which are never imported here; which classes each maps; what objects of these have loaded."""
