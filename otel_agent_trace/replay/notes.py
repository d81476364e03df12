"""Pass on what happens in the processes of a replay to the one that has begun it, by lines of a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from otel_agent_trace.signals import is_of_signal_handler

T = TypeVar("T")
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Notes:
    """Append notes to a file, and read those of all processes; each has a subject and a content.

    Args:
        path: the file. Its folder is removed when the replay is over, and what is noted later is lost.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def add(self, subject: str, content: Any) -> None:
        """Append a note."""
        append(self._path, msgspec.json.encode((subject, content)) + b"\n")

    def exist(self) -> bool:
        """Return whether there are any."""
        return os.access(self._path, os.F_OK)

    def all(self, subject: str) -> list[Any]:
        """Return the contents of all notes on a subject, in order."""
        if not self.exist():
            return []
        with open(self._path, "rb") as file:
            notes = [msgspec.json.decode(line) for line in file if line.endswith(b"\n")]
        return [content for about, content in notes if about == subject]


class NotedList(list[T]):
    """List what happens in this process, which is noted elsewhere too.

    Args:
        note: called with each item that is appended.
    """

    def __init__(self, note: Callable[[T], object]) -> None:
        super().__init__()
        self._note = note
        self._received = 0

    def append(self, item: T) -> None:
        """Append an item, and note it."""
        super().append(item)
        self._note(item)

    def receive(self, items: list[T]) -> None:
        """Append those items that other processes have noted since the last call; `items` are all of them."""
        new, self._received = items[self._received :], max(len(items), self._received)
        self.extend(new)


def append(path: str, lines: bytes) -> None:
    """Append lines to a file by one write; do nothing if its folder is gone."""
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
    except FileNotFoundError as error:
        if is_of_signal_handler(error):
            raise
        return
    try:
        os.write(descriptor, lines)
    finally:
        os.close(descriptor)
