"""Look at classes of the program without running code of theirs, nor of their metaclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A metaclass may define `__mro__`, `__dict__` and `__getattribute__` itself, and a class may raise in all of them.
_mro_of = type.__dict__["__mro__"].__get__
_members_of = type.__dict__["__dict__"].__get__


def class_dicts(cls: type) -> list[Mapping[str, Any]]:
    """Return the members of a class and of its bases, in the order of resolution."""
    return [_members_of(base) for base in _mro_of(cls)]
