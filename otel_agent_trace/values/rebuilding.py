"""Give recorded values back to a program: fresh copies, with instances in place of `Opaque` where their class is known.

Classes are those that the caller names, that are registered, or that a loaded client of a model provider has. Nothing is
imported, and models of pydantic are not validated: servers leave out what their clients' models require.
"""

from __future__ import annotations

import collections
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.values.annotations import classes_in
from otel_agent_trace.values.builtin import TEXT_CODECS
from otel_agent_trace.values.classes import BY_CLASS, BY_NAME, functions_for, type_name
from otel_agent_trace.values.encoded import Opaque
from otel_agent_trace.values.limits import Truncated
from otel_agent_trace.values.models import State, model_data, put_together, taken_apart
from otel_agent_trace.values.writing import path_text

__all__ = ["NotRebuiltError", "classes_in", "rebuilt"]

_Path = tuple[object, ...]
_UNCHANGEABLE = frozenset({str, int, float, bool, type(None), bytes, *TEXT_CODECS})
_CLIENTS = frozenset({"openai", "anthropic"})


class NotRebuiltError(ValueError):
    """Indicate a part of a recorded value that cannot be given back: where it stands, and what it is.

    Args:
        path: where, as ``[0].city``; empty for the whole value.
        what: what stands there, as ``a value that was truncated (bytes)``.
    """

    def __init__(self, path: str, what: str) -> None:
        self.path, self.what = path, what
        super().__init__(path, what)

    def __str__(self) -> str:
        return f"{self.path or 'the value'} is {self.what}"


def rebuilt(value: Any, classes: Mapping[str, type]) -> Any:
    """Return a copy of a recorded value that shares nothing changeable with it, with instances of classes in it.

    Args:
        value: what was read from a trace.
        classes: classes by their names in traces, as `classes_in` returns them.

    Raises:
        NotRebuiltError: a part is an instance of a class that is not known or does not take its data, or was truncated.
    """
    return value if type(value) in _UNCHANGEABLE else _Rebuilding(classes).value(value, ())


class _Rebuilding:
    """Rebuild one value with the classes that its caller knows."""

    __slots__ = ("_classes",)

    def __init__(self, classes: Mapping[str, type]) -> None:
        self._classes = classes

    def value(self, value: Any, path: _Path) -> Any:
        kind = type(value)
        if kind in _UNCHANGEABLE:
            return value
        if kind is dict:
            return self._mapping(value, path)
        if kind in _BUILDERS:
            return _BUILDERS[kind](value, self._items(value, path))
        if kind is Opaque:
            return self._of_opaque(value, path)
        if kind is Truncated:
            raise NotRebuiltError(path_text(path), f"a value that was truncated ({value.reason})")
        return value if issubclass(kind, Enum) else self._copy(value, path)

    def _items(self, items: Iterable[Any], path: _Path) -> list[Any]:
        return [
            item if type(item) in _UNCHANGEABLE else self.value(item, (*path, index))
            for index, item in enumerate(items)
        ]

    def _mapping(self, mapping: dict[Any, Any], path: _Path) -> dict[Any, Any]:
        return {
            key if type(key) in _UNCHANGEABLE else self.value(key, (*path, "(key)")): (
                item if type(item) in _UNCHANGEABLE else self.value(item, (*path, key))
            )
            for key, item in mapping.items()
        }

    def _of_opaque(self, value: Opaque, path: _Path) -> Any:
        build = _OF_THE_STANDARD_LIBRARY.get(value.type_name)
        if build is not None and type(value.data) is dict:
            return build(self._mapping(value.data, path))
        cls = self._class_named(value.type_name)
        if cls is None:
            what = "a class that is neither registered nor named by the annotation of what returns it"
            raise NotRebuiltError(path_text(path), f"an instance of {value.type_name}, {what}")
        return self._instance(cls, value.type_name, value.data, value.state, path)

    def _class_named(self, name: str) -> type | None:
        """Return the class of a name; of a variant of a generic model that is not known, the model itself."""
        codec, generic = BY_NAME.get(name), name.partition("[")[0]
        if codec is not None:
            return codec.cls
        return self._classes.get(name) or self._classes.get(generic) or _of_client(generic)

    def _copy(self, value: Any, path: _Path) -> Any:
        """Return a copy of an instance, which was built when the trace was read."""
        cls = type(value)
        codec = BY_CLASS.get(cls)
        name, to_data = (codec.name, codec.to_data) if codec else (type_name(cls), functions_for(cls)[0])
        if to_data is None:
            raise NotRebuiltError(path_text(path), f"an instance of {name}, of which no copy can be made")
        with _naming(name, path):
            data, state = taken_apart(value) if to_data is model_data else (to_data(value), None)
        return self._instance(cls, name, data, state, path)

    def _instance(self, cls: type, name: str, data: Any, state: State | None, path: _Path) -> Any:
        codec = BY_CLASS.get(cls)
        to_data, from_data = (codec.to_data, codec.from_data) if codec else functions_for(cls)
        if from_data is None:
            raise NotRebuiltError(path_text(path), f"an instance of {name}, of which only the repr was recorded")
        content = self.value(data, path)
        with _naming(name, path):
            is_of_fields = to_data is model_data and state is not None
            return put_together(cls, content, state or {}) if is_of_fields else from_data(content)


@contextlib.contextmanager
def _naming(name: str, path: _Path) -> Iterator[None]:
    """Name the instance and its place when its class refuses the data, or fails to give them, with any exception."""
    try:
        yield
    except BaseException as error:
        if is_of_signal_handler(error):
            raise
        what = f"an instance of {name}, which cannot be built from its data ({type(error).__name__}: {error})"
        raise NotRebuiltError(path_text(path), what) from error


def _of_client(name: str) -> type | None:
    """Return the class of a loaded client of a model provider; None if it has none of that name."""
    module_name, _, path = name.rpartition(".")
    if name.partition(".")[0] not in _CLIENTS:
        return None
    while module_name and module_name not in sys.modules:
        module_name, _, outer = module_name.rpartition(".")
        path = f"{outer}.{path}"
    found: Any = sys.modules.get(module_name)
    for part in path.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) else None


_OF_THE_STANDARD_LIBRARY: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.Counter": collections.Counter,
}
_BUILDERS: dict[type, Callable[[Any, list[Any]], Any]] = {
    list: lambda _, items: items,
    tuple: lambda _, items: tuple(items),
    set: lambda _, items: set(items),
    frozenset: lambda _, items: frozenset(items),
    bytearray: lambda value, _: bytearray(value),
    collections.deque: lambda value, items: collections.deque(items, value.maxlen),
}
