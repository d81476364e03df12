"""Where spans go: a backend, a provider, the global provider; `configure`; samplers and the environment."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_agent_trace import (
    AgentSpanProcessor,
    AgentTracer,
    ConfigurationError,
    FileBackend,
    InMemoryBackend,
    RunStatus,
    configure,
    load_runs,
)
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.tracing import state
from tests.support.processes import RunPython
from tests.support.waiting import DEADLOCK_S

PROGRAM = """
from otel_agent_trace import *
memory = InMemoryBackend()
tracer = AgentTracer(backend=memory)
with tracer.run(user_input="q" * 300) as run, run.step("s", {"a": 1}) as step:
    step.output = 1
print([(run.status.value, len(run.user_input), [s.output for s in run.steps]) for run in memory.runs()])
"""
WHOLE = "[('success', 300, [1])]"


def test_a_backend_and_a_provider() -> None:
    """A backend beside a provider is refused, and the error names configure()."""
    with pytest.raises(TypeError, match=r"configure\(provider=p, backends="):
        AgentTracer(backend=InMemoryBackend(), tracer_provider=TracerProvider())


@pytest.mark.parametrize("backend", ["traces.jsonl", 5, object(), FileBackend, InMemoryBackend, [InMemoryBackend]])
def test_what_is_no_backend(backend: Any) -> None:
    """A path, an object of another kind, or the class of a backend is refused at once."""
    with pytest.raises(TypeError, match=r"not a backend|is a class"):
        AgentTracer(backend=backend)


def test_a_provider_is_used_as_it_is() -> None:
    """A tracer with a provider adds nothing to it, and does not shut it down."""
    provider, memory = TracerProvider(), InMemoryBackend()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with AgentTracer(tracer_provider=provider) as tracer, tracer.run():
        pass
    assert len(provider._active_span_processor._span_processors) == 1
    provider.get_tracer("x").start_span("still open").end()
    assert [span.name for span in memory.spans()] == ["invoke_agent", "still open"]


def test_private_providers_are_apart() -> None:
    """Two tracers with backends of their own see nothing of each other, and the global provider nothing of both."""
    one, two = InMemoryBackend(), InMemoryBackend()
    with AgentTracer(backend=one).run(run_id="1"), AgentTracer(backend=two).run(run_id="2"):
        pass
    assert [[run.run_id for run in memory.runs()] for memory in (one, two)] == [["1"], ["2"]]


def test_the_global_provider_is_looked_up_for_each_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A tracer made before anything is configured records as soon as there is a provider; till then, one warning."""
    monkeypatch.setattr(state, "_PROCESS", Diagnostics())
    tracer = AgentTracer()

    @tracer.tool
    def search() -> int:
        return 1

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with tracer.run() as run:
                assert search() == 1
                assert not run.recording
        with AgentTracer().run():  # as of a request, which makes a tracer of its own
            pass
    assert [record.name for record in caplog.records] == ["otel_agent_trace"]
    assert "configure(" in caplog.text
    for _ in range(2):
        memory = InMemoryBackend()
        provider = configure(backends=[memory], otlp=False)
        monkeypatch.setattr(trace, "get_tracer_provider", lambda provider=provider: provider)
        with tracer.run():
            search()
        assert [len(run.steps) for run in memory.runs()] == [1]
    assert len(caplog.records) == 1


def test_set_global_in_a_program(run_python: RunPython, tmp_path: Path) -> None:
    """configure(set_global=True) after the import of a module with a tracer is enough."""
    result = run_python(
        """
        from otel_agent_trace import AgentTracer, configure
        tracer = AgentTracer(agent_name="a")

        @tracer.agent
        def answer(q: str) -> str:
            return q.upper()

        configure(file="t.jsonl", set_global=True, resource={"service.name": "svc"}, otlp=False)
        answer("hi")
        """
    )
    assert result.returncode == 0, result.stderr
    (run,) = load_runs(tmp_path / "t.jsonl")
    assert (run.user_input, run.final_output, run.service_name, run.agent_name) == ("hi", "HI", "svc", "a")


