"""The files that the real Collector writes, in every form that its file exporter has, read as what was sent."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from otel_agent_trace import load_runs, open_source
from otel_agent_trace.formats import otlp_proto
from otel_agent_trace.span import SpanRecord
from tests.support.sample_runs import fail_on_problem
from tests.support.server_fixtures import StartCollector

pytestmark = pytest.mark.slow
FORMS = {
    "json.jsonl": "format: json",
    "proto.pb": "format: proto",
    "json.zst": "{format: json, compression: zstd}",
    "proto.zst": "{format: proto, compression: zstd}",
}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPANS = [
    SpanRecord(TRACE, f"{1:016x}", None, "invoke_agent w", 10, 90, {"gen_ai.operation.name": "invoke_agent"}),
    SpanRecord(TRACE, f"{2:016x}", f"{1:016x}", "execute_tool t", 20, 30, {"gen_ai.operation.name": "execute_tool"}),
]


def _config(folder: Path) -> str:
    exporters = "".join(
        f"  file/{number}:\n    path: {folder / name}\n    flush_interval: 50ms\n"
        + "".join(f"    {option.strip()}\n" for option in form.strip("{}").split(","))
        for number, (name, form) in enumerate(FORMS.items())
    )
    names = ", ".join(f"file/{number}" for number in range(len(FORMS)))
    pipeline = f"{{receivers: [otlp], exporters: [{names}]}}"
    return f"""
extensions:
  health_check:
    endpoint: ${{env:COLLECTOR_HEALTH}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "${{env:COLLECTOR_OTLP_GRPC}}"}}
      http: {{endpoint: "${{env:COLLECTOR_OTLP_HTTP}}"}}
exporters:
{exporters}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {pipeline}
"""


def test_every_form_of_its_files(start_collector: StartCollector, tmp_path: Path) -> None:
    """Lines, messages, and both packed: each holds the spans that were sent, one request each."""
    config = tmp_path / "config.yaml"
    config.write_text(_config(tmp_path))
    collector = start_collector(config)
    for span in SPANS:
        request = urllib.request.Request(
            f"http://{collector.address('otlp_http')}/v1/traces",
            otlp_proto.encode([span]),
            {"Content-Type": "application/x-protobuf"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
    collector.close()
    for name in FORMS:
        [spans] = open_source(tmp_path / name).traces(fail_on_problem)
        assert sorted(spans, key=lambda span: span.span_id) == SPANS, name
        [run] = load_runs(tmp_path / name, strict=True)
        assert run.trace_id == TRACE
