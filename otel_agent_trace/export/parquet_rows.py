"""Make the rows of a run for ``runs.parquet`` and ``spans.parquet``: a dict by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.export.parquet_figures import Figures, figures_of
from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, Score, StepError, StepKind, Usage
from otel_agent_trace.prices import Prices
from otel_agent_trace.runs.write import WrittenSpan, written_spans
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.scores import current_scores, number_of, scores_in
from otel_agent_trace.sources.parquet.schema import NS_PER_US
from otel_agent_trace.sources.parquet.values import maps_of, text_of
from otel_agent_trace.span import Event, Link, SpanRecord
from otel_agent_trace.usage import usage_of

Row = dict[str, Any]
_LEAST, _GREATEST = -(1 << 63), (1 << 63) - 1


def rows_of(number: int, run: AgentRun, prices: Prices) -> tuple[Row, list[Row]]:
    """Return the row of an outermost run, which has a number in its export, and those of its spans."""
    spans = [*written_spans(run)]
    figures = figures_of(run, prices)
    place = {
        "run_number": number,
        "run_id": text_of(run.run_id),
        "sampling_probability": run.sampling_probability,
    }
    rows = [place | _row_of_span(written.span) | _row_of_step(written, figures) for written in spans]
    return place | _row_of_run(run, spans[0].span.trace_id) | figures.of_run, rows


def row_of_dropped(count: DroppedTraces) -> Row:
    """Return the row of a count of dropped traces."""
    return {
        "agent": text_of(count.agent),
        "status": count.status,
        "hour": count.hour_ns // NS_PER_US,
        "traces": count.traces,
        "is_certain": count.is_certain,
    }


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _row_of_run(run: AgentRun, trace_id: str) -> Row:
    parts = [*run.walk()]
    steps = [step for part in parts for step in part.steps]
    tools = [step for step in steps if step.kind is StepKind.TOOL]
    metadata, metadata_types = maps_of(run.metadata)
    resource, resource_types = maps_of(run.resource)
    return {
        **_facts_of(run),
        **_tokens_of(usage_of(run)),
        "run_ids": _texts(part.run_id for part in parts),
        "trace_id": trace_id,
        "trace_ids": _texts(run.trace_ids or (trace_id,)),
        "parent_run_id": text_of(run.parent_run_id),
        "agent_name": text_of(run.agent_name),
        "user_input": text_of(run.user_input),
        "final_output": text_of(run.final_output),
        "status": run.status.value,
        "interrupted": run.interrupted,
        "interrupted_for": text_of(run.interrupted_for),
        "step_count": len(steps),
        "user_id": text_of(run.user_id),
        "session_id": text_of(run.session_id),
        "service_name": text_of(run.service_name),
        "service_version": text_of(run.service_version),
        "environment": text_of(run.environment),
        "replay_of": text_of(run.replay_of),
        "continues": text_of(run.continues),
        "tags": _texts(run.tags),
        "tools": _texts(step.name for step in tools),
        "failed_tools": _texts(step.name for step in tools if step.error is not None),
        "models": _texts(_models_of([*parts, *steps])),
        "services": _texts(part.service_name for part in parts),
        "scores": [*_scores_of(run)],
        "metadata": metadata,
        "metadata_types": metadata_types,
        "resource": resource,
        "resource_types": resource_types,
        **_maps_named("attribute", run.attributes),
    }


def _texts(values: Iterable[Any]) -> list[str]:
    """Return the texts among some values, each once."""
    return [*dict.fromkeys(text for value in values if (text := text_of(value)) is not None)]


def _models_of(items: Iterable[AgentRun | AgentStep]) -> Iterator[Any]:
    for item in items:
        yield item.model
        yield _requested_model(item)


def _requested_model(item: AgentRun | AgentStep) -> str | None:
    requested = item.attributes.get(semconv.REQUEST_MODEL)
    return requested if isinstance(requested, str) else None


def _scores_of(run: AgentRun) -> Iterator[Row]:
    own = {id(score) for score in current_scores(run.scores)}
    for score in scores_in(run):
        yield _row_of_score(score, is_of_run=id(score) in own)


def _row_of_score(score: Score, *, is_of_run: bool) -> Row:
    texts = {name: text_of(getattr(score, name)) for name in ("name", "label", "explanation", "source")}
    return {
        **texts,
        "value": number_of(score),
        "value_text": text_of(score.value),
        "is_bool": isinstance(score.value, bool),
        "at_ns": _within_64_bits(score.at_ns),
        "is_of_run": is_of_run,
    }


# ── spans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _row_of_step(written: WrittenSpan, figures: Figures) -> Row:
    """Return what a span has as a step; for that of an outermost run, what the run has."""
    step, run = written.step, written.run
    if step is None:
        return _facts_of(run) | {"name": text_of(run.agent_name), "agent_name": text_of(run.agent_name)}
    below = step.run
    error = step.error if step.error is not None or below is None else below.error
    return {
        **_facts_of(step),
        **_row_of_error(error),
        **_tokens_of(step.usage),
        "step_id": str(step.step_id),
        "index": step.index,
        "kind": step.kind.value,
        "name": text_of(step.name),
        "agent_name": None if below is None else text_of(below.agent_name) or "",
        "input": text_of(step.input),
        "output": text_of(step.output),
        "paused": step.error is None and step.interrupted_for is not None,
        "request_model": text_of(_requested_model(step)),
        **figures.of_step(step),
    }


def _row_of_span(span: SpanRecord) -> Row:
    resource, resource_types = maps_of(span.resource.attributes)
    scope, scope_types = maps_of(span.scope.attributes)
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "span_name": text_of(span.name),
        "span_kind": span.kind,
        "status_code": span.status_code,
        "status_message": text_of(span.status_message),
        "trace_state": span.trace_state,
        "flags": span.flags,
        "events": [*map(_row_of_event, span.events)],
        "links": [*map(_row_of_link, span.links)],
        "resource": resource,
        "resource_types": resource_types,
        "resource_schema_url": span.resource.schema_url,
        "scope_name": span.scope.name,
        "scope_version": span.scope.version,
        "scope": scope,
        "scope_types": scope_types,
        "scope_schema_url": span.scope.schema_url,
        **_maps_named("attribute", span.attributes),
    }


def _row_of_event(event: Event) -> Row:
    return {
        "name": text_of(event.name),
        "time_ns": _within_64_bits(event.time_ns),
        **_maps_named("attribute", event.attributes),
    }


def _row_of_link(link: Link) -> Row:
    ids = {"trace_id": link.trace_id, "span_id": link.span_id, "trace_state": link.trace_state}
    return ids | _maps_named("attribute", link.attributes)


# ── what runs and steps share ────────────────────────────────────────────────────────────────────────────────────────


def _facts_of(item: AgentRun | AgentStep) -> Row:
    started_ns = _within_64_bits(item.started_at_ns)
    ended_ns = None if item.ended_at_ns is None else _within_64_bits(item.ended_at_ns)
    return {
        "started_at": started_ns // NS_PER_US,
        "ended_at": None if ended_ns is None else ended_ns // NS_PER_US,
        "started_at_ns": started_ns,
        "ended_at_ns": ended_ns,
        "duration_s": item.duration_s,
        "first_chunk_at_ns": None if item.first_chunk_at_ns is None else _within_64_bits(item.first_chunk_at_ns),
        "abandoned": item.abandoned,
        "model": text_of(item.model),
        "prompt_name": text_of(item.prompt_name),
        "prompt_version": text_of(item.prompt_version),
        **_row_of_error(item.error),
    }


def _row_of_error(error: StepError | None) -> Row:
    fields = ("type", "message", "category")
    return {f"error_{name}": None if error is None else text_of(getattr(error, name)) for name in fields}


def _tokens_of(usage: Usage | None) -> Row:
    return {name: None if usage is None else _within_64_bits(getattr(usage, name)) for name in TOKEN_FIELDS}


def _maps_named(name: str, values: Any) -> Row:
    texts, types = maps_of(values)
    return {f"{name}s": texts, f"{name}_types": types}


def _within_64_bits(number: Any) -> Any:
    """Return an integer as the nearest that a column can hold."""
    return None if number is None else min(max(number, _LEAST), _GREATEST)
