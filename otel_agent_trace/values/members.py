"""Look at classes of the program without running code of theirs, nor of their metaclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A metaclass may define `__mro__`, `__dict__` and `__getattribute__` itself, and a class may raise in all of them.
_mro_of = type.__dict__["__mro__"].__get__
_dict_of = type.__dict__["__dict__"].__get__


def classes_of(cls: type) -> tuple[type, ...]:
    """Return a class and its bases, in the order of resolution."""
    classes: tuple[type, ...] = _mro_of(cls)
    return classes


def members_of(cls: type) -> Mapping[str, Any]:
    """Return the members that a class defines itself."""
    members: Mapping[str, Any] = _dict_of(cls)
    return members


def is_subclass(cls: type, base: type) -> bool:
    """Return whether a class is, or inherits from, another one, without asking either."""
    return base in _mro_of(cls)


def class_dicts(cls: type) -> list[Mapping[str, Any]]:
    """Return the members of a class and of its bases, in the order of resolution."""
    return [members_of(base) for base in classes_of(cls)]
