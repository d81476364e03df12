"""Runs in which spans of other instrumentations are steps beside our own."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, configure


def _chat() -> dict[str, str]:
    return {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def _traced(backend: InMemoryBackend) -> tuple[AgentTracer, trace.Tracer]:
    provider: TracerProvider = configure(backends=[backend])
    return AgentTracer(tracer_provider=provider), provider.get_tracer("other")


def test_steps_of_others_take_no_number_of_ours() -> None:
    """A foreign step has no ordinal of its own: it gets one that no step of ours has."""
    backend = InMemoryBackend()
    tracer, other = _traced(backend)
    with tracer.run(user_input="?") as run:
        with run.step("first"):
            pass
        with other.start_as_current_span("chat m", attributes=_chat()):
            pass
        with run.step("second"), other.start_as_current_span("chat m", attributes=_chat()):
            pass
    [read] = backend.runs()
    assert [step.name for step in read.steps] == ["first", "m", "second", "m"]
    assert sorted(step.step_id for step in read.steps) == [1, 2, 3, 4]
    assert [read.steps[0].step_id, read.steps[2].step_id] == [1, 2]
    assert read.steps[3].parent_step_id == 2


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
