"""Keep the replay that is in progress in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_agent_trace import keys
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.replay.seats import note_beginning, refuse_leftovers
from otel_agent_trace.tracing.interception import INSTALLED
from otel_agent_trace.tracing.memberships import MEMBERSHIP

if TYPE_CHECKING:
    from otel_agent_trace.replay.session import ReplaySession

_ACTIVE: list[ReplaySession] = []
_ONE_AT_A_TIME = ForkSafeLock()


def active_session() -> ReplaySession | None:
    """Return the replay that is in progress in this process, None if there is none.

    A process that another one has started takes part in the replay of that from now on.
    """
    if not _ACTIVE:
        MEMBERSHIP.join()
    return own_session()


def own_session() -> ReplaySession | None:
    """Return the replay in which this process takes part already, None if there is none."""
    return _ACTIVE[-1] if _ACTIVE else None


def begin(session: ReplaySession) -> None:
    """Let a replay begin.

    Raises:
        ConfigurationError: another one is in progress.
    """
    if active_session() is not None:
        raise _nested()
    enter(session)
    INSTALLED.add(session)


def end(session: ReplaySession) -> None:
    """End a replay; what it has left behind is refused from now on."""
    leave(session)
    INSTALLED.remove(session)


def enter(session: ReplaySession) -> None:
    """Note that this process takes part in a replay.

    Raises:
        ConfigurationError: it takes part in another one.
    """
    with _ONE_AT_A_TIME:
        if _ACTIVE:
            raise _nested()
        _ACTIVE.append(session)
    note_beginning(session)
    keys.make_none(True)


def leave(session: ReplaySession) -> None:
    """Note that a replay is over, for this process."""
    refuse_leftovers(session)
    _ACTIVE.remove(session)
    keys.make_none(False)


def _nested() -> ConfigurationError:
    return ConfigurationError("a replay is in progress already in this process; replays cannot be nested")
