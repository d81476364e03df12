"""Make copies of tracers, backends, runs and steps refer to one object in each process.

Programs and frameworks copy what holds a tracer: LangGraph deep-copies states, `dataclasses.asdict` configurations, and
Ray, Dask and Spark pickle functions. A second tracer would send its spans elsewhere, and locks, threads, files and
connections cannot be copied. So a copy is the object itself wherever that exists: in this process, and in its forked
children. In any other process it is made anew from its settings, once for all copies, which find it by its key.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.guard import attempt

T = TypeVar("T")

_BY_VALUE = ("cloudpickle", "ray.cloudpickle", "pyspark.cloudpickle", "joblib.externals.cloudpickle", "dill")
"""Picklers that can pickle functions without a module, of which those are used that the program has imported."""
_WITH_HEADERS = "opentelemetry.exporter."
"""Package of exporters that hold credentials, and that `dill` pickles nevertheless."""
_KEY_BYTES = 16

_KNOWN: weakref.WeakValueDictionary[str, Shared] = weakref.WeakValueDictionary()
_BLANK: set[str] = set()
"""Keys of objects that have been made while unpickling, but not set up yet."""
_LOCK = ForkSafeLock()


class Shared:
    """Provide the base of objects whose copies are themselves.

    An object has a key from its first pickling on. One whose constructor calls `_share` has it before, so that a worker
    that was forked in between finds it too. Attributes that a subclass of the program adds are pickled as they are.
    """

    __slots__ = ()
    _copy_key: str
    _example: ClassVar[tuple[Any, ...]] = ()
    """Arguments with which the constructor makes an object that uses nothing."""

    def _copy_settings(self) -> dict[str, Any]:
        """Return what `_copy_from` needs in another process; values that may not be picklable are `packed`."""
        raise NotImplementedError

    def _copy_from(self, settings: dict[str, Any]) -> None:
        """Set up this object, which is blank, in another process."""
        raise NotImplementedError

    def _share(self) -> str:
        """Return the key of this object, after making it known by that if it is not yet."""
        if not hasattr(self, "_copy_key"):
            self._copy_key = os.urandom(_KEY_BYTES).hex()  # type: ignore[misc]  # subclasses have it
            _KNOWN[self._copy_key] = self
        return self._copy_key

    def __copy__(self: T) -> T:
        return self

    def __deepcopy__(self: T, memo: object) -> T:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _known_or_blank, (type(self), self._share()), (self._copy_settings(), self._added())

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
        settings, added = state
        with _LOCK:
            if self._share() in _BLANK:
                _BLANK.discard(self._share())
                self._copy_from(settings)
                if added:
                    vars(self).update(added)

    def _added(self) -> dict[str, Any]:
        """Return the attributes that a class of the program has added to those of its base class here."""
        cls = class_here(type(self))
        if cls is type(self) or not hasattr(self, "__dict__"):
            return {}
        known = _attributes_of(cls)
        return {name: value for name, value in vars(self).items() if name not in known}


def class_here(cls: type) -> type:
    """Return the class of this package that a class is or extends."""
    return next(base for base in cls.__mro__ if "_copy_settings" in vars(base))


@functools.cache
def _attributes_of(cls: type[Shared]) -> frozenset[str]:
    return frozenset(vars(cls(*cls._example)))


def _known_or_blank(cls: type[Shared], key: str) -> Shared:
    """Return the object with a key, made without its constructor if this process does not know it."""
    with _LOCK:
        known = _KNOWN.get(key)
        if known is None:
            _KNOWN[key] = known = cls.__new__(cls)
            known._copy_key = key  # type: ignore[misc]  # noqa: SLF001 - our own
            _BLANK.add(key)
        return known


# ── objects of the program ───────────────────────────────────────────────────────────────────────────────────────────


class Missing:
    """Take the place of an object that could not be pickled, or not be unpickled; `name` is the name of its class."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Packed:
    """Hold an object that only a pickler by value could pickle, as bytes."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name = data, name

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self._data, self._name)


def packed(thing: Any) -> Any:
    """Return an object of the program in a form that any pickler takes; if there is none, a `Missing`.

    What `pickle` takes is returned as it is, so that it is pickled together with what else refers to it.
    """
    name = getattr(thing, "__qualname__", None) or type(thing).__qualname__
    if type(thing).__module__.startswith(_WITH_HEADERS):
        return Missing(name)
    if id(thing) in _TRIED.things:  # it refers to itself
        return thing
    _TRIED.things.add(id(thing))
    try:
        if attempt(pickle.dumps, thing) is not None:
            return thing
        modules = (sys.modules.get(module) for module in _BY_VALUE)
        tries = (attempt(module.dumps, thing) for module in modules if module is not None)
        data = next((data for data in tries if data is not None), None)
    finally:
        _TRIED.things.discard(id(thing))
    return Missing(name) if data is None else _Packed(data, name)


class _Tried(threading.local):
    """Hold the ids of the objects that a thread is trying to pickle."""

    def __init__(self) -> None:
        self.things: set[int] = set()


_TRIED = _Tried()


def present(things: Iterable[Any]) -> list[Any]:
    """Return what is not missing."""
    return [thing for thing in things if not isinstance(thing, Missing)]


def missing_in(things: Iterable[Any]) -> list[str]:
    """Return the names of the classes of what is missing."""
    return [thing.name for thing in things if isinstance(thing, Missing)]


def _unpacked(data: bytes, name: str) -> Any:
    unpickled = attempt(pickle.loads, data)
    return Missing(name) if unpickled is None else unpickled
