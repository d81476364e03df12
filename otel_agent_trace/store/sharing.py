"""Lock files (``flock``): by those who append to one, by whoever changes one, and by whoever rotates or compacts a store.

Each writer holds a shared lock on the file for as long as it has it open. Nobody waits for a lock while a program traces.
A lock is gone when its process is. Where there are no such locks (Windows, some network file systems), no file is known
to be unused.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import time
from collections.abc import Iterable, Iterator

from otel_agent_trace.forks import called_in_children
from otel_agent_trace.signals import is_of_signal_handler

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None
"""True if this system has `flock`; a file system may refuse it nevertheless."""


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, and no symbolic link, pipe or device, and return its descriptor.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path}: not a regular file")
    return descriptor


def mark_in_use(descriptor: int) -> bool | None:
    """Hold a shared lock until the file is closed; return whether it is held, None where files cannot be locked."""
    return None if fcntl is None else _lock(descriptor, fcntl.LOCK_SH)


def take(descriptor: int) -> bool | None:
    """Hold the exclusive lock of a file until it is closed, unless somebody else uses it.

    Returns:
        whether it is held; None where files cannot be locked.
    """
    return None if fcntl is None else _lock(descriptor, fcntl.LOCK_EX)


_HELD: set[int] = set()
"""Descriptors of this process that have, or may get, a lock for a moment; a forked child lets go of them."""


@contextlib.contextmanager
def held(descriptor: int) -> Iterator[int]:
    """Provide a descriptor whose lock is needed for the time of a block, and close it at the end.

    A child that another thread forks meanwhile lets go of it: with its copy it would keep the lock for as long as it lives.
    """
    _HELD.add(descriptor)
    try:
        yield descriptor
    finally:
        _HELD.discard(descriptor)
        os.close(descriptor)


def _let_go_of_all() -> None:
    for descriptor in list(_HELD):
        detach(descriptor)
    _HELD.clear()


called_in_children(_let_go_of_all)


def unlock(descriptor: int) -> None:
    """Let go of a lock. A child that was forked meanwhile has the file open too, so that closing it would not do that."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_at(descriptor: int, position: int) -> bool:
    """Return whether a descriptor is where this process has left it: else it was closed, and is another file by now.

    Programs close all descriptors, as daemons do.
    """
    try:
        return os.lseek(descriptor, 0, os.SEEK_CUR) == position
    except OSError as error:
        if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
            raise
        return False


def detach(descriptor: int) -> None:
    """Let go of a file that a forked child has inherited, and of its part in the lock.

    The number is not closed, which a call in progress may still use, but is that of the null device from now on.
    """
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            os.dup2(nothing, descriptor, inheritable=False)
        finally:
            os.close(nothing)


def is_lock_free(descriptor: int) -> bool | None:
    """Return whether nobody holds the exclusive lock of a file; None where files cannot be locked."""
    is_shared = mark_in_use(descriptor)
    if is_shared:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return is_shared


def is_unused(descriptor: int) -> bool:
    """Return whether nobody has marked the file as in use."""
    if not take(descriptor):
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def is_only_user(descriptor: int, within_s: float = float("inf")) -> bool:
    """Return whether nobody else has a file open for writing, and keep the exclusive lock if so.

    Args:
        descriptor: the file.
        within_s: seconds for looking at other processes, of which there may be many; False if they do not suffice.
    """
    if take(descriptor) is not True:
        return False
    status, deadline = os.fstat(descriptor), time.thread_time() + within_s
    for path in _open_files():
        if time.thread_time() > deadline or (_pid_of(path) != os.getpid() and _is_written(path, status)):
            return False
    return True


def _lock(descriptor: int, kind: int) -> bool | None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
            raise
        return None
    return True


@contextlib.contextmanager
def locked(path: str) -> Iterator[bool | None]:
    """Hold the lock file of a store for the time of a block, unless somebody else does.

    Provides whether it is held; None where files cannot be locked.

    Raises:
        OSError: the lock file cannot be opened.
    """
    if fcntl is None:
        yield None
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    yield from _taken(descriptor)


@contextlib.contextmanager
def alone_in(folder: str) -> Iterator[bool | None]:
    """Keep those who replace files in a folder waiting for the time of a block, unless somebody else does.

    Provides whether nobody else does; None where files cannot be locked.

    Raises:
        OSError: the folder cannot be opened.
    """
    if fcntl is None:
        yield None
        return
    yield from _taken(os.open(folder, os.O_RDONLY | os.O_CLOEXEC))


def _taken(descriptor: int) -> Iterator[bool | None]:
    with held(descriptor):
        is_mine = take(descriptor)
        try:
            yield is_mine
        finally:
            if is_mine:
                unlock(descriptor)


@contextlib.contextmanager
def one_at_a_time(folder: str) -> Iterator[None]:
    """Wait until nobody else replaces files in a folder, and keep others waiting for the time of a block."""
    if fcntl is None:
        yield
        return
    with held(os.open(folder, os.O_RDONLY | os.O_CLOEXEC)) as descriptor:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            unlock(descriptor)


def writers_of(status: os.stat_result) -> list[int]:
    """Return the ids of the processes of this account that have a file open for writing; none where there is no ``/proc``."""
    return [_pid_of(path) for path in _open_files() if _is_written(path, status)]


def written_elsewhere(paths: Iterable[str]) -> set[str]:
    """Return those of some files that another process of this account has open for writing; none where there is no ``/proc``."""
    wanted: dict[tuple[int, int], str] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            wanted |= {_identity_of(path): path}
    found: set[str] = set()
    for opened in _open_files():
        with contextlib.suppress(OSError):  # closed meanwhile, or of another account
            path = wanted.get(_identity_of(opened), "")
            if path and _pid_of(opened) != os.getpid() and _is_open_for_writing(opened):
                found.add(path)
    return found


def _identity_of(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _open_files() -> Iterator[str]:
    return glob.iglob("/proc/[0-9]*/fd/*")


def _pid_of(path: str) -> int:
    return int(path.split("/")[2])


def _is_written(path: str, status: os.stat_result) -> bool:
    return _is_of(path, status) and _is_open_for_writing(path)


def _is_of(path: str, status: os.stat_result) -> bool:
    with contextlib.suppress(OSError):  # closed meanwhile, or of another account
        return os.path.samestat(os.stat(path), status)
    return False


def _is_open_for_writing(path: str) -> bool:
    with contextlib.suppress(OSError), open(path.replace("/fd/", "/fdinfo/"), encoding="ascii") as file:
        flags = next((line.split()[1] for line in file if line.startswith("flags:")), "0")
        return int(flags, 8) & (os.O_WRONLY | os.O_RDWR) != 0
    return False
