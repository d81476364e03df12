"""`TracerBackend`: what a backend of one's own receives, when, and how often."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentStep,
    AgentTracer,
    InMemoryBackend,
    RunStatus,
    TracerBackend,
    configure,
    current_run,
)
from otel_agent_trace.backends import dispatcher as feed_module
from otel_agent_trace.runs import assemble
from tests.support.waiting import DEADLOCK_S

Recording = Any


def test_the_calls_of_one_run(recording: type[Recording]) -> None:
    """Start, each step as it ends (inner ones first), and the whole run at the end."""
    backend = recording()
    assert isinstance(backend, TracerBackend)
    with AgentTracer(backend=backend).run(run_id="r", user_input="q") as run:
        with run.step("outer"), run.step("inner"):
            pass
        with run.step("last") as step:
            step.output = 1
    assert backend.names() == [
        "start_run r 0",
        "log_step r inner",
        "log_step r outer",
        "log_step r last",
        "end_run r 3",
    ]
    started, ended = backend.calls[0][1], backend.calls[-1][1]
    assert (started.status, started.user_input, started.ended_at_ns) == (RunStatus.RUNNING, "q", None)
    assert (ended.status, ended.ended_at_ns is None) == (RunStatus.SUCCESS, False)
    assert backend.calls[3][1][1].output == 1


def test_the_end_is_authoritative(recording: type[Recording]) -> None:
    """What end_run brings is what a backend that can be read back has."""
    memory, backend = InMemoryBackend(), recording()
    tracer = AgentTracer(backend=[memory, backend])
    with (
        pytest.raises(ValueError),
        tracer.run(metadata={"a": (1,)}) as run,
        run.step("outer", {1: 2}),
        run.step("inner"),
    ):
        raise ValueError("x")
    assert backend.calls[-1] == ("end_run", memory.runs()[0])


def test_sub_agents(recording: type[Recording]) -> None:
    """A sub-agent is a run of its own with parent_run_id, and stands in the run that called it as well."""
    backend = recording()
    tracer = AgentTracer(backend=backend)
    with tracer.run(run_id="top"), tracer.run(run_id="sub") as sub, sub.step("s"):
        pass
    assert backend.names() == ["start_run top 0", "start_run sub 0", "log_step sub s", "end_run sub 1", "end_run top 1"]
    ended = {run.run_id: run for name, run in backend.calls if name == "end_run"}
    assert ended["sub"].parent_run_id == "top"
    assert ended["top"].steps[0].run == ended["sub"]


def test_a_step_that_ends_after_its_run(recording: type[Recording]) -> None:
    """A late step is logged, and its run is passed on again with it; so is the run above."""
    backend = recording()
    tracer = AgentTracer(backend=backend)
    with tracer.run(run_id="top"), tracer.run(run_id="sub") as sub:
        late = sub.step("late")
        late.start()
    late.end()
    assert backend.names()[2:4] == ["end_run sub 0", "end_run top 1"]
    assert sorted(backend.names()[4:]) == ["end_run sub 1", "end_run top 1", "log_step sub late"]
    top = [run for name, run in backend.calls if name == "end_run" and run.run_id == "top"][-1]
    assert [step.name for step in top.steps[0].run.steps] == ["late"]


def test_many_late_steps_end_right(recording: type[Recording]) -> None:
    """Whoever upserts by run id has the whole run in the end, whatever order the spans end in."""
    for order in itertools.permutations(range(4)):
        backend = recording()
        tracer = AgentTracer(backend=backend)
        run = tracer.run(run_id="r").start()
        steps = [run.step(str(number)) for number in range(3)]
        for step in steps:
            step.start()
        ends: list[Any] = [*steps, run]
        for number in order:
            ends[number].end()
        last = [what for name, what in backend.calls if name == "end_run"][-1]
        assert sorted(step.name for step in last.steps) == ["0", "1", "2"]
        assert all(step.ended_at_ns for step in last.steps)


class Overlap:
    """A backend that notices calls that overlap."""

    def __init__(self) -> None:
        self.inside = 0
        self.overlaps = 0
        self.runs: dict[str, AgentRun] = {}

    def start_run(self, run: AgentRun) -> None:
        self._enter()

    def log_step(self, run_id: str, step: AgentStep) -> None:
        self._enter()

    def end_run(self, run: AgentRun) -> None:
        self._enter()
        self.runs[run.run_id] = run

    def _enter(self) -> None:
        self.inside += 1
        for _ in range(20):
            self.overlaps += self.inside != 1
        self.inside -= 1


def test_calls_never_overlap(frequent_switches: None) -> None:
    """However many threads trace at once, one call comes after the other, and each run arrives whole."""
    backend = Overlap()
    tracer = AgentTracer(backend=backend)

    def work(number: int) -> None:
        for i in range(10):
            with tracer.run(run_id=f"{number}/{i}"), tracer.run(agent_name="sub") as sub, sub.step("s"):
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert backend.overlaps == 0
    outer = [run for run in backend.runs.values() if "/" in run.run_id]
    assert len(outer) == 80
    assert all(len(run.steps[0].run.steps) == 1 for run in outer)


def test_tasks_of_one_loop() -> None:
    """Runs of tasks that take turns each arrive whole."""
    backend = Overlap()
    tracer = AgentTracer(backend=backend)

    @tracer.agent
    async def answer(q: int) -> int:
        for _ in range(3):
            async with current_run().step("s", q):
                await asyncio.sleep(0)
        return q

    async def main() -> None:
        await asyncio.gather(*map(answer, range(20)))

    asyncio.run(main())
    assert len(backend.runs) == 20
    for run in backend.runs.values():
        assert [step.input for step in run.steps] == [run.user_input] * 3


def test_spans_of_others_are_no_calls(recording: type[Recording]) -> None:
    """Spans that are no agents, models, tools or retrievals make no calls, and nothing is held of them for ever."""
    backend = recording()
    provider = configure(backends=[backend], otlp=False)
    other = provider.get_tracer("http")
    for _ in range(1000):
        with other.start_as_current_span("GET /"), other.start_as_current_span("socket"):
            pass
    assert backend.calls == []
    feed = provider._active_span_processor._span_processors[0].pipeline.sinks[0]  # type: ignore[attr-defined]
    assert len(feed._nodes) <= 300


def test_nothing_is_held_of_runs_that_are_over(recording: type[Recording]) -> None:
    """Of runs that ended long ago nothing is held."""
    tracer = AgentTracer(backend=Overlap())
    for _ in range(500):
        with tracer.run() as run, run.step("s"):
            pass
    feed = tracer._own._active_span_processor._span_processors[0].pipeline.sinks[0]  # type: ignore[union-attr]
    assert len(feed._nodes) <= 300
    assert len(feed._runs) <= 150


@pytest.mark.parametrize("above", ["a span of the program", "a remote span", "a span that is not sampled", "a run"])
def test_many_runs_in_one_trace(above: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run costs does not grow with the runs before it in its trace, nor does what is held."""
    assembled: list[int] = []

    def counting(records: Any) -> list[AgentRun]:
        records = list(records)
        assembled.append(len(records))
        return assemble(records)

    monkeypatch.setattr(feed_module, "assemble", counting)
    backend = Overlap()
    provider = configure(backends=[backend], otlp=False)
    tracer = AgentTracer(tracer_provider=provider)
    flags = TraceFlags(above != "a span that is not sampled")
    remote = NonRecordingSpan(SpanContext(1, 2, is_remote=above == "a remote span", trace_flags=flags))
    spans = {
        "a span of the program": provider.get_tracer("main").start_span("main"),
        "a run": tracer.run(run_id="top").start().span,
    }
    with use_span(spans.get(above, remote)):
        for number in range(400):
            with tracer.run(run_id=str(number)) as run, run.step("s"):
                pass
    assert len(backend.runs) == 400
    assert all(len(run.steps) == 1 for run in backend.runs.values())
    assert sum(assembled) <= 400 * 6
    feed = provider._active_span_processor._span_processors[0].pipeline.sinks[0]  # type: ignore[attr-defined]
    assert len(feed._nodes) <= (900 if above == "a run" else 300)


