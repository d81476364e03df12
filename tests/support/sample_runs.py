"""Runs that a test makes in a line, and lines of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_agent_trace import AgentRun, AgentStep, RunStatus, Usage, run_to_spans
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.model import StepError, StepKind
from otel_agent_trace.span import LogRecord, Problem, Resource, SpanRecord

BEGAN_NS = 1_795_475_000_000_000_000  # 2026-11-23 23:03:20 UTC
_SECOND_NS = 1_000_000_000


def make_run(number: int, **fields: Any) -> AgentRun:
    """A run with a model call, a tool step and a sub-agent, which began so many seconds after `BEGAN_NS`."""
    began = BEGAN_NS + number * _SECOND_NS
    trace_id = f"{number + 1:032x}"
    inner = AgentRun(
        run_id=f"{trace_id}-{number:08x}00000003",
        agent_name="helper",
        session_id=f"session-{number}",
        parent_run_id=fields.get("run_id", trace_id),
        status=RunStatus.SUCCESS,
        started_at_ns=began + 30,
        ended_at_ns=began + 40,
        trace_id=trace_id,
        span_id=f"{number:08x}00000003",
        steps=(_step(number, 5, 0, began + 32, name="inner-tool", output={"deep": [1, None]}),),
    )
    steps = (
        _step(number, 1, 0, began + 10, kind=StepKind.MODEL, name="m", model="m", usage=Usage(input_tokens=number)),
        _step(number, 2, 1, began + 20, name="search", input={"query": "\U0001f600"}, output=(1, "zwei")),
        _step(number, 3, 2, began + 30, kind=StepKind.AGENT, name="helper", run=inner, ended_at_ns=began + 40),
    )
    known: dict[str, Any] = {
        "run_id": trace_id,
        "started_at_ns": began,
        "ended_at_ns": began + _SECOND_NS // 2,
        "agent_name": "weather",
        "user_input": f"question {number}",
        "final_output": f"answer {number}",
        "user_id": f"user-{number}",
        "session_id": f"session-{number}",
        "status": RunStatus.SUCCESS,
        "usage": Usage(input_tokens=number),
    }
    return AgentRun(trace_id=trace_id, span_id=f"{number:08x}000000ff", **{**known, "steps": steps, **fields})


def _step(number: int, span: int, index: int, began: int, **fields: Any) -> AgentStep:
    times = {"started_at_ns": began, "ended_at_ns": began + 5}
    return AgentStep(span_id=f"{number:08x}{span:08x}", step_id=index + 1, index=index, **{**times, **fields})


def failed_run(number: int) -> AgentRun:
    """A run that ended in an error."""
    error = StepError(type="ValueError", message="no", category="invalid_request")
    return make_run(number, status=RunStatus.ERROR, error=error, final_output=None)


def lines_of(spans: Iterable[SpanRecord]) -> list[bytes]:
    """One line for each span."""
    return [otlp_json.encode([span]) + b"\n" for span in spans]


def raw_line(**changes: Any) -> bytes:
    """A line as another program may write it, of one span with some fields changed."""
    span = {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "b7ad6b7169203331",
        "name": "execute_tool t",
        "startTimeUnixNano": str(BEGAN_NS),
        "endTimeUnixNano": str(BEGAN_NS + 1),
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}},
            {"key": "gen_ai.tool.name", "value": {"stringValue": "t"}},
        ],
        **changes,
    }
    spans = {"scopeSpans": [{"spans": [span]}]}
    return json.dumps({"resourceSpans": [spans]}, separators=(",", ":")).encode() + b"\n"


class Problems(list[Problem]):
    """What was reported; given as `on_problem`."""

    def __call__(self, problem: Problem) -> None:
        self.append(problem)

    @property
    def places(self) -> list[tuple[str, int]]:
        """The file's name and the line of each."""
        return [(Path(problem.path).name, problem.line) for problem in self]


def fail_on_problem(problem: Problem) -> None:
    """Fail the test; given as `on_problem` where nothing may be reported."""
    pytest.fail(str(problem))


def write_runs_to(path: Path, runs: Iterable[AgentRun]) -> Path:
    """Write runs to a file, a line for each, and return its path."""
    path.write_bytes(b"".join(otlp_json.encode(run_to_spans(run)).rstrip(b"\n") + b"\n" for run in runs))
    return path


def write_records_to(path: Path, items: Iterable[SpanRecord | LogRecord]) -> Path:
    """Write spans and log records to a file, a line for each, and return its path."""
    lines = [otlp_json.encode([each]) if isinstance(each, SpanRecord) else otlp_json.encode_log(each) for each in items]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def append(path: Path, content: bytes) -> None:
    """Write to the end of a file."""
    with open(path, "ab") as file:
        file.write(content)


def of_service(span: SpanRecord, name: str) -> SpanRecord:
    """The same span of a service of that name."""
    return msgspec.structs.replace(span, resource=Resource({"service.name": name}))
