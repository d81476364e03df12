"""Describe a run without its steps: title, facts, question, answer or error, and logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import NO_COST, RunCost
from otel_agent_trace.query import status_of
from otel_agent_trace.views.figures import duration_text, time_text, usage_text, whole_cost_text
from otel_agent_trace.views.metadata import metadata_rows
from otel_agent_trace.views.rows import Cell, Line, Row
from otel_agent_trace.views.steps import (
    bounds_of,
    error_rows,
    interruption_rows,
    log_rows,
    name_and_version,
    redacted_rows,
    score_rows,
    truncated_rows,
)
from otel_agent_trace.views.values_text import one_line, value_text

_NO_SERVICE = "unknown_service"  # the SDK's default for service.name, followed by the process's name


def run_title(run: AgentRun) -> Line:
    """Return the agent, the status and the duration of a run."""
    status = status_cell(run)
    title = [
        Cell(one_line(run.agent_name or "(unnamed agent)"), "strong"),
        Cell("  "),
        Cell(status.text, f"strong {status.tone}"),
    ]
    if run.duration_s is not None:
        title.append(Cell(f"  {duration_text(run.duration_s)}"))
    return tuple(title)


def status_cell(run: AgentRun) -> Cell:
    """Return the status of a run, as the filter `status` has it, in its tone."""
    status = status_of(run)
    return Cell(status, status)


def fact_rows(run: AgentRun, *, full: bool, cost: RunCost = NO_COST) -> Iterator[Row]:
    """Yield a row for each recorded fact of a run but its steps, question, answer and error, and one for its cost."""
    bounds = bounds_of(full=full)
    yield from named_fact_rows(run, cost)
    yield from metadata_rows("metadata", run.metadata, full=full)
    if run.config:
        yield Row("config", value_text(run.config, bounds))
    if full and run.attributes:
        yield Row("attributes", value_text(run.attributes, bounds))
    yield from truncated_rows(run.truncated)
    yield from redacted_rows(run.redacted)


def named_fact_rows(run: AgentRun, cost: RunCost = NO_COST) -> Iterator[Row]:
    """Yield a row for each fact of a run that is one line, and one for its cost."""
    for label, text in _run_facts(run):
        if text:
            yield Row(label, one_line(text))
    if cost.usd is not None:
        yield Row("cost", whole_cost_text(cost))


def question_rows(run: AgentRun, *, full: bool) -> Iterator[Row]:
    """Yield a row with the question to the agent, if it was recorded."""
    if run.user_input is not None:
        yield Row("question", value_text(run.user_input, bounds_of(full=full)))


def ending_rows(run: AgentRun, *, full: bool) -> Iterator[Row]:
    """Yield rows with the answer, the error, the scores and the logs of a run, as far as there are any."""
    yield from answer_rows(run, full=full)
    yield from log_rows(run.logs, run.started_at_ns, full=full)


def answer_rows(run: AgentRun, *, full: bool) -> Iterator[Row]:
    """Yield rows with the answer, the error and the scores of a run, as far as there are any."""
    if run.final_output is not None:
        yield Row("answer", value_text(run.final_output, bounds_of(full=full)))
    yield from interruption_rows(run, full=full)
    if run.error is not None:
        yield from error_rows(run.error, full=full)
    yield from score_rows(run.scores, full=full)


def _run_facts(run: AgentRun) -> Iterator[tuple[str, str | None]]:
    yield "run", run.run_id
    yield from _trace_facts(run)
    yield "parent run", run.parent_run_id
    yield "continues", run.continues
    yield "replay of", run.replay_of
    yield "started", time_text(run.started_at_ns) if run.started_at_ns else None
    yield "user", run.user_id
    yield "session", run.session_id
    yield "service", _service_text(run)
    yield "environment", run.environment
    yield "dialect", run.dialect
    yield "model", run.model
    yield "prompt", name_and_version(run.prompt_name, run.prompt_version)
    yield "tags", ", ".join(run.tags)
    yield "tokens", usage_text(run.usage)
    yield "steps", _steps_text(run)
    yield "sampled", None if run.sampling_probability in (None, 1) else f"with probability {run.sampling_probability:g}"
    yield "status", "its process ended before the run did" if run.interrupted else None


def _trace_facts(run: AgentRun) -> Iterator[tuple[str, str | None]]:
    """Yield the trace ids of a run, unless its own id is the only one."""
    if len(run.trace_ids) > 1:
        yield "traces", ", ".join(run.trace_ids)
    else:
        yield "trace", run.trace_id if run.trace_id != run.run_id else None


def _service_text(run: AgentRun) -> str:
    is_named = not (run.service_name or "").startswith(_NO_SERVICE)
    return name_and_version(run.service_name if is_named else None, run.service_version)


def _steps_text(run: AgentRun) -> str:
    """Return the number of steps, those of sub-agents included, by kind, and how many failed."""
    kinds: Counter[str] = Counter()
    failed = 0
    for one in run.walk():
        for step in one.steps:
            kinds[step.kind.value] += 1
            failed += step.error is not None
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    return f"{kinds.total():,}" + (f" ({counts})" if counts else "") + (f", {failed:,} failed" if failed else "")
