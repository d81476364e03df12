"""Remove what is selected from all files of a source, also from those that programs close or compress meanwhile."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from otel_agent_trace.errors import SourceError
from otel_agent_trace.forgetting.files import Removal
from otel_agent_trace.span import Problem
from otel_agent_trace.store.names import COMPRESSED
from otel_agent_trace.store.replacing import RenamedError, check_writers
from otel_agent_trace.store.sharing import one_at_a_time

_MOST_PASSES = 10

_UNSETTLED = "it was new or changed each time that it was looked at: try again"

_Inode = tuple[int, int]
_State = tuple[int, int, int]
_GONE = (0, 0, 0)
Remove = Callable[[str, bool], Removal]
"""Function that removes what is selected from a file, or counts it, by whether its second argument is true."""


class Removed(NamedTuple):
    """Hold what was removed, or would be: its numbers, the paths of the files that had something, and what is left."""

    counts: Counter[str]
    paths: tuple[str, ...]
    left: tuple[Problem, ...]


def remove_from_all(listing: Callable[[], Sequence[str]], remove: Remove, *, apply: bool) -> Removed:
    """Remove what is selected from files, or count it: again from those that have another name since they were listed.

    Args:
        listing: returns the paths of the files.
        remove: removes what is selected from one of them.
        apply: whether to change anything.

    Raises:
        SourceError: a program has a file open that would not notice another one at its path; none is changed then.
        OSError: a file cannot be read.
    """
    passes = _Passes(remove)
    for _ in range(_MOST_PASSES):
        found = passes.count(listing(), is_last=not apply)
        if apply:
            passes.apply(found)
        if not passes.unsettled:
            break
    return Removed(passes.counts, tuple(passes.changed), tuple(passes.left()))


class _Passes:
    """Hold what was removed from which files, and which have nothing that is to be removed.

    A file is known again by its inode, and has not changed since the time of its last change; a compressed copy is
    known by its name.
    """

    def __init__(self, remove: Remove) -> None:
        self._remove = remove
        self._inodes: set[_Inode] = set()
        self._done: set[str | _State] = set()
        self._left: dict[str | _Inode, tuple[Problem, ...]] = {}
        self._listed: dict[str, _Inode] = {}
        self.counts = Counter[str]()
        self.changed: dict[str, None] = {}
        self.unsettled: dict[str, None] = {}
        """Holds the paths at which the last pass met a file that is new, or changed one, or found none any more."""

    def left(self) -> list[Problem]:
        """Return what is left in the files of the last pass; of a file that failed also if it has another path since."""
        left = [
            msgspec.structs.replace(problem, path=path)
            for path, inode in self._listed.items()
            for problem in self._left.get(inode, self._left.get(path, ()))
        ]
        return left + [Problem(path, 0, _UNSETTLED) for path in self.unsettled]

    def count(self, paths: Iterable[str], *, is_last: bool) -> list[str]:
        """Return the paths of files from which something can be removed; count that if nothing is changed after it."""
        self._listed.clear()
        self.unsettled.clear()
        found: list[str] = []
        for path in paths:
            state = _state_of(path)
            if state == _GONE:
                self.unsettled[path] = None
                continue
            self._listed[path] = inode = state[:2]
            is_known = inode in self._inodes
            self._inodes.add(inode)
            if path in self._done or state in self._done or (is_last and is_known):
                continue
            if not is_known:
                self.unsettled[path] = None
            try:
                if self._count(path, state, is_last=is_last):
                    found.append(path)
            except FileNotFoundError:
                self.unsettled[path] = None
        return found

    def _count(self, path: str, state: _State, *, is_last: bool) -> Counter[str]:
        removal = self._remove(path, False)
        self._keep_left(state, path, removal.left)
        if is_last:
            self._note(path, removal)
        if is_last or (not removal.counts and state == _state_of(path)):
            self._done |= {state, f"{path}{COMPRESSED}"}
        return removal.counts

    def apply(self, paths: Sequence[str]) -> None:
        """Remove what is selected from files; a failure is kept beside what was done once any of them is changed."""
        self.unsettled |= dict.fromkeys(paths)
        try:
            if not self.changed:  # spans in one file may be known by those in another only
                for path in paths:
                    with one_at_a_time(os.path.dirname(path)):  # whoever compacts has files open for writing, too
                        check_writers(path)
        except FileNotFoundError:
            return
        for path in paths:
            self._apply(path)

    def _apply(self, path: str) -> None:
        state = _state_of(path)
        try:
            removal = self._remove(path, True)
        except (FileNotFoundError, RenamedError):
            return
        except (OSError, SourceError) as error:
            self._left[state[:2]] = (problem_of(path, error),)
            self._done.add(state)
            return
        state = _state_of(path)
        self._keep_left(state, path, removal.left)
        self._note(path, removal)
        self._done |= {state, f"{path}{COMPRESSED}"}

    def _keep_left(self, state: _State, path: str, left: tuple[Problem, ...]) -> None:
        self._left[state[:2]] = self._left[f"{path}{COMPRESSED}"] = left

    def _note(self, path: str, removal: Removal) -> None:
        self.counts += removal.counts
        if removal.counts:
            self.changed[path] = None


def problem_of(path: str, error: OSError | SourceError) -> Problem:
    """Return the problem that an error is."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error).removeprefix(f"{path}: ")
    return Problem(path, 0, reason)


def _state_of(path: str) -> _State:
    """Return device, inode and the time of the last change of a file; `_GONE` for one that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return _GONE
    return status.st_dev, status.st_ino, status.st_mtime_ns
