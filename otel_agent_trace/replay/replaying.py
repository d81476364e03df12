"""Define `replay_run` and `fork_run`: run an agent again, its calls answered from recorded runs."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import ExitStack
from os import PathLike
from types import TracebackType
from typing import Any, TypeVar, cast

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.reading import load_run
from otel_agent_trace.replay.divergences import ReplayDivergence
from otel_agent_trace.replay.folders import ReplayFolder
from otel_agent_trace.replay.options import checked_options
from otel_agent_trace.replay.processes import announced
from otel_agent_trace.replay.progress import active_session, begin, end
from otel_agent_trace.replay.recordings import Recording
from otel_agent_trace.replay.session import ReplaySession
from otel_agent_trace.tracing.processor import as_backends

__all__ = ["Replay", "active_session", "begin", "end", "fork_run", "recorded_runs", "replay_run"]

F = TypeVar("F", bound=Callable[..., Any])
Runs = AgentRun | Iterable[AgentRun] | str | PathLike[str]
"""Recorded runs: one, several, or the address ``"traces.jsonl#RUN"`` of one."""


class Replay:
    """Run what happens in a ``with`` block, or in a decorated function, with calls answered from recorded runs.

    Each use is a replay of its own. The arguments are those of `replay_run`.
    """

    def __init__(self, run: Runs, *, backend: Any, **options: Any) -> None:
        self._recording = Recording(recorded_runs(run))
        self._options = checked_options(self._recording, **options)
        self._backends = () if backend is None else tuple(as_backends(backend))
        self._session: ReplaySession | None = None
        self._ending = ExitStack()

    def __enter__(self) -> ReplaySession:
        with ExitStack() as begun:
            folder = ReplayFolder.of(self._recording, self._options)
            session = ReplaySession(self._recording, self._options, self._backends, folder)
            begun.callback(session.close)
            begin(session)
            begun.callback(end, session)
            begun.enter_context(announced(folder))
            self._ending, self._session = begun.pop_all(), session
        return session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        assert session is not None  # noqa: S101 - __enter__ has set it
        if session.is_of_another_process:  # a forked child leaves the block, too
            return
        self._ending.close()
        if error is None or isinstance(error, Exception | ReplayDivergence) or _has_divergence(error):
            session.note_missing()
        if self._options.on_miss == "fail" and session.divergences:
            _raise_first(session.divergences[0], error)

    async def __aenter__(self) -> ReplaySession:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """Return a function of the same kind that runs in a replay of its own at each call."""
        wrap = next((wrap for is_kind, wrap in _WRAPS if is_kind(function)), _plain)
        return cast("F", functools.wraps(function)(wrap(self, function)))


def _plain(replay: Replay, function: Callable[..., Any]) -> Callable[..., Any]:
    def replayed(*args: Any, **kwargs: Any) -> Any:
        with replay:
            return function(*args, **kwargs)

    return replayed


def _coroutine(replay: Replay, function: Callable[..., Any]) -> Callable[..., Any]:
    async def replayed(*args: Any, **kwargs: Any) -> Any:
        with replay:
            return await function(*args, **kwargs)

    return replayed


def _generator(replay: Replay, function: Callable[..., Any]) -> Callable[..., Any]:
    def replayed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with replay:
            return (yield from function(*args, **kwargs))

    return replayed


def _async_generator(replay: Replay, function: Callable[..., Any]) -> Callable[..., Any]:
    async def replayed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with replay:
            async for item in function(*args, **kwargs):
                yield item

    return replayed


_WRAPS: tuple[tuple[Callable[[object], bool], Callable[[Replay, Callable[..., Any]], Callable[..., Any]]], ...] = (
    (inspect.iscoroutinefunction, _coroutine),
    (inspect.isgeneratorfunction, _generator),
    (inspect.isasyncgenfunction, _async_generator),
)
"""Kinds of functions, each with what wraps one."""


def replay_run(
    run: Runs,
    *,
    on_miss: str = "fail",
    live: Iterable[str] = (),
    patch: Mapping[Any, Any] = {},
    until: int | str | None = None,
    ignore: Mapping[str, Iterable[str]] = {},
    backend: Any = None,
) -> Replay:
    """Run an agent again: its code is executed, and the calls of its tools and models are answered from a recording.

    Calls of functions that ``@tracer.tool`` or ``@tracer.model`` decorates are answered, of every tracer of the process,
    with the outcome that was recorded for the same call: in the same place (the run or step whose code runs), of the same
    name, with the same arguments, the nth that starts there. Runs and sub-agents are executed. Spans go to memory, never
    to where the tracers send them::

        with replay_run(load_run("traces.jsonl", "last")) as session:
            agent("Will it rain?")
        session.run  # the new run

    Args:
        run: an `AgentRun`, several of them, or an address such as ``"traces.jsonl#RUN"``.
        on_miss: what happens to a call that was not recorded, or whose outcome cannot be given back. ``"fail"``: it raises
            `ReplayDivergence`, which is raised again at the end whatever the agent does about it; ``"nearest"``: the
            recorded call with the most similar arguments answers it; ``"live"``: it is executed; ``"error"``: it raises an
            `Exception` in the agent. With the last three, `divergences` of the session lists them.
        live: names of tools and models that are executed, and of agents that `start_run` starts.
        patch: other answers than the recorded ones, by the id of the step (that of a sub-agent's step by its path, as
            ``"3/1"``): a value, or ``Raises(exception)``.
        until: the id of the last step that is answered; what comes after it is executed.
        ignore: by name of a tool or model, parameters that are not compared.
        backend: where spans go in addition to memory.

    Returns:
        A context manager that yields a `ReplaySession`, and a decorator.

    Raises:
        ConfigurationError: an argument is not valid, names a step that was not recorded, or a replay is in progress.
        ReplayDivergence: with ``on_miss="fail"``, at the end of the block: the first difference, also a recorded call
            that nobody asked for.
    """
    return Replay(run, on_miss=on_miss, live=live, patch=patch, until=until, ignore=ignore, backend=backend)


def fork_run(
    run: Runs,
    *,
    at: int | str,
    patch: Mapping[Any, Any] = {},
    live: Iterable[str] = (),
    ignore: Mapping[str, Iterable[str]] = {},
    backend: Any = None,
) -> Replay:
    """Run an agent again from the middle: the steps before one are answered from the recording, it and later ones are live.

    Args:
        run: as for `replay_run`.
        at: the id of the first step that is executed.
        patch: other answers for earlier steps, as for `replay_run`.
        live: names of tools, models and agents that are executed from the beginning.
        ignore: as for `replay_run`.
        backend: where the spans of the new run go in addition to memory.

    Returns:
        A context manager that yields a `ReplaySession`, and a decorator; the new run has `replay_of`.

    Raises:
        ConfigurationError: an argument is not valid, or names a step that was not recorded.
        ReplayDivergence: at the end of the block, if a step before differs.
    """
    return Replay(run, on_miss="fail", live=live, patch=patch, until=None, ignore=ignore, backend=backend, at=at)


def recorded_runs(run: Runs) -> list[AgentRun]:
    """Return recorded runs as a list, after reading that of an address.

    Raises:
        ConfigurationError: there is none.
        AgentTraceError: the source cannot be read, or has no such run.
    """
    if isinstance(run, AgentRun):
        return [run]
    if isinstance(run, str | PathLike):
        source, _, run_id = os.fspath(run).rpartition("#")
        return [load_run(source or run_id, run_id if source else None)]
    runs = list(run) if isinstance(run, Iterable) else []
    if not runs or not all(isinstance(one, AgentRun) for one in runs):
        raise ConfigurationError("a replay needs recorded runs: an AgentRun, several, or an address 'traces.jsonl#RUN'")
    return runs


def _has_divergence(error: BaseException) -> bool:
    """Return whether an exception is a group with a divergence in it, as a `TaskGroup` raises it."""
    members = getattr(error, "exceptions", ())
    return any(isinstance(one, ReplayDivergence) or _has_divergence(one) for one in members)


def _raise_first(divergence: ReplayDivergence, error: BaseException | None) -> None:
    """Raise the first divergence, unless it is on its way already, or something stops the program."""
    if error is divergence or isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return
    first = ReplayDivergence(**divergence.facts())
    raise first from (None if isinstance(error, ReplayDivergence) else error)
