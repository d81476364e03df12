"""The official exporters send to the receiver, over HTTP and gRPC, and their spans pass the policies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry._logs import LogRecord as ApiLogRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from otel_agent_trace import AgentTracer, configure, load_runs, receiver
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.receiver import Addresses, Limits
from tests.support.made_up_secrets import alnum
from tests.support.own_receiver import Receiver, a_span, proto_of, receiving

OPENAI_KEY = f"sk-proj-{alnum(48)}"
EXPORTERS: dict[str, Callable[[Addresses], SpanExporter]] = {
    "HTTP": lambda to: HttpSpanExporter(f"{to.http}/v1/traces"),
    "HTTP, gzip": lambda to: HttpSpanExporter(f"{to.http}/v1/traces", compression=Compression.Gzip),
    "gRPC": lambda to: GrpcSpanExporter(to.grpc, insecure=True),
    "gRPC, gzip": lambda to: GrpcSpanExporter(to.grpc, insecure=True, compression=grpc.Compression.Gzip),
}
"""Exporters by what they send."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "t.jsonl", grpc=True) as started:
        yield started


@pytest.mark.parametrize("name", EXPORTERS)
def test_spans_of_the_official_exporters_are_in_the_store(running: Receiver, name: str) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "app"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(EXPORTERS[name](running.addresses)))
    tracer = provider.get_tracer("of a program")
    for number in range(700):
        with tracer.start_as_current_span(f"span {number}", attributes={"number": number, "list": ["a", "b"]}):
            pass
    provider.shutdown()
    stored = running.spans()
    assert [span.name for span in stored] == [f"span {number}" for number in range(700)]
    assert stored[5].attributes == {"number": 5, "list": ["a", "b"]}
    assert (stored[5].resource.attributes["service.name"], stored[5].scope.name) == ("app", "of a program")


