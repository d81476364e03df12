"""The real MLflow and Phoenix run, take a span, and give it back."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.support.running_servers import RunningMLflow, RunningPhoenix, RunningServer
from tests.support.waiting import wait_until

ATTRIBUTES = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}


def send(server: RunningServer, resource: dict[str, str], headers: dict[str, str] | None = None) -> str:
    """Send one span, and give its trace id."""
    exporter = OTLPSpanExporter(server.url("http", "/v1/traces"), headers=headers)
    provider = TracerProvider(resource=Resource(resource))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("probe").start_as_current_span("invoke_agent weather", attributes=ATTRIBUTES) as span:
        trace_id = span.get_span_context().trace_id
    provider.shutdown()
    return f"{trace_id:032x}"


def spans_of(server: RunningServer, path: str, *where: str) -> list[dict[str, Any]]:
    """The spans that stand somewhere in an answer; none if there is no such answer."""
    status, body = server.get("http", path)
    answer = json.loads(body) if status == 200 else {}
    for key in where:
        answer = answer.get(key, {})
    return list(answer)


def test_mlflow_takes_a_span_and_gives_it_back(mlflow_server: RunningMLflow) -> None:
    trace_id = send(mlflow_server, {}, {"x-mlflow-experiment-id": "0"})
    [span] = spans_of(mlflow_server, f"/api/3.0/mlflow/traces/get?trace_id=tr-{trace_id}", "trace", "spans")
    assert span["name"] == "invoke_agent weather"


def test_phoenix_takes_a_span_and_gives_it_back(phoenix_server: RunningPhoenix) -> None:
    """It answers before it has stored anything."""
    trace_id = send(phoenix_server, {"openinference.project.name": "probe"})
    path = f"/v1/projects/probe/spans?trace_id={trace_id}"
    [span] = wait_until(lambda: spans_of(phoenix_server, path, "data"), "the span in Phoenix")
    assert span["name"] == "invoke_agent weather"
    assert span["span_kind"] == "AGENT"
