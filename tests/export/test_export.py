"""`export` sends what a source holds, whole and as it was, and says what became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import InMemoryBackend, load_runs
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.export import export_spans
from otel_agent_trace.formats import otlp_proto
from otel_agent_trace.sources import open_source
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import same
from tests.support.export_command import Exporter, ids, rich_trace, trace, write
from tests.support.fake_receivers import FakeReceiver
from tests.support.otlp_receivers import Relay, received_by_oteltap, record_of
from tests.support.sample_runs import fail_on_problem
from tests.support.server_fixtures import StartCollector

PROTOCOLS = ("http/protobuf", "http/json", "grpc")


def kept(path: Path) -> list[SpanRecord]:
    return [span for spans in open_source(str(path)).traces(fail_on_problem) for span in spans]


def bytes_of(spans: list[SpanRecord]) -> list[bytes]:
    """For comparison: NaN is NaN."""
    return sorted(otlp_proto.encode([span]) for span in spans)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_all_arrives_as_it_was(
    http_receiver: FakeReceiver, grpc_receiver: FakeReceiver, protocol: Any, export: Exporter, tmp_path: Path
) -> None:
    """Every field of every span, also of those that belong to no run, have no end, or lost their root."""
    path = write(tmp_path / "t.jsonl", [rich_trace(1), trace(2), trace(3)[1:], rich_trace(4)])
    receiver = grpc_receiver if protocol == "grpc" else http_receiver
    result = export(path, "--to", receiver.endpoint, "--protocol", protocol)
    assert result.code == 0
    assert result.err == ""
    assert result.out.startswith(f"7 spans of 4 traces sent to {receiver.endpoint}")
    assert "2 spans without an end" in result.out
    assert bytes_of(receiver.accepted) == bytes_of(kept(path))
    assert export.states() == []


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json", "grpc"])
def test_all_passes_through_rotel(rotel: Relay, protocol: Any, export: Exporter, tmp_path: Path) -> None:
    """The same through a collector of somebody else."""
    first = trace(1) if protocol == "http/json" else rich_trace(1)  # Rotel refuses JSON without an end, or with NaN
    path = write(tmp_path / "t.jsonl", [first, trace(2), trace(3)])
    endpoint = rotel.endpoints["grpc" if protocol == "grpc" else "http/protobuf"]
    assert export(path, "--to", endpoint, "--protocol", protocol).code == 0
    received = rotel.sink.wait_for(6)
    expected = {span.span_id: span for span in kept(path)}
    for span in received:
        for name in ("trace_id", "parent_span_id", "name", "start_ns", "kind", "attributes", "trace_state", "flags"):
            assert same(getattr(span, name), getattr(expected[span.span_id], name)), name
        assert span.resource.schema_url == expected[span.span_id].resource.schema_url
        assert same(span.scope.attributes, expected[span.span_id].scope.attributes)
        assert [link.trace_state for link in span.links] == [link.trace_state for link in expected[span.span_id].links]


def test_all_passes_through_oteltap(export: Exporter, tmp_path: Path) -> None:
    """And to a receiver that keeps spans alone."""
    path = write(tmp_path / "t.jsonl", [rich_trace(1), trace(2)])
    result, received = received_by_oteltap(lambda endpoint: export(path, "--to", endpoint), 4)
    assert result.code == 0
    expected = {span.span_id: span for span in kept(path)}
    for span in received:
        known = expected[span.span_id.hex()]
        read = record_of(span, known.resource, known.scope)
        assert same(read.attributes, known.attributes)
        assert (read.name, read.start_ns, read.end_ns or None) == (known.name, known.start_ns, known.end_ns)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_real_collector_has_the_same_runs(
    start_collector: StartCollector, protocol: Any, export: Exporter, tmp_path: Path
) -> None:
    """What the Collector writes to its file reads as the runs that were sent."""
    collector = start_collector()
    path = write(tmp_path / "t.jsonl", [trace(number, names="abc") for number in range(1, 40)])
    host = collector.address("otlp_grpc" if protocol == "grpc" else "otlp_http")
    endpoint = f"{'grpc' if protocol == 'grpc' else 'http'}://{host}"
    assert export(path, "--to", endpoint, "--protocol", protocol).code == 0
    collector.stop()
    assert load_runs(str(collector.file)) == load_runs(str(path))


# ── which ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--agent", "b"], [2, 4]),
        (["--limit", "2"], [4, 5]),
        (["--agent", "a", "--limit", "1"], [5]),
        (["--limit", "0"], [1, 2, 3, 4, 5, 6]),
        (["--status", "error"], []),
        (["--since", "2026-11-24T00:03:25+01:00", "--until", "2026-11-23T23:03:26Z"], [5]),
    ],
)
def test_whole_traces_of_the_runs_that_fit(
    http_receiver: FakeReceiver, export: Exporter, tmp_path: Path, options: list[str], numbers: list[int]
) -> None:
    """With filters those traces go, in which a run fits, with all their spans; `--limit` is for the newest runs."""
    traces = {number: trace(number, agent="b" if number in (2, 4) else "a") for number in range(1, 6)}
    traces[6] = [SpanRecord(f"{6:032x}", f"{6:016x}", None, "GET /", 1, 2)]
    traces[4].append(SpanRecord(f"{4:032x}", "9" * 16, "8" * 16, "SELECT", 1, 2))
    path = write(tmp_path / "t.jsonl", traces.values())
    result = export(path, "--to", http_receiver.endpoint, "--json", *options)
    assert result.code == 0
    assert http_receiver.ids() == ids(traces[number] for number in numbers)
    output = json.loads(result.out)
    assert (output["traces"], output["spans"]) == (len(numbers), len(ids(traces[number] for number in numbers)))
    assert output["runs"] == (None if numbers[-1:] == [6] else len(numbers))


def test_doubled_spans_go_once(http_receiver: FakeReceiver, export: Exporter, tmp_path: Path) -> None:
    """Where a span stands twice, the one that tells more is sent."""
    [root, step] = trace(1)
    begun = SpanRecord(step.trace_id, step.span_id, step.parent_span_id, step.name, step.start_ns, None)
    export(write(tmp_path / "t.jsonl", [[begun], [step, root, root]]), "--to", http_receiver.endpoint)
    assert http_receiver.ids() == ids([[root, step]])
    assert all(span.end_ns for span in http_receiver.accepted)


def test_requests_stay_below_the_limits_of_receivers(
    grpc_receiver: FakeReceiver, http_receiver: FakeReceiver, export: Exporter, tmp_path: Path
) -> None:
    """4 MiB over gRPC, whose receivers take no more; a span above that goes alone."""
    traces = [trace(number, names=("a", "b"), size=300_000) for number in range(1, 30)]
    path = write(tmp_path / "t.jsonl", traces)
    assert export(path, "--to", grpc_receiver.endpoint).code == 0
    assert grpc_receiver.ids() == ids(traces)
    assert len(grpc_receiver.requests) > 4
    large = trace(99, names=("a", "huge", "b"), size=5_000_000)
    assert export(write(path, [large]), "--to", http_receiver.endpoint).code == 0
    assert http_receiver.ids() == ids([*traces, large])
    assert all(len(each.spans) == 1 for each in http_receiver.requests if each.size > 4 << 20)


def test_many_resources(http_receiver: FakeReceiver, export: Exporter, tmp_path: Path) -> None:
    """Traces of hundreds of programs keep each its own."""
    traces = [rich_trace(number) for number in range(1, 400)]
    for number, [rich, *_] in enumerate(traces):
        rich.resource.attributes["service.instance.id"] = number
    path = write(tmp_path / "t.jsonl", traces)
    assert export(path, "--to", http_receiver.endpoint).code == 0
    assert bytes_of(http_receiver.accepted) == bytes_of(kept(path))


def test_nothing_to_send(http_receiver: FakeReceiver, export: Exporter, tmp_path: Path) -> None:
    """An empty file, and no trace that fits, are fine."""
    path = write(tmp_path / "t.jsonl", [])
    assert export(path, "--to", http_receiver.endpoint).out.startswith("0 spans of 0 traces")
    assert http_receiver.requests == []


@pytest.mark.parametrize(
    ("arguments", "expected_message"),
    [
        (["--to", "http://h:1"], "nowhere.jsonl"),
        ([], "--to"),
        (["--to", "ftp://h"], "ftp://h"),
        (["--to", "http://h", "--header", "secret"], "NAME=VALUE"),
        (["--to", "http://h", "--protocol", "thrift"], "thrift"),
        (["--to", "http://h", "--timeout", "-1"], "timeout"),
        (["--to", "http://h", "--retry-timeout", "0"], "--retry-timeout"),
        (["--to", "http://h", "--limit", "-1"], "--limit"),
        (["--to", "http://h", "--since", "whenever"], "whenever"),
    ],
)
def test_bad_usage(export: Exporter, arguments: list[str], expected_message: str) -> None:
    """One line, status 2."""
    result = export("nowhere.jsonl", *arguments)
    assert (result.code, result.out) == (2, "")
    assert expected_message in result.err
    assert "secret" not in result.err


def test_damaged_lines_are_reported(http_receiver: FakeReceiver, export: Exporter, tmp_path: Path) -> None:
    """They cost themselves."""
    path = write(tmp_path / "t.jsonl", [trace(1)])
    path.write_bytes(path.read_bytes() + b'{"resourceSpans":[{"torn')
    result = export(path, "--to", http_receiver.endpoint)
    assert result.code == 0
    assert result.err.startswith("warning: ")
    assert http_receiver.ids() == ids([trace(1)])


# ── the function ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_any_source_can_be_sent(http_receiver: FakeReceiver) -> None:
    """What `iter_runs` reads, a backend for example; nothing is left on the disk."""
    memory = InMemoryBackend()
    summary = export_spans(memory, http_receiver.endpoint)
    assert (summary.traces, summary.spans, summary.is_complete) == (0, 0, True)

    class Source:
        def traces(self, on_problem: Any) -> Any:
            yield trace(1)
            yield []
            yield trace(2)

    summary = export_spans(Source(), http_receiver.endpoint, agent="a", headers={"x": "y"})
    assert (summary.traces, summary.runs, summary.spans) == (2, 2, 4)
    assert http_receiver.requests[0].headers["x"] == "y"
    with pytest.raises(ConfigurationError):
        export_spans(Source(), http_receiver.endpoint, limit=-1)