@pytest.mark.parametrize("protocol", ["HTTP", "gRPC"])
def test_logs_of_the_official_exporters_are_in_the_store(running: Receiver, protocol: str) -> None:
    to = running.addresses
    exporter: Any = (
        HttpLogExporter(f"{to.http}/v1/logs") if protocol == "HTTP" else GrpcLogExporter(to.grpc, insecure=True)
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    provider.get_logger("of a program").emit(
        ApiLogRecord(timestamp=7, body=f"the key is {OPENAI_KEY}", severity_number=SeverityNumber.WARN)
    )
    provider.shutdown()
    [log] = running.logs()
    assert (log.time_ns, log.severity_number, log.scope.name) == (7, 13, "of a program")
    assert "<secret:" in log.body
    assert OPENAI_KEY not in log.body


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_runs_of_our_own_exporter_are_read_back(running: Receiver, protocol: Any) -> None:
    to = running.addresses.http if protocol == "http/protobuf" else running.addresses.grpc
    provider = configure(otlp=to, protocol=protocol)
    tracer = AgentTracer(tracer_provider=provider)

    @tracer.tool
    def search(q: str) -> list[str]:
        return ["found"]

    @tracer.agent
    def support(question: str) -> str:
        search("order")
        return "there"

    support("where is it?")
    provider.shutdown()
    [read] = load_runs(running.sink.path)
    assert (read.agent_name, read.final_output) == ("support", "there")
    assert [step.name for step in read.steps] == ["search"]


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_secrets_are_masked_and_users_are_pseudonyms(running: Receiver) -> None:
    running.post(
        proto_of(a_span(1, attributes={"gen_ai.input.messages": f"use {OPENAI_KEY}", "user.id": "ada"})),
        {"content-type": "application/x-protobuf"},
    )
    [span] = running.spans()
    assert OPENAI_KEY not in span.attributes["gen_ai.input.messages"]
    assert "enduser.pseudo.id" in span.attributes
    assert "user.id" not in span.attributes


def test_what_is_done_to_data_can_be_chosen(tmp_path: Path) -> None:
    def without_internal(record: Any) -> Any:
        return None if record.name == "span 2" else record

    options: dict[str, Any] = {"redact": False, "user_ids": "plain", "content": "none", "policies": [without_internal]}
    attributes = {"gen_ai.input.messages": "hello", "user.id": "ada", "gen_ai.request.model": OPENAI_KEY}
    with receiving(tmp_path / "t.jsonl", **options) as running:
        for number in (1, 2):
            body = proto_of(a_span(number, attributes=attributes))
            assert running.post(body, {"content-type": "application/x-protobuf"}).body == b""
        assert [span.attributes for span in running.spans()] == [{"user.id": "ada", "gen_ai.request.model": OPENAI_KEY}]
        assert running.sink.stats()["dropped: by a policy"] == 1


def test_a_policy_that_fails_drops_the_span_and_nothing_else(tmp_path: Path) -> None:
    def fails(record: Any) -> Any:
        if record.name == "span 1":
            raise RuntimeError("no")
        return record

    with receiving(tmp_path / "t.jsonl", policies=[fails]) as running:
        body = proto_of(a_span(1), a_span(2))
        assert running.post(body, {"content-type": "application/x-protobuf"}).status == 200
        assert running.spans() == [a_span(2)]


def test_the_store_has_the_settings_of_a_file_backend(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", rotate_bytes=2000, compress="zst") as running:
        for number in range(20):
            running.post(proto_of(a_span(number)), {"content-type": "application/x-protobuf"})
    assert len(list(tmp_path.glob("t-*.jsonl*"))) > 1
    assert len(load_runs(tmp_path)) == 0  # they are no runs, but all are there:
    from otel_agent_trace.sources.files import FilesSource

    traces = FilesSource([str(tmp_path)]).traces(lambda problem: pytest.fail(str(problem)))
    assert sum(len(spans) for spans in traces) == 20


def test_unknown_options_and_places_that_are_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="rotate_bytes"):
        receiver.StoreSink(tmp_path / "t.jsonl", rotate_byte=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="not a regular file"):
        receiver.StoreSink(tmp_path)


# ── gRPC ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

TRACE_SERVICE = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def call(running: Receiver, body: bytes, method: str = TRACE_SERVICE, **options: Any) -> bytes:
    assert running.addresses.grpc is not None
    address = running.addresses.grpc.removeprefix("http://")
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        answer: bytes = channel.unary_unary(method)(body, timeout=60, **options)
        return answer


def test_bad_spans_over_grpc_are_rejected_and_counted(running: Receiver) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    request = TracesData.FromString(proto_of(a_span(1), a_span(2)))
    request.resource_spans[0].scope_spans[0].spans[0].trace_id = b""
    answer = ExportTraceServiceResponse.FromString(call(running, request.SerializeToString()))
    assert answer.partial_success.rejected_spans == 1
    assert running.spans() == [a_span(2)]
    assert call(running, proto_of(a_span(3))) == b""


REFUSED = {
    "no message": (b"\xff", grpc.StatusCode.INVALID_ARGUMENT, {}),
    "too large": (bytes(21 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED, {}),
    "a bomb": (bytes(300 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED, {"compression": grpc.Compression.Gzip}),
    "another service": (b"", grpc.StatusCode.UNIMPLEMENTED, {"method": TRACE_SERVICE.replace("trace", "metrics")}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_over_grpc(running: Receiver, name: str) -> None:
    body, code, options = REFUSED[name]
    with pytest.raises(grpc.RpcError) as refused:
        call(running, body, **options)
    assert refused.value.code() == code
    assert running.spans() == []


# ── ports ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("which", ["http_port", "grpc_port"])
def test_a_port_in_use_is_an_error_that_names_it(tmp_path: Path, which: str) -> None:
    async def serve(port: int) -> None:
        ports = {"http_port": 0, "grpc_port": 0, which: port}
        async with receiver.running(sink, http_port=ports["http_port"], grpc_port=ports["grpc_port"]):
            pytest.fail("it runs")

    sink = receiver.StoreSink(tmp_path / "t.jsonl", limits=Limits())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=str(port)):
            asyncio.run(serve(port))
    sink.close()
