"""Remove what is selected from all files of a source, also from those that programs close or compress meanwhile."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from otel_agent_trace.errors import SourceError
from otel_agent_trace.forgetting.files import Removal
from otel_agent_trace.span import Problem
from otel_agent_trace.store.names import COMPRESSED
from otel_agent_trace.store.replacing import RenamedError, check_writers
from otel_agent_trace.store.sharing import one_at_a_time

_MOST_PASSES = 10

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
        paths = listing()
        found = passes.count(paths, is_last=not apply)
        if apply:
            passes.apply(found)
        if passes.is_whole and not (apply and found):
            break
    return Removed(passes.counts, tuple(passes.changed), tuple(passes.left_in(paths)))


class _Passes:
    """Hold what was removed from which files, and which have nothing that is to be removed.

    A file is known again by its inode, and has not changed since the time of its last change; a compressed copy is known by
    its name.
    """

    def __init__(self, remove: Remove) -> None:
        self._remove = remove
        self._inodes: set[tuple[int, int]] = set()
        self._done: set[str | _State] = set()
        self._left: dict[str, tuple[Problem, ...]] = {}
        self.counts = Counter[str]()
        self.changed: dict[str, None] = {}
        self.is_whole = True
        """Is True if the last pass met no file that is new, or has another name by now."""

    def left_in(self, paths: Iterable[str]) -> list[Problem]:
        """Return what is left in some files."""
        return [problem for path in paths for problem in self._left.get(path, ())]

    def count(self, paths: Iterable[str], *, is_last: bool) -> list[str]:
        """Return the paths of files from which something can be removed, and count that if nothing is changed after it."""
        self.is_whole = True
        found: list[str] = []
        for path in paths:
            state = _state_of(path)
            if state == _GONE:
                self.is_whole = False
                continue
            is_known = state[:2] in self._inodes
            self._inodes.add(state[:2])
            if path in self._done or state in self._done or (is_last and is_known):
                continue
            self.is_whole &= is_known
            try:
                removal = self._remove(path, False)
            except FileNotFoundError:
                self.is_whole = False
                continue
            self._left[path] = removal.left
            if removal.counts:
                found.append(path)
            if is_last:
                self._note(path, removal)
            if is_last or (not removal.counts and state == _state_of(path)):
                self._done |= {state, f"{path}{COMPRESSED}"}
        return found

    def apply(self, paths: Sequence[str]) -> None:
        """Remove what is selected from files; a failure is kept beside what was done once any of them is changed."""
        try:
            if not self.changed:  # spans in one file may be known by those in another only
                for path in paths:
                    with one_at_a_time(os.path.dirname(path)):  # whoever compacts has files open for writing, too
                        check_writers(path)
        except FileNotFoundError:
            self.is_whole = False
            return
        for path in paths:
            try:
                removal = self._remove(path, True)
            except (FileNotFoundError, RenamedError) as error:
                self.is_whole = False
                self._left[path] = (problem_of(path, error),)
            except (OSError, SourceError) as error:
                self._left[path] = (problem_of(path, error),)
                self._done.add(_state_of(path))
            else:
                self._left[path] = removal.left
                self._note(path, removal)
                self._done |= {_state_of(path), f"{path}{COMPRESSED}"}

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
