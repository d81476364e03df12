"""Replace a file of lines by a changed copy while programs append to it, without losing a line of theirs.

The copy is written beside the file, and renamed. A `LineFile` that has the old file open looks for the one at its path
20 times a second when it appends, so it may append to the old one for a moment: those lines are carried over, until nobody
has the old file open, or those who have it have not appended for a second, after which they open the new one first.
"""

from __future__ import annotations

import glob
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import IO

from otel_agent_trace.errors import SourceError
from otel_agent_trace.store.lines import LineFile
from otel_agent_trace.store.names import UNFINISHED
from otel_agent_trace.store.sharing import is_unused, one_at_a_time, writers_of

Write = Callable[[bytes], object]
Copy = Callable[[io.BufferedReader, Write, bool], None]
"""Function that reads a file on from its position, up to its size at that moment, and writes what is kept of it.

It leaves an incomplete last line for the next call, unless its third argument is true.
"""

_QUIET_S = 1.0
"""Longest time between the look at the path and the write of an append, by a generous measure."""
_MOST_S = 30.0
_COPIES = 3
"""Number of times that the file is copied on before the renaming, so that little is left for the time after it."""
_POLL_S = 0.02
_MARK_S = 0.5
"""Longest time after which who has opened a file has marked it as in use."""


class RenamedError(SourceError):
    """Indicate a file that is at another path by now."""


def replace(path: str, copy: Copy) -> None:
    """Replace a file by what `copy` makes of it, and of what programs append meanwhile; it has mode 0600, and its owner.

    Args:
        path: the file itself, no symbolic link.
        copy: is called once for all that is there, and again for what was appended since.

    Raises:
        RenamedError: the file was renamed or replaced by others meanwhile; it is unchanged then.
        SourceError: a program has the file open that would not notice another one at its path; it is unchanged then.
        OSError: it cannot be read or written.
    """
    with one_at_a_time(os.path.dirname(path) or "."), open(path, "rb") as old:
        status = os.fstat(old.fileno())
        check_writers(path)
        with written_beside(path, status) as beside:
            for _ in range(_COPIES):
                copy(old, beside.write, False)
            beside.flush()
            os.fsync(beside.fileno())
            if not _is_at(path, status):
                msg = f"{path}: it was renamed or replaced meanwhile, and is unchanged: try again"
                raise RenamedError(msg)
            os.replace(beside.name, path)
        _carry_over(old, path, copy)


def _is_at(path: str, status: os.stat_result) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), status)
    return False


def check_writers(path: str) -> None:
    """Check that all who write to a file mark it as in use, as `LineFile` does.

    Raises:
        SourceError: another program, such as a Collector, has it open for writing; known on Linux only.
        OSError: it cannot be read.
    """
    deadline_s = time.monotonic() + _MARK_S
    with open(path, "rb") as file:
        while is_unused(file.fileno()) and (writers := writers_of(os.fstat(file.fileno()))):
            if time.monotonic() > deadline_s:
                processes = ", ".join(map(str, writers))
                msg = f"{path}: process {processes} has it open, and would go on writing to the old file: stop it first"
                raise SourceError(msg)
            time.sleep(_POLL_S)  # it may just have opened it


@contextmanager
def written_beside(path: str, status: os.stat_result) -> Iterator[IO[bytes]]:
    """Yield a new file of mode 0600 in the same folder and of the same owner, which is removed unless it is renamed.

    So is what a process left that was killed while it wrote one: nobody else is writing one now, as only who is alone in
    the folder calls this.
    """
    folder, name = os.path.split(path)
    folder, prefix = folder or ".", f".{name}."
    for left in glob.iglob(f"{glob.escape(os.path.join(folder, prefix))}????????{UNFINISHED}"):
        os.unlink(left)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=prefix, suffix=UNFINISHED, delete=False) as beside:
        try:
            if hasattr(os, "fchown") and status.st_uid != os.geteuid():
                os.fchown(beside.fileno(), status.st_uid, status.st_gid)
            yield beside
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside.name)


def _carry_over(old: io.BufferedReader, path: str, copy: Copy) -> None:
    """Append to the new file what is still appended to the old one.

    Raises:
        SourceError: a program goes on writing to the old file.
    """
    new = LineFile(path)
    with closing(new):
        copy(old, new.append, False)
        began_s = quiet_since_s = time.monotonic()
        while quiet_since_s - began_s < _MOST_S:
            is_last = is_unused(old.fileno()) or time.monotonic() - quiet_since_s > _QUIET_S
            before = old.seek(0, os.SEEK_CUR)
            copy(old, new.append, False)
            if old.seek(0, os.SEEK_CUR) > before:
                quiet_since_s = time.monotonic()
            elif is_last:
                copy(old, new.append, True)
                return
            else:
                time.sleep(_POLL_S)
    msg = f"{path}: a program goes on writing to the file that was replaced: restart it"
    raise SourceError(msg)
