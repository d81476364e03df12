"""Scores that are log records of a source arrive wherever its runs are sent or written, once, and masked where asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, Score, load_run, run_to_spans, runs_from_spans
from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.scores import event_of
from otel_agent_trace.span import LogRecord
from tests.support.export_command import Exporter
from tests.support.fake_receivers import FakeReceiver

KEY = "sk-proj-" + "Ab3dEf6hIj9" * 4


def record_of(score: Score, run: AgentRun, trace_id: str = "", span_id: str = "") -> LogRecord:
    event = event_of(score)
    names = {"agent_trace.run.id": run.run_id}
    return LogRecord(trace_id, span_id, event.name, event.time_ns, {**event.attributes, **names})


def given(at_ns: int) -> list[Score]:
    """Values of each type, of one name and of several, in no order but that of time."""
    values: list[Any] = [True, 1, 1.0, False, 0, -0.5, 2**62, None]
    return [
        Score(name=f"s{at % 3}", value=value, label=None if at % 2 else "word", explanation="é\n", at_ns=at_ns + at)
        for at, value in enumerate(values)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a run, and later scores of it and of its step, by each of their ids."""
    path = tmp_path / "traces.jsonl"
    with AgentTracer(FileBackend(path), agent_name="weather") as tracer, tracer.run(user_input="Rain?") as active:
        with active.step("search"):
            pass
    run = load_run(path)
    (step,) = run.steps
    assert run.ended_at_ns is not None
    known = [(run.trace_id or "", run.span_id or ""), (run.trace_id or "", ""), ("", ""), ("", "")]
    scores = given(run.ended_at_ns)
    records = [record_of(score, run, *known[at % 4]) for at, score in enumerate(scores)]
    records.append(record_of(scores[0], run, run.trace_id or "", step.span_id or ""))
    with open(path, "ab") as file:
        file.writelines(otlp_json.encode_log(record) + b"\n" for record in records)
    return path


def test_scores_arrive_in_every_form(path: Path) -> None:
    """In the order in which they were given, each with its type."""
    run = load_run(path)
    assert run.ended_at_ns is not None
    scores = given(run.ended_at_ns)
    assert (run.scores, run.steps[0].scores) == (tuple(scores), (scores[0],))
    assert AgentRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    for spans in (run_to_spans(run), otlp_proto.decode(otlp_proto.encode(run_to_spans(run)))):
        (again,) = runs_from_spans(spans)
        assert (again.scores, again.steps[0].scores) == (run.scores, run.steps[0].scores)


def test_scores_in_protobuf(path: Path, tmp_path: Path) -> None:
    run = load_run(path)
    log = record_of(Score(name="s", value=True, at_ns=5), run)
    (read,) = otlp_proto.decode_logs(
        otlp_proto.join_logs([(log.resource, log.scope, [otlp_proto.encode_log_record(log)])])
    )
    assert (read.run_id, read.is_of_run_only, read.event) == (run.run_id, True, log.event)


def test_scores_are_events_of_spans_that_are_sent(http_receiver: FakeReceiver, export: Exporter, path: Path) -> None:
    """A receiver of spans only gets them too; who has both the records and what was sent reads each once."""
    run = load_run(path)
    assert export(path, "--to", http_receiver.endpoint).code == 0
    assert {request.path for request in http_receiver.requests} == {"/v1/traces"}
    (arrived,) = runs_from_spans(http_receiver.accepted)
    assert (arrived.scores, arrived.steps[0].scores) == (run.scores, run.steps[0].scores)
    with open(path, "ab") as file:
        file.write(otlp_json.encode(http_receiver.accepted) + b"\n")
    again = load_run(path)
    assert (again.scores, again.steps[0].scores) == (run.scores, run.steps[0].scores)


def test_scores_in_a_file_of_runs(export: Exporter, path: Path, tmp_path: Path) -> None:
    written = tmp_path / "written" / "runs.jsonl"
    written.parent.mkdir()
    assert export(path, "--to", "otlp-json", "--output", written).code == 0
    assert load_run(written) == load_run(path)
    assert load_run([written, path]).scores == load_run(path).scores


def test_explanations_are_masked(export: Exporter, path: Path, tmp_path: Path) -> None:
    run = load_run(path)
    late = record_of(Score(name="why", value=1, explanation=f"It printed {KEY}.", at_ns=5), run)
    with open(path, "ab") as file:
        file.write(otlp_json.encode_log(late) + b"\n")
    written = tmp_path / "masked.json"
    assert export(path, "--to", "otlp-json", "--redact", "--output", written).code == 0
    assert KEY.encode() not in written.read_bytes()
    (why,) = [score for score in load_run(written).scores if score.name == "why"]
    assert (why.value, why.explanation is not None and why.explanation.startswith("It printed ")) == (1, True)
