"""`start_run`, `log_step`, `log_error`, `end_run`: one call an event."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from opentelemetry import trace

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    AgentTracer,
    ConfigurationError,
    InMemoryBackend,
    RunStatus,
    StepKind,
    UnknownRunError,
    Usage,
)

START = 1_700_000_000.0
START_NS = 1_700_000_000_000_000_000
S = 1_000_000_000
TheRun = Callable[[], AgentRun]


def test_fields_of_a_run_given_as_a_mapping(tracer: AgentTracer, the_run: TheRun) -> None:
    """Every field of the mapping comes back, and what is no field goes to the metadata."""
    run_id = tracer.start_run(
        {
            "user_input": {"q": 1},
            "model": "gpt-4",
            "agent_name": "a",
            "session_id": "s",
            "config": {"t": 0.5},
            "metadata": {"known": 1},
            "release": "2026.11",
            3: "three",  # type: ignore[dict-item]
        }
    )
    tracer.end_run(run_id, "done")
    run = the_run()
    assert (run.run_id, run.user_input, run.model, run.agent_name) == (run_id, {"q": 1}, "gpt-4", "a")
    assert (run.session_id, run.config, run.final_output) == ("s", {"t": 0.5}, "done")
    assert run.metadata == {"known": 1, "release": "2026.11", 3: "three"}
    assert run.status is RunStatus.SUCCESS


def test_a_run_in_mappings_alone(tracer: AgentTracer, the_run: TheRun) -> None:
    """Run and steps as plain mappings, and an answer: all of it comes back under the same names."""
    run_id = tracer.start_run({"user_input": "Rain?", "agent_name": "weather", "model": "gpt-4", "experiment": 7})
    steps: list[dict[str, Any]] = [
        {"step_id": 1, "tool_name": "search", "tool_input": {"q": "Brest"}, "tool_output": ["a", "b"]},
        {"step_id": "two", "tool_name": "forecast", "tool_input": "Brest", "attempt": 2},
        {"step_id": 3, "tool_name": "notify", "tool_input": None, "tool_output": None, "error": "no such city"},
    ]
    assert [tracer.log_step(run_id, step) for step in steps] == [1, "two", 3]
    tracer.end_run(run_id, "It will rain.")
    run = the_run()
    assert (run.run_id, run.user_input, run.agent_name, run.model) == (run_id, "Rain?", "weather", "gpt-4")
    assert (run.metadata, run.final_output, run.status) == ({"experiment": 7}, "It will rain.", RunStatus.SUCCESS)
    assert [(step.step_id, step.tool_name, step.tool_input, step.tool_output) for step in run.steps] == [
        (1, "search", {"q": "Brest"}, ["a", "b"]),
        ("two", "forecast", "Brest", None),
        (3, "notify", None, None),
    ]
    assert [step.error.message if step.error else None for step in run.steps] == [None, None, "no such city"]
    assert run.steps[1].metadata == {"attempt": 2}


def test_a_backend_of_ones_own_gets_every_event() -> None:
    """A class with the three methods is a backend, and is called in the order of the events."""

    class Events:
        def __init__(self) -> None:
            self.seen: list[tuple[Any, ...]] = []

        def start_run(self, run: AgentRun) -> None:
            self.seen.append(("start", run.run_id, run.user_input))

        def log_step(self, run_id: str, step: AgentStep) -> None:
            self.seen.append(("step", run_id, step.tool_name, step.tool_output))

        def end_run(self, run: AgentRun) -> None:
            self.seen.append(("end", run.run_id, run.final_output, run.error and run.error.message))

    backend = Events()
    tracer = AgentTracer(backend=backend)
    answered, failed = tracer.start_run({"user_input": 1}), tracer.start_run({"user_input": 2})
    tracer.log_step(answered, {"step_id": 1, "tool_name": "add", "tool_input": [1, 1], "tool_output": 2})
    tracer.end_run(answered, "two")
    tracer.log_error(failed, str(ValueError("no sum")))
    assert backend.seen == [
        ("start", answered, 1),
        ("start", failed, 2),
        ("step", answered, "add", 2),
        ("end", answered, "two", None),
        ("end", failed, None, "no sum"),
    ]


def test_keywords_go_over_the_mapping(tracer: AgentTracer, the_run: TheRun) -> None:
    """What is given as a keyword wins over the same key of the mapping."""
    tracer.end_run(tracer.start_run({"model": "one", "user_input": "q"}, model="two"))
    assert (the_run().model, the_run().user_input) == ("two", "q")


def test_metadata_that_is_no_mapping_is_kept(tracer: AgentTracer, the_run: TheRun) -> None:
    """A list given as metadata of run and step is kept under the key metadata, and nothing is raised."""
    run_id = tracer.start_run(metadata=["a"])  # type: ignore[arg-type]
    tracer.log_step(run_id, {"extra": 2}, tool_name="t", metadata=[1])  # type: ignore[arg-type]
    tracer.end_run(run_id)
    assert the_run().metadata == {"metadata": ["a"]}
    assert the_run().steps[0].metadata == {"metadata": [1], "extra": 2}


def test_mappings_of_the_caller_are_left_alone(tracer: AgentTracer, the_run: TheRun) -> None:
    """What the caller gave is neither changed nor shared with what is recorded."""
    metadata = {"a": [1]}
    fields = {"metadata": metadata, "extra": 1}
    with tracer.run(fields) as run:
        run.metadata["b"] = 2
    assert fields == {"metadata": {"a": [1]}, "extra": 1}
    assert the_run().metadata == {"a": [1], "extra": 1, "b": 2}


def test_own_run_id(tracer: AgentTracer, the_run: TheRun) -> None:
    """The caller's run id is the run's, and its steps are found under it."""
    assert tracer.start_run(run_id="mine/1") == "mine/1"
    tracer.log_step("mine/1", tool_name="t")
    tracer.end_run("mine/1")
    assert (the_run().run_id, len(the_run().steps)) == ("mine/1", 1)


@pytest.mark.parametrize("run_id", [7, uuid.UUID(int=7)], ids=["int", "uuid"])
def test_own_run_id_that_is_no_text(tracer: AgentTracer, the_run: TheRun, run_id: Any) -> None:
    """An id of another type becomes a text, and what was given finds the run as well."""
    assert tracer.start_run(run_id=run_id) == str(run_id)
    tracer.log_step(run_id, tool_name="t")
    tracer.end_run(run_id, "done")
    assert (the_run().run_id, len(the_run().steps), the_run().final_output) == (str(run_id), 1, "done")


def test_defaults_of_a_step(tracer: AgentTracer, the_run: TheRun) -> None:
    """Step ids count from 1, and the kind is tool."""
    run_id = tracer.start_run()
    assert [tracer.log_step(run_id, {"tool_name": "search", "tool_input": 1, "tool_output": 2}) for _ in "abc"] == [
        1,
        2,
        3,
    ]
    tracer.end_run(run_id)
    assert [(step.step_id, step.index, step.kind) for step in the_run().steps] == [
        (1, 0, StepKind.TOOL),
        (2, 1, StepKind.TOOL),
        (3, 2, StepKind.TOOL),
    ]
    step = the_run().steps[0]
    assert (
        (step.tool_name, step.tool_input, step.tool_output) == ("search", 1, 2) == (step.name, step.input, step.output)
    )


def test_all_fields_of_a_step(tracer: AgentTracer, the_run: TheRun) -> None:
    """Every field of a logged step comes back."""
    run_id = tracer.start_run()
    outer = tracer.log_step(run_id, step_id="outer", kind="retrieval", name="index", input="q", output=[{"d": 1}])
    tracer.log_step(
        run_id,
        {"attempt": 2},
        step_id=7,
        kind=StepKind.MODEL,
        name="call",
        model="gpt-4",
        messages=[{"role": "user", "content": "hi"}],
        usage={"prompt_tokens": 3, "completion_tokens": 4},
        error="no answer",
        metadata={"m": 1},
        parent_step_id=outer,
    )
    tracer.end_run(run_id)
    first, second = the_run().steps
    assert (first.step_id, first.kind, first.name, first.input, first.output) == (
        "outer",
        StepKind.RETRIEVAL,
        "index",
        "q",
        [{"d": 1}],
    )
    assert (second.step_id, second.kind, second.name, second.model) == (7, StepKind.MODEL, "call", "gpt-4")
    assert second.usage == Usage(input_tokens=3, output_tokens=4)
    assert second.messages[0].text == "hi"
    assert second.error is not None
    assert second.error.message == "no answer"
    assert second.metadata == {"m": 1, "attempt": 2}
    assert second.parent_step_id == "outer"


@pytest.mark.parametrize("parent", ["unknown", 99, [1], {}, None])
def test_unknown_parent_step(tracer: AgentTracer, the_run: TheRun, parent: Any) -> None:
    """A parent step that nobody knows, or that cannot be one, leaves the step directly below its run."""
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="t", parent_step_id=parent)
    tracer.end_run(run_id)
    assert the_run().steps[0].parent_step_id is None


@pytest.mark.parametrize("step_id", [0, -1, 2**70, "ü", "", 1.5, [1]])
def test_odd_step_ids_do_not_raise(tracer: AgentTracer, the_run: TheRun, step_id: Any) -> None:
    """A number or a text is the step's id as it is, anything else as its text; the id that is recorded is returned."""
    run_id = tracer.start_run()
    logged = tracer.log_step(run_id, tool_name="t", step_id=step_id)
    tracer.end_run(run_id)
    (step,) = the_run().steps
    assert logged == step.step_id == (step_id if isinstance(step_id, int | str) else str(step_id))


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────────

