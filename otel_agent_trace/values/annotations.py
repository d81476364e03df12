"""Find the classes that an annotation names, whose values can then be given back without having been registered."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from otel_agent_trace.guard import attempt
from otel_agent_trace.values.classes import functions_for, type_name
from otel_agent_trace.values.models import is_model, model_fields, origin_of

_BASES = frozenset({*sys.stdlib_module_names, "pydantic", "msgspec", "attr", "attrs"} - {"__main__"})
"""Packages whose classes are bases of too many to look for an instance's class among their subclasses."""
_TYPING = frozenset({"typing", "typing_extensions", "types"})
_INNER = ("__args__", "__origin__", "__value__", "__supertype__", "__bound__", "__constraints__")
"""Attributes of generic types, aliases, new types and type variables that hold other types."""
_Named = Iterable[tuple[Any, Mapping[str, Any]]]
"""Types that an annotation names, each with the names by which texts in it are resolved."""


def classes_in(annotation: object, globals: Mapping[str, Any]) -> dict[str, type]:  # noqa: A002 - as `eval` names it
    """Return the classes that an annotation names, by their names in traces, and those that these name in turn.

    These are generic arguments, members of unions, types of fields (of pydantic models, dataclasses, attrs and msgspec
    classes, named tuples, typed dictionaries), and subclasses of all these. What cannot be resolved is left out.

    Args:
        annotation: a type, or its text.
        globals: the names of the module in which the annotation stands.
    """
    found: dict[str, type] = {}
    pending: list[tuple[Any, Mapping[str, Any]]] = [(annotation, globals)]
    seen: dict[int, object] = {}  # what was looked at has to live on, so that nothing else has its id
    while pending:
        item, names = pending.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        name = attempt(type_name, item) if _is_class(item) else None
        if name is not None:
            found.setdefault(name, item)
        named = attempt(_named_by, item, names)
        pending += attempt(list, named) or () if named is not None else ()
    return found


def _is_class(item: object) -> bool:
    return isinstance(item, type) and not isinstance(item, types.GenericAlias)


def _named_by(item: Any, names: Mapping[str, Any]) -> _Named:
    if isinstance(item, str | typing.ForwardRef):
        text = item if isinstance(item, str) else item.__forward_arg__
        return [(attempt(eval, text, names if type(names) is dict else dict(names)), names)]
    if isinstance(item, list | tuple):
        return [(inner, names) for inner in item]
    if _is_class(item):
        return _named_by_class(item)
    if typing.get_origin(item) is typing.Literal:  # its texts are no annotations
        return [(type(inner), names) for inner in item.__args__]
    is_of_typing = isinstance(item, types.GenericAlias) or type(item).__module__ in _TYPING
    return [(getattr(item, name, None), names) for name in _INNER] if is_of_typing else ()


def _named_by_class(cls: type) -> _Named:
    is_base = cls.__module__.partition(".")[0] in _BASES
    names = _names_beside(cls)
    if is_model(cls):
        yield origin_of(cls), names
        yield from ((field.annotation, names) for field in model_fields(cls).values())
    elif not is_base:
        for base in cls.__mro__:
            yield tuple(_annotations_of(base).values()), _names_beside(base)
    if not is_base and functions_for(cls)[1] is not None:
        subclasses: list[type] = type.__subclasses__(cls)
        yield from ((derived, names) for derived in subclasses)


def _names_beside(cls: type) -> Mapping[str, Any]:
    """Return the names of the module of a class."""
    names: Mapping[str, Any] = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    return names


def _annotations_of(cls: type) -> Mapping[str, Any]:
    """Return the annotations of a class, without those of its bases."""
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415 - new in Python 3.14

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)
