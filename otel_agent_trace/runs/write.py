"""`run_to_spans`: the spans that our tracer would have written for a run."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.mapping.attributes import AttributeWriter
from otel_agent_trace.mapping.facts import SHARED, WRITTEN, fact_names
from otel_agent_trace.mapping.writer import (
    FAILURES,
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
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepKind
from otel_agent_trace.runs.assemble import leaf_usage
from otel_agent_trace.span import Event, Resource, Scope, SpanRecord
from otel_agent_trace.values import NO_LIMITS, same

_SCOPE = Scope(semconv.SCOPE_NAME)
_Ids = tuple[str, str | None]
"""Of a span, and of the one above it."""


def run_to_spans(run: AgentRun) -> list[SpanRecord]:
    """The spans of a run and of its sub-agents, each parent before its children.

    Reading them back gives an equal run, if it is one that our tracer or reader made; of one that is put together by
    hand, spans cannot say an empty usage, an error without a type, or that the usage of model steps has no sum. Ids
    that the run does not know are derived from its own, so the same run gives the same spans each time.
    """
    return list(_Writer(run).run_spans(run, None, None))


def _derived(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:digits]


def _places_above(steps: tuple[AgentStep, ...]) -> list[int | None]:
    """For each step the place of the one above it, None below the run.

    Where several steps share an id, the last one before is meant; unless it is below the step itself, then another.
    """
    places: dict[int | str | None, list[int]] = {}
    for place, step in enumerate(steps):
        places.setdefault(step.step_id, []).append(place)
    candidates = [places.get(step.parent_step_id, []) for step in steps]
    above: list[int | None] = [found[0] if len(found) == 1 else None for found in candidates]
    unclear = [place for place, found in enumerate(candidates) if len(found) > 1]
    for place in unclear:
        found = candidates[place]
        before = bisect.bisect_left(found, place)
        order = itertools.chain(range(before - 1, -1, -1), range(len(found) - 1, before - 1, -1))
        others = (found[number] for number in order)
        above[place] = next((other for other in others if not _leads_to(place, other, above)), None)
    return above if all(above[place] is not None for place in unclear) else _grown(steps, candidates)


def _grown(steps: tuple[AgentStep, ...], candidates: list[list[int]]) -> list[int | None]:
    """The same where earlier choices left a step none: each goes below the first of its candidates that is placed."""
    above: list[int | None] = [None] * len(steps)
    waiting: dict[int | str | None, list[int]] = {}
    for place, step in enumerate(steps):
        if candidates[place]:
            waiting.setdefault(step.parent_step_id, []).append(place)
    placed = [place for place, found in enumerate(candidates) if not found]
    for place in placed:
        below = waiting.pop(steps[place].step_id, [])
        for other in below:
            above[other] = place
        placed += below
    return above


def _leads_to(place: int, start: int | None, above: list[int | None]) -> bool:
    """Whether the way up from a step comes by a place."""
    for _ in above:
        if start is None or start == place:
            break
        start = above[start]
    return start is not None


class _Writer:
    """Writes the spans of one trace."""

    def __init__(self, run: AgentRun) -> None:
        self.is_read = run.trace_id is not None
        self.trace_id = run.trace_id or _derived(run.run_id, 32)
        self.resources: list[Resource] = []

    def resource(self, run: AgentRun) -> Resource:
        """Return the program that a run took place in, the same object for an equal one."""
        known = next((known for known in self.resources if same(known.attributes, run.resource)), None)
        if known is None:
            known = Resource(run.resource)
            self.resources.append(known)
        return known

    def derived_id(self, run: AgentRun, place: str) -> str:
        """An id for the span of a run, or of the step at a place, that has none; runs of one trace may share theirs."""
        known = (run.span_id, *(step.span_id for step in run.steps)) if self.is_read else ()
        first = next(filter(None, known), "")
        return _derived(f"{first}{run.run_id}/{place}", 16)

    def run_spans(self, run: AgentRun, step: AgentStep | None, parent_id: str | None) -> Iterator[SpanRecord]:
        """The span of a run, unless it was never seen and would tell nothing, and those of its steps."""
        own_id = run.span_id or (step.span_id if step else None) or self.derived_id(run, "")
        is_lone, is_open = _is_lone(run), _is_open(run)
        if step is not None or not (is_lone or is_open):
            yield self.run_span(run, step, (own_id, parent_id))
        outer_id = None if is_lone and run.run_id == run.trace_id else own_id
        ids = [item.span_id or self.derived_id(run, str(place)) for place, item in enumerate(run.steps)]
        for item, step_span_id, place_above in zip(run.steps, ids, _places_above(run.steps), strict=True):
            above = outer_id if place_above is None else ids[place_above]
            if item.run is not None:
                below = item.run
                if below.parent_run_id is None:
                    below = msgspec.structs.replace(below, parent_run_id=run.run_id)
                yield from self.run_spans(below, item, above)
            else:
                has_run = not is_lone or place_above is not None
                yield self.step_span(run, item, (step_span_id, above), has_run=has_run)

    def run_span(self, run: AgentRun, step: AgentStep | None, ids: _Ids) -> SpanRecord:
        """Return the span of a run; where it is a sub-agent's, with its place as a step."""
        content, fields = AttributeWriter(NO_LIMITS), self.fields_of(run)
        put_attributes(content, run.attributes, _names_of_facts(StepKind.AGENT, run))
        fields["model"] = _asked_model(content, run)
        if step is not None:
            fields.update({name: value for name, value in _fields_of(step, _STEP_FACTS).items() if not fields[name]})
            content.messages(step.messages, StepKind.AGENT)
            put_place(content, step.index, step.step_id)
        name = put_run(content, fields)
        if step is not None and run.agent_name is None and step.name != name:
            content.text(semconv.STEP_NAME, "name", step.name)
        put_answer(content, run.final_output)
        if run.usage != leaf_usage(run.steps):  # reading sums the calls up anyway
            content.usage(run.usage)
        put_status(content, run.status, has_ended=run.ended_at_ns is not None)
        return self.span(content, name, run, ids, failed=run.status in FAILURES, run=run)

    def step_span(self, run: AgentRun, step: AgentStep, ids: _Ids, *, has_run: bool) -> SpanRecord:
        """Return the span of a step that is no run of its own."""
        content, kind = AttributeWriter(NO_LIMITS), step.kind
        put_attributes(content, step.attributes, _names_of_facts(kind, step))
        put_shared(content, _fields_of(run, _SHARED if has_run else _SHARED - {"run_id"}))
        name = put_identity(content, kind, step.name, _asked_model(content, step))
        put_place(content, step.index, step.step_id)
        put_facts(content, WRITTEN[kind], self.fields_of(step))
        put_input(content, kind, step.input)
        put_output(content, kind, step.output, failed=step.error is not None)
        content.messages(step.messages, kind)
        content.usage(step.usage)
        return self.span(content, name, step, ids, failed=step.error is not None, run=run)

    def fields_of(self, item: AgentRun | AgentStep) -> dict[str, Any]:
        """Return the fields to be written; of what was read from somewhere and has no span, that it is made up."""
        return {**_fields_of(item, item.__struct_fields__), "is_inferred": item.span_id is None and self.is_read}

    def span(
        self, content: AttributeWriter, name: str, item: AgentRun | AgentStep, ids: _Ids, *, failed: bool, run: AgentRun
    ) -> SpanRecord:
        """Return the span of a run, or of a step of it, whose content has been put together."""
        error, time_ns = item.error, item.ended_at_ns or item.started_at_ns
        message = put_failure(content, error, failed=failed)
        events: tuple[Event, ...] = ()
        if error is not None and error.stacktrace is not None:
            events = (Event(semconv.EXCEPTION_EVENT, time_ns, content.exception(message, error.stacktrace)),)
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
        )