def test_configure_adds_to_a_provider(tmp_path: Path) -> None:
    """configure(provider=...) adds to it, gives it back, and keeps its resource."""
    provider = TracerProvider(resource=Resource({"service.name": "mine"}))
    memory = InMemoryBackend()
    assert configure(provider=provider, backends=[memory], file=tmp_path / "t.jsonl", otlp=False) is provider
    with AgentTracer(tracer_provider=provider).run():
        pass
    assert [run.service_name for run in (*memory.runs(), *load_runs(tmp_path / "t.jsonl"))] == ["mine", "mine"]
    with pytest.raises(ConfigurationError, match="resource"):
        configure(provider=provider, resource={"service.name": "x"})


@pytest.mark.parametrize(
    "arguments", [{"otlp": "localhost:4318"}, {"otlp": ""}, {"protocol": "http/json"}, {"user_ids": "x"}]
)
def test_configure_refuses(arguments: dict[str, Any]) -> None:
    """What cannot be meant is refused as a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        configure(**arguments)


# ── samplers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unsampled_remote_parent_is_recorded() -> None:
    """A provider that we make records a run although the caller's trace is not sampled."""
    unsampled = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0)))
    private, configured = InMemoryBackend(), InMemoryBackend()
    tracers = [
        AgentTracer(backend=private),
        AgentTracer(tracer_provider=configure(backends=[configured], otlp=False)),
    ]
    for tracer in tracers:
        with trace.use_span(unsampled), tracer.run() as run, run.step("s"):
            pass
    assert [len(run.steps) for memory in (private, configured) for run in memory.runs()] == [1, 1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OTEL_TRACES_SAMPLER", "always_off", "[]"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off", "[]"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on", WHOLE),
        ("OTEL_TRACES_SAMPLER", "nonsense", WHOLE),
        ("OTEL_SDK_DISABLED", "true", "[]"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "2", WHOLE),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2", WHOLE),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10", WHOLE),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10", WHOLE),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "nonsense", WHOLE),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "nonsense", WHOLE),
        ("OTEL_RESOURCE_ATTRIBUTES", "%%%=,,=", WHOLE),
    ],
)
def test_the_environment(run_python: RunPython, name: str, value: str, expected: str) -> None:
    """Samplers of the environment decide; limits and nonsense in it neither cut nor break what is recorded."""
    result = run_python(PROGRAM, **{name: value})
    assert (result.returncode, result.stdout.strip()) == (0, expected), result.stderr


class Deciding(Sampler):
    def __init__(self, decision: Decision, *, keeps: bool = True) -> None:
        self.decision, self.keeps = decision, keeps

    def should_sample(self, parent_context: Any, trace_id: int, name: str, kind: Any = None, attributes: Any = None, *more: Any, **named: Any) -> Any:  # fmt: skip
        return SamplingResult(self.decision, attributes if self.keeps else None)

    def get_description(self) -> str:
        return "deciding"


def with_processor(provider: TracerProvider, *backends: Any) -> AgentTracer:
    provider.add_span_processor(AgentSpanProcessor(backends))
    return AgentTracer(tracer_provider=provider)


def test_record_only() -> None:
    """Spans that are recorded but not sampled are kept by nobody, and none stays behind as running."""
    memory = InMemoryBackend()
    tracer = with_processor(TracerProvider(sampler=Deciding(Decision.RECORD_ONLY)), memory)
    with tracer.run() as run:
        assert run.recording
        assert memory.runs() == []
    assert memory.runs() == []


def test_a_sampler_that_drops_attributes() -> None:
    """A sampler that forgets to hand the attributes on does not unmake runs and steps."""
    memory = InMemoryBackend()
    tracer = with_processor(TracerProvider(sampler=Deciding(Decision.RECORD_AND_SAMPLE, keeps=False)), memory)
    with tracer.run(user_input="q") as run, run.step("s", 1) as step:
        step.output = 2
    (read,) = memory.runs()
    assert (read.run_id, read.user_input, read.steps[0].input, read.steps[0].output) == (run.run_id, "q", 1, 2)


class Failing(SpanProcessor):
    def __init__(self, where: str, error: BaseException) -> None:
        self.where, self.error = where, error

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        if self.where == "start":
            raise self.error

    def on_end(self, span: Any) -> None:
        if self.where == "end":
            raise self.error


