"""The files that the real Collector writes, in every form that its file exporter has, read as what was sent."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from otel_agent_trace import Score, load_runs, open_source
from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.scores import event_of
from otel_agent_trace.span import LogRecord, SpanRecord
from tests.support.running_servers import RunningCollector
from tests.support.sample_runs import fail_on_problem
from tests.support.server_fixtures import StartCollector

pytestmark = pytest.mark.slow
FORMS = {
    "json.jsonl": "format: json",
    "proto.pb": "format: proto",
    "json.zst": "{format: json, compression: zstd}",
    "proto.zst": "{format: proto, compression: zstd}",
}
KINDS = ("both", "spans", "logs")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
RUN_ID = "order-1"
OF_RUN = {"agent_trace.run.id": RUN_ID}
SPANS = [
    SpanRecord(TRACE, f"{1:016x}", None, "invoke_agent w", 10, 90, {"gen_ai.operation.name": "invoke_agent", **OF_RUN}),
    SpanRecord(
        TRACE, f"{2:016x}", f"{1:016x}", "execute_tool t", 20, 30, {"gen_ai.operation.name": "execute_tool", **OF_RUN}
    ),
]


GIVEN = (
    (Score(name="helpful", value=True, label="yes", explanation="Names it.", source="HUMAN", at_ns=120), TRACE, 1),
    (Score(name="brevity", value=1, at_ns=121), TRACE, 2),
    (Score(name="correct", value=1.0, at_ns=122), TRACE, 0),
    (Score(name="tone", label="friendly", at_ns=123), "", 0),
    (Score(name="helpful", value=False, source="LLM", at_ns=124), TRACE, 1),
)
"""Scores with the ids that their records name beside that of the run: a trace, and the number of a span, if any."""


def _config(folder: Path) -> str:
    """Write traces and logs to a file, and logs to one of their own, in each form."""
    exporters = "".join(
        f"  file/{kind}{number}:\n    path: {folder / kind / name}\n    flush_interval: 50ms\n"
        + "".join(f"    {option.strip()}\n" for option in form.strip("{}").split(","))
        for kind in KINDS
        for number, (name, form) in enumerate(FORMS.items())
    )
    traces, logs = (
        ", ".join(f"file/{kind}{number}" for kind in kinds for number in range(len(FORMS)))
        for kinds in (("both", "spans"), ("both", "logs"))
    )
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
    traces: {{receivers: [otlp], exporters: [{traces}]}}
    logs: {{receivers: [otlp], exporters: [{logs}]}}
"""


def _post(collector: RunningCollector, path: str, body: bytes, kind: str) -> None:
    address = f"http://{collector.address('otlp_http')}/v1/{path}"
    with urllib.request.urlopen(urllib.request.Request(address, body, {"Content-Type": kind})) as answer:
        assert answer.status == 200


def _record(score: Score, trace_id: str, number: int) -> LogRecord:
    event = event_of(score)
    attributes = {**event.attributes, "agent_trace.run.id": RUN_ID}
    return LogRecord(trace_id, f"{number:016x}" if number else "", event.name, event.time_ns, attributes)


def test_every_form_of_its_files(start_collector: StartCollector, tmp_path: Path) -> None:
    """Lines, messages, and both packed: each holds the spans and the scores that were sent, one request each."""
    config = tmp_path / "config.yaml"
    config.write_text(_config(tmp_path))
    for kind in KINDS:
        (tmp_path / kind).mkdir()
    collector = start_collector(config)
    for span in SPANS:
        _post(collector, "traces", otlp_proto.encode([span]), "application/x-protobuf")
    for given in GIVEN:
        _post(collector, "logs", otlp_json.encode_log(_record(*given)), "application/json")
    collector.close()
    for name in FORMS:
        [spans] = open_source(tmp_path / "spans" / name).traces(fail_on_problem)
        assert sorted(spans, key=lambda span: span.span_id) == SPANS, name
        for paths in ([tmp_path / "both" / name], [tmp_path / kind / name for kind in ("spans", "logs")]):
            for each in (paths, paths[::-1]):
                [run] = load_runs(each, strict=True)
                assert run.trace_id == TRACE
                assert run.scores == tuple(score for score, _, number in GIVEN if number != 2), name
                assert run.steps[0].scores == (GIVEN[1][0],), name
