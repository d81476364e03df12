"""Notice which modules a program imports, at the moment at which it does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Note = Callable[[str], object]


class ImportWatch(MetaPathFinder):
    """Call a function with the name of each module of a set that is executed for the first time.

    The module is found and loaded as without this. A program that only looks whether it is there does not import it.

    Args:
        names: the modules; those that are imported already are left out.
        note: the function.
    """

    def __init__(self, names: Iterable[str], note: Note) -> None:
        self._names = {name for name in names if name not in sys.modules}
        self._note = note

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders have for a module of the set, None for any other module."""
        if fullname not in self._names:
            return None
        self._names.discard(fullname)  # others that find modules may ask all finders in turn
        try:
            spec = self._found(fullname, path, target)
        finally:
            self._names.add(fullname)
        if spec is not None and spec.loader is not None:
            self._watch(spec.loader, fullname)
        return spec

    def _found(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
            if spec is not None:
                return spec
        return None

    def _watch(self, loader: Any, name: str) -> None:
        """Let a loader, which is of this module alone, call `note` when it executes it, and then be as it was."""
        execute = getattr(loader, "exec_module", None)

        def exec_module(module: ModuleType) -> Any:
            del loader.exec_module
            self._names.discard(name)
            self._note(name)
            return execute(module) if execute is not None else None

        try:
            loader.exec_module = exec_module
        except AttributeError:  # one that is written in C, or shared
            self._note(name)
