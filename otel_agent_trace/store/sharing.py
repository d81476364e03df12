"""Mark a file as in use by those who append to it, so that whoever replaces it knows whether anybody may still do so.

Each writer holds a shared lock (``flock``) on the file for as long as it has it open, and never waits for one. Where
there are no such locks (Windows, some network file systems), no file is known to be unused.
"""

from __future__ import annotations

import contextlib
import glob
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def mark_in_use(descriptor: int) -> None:
    """Hold a shared lock until the file is closed; does nothing where it is refused."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_unused(descriptor: int) -> bool:
    """Return whether nobody has marked the file as in use."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def writers_of(status: os.stat_result) -> list[int]:
    """Return the ids of the processes that have a file open for writing: of Linux only, and of this account."""
    return [
        int(path.split("/")[2])
        for path in glob.iglob("/proc/[0-9]*/fd/*")
        if _is_of(path, status) and _is_open_for_writing(path)
    ]


def _is_of(path: str, status: os.stat_result) -> bool:
    with contextlib.suppress(OSError):  # closed meanwhile, or of another account
        return os.path.samestat(os.stat(path), status)
    return False


def _is_open_for_writing(path: str) -> bool:
    with contextlib.suppress(OSError), open(path.replace("/fd/", "/fdinfo/"), encoding="ascii") as file:
        flags = next((line.split()[1] for line in file if line.startswith("flags:")), "0")
        return int(flags, 8) & (os.O_WRONLY | os.O_RDWR) != 0
    return False