def _is_lone(run: AgentRun) -> bool:
    """Whether reading makes the same run of its outermost step, if that says nothing of a run."""
    outer = [step for step in run.steps if step.parent_step_id is None]
    if len(outer) != 1 or outer[0].run is not None or not _is_told_by_steps(run):
        return False
    (step,) = outer
    over = RunStatus.SUCCESS if step.error is None else RunStatus.ERROR
    status = RunStatus.RUNNING if step.ended_at_ns is None else over
    return (run.status, run.ended_at_ns, run.error) == (status, step.ended_at_ns, step.error) and run.run_id in (
        run.trace_id,
        f"{run.trace_id}-{step.span_id}",
    )


def _is_open(run: AgentRun) -> bool:
    """Whether reading makes the same run of its steps, if these say that they are the run's."""
    return (run.status, run.ended_at_ns, run.error) == (RunStatus.RUNNING, None, None) and _is_told_by_steps(run)


def _is_told_by_steps(run: AgentRun) -> bool:
    """Whether a run has no span of its own, and nothing that would have stood there."""
    if run.trace_id is None or run.span_id is not None or not run.steps:
        return False
    began = min(step.started_at_ns for step in run.steps)
    return run.started_at_ns == began and run == AgentRun(**{name: getattr(run, name) for name in _TOLD_BY_STEPS})


_SHARED = frozenset(field for field, _, _ in SHARED)
_TOLD_BY_STEPS = (
    *_SHARED,
    *("status", "error", "started_at_ns", "ended_at_ns", "usage", "steps", "trace_id", "resource"),
)
_STEP_FACTS = frozenset(field for field, _, _ in WRITTEN[StepKind.AGENT]) & frozenset(AgentStep.__struct_fields__)
"""Facts that a step of kind agent shares with its run."""


def _names_of_facts(kind: StepKind, item: AgentRun | AgentStep) -> frozenset[str]:
    """Return the names under which facts stand, so that attributes which nobody understood cannot."""
    return fact_names(kind) if _asked(item) is None else fact_names(kind) - {semconv.REQUEST_MODEL}


def _asked_model(content: AttributeWriter, item: AgentRun | AgentStep) -> str | None:
    """Write the model that answered, where that is known beside the one that was asked, and return the latter."""
    asked = _asked(item)
    if asked is None:
        return item.model
    content.text(semconv.RESPONSE_MODEL, "model", item.model)
    return asked


def _asked(item: AgentRun | AgentStep) -> str | None:
    """Return the model that was asked, which stays an attribute where the model that answered is known."""
    asked = item.attributes.get(semconv.REQUEST_MODEL)
    return asked if type(asked) is str and item.model is not None else None


def _fields_of(item: AgentRun | AgentStep, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(item, name) for name in names}
