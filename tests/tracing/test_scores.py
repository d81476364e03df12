"""Scores: given inside a run, after it, from another process, and where they go."""

from __future__ import annotations

import fractions
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_agent_trace import (
    AgentTracer,
    BackgroundBackend,
    FileBackend,
    InMemoryBackend,
    Score,
    configure,
    current_run,
    current_step,
    load_run,
    load_runs,
    runs_from_spans,
)
from otel_agent_trace.errors import ConfigurationError, UnknownRunError
from otel_agent_trace.pipeline import Gate
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.testing import capture_runs
from tests.support.backends import OnlyRuns, Recording
from tests.support.fake_receivers import FakeReceiver, fake_http_receiver
from tests.support.processes import environment
from tests.support.requirements import needs_fork
from tests.support.waiting import wait_until

SECRET = "sk-" + "abcdefghijklmnop0123456789ABCDEFGH"


@pytest.fixture(params=["memory", "file"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return InMemoryBackend() if request.param == "memory" else FileBackend(tmp_path / "t.jsonl")


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with fake_http_receiver() as fake:
        yield fake


def facts(scores: tuple[Score, ...]) -> list[tuple[Any, ...]]:
    return [(score.name, score.value, score.label, score.explanation, score.source) for score in scores]


# ── giving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_a_run_and_after_it(backend: Any) -> None:
    """Of the run and of a step, in the order in which they were given; bools, integers and numbers stay what they were."""
    tracer = AgentTracer(backend=backend)
    with tracer.run() as run:
        run.score("helpful", True)
        with run.step("search") as step:
            step.score("relevant", 0.25, label="hardly", explanation="of Paris", source="CODE")
        run.score("helpful", 1)
        tracer.score(run.run_id, "by id", 1.0)
        tracer.score(run.run_id, "of a step", 2, step_id=1)
    run.score("verdict", "pass")
    step.score("late", False)
    tracer.score(run.run_id, "verdict", label="fail", source="HUMAN")
    tracer.score(run.run_id, "of a step", 3, step_id=1)
    read = load_run(backend)
    assert repr(facts(read.scores)) == repr(
        [
            ("helpful", True, None, None, None),
            ("helpful", 1, None, None, None),
            ("by id", 1.0, None, None, None),
            ("verdict", None, "pass", None, None),
            ("verdict", None, "fail", None, "HUMAN"),
        ]
    )
    assert repr(facts(read.steps[0].scores)) == repr(
        [
            ("relevant", 0.25, "hardly", "of Paris", "CODE"),
            ("of a step", 2, None, None, None),
            ("late", False, None, None, None),
            ("of a step", 3, None, None, None),
        ]
    )
    times = [score.at_ns for score in read.scores]
    assert times == sorted(set(times))
    assert tracer.stats()["scores"] == 9


def test_of_a_sub_agent(backend: Any) -> None:
    tracer = AgentTracer(backend=backend)
    with tracer.run(agent_name="outer") as outer, tracer.run(agent_name="inner") as inner:
        inner.score("inner", 1)
        outer.score("outer", 1)
    tracer.score(inner.run_id, "late", 1)
    whole = load_run(backend, outer.run_id)
    below = load_run(backend, inner.run_id)
    assert [score.name for score in whole.scores] == ["outer"]
    assert [score.name for score in below.scores] == ["inner", "late"]


def test_from_another_tracer(backend: Any) -> None:
    """The backend is searched for the run, and for its steps."""
    with AgentTracer(backend=backend).run(run_id="mine") as run, run.step("search", step_id="own"):
        pass
    with AgentTracer(backend=backend).run(run_id="mine too"):
        pass
    other = AgentTracer(backend=backend)
    other.score("mine", "helpful", 1)
    other.score("mine", "relevant", 1, step_id="own")
    with pytest.raises(UnknownRunError, match="min"):
        other.score("min", "helpful", 1)
    with pytest.raises(ConfigurationError, match="no such step; its steps: own"):
        other.score("mine", "helpful", 1, step_id=1)
    read = load_run(backend, "mine")
    assert (len(read.scores), len(read.steps[0].scores)) == (1, 1)
    assert load_run(backend, "mine too").scores == ()


def test_a_store_that_does_not_exist_yet(tmp_path: Path) -> None:
    tracer = AgentTracer(backend=FileBackend(tmp_path / "t.jsonl"))
    with pytest.raises(UnknownRunError):
        tracer.score("x", "helpful", 1)
    assert (tracer.stats(), list(tmp_path.iterdir())) == ({}, [])


def test_a_store_that_is_damaged(tmp_path: Path) -> None:
    """The run may be in what cannot be read: the score has its id."""
    path = tmp_path / "t.jsonl"
    with AgentTracer(backend=FileBackend(path)).run(run_id="r"):
        pass
    path.write_bytes(path.read_bytes()[:-40] + b"\n")
    AgentTracer(backend=FileBackend(path)).score("r", "helpful", 1)
    assert '"agent_trace.run.id","value":{"stringValue":"r"}' in path.read_text().splitlines()[-1]


def test_runs_of_one_id(backend: Any) -> None:
    """It is the one that began last."""
    for question in ("first", "second"):
        with AgentTracer(backend=backend).run(run_id="r", user_input=question):
            pass
    AgentTracer(backend=backend).score("r", "helpful", 1)
    assert [(run.user_input, len(run.scores)) for run in load_runs(backend)] == [("first", 0), ("second", 1)]


def test_of_a_step_that_is_not_known_any_more(backend: Any) -> None:
    """Of the latest runs the spans of steps are known; of others readers find the step by its id."""
    tracer = AgentTracer(backend=backend)
    with tracer.run(run_id="old") as old:
        for _ in range(3):
            with old.step("search"):
                pass
    for _ in range(200):
        with tracer.run():
            pass
    tracer.score("old", "relevant", 1, step_id=2)
    assert [len(step.scores) for step in load_run(backend, "old").steps] == [0, 1, 0]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")
def test_an_exception_of_a_signal_handler_while_the_store_is_searched(tmp_path: Path) -> None:
    """It is the program's, whatever its class is."""
    path = tmp_path / "t.jsonl"
    tracer = AgentTracer(backend=FileBackend(path, redact=False))
    for number in range(300):
        with tracer.run(run_id=f"r{number}", user_input="x" * 500):
            pass

    class LateError(KeyError):
        pass

    def late(*_: object) -> None:
        raise LateError

    before = signal.signal(signal.SIGALRM, late)
    try:
        for number in range(20):
            other = AgentTracer(backend=FileBackend(path))
            signal.setitimer(signal.ITIMER_REAL, 0.001 + number / 2000)
            with pytest.raises(LateError):
                while True:
                    other.score("r7", "helpful", 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_while_the_run_is_open_in_another_process(tmp_path: Path) -> None:
    code = """
    import sys
    from otel_agent_trace import AgentTracer, FileBackend
    tracer = AgentTracer(backend=FileBackend("t.jsonl"))
    with tracer.run(run_id="open") as run:
        print("open", flush=True)
        sys.stdin.readline()
    """
    command = [sys.executable, "-c", "\n".join(line[4:] for line in code.splitlines())]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        AgentTracer(backend=FileBackend(tmp_path / "t.jsonl")).score("open", "helpful", 1)
        process.communicate("\n")
    assert [score.name for score in load_run(tmp_path / "t.jsonl").scores] == ["helpful"]


@given(st.one_of(st.booleans(), st.integers(-(2**63) + 1, 2**63 - 1), st.floats()), st.text(min_size=1), st.text())
def test_any_value_comes_back(value: float, name: str, explanation: str) -> None:
    backend = InMemoryBackend()
    if not name.strip():
        name = "x"
    with AgentTracer(backend=backend, redact=False).run() as run:
        run.score(name, value, explanation=explanation)
    (score,) = load_run(backend).scores
    assert (type(score.value), repr(score.value)) == (type(value), repr(value))


@pytest.mark.parametrize(
    ("number", "found"),
    [(Decimal("0.5"), 0.5), (fractions.Fraction(1, 4), 0.25), (2**70, float(2**70)), (10**30, 1e30)],
)
def test_other_numbers(number: Any, found: float) -> None:
    backend = InMemoryBackend()
    with AgentTracer(backend=backend).run() as run:
        run.score("x", number)
    (score,) = load_run(backend).scores
    assert (type(score.value), score.value) == (float, found)


def test_numbers_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    backend = InMemoryBackend()
    with AgentTracer(backend=backend).run() as run:
        run.score("x", numpy.bool_(True))
        run.score("x", numpy.int32(3))
        run.score("x", numpy.float64(0.5))
        with pytest.raises(ConfigurationError, match="must be a number"):
            run.score("x", numpy.array([1, 2]))
    assert repr([score.value for score in load_run(backend).scores]) == "[True, 3, 0.5]"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("helpful",), "give a value"),
        (("helpful", ""), "give a value"),
        (("", 1), "needs a name"),
        (("helpful", [1]), r"must be a number or a bool, or a text for a label, got \[1\]"),
        (("helpful", 10**400), "must be a number"),
        (("helpful", Decimal("sNaN")), "must be a number"),
    ],
)
def test_what_is_no_score(arguments: tuple[Any, ...], reason: str) -> None:
    tracer = AgentTracer(backend=InMemoryBackend())
    with tracer.run() as run, run.step("s") as step:
        calls: list[Callable[..., None]] = [run.score, step.score, lambda *given: tracer.score(run.run_id, *given)]
        for call in calls:
            with pytest.raises(ConfigurationError, match=reason):
                call(*arguments)