UTC_START = datetime.fromtimestamp(START, timezone.utc)


@pytest.mark.parametrize(
    ("times", "begin_ns", "end_ns"),
    [
        ({"started_at": START, "ended_at": START + 2}, START_NS, START_NS + 2 * S),
        ({"started_at": START, "duration_s": 1.5}, START_NS, START_NS + 1_500_000_000),
        ({"ended_at": START, "duration_s": 3}, START_NS - 3 * S, START_NS),
        ({"started_at": START, "ended_at": START + 2, "duration_s": 9}, START_NS, START_NS + 2 * S),
        ({"started_at": int(START), "ended_at": int(START)}, START_NS, START_NS),
        ({"started_at": UTC_START, "duration_s": 1}, START_NS, START_NS + S),
        ({"started_at": UTC_START.astimezone(timezone(timedelta(hours=-9))), "duration_s": 1}, START_NS, START_NS + S),
        ({"started_at": datetime.fromtimestamp(START), "duration_s": 1}, START_NS, START_NS + S),
        ({"started_at": UTC_START + timedelta(microseconds=1), "duration_s": 0}, START_NS + 1000, START_NS + 1000),
        ({"started_at": START + 5, "ended_at": START}, START_NS + 5 * S, START_NS + 5 * S),
        ({"started_at": -5.0, "ended_at": -1.0}, 1, 1),
        ({"started_at": 1e12, "ended_at": 1e12}, 2**63 - 1, 2**63 - 1),
    ],
)
def test_times_of_a_step(
    tracer: AgentTracer, the_run: TheRun, times: dict[str, Any], begin_ns: int, end_ns: int
) -> None:
    """Two of start, end and duration give both ends, to the nanosecond; the end is never before the start."""
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="t", **times)
    step = the_run().steps[0]
    assert (step.started_at_ns, step.ended_at_ns) == (begin_ns, end_ns)


