"""`configure()` does what its arguments and the environment say, and refuses what cannot be meant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from otel_agent_trace import AgentTracer, InMemoryBackend, configure, load_runs
from otel_agent_trace.errors import ConfigurationError
from tests.support.otlp_receivers import Sink
from tests.support.processes import ROOT
from tests.support.waiting import DEADLOCK_S


def trace_one(provider: TracerProvider) -> None:
    """Trace one run, send it, and shut the provider down."""
    with AgentTracer(tracer_provider=provider) as tracer:
        with tracer.run(user_input="question", user_id="u1"):
            pass
        assert tracer.flush(DEADLOCK_S)
    provider.shutdown()


def run_python(code: str, **environment: str) -> str:
    """What a program of its own prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    env |= {"PYTHONPATH": str(ROOT), "OTEL_AGENT_TRACE_USER_KEY": "test", **environment}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLOCK_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/v1/traces"),
        ("/", "/v1/traces"),
        ("/otlp", "/otlp/v1/traces"),
        ("/otlp/", "/otlp/v1/traces"),
        ("/v1/traces", "/v1/traces"),
        ("/otlp/v1/traces/", "/otlp/v1/traces"),
        ("/otlp?key=1", "/otlp/v1/traces?key=1"),
    ],
)
def test_base_address_gets_the_path(http_sink: Sink, given: str, path: str) -> None:
    """Whether the address is a base or the whole one, requests go where traces go."""
    trace_one(configure(otlp=http_sink.endpoint + given))
    assert [received.path for received in http_sink.received] == [path]


@pytest.mark.parametrize("otlp", [None, True])
def test_endpoint_of_the_environment(http_sink: Sink, otlp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint in the environment is a base address, and is used without being asked for."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{http_sink.endpoint}/base")
    trace_one(configure(otlp=otlp))
    assert [received.path for received in http_sink.received] == ["/base/v1/traces"]


def test_traces_endpoint_of_the_environment(http_sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable for traces alone is the whole address, and goes before the other."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{http_sink.endpoint}/own")
    trace_one(configure())
    assert [received.path for received in http_sink.received] == ["/own"]


def test_argument_goes_before_the_environment(http_sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program says counts, whatever the environment says."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    trace_one(configure(otlp=http_sink.endpoint, protocol="http/protobuf"))
    assert len(http_sink.records()) == 1


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_protocol_of_the_environment(grpc_sink: Sink, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol in the environment is used where the program names none."""
    monkeypatch.setenv(variable, "grpc")
    trace_one(configure(otlp=grpc_sink.endpoint))
    assert [received.path for received in grpc_sink.received] == ["Export"]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_headers_of_the_environment(
    http_sink: Sink, grpc_sink: Sink, protocol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that a hosted collector wants are sent with every request."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret%20key,x-other=2")
    sink = grpc_sink if protocol == "grpc" else http_sink
    trace_one(configure(otlp=sink.endpoint, protocol=protocol))
    [received] = sink.received
    assert (received.headers["x-key"], received.headers["x-other"]) == ("secret key", "2")


def test_false_is_no_otlp(http_sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """False sends nothing, whatever the environment says, not even a protocol that there is not."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", http_sink.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    before = threading.active_count()
    provider = configure(otlp=False)
    assert threading.active_count() == before
    trace_one(provider)
    assert http_sink.received == []


def test_no_setting_is_no_otlp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint nothing is sent, and no thread waits to send; an empty variable is none."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", " ")
    before = threading.active_count()
    provider = configure()
    assert threading.active_count() == before
    provider.shutdown()


@pytest.mark.parametrize(
    "endpoint",
    [
        *("", " ", "localhost:4318", "127.0.0.1:4318", "grpc://localhost:4317", "http://", "http:///v1/traces"),
        *(
            "http://:4318",
            "http://localhost:70000",
            "http://localhost:port",
            "http://[::1",
            "file:///tmp/x",
            4318,
            b"http://h",
        ),
    ],
)
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_bad_endpoint(endpoint: Any, protocol: Any) -> None:
    """What is no address is refused at once, with an example of one that is."""
    with pytest.raises(ConfigurationError, match="http://localhost:4318") as refused:
        configure(otlp=endpoint, protocol=protocol)
    assert repr(endpoint) in str(refused.value)


@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [
        ("localhost:4318", "; write http://localhost:4318"),
        ("127.0.0.1:4317", '; write http://127.0.0.1:4317 and protocol="grpc"'),
        ("myhost:4318/v1/traces", "; write http://myhost:4318/v1/traces"),
        ("grpc://h:4317", '; write http://h:4317 and protocol="grpc"'),
        ("ftp://h", ""),
        ("localhost:70000", ""),
    ],
)
def test_bad_endpoint_that_can_be_put_right(endpoint: str, advice: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(ConfigurationError) as refused:
        configure(otlp=endpoint)
    assert str(refused.value) == f"otlp={endpoint!r} must be an endpoint like http://localhost:4318{advice}"


@pytest.mark.parametrize("otlp", [None, False, "http://localhost:4318"])
def test_bad_protocol(otlp: Any) -> None:
    """A protocol that there is not is refused, and those that there are named."""
    with pytest.raises(ConfigurationError, match="'http/json' must be one of http/protobuf, grpc"):
        configure(otlp=otlp, protocol="http/json")  # type: ignore[arg-type]


def test_bad_protocol_of_the_environment(
    http_sink: Sink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A protocol of the environment that is not supported is one warning, and spans go out all the same."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    trace_one(configure(otlp=http_sink.endpoint))
    assert len(http_sink.records()) == 1
    assert [record.getMessage() for record in caplog.records if "http/json" in record.getMessage()] == [
        "OTLP protocol 'http/json' of the environment is not supported; http/protobuf is used"
    ]


def test_one_backend_needs_no_list() -> None:
    """One backend may be given by itself, as `AgentTracer` takes it."""
    backend = InMemoryBackend()
    trace_one(configure(backends=backend))
    assert len(backend.spans()) == 1


def test_bad_user_ids() -> None:
    """A way to treat user ids that there is not is refused."""
    with pytest.raises(ConfigurationError, match="user_ids='hash'"):
        configure(user_ids="hash")  # type: ignore[arg-type]


def test_no_backend() -> None:
    """An object without any method of a backend is refused."""
    with pytest.raises(TypeError, match="object is not a backend"):
        configure(backends=[object()])


# ── the provider ─────────────────────────────────────────────────────────────────────────────────────────────────────


def resource_of(provider: TracerProvider, memory: InMemoryBackend) -> Mapping[str, Any]:
    """The attributes of the program, as a span carries them."""
    trace_one(provider)
    return memory.spans()[0].resource.attributes


def test_resource_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes of the program stand beside those of the environment, and go before them."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=1,team=env")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "named-by-env")
    memory = InMemoryBackend()
    attributes = resource_of(configure(backends=[memory], resource={"team": "code"}), memory)
    assert attributes["service.name"] == "named-by-env"
    assert attributes["deployment.environment.name"] == "test"
    assert attributes["team"] == "code"
    assert memory.runs()[0].service_name == "named-by-env"