def test_a_run_whose_start_was_not_seen(recording: type[Recording]) -> None:
    """A backend that is added while a run is open receives its end, with all that ended since."""
    backend = recording()
    provider = configure(otlp=False)
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run(run_id="r") as run:
        with run.step("outer"), run.step("middle"):
            configure(provider=provider, backends=[backend], otlp=False)
            with run.step("inner"):
                pass
        with run.step("next"):
            pass
    assert backend.names() == [
        "log_step r inner",
        "log_step r middle",
        "log_step r outer",
        "log_step r next",
        "end_run r 4",
    ]


def test_a_span_of_another_provider_between(recording: type[Recording]) -> None:
    """A step below a span that only another provider knows is in its run, as the readers say."""
    backend, memory = recording(), InMemoryBackend()
    other = TracerProvider(shutdown_on_exit=False).get_tracer("http")
    tracer = AgentTracer(backend=[backend, memory])
    with tracer.run(run_id="r"), other.start_as_current_span("GET /"), current_run().step("s"):
        with other.start_as_current_span("GET /"), tracer.run(run_id="sub") as sub, sub.step("t"):
            pass
    ended = {run.run_id: run for name, run in backend.calls if name == "end_run"}
    [top] = memory.runs()
    assert ended == {run.run_id: run for run in top.walk()}
    assert set(ended) == {"r", "sub"}


