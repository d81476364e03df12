"""How readers look to a type checker: what their keywords are, and that a misspelt one is an error.

Not run; `tests/reading/test_typing_of_queries.py` has it checked by ``mypy --strict`` and by pyright.
"""

from __future__ import annotations

from collections.abc import Iterator

from typing_extensions import assert_type

from otel_agent_trace import AgentRun, RunQuery, explain_run, export_spans, iter_runs, load_run, load_runs
from otel_agent_trace.export import ExportSummary
from otel_agent_trace.runs.explain import RunExplanation

query = RunQuery(agent="a", tag=["x", "y"], where={"metadata.tenant": 1}, score="helpful<0.5", sort="score:helpful")
assert_type(load_runs("t.jsonl", query, tool_error=True, limit=3), list[AgentRun])
assert_type(load_runs(["a.jsonl", object()], since="7d", strict=True), list[AgentRun])
assert_type(iter_runs("t.jsonl", text="rain", on_problem=print), Iterator[AgentRun])
assert_type(load_run("t.jsonl", "last", service="s"), AgentRun)
assert_type(explain_run("t.jsonl"), RunExplanation)
assert_type(export_spans("t.jsonl", "http://localhost:4318", query, run_id="last"), ExportSummary)

RunQuery(agnet="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
RunQuery("a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
load_runs("t.jsonl", agnet="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
iter_runs("t.jsonl", limt=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
load_run("t.jsonl", servce="s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
explain_run("t.jsonl", servce="s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
export_spans("t.jsonl", "http://h:4318", agnet="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
load_runs("t.jsonl", limit="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
load_runs("t.jsonl", sort=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
export_spans("t.jsonl")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
