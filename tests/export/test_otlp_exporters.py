"""`configure(otlp=exporter)`: exporters of others run behind our queue, and whatever they do hurts nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace import AgentTracer, InMemoryBackend, configure
from otel_agent_trace.backends.otlp import OtlpBackend
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.otlp import Schedule
from otel_agent_trace.tracing import AgentSpanProcessor
from tests.support.ending_programs import Program, ends_in_time, full_listener
from tests.support.otlp_receivers import Relay, Sink, free_ports
from tests.support.providers import emit, stats
from tests.support.requirements import needs_fork
from tests.support.waiting import DEADLOCK_S, PROMPT_S, wait_until

SENT, LOST, FULL = "OtlpBackend: sent", "OtlpBackend: lost: sending", "OtlpBackend: dropped: queue full"
AT_END = "OtlpBackend: dropped: waiting at the end"


def official(protocol: Any, endpoint: str) -> SpanExporter:
    """The exporter of `opentelemetry-exporter-otlp` for that protocol."""
    if protocol == "grpc":
        return GrpcExporter(endpoint=endpoint, insecure=True)
    return HttpExporter(endpoint=f"{endpoint}/v1/traces")


# ── the official ones ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["http/protobuf", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_traced_arrives(protocol: Any, http_sink: Sink, grpc_sink: Sink) -> None:
    """A run and the spans beside it arrive as they do by our own sender, user ids under the policy."""
    sink = grpc_sink if protocol == "grpc" else http_sink
    memory = InMemoryBackend()
    provider = configure(otlp=official(protocol, sink.endpoint), backends=[memory])
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run(user_input="question", user_id="alice") as traced, traced.step("search", {"q": 1}) as step:
        step.output = {"found": [1, 2]}
    emit(provider, 600, **{"user.id": "alice"})
    assert tracer.flush(DEADLOCK_S)
    records = sink.records()
    assert sorted(span.span_id for span in records) == sorted(span.span_id for span in memory.spans())
    assert len(records) == 602
    assert not any("alice" in str(span.attributes) for span in records)
    assert stats(provider)[SENT] == 602
    provider.shutdown()


def test_it_goes_through_a_collector(protocol: Any, rotel: Relay) -> None:
    """The same against a collector that others made."""
    provider = configure(otlp=official(protocol, rotel.endpoints[protocol]))
    emit(provider, 3)
    assert provider.force_flush(600_000)
    assert sorted(span.name for span in rotel.sink.wait_for(3)) == ["s0", "s1", "s2"]
    provider.shutdown()


def test_a_receiver_that_refuses_is_counted_and_reported_once(
    http_receiver: Any, grpc_receiver: Any, protocol: Any, caplog: pytest.LogCaptureFixture
) -> None:
    import grpc

    from tests.support.fake_receivers import Answer

    receiver = grpc_receiver if protocol == "grpc" else http_receiver
    refusal = Answer(400, b"never") if protocol != "grpc" else Answer(grpc.StatusCode.INVALID_ARGUMENT, "never")
    receiver.answer = lambda request: refusal
    provider = configure(otlp=official(protocol, receiver.endpoint.removeprefix("grpc://")))
    for round_ in (1, 2):
        emit(provider, 3)
        assert provider.force_flush(600_000) is False
        assert stats(provider) == {LOST: 3 * round_}
    ours = [record.getMessage() for record in caplog.records if record.name == "otel_agent_trace"]
    assert ours == [
        "could not send spans: OTLPSpanExporter.export() returned SpanExportResult.FAILURE (logged once)",
    ]
    provider.shutdown()


EXPORTERS = {
    "http/protobuf": """
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = configure(otlp=OTLPSpanExporter(endpoint={!r} + "/v1/traces"))
""",
    "grpc": """
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
provider = configure(otlp=OTLPSpanExporter(endpoint={!r}, insecure=True))
""",
}
TRACING = """
tracer = AgentTracer(tracer_provider=provider)
emit(20)
print('done', flush=True)
sys.stdin.read()
"""


Run = Callable[..., Program]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A program that traces, in a process of its own."""

    def call(code: str, endpoint: str, protocol: Any = "http/protobuf") -> Program:
        return Program(code, endpoint, protocol, tmp_path)

    return call


@pytest.mark.parametrize("how", ["dead", "black hole"])
def test_the_end_before_a_dead_receiver(run: Run, protocol: Any, how: str) -> None:
    """It takes no longer than with our own sender, and says what was lost."""

    def attempt() -> float:
        with full_listener() as port:
            [free] = free_ports(1)
            endpoint = f"http://127.0.0.1:{port if how == 'black hole' else free}"
            program = run(EXPORTERS[protocol].format(endpoint) + TRACING, "http://127.0.0.1:1", protocol)
            assert program.read() == "done\n"
            took_s = program.end()
        assert program.code == 0, program.errors
        assert f'"{AT_END}": 20' in program.output
        assert "20 spans could not be sent to OTLPSpanExporter before it was closed" in program.errors
        return took_s

    assert ends_in_time(attempt)


def test_the_end_before_a_good_receiver(
    run: Run,
    protocol: Any,
    http_receiver: Any,
    grpc_receiver: Any,
) -> None:
    """Everything that waits arrives."""
    receiver = grpc_receiver if protocol == "grpc" else http_receiver
    endpoint = receiver.endpoint.replace("grpc://", "http://")
    program = run(
        EXPORTERS[protocol].format(endpoint) + "tracer = AgentTracer(tracer_provider=provider)\nemit(1000)",
        "http://127.0.0.1:1",
        protocol,
    )
    program.end()
    assert program.code == 0, program.errors
    assert len({span.span_id for span in receiver.accepted}) == 1000
    assert f'"{SENT}": 1000' in program.output