def test_a_step_outside_of_any_run(recording: type[Recording]) -> None:
    """It is a run of that step, also with steps inside, and is passed on under one id."""
    backend, memory = recording(), InMemoryBackend()
    provider = configure(backends=[backend, memory], otlp=False)
    other = provider.get_tracer("other")
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"}
    with other.start_as_current_span("GET /"), other.start_as_current_span("x", attributes=attributes):
        other.start_span("y", attributes=attributes | {"gen_ai.tool.name": "y"}).end()
    with other.start_as_current_span("x", attributes=attributes):
        other.start_span("y", attributes=attributes | {"gen_ai.tool.name": "y"}).end()
    nested, [run] = memory.runs()[0], [run for name, run in backend.calls if name == "end_run"]
    assert run == memory.runs()[1]
    assert [what[0] for name, what in backend.calls if name == "log_step"] == [nested.run_id] * 2 + [run.run_id] * 2


def test_calls_that_go_on_with_each_other_are_one_run(recording: type[Recording]) -> None:
    """Each is a trace of its own; the run comes again under the id of the first, as readers have it in the end."""
    backend, memory = recording(), InMemoryBackend()
    other = configure(backends=[backend, memory], otlp=False).get_tracer("client")
    wish = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "forecast", "arguments": {}}]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}]}
    question = {"role": "user", "parts": [{"type": "text", "content": "Rain?"}]}
    answer = {"role": "assistant", "parts": [{"type": "text", "content": "Yes."}]}
    for sent, received in (([question], wish), ([question, wish, result], answer)):
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.input.messages": json.dumps(sent),
            "gen_ai.output.messages": json.dumps([received]),
        }
        other.start_span("chat m", attributes=attributes).end()
    [run] = memory.runs()
    assert backend.names() == [
        f"log_step {run.run_id} m",
        f"end_run {run.run_id} 1",
        f"log_step {run.run_id} m",
        f"end_run {run.run_id} 3",
    ]
    assert backend.calls[-1][1] == run
    assert (backend.calls[2][1][1], len(run.trace_ids)) == (run.steps[2], 2)


def test_a_step_of_kind_agent(recording: type[Recording]) -> None:
    """A step that was logged as an agent's has no run of its own, and is a step like others."""
    backend = recording()
    tracer = AgentTracer(backend=backend)
    run_id = tracer.start_run(run_id="r")
    tracer.log_step(run_id, kind="agent", name="helper")
    tracer.end_run(run_id)
    assert backend.names() == ["start_run r 0", "log_step r helper", "end_run r 1"]


def test_an_agent_that_is_known_late(recording: type[Recording]) -> None:
    """A span that turns out to be an agent's when it ends has the steps below it."""
    backend, memory = recording(), InMemoryBackend()
    provider = configure(backends=[backend, memory], otlp=False)
    other = provider.get_tracer("other")
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"}
    with other.start_as_current_span("agent") as span:
        other.start_span("x", attributes=attributes).end()
        span.set_attribute("gen_ai.operation.name", "invoke_agent")
    assert [what for name, what in backend.calls if name == "end_run"] == memory.runs()
    assert len(memory.runs()[0].steps) == 1


def test_steps_of_others_under_our_run(recording: type[Recording]) -> None:
    """A model span of another instrumentation is in the whole run that end_run brings."""
    backend = recording()
    provider = configure(backends=[backend], otlp=False)
    with AgentTracer(tracer_provider=provider).run(run_id="r"):
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4"}
        provider.get_tracer("openai").start_span("chat gpt-4", attributes=attributes).end()
    assert backend.names()[-1] == "end_run r 1"


