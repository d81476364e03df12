"""Policies and gates, before every kind of backend: memory, file, OTLP, runs, sinks, and exporters of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentStep,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    SpanRecord,
    SpanSink,
    configure,
    open_source,
)
from otel_agent_trace.backends.otlp import OtlpBackend
from otel_agent_trace.otlp import settings_of
from otel_agent_trace.pipeline import Gate, PipelineSpan
from tests.support.fake_receivers import FakeReceiver
from tests.support.sample_runs import fail_on_problem

SECRET, MASKED = "sk-12345", "***"


class Own:
    """A `TracerBackend` that notes of each step and run its name and answer."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def start_run(self, run: AgentRun) -> None:
        pass

    def log_step(self, run_id: str, step: AgentStep) -> None:
        self.seen.append((f"execute_tool {step.name}", step.output))

    def end_run(self, run: AgentRun) -> None:
        self.seen.append((f"invoke_agent {run.agent_name}", run.final_output))


class Sink(SpanSink):
    """A sink of one's own."""

    def __init__(self) -> None:
        self.records: list[SpanRecord] = []

    def on_end(self, span: PipelineSpan) -> None:
        self.records.append(span.record)


Seen = list[tuple[str, str]]
Kind = tuple[Any, Callable[[], Seen]]


def of_records(records: Sequence[SpanRecord]) -> Seen:
    return sorted((record.name, text_of(record.attributes)) for record in records)


def text_of(attributes: Any) -> str:
    return str(attributes.get("gen_ai.tool.call.result", attributes.get("gen_ai.output.messages"))).strip('"')


@pytest.fixture(params=["memory", "file", "otlp", "runs", "sink", "exporter"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, http_receiver: FakeReceiver) -> Kind:
    """A backend, and what it has: the names of spans, and what they say was answered."""
    memory, file, own, sink, exporter = (
        InMemoryBackend(),
        FileBackend(tmp_path / "t.jsonl"),
        Own(),
        Sink(),
        InMemorySpanExporter(),
    )

    def in_file() -> Seen:
        if not Path(file.path).exists():
            return []
        return of_records([span for trace in open_source(file).traces(fail_on_problem) for span in trace])

    kinds: dict[str, Callable[[], Kind]] = {
        "memory": lambda: (memory, lambda: of_records(memory.spans())),
        "file": lambda: (file, in_file),
        "otlp": lambda: (
            OtlpBackend(settings_of(http_receiver.endpoint)),
            lambda: of_records(http_receiver.accepted),
        ),
        "runs": lambda: (own, lambda: sorted((name, str(answer)) for name, answer in own.seen)),
        "sink": lambda: (sink, lambda: of_records(sink.records)),
        "exporter": lambda: (
            exporter,
            lambda: sorted((span.name, text_of(span.attributes or {})) for span in exporter.get_finished_spans()),
        ),
    }
    return kinds[request.param]()


def mask(record: Any) -> Any:
    """A policy that changes values, and says at a look whether it has to."""
    attributes = {
        key: value.replace(SECRET, MASKED) if isinstance(value, str) else value
        for key, value in record.attributes.items()
    }
    return msgspec.structs.replace(record, attributes=attributes)


class LookingMask:
    """The same, asked by a look first."""

    def violates(self, span: Any) -> bool:
        return SECRET in str(dict(span.attributes))

    __call__ = staticmethod(mask)


def without_b(record: Any) -> Any:
    """A policy that drops spans."""
    return None if record.name == "execute_tool b" else record


class OnlyErrors(Gate):
    """A gate that lets a trace go as soon as something fails in it, and drops what is over without."""

    def decide(self, spans: Sequence[SpanRecord], *, is_over: bool) -> bool | None:
        if any(span.status_code == 2 for span in spans):
            return True
        return False if is_over else None


def trace(tracer: AgentTracer, name: str, *, failing: bool = False) -> None:
    """A run of two steps, of which the second may fail."""
    with tracer.run(agent_name=name) as run:
        with run.step("a") as step:
            step.output = f"a {SECRET}"
        with run.step("b") as step:
            step.output = f"b {SECRET}"
            if failing:
                step.error = "broken"
        run.final_output = "done"


def names(seen: Seen) -> list[str]:
    return [name for name, _ in seen]


ALL = ["execute_tool a", "execute_tool b", "invoke_agent x"]


@pytest.mark.parametrize("policy", [mask, LookingMask()], ids=["always", "at a look"])
def test_a_policy_that_changes_a_value(kind: Kind, policy: Any) -> None:
    """No backend sees what it was before; all else is as it was."""
    backend, seen = kind
    tracer = AgentTracer(backend=backend, policies=[policy])
    trace(tracer, "x")
    assert tracer.flush()
    assert names(seen()) == ALL
    assert [answer for name, answer in seen() if name != "invoke_agent x"] == [f"a {MASKED}", f"b {MASKED}"]
    assert SECRET not in str(seen())
    tracer.close()


def test_a_policy_that_drops_a_span(kind: Kind) -> None:
    """No backend has it, and it is counted once."""
    backend, seen = kind
    tracer = AgentTracer(tracer_provider=configure(backends=[backend], policies=[without_b], otlp=False))
    trace(tracer, "x")
    assert tracer.flush()
    assert names(seen()) == ["execute_tool a", "invoke_agent x"]
    assert tracer.stats()["dropped: by a policy"] == 1


def test_policies_in_their_order(kind: Kind) -> None:
    """Each sees what the one before it has made."""

    def rename(record: Any) -> Any:
        return msgspec.structs.replace(record, name="execute_tool b") if record.name == "execute_tool a" else record

    backend, seen = kind
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor([backend], policies=[rename, without_b]))
    trace(AgentTracer(tracer_provider=provider), "x")
    assert provider.force_flush()
    assert names(seen()) == ["invoke_agent x"]


