"""Mark a file as in use by those who append to it, so that whoever replaces it knows whether anybody may still do so.

Each writer holds a shared lock (``flock``) on the file for as long as it has it open, and never waits for one. Where
there are no such locks (Windows, some network file systems), no file is known to be unused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

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


@contextlib.contextmanager
def one_at_a_time(folder: str) -> Iterator[None]:
    """Wait until nobody else replaces files in a folder, and keep others waiting for the time of a block."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