@pytest.mark.parametrize("where", ["start", "end", "sampler", "provider"])
def test_failing_parts_of_others(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """What foreign processors, samplers and providers raise does not reach the host through us."""

    class Raising(Deciding):
        def should_sample(self, *arguments: Any, **named: Any) -> Any:
            raise ZeroDivisionError

    class NoTracers(TracerProvider):
        def get_tracer(self, *arguments: Any, **named: Any) -> Any:
            raise ZeroDivisionError

    memory = InMemoryBackend()
    if where == "sampler":
        provider: TracerProvider = TracerProvider(sampler=Raising(Decision.DROP))
    else:
        provider = NoTracers() if where == "provider" else TracerProvider()
    if where in ("start", "end"):
        provider.add_span_processor(Failing(where, ZeroDivisionError("theirs")))
    tracer = with_processor(provider, memory)

    @tracer.tool
    def search(q: str) -> str:
        return q

    @tracer.agent
    def answer(q: str) -> str:
        with pytest.raises(LookupError), tracer.run() as run, run.model_call("m"):
            raise LookupError
        return search(q)

    assert answer("q") == "q"
    run_id = tracer.start_run()
    assert tracer.log_step(run_id, tool_name="t") == 1
    tracer.end_run(run_id)
    assert sum(number for reason, number in tracer.stats().items() if reason.startswith("failed")) >= 5
    assert 1 <= len(caplog.records) <= 4
    trace.get_current_span().is_recording()


def test_providers_of_other_makers() -> None:
    """A provider that cannot be hashed or referred to weakly, as proxies of other libraries, works."""

    class Proxy(trace.TracerProvider):
        __slots__ = ("provider",)
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, provider: TracerProvider) -> None:
            self.provider = provider

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Proxy)

        def get_tracer(self, *arguments: Any, **named: Any) -> trace.Tracer:
            return self.provider.get_tracer(*arguments, **named)

    memory, provider = InMemoryBackend(), TracerProvider()
    provider.add_span_processor(AgentSpanProcessor(memory))
    with AgentTracer(tracer_provider=Proxy(provider)).run(user_id="u1") as run:
        assert (run.user_id or "").startswith("hmac:")
    assert len(memory.runs()) == 1


def test_configure_a_proxy_provider() -> None:
    """configure() takes a provider of another maker that can be added to but not hashed."""

    class Proxy(TracerProvider):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return self is other

    memory = InMemoryBackend()
    provider = configure(provider=Proxy(), backends=[memory], user_ids="plain", otlp=False)
    with AgentTracer(tracer_provider=provider).run(user_id="u1"):
        pass
    assert [run.user_id for run in memory.runs()] == ["u1"]


def test_the_hosts_random_numbers_are_its_own(tracer: AgentTracer) -> None:
    """Tracing takes nothing from the sequence of `random`, and a seeded program has other ids each time."""
    random.seed(42)
    expected = [random.random() for _ in range(3)]
    ids = set()
    for _ in range(2):
        random.seed(42)
        numbers = []
        for _ in range(3):
            with tracer.run() as run, run.step("s"):
                numbers.append(random.random())
            ids.add(run.trace_id)
        assert numbers == expected
    assert len(ids) == 6


def test_import_costs_nothing(run_python: RunPython) -> None:
    """Importing the package and making a tracer on the global provider starts no thread and imports no exporter."""
    result = run_python(
        """
        import json, sys, threading
        from otel_agent_trace import AgentTracer, current_run
        AgentTracer().tool(len)
        print(json.dumps([threading.active_count(), [m for m in sys.modules if "grpc" in m or "exporter.otlp" in m]]))
        """
    )
    assert json.loads(result.stdout) == [1, []], result.stderr


def test_flush_and_close() -> None:
    """flush() is bounded in time and false for what hangs or fails; close() may be called twice."""
    import threading

    class Hanging(SpanProcessor):
        release = threading.Event()

        def force_flush(self, timeout_millis: int = 0) -> bool:
            return self.release.wait(DEADLOCK_S)

    class Raising(SpanProcessor):
        def force_flush(self, timeout_millis: int = 0) -> bool:
            raise ZeroDivisionError

    for processor in (Hanging(), Raising()):
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        assert AgentTracer(tracer_provider=provider).flush(timeout_s=0.05) is False
    Hanging.release.set()
    tracer = AgentTracer(backend=InMemoryBackend())
    assert tracer.flush() is True
    tracer.close()
    tracer.close()
    with tracer.run() as run:
        run.final_output = 1
    assert run.status is RunStatus.SUCCESS
