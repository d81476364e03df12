"""`run_to_spans`: the spans that our tracer would have written for a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from otel_agent_trace import semconv
from otel_agent_trace.dialects.genai import Content, put_identity, put_input, put_output, status_message
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepError, StepKind
from otel_agent_trace.runs.assemble import leaf_usage
from otel_agent_trace.span import Event, Resource, Scope, SpanRecord
from otel_agent_trace.values import NO_LIMITS

_SCOPE = Scope(semconv.SCOPE_NAME)


def run_to_spans(run: AgentRun) -> list[SpanRecord]:
    """The spans of a run and of its sub-agents, each parent before its children.

    Reading them back gives an equal run. Ids that the run does not know are derived from its own, so the same run
    gives the same spans each time.
    """
    trace_id = run.trace_id or _derived(run.run_id, 32)
    resource = Resource({semconv.SERVICE_NAME: run.service_name} if run.service_name is not None else {})
    return list(_run_spans(run, None, None, trace_id, resource))


def _derived(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:digits]


def _run_spans(
    run: AgentRun, step: AgentStep | None, parent_id: str | None, trace_id: str, resource: Resource
) -> Iterator[SpanRecord]:
    if step is None and run.span_id is None and run.trace_id is not None and run.status is RunStatus.RUNNING:
        span_id = None  # the run's own span was never seen, and none is made up
    else:
        span_id = run.span_id or (step.span_id if step else None) or _derived(f"{run.run_id}/", 16)
        yield _run_span(run, step, span_id, parent_id, trace_id, resource)
    ids = {item.step_id: item.span_id or _derived(f"{run.run_id}/{item.step_id}", 16) for item in run.steps}
    for item in run.steps:
        above = ids.get(item.parent_step_id, span_id) if item.parent_step_id is not None else span_id
        if item.run is not None:
            yield from _run_spans(item.run, item, above, trace_id, resource)
        else:
            yield _step_span(run, item, ids[item.step_id], above, trace_id, resource)


def _run_span(
    run: AgentRun, step: AgentStep | None, span_id: str, parent_id: str | None, trace_id: str, resource: Resource
) -> SpanRecord:
    content = Content(NO_LIMITS)
    content.extra(run.attributes)
    name = _put_identity(content, StepKind.AGENT, run.agent_name or "", run)
    if run.agent_name is None:
        del content.attributes[semconv.AGENT_NAME]
    content.text(semconv.RUN_ID, "run_id", run.run_id)
    content.text(semconv.RUN_PARENT_ID, "parent_run_id", run.parent_run_id)
    content.text(semconv.CONVERSATION_ID, "session_id", run.session_id)
    content.text(semconv.REPLAY_OF, "replay_of", run.replay_of)
    if run.user_id is not None:
        pseudonymous = run.user_id.startswith("hmac:")
        content.text(semconv.ENDUSER_PSEUDO_ID if pseudonymous else semconv.USER_ID, "user_id", run.user_id)
    put_input(content, StepKind.AGENT, run.user_input)
    put_output(content, StepKind.AGENT, run.final_output, failed=False)
    content.json(semconv.CONFIG, "config", run.config)
    content.json(semconv.METADATA, "metadata", run.metadata or None)
    if run.status is RunStatus.TIMEOUT:
        content.attributes[semconv.RUN_STATUS] = run.status.value
    if run.sampling_probability is not None:
        content.attributes[semconv.SAMPLING_PROBABILITY] = run.sampling_probability
    if run.usage != leaf_usage(run.steps):  # reading sums the calls up anyway
        content.usage(run.usage)
    if step is not None:
        _put_place(content, step)
        content.messages(step.messages, StepKind.AGENT)
    content.cuts = list(run.truncated)
    failed = run.status in (RunStatus.ERROR, RunStatus.TIMEOUT)
    return _span(
        content, name, run.error, run.started_at_ns, run.ended_at_ns, span_id, parent_id, trace_id, resource, failed=failed
    )


def _put_identity(content: Content, kind: StepKind, name: str, item: AgentRun | AgentStep) -> str:
    """What the span is; where the model that answered was another than the one asked for, both."""
    asked = item.attributes.get(semconv.REQUEST_MODEL)
    if type(asked) is not str:
        return put_identity(content, kind, name, item.model)
    content.text(semconv.RESPONSE_MODEL, "model", item.model)
    return put_identity(content, kind, name, asked)


def _put_place(content: Content, step: AgentStep) -> None:
    content.attributes[semconv.STEP_INDEX] = step.index
    if step.step_id != step.index + 1 or type(step.step_id) is not int:
        if type(step.step_id) is int:
            content.attributes[semconv.STEP_ID] = step.step_id
        else:
            content.text(semconv.STEP_ID, "step_id", step.step_id)


def _step_span(
    run: AgentRun, step: AgentStep, span_id: str, parent_id: str | None, trace_id: str, resource: Resource
) -> SpanRecord:
    content = Content(NO_LIMITS)
    content.extra(step.attributes)
    name = _put_identity(content, step.kind, step.name, step)
    content.text(semconv.RUN_ID, "run_id", run.run_id)
    if step.kind is not StepKind.AGENT:
        content.text(semconv.AGENT_NAME, "agent_name", run.agent_name)
    content.text(semconv.CONVERSATION_ID, "session_id", run.session_id)
    _put_place(content, step)
    put_input(content, step.kind, step.input)
    put_output(content, step.kind, step.output, failed=step.error is not None)
    content.messages(step.messages, step.kind)
    content.usage(step.usage)
    content.json(semconv.METADATA, "metadata", step.metadata or None)
    if step.abandoned:
        content.attributes[semconv.ABANDONED] = True
    if step.first_chunk_at_ns is not None:
        content.attributes[semconv.FIRST_CHUNK_AT_NS] = step.first_chunk_at_ns
    content.cuts = list(step.truncated)
    return _span(
        content,
        name,
        step.error,
        step.started_at_ns,
        step.ended_at_ns,
        span_id,
        parent_id,
        trace_id,
        resource,
        failed=step.error is not None,
        kind=semconv.KIND_CLIENT if step.kind in (StepKind.MODEL, StepKind.RETRIEVAL) else semconv.KIND_INTERNAL,
    )


def _span(
    content: Content,
    name: str,
    error: StepError | None,
    start_ns: int,
    end_ns: int | None,
    span_id: str,
    parent_id: str | None,
    trace_id: str,
    resource: Resource,
    *,
    failed: bool,
    kind: int = semconv.KIND_INTERNAL,
) -> SpanRecord:
    if error is not None:
        content.error(error)
    elif failed:
        content.attributes[semconv.ERROR_TYPE] = semconv.ERROR_TYPE_OTHER
    return SpanRecord(
        trace_id,
        span_id,
        parent_id,
        name,
        start_ns,
        end_ns,
        content.taken(),
        kind=kind,
        status_code=semconv.STATUS_ERROR if failed else semconv.STATUS_UNSET,
        status_message=status_message(error, NO_LIMITS) if error is not None else "",
        events=_events(error, end_ns or start_ns),
        resource=resource,
        scope=_SCOPE,
    )


def _events(error: StepError | None, time_ns: int) -> tuple[Event, ...]:
    if error is None or error.stacktrace is None:
        return ()
    attributes = {
        semconv.EXCEPTION_TYPE: error.type,
        semconv.EXCEPTION_MESSAGE: error.message,
        semconv.EXCEPTION_STACKTRACE: error.stacktrace,
    }
    return (Event(semconv.EXCEPTION_EVENT, time_ns, attributes),)
