"""Provide `run_to_spans`: the spans that our tracer would have written for a run."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import scores, semconv
from otel_agent_trace.mapping.attributes import AttributeWriter
from otel_agent_trace.mapping.facts import SHARED, WRITTEN, fact_names
from otel_agent_trace.mapping.writer import (
    REMOTE_KINDS,
    put_answer,
    put_attributes,
    put_facts,
    put_failure,
    put_identity,
    put_input,
    put_output,
    put_place,
    put_run,
    put_shared,
    put_status,
)
from otel_agent_trace.model import FAILED_STATUSES, AgentRun, AgentStep, RunStatus, StepKind
from otel_agent_trace.runs import log_entries
from otel_agent_trace.runs.assemble import leaf_usage
from otel_agent_trace.sampling import NEVER, threshold_of, with_threshold
from otel_agent_trace.span import Event, Resource, Scope, SpanRecord
from otel_agent_trace.values import NO_LIMITS, same

_SCOPE = Scope(semconv.SCOPE_NAME, attributes={semconv.FORMAT: semconv.FORMAT_NUMBER})
_Ids = tuple[str, str | None]
"""Ids of a span and of its parent."""


def run_to_spans(run: AgentRun) -> list[SpanRecord]:
    """Return the spans of a run and of its sub-agents, each parent before its children.

    Reading them back gives an equal run, if our tracer or reader made it. Of a run built by hand, spans cannot express
    an empty usage, an error without a type, or that the usage of model steps has no sum. Missing ids are derived from
    the run's id, so the same run gives the same spans each time.
    """
    return [written.span for written in written_spans(run)]


class WrittenSpan(NamedTuple):
    """Hold a span, the run that it is of, and its step in that run; None for the span of the outermost run itself."""

    span: SpanRecord
    run: AgentRun
    step: AgentStep | None


def written_spans(run: AgentRun) -> Iterator[WrittenSpan]:
    """Yield the spans that `run_to_spans` returns, each with the step that it was made of."""
    return _Writer(run).run_spans(run, None, None, run)


def _hex_digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:digits]


def _parent_places(steps: tuple[AgentStep, ...]) -> list[int | None]:
    """Return for each step the place of its parent step, None for those right below the run.

    Where several steps share an id, the closest one before is the parent, unless it is below the step itself.
    """
    places = _places_of_ids(steps)
    candidates = [places.get(step.parent_step_id, []) for step in steps]
    above: list[int | None] = [found[0] if len(found) == 1 else None for found in candidates]
    unclear = [place for place, found in enumerate(candidates) if len(found) > 1]
    for place in unclear:
        found = candidates[place]
        before = bisect.bisect_left(found, place)
        order = itertools.chain(range(before - 1, -1, -1), range(len(found) - 1, before - 1, -1))
        others = (found[number] for number in order)
        above[place] = next((other for other in others if not _leads_to(place, other, above)), None)
    return above if all(above[place] is not None for place in unclear) else _parent_places_top_down(steps, candidates)


def _places_of_ids(steps: tuple[AgentStep, ...]) -> dict[int | str | None, list[int]]:
    """Return the places of the steps that an id may stand for as a parent: sub-agents where no other step has it.

    What is below the span of a sub-agent is read as a step of that, not of the run around it.
    """
    places: dict[int | str | None, list[int]] = {}
    for place, step in enumerate(steps):
        places.setdefault(step.step_id, []).append(place)
    for found in places.values():
        if len(found) > 1:
            found[:] = [place for place in found if steps[place].run is None] or found
    return places


def _parent_places_top_down(steps: tuple[AgentStep, ...], candidates: list[list[int]]) -> list[int | None]:
    """Return the parents' places, each step below the first candidate placed, where choosing the closest left gaps."""
    above: list[int | None] = [None] * len(steps)
    waiting: dict[int | str | None, list[int]] = {}
    for place, step in enumerate(steps):
        if candidates[place]:
            waiting.setdefault(step.parent_step_id, []).append(place)
    parents = set(itertools.chain.from_iterable(candidates))
    placed = [place for place, found in enumerate(candidates) if not found]
    for place in placed:
        below = waiting.pop(steps[place].step_id, []) if place in parents else []
        for other in below:
            above[other] = place
        placed += below
    return above


def _leads_to(place: int, start: int | None, above: list[int | None]) -> bool:
    """Return whether the parents of a step, and theirs, include a place."""
    for _ in above:
        if start is None or start == place:
            break
        start = above[start]
    return start is not None


