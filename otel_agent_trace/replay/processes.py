"""Let the processes of a program take part in its replay: those that it starts, and those that it has started before."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from otel_agent_trace.backends import InMemoryBackend
from otel_agent_trace.forks import ForkSafeLock, called_in_children
from otel_agent_trace.replay.folders import ReplayFolder
from otel_agent_trace.replay.progress import enter, leave, own_session
from otel_agent_trace.replay.seats import LEFTOVERS, left_over
from otel_agent_trace.replay.session import ReplaySession
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.store import sharing
from otel_agent_trace.tracing.diversion import Diversion
from otel_agent_trace.tracing.interception import INSTALLED, Answer, Request
from otel_agent_trace.tracing.memberships import MEMBERSHIP, REPLAY_VARIABLE, marker_of, parent_pid

_MAX_PATH_BYTES = 4096
_OTHERS = 0o077
"""Permissions of the group and of others."""

# ── the process that begins a replay ─────────────────────────────────────────────────────────────────────────────────


@contextmanager
def announced(folder: ReplayFolder) -> Iterator[None]:
    """Let other processes find the folder of a replay for the time of a block.

    Those that are started meanwhile inherit a variable with it. Children of multiprocessing that were there before look
    for a file with the number of this process.

    Raises:
        OSError: the file cannot be written.
    """
    with _marked(folder.path):
        os.environ.update(folder.environment())
        try:
            yield
        finally:
            os.environ.pop(REPLAY_VARIABLE, None)


@contextmanager
def _marked(path: str) -> Iterator[None]:
    """Keep a file that names a folder, locked as long as this process lives: another one may get its number."""
    marker = marker_of(os.getpid())
    descriptor, name = tempfile.mkstemp(dir=os.path.dirname(marker))  # mode 0600
    with ExitStack() as opened:
        opened.enter_context(sharing.held(descriptor))
        os.write(descriptor, os.fsencode(path))
        if not sharing.take(descriptor):
            opened.close()  # on Windows, where nothing is locked, an open file cannot be replaced
        os.replace(name, marker)  # that of a process that was killed, perhaps
        owner = os.getpid()
        try:
            yield
        finally:
            if owner == os.getpid():
                os.unlink(marker)


# ── the others ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Over(Diversion):
    """Refuse every call of a process that belongs to a replay that is over; its spans go nowhere."""

    def __init__(self) -> None:
        super().__init__([InMemoryBackend(max_runs=1)])

    def intercept(self, request: Request) -> Answer | None:
        """Refuse a call."""
        raise left_over(request)


class _Part:
    """Hold the replay in which this process takes part, and whether it was started by that, so as to end with it."""

    def __init__(self) -> None:
        self.session: ReplaySession | None = None
        self.is_for_life = False
        self.lock = ForkSafeLock()


_PART = _Part()


def intercept(request: Request) -> Answer | None:
    """Return the answer of the replay in which this process takes part; refuse what belongs to one that is over.

    Raises:
        ReplayDivergence: the replay refuses the call, or is over.
    """
    member = joined() or MEMBERSHIP.member
    return LEFTOVERS.intercept(request) if member is None else member.intercept(request)


def joined() -> ReplaySession | None:
    """Return the replay in which this process takes part, from now on perhaps; None if there is none, or it is over."""
    with _PART.lock:
        session = _PART.session
        if session is not None and session.folder is not None and not session.folder.exists():
            _leave(session)
        if own_session() is None:
            _join()
        return _PART.session


def _join() -> None:
    """Take part in the replay that the environment names, else in that of the parent process; if it is over, in none."""
    named = _opened(MEMBERSHIP.folder)
    folder = named or _opened(_folder_of_parent())
    if folder is not None:
        session = ReplaySession(folder.recording, folder.options, folder=folder)
        enter(session)
        os.environ.update(folder.environment())  # for its own children
        _take_part(session, folder.path, is_for_life=named is not None)
    elif parent_pid() is not None and not _PART.is_for_life:
        MEMBERSHIP.folder = None  # the variable of a server of forks, which is older than this process
    elif MEMBERSHIP.folder is not None and MEMBERSHIP.member is None:
        MEMBERSHIP.member = _Over()


def _take_part(session: ReplaySession, path: str, *, is_for_life: bool) -> None:
    _PART.session, _PART.is_for_life = session, is_for_life or _PART.is_for_life
    MEMBERSHIP.member, MEMBERSHIP.folder = session, path


def _leave(session: ReplaySession) -> None:
    """Let a replay be over for this process, which refuses everything from now on if it was started by that."""
    leave(session)
    _PART.session = None
    MEMBERSHIP.member = _Over() if _PART.is_for_life else None
    if not _PART.is_for_life:
        MEMBERSHIP.folder = None
        os.environ.pop(REPLAY_VARIABLE, None)


def _opened(path: str | None) -> ReplayFolder | None:
    """Return the folder of a replay that is in progress, if only its owner, who is that of this process, can change it."""
    if path is None:
        return None
    try:
        status = os.lstat(path)
        is_private = not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & _OTHERS)
        return ReplayFolder.opened(path) if stat.S_ISDIR(status.st_mode) and is_private else None
    except FileNotFoundError as error:
        if is_of_signal_handler(error):
            raise
        return None


def _folder_of_parent() -> str | None:
    """Return the folder that the process names which has started this child of multiprocessing; None if it names none."""
    pid = parent_pid()
    if pid is None or not os.access(marker_of(pid), os.F_OK):
        return None
    try:
        opened = sharing.open_regular(marker_of(pid))
    except OSError as error:
        if is_of_signal_handler(error):
            raise
        return None
    with sharing.held(opened) as descriptor:
        is_left = sharing.is_lock_free(descriptor)  # by a process that was killed
        return None if is_left else os.fsdecode(os.read(descriptor, _MAX_PATH_BYTES))


def _forked() -> None:
    """Let a forked child take part in the replay that its parent has begun."""
    session = own_session()
    if session is not None and session.folder is not None and _PART.session is None:
        INSTALLED.remove(session)
        MEMBERSHIP.install()
        _take_part(session, session.folder.path, is_for_life=True)
    elif _PART.session is not None:
        _PART.is_for_life = True


called_in_children(_forked)