def test_a_step_without_times_lasts_from_the_event_before(tracer: AgentTracer, the_run: TheRun) -> None:
    """The first step begins with its run, each later one where the one before ended."""
    run_id = tracer.start_run()
    for _ in range(3):
        tracer.log_step(run_id, tool_name="t")
    tracer.end_run(run_id)
    run = the_run()
    ends = [run.started_at_ns, *(step.ended_at_ns for step in run.steps)]
    assert [step.started_at_ns for step in run.steps] == ends[:-1]
    assert ends == sorted(ends)


def test_a_duration_alone_ends_now(tracer: AgentTracer, the_run: TheRun) -> None:
    """With only a duration the step ended just now."""
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="t", duration_s=2)
    tracer.end_run(run_id)
    step, run = the_run().steps[0], the_run()
    assert step.duration_s == 2
    assert run.started_at_ns <= step.ended_at_ns <= run.ended_at_ns


def test_a_start_alone_ends_now(tracer: AgentTracer, the_run: TheRun) -> None:
    """With only a start the step lasts from there to now."""
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="t", started_at=START)
    tracer.end_run(run_id)
    step, run = the_run().steps[0], the_run()
    assert step.started_at_ns == START_NS
    assert run.started_at_ns <= step.ended_at_ns <= run.ended_at_ns


def test_an_end_alone_begins_at_the_event_before(tracer: AgentTracer, the_run: TheRun) -> None:
    """With only an end the step begins where the one before ended, but never after its own end."""
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="a", started_at=START, ended_at=START + 1)
    tracer.log_step(run_id, tool_name="b", ended_at=START + 3)
    tracer.log_step(run_id, tool_name="c", ended_at=START)
    by_name = {step.name: (step.started_at_ns, step.ended_at_ns) for step in the_run().steps}
    assert by_name["b"] == (START_NS + S, START_NS + 3 * S)
    assert by_name["c"] == (START_NS, START_NS)