class _Writer:
    """Write the spans of one trace."""

    def __init__(self, run: AgentRun) -> None:
        self.is_read = run.trace_id is not None
        self.trace_id = run.trace_id or _hex_digest(run.run_id, 32)
        self.resources: list[Resource] = []
        self.trace_state = _trace_state_of(run.sampling_probability)

    def resource(self, run: AgentRun) -> Resource:
        """Return the resource of a run, the same object for equal ones."""
        known = next((known for known in self.resources if same(known.attributes, run.resource)), None)
        if known is None:
            known = Resource(run.resource)
            self.resources.append(known)
        return known

    def derived_id(self, run: AgentRun, place: str) -> str:
        """Return an id for the span of a run, or of the step at a place, that has none.

        It depends on the first known span id, since runs of one trace may share their run id.
        """
        known = (run.span_id, *(step.span_id for step in run.steps)) if self.is_read else ()
        first = next(filter(None, known), "")
        return _hex_digest(f"{first}{run.run_id}/{place}", 16)

    def run_spans(
        self, run: AgentRun, step: AgentStep | None, parent_id: str | None, around: AgentRun
    ) -> Iterator[WrittenSpan]:
        """Yield the span of a run, unless it had none and none is needed to read it back, and those of its steps.

        `step` is what the run is of the one around it, None for the outermost one.
        """
        own_id = run.span_id or (step.span_id if step else None) or self.derived_id(run, "")
        is_lone, is_open = _is_lone(run), _is_open(run)
        if step is not None or not (is_lone or is_open):
            yield WrittenSpan(self.run_span(run, step, (own_id, parent_id)), around, step)
        outer_id = None if is_lone and run.run_id == run.trace_id else own_id
        ids = [item.span_id or self.derived_id(run, str(place)) for place, item in enumerate(run.steps)]
        for item, step_span_id, place_above in zip(run.steps, ids, _parent_places(run.steps), strict=True):
            above = outer_id if place_above is None else ids[place_above]
            if item.run is not None:
                below = item.run
                if below.parent_run_id is None:
                    below = msgspec.structs.replace(below, parent_run_id=run.run_id)
                yield from self.run_spans(below, item, above, run)
            else:
                has_run = not is_lone or place_above is not None
                yield WrittenSpan(self.step_span(run, item, (step_span_id, above), has_run=has_run), run, item)

    def run_span(self, run: AgentRun, step: AgentStep | None, ids: _Ids) -> SpanRecord:
        """Return the span of a run; that of a sub-agent includes its place as a step."""
        content, fields = AttributeWriter(NO_LIMITS), self.fields_of(run)
        put_attributes(content, run.attributes, _names_of_facts(StepKind.AGENT, run))
        fields["model"] = _write_models(content, run)
        if step is not None:
            fields.update(
                {name: value for name, value in _fields_of(step, _STEP_FACTS).items() if _is_missing(fields[name])}
            )
            content.messages(step.messages, StepKind.AGENT)
            put_place(content, step.index, step.step_id)
        name = put_run(content, fields)
        if step is not None and run.agent_name is None and step.name != name:
            content.text(semconv.STEP_NAME, "name", step.name)
        put_answer(content, run.final_output)
        if run.usage != leaf_usage(run.steps):  # reading sums the calls up anyway
            content.usage(run.usage)
        put_status(content, run.status, has_ended=run.ended_at_ns is not None)
        return self.span(content, name, run, ids, failed=run.status in FAILED_STATUSES, run=run)

    def step_span(self, run: AgentRun, step: AgentStep, ids: _Ids, *, has_run: bool) -> SpanRecord:
        """Return the span of a step that is not a run of its own."""
        content, kind = AttributeWriter(NO_LIMITS), step.kind
        put_attributes(content, step.attributes, _names_of_facts(kind, step))
        put_shared(content, _fields_of(run, _SHARED if has_run else _SHARED - {"run_id"}))
        name = put_identity(content, kind, step.name, _write_models(content, step))
        put_place(content, step.index, step.step_id)
        put_facts(content, WRITTEN[kind], self.fields_of(step))
        put_input(content, kind, step.input)
        put_output(content, kind, step.output, failed=step.error is not None)
        content.messages(step.messages, kind)
        content.usage(step.usage)
        return self.span(content, name, step, ids, failed=step.error is not None, run=run)

    def fields_of(self, item: AgentRun | AgentStep) -> dict[str, Any]:
        """Return the fields to write, `is_inferred` for what was read from spans but has none itself."""
        return {**_fields_of(item, item.__struct_fields__), "is_inferred": item.span_id is None and self.is_read}

    def span(
        self, content: AttributeWriter, name: str, item: AgentRun | AgentStep, ids: _Ids, *, failed: bool, run: AgentRun
    ) -> SpanRecord:
        """Return the span of a run, or of a step of it, with the attributes collected in `content`."""
        error, time_ns = item.error, item.ended_at_ns or item.started_at_ns
        message = put_failure(content, error, failed=failed)
        events: tuple[Event, ...] = ()
        if error is not None and error.stacktrace is not None:
            events = (Event(semconv.EXCEPTION_EVENT, time_ns, content.exception(message, error.stacktrace)),)
        events += (*map(log_entries.event_of, item.logs), *map(scores.event_of, item.scores))
        is_remote = isinstance(item, AgentStep) and item.kind in REMOTE_KINDS
        return SpanRecord(
            self.trace_id,
            *ids,
            name,
            item.started_at_ns,
            item.ended_at_ns,
            content.taken(),
            kind=semconv.KIND_CLIENT if is_remote else semconv.KIND_INTERNAL,
            status_code=semconv.STATUS_ERROR if failed else semconv.STATUS_UNSET,
            status_message=message if failed else "",
            events=events,
            resource=self.resource(run),
            scope=_SCOPE,
            trace_state=self.trace_state,
        )