def test_outside_of_any_run() -> None:
    current_run().score("helpful", 1)
    current_step().score("helpful", 1)


# ── what is written ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_names_of_the_conventions(tmp_path: Path) -> None:
    """A log record of the conventions' event, with a double, its run's id, trace and span."""
    tracer = AgentTracer(backend=FileBackend(tmp_path / "t.jsonl"))
    with tracer.run(run_id="r") as run:
        run.score("helpful", 1, label="yes", explanation="it rained", source="HUMAN")
    line = json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])
    (record,) = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert record["eventName"] == "gen_ai.evaluation.result"
    assert (record["traceId"], record["spanId"]) == (run.trace_id, run.span_id)
    assert {each["key"]: each["value"] for each in record["attributes"]} == {
        "gen_ai.evaluation.name": {"stringValue": "helpful"},
        "gen_ai.evaluation.score.value": {"doubleValue": 1.0},
        "gen_ai.evaluation.score.label": {"stringValue": "yes"},
        "gen_ai.evaluation.explanation": {"stringValue": "it rained"},
        "agent_trace.score.source": {"stringValue": "HUMAN"},
        "agent_trace.score.type": {"stringValue": "int"},
        "agent_trace.run.id": {"stringValue": "r"},
    }


@pytest.mark.parametrize("content", ["none", "no_inputs", "no_outputs"])
def test_explanations_are_content(backend: Any, content: Any) -> None:
    tracer = AgentTracer(backend=backend, content=content)
    with tracer.run() as run:
        run.score("helpful", 1, label="yes", explanation="it rained", source="HUMAN")
    assert facts(load_run(backend).scores) == [("helpful", 1, "yes", None, "HUMAN")]


