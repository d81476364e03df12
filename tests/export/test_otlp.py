"""What is sent by OTLP arrives as it was kept, whoever receives it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import msgspec
import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, configure, runs_from_spans
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import same
from tests.support.otlp_receivers import Relay, Sink, free_ports, received_by_oteltap, record_of
from tests.support.waiting import DEADLOCK_S, PROMPT_S

PROTOCOLS = ("http/protobuf", "grpc")
SPANS = 9
VALUES = {
    "texts": ["", "\0", "Gr\u00fc\u00dfe \U0001f600", "\ud800", "x" * 10_000],
    "numbers": (2**63 - 1, -(2**63), 2**80, 0.1, -0.0, float("nan"), float("inf")),
    1: {"bytes": b"\x00\xff", "set": {1, 2}, "nothing": None},
}


def trace_everything(tracer: AgentTracer) -> None:
    """A run with steps of all kinds, a failure, a sub-agent, and a span of somebody else; and a run that fails."""
    facts: dict[str, Any] = {
        "user_id": "u1",
        "session_id": "s1",
        "model": "m-1",
        "config": VALUES,
        "metadata": {"release": 7},
    }
    with tracer.run(user_input=VALUES, **facts) as run:
        with run.model_call("m-1", [{"role": "user", "content": "question"}], provider="openai") as call:
            call.output = {"role": "assistant", "content": "answer"}
            call.usage = {"input_tokens": 100, "output_tokens": 20}
            call.mark_first_chunk()
        with run.step("search", VALUES, step_id="named") as step:
            step.output = VALUES
            step.set_attribute("own", [1, 2])
            with run.step("inner", {}, kind=StepKind.OTHER):
                pass
        with run.step("documents", "query", kind=StepKind.RETRIEVAL) as retrieval:
            retrieval.output = [{"id": "d1", "score": 0.5}]
        with contextlib.suppress(LookupError), run.step("fails", {"query": ""}):
            raise LookupError("no such \ud800 thing\n")
        with tracer.run(agent_name="helper", user_input="help") as helper:
            with helper.step("help") as step:
                step.output = "helped"
            helper.final_output = 1
        run.final_output = ["done", ("really",)]
    with contextlib.suppress(TimeoutError), tracer.run(user_input="is too slow"):
        raise TimeoutError("after 5 s")


def assert_arrived(received: list[SpanRecord], kept: list[SpanRecord]) -> None:
    """Each span came once and in every field as it was kept."""
    assert len(kept) == SPANS
    assert sorted(span.span_id for span in received) == sorted(span.span_id for span in kept)
    by_id = {span.span_id: span for span in kept}
    for span in received:
        for name in SpanRecord.__struct_fields__:
            if name != "flags":  # the SDK's exporters leave the bits of W3C out
                assert _same(getattr(span, name), getattr(by_id[span.span_id], name)), (span.name, name)


def _same(one: Any, other: Any) -> bool:
    """Equal by type and value, inside of structures as well."""
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and all(
            _same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__
        )
    if isinstance(one, tuple) and one and isinstance(one[0], msgspec.Struct):
        return len(one) == len(other) and all(map(_same, one, other))
    return same(one, other)


def traced_to(endpoint: str, protocol: Any) -> InMemoryBackend:
    """Trace everything, sending it to that endpoint, and get what was kept meanwhile."""
    memory = InMemoryBackend()
    provider = configure(
        backends=[memory], otlp=endpoint, protocol=protocol, resource={"service.name": "sender", "n": [1, 2]}
    )
    tracer = AgentTracer(tracer_provider=provider, agent_name="a")
    trace_everything(tracer)
    assert tracer.flush(DEADLOCK_S)
    provider.shutdown()
    return memory


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_spans_arrive_at_rotel(
    rotel: Relay, protocol: Any, compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every field of every span passes through a collector in another process, and the runs are the same again."""
    if compression is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    memory = traced_to(rotel.endpoints[protocol], protocol)
    received = rotel.sink.wait_for(SPANS)
    assert_arrived(received, memory.spans())
    assert runs_from_spans(received) == memory.runs()


def test_spans_arrive_at_oteltap() -> None:
    """Another receiver, which keeps spans alone, has the same spans and the same runs."""
    memory, spans = received_by_oteltap(lambda endpoint: traced_to(endpoint, "http/protobuf"), SPANS)
    kept = memory.spans()
    resource, scope = kept[0].resource, kept[0].scope
    received = [record_of(span, resource, scope) for span in spans]
    assert_arrived(received, kept)
    assert runs_from_spans(received) == memory.runs()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_plain_user_id_is_sent(http_sink: Sink, grpc_sink: Sink, protocol: Any) -> None:
    """Also in spans of other instrumentations, what leaves the program carries a pseudonym."""
    sink = grpc_sink if protocol == "grpc" else http_sink
    provider = configure(otlp=sink.endpoint, protocol=protocol)
    attributes = {"user.id": "alice@example.org", "enduser.id": "alice@example.org"}
    provider.get_tracer("somebody else").start_span("GET /", attributes=attributes).end()
    provider.shutdown()
    [span] = sink.records()
    assert span.name == "GET /"
    assert list(span.attributes) == ["enduser.pseudo.id"]
    assert b"alice" not in sink.received[0].request.SerializeToString()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_large_batches_arrive(http_sink: Sink, grpc_sink: Sink, protocol: Any) -> None:
    """A batch of more than receivers take at once arrives, in requests of about 1 MiB, each span once."""
    sink = grpc_sink if protocol == "grpc" else http_sink
    provider = configure(otlp=sink.endpoint, protocol=protocol)
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run() as run:
        for _ in range(12):
            with run.step("read", {}) as step:
                step.output = "\u20ac" * 330_000
    assert tracer.flush(DEADLOCK_S)
    provider.shutdown()
    sizes = [received.request.ByteSize() for received in sink.received]
    assert len({span.span_id for span in sink.records()}) == len(sink.records()) == 13
    assert max(sizes) < 4 << 20
    assert 12 <= len(sizes) <= 13


@pytest.mark.parametrize("size", [4_100_000, 5_000_000])
def test_a_span_that_is_too_large(grpc_sink: Sink, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that no receiver takes costs itself alone, wherever in its batch it stands."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    provider = configure(otlp=grpc_sink.endpoint, protocol="grpc")
    other = provider.get_tracer("other")
    for number in range(9):
        other.start_span(f"{number}", attributes={"x": "x" * size if number in (0, 4, 8) else "x"}).end()
    AgentTracer(tracer_provider=provider).flush(DEADLOCK_S)
    provider.shutdown()
    arrived = {span.name for span in grpc_sink.records()}
    assert arrived >= {"1", "2", "3", "5", "6", "7"}
    assert (arrived == set("012345678")) is (size < 4 << 20)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_absent_collector_costs_the_program_nothing(protocol: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody listening the run goes on at once and is kept elsewhere, and flushing ends after its timeout."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(DEADLOCK_S))
    [port] = free_ports(1)
    memory = InMemoryBackend()
    provider = configure(backends=[memory], otlp=f"http://127.0.0.1:{port}", protocol=protocol)
    tracer = AgentTracer(tracer_provider=provider)
    began = time.monotonic()
    trace_everything(tracer)
    assert time.monotonic() - began < PROMPT_S
    tracer.flush(0.2)
    assert time.monotonic() - began < PROMPT_S
    assert len(memory.spans()) == SPANS
    provider.shutdown()
    assert time.monotonic() - began < PROMPT_S