def _trace_state_of(probability: float | None) -> str:
    """Return the trace state of a trace that was kept with a probability; empty if it is None, or none at all."""
    if probability is None or not 0 < probability <= 1:
        return ""
    threshold = threshold_of(probability)
    return with_threshold("", threshold) if threshold < NEVER else ""


def _is_lone(run: AgentRun) -> bool:
    """Return whether reading makes the same run of its outermost step alone, without a run id."""
    outer = [step for step in run.steps if step.parent_step_id is None]
    if len(outer) != 1 or outer[0].run is not None or not _follows_from_steps(run):
        return False
    (step,) = outer
    over = RunStatus.SUCCESS if step.error is None else RunStatus.ERROR
    status = RunStatus.RUNNING if step.ended_at_ns is None else over
    ids = (run.trace_id, f"{run.trace_id}-{step.span_id}")
    ended_alike = (run.status, run.ended_at_ns, run.error) == (status, step.ended_at_ns, step.error)
    return ended_alike and same(run.interrupted_for, step.interrupted_for) and run.run_id in ids


def _is_open(run: AgentRun) -> bool:
    """Return whether reading makes the same run of its steps alone, by the run id on their spans."""
    known = (run.status, run.ended_at_ns, run.error)
    return known == (RunStatus.RUNNING, None, None) and run.interrupted_for is None and _follows_from_steps(run)


def _follows_from_steps(run: AgentRun) -> bool:
    """Return whether a run has no span of its own, and no fact that only such a span could hold."""
    if run.trace_id is None or run.span_id is not None or not run.steps:
        return False
    began = min(step.started_at_ns for step in run.steps)
    return run.started_at_ns == began and run == AgentRun(**{name: getattr(run, name) for name in _KNOWN_FROM_STEPS})


_SHARED = frozenset(field for field, _, _ in SHARED)
_KNOWN_FROM_STEPS = (
    *_SHARED,
    *("status", "error", "interrupted_for", "started_at_ns", "ended_at_ns", "usage", "steps", "trace_id", "resource"),
)
_STEP_FACTS = frozenset(field for field, _, _ in WRITTEN[StepKind.AGENT]) & frozenset(AgentStep.__struct_fields__)
"""Facts that a step of kind agent shares with its run."""


def _is_missing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, str | tuple | dict) and not value)


def _names_of_facts(kind: StepKind, item: AgentRun | AgentStep) -> frozenset[str]:
    """Return the attribute names that facts use, which unread attributes of a run or a step must not take."""
    return fact_names(kind) if _requested_model(item) is None else fact_names(kind) - {semconv.REQUEST_MODEL}


def _write_models(content: AttributeWriter, item: AgentRun | AgentStep) -> str | None:
    """Write the model that answered where both it and the requested one are known, and return the requested one."""
    requested = _requested_model(item)
    if requested is None:
        return item.model
    content.text(semconv.RESPONSE_MODEL, "model", item.model)
    return requested


def _requested_model(item: AgentRun | AgentStep) -> str | None:
    """Return the requested model, which is kept as an attribute where the model that answered is known."""
    requested = item.attributes.get(semconv.REQUEST_MODEL)
    return requested if type(requested) is str and item.model is not None else None


def _fields_of(item: AgentRun | AgentStep, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(item, name) for name in names}
