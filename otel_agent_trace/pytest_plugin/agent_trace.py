"""Define the value of the fixture `agent_trace`: the runs of a test, and what can be asserted of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, NoReturn, overload

import pytest

from otel_agent_trace.cases import tool_steps
from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.pytest_plugin.replaying import CASSETTE
from otel_agent_trace.testing.capture import capture_runs
from otel_agent_trace.views.text import run_text

_MOST_SHOWN = 5
Called = str | tuple[str, Any]
"""Name of a tool that was called, or its name and arguments."""


class AgentTrace(Sequence[AgentRun]):
    """Hold the outermost runs of a test so far, oldest first; those in flight have status running.

    Assertions are about all runs of the test together, with those of sub-agents, and fail if there is none.

    Args:
        runs: returns the runs.
    """

    def __init__(self, runs: Callable[[], Sequence[AgentRun]]) -> None:
        self._runs = runs
        self._is_shown = False

    @overload
    def __getitem__(self, index: int) -> AgentRun: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AgentRun]: ...
    def __getitem__(self, index: int | slice) -> AgentRun | Sequence[AgentRun]:
        """Return a run by its place, or several by a slice."""
        return self._runs()[index]

    def __len__(self) -> int:
        return len(self._runs())

    def __iter__(self) -> Iterator[AgentRun]:
        return iter(self._runs())

    def __repr__(self) -> str:
        return f"<AgentTrace of {[run.agent_name for run in self]}>"

    @property
    def run(self) -> AgentRun:
        """Return the only run, or the first of several.

        Raises:
            AssertionError: there is none.
        """
        __tracebackhide__ = True
        return self._some_runs()[0]

    def assert_tools(self, expected: Sequence[Called] | AbstractSet[str]) -> None:
        """Assert which tools were called, those of sub-agents included.

        Args:
            expected: a list is all calls in the order of their start, each a name, or a pair of a name and arguments,
                which are compared as well; a set is the names of all tools that were called, however often.

        Raises:
            AssertionError: others were called.
            TypeError: `expected` is neither.
        """
        __tracebackhide__ = True
        called = tool_steps(self._some_runs())
        if isinstance(expected, AbstractSet):
            found: Any = {step.name for step in called}
            if found != expected:
                self._fail(f"tools called: {_set_text(found)}\nexpected:     {_set_text(expected)}")
            return
        wanted = _checked(expected)
        seen = [_seen(step, item) for step, item in zip(called, wanted, strict=False)]
        seen += [step.name for step in called[len(wanted) :]]
        if seen != wanted:
            self._fail(f"tools called: {seen!r}\nexpected:     {wanted!r}")

    def assert_no_errors(self) -> None:
        """Assert that no run failed, and no step of one, even if the agent handled it.

        Raises:
            AssertionError: one did; the message names all.
        """
        __tracebackhide__ = True
        failed: list[tuple[str, object]] = []
        for run in _all(self._some_runs()):
            failed += [(f"{step.kind.value} {step.name}", step.error) for step in run.steps if step.error is not None]
            failed += [(f"agent {run.agent_name or ''}".rstrip(), run.error)] if run.error is not None else []
        if failed:
            self._fail("\n".join(["errors:", *(f"  {name}: {error}" for name, error in failed)]))

    def assert_steps(self, *, max: int) -> None:  # noqa: A002 - reads as the limit that it is
        """Assert that the runs have at most `max` steps, those of sub-agents included.

        Raises:
            AssertionError: they have more.
        """
        __tracebackhide__ = True
        number = sum(len(run.steps) for run in _all(self._some_runs()))
        if number > max:
            self._fail(f"{number} steps are more than {max}")

    def assert_tokens(self, *, max: int) -> None:  # noqa: A002 - likewise
        """Assert that the runs took at most `max` tokens, of input and output together.

        Raises:
            AssertionError: they took more, or models were called and it is not known how many they took.
        """
        __tracebackhide__ = True
        runs = self._some_runs()
        if not any(run.usage for run in runs) and any(run.model_steps for run in _all(runs)):
            self._fail("no usage of tokens was recorded, although models were called")
        number = sum(run.usage.total_tokens for run in runs if run.usage is not None)
        if number > max:
            self._fail(f"{number:,} tokens are more than {max:,}")

    def assert_duration(self, *, max_s: float) -> None:
        """Assert that the runs took at most `max_s` seconds, their durations added.

        Raises:
            AssertionError: they took more, or one has not ended.
        """
        __tracebackhide__ = True
        durations_s = [run.duration_s for run in self._some_runs()]
        if None in durations_s:
            self._fail("a run has not ended")
        duration_s = sum(duration_s or 0 for duration_s in durations_s)
        if duration_s > max_s:
            self._fail(f"{duration_s:.3f} s are more than {max_s} s")

    def text_not_shown(self) -> str:
        """Return the runs as text, as ``show`` prints them; an empty text if the message of an assertion has it."""
        return "" if self._is_shown else self._text()

    def _text(self) -> str:
        runs = self._runs()
        more = [f"... ({len(runs) - _MOST_SHOWN} more runs)"] if len(runs) > _MOST_SHOWN else []
        return "\n\n".join([*map(run_text, runs[:_MOST_SHOWN]), *more])

    def _some_runs(self) -> Sequence[AgentRun]:
        __tracebackhide__ = True
        runs = self._runs()
        if not runs:
            raise AssertionError("there is no run: no agent, tool or model of an AgentTracer was called in this test")
        return runs

    def _fail(self, reason: str) -> NoReturn:
        __tracebackhide__ = True
        self._is_shown = True
        raise AssertionError(f"{reason}\n\n{self._text()}")


@contextmanager
def tracing(item: pytest.Item) -> Iterator[AgentTrace]:
    """Yield the runs of a test: those of its cassette, which records or replays them, else captured for this block."""
    cassette = item.stash.get(CASSETTE, None)
    if cassette is not None:
        yield AgentTrace(cassette.runs)
        return
    with capture_runs() as runs:
        yield AgentTrace(lambda: runs[:])


def _all(runs: Sequence[AgentRun]) -> Iterator[AgentRun]:
    return (one for run in runs for one in run.walk())


def _checked(expected: Any) -> list[Called]:
    """Return the expected calls as a list, after a check of their types."""
    items: list[Any] = list(expected) if isinstance(expected, list | tuple) else [None]
    if not all(isinstance(item, str) or (isinstance(item, tuple) and len(item) == 2) for item in items):
        raise TypeError(
            f"assert_tools({expected!r}): a list of names, or of pairs (name, arguments), or a set of names"
        )
    return items


def _seen(step: AgentStep, expected: Called) -> Called:
    """Return what was called in the form that is expected; equal arguments as they are expected, for objects like `ANY`."""
    if isinstance(expected, str):
        return step.name
    arguments = expected[1]
    return step.name, arguments if arguments == step.input else step.input


def _set_text(names: AbstractSet[str]) -> str:
    return f"{{{', '.join(map(repr, sorted(names, key=str)))}}}"
