"""Record a test to its cassette, or replay it from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace.backends import InMemoryBackend
from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.pytest_plugin.cassette_files import write_cassette
from otel_agent_trace.reading import load_runs
from otel_agent_trace.replay.divergences import ReplayDivergence
from otel_agent_trace.replay.options import checked_options
from otel_agent_trace.replay.recordings import Recording
from otel_agent_trace.replay.replaying import Replay, begin, end, replay_run
from otel_agent_trace.replay.session import ReplaySession
from otel_agent_trace.tracing.diversion import Diversion
from otel_agent_trace.tracing.interception import intercepting


def failure(reason: str) -> BaseException:
    """Return the exception with which a test fails, whose report is the reason alone."""
    return pytest.fail.Exception(f"agent_replay: {reason}", pytrace=False)


class Cassette(ABC):
    """Hold what a test does with its cassette, from the first of its own fixtures to the end of its function.

    Attributes:
        has_passed: whether the test has passed so far; None before it was called.
    """

    def __init__(self) -> None:
        self.has_passed: bool | None = None

    @abstractmethod
    def begin(self) -> None:
        """Begin, unless that has happened."""

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raise what is in the way of calling the function of the test."""

    @abstractmethod
    def end(self, error: BaseException | None) -> None:
        """End, if it has begun, and raise what makes the test fail in addition to its own exception."""

    @abstractmethod
    def runs(self) -> Sequence[AgentRun]:
        """Return the outermost runs of the test so far."""

    def keep(self) -> None:  # noqa: B027 - most have nothing to keep
        """Write what was recorded, of a test that has passed."""


class Recorded(Cassette):
    """Record a test, whose calls are made.

    Args:
        path: the cassette.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._memory = InMemoryBackend()
        self._recording = ExitStack()
        self._has_begun = False

    def begin(self) -> None:
        """Divert the spans of all tracers into memory."""
        if not self._has_begun:
            self._has_begun = True
            self._recording.enter_context(intercepting(Diversion([self._memory])))

    def end(self, error: BaseException | None) -> None:
        """Stop; a test without any span fails, as a replay needs one."""
        self._recording.close()
        if error is None and not self._memory.spans():
            reason = f"agent_replay: nothing was recorded for {self._path.name}: no agent, tool or model of a tracer was called"
            pytest.fail(
                f"{reason} (or `capture_runs` has captured them; the fixture agent_trace does not)", pytrace=False
            )

    def runs(self) -> Sequence[AgentRun]:
        """Return the runs that are recorded."""
        return self._memory.runs()

    def keep(self) -> None:
        """Write the cassette."""
        write_cassette(self._path, self._memory.spans())


class Replayed(Cassette):
    """Replay a test.

    Args:
        path: the cassette.
        options: those of `replay_run`.
    """

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        super().__init__()
        self._path = path
        self._options = options
        self._replay: Replay | None = None
        self._session: ReplaySession | None = None

    def begin(self) -> None:
        """Read the cassette, and let the replay begin."""
        if self._session is not None:
            return
        try:
            self._replay = replay_run(load_runs(self._path, strict=True), **self._options)
            self._session = self._replay.__enter__()
        except (AgentTraceError, TypeError) as error:
            raise failure(f"{self._path}: {error}") from None

    def end(self, error: BaseException | None) -> None:
        """End the replay; the first divergence fails the test.

        Calls that were not asked for count only if the test has not failed, which may be why.
        """
        replay, self._replay = self._replay, None
        if replay is None or self._session is None:
            return
        has_diverged = bool(self._session.divergences)
        try:
            replay.__exit__(type(error) if error else None, error, None)
        except ReplayDivergence as divergence:
            if error is None:
                raise failure(f"{self._path.name}: {divergence}") from None
            if has_diverged:
                raise divergence.with_traceback(self._session.divergences[0].__traceback__) from error

    def runs(self) -> Sequence[AgentRun]:
        """Return the new runs."""
        return () if self._session is None else self._session.runs


class Refused(Cassette):
    """Fail a test that cannot be replayed, without calling its function; what its fixtures call is refused.

    Args:
        reason: why.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self._reason = reason
        self._session: ReplaySession | None = None

    def begin(self) -> None:
        """Begin a replay of nothing."""
        if self._session is None:
            nothing = Recording(())
            options = checked_options(nothing, on_miss="fail", live=(), patch={}, until=None, ignore={})
            self._session = ReplaySession(nothing, options)
            begin(self._session)

    def check(self) -> None:
        """Fail the test."""
        raise failure(self._reason) from None

    def end(self, error: BaseException | None) -> None:
        """End the replay; a call of a fixture fails for the same reason."""
        if self._session is not None:
            end(self._session)
            self._session = None
        if isinstance(error, ReplayDivergence):
            self.check()

    def runs(self) -> Sequence[AgentRun]:
        """Return nothing."""
        return ()