@needs_fork
def test_forked_children_send_what_is_theirs(run: Run, http_receiver: Any) -> None:
    """With the same exporter, as under the SDK's own processors, and a queue and a thread of their own."""
    program = run(
        EXPORTERS["http/protobuf"].format(http_receiver.endpoint)
        + """
tracer = AgentTracer(tracer_provider=provider)
emit(2, "parent ")
for number in range(2):
    child = os.fork()
    if child == 0:
        emit(1, f"child {number} ")
        sys.exit()
    os.waitpid(child, 0)
""",
        "http://127.0.0.1:1",
    )
    program.end()
    assert program.code == 0, program.errors
    names = sorted(span.name for span in http_receiver.accepted)
    assert names == ["child 0 0", "child 1 0", "parent 0", "parent 1"]


# ── any ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Exporter(SpanExporter):
    """Does what the test says, and notes in which threads."""

    def __init__(self, result: Any = SpanExportResult.SUCCESS) -> None:
        self.result = result
        self.names: list[str] = []
        self.threads: set[str] = set()
        self.calls: list[str] = []
        self.flushed_ms: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.threads.add(threading.current_thread().name)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._note("export")
        self.may_go_on.wait(DEADLOCK_S)
        if isinstance(self.result, BaseException):
            raise self.result
        self.names += [span.name for span in spans]
        result: SpanExportResult = self.result
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self._note("force_flush")
        self.flushed_ms.append(timeout_millis)
        return True

    def shutdown(self) -> None:
        self._note("shutdown")


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    made = Exporter()
    yield made
    made.may_go_on.set()


def test_everything_is_called_in_our_thread(exporter: Exporter) -> None:
    """In the order of the SDK's own processors; the flush gets the time that is left, shutting down is waited for."""
    provider = configure(otlp=exporter)
    emit(provider, 3)
    assert provider.force_flush(600_000)
    assert (exporter.names, exporter.calls) == (["s0", "s1", "s2"], ["export", "force_flush"])
    assert 0 < exporter.flushed_ms[0] <= 600_000
    emit(provider)
    provider.shutdown()
    assert exporter.names == ["s0", "s1", "s2", "s0"]
    assert exporter.calls == ["export", "force_flush", "export", "force_flush", "shutdown"]
    assert exporter.threads == {"otel_agent_trace.otlp"}
    assert stats(provider) == {SENT: 4}


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_one_that_raises(exporter: Exporter, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and reported once; sending goes on with what comes later."""
    exporter.result = error
    provider = configure(otlp=exporter)
    for _ in range(2):
        emit(provider, 3)
        assert provider.force_flush(600_000) is False
    assert stats(provider) == {LOST: 6, "OtlpBackend: failed: Exporter.export": 2}
    assert len(caplog.records) == 1
    exporter.result = SpanExportResult.SUCCESS
    emit(provider)
    assert provider.force_flush(600_000)
    assert stats(provider)[SENT] == 1
    provider.shutdown()


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, False, 0, None, "yes"])
def test_only_success_is_sent(exporter: Exporter, result: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever else an exporter gives is reported, and the spans are lost."""
    exporter.result = result
    provider = configure(otlp=exporter)
    emit(provider, 3)
    assert provider.force_flush(600_000) is False
    assert stats(provider) == {LOST: 3}
    assert f"Exporter.export() returned {result} (logged once)" in caplog.text
    provider.shutdown()


def test_one_that_hangs_costs_no_more_than_its_queue(exporter: Exporter) -> None:
    """The program goes on, a flush takes its time and the end a second; what found no room is counted."""
    exporter.may_go_on.clear()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(OtlpBackend(exporter, schedule=Schedule(max_waiting_spans=20))))
    emit(provider, 10)
    wait_until(lambda: exporter.calls == ["export"], "the export that hangs")
    emit(provider, 100)
    assert stats(provider) == {FULL: 80}
    began = time.monotonic()
    assert provider.force_flush(100) is False
    provider.shutdown()
    assert time.monotonic() - began < PROMPT_S
    assert stats(provider) == {FULL: 80, AT_END: 30}
    exporter.may_go_on.set()
    wait_until(lambda: exporter.calls[-1] == "shutdown", "the exporter is shut down when it can be")


def test_spans_of_the_exporting_are_not_exported(exporter: Exporter) -> None:
    """Neither those of instrumentations that heed suppression nor of others: it would never end."""
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled

    enabled: list[bool] = []

    class Traced(Exporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            enabled.append(is_instrumentation_enabled())
            with provider.get_tracer("client").start_as_current_span("POST"):
                return super().export(spans)

    traced = Traced()
    provider = configure(otlp=traced)
    emit(provider)
    for _ in range(3):
        assert provider.force_flush(600_000)
    assert (traced.names, enabled) == (["s0"], [False])
    provider.shutdown()


def test_what_cannot_be_meant(exporter: Exporter) -> None:
    """A protocol beside an exporter, and what is neither an address nor an exporter."""
    with pytest.raises(ConfigurationError, match="Exporter has a protocol of its own"):
        configure(otlp=exporter, protocol="grpc")
    given: Any = Exporter
    with pytest.raises(ConfigurationError, match="or a SpanExporter"):
        configure(otlp=given)