def test_secrets_are_masked(backend: Any, tmp_path: Path) -> None:
    tracer = AgentTracer(backend=backend)
    with tracer.run() as run:
        run.score("helpful", 1, explanation=f"it used {SECRET}")
    tracer.score(run.run_id, "helpful", 1, label=SECRET)
    scores = load_run(backend).scores
    assert SECRET not in repr(scores)
    assert "<secret:" in str(scores[0].explanation)
    assert "<secret:" in str(scores[1].label)


# ── where they go ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_over_otlp(receiver: FakeReceiver) -> None:
    """To the endpoint for logs; a run that this process does not know may exist elsewhere."""
    tracer = AgentTracer(tracer_provider=configure(otlp=receiver.http_endpoint))
    with tracer.run() as run:
        run.score("helpful", 1)
    tracer.score("of another process", "helpful", 0, step_id=3)
    assert tracer.flush()
    known, unknown = receiver.logs
    assert (known.trace_id, known.span_id, known.attributes["agent_trace.run.id"]) == (
        run.trace_id,
        run.span_id,
        run.run_id,
    )
    assert (unknown.trace_id, unknown.span_id) == ("", "")
    assert unknown.attributes["agent_trace.run.id"] == "of another process"
    assert unknown.attributes["agent_trace.step.id"] == 3