def test_a_gate(kind: Kind) -> None:
    """Of two traces no backend has the one that is dropped, and every one all of the other, after the policies."""
    backend, seen = kind
    tracer = AgentTracer(backend=backend, policies=[mask, OnlyErrors()])
    trace(tracer, "y")
    trace(tracer, "x", failing=True)
    assert tracer.flush()
    assert names(seen()) == ALL
    assert SECRET not in str(seen())
    assert tracer.stats()["dropped: by the gate"] == 3


def test_a_gate_that_holds_on(kind: Kind) -> None:
    """Undecided traces are passed on when it is flushed."""

    class Undecided(Gate):
        def decide(self, spans: Sequence[SpanRecord], *, is_over: bool) -> bool | None:
            return None

    backend, seen = kind
    tracer = AgentTracer(backend=backend, policies=[Undecided()])
    trace(tracer, "x")
    assert seen() == []
    assert tracer.flush()
    assert names(seen()) == ALL


@pytest.mark.parametrize("make", [InMemoryBackend, FileBackend, OtlpBackend], ids=lambda make: make.__name__)
def test_under_the_sdks_own_processors(make: Any, tmp_path: Path, http_receiver: FakeReceiver) -> None:
    """Our backends have the same pipeline there; a gate knows a trace to be over by its outermost span."""
    first = {
        InMemoryBackend: (),
        FileBackend: (tmp_path / "t.jsonl",),
        OtlpBackend: (settings_of(http_receiver.endpoint),),
    }
    backend = make(*first[make], policies=[mask, without_b, OnlyErrors()])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(backend))
    tracer = AgentTracer(tracer_provider=provider)
    trace(tracer, "y")
    with tracer.run(agent_name="x") as run, run.step("a") as step:
        step.output = SECRET
        run.error = "broken"
    assert backend.force_flush()
    if make is OtlpBackend:
        records = http_receiver.accepted
    elif make is FileBackend:
        records = [span for trace in backend.traces(fail_on_problem) for span in trace]
    else:
        records = backend.spans()
    assert of_records(records) == [("execute_tool a", MASKED), ("invoke_agent x", "None")]
    assert backend.stats()["dropped: by a policy"] == 1
    assert backend.stats()["dropped: by the gate"] == 2
    provider.shutdown()