def test_previews_of_others_under_our_run(recording: type[Recording]) -> None:
    """The preview of a step of another instrumentation names the run around it."""
    backend = recording()
    provider = configure(backends=[backend], otlp=False)
    with AgentTracer(tracer_provider=provider).run(run_id="r"):
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4"}
        provider.get_tracer("openai").start_span("chat gpt-4", attributes=attributes).end()
    assert backend.names()[1] == "log_step r gpt-4"


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError(), GeneratorExit(), StopIteration()])
def test_a_backend_that_raises(
    recording: type[Recording], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """What a backend raises is counted by call, logged once each, and reaches neither the host nor other backends."""
    failing, working, memory = recording(error), recording(), InMemoryBackend()
    tracer = AgentTracer(backend=[failing, working, memory])
    for _ in range(3):
        with tracer.run() as run, run.step("s"):
            pass
    assert len(failing.calls) == len(working.calls) == 9
    assert len(memory.runs()) == 3
    stats = tracer.stats()
    assert [stats[f"Recording: failed: Recording.{name}"] for name in ("start_run", "log_step", "end_run")] == [3, 3, 3]
    assert len(caplog.records) == 3


class SelfTracing:
    """A backend whose own work is traced by the same provider, as with an instrumented HTTP client."""

    def __init__(self) -> None:
        self.provider = TracerProvider()
        self.calls = 0
        self.suppressed: list[bool] = []

    def start_run(self, run: AgentRun) -> None:
        from opentelemetry.instrumentation.utils import is_instrumentation_enabled

        self.calls += 1
        self.suppressed.append(not is_instrumentation_enabled())
        tracer = self.provider.get_tracer("own")
        for name in ("execute_tool", "invoke_agent"):
            with tracer.start_as_current_span(name, attributes={"gen_ai.operation.name": name}):
                pass

    def log_step(self, run_id: str, step: AgentStep) -> None:
        self.start_run(None)  # type: ignore[arg-type]

    def end_run(self, run: AgentRun) -> None:
        self.start_run(None)  # type: ignore[arg-type]

    def export(self, spans: Any) -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self.start_run(None)  # type: ignore[arg-type]
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize("as_exporter", [False, True])
def test_a_backend_that_traces_itself(as_exporter: bool) -> None:
    """What a backend does on our behalf is not fed to it again, and instrumentations are suppressed."""
    backend = SelfTracing()
    given: Any = backend
    if as_exporter:
        given = type("Exporter", (), {"export": backend.export, "shutdown": lambda self: None})()
    backend.provider.add_span_processor(AgentSpanProcessor(given))
    tracer = AgentTracer(tracer_provider=backend.provider)
    with tracer.run() as run, run.step("s"):
        pass
    assert backend.calls == (2 if as_exporter else 3)
    assert all(backend.suppressed)


def test_a_backend_that_uses_the_tracer(recording: type[Recording]) -> None:
    """A backend may use the very tracer that feeds it, without end or deadlock."""
    done = threading.Event()

    class Nested(Overlap):
        def end_run(self, run: AgentRun) -> None:
            super().end_run(run)
            with tracer.run(run_id="inside"):
                done.set()

    backend = Nested()
    tracer = AgentTracer(backend=backend)
    with tracer.run(run_id="outside"):
        pass
    assert done.is_set()
    assert set(backend.runs) == {"outside"}


def test_flush_and_close(recording: type[Recording]) -> None:
    """A backend's flush is asked with the time that is left, its close is called once the tracer closes."""

    class Flushing(recording):  # type: ignore[misc, valid-type]
        asked: list[float] = []

        def flush(self, timeout_s: float) -> bool:
            self.asked.append(timeout_s)
            return len(self.asked) < 2

    backend = Flushing()
    tracer = AgentTracer(backend=backend)
    assert tracer.flush(DEADLOCK_S) is True
    assert tracer.flush(DEADLOCK_S) is False
    assert all(0 < asked <= DEADLOCK_S for asked in backend.asked)
    tracer.close()
    assert backend.closed == 1


def test_exporters_of_others() -> None:
    """Any span exporter is a backend; what it refuses or raises is counted."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    class Refusing(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.FAILURE

    class Raising(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            raise asyncio.CancelledError

    keeping = InMemorySpanExporter()
    tracer = AgentTracer(backend=[Refusing(), Raising(), keeping])
    with tracer.run():
        pass
    assert [span.name for span in keeping.get_finished_spans()] == ["invoke_agent"]
    assert (tracer.stats()["failed: Refusing"], tracer.stats()["failed: Raising"]) == (1, 1)


@pytest.mark.parametrize("error", [asyncio.CancelledError, ZeroDivisionError])
def test_a_failing_exporter_and_spans_of_others(error: type[BaseException]) -> None:
    """What an exporter raises does not reach programs whose spans are not ours either."""

    class Raising(InMemoryBackend):
        def on_end(self, span: Any) -> None:
            raise error

        on_start = on_end  # type: ignore[assignment]

    provider = configure(backends=[Raising()], otlp=False)
    with provider.get_tracer("other").start_as_current_span("x"):
        pass
