"""What is set on a run or a step while it goes on: the last value counts, in every backend."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    RunStatus,
    StepKind,
    current_run,
    current_step,
    load_runs,
)
from tests.support.waiting import DEADLOCK_S


class Traced:
    """A tracer, and its one run as memory and file give it back."""

    def __init__(self, path: Path, **arguments: Any) -> None:
        self.memory, self.path = InMemoryBackend(), path
        self.tracer = AgentTracer(backend=[self.memory, FileBackend(path)], **arguments)

    def run(self) -> AgentRun:
        [from_memory], [from_file] = self.memory.runs(), load_runs(self.path)
        assert from_memory == from_file
        return from_memory


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return Traced(tmp_path / "runs.jsonl")


def test_an_exception_after_a_success(traced: Traced) -> None:
    """A run that was called a success and then raised is a failure."""
    with pytest.raises(ValueError, match="late"), traced.tracer.run() as run:
        run.status = RunStatus.SUCCESS
        raise ValueError("late")
    assert traced.run().status is RunStatus.ERROR


def test_a_success_after_an_error(traced: Traced) -> None:
    """An error that was got over: the run says success last."""
    run_id = traced.tracer.start_run()
    traced.tracer.log_error(run_id, ValueError("got over"), status="success")
    run = traced.run()
    assert run.status is RunStatus.SUCCESS
    assert run.error is not None
    assert run.error.message == "got over"


def test_a_timeout_of_a_category_of_ones_own(tmp_path: Path) -> None:
    """A rule names the category of an error; a timeout stays one."""
    traced = Traced(tmp_path / "runs.jsonl", error_rules=[lambda _: "mine"])
    with pytest.raises(TimeoutError), traced.tracer.run():
        raise TimeoutError
    run = traced.run()
    assert run.error is not None
    assert (run.status, run.error.category) == (RunStatus.TIMEOUT, "mine")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
@pytest.mark.parametrize(
    ("members", "status", "category"),
    [
        ([TimeoutError(), TimeoutError()], "timeout", "timeout"),
        ([PermissionError(), PermissionError()], "error", "auth"),
        ([TimeoutError(), PermissionError()], "error", "other"),
    ],
)
def test_a_group_of_one_kind(traced: Traced, members: list[Exception], status: str, category: str) -> None:
    """A group of exceptions is what its members are, if they are all the same."""
    with pytest.raises(BaseException, match="both"), traced.tracer.run():
        raise ExceptionGroup("both", members)  # type: ignore[name-defined]  # noqa: F821 - newer than the oldest Python
    run = traced.run()
    assert run.error is not None
    assert (run.status.value, run.error.category) == (status, category)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([None, None, None], [1, 2, 3]),
        ([2, None, None], [2, 3, 4]),
        ([0, None], [0, 1]),
        ([None, 10, None], [1, 10, 11]),
        (["a", None], ["a", 2]),
        ([1, 2, None], [1, 2, 3]),
        ([5, 3, None], [5, 3, 6]),
    ],
)
def test_the_next_number(traced: Traced, given: list[Any], expected: list[Any]) -> None:
    """A step without an id gets the number after the largest so far."""
    run_id = traced.tracer.start_run()
    logged = [traced.tracer.log_step(run_id, step_id=step_id, tool_name="t") for step_id in given]
    traced.tracer.end_run(run_id)
    assert logged == expected
    assert [step.step_id for step in traced.run().steps] == expected


def test_the_next_number_of_a_sub_agent(traced: Traced) -> None:
    """A sub-agent is counted as the other steps are."""
    with traced.tracer.run() as run:
        with run.step("first", step_id=2):
            pass
        with traced.tracer.run(agent_name="below"):
            pass
        with run.step("third"):
            pass
    assert [step.step_id for step in traced.run().steps] == [2, 3, 4]


def test_names_change_from_inside(traced: Traced) -> None:
    """Decorated code may say better what it is."""

    @traced.tracer.tool
    def call(tool: str) -> None:
        current_step().name = tool

    @traced.tracer.agent
    def answer(question: str) -> str:
        current_run().agent_name = "expert"
        call("search")
        return question

    answer("?")
    run = traced.run()
    assert run.agent_name == "expert"
    assert [(step.kind, step.name, step.tool_name) for step in run.steps] == [(StepKind.TOOL, "search", "search")]
    assert {span.name for span in traced.memory.spans()} == {"invoke_agent expert", "execute_tool search"}


def test_a_bound_name_goes_before_that_of_the_function(traced: Traced) -> None:
    """`bind` names the outermost agent; a name that the decorator was given, and those of sub-agents, stay."""

    @traced.tracer.agent("named")
    def named() -> None: ...

    @traced.tracer.agent
    def outer() -> None:
        inner()

    @traced.tracer.agent
    def inner() -> None: ...

    with traced.tracer.bind(agent_name="bound"):
        outer()
        named()
    names = [run.agent_name for outer_run in traced.memory.runs() for run in outer_run.walk()]
    assert names == ["bound", "inner", "named"]


def test_what_is_taken_back_is_gone(traced: Traced) -> None:
    """A field that is set to None is None."""
    with traced.tracer.run(user_id="u", session_id="s", model="m", agent_name="a") as run:
        run.user_id = run.session_id = run.model = run.agent_name = None
    read = traced.run()
    assert (read.user_id, read.session_id, read.model, read.agent_name) == (None, None, None, None)


def test_two_threads_end_one_run(traced: Traced) -> None:
    """One of them ends it, the other is counted."""
    run_id = traced.tracer.start_run()
    together = threading.Barrier(8)

    def end() -> None:
        together.wait(DEADLOCK_S)
        traced.tracer.end_run(run_id, "done")

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLOCK_S)
    assert traced.run().final_output == "done"
    assert traced.tracer.stats()["ended again"] == 7
    assert len(traced.memory.spans()) == 1


def test_one_id_for_two_open_runs_is_reported(traced: Traced, caplog: pytest.LogCaptureFixture) -> None:
    """The id means the run that was started last, which is counted and reported once."""
    traced.tracer.start_run(run_id="r", user_input="first")
    traced.tracer.start_run(run_id="r", user_input="second")
    traced.tracer.end_run("r", "done")
    assert traced.tracer.stats()["run id twice"] == 1
    assert "under the id of one that is open: r" in caplog.text
    runs = [(run.user_input, run.final_output) for run in load_runs(traced.path)]
    assert runs == [("first", None), ("second", "done")]  # the first one is open until the process ends