@pytest.mark.parametrize(
    "times",
    [
        {"started_at": "yesterday"},
        {"ended_at": True},
        {"duration_s": "1"},
        {"duration_s": timedelta(seconds=1)},
        {"started_at": float("nan")},
        {"ended_at": float("inf")},
        {"started_at": datetime.min},
    ],
)
def test_what_is_no_time_is_refused(tracer: AgentTracer, times: dict[str, Any]) -> None:
    """A time that cannot be one raises ConfigurationError, also for datetimes outside of the calendar."""
    run_id = tracer.start_run()
    with pytest.raises(ConfigurationError, match=next(iter(times))):
        tracer.log_step(run_id, tool_name="t", **times)
    tracer.end_run(run_id)


def test_unknown_kind_is_refused(tracer: AgentTracer) -> None:
    """A kind that does not exist is refused with the ones that do."""
    run_id = tracer.start_run()
    with pytest.raises(ConfigurationError, match="tool, model, agent, retrieval, other"):
        tracer.log_step(run_id, kind="thought")
    tracer.end_run(run_id)


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_end_with_status_and_usage(tracer: AgentTracer, the_run: TheRun) -> None:
    """Status and tokens given at the end are the run's."""
    tracer.end_run(tracer.start_run(), status="timeout", usage={"input_tokens": 5})
    assert (the_run().status, the_run().usage) == (RunStatus.TIMEOUT, Usage(input_tokens=5))


@pytest.mark.parametrize("status", ["running", "done", RunStatus.RUNNING])
def test_status_that_no_run_ends_with(tracer: AgentTracer, the_run: TheRun, status: Any) -> None:
    """A status that is none is refused, and the run is still open."""
    run_id = tracer.start_run()
    with pytest.raises(ConfigurationError, match="success, error, timeout"):
        tracer.end_run(run_id, status=status)
    assert the_run().status is RunStatus.RUNNING
    tracer.end_run(run_id)
    assert the_run().status is RunStatus.SUCCESS


@pytest.mark.parametrize("error", ["search failed", "", None, ValueError("x"), 42])
def test_log_error_ends_the_run_as_an_error(tracer: AgentTracer, the_run: TheRun, error: object) -> None:
    """Whatever the error is, even nothing, the run has ended with status error."""
    run_id = tracer.start_run()
    tracer.log_error(run_id, error)
    run = the_run()
    assert run.status is RunStatus.ERROR
    assert run.ended_at_ns is not None
    assert run.error is not None
    assert run.error.message == ("x" if isinstance(error, ValueError) else "" if error is None else str(error))


@pytest.mark.parametrize("error", ["search failed", str(ConnectionError("the index is gone"))])
def test_a_text_is_an_error_of_the_category_other(tracer: AgentTracer, the_run: TheRun, error: str) -> None:
    """A text has no class to find a category by; it is the message of run and step as it is."""
    run_id = tracer.start_run()
    tracer.log_step(run_id, {"tool_name": "search", "error": error})
    tracer.log_error(run_id, error)
    for failure in (the_run().error, the_run().steps[0].error):
        assert failure is not None
        assert (failure.message, failure.category, failure.type) == (error, "other", "_OTHER")


