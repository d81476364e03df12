"""Runs in which spans of other instrumentations are steps beside our own."""

from __future__ import annotations

from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, FileBackend, InMemoryBackend, configure, load_runs
from otel_agent_trace.sources import FilesSource
from tests.support.fake_jaeger import FakeJaeger
from tests.support.sample_runs import fail_on_problem


def _chat() -> dict[str, str]:
    return {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def _traced(backend: InMemoryBackend) -> tuple[AgentTracer, trace.Tracer]:
    provider: TracerProvider = configure(backends=[backend])
    return AgentTracer(tracer_provider=provider), provider.get_tracer("other")


def test_step_ids_rise_with_time_beside_steps_of_others() -> None:
    """Our tracer counts its own steps only, so that its numbers would start anew after those of others."""
    backend = InMemoryBackend()
    tracer, other = _traced(backend)
    with tracer.run(user_input="?") as run:
        with other.start_as_current_span("chat m", attributes=_chat()):
            pass
        with run.step("first"):
            pass
        with run.step("second"), other.start_as_current_span("chat m", attributes=_chat()), run.step("third"):
            pass
    [read] = backend.runs()
    assert [step.name for step in read.steps] == ["m", "first", "second", "m", "third"]
    assert [step.step_id for step in read.steps] == [1, 2, 3, 4, 5]
    assert [step.index for step in read.steps] == [0, 1, 2, 3, 4]
    assert [step.parent_step_id for step in read.steps] == [None, None, None, 3, 4]


def test_the_ids_of_steps_are_the_same_from_wherever_they_are_read(tmp_path: Path) -> None:
    """Memory, a file, and a Jaeger, which gives times in microseconds through its older interface."""
    memory, path = InMemoryBackend(), tmp_path / "traces.jsonl"
    provider = configure(backends=[memory, FileBackend(path)])
    tracer, other = AgentTracer(tracer_provider=provider), provider.get_tracer("other")
    with tracer.run(user_input="?") as run:
        for number in range(3):
            with other.start_as_current_span("chat m", attributes=_chat()):
                pass
            with run.step(f"tool {number}", step_id="mine" if number == 1 else None), run.step("inner"):
                pass
    [expected] = memory.runs()
    assert [step.step_id for step in expected.steps] == [1, 2, 3, 4, "mine", 6, 7, 8, 9]
    starts = [step.started_at_ns for step in expected.steps]
    assert starts == sorted(starts)
    with FakeJaeger() as jaeger:
        spans = [span for trace_spans in FilesSource([path]).traces(fail_on_problem) for span in trace_spans]
        jaeger.fresh(spans, interfaces=("legacy",))
        for source in (path, jaeger.url()):
            [read] = load_runs(source)
            assert [_place(step) for step in read.steps] == [_place(step) for step in expected.steps]


def test_steps_of_ours_alone_keep_the_numbers_that_they_were_given() -> None:
    """A step that was logged later, with an earlier start, keeps the id that `log_step` returned."""
    tracer = AgentTracer(backend=(backend := InMemoryBackend()))
    run_id = tracer.start_run()
    logged = [
        tracer.log_step(run_id, tool_name="b", started_at=2.0, ended_at=3.0),
        tracer.log_step(run_id, tool_name="a", started_at=1.0, ended_at=2.0),
    ]
    tracer.end_run(run_id)
    [read] = backend.runs()
    assert {step.name: step.step_id for step in read.steps} == dict(zip("ba", logged, strict=True))


def _place(step: AgentStep) -> tuple[object, ...]:
    return step.step_id, step.index, step.name, step.parent_step_id, step.span_id


def test_an_agent_of_others_knows_the_run_above_it() -> None:
    """A foreign agent inside our run is a sub-agent whose run says which run called it, in runs and to backends."""
    memory, recorder = InMemoryBackend(), _ParentRecorder()
    provider = configure(backends=[memory, recorder])
    tracer, other = AgentTracer(tracer_provider=provider), provider.get_tracer("other")
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}
    with tracer.run(user_input="?", run_id="outer"), other.start_as_current_span("a", attributes=attributes):
        pass
    [read] = memory.runs()
    below = read.steps[0].run
    assert below is not None
    assert below.parent_run_id == "outer"
    assert recorder.parents == {"outer": None, below.run_id: "outer"}


class _ParentRecorder:
    """A backend that notes which run each run that ended is part of."""

    def __init__(self) -> None:
        self.parents: dict[str, str | None] = {}

    def start_run(self, run: AgentRun) -> None: ...

    def log_step(self, run_id: str, step: object) -> None: ...

    def end_run(self, run: AgentRun) -> None:
        self.parents[run.run_id] = run.parent_run_id
