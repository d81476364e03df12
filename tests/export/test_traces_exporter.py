"""`configure()` exports to what ``OTEL_TRACES_EXPORTER`` names, where the program does not say otherwise."""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor, SpanExportResult

from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend, configure, load_runs
from otel_agent_trace.tracing.providers import processors_of
from tests.support.otlp_receivers import Sink
from tests.support.processes import RunPython
from tests.support.waiting import DEADLOCK_S

Messages = Callable[[], list[str]]


def trace_one(provider: TracerProvider) -> None:
    """Trace one run, send it, and shut the provider down."""
    with AgentTracer(tracer_provider=provider) as tracer:
        with tracer.run(user_id="u1"):
            pass
        assert tracer.flush(DEADLOCK_S)
    provider.shutdown()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Messages:
    caplog.set_level(logging.WARNING, "otel_agent_trace")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "otel_agent_trace"]


@pytest.fixture
def exporters(http_sink: Sink, monkeypatch: pytest.MonkeyPatch, messages: Messages) -> Callable[..., None]:
    """Sets the variable, beside an endpoint that would be used without it."""

    def set_variable(value: str, **changes: str) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", http_sink.endpoint)
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", value)
        for name, text in changes.items():
            monkeypatch.setenv(name, text)

    return set_variable


# ── where spans go ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "arguments", "sent", "written", "printed"),
    [
        ("", {}, 1, 0, 0),
        (" , ", {}, 1, 0, 0),
        ("none", {}, 0, 0, 0),
        (" None ", {}, 0, 0, 0),
        ("otlp", {}, 1, 0, 0),
        ("otlp_proto_http", {}, 1, 0, 0),
        ("otlp,otlp,OTLP,otlp_proto_http", {}, 1, 0, 0),
        ("console", {}, 0, 0, 1),
        ("agent_trace_file", {}, 0, 1, 0),
        (" agent_trace_file ,, Console,otlp", {}, 1, 1, 1),
        ("none", {"otlp": True}, 1, 0, 0),
        ("otlp", {"otlp": False}, 0, 0, 0),
        ("console", {"otlp": True}, 1, 0, 1),
        ("none", {"file": "traces.jsonl"}, 0, 1, 0),
        ("otlp", {"file": "traces.jsonl"}, 1, 1, 0),
        ("agent_trace_file", {"file": "traces.jsonl"}, 0, 1, 0),
        ("agent_trace_file", {"backends": FileBackend}, 0, 1, 0),
        ("agent_trace_file,console", {"backends": InMemoryBackend}, 0, 1, 1),
    ],
)
def test_where_spans_go(
    http_sink: Sink,
    exporters: Callable[..., None],
    messages: Messages,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    arguments: dict[str, Any],
    sent: int,
    written: int,
    printed: int,
) -> None:
    """Arguments of the program take precedence; what they leave open, the variable decides; each only once."""
    printed_spans: list[Any] = []
    monkeypatch.setattr(
        "opentelemetry.sdk.trace.export.ConsoleSpanExporter.export",
        lambda exporter, spans: printed_spans.extend(spans) or SpanExportResult.SUCCESS,
    )
    exporters(value)
    trace_one(configure(**{name: given() if callable(given) else given for name, given in arguments.items()}))
    assert len(http_sink.records()) == sent
    assert len(load_runs("traces.jsonl") if (folder / "traces.jsonl").exists() else []) == written
    assert len(printed_spans) == printed
    assert messages() == []


def test_the_console_is_standard_output(run_python: RunPython) -> None:
    """The SDK's exporter prints the span, with a pseudonym, and nothing else is printed."""
    result = run_python(program(), OTEL_TRACES_EXPORTER="console")
    assert re.findall('"name": "(.*)"', result.stdout) == ["invoke_agent"]
    assert '"enduser.pseudo.id": "hmac:' in result.stdout
    assert result.stderr == ""


def test_the_file_of_the_environment(exporters: Callable[..., None], folder: Path) -> None:
    """`agent_trace_file` is the file of `FileBackend()`."""
    exporters("agent_trace_file", OTEL_AGENT_TRACE_FILE="logs/runs.jsonl")
    trace_one(configure(user_ids="plain"))
    (run,) = load_runs(folder / "logs" / "runs.jsonl")
    assert run.user_id == "u1"


