"""Log records are sent to the endpoint for logs, and spans are sent whether or not it takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from otel_agent_trace import AgentTracer, configure, load_run
from tests.support.fake_receivers import OK, Answer, FakeReceiver, fake_grpc_receiver, fake_http_receiver

LOG = logging.getLogger("weather")
VARIABLES = (
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"),
    *("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_LOGS_HEADERS", "OTEL_EXPORTER_OTLP_PROTOCOL"),
)


@pytest.fixture(params=["http/protobuf", "grpc"])
def receiver(request: pytest.FixtureRequest) -> Iterator[FakeReceiver]:
    with fake_http_receiver() if request.param == "http/protobuf" else fake_grpc_receiver() as fake:
        yield fake


@pytest.fixture
def http() -> Iterator[FakeReceiver]:
    with fake_http_receiver() as fake:
        yield fake


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def settings_for(fake: FakeReceiver) -> dict[str, Any]:
    is_grpc = fake.endpoint.startswith("grpc")
    return {"otlp": fake.http_endpoint, "protocol": "grpc" if is_grpc else None}


def log_once(**settings: Any) -> AgentTracer:
    """A run of one step with one line, flushed."""
    tracer = AgentTracer(tracer_provider=configure(logs="WARNING", **settings), agent_name="weather")
    with tracer.run() as run, run.step("search"):
        LOG.warning("stale %s", "Paris", extra={"city": {"name": "Paris"}})
    assert tracer.flush()
    return tracer


def test_logs_are_sent_beside_spans(receiver: FakeReceiver) -> None:
    """With ids of their step, the logger as scope, and the resource of the spans."""
    tracer = log_once(**settings_for(receiver))
    (log,) = receiver.logs
    step = next(span for span in receiver.accepted if span.name == "execute_tool search")
    assert (log.trace_id, log.span_id) == (step.trace_id, step.span_id)
    assert (log.body, log.severity_number, log.severity_text) == ("stale Paris", 13, "WARN")
    assert (log.scope.name, log.attributes["city"]) == ("weather", {"name": "Paris"})
    assert log.resource == step.resource
    stats = tracer.stats()
    assert (stats["OtlpBackend: sent"], stats["OtlpBackend: logs sent"]) == (2, 1)


@pytest.mark.parametrize(
    ("path", "sent_to"),
    [("", "/v1/logs"), ("/v1/traces", "/v1/logs"), ("/a/v1/traces/", "/a/v1/logs"), ("/a", "/a/v1/logs")],
)
def test_the_address_for_logs(http: FakeReceiver, path: str, sent_to: str) -> None:
    """The sibling of that for traces."""
    log_once(otlp=http.endpoint + path)
    assert sorted(request.path for request in http.requests) == sorted([sent_to, sent_to.replace("logs", "traces")])


@pytest.mark.parametrize(
    ("name", "value", "sent_to"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "{}", "/v1/logs"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "{}/my/logs", "/my/logs"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "{}/v1/traces", "/v1/logs"),
    ],
)
def test_the_address_of_the_environment(
    http: FakeReceiver, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sent_to: str
) -> None:
    """Variables for logs count before those for all signals, and are whole addresses."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{http.endpoint}/other")
    monkeypatch.setenv(name, value.format(http.endpoint))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-key=1")
    log_once()
    (request,) = [request for request in http.requests if request.logs]
    assert (request.path, request.headers["x-key"]) == (sent_to, "1")
    assert all("x-key" not in request.headers for request in http.requests if request.spans)


def test_an_address_for_traces_alone(http: FakeReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is of no receiver of all signals, logs are sent nowhere."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{http.endpoint}/other")
    log_once()
    assert [request.path for request in http.requests] == ["/other"]


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_receiver_that_takes_no_logs(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, no further requests, and spans go on, as with Jaeger."""
    with fake_http_receiver() if kind == "http" else fake_grpc_receiver() as fake:
        status: Any = 404 if kind == "http" else grpc.StatusCode.UNIMPLEMENTED
        fake.answer = lambda request: Answer(status) if request.logs else OK
        tracer = log_once(**settings_for(fake))
        with tracer.run():
            LOG.warning("again")
        assert tracer.flush()
        assert len([request for request in fake.requests if request.logs]) == 1
        assert len(fake.accepted) == 3
        stats = tracer.stats()
        assert stats["OtlpBackend: logs dropped: the receiver takes no logs"] == 2
        assert "OtlpBackend: logs sent" not in stats
        (warning,) = (record.message for record in caplog.records if record.name == "otel_agent_trace")
        where = f"{fake.http_endpoint}/v1/logs takes no logs (it answered 404)"
        if kind == "grpc":
            where = f"{fake.http_endpoint} takes no logs (it answered UNIMPLEMENTED)"
        assert warning == f"log records are not sent any more: {where}; OTEL_LOGS_EXPORTER=none leaves them out"


@pytest.mark.parametrize("is_given", [True, False])
def test_logs_may_be_left_out(
    http: FakeReceiver, monkeypatch: pytest.MonkeyPatch, is_given: bool, tmp_path: Any
) -> None:
    """By the variable of OpenTelemetry, for an endpoint of the program or the environment; a file gets them still."""
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", http.endpoint)
    log_once(otlp=http.endpoint if is_given else None, file=tmp_path / "traces.jsonl")
    assert [request.path for request in http.requests] == ["/v1/traces"]
    assert [log.body for step in load_run(tmp_path / "traces.jsonl").steps for log in step.logs] == ["stale Paris"]


def test_an_exporter_gets_no_logs() -> None:
    """The official exporters of spans take spans alone."""
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    tracer = log_once(otlp=exporter)
    assert len(exporter.get_finished_spans()) == 2
    assert not any(name.startswith("OtlpBackend: logs") for name in tracer.stats())


def test_logs_that_wait_when_a_program_ends(http: FakeReceiver, run_python: Any) -> None:
    """They are sent, as spans are."""
    result = run_python(f"""
import logging
from otel_agent_trace import AgentTracer, configure, load_run
tracer = AgentTracer(tracer_provider=configure(otlp={http.endpoint!r}, logs="WARNING"))
with tracer.run():
    logging.getLogger("weather").warning("last words")
""")
    assert (result.returncode, [log.body for log in http.logs]) == (0, ["last words"])


def test_a_queue_that_is_full(
    http: FakeReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Logs have bounds of their own, and are counted."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    http.answer = lambda request: Answer(503) if request.logs else OK
    tracer = AgentTracer(tracer_provider=configure(logs="WARNING", otlp=http.endpoint))
    with tracer.run():
        for number in range(200):
            LOG.warning("%d", number)
    assert not tracer.flush(0.3)
    assert tracer.stats()["OtlpBackend: logs dropped: queue full"] > 100
    assert "log records for" in caplog.text
    assert tracer.stats()["OtlpBackend: sent"] == 1
    tracer._state.provider.shutdown()  # type: ignore[union-attr]