def test_log_error_of_a_timeout(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A timeout ends the run with status timeout, unless the caller says another."""
    tracer.log_error(tracer.start_run(run_id="a"), TimeoutError("slow"))
    tracer.log_error(tracer.start_run(run_id="b"), TimeoutError("slow"), status="error")
    tracer.log_error(tracer.start_run(run_id="c"), "slow", status=RunStatus.TIMEOUT)
    assert {run.run_id: run.status.value for run in memory.runs()} == {"a": "timeout", "b": "error", "c": "timeout"}


def test_log_error_then_end_run(tracer: AgentTracer, the_run: TheRun) -> None:
    """What people write, an error and then an end in a finally, leaves the error and is counted."""
    run_id = tracer.start_run()
    try:
        raise KeyError("k")
    except KeyError as error:
        tracer.log_error(run_id, error)
    finally:
        tracer.end_run(run_id, "late")
    tracer.log_error(run_id, "again")
    assert (the_run().status, the_run().final_output) == (RunStatus.ERROR, None)
    assert tracer.stats()["ended again"] == 2


def test_unknown_run(tracer: AgentTracer) -> None:
    """An id that was never handed out is named in the error, with those that are open."""
    known = tracer.start_run()
    for call in (
        lambda: tracer.end_run("nope"),
        lambda: tracer.log_step("nope", tool_name="t"),
        lambda: tracer.log_error("nope", "x"),
    ):
        with pytest.raises(UnknownRunError) as caught:
            call()
        assert (caught.value.run_id, caught.value.open_ids) == ("nope", (known,))
        assert "'nope'" in str(caught.value)
        assert known in str(caught.value)
        assert isinstance(caught.value, LookupError)
    tracer.end_run(known)
    with pytest.raises(UnknownRunError, match="open: none"):
        tracer.end_run("nope")


@pytest.mark.parametrize("run_id", [None, ["x"], {}])
def test_what_can_be_no_run_id(tracer: AgentTracer, run_id: Any) -> None:
    """Whatever is given as an id that was never handed out, the error says so."""
    with pytest.raises(UnknownRunError, match="open: none"):
        tracer.end_run(run_id)


def test_a_run_that_another_thread_ends_just_now(tracer: AgentTracer) -> None:
    """At no moment of its end is a run unknown."""

    class Watched(dict[str, Any]):
        def __delitem__(self, run_id: str) -> None:
            super().__delitem__(run_id)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(tracer.end_run, run_id).result()

    run_id = tracer.start_run()
    tracer._state._open = Watched(tracer._state._open)
    tracer.end_run(run_id)
    assert tracer.stats()["ended again"] == 1


def test_many_open_runs_are_named_in_short(tracer: AgentTracer) -> None:
    """The message about an unknown id stays short however many runs are open."""
    ids = [tracer.start_run() for _ in range(200)]
    with pytest.raises(UnknownRunError, match="and 190 more") as caught:
        tracer.end_run("nope")
    assert len(str(caught.value)) < 600
    for run_id in ids:
        tracer.end_run(run_id)


def test_a_step_after_the_end_is_dropped_and_counted(
    tracer: AgentTracer, the_run: TheRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A step of a run that has ended is not recorded; that is counted, and reported once."""
    run_id = tracer.start_run()
    tracer.end_run(run_id)
    assert tracer.log_step(run_id, step_id="late", tool_name="t") == "late"
    tracer.log_step(run_id, tool_name="t")
    assert the_run().steps == ()
    assert tracer.stats()["dropped: step after the end of its run"] == 2
    assert len(caplog.records) == 1


def test_ids_of_another_tracer_are_unknown(tracer: AgentTracer) -> None:
    """Run ids belong to the tracer that handed them out."""
    other = AgentTracer(backend=InMemoryBackend())
    run_id = other.start_run()
    with pytest.raises(UnknownRunError):
        tracer.end_run(run_id)
    other.end_run(run_id)


def test_the_current_span_is_the_parent_and_stays_current(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A run started inside another is its sub-agent, and starting it makes nothing current."""
    with tracer.run() as outer:
        before = trace.get_current_span()
        inner = tracer.start_run(agent_name="inner")
        assert trace.get_current_span() is before
        tracer.log_step(inner, tool_name="t")
        tracer.end_run(inner)
    (run,) = memory.runs()
    assert run.run_id == outer.run_id
    (step,) = run.steps
    assert step.run is not None
    assert (step.run.run_id, step.run.parent_run_id, step.run.steps[0].name) == (inner, outer.run_id, "t")


def test_many_runs_at_once_from_many_threads(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Runs that are open at once and fed from different threads do not mix."""
    threads, runs_each, steps_each = 8, 20, 5
    begin = threading.Barrier(threads)

    def work(number: int) -> None:
        begin.wait()
        ids = [tracer.start_run(run_id=f"{number}-{i}", user_input=[number, i]) for i in range(runs_each)]
        for i in range(steps_each):
            for run_id in ids:
                assert tracer.log_step(run_id, tool_name="t", tool_input=[run_id, i]) == i + 1
        for run_id in ids:
            tracer.end_run(run_id, run_id)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    runs = memory.runs()
    assert len(runs) == threads * runs_each
    assert len({run.trace_id for run in runs}) == len(runs)
    for run in runs:
        assert run.final_output == run.run_id == "{}-{}".format(*run.user_input)
        assert [step.input for step in run.steps] == [[run.run_id, i] for i in range(steps_each)]


def test_one_run_fed_from_many_threads(tracer: AgentTracer, the_run: TheRun) -> None:
    """Steps of one run logged by several threads at once all have numbers of their own."""
    run_id = tracer.start_run()
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda i: tracer.log_step(run_id, tool_name=str(i)), range(200)))
    tracer.end_run(run_id)
    assert sorted(ids) == list(range(1, 201))
    assert {step.name for step in the_run().steps} == set(map(str, range(200)))


def test_stats_count_runs_and_steps(tracer: AgentTracer) -> None:
    """The tracer counts what it emitted."""
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="t")
    tracer.end_run(run_id)
    assert tracer.stats() == {"runs": 1, "steps": 1, "InMemoryBackend: kept": 2}