def test_grpc_by_name(grpc_sink: Sink, exporters: Callable[..., None]) -> None:
    """The name of an exporter counts more than the variable for the protocol."""
    exporters(
        "otlp_proto_grpc",
        OTEL_EXPORTER_OTLP_ENDPOINT=grpc_sink.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )
    trace_one(configure())
    assert [received.path for received in grpc_sink.received] == ["Export"]


def test_a_provider_that_exports_already(http_sink: Sink, exporters: Callable[..., None]) -> None:
    """A provider that was made with exporters, as by opentelemetry-instrument, does not get those of the variable."""
    exporters("otlp,agent_trace_file")
    theirs, ours = InMemoryBackend(), InMemoryBackend()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    trace_one(configure(provider=provider, backends=[ours]))
    assert len(theirs.spans()) == len(ours.spans()) == 1
    assert http_sink.records() == []


@pytest.mark.parametrize("value", ["", "otlp,console"])
def test_the_environment_counts_once(http_sink: Sink, exporters: Callable[..., None], value: str) -> None:
    """Further calls for a provider do not add the exporters of the environment again."""
    exporters(value)
    provider = configure(backends=[ConsoleSpanExporter(out=StringIO())])
    for _ in range(2):
        configure(provider=provider, backends=[InMemoryBackend()])
    trace_one(provider)
    assert len(http_sink.records()) == 1


def test_a_console_of_the_program(exporters: Callable[..., None]) -> None:
    """If the program gives a console exporter, spans are not printed a second time."""
    exporters("console")
    console = ConsoleSpanExporter(out=StringIO())
    provider = configure(backends=[console])
    (processor,) = processors_of(provider)
    assert [sink.name for sink in processor.pipeline.sinks] == ["ConsoleSpanExporter"]


def test_a_provider_without_exporters(http_sink: Sink, exporters: Callable[..., None]) -> None:
    """A provider without exporters gets those of the variable."""
    exporters("otlp")
    trace_one(configure(provider=TracerProvider()))
    assert len(http_sink.records()) == 1


def test_a_configuration_file_takes_precedence(exporters: Callable[..., None], folder: Path) -> None:
    """With OTEL_CONFIG_FILE the variable does not count: opentelemetry-instrument sets it to ``otlp`` even then."""
    exporters("agent_trace_file", OTEL_CONFIG_FILE="otel.yaml")
    trace_one(configure(otlp=False, file="other.jsonl"))
    assert not (folder / "traces.jsonl").exists()


# ── names of others, and wrong ones ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that registers exporters."""
    package = folder / "acme-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    names = {"Acme": "Exporter", "acme_broken": "Broken", "acme_other": "Other", "acme_missing": "Missing"}
    lines = [f"{name} = acme_exporters:{attribute}" for name, attribute in names.items()]
    (package / "entry_points.txt").write_text("[opentelemetry_traces_exporter]\n" + "\n".join(lines) + "\n")
    (folder / "acme_exporters.py").write_text(
        textwrap.dedent(
            """
            from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
            exported = []

            class Exporter(SpanExporter):
                def export(self, spans):
                    exported.extend(span.name for span in spans)
                    return SpanExportResult.SUCCESS

                def force_flush(self, timeout_millis=30_000):
                    return True

            class Broken(SpanExporter):
                def __init__(self):
                    raise LookupError("no key")

            class Other:
                pass
            """
        )
    )
    monkeypatch.syspath_prepend(str(folder))


def test_an_exporter_of_another_package(registered: None, exporters: Callable[..., None], messages: Messages) -> None:
    """Every exporter that a package has registered can be named."""
    exporters("acme,acme")
    trace_one(configure())
    import acme_exporters  # type: ignore[import-not-found]

    assert acme_exporters.exported == ["invoke_agent"]
    assert messages() == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acme_broken", "OTEL_TRACES_EXPORTER: exporter 'acme_broken' failed: LookupError: no key (logged once)"),
        ("acme_other", "exporter 'acme_other' failed: TypeError: acme_exporters:Other is not a SpanExporter"),
        ("acme_missing", "exporter 'acme_missing' failed: AttributeError: "),
    ],
)
def test_an_exporter_that_cannot_be_made(
    registered: None, exporters: Callable[..., None], messages: Messages, folder: Path, name: str, message: str
) -> None:
    """An exporter that cannot be made costs one warning, and no other exporter."""
    exporters(f"{name},agent_trace_file")
    trace_one(configure())
    (warning,) = messages()
    assert message in warning
    assert len(load_runs(folder / "traces.jsonl")) == 1


