"""Find the objects that the nodes of a graph refer to, in whatever way a framework or a program has put them there."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

_OPENED = ("langchain", "langgraph")
"""Packages whose objects are looked into."""
_LEAVES = (str, bytes, int, float, type, types.ModuleType)


def reachable(root: Any) -> Iterator[Any]:
    """Yield an object and all that it refers to: items, attributes of objects of LangChain, variables of functions."""
    seen: dict[int, Any] = {}  # holds them, so that no id is used again
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if one is None or isinstance(one, _LEAVES) or id(one) in seen:
            continue
        seen[id(one)] = one
        yield one
        waiting += _within(one)


def _within(one: Any) -> list[Any]:
    if isinstance(one, types.FunctionType):
        return _variables(one)
    if isinstance(one, types.MethodType):
        return [one.__func__, one.__self__]
    if isinstance(one, functools.partial):
        return [one.func, *one.args, *one.keywords.values()]
    if isinstance(one, dict):
        return list(one.values())
    if isinstance(one, list | tuple | set | frozenset):
        return list(one)
    if any(cls.__module__.partition(".")[0].startswith(_OPENED) for cls in type(one).__mro__):
        return list(getattr(one, "__dict__", {}).values())
    return []


def _variables(function: types.FunctionType) -> list[Any]:
    """Return the values of the variables of enclosing functions and of the module that a function names."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    return [*cells, *(function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__)]


def _names(code: types.CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _is_empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is cell  # reading is the only way to know
    except ValueError:
        return True
