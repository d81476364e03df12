"""The number of the format, and files of every version, which are read for ever."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, InMemoryBackend, load_runs, run_to_spans
from otel_agent_trace.runs.explain import explain
from otel_agent_trace.span import Notice, Problem

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.jsonl"))
FORMAT = {"key": "agent_trace.format", "value": {"intValue": "1"}}

USER = [("user", "Forecast?"), ("assistant", "Call the tool.")]
EXPECTED = [
    ("weather", "Rain in Lyon?", "success", "No.", "s1", {}, [("tool", "search", {"q": "rain"}, {"rain": "no"}, None)]),
    (
        *("weather", {"city": "Łódź", "days": (1, 2)}, "success", "21.5 degrees.", None, {"tenant": "acme"}),
        [
            ("model", "gpt-4", None, "Call the tool.", None),
            ("tool", "forecast", {"day": datetime.date(2026, 5, 1)}, {"high": 21.5, "icon": b"\x89PNG"}, None),
            (
                *("checker", "Is 21.5 plausible?", "success", "Yes.", None, {}),
                [("tool", "compare", {"value": 21.5}, True, None)],
            ),
        ],
    ),
    ("weather", "Snow?", "timeout", None, None, {}, [("tool", "search", {"q": "snow"}, None, "TimeoutError")]),
    ("running", [("tool", "search", {"q": "wind"}, "strong", None)]),
]
"""Runs that ``golden/program.py`` makes; the question of the last one is lost where no journal was written."""


def facts_of(run: AgentRun) -> tuple[Any, ...]:
    """Return what the program gave a run; of one that is still running, its status and steps."""
    steps = [
        facts_of(step.run)
        if step.run is not None
        else (step.kind.value, step.name, step.input, step.output, step.error and step.error.type)
        for step in run.steps
    ]
    if run.ended_at_ns is None:
        return run.status.value, steps
    return (
        *(run.agent_name, run.user_input, run.status.value, run.final_output, run.session_id, run.metadata),
        steps,
    )


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_file_of_this_version_is_read(path: Path) -> None:
    """A file of each version is read to the same runs, without any report, and its runs go through spans unchanged."""
    problems: list[Problem] = []
    runs = load_runs(path, on_problem=problems.append)
    assert [facts_of(run) for run in runs] == EXPECTED
    assert (runs[0].user_id or "").startswith("hmac:5645d53b:")
    call = runs[1].steps[0]
    assert [(message.role, message.parts[0]["content"]) for message in call.messages] == USER
    assert call.usage is not None
    assert call.usage.total_tokens == 120
    assert not problems
    for run in runs:
        assert all(span.scope.attributes == {"agent_trace.format": 1} for span in run_to_spans(run))


def test_there_are_files_of_versions_with_and_without_a_number() -> None:
    """The golden files cover versions from before the number, and those that write it."""
    has_number = ['"agent_trace.format"' in path.read_text() for path in GOLDEN]
    assert has_number.count(False) >= 7
    assert any(has_number)


def test_the_scope_of_each_span_carries_the_format(tmp_path: Path) -> None:
    """The number is on the scope in the file and in memory, and in no attribute of the run."""
    backend = InMemoryBackend()
    with (
        AgentTracer(backends=[FileBackend(tmp_path / "t.jsonl"), backend]) as tracer,
        tracer.run(user_input="q") as run,
    ):
        with run.step("search"):
            pass
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    scopes = [json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["scope"] for line in lines]
    assert [scope["attributes"] for scope in scopes] == [[FORMAT], [FORMAT]]
    for found in (*load_runs(tmp_path / "t.jsonl"), *backend.runs()):
        assert "agent_trace.format" not in json.dumps(found.to_dict())
        (explanation,) = explain(run_to_spans(found))
        assert "agent_trace.format" not in repr((explanation.unread, explanation.left_out))


def newer(path: Path, number: int) -> Path:
    """Write a file like that of this version with another number of the format."""
    with AgentTracer(FileBackend(path)) as tracer:
        for question in ("a", "b"):
            with tracer.run(user_input=question):
                pass
    path.write_bytes(path.read_bytes().replace(b'"intValue":"1"}}]', b'"intValue":"%d"}}]' % number, 2))
    return path


def test_a_newer_format_is_read_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Spans of a format that is not known yet are read as well as possible, and one notice names file, line and numbers."""
    path = newer(tmp_path / "t.jsonl", 7)
    problems: list[Problem] = []
    assert [run.user_input for run in load_runs(path, on_problem=problems.append)] == ["a", "b"]
    (notice,) = problems
    assert isinstance(notice, Notice)
    assert str(notice).startswith(
        f"{path}:1: written in format 7 by a later version of otel_agent_trace; this one knows"
    )
    load_runs(path)
    (record,) = caplog.records
    assert record.getMessage() == str(notice)


def test_others_may_use_the_attribute_as_they_like(tmp_path: Path) -> None:
    """In the scope of another library, and as something else than a number, the attribute means nothing."""
    path = newer(tmp_path / "t.jsonl", 7)
    content = path.read_bytes()
    problems: list[Problem] = []
    for before, after in ((b'"name":"otel_agent_trace"', b'"name":"other"'), (b'"intValue":"7"', b'"stringValue":"7"')):
        path.write_bytes(content.replace(before, after))
        assert len(load_runs(path, on_problem=problems.append)) == 2
    assert not problems


def test_the_number_costs_nothing_per_span() -> None:
    """All spans of a tracer share one scope, whose attributes a backend encodes once."""
    backend = InMemoryBackend()
    with AgentTracer(backend) as tracer:
        for _ in range(2):
            with tracer.run():
                pass
    scopes = [span.scope for trace in backend.traces(lambda problem: None) for span in trace]
    assert len({id(scope) for scope in scopes}) == 1