def test_a_name_that_does_not_exist(
    registered: None, exporters: Callable[..., None], messages: Messages, folder: Path
) -> None:
    """Names that do not exist are one warning, which lists those that do; the others count."""
    exporters("otpl, agent_trace_file, jeager")
    trace_one(configure())
    (warning,) = messages()
    assert warning.startswith("OTEL_TRACES_EXPORTER: there is no exporter 'otpl', 'jeager' (ignored); known: acme, ")
    for known in ("agent_trace_file", "console", "none", "otlp", "otlp_proto_grpc", "otlp_proto_http"):
        assert f" {known}" in warning
    assert len(load_runs(folder / "traces.jsonl")) == 1


def test_none_beside_other_names(http_sink: Sink, exporters: Callable[..., None], messages: Messages) -> None:
    """With ``none`` nothing is exported, whatever else is named; that is a warning."""
    exporters("otlp,none")
    trace_one(configure())
    assert http_sink.records() == []
    assert messages() == ["OTEL_TRACES_EXPORTER=otlp,none: with 'none' nothing is exported"]


# ── nowhere to send ──────────────────────────────────────────────────────────────────────────────────────────────────

PROGRAM = """
from otel_agent_trace import AgentTracer, InMemoryBackend, configure
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = configure({arguments})
tracers = [AgentTracer(tracer_provider=provider) for _ in range({tracers})]
{before}
for tracer in tracers:
    with tracer.run(user_id="u1"):
        pass
"""
NOWHERE = (
    "configure() was given nowhere to send spans, so runs are not recorded; pass file=, otlp= or backends=, "
    "or set OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_TRACES_EXPORTER\n"
)


def program(arguments: str = "", *, before: str = "", tracers: int = 1) -> str:
    return PROGRAM.format(arguments=arguments, before=before, tracers=tracers)


@pytest.mark.parametrize(
    ("code", "variables"),
    [
        (program(), {}),
        (program("otlp=False"), {}),
        (program("backends=[]"), {}),
        (program("set_global=True"), {}),
        (program(tracers=3), {}),
        (program(tracers=2, before="tracers.append(AgentTracer(tracer_provider=configure()))"), {}),
        (program(), {"OTEL_TRACES_EXPORTER": " "}),
        (program(), {"OTEL_SDK_DISABLED": "false"}),
    ],
)
def test_nowhere_to_send(run_python: RunPython, code: str, variables: dict[str, str]) -> None:
    """The first run that goes nowhere is one warning in a process, which says what to do."""
    result = run_python(code, **variables)
    assert (result.stdout, result.stderr) == ("", NOWHERE)


@pytest.mark.parametrize(
    ("code", "variables"),
    [
        (program(tracers=0), {}),
        (program(before="provider.add_span_processor(SimpleSpanProcessor(InMemoryBackend()))"), {}),
        (program(before="configure(provider=provider, backends=[InMemoryBackend()])"), {}),
        (program("backends=[InMemoryBackend()]"), {}),
        (program("meter_provider=MeterProvider()"), {}),
        (program("file='t.jsonl'"), {}),
        (program(), {"OTEL_TRACES_EXPORTER": "none"}),
        (program(), {"OTEL_TRACES_EXPORTER": "agent_trace_file"}),
        (program(), {"OTEL_SDK_DISABLED": "True"}),
        ("from otel_agent_trace import AgentTracer\nAgentTracer().run().start()", {"OTEL_SDK_DISABLED": "true"}),
    ],
)
def test_somewhere_to_send_or_on_purpose(run_python: RunPython, code: str, variables: dict[str, str]) -> None:
    """There is no warning if processors are added before the first run, or if the environment asks for none."""
    result = run_python(code, **variables)
    assert (result.returncode, result.stderr) == (0, "")
