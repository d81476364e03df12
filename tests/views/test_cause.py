"""The step whose exception ended a run, as distinct from errors that the agent handled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, InMemoryBackend, RunStatus, StepError, StepKind
from otel_agent_trace.model import RecordedException
from otel_agent_trace.views.cause import cause_of
from otel_agent_trace.views.items import RunItems
from tests.support.long_runs import deep_run, failed, long_run, nested_run, run_of, step


def error(kind: str, message: str = "", **facts: Any) -> StepError:
    return StepError(type=kind, message=message, **facts)


def failed_run(*steps: AgentStep, of: StepError | None, **facts: Any) -> AgentRun:
    return run_of(steps, **{"status": RunStatus.ERROR, "error": of, **facts})


NO, SLOW = error("builtins.ValueError", "no such city"), error("builtins.TimeoutError", "slow", category="timeout")


def test_an_error_that_was_handled_is_not_the_cause() -> None:
    assert cause_of(failed_run(failed(0, NO), step(1), failed(2, SLOW), of=SLOW)) == 3
    assert cause_of(failed_run(failed(0, SLOW), failed(1, NO), of=SLOW)) == 1  # what failed in the cleanup was handled
    assert cause_of(failed_run(failed(0, NO), step(1), failed(2, NO), step(3), of=NO)) == 3  # the latest


def test_a_run_that_did_not_fail_has_none() -> None:
    assert cause_of(run_of((failed(0, NO),))) is None
    assert cause_of(run_of((failed(0, NO), step(1, ended_at_ns=None)), status=RunStatus.RUNNING)) is None
    assert cause_of(run_of((failed(0, NO),), interrupted_for="approval")) is None


def test_an_error_of_the_program_between_the_steps_has_no_step() -> None:
    assert cause_of(failed_run(step(0), of=NO)) is None
    assert cause_of(failed_run(failed(0, SLOW), step(1), of=NO)) is None


def test_what_failed_last_is_the_cause_of_an_error_that_names_nothing() -> None:
    gave_up = error("app.AgentError", "gave up")
    assert cause_of(failed_run(step(0), failed(1, NO), of=gave_up)) == 2
    assert cause_of(failed_run(step(0), failed(1, NO), of=None)) == 2


@pytest.mark.parametrize(
    "wrapped",
    [
        error("app.AgentError", "tool failed: no such city"),
        error("_OTHER", "no such city"),
        error("ValueError", "no such city"),
        error("ValueError", ""),
        error(
            "app.AgentError", "stop", stacktrace="ValueError: no such city\n\nThe above exception was the direct cause"
        ),
        error(
            "app.AgentError",
            "stop",
            exception=RecordedException(
                classes=("app.AgentError", "Exception"),
                cause=RecordedException(
                    classes=("app.Inner", "Exception"),
                    cause=RecordedException(classes=("ValueError",), args=("no such city",)),
                ),
            ),
        ),
        error(
            "ExceptionGroup",
            "several (1 sub-exception)",
            exception=RecordedException(
                classes=("ExceptionGroup",),
                members=(RecordedException(classes=("ValueError",), args=("no such city",)),),
            ),
        ),
    ],
    ids=["quoted", "no class", "short class", "no message", "stack trace", "causes", "group"],
)
def test_an_error_that_was_raised_from_that_of_a_step(wrapped: StepError) -> None:
    """The step that failed later was handled: it is not related to the error of the run."""
    assert cause_of(failed_run(step(0), failed(1, NO), failed(2, SLOW), of=wrapped)) == 2


def test_the_deepest_step_with_the_error() -> None:
    inner = failed_run(failed(0, SLOW), failed(1, NO), step(2), of=NO, run_id="inner")
    around = failed(1, NO, kind=StepKind.OTHER)
    helper = failed(2, NO, kind=StepKind.AGENT, name="helper", run=inner, parent_step_id=2)
    items = RunItems(failed_run(failed(0, NO), around, helper, of=NO))
    cause = items[cause_of(items) or 0]
    assert (cause.number, cause.depth, cause.part.run_id) == (5, 3, "inner")


def test_a_sub_agent_may_have_wrapped_the_error_of_its_step() -> None:
    inner = failed_run(failed(0, NO), of=error("app.HelperError", "helper: no such city"), run_id="inner")
    helper = step(0, kind=StepKind.AGENT, run=inner)
    assert cause_of(failed_run(helper, of=error("app.AgentError", "run: helper: no such city"))) == 2


def test_a_step_around_may_have_no_error() -> None:
    """Some instrumentations record it only where it was raised."""
    steps = (step(0, kind=StepKind.OTHER), failed(1, NO, parent_step_id=1))
    assert cause_of(failed_run(*steps, of=NO)) == 2


def test_a_step_that_was_abandoned_has_no_error_that_counts() -> None:
    assert cause_of(failed_run(failed(0, NO), failed(1, NO, abandoned=True), of=NO)) == 1


@pytest.mark.parametrize(
    "stopped",
    [
        failed(1, error("builtins.TimeoutError", "other", category="timeout")),
        failed(1, error("asyncio.CancelledError", category="cancelled")),
        step(1, ended_at_ns=None),
        step(1, abandoned=True),
    ],
    ids=["timeout", "cancelled", "in flight", "abandoned"],
)
def test_the_step_in_which_a_run_took_too_long(stopped: AgentStep) -> None:
    run = failed_run(failed(0, NO), stopped, of=error("TimeoutError", "run took too long", category="timeout"))
    assert cause_of(AgentRun.from_dict({**run.to_dict(), "status": "timeout"})) == 2


def test_the_step_in_flight_when_the_process_was_killed() -> None:
    inner = run_of((step(0), step(1, ended_at_ns=None)), run_id="inner", ended_at_ns=None, status=RunStatus.RUNNING)
    steps = (failed(0, NO), step(1, ended_at_ns=None, kind=StepKind.AGENT, run=inner))
    killed = run_of(steps, status=RunStatus.RUNNING, interrupted=True, ended_at_ns=None)
    assert cause_of(killed) == 4
    assert cause_of(run_of((step(0),), status=RunStatus.RUNNING, interrupted=True, ended_at_ns=None)) is None


def test_depth_and_length_are_no_bound() -> None:
    assert cause_of(nested_run(10_000, NO)) == 10_001
    assert cause_of(deep_run(10_000, status=RunStatus.ERROR, error=NO)) is None
    long = long_run(50_000)
    assert cause_of(run_of((*long.steps, failed(50_000, NO)), status=RunStatus.ERROR, error=NO)) == 50_001


# ── as our tracer records them ───────────────────────────────────────────────────────────────────────────────────────


class AgentError(Exception):
    pass


def recorded(agent: Any) -> RunItems:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)

    @tracer.tool
    def lookup(city: str) -> str:
        if city != "Oslo":
            raise KeyError(city)
        return "sunny"

    @tracer.tool
    async def wait() -> None:
        await asyncio.sleep(30)

    @tracer.agent
    def run() -> None:
        agent(lookup, wait)

    with pytest.raises(BaseException):
        run()
    tracer.close()
    return RunItems(backend.runs()[0])


def handled(lookup: Any) -> None:
    with pytest.raises(KeyError):
        lookup("Thule")


def raise_from(lookup: Any) -> None:
    try:
        lookup("Atlantis")
    except KeyError as error:
        handled(lookup)
        raise AgentError("stop") from error


def raise_own(lookup: Any) -> None:
    handled(lookup)
    lookup("Oslo")
    raise AgentError("stop")


def test_recorded_runs() -> None:
    assert cause_of(recorded(lambda lookup, _: (handled(lookup), lookup("Oslo"), lookup("Atlantis")))) == 3
    assert cause_of(recorded(lambda lookup, _: raise_from(lookup))) == 1
    assert cause_of(recorded(lambda lookup, _: raise_own(lookup))) is None
    limited = recorded(lambda lookup, wait: (handled(lookup), asyncio.run(asyncio.wait_for(wait(), 0.01))))
    assert (limited.run.status, cause_of(limited)) == (RunStatus.TIMEOUT, 2)