def test_on_a_provider_of_others() -> None:
    """Where nothing takes log records, a score is an event of the span; after its end it is lost, and counted."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run() as run:
        run.score("helpful", True, explanation=SECRET)
        with run.step("search") as step:
            step.score("relevant", 0.5)
    run.score("late", 1)
    (read,) = runs_from_spans(exporter.get_finished_spans())
    assert [(score.name, score.value) for score in read.scores] == [("helpful", True)]
    assert [(score.name, score.value) for score in read.steps[0].scores] == [("relevant", 0.5)]
    assert SECRET not in repr(read)
    assert tracer.stats()["dropped: score, as nothing takes log records"] == 1


def test_of_a_run_that_is_not_sampled(tmp_path: Path) -> None:
    backend = InMemoryBackend()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    tracer = AgentTracer(tracer_provider=configure(provider=provider, backends=[backend]))
    with tracer.run() as run:
        run.score("helpful", 1)
    run.score("helpful", 1)
    tracer.score(run.run_id, "helpful", 1)
    assert backend.logs() == []
    assert tracer.stats()["dropped: score of what is not recorded"] == 3


def test_captured_runs(tmp_path: Path) -> None:
    tracer = AgentTracer(backend=FileBackend(tmp_path / "t.jsonl"))
    with capture_runs() as runs:
        with tracer.run() as run:
            run.score("inside", 1)
        tracer.score(runs[0].run_id, "after", 2)
    assert [score.name for score in runs[0].scores] == ["inside", "after"]
    assert not (tmp_path / "t.jsonl").exists()


class Scored(Recording):
    """A backend that receives scores."""

    def score(self, run_id: str, score: Score) -> None:
        self.calls.append(("score", (run_id, score.name, score.value)))


def test_a_backend_that_receives_scores() -> None:
    backend = Scored()
    tracer = AgentTracer(backend=backend)
    with tracer.run(run_id="r") as run:
        run.score("helpful", 1)
        with run.step("search") as step:
            step.score("relevant", 2)
    tracer.score("r", "late", 3)
    names = [name for name, _ in backend.calls]
    assert names == ["start_run", "score", "score", "log_step", "end_run", "score"]
    assert [what for name, what in backend.calls if name == "score"] == [
        ("r", "helpful", 1),
        ("r", "relevant", 2),
        ("r", "late", 3),
    ]
    ended = next(what for name, what in backend.calls if name == "end_run")
    assert (ended.scores[0].value, ended.steps[0].scores[0].value) == (1, 2)


@pytest.mark.parametrize("is_queued", [False, True])
def test_a_backend_that_does_not(is_queued: bool) -> None:
    """A run that is scored after its end is reported again."""
    backend = OnlyRuns()
    tracer = AgentTracer(backend=BackgroundBackend(backend) if is_queued else backend)
    with tracer.run(run_id="r"), tracer.run(agent_name="inner", run_id="inner") as inner:
        pass
    tracer.score("r", "late", 3)
    inner.score("late", 4)
    assert tracer.flush()
    assert [score.value for score in backend.kept["r"].scores] == [3]
    assert [score.value for score in backend.kept["inner"].scores] == [4]
    (step,) = backend.kept["r"].steps
    assert step.run is not None
    assert [score.value for score in step.run.scores] == [4]


def test_a_queue_before_a_backend_that_receives_scores() -> None:
    backend = Scored()
    tracer = AgentTracer(backend=BackgroundBackend(backend))
    with tracer.run(run_id="r") as run:
        run.score("helpful", 1)
    assert tracer.flush()
    assert ("score", ("r", "helpful", 1)) in backend.calls


@needs_fork
def test_in_a_forked_child(tmp_path: Path) -> None:
    tracer = AgentTracer(backend=FileBackend(tmp_path / "t.jsonl"))
    with tracer.run() as run:
        child = os.fork()
        if child == 0:
            run.score("in the child", 1)
            os._exit(0)
        os.waitpid(child, 0)
        run.score("in the parent", 1)
    assert [score.name for score in load_run(tmp_path / "t.jsonl").scores] == ["in the child", "in the parent"]


# ── sampling ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Longest(Gate):
    """Keep traces with a step, once they are over."""

    def decide(self, spans: Any, *, is_over: bool) -> bool | None:
        given: list[SpanRecord] = list(spans)
        return any("execute_tool" in span.name for span in given) if is_over else None


class Undecided(Gate):
    """Keep everything, once a decision is needed."""

    def decide(self, spans: Any, *, is_over: bool) -> bool | None:
        return None


def test_with_their_trace(backend: Any) -> None:
    """Kept and dropped with it, also when they are given after the decision."""
    tracer = AgentTracer(backend=backend, policies=[Longest()])
    with tracer.run(run_id="dropped") as dropped:
        dropped.score("helpful", 1)
    dropped.score("late", 1)
    with tracer.run(run_id="kept") as kept:
        kept.score("helpful", 1)
        with kept.step("search"):
            pass
    kept.score("late", 1)
    (read,) = load_runs(backend)
    assert [score.name for score in read.scores] == ["helpful", "late"]
    tracer.score("dropped", "late", 1, step_id=1)
    tracer.close()
    if isinstance(backend, FileBackend):
        assert Path(backend.path).read_text().count("gen_ai.evaluation.result") == 2
        assert StoreFiles(backend.path).journals() == []


def test_traces_are_kept_and_dropped_in_many_threads(tmp_path: Path) -> None:
    """Every score is kept or dropped with its trace, and the journal is empty at the end."""
    tracer = AgentTracer(backend=FileBackend(tmp_path / "t.jsonl"), policies=[Longest()])

    def work(*, is_kept: bool) -> None:
        for number in range(150):
            with tracer.run(user_input=is_kept) as run:
                run.score("x", number)
                if is_kept:
                    with run.step("search"):
                        pass
            run.score("y", number)

    threads = [threading.Thread(target=work, kwargs={"is_kept": number % 2 == 0}) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracer.close()
    runs = load_runs(tmp_path / "t.jsonl")
    assert (len(runs), {len(run.scores) for run in runs}, {run.user_input for run in runs}) == (300, {2}, {True})
    assert (tmp_path / "t.jsonl").read_text().count("gen_ai.evaluation.result") == 600
    assert StoreFiles(str(tmp_path / "t.jsonl")).journals() == []


@pytest.mark.parametrize("is_open", [True, False])
def test_a_step_of_a_trace_that_waits(backend: Any, is_open: bool) -> None:
    tracer = AgentTracer(backend=backend, policies=[Undecided()])
    with tracer.run(run_id="r") as run:
        with run.step("search"):
            pass
        if is_open:
            tracer.score("r", "relevant", 1, step_id=1)
    if not is_open:
        tracer.score("r", "relevant", 1, step_id=1)
    assert tracer.flush()
    assert [score.value for score in load_run(backend).steps[0].scores] == [1]


@needs_fork
def test_a_process_that_is_killed_before_the_decision(tmp_path: Path) -> None:
    """The score is in the journal beside the spans that wait, and is read back, before and after they are folded."""
    path = tmp_path / "t.jsonl"
    child = os.fork()
    if child == 0:
        tracer = AgentTracer(backend=FileBackend(path), policies=[Longest()])
        with tracer.run(run_id="r") as run:
            with run.step("search") as step:
                step.score("relevant", 0.5)
            run.score("helpful", 1)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    def found() -> list[tuple[str, float]]:
        run = load_run(path, "r")
        return [(score.name, float(score.value or 0)) for score in (*run.scores, *run.steps[0].scores)]

    assert found() == [("helpful", 1.0), ("relevant", 0.5)]
    tracer = AgentTracer(backend=FileBackend(path))
    with tracer.run():
        pass
    tracer.close()
    wait_until(lambda: not StoreFiles(str(path)).journals(), "the journal is folded")
    assert found() == [("helpful", 1.0), ("relevant", 0.5)]
