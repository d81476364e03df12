"""The real Collector and Jaeger run, and what goes in at one end comes out at the others."""

from __future__ import annotations

import base64
import http.client
import json
import random
import secrets
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from tests.support.running_servers import COLLECTOR_CONFIG, RunningCollector, RunningJaeger, RunningServer
from tests.support.server_fixtures import StartCollector, StartJaeger
from tests.support.waiting import DEADLOCK_S, wait_until

MIB = 1 << 20
RANDOM = random.Random(0).randbytes(2 * MIB)
STRUCTURED = {"kvlistValue": {"values": [{"key": "n", "value": {"arrayValue": {"values": [{"intValue": "1"}, {}]}}}]}}
MESSAGES = json.dumps([{"role": "user", "parts": [{"type": "text", "content": 'a "quoted"\nline, \\ and ☃'}]}])


def span(attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A span of OTLP JSON with a trace of its own."""
    return {
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": "invoke_agent weather",
        "kind": 1,
        "startTimeUnixNano": "1700000000000000001",
        "endTimeUnixNano": "1700000001000000002",
        "attributes": [{"key": key, "value": value} for key, value in attributes.items()],
        **more,
    }


def text(value: str) -> dict[str, str]:
    return {"stringValue": value}


def post(server: RunningServer, sent: dict[str, Any]) -> int:
    """Send one span over HTTP, and give the status of the answer; 0 if there is none."""
    resource = {"attributes": [{"key": "service.name", "value": text("probe")}]}
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [sent]}]}]})
    connection = http.client.HTTPConnection("127.0.0.1", server.port("otlp_http"), timeout=DEADLOCK_S)
    try:
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def spans_of(traces: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span
        for resource_spans in traces.get("resourceSpans", ())  # the file has lines of logs too
        for scope_spans in resource_spans["scopeSpans"]
        for span in scope_spans["spans"]
    ]


def in_jaeger(jaeger: RunningJaeger, trace_id: str) -> list[dict[str, Any]]:
    """What Jaeger has of a trace now."""
    status, body = jaeger.get("query", f"/api/v3/traces/{trace_id}")
    return spans_of(json.loads(body)["result"]) if status == http.client.OK else []


def in_file(collector: RunningCollector, trace_id: str) -> list[dict[str, Any]]:
    """What the Collector's file has of a trace now."""
    lines = collector.file.read_bytes().splitlines() if collector.file.exists() else []
    return [span for line in lines for span in spans_of(json.loads(line)) if span["traceId"] == trace_id]


def through(collector: RunningCollector, sent: dict[str, Any]) -> dict[str, Any]:
    """The span as it stands in the Collector's file."""
    assert post(collector, sent) == http.client.OK
    [received] = wait_until(lambda: in_file(collector, sent["traceId"]), "the span in the file")
    return received


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_spans_arrive_in_the_file_and_in_jaeger(
    collector_server: RunningCollector, jaeger_server: RunningJaeger, protocol: Any
) -> None:
    exporter: SpanExporter
    if protocol == "http":
        exporter = HttpExporter(collector_server.url("otlp_http", "/v1/traces"))
    else:
        exporter = GrpcExporter(collector_server.url("otlp_grpc"), insecure=True)
    provider = TracerProvider(resource=Resource({"service.name": f"probe-{protocol}"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("probe").start_as_current_span("invoke_agent weather", attributes={"n": 1}) as sent:
        trace_id = f"{sent.get_span_context().trace_id:032x}"
    provider.shutdown()
    found = [
        wait_until(lambda: in_jaeger(jaeger_server, trace_id), "the span in Jaeger"),
        wait_until(lambda: in_file(collector_server, trace_id), "the span in the file"),
    ]
    for [received] in found:
        assert received["name"] == "invoke_agent weather"
        assert received["attributes"] == [{"key": "n", "value": {"intValue": "1"}}]


def test_largest_span_that_the_collector_takes_arrives_in_jaeger(
    collector_server: RunningCollector, jaeger_server: RunningJaeger
) -> None:
    """A span longer than a batch is neither divided nor lost."""
    sent = span({"gen_ai.input.messages": text("x" * (31 * MIB))})
    assert post(collector_server, sent) == http.client.OK
    [received] = wait_until(lambda: in_jaeger(jaeger_server, sent["traceId"]), "the span in Jaeger")
    assert received["attributes"] == sent["attributes"]


def test_a_request_that_is_too_large_is_refused(collector_server: RunningCollector) -> None:
    assert post(collector_server, span({"a": text("x" * (33 * MIB))})) != http.client.OK


# ── redaction ────────────────────────────────────────────────────────────────────────────────────────────────────────

SECRETS = {
    "openai": "sk-proj-" + "aB3_-" * 8,
    "openai-old": "sk-" + "aB3" * 16,
    "anthropic": "sk-ant-api03-" + "aB3_-" * 10,
    "openrouter": "sk-or-v1-" + "0a" * 32,
    "langfuse": "sk-lf-01234567-89ab-cdef-0123-456789abcdef",
    "google": "AIzaSy" + "aB-" * 11,
    "hugging-face": "hf_" + "aB3" * 11 + "a",
    "groq": "gsk_" + "aB3" * 17 + "a",
    "xai": "xai-" + "aB3" * 26 + "aB",
    "replicate": "r8_" + "aB3" * 12 + "a",
    "aws": "AKIA" + "A1B2" * 4,
    "aws-session": "ASIA" + "A1B2" * 4,
    "github": "ghp_" + "aB3" * 12,
    "github-fine": "github_pat_" + "aB3_" * 10,
    "gitlab": "glpat-" + "aB3_-" * 4,
    "slack": "xoxb-1234567890-abcdefABCDEF",
    "stripe": "sk_live_" + "aB3" * 8,
    "stripe-restricted": "rk_test_" + "aB3" * 8,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLW9mLWl0",
    "bearer": "Bearer " + "aB3." * 8,
    "private-key": "-----BEGIN RSA PRIVATE KEY-----\\nMIIB+/Az\\n-----END RSA PRIVATE KEY-----",
    "address": "://admin:hunter2@",
}
HARMLESS = {
    "words": text("risk-free task-proj-management-of-the-dashboard, disk-or-tape, ask-someone-else"),
    "ids": text("task-0123456789abcdef0123456789abcdef chatcmpl-9aB3xY sk-learn call_aB3aB3aB3aB3aB3aB3aB3aB3"),
    "address": text("https://example.org:8080/a@b?c=d:e@f mailto:bob@example.org"),
    "hash": text("hmac:k1:" + "0a" * 32),
    "json": text(MESSAGES),
    "lines": text("a\nb\x00c"),
    "base64": text(base64.b64encode(RANDOM).decode()),
    "base64url": text(base64.urlsafe_b64encode(RANDOM).decode()),
    "empty": text(""),
    "number": {"intValue": "9223372036854775807"},
    "float": {"doubleValue": 0.1},
    "truth": {"boolValue": True},
    "bytes": {"bytesValue": "AAECAwQ="},
    "structure": STRUCTURED,
    "gen_ai.usage.input_tokens": {"intValue": "12"},
    "gen_ai.token.type": text("input"),
    "secretary": text("Ms. Bearer wrote so, in secret"),
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_secret_is_masked_and_the_rest_of_its_value_stays(collector_server: RunningCollector, secret: str) -> None:
    """In an attribute, in one of an event, in the message of the status."""
    around = json.dumps({"header": "X", "note": "before"})
    value = around.replace("X", secret)
    exception = {
        "name": "exception",
        "timeUnixNano": "1",
        "attributes": [{"key": "exception.message", "value": text(value)}],
    }
    sent = span({"gen_ai.tool.call.arguments": text(value)}, events=[exception], status={"code": 2, "message": value})
    received = through(collector_server, sent)
    masked = around.replace("X", "****")
    assert {pair["key"]: pair["value"] for pair in received["attributes"]} == {
        "gen_ai.tool.call.arguments": text(masked),
        "redaction.masked.count": {"intValue": "2"},
    }
    assert {"key": "exception.message", "value": text(masked)} in received["events"][0]["attributes"]
    assert received["status"] == {"code": 2, "message": masked}


@pytest.mark.parametrize(
    "key", ["http.request.header.authorization", "api_key", "x-api-key", "set-cookie", "db.password", "Authorization"]
)
def test_value_is_masked_by_its_name(collector_server: RunningCollector, key: str) -> None:
    received = through(collector_server, span({key: text("plain"), "a": text("plain")}))
    assert received["attributes"][:2] == [{"key": key, "value": text("****")}, {"key": "a", "value": text("plain")}]


def test_secret_in_a_list_is_masked(collector_server: RunningCollector) -> None:
    listed = {"arrayValue": {"values": [text("a"), text(SECRETS["aws"])]}}
    received = through(collector_server, span({"a": listed}))
    assert received["attributes"][0] == {"key": "a", "value": text('["a","****"]')}


def test_everything_else_stays_as_it_is(collector_server: RunningCollector) -> None:
    status = {"code": 2, "message": "ValueError: no\nsuch thing"}
    sent = span(HARMLESS, status=status)
    received = through(collector_server, sent)
    assert received["attributes"] == sent["attributes"]
    assert received["status"] == status


# ── death ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_collector_delivers_after_sigkill_what_it_acknowledged(
    start_collector: StartCollector, start_jaeger: StartJaeger
) -> None:
    """Jaeger is away while spans are acknowledged, and the Collector is killed: they were on the disk."""
    jaeger = start_jaeger()
    collector = start_collector(env={"JAEGER_OTLP_GRPC": jaeger.address("otlp_grpc")})
    jaeger.kill()
    sent = [span({"number": {"intValue": str(number)}}) for number in range(50)]
    assert {post(collector, each) for each in sent} == {http.client.OK}
    ports = [collector.port(role) for role in collector.roles]
    collector.kill()
    assert post(collector, sent[0]) == 0
    jaeger.start()
    collector.start()
    assert [collector.port(role) for role in collector.roles] == ports
    for each in sent:
        [received] = wait_until(partial(in_jaeger, jaeger, each["traceId"]), "the span in Jaeger")
        assert received["attributes"] == each["attributes"]


def test_configuration_is_valid_without_any_variable(collector_binary: Path, tmp_path: Path) -> None:
    command = [str(collector_binary), "validate", "--config", str(COLLECTOR_CONFIG)]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=DEADLOCK_S)
    assert done.returncode == 0, done.stderr