@pytest.mark.parametrize("resource", [{"service.name": "named"}, Resource({"service.name": "named"})])
def test_resource_names_the_service(resource: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the program gives is the service's, as a mapping or as a resource."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "named-by-env")
    memory = InMemoryBackend()
    assert resource_of(configure(backends=[memory], resource=resource), memory)["service.name"] == "named"


def test_provider_is_added_to() -> None:
    """A provider that is given keeps what it does, does what the arguments ask as well, and is given back."""
    theirs, ours, later = InMemoryBackend(), InMemoryBackend(), InMemoryBackend()
    provider = TracerProvider(resource=Resource({"service.name": "theirs"}))
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    assert configure(provider=provider, backends=[ours]) is provider
    assert configure(provider=provider, backends=[later]) is provider
    trace_one(provider)
    assert theirs.runs() == ours.runs() == later.runs()
    assert ours.runs()[0].service_name == "theirs"


def test_resource_of_a_given_provider_is_refused() -> None:
    """A provider that exists has its resource; another one for it cannot be meant."""
    with pytest.raises(ConfigurationError, match="resource="):
        configure(provider=TracerProvider(), resource={"service.name": "x"})


def test_file_and_backends_and_otlp_at_once(http_sink: Sink, tmp_path: Path) -> None:
    """A run goes to all places that were named."""
    memory = InMemoryBackend()
    trace_one(configure(file=tmp_path / "traces.jsonl", backends=[memory], otlp=http_sink.endpoint))
    assert load_runs(tmp_path / "traces.jsonl") == load_runs(memory) == memory.runs()
    assert [span.trace_id for span in http_sink.records()] == [memory.runs()[0].trace_id]


@pytest.mark.parametrize(("mode", "kept"), [("plain", "u1"), ("none", None)])
def test_user_ids_hold_for_all_tracers(mode: Any, kept: str | None) -> None:
    """A tracer of the provider treats user ids as the provider's configuration says."""
    memory = InMemoryBackend()
    trace_one(configure(backends=[memory], user_ids=mode))
    assert memory.runs()[0].user_id == kept


def test_runs_are_recorded_whatever_their_parent_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that was not sampled does not keep a run from being recorded, unless a sampler was chosen."""
    parent = NonRecordingSpan(SpanContext(1, 2, is_remote=True))
    counts = []
    for sampler in (None, "parentbased_always_on"):
        if sampler is not None:
            monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        memory = InMemoryBackend()
        tracer = AgentTracer(tracer_provider=configure(backends=[memory]))
        tracer_context = set_span_in_context(parent)
        run = tracer.run()
        run.start(tracer_context)
        run.end()
        counts.append(len(memory.runs()))
    assert counts == [1, 0]


def test_global_provider() -> None:
    """Tracers without a provider use the one that was made global, also those made before."""
    code = """
from otel_agent_trace import AgentTracer, InMemoryBackend, configure
tracer, memory = AgentTracer(), InMemoryBackend()
provider = configure(backends=[memory], set_global=True)
from opentelemetry import trace
assert trace.get_tracer_provider() is provider
with tracer.run(user_input="question"):
    pass
print(memory.runs()[0].user_input)
"""
    assert run_python(code) == "question\n"


# ── imports ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SLOW = ("grpc", "httpx", "opentelemetry.exporter", "requests", "rich")


@pytest.mark.parametrize(
    ("code", "imported"),
    [
        ("import otel_agent_trace", []),
        ("import otel_agent_trace as t; [getattr(t, name) for name in t.__all__]", []),
        ("from otel_agent_trace import configure; configure(file='x.jsonl')", []),
        (
            "from otel_agent_trace import configure; configure(otlp='http://localhost:1').shutdown()",
            ["httpx", "rich"],  # httpx has a command, for which it imports rich
        ),
        (
            "from otel_agent_trace import configure; configure(otlp='http://localhost:1', protocol='grpc').shutdown()",
            ["grpc"],
        ),
    ],
)
def test_exporters_are_imported_when_used(code: str, imported: list[str], tmp_path: Path) -> None:
    """Nobody waits for the import of an exporter that is not used."""
    names = f"import json, os, sys; os.chdir({str(tmp_path)!r})\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    modules = set(json.loads(run_python(names)))
    assert sorted(name for name in SLOW if name in modules) == imported
