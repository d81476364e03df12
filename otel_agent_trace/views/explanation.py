"""Describe the facts of a run as tables: name, value, and the span and attribute that each was read from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from otel_agent_trace.model import LogEntry, Message, Score, StepError, Usage
from otel_agent_trace.runs.explain import Fact, RunExplanation, Source, Unread
from otel_agent_trace.runs.left_out import LeftOut, Outside, OutsideLogs
from otel_agent_trace.runs.step_names import StepNames
from otel_agent_trace.views.figures import plural, usage_text
from otel_agent_trace.views.rows import Cell, Column, Line, Table, cells
from otel_agent_trace.views.runs import run_title
from otel_agent_trace.views.steps import step_title
from otel_agent_trace.views.values_text import one_line, shortened

_VALUE_WIDTH = 24
_PLACE_WIDTH = 44
_SPAN_WIDTH = 20
_SHOWN_SOURCES = 4
_SHOWN_NAMES = 12
_COUNTED: dict[type, str] = {Message: "message", LogEntry: "line"}


class FactSection(NamedTuple):
    """Hold the facts of a run or of a step, and the lines that name it, which are shown above them."""

    lines: tuple[Line, ...]
    facts: Table


class FactRow(NamedTuple):
    """Hold a fact, its value, and a place that it was read from with its span, or a note on how it was inferred.

    An empty `fact` continues the row before.
    """

    fact: str = ""
    value: str = ""
    place: str = ""
    span: str = ""
    note: str = ""


def rows_of_facts(facts: Iterable[Fact]) -> Iterator[FactRow]:
    """Yield rows for facts: for each place that a fact was read from, after one for how it was inferred, if it was."""
    return (row for fact in facts for row in _fact_rows(fact))


def fact_sections(explanation: RunExplanation) -> Iterator[FactSection]:
    """Yield a section for a run and one for each of its steps, and then those of its sub-agents."""
    names = StepNames(explanation.run)
    for part in explanation.walk():
        run = part.run
        origin = Cell(f"run {one_line(run.run_id)}  read as {one_line(run.dialect or '?')}", "faint")
        yield FactSection((run_title(run), (origin,)), _facts_table(part.facts))
        for step in part.steps:
            title = step_title(step.step, run.started_at_ns, names.of(step.step))
            yield FactSection((title,), _facts_table(step.facts))


def unread_lines(unread: Sequence[Unread]) -> Iterator[Line]:
    """Yield a line for each span with attributes that no dialect understood: the span, their number and their names."""
    for span in unread:
        what = "" if span.is_understood else "nothing: "
        yield Cell(_span_text(span), "faint"), Cell(f"  {what}{_names_text(span.attributes, 'attribute')}")


def left_out_lines(left_out: Sequence[LeftOut]) -> Iterator[Line]:
    """Yield a line for each span with values that are nowhere in the run: the span, and their places."""
    for span in left_out:
        yield Cell(_span_text(span), "faint"), Cell(f"  {_names_text(span.places, 'value')}")


def outside_lines(outside: Sequence[Outside]) -> Iterator[Line]:
    """Yield a line for each scope of spans in traces without a run: their number, and the places in them."""
    for spans in outside:
        yield _scope_line(spans.scope, plural(spans.spans, "span"), spans.places)


def outside_logs_lines(outside: Sequence[OutsideLogs]) -> Iterator[Line]:
    """Yield a line for the log records of each scope that belong to no span: why, their number, and their places."""
    for logs in outside:
        yield _scope_line(logs.scope, f"{plural(logs.records, 'log record')} {logs.why}", logs.places)


def _scope_line(scope: str, what: str, places: Sequence[str]) -> Line:
    return Cell(one_line(scope or "(no scope)"), "faint"), Cell(f"  {what}, {_names_text(places, 'place')}")


def _names_text(names: Sequence[str], noun: str) -> str:
    more = ", …" if len(names) > _SHOWN_NAMES else ""
    return f"{plural(len(names), noun)}: {one_line(', '.join(names[:_SHOWN_NAMES]))}{more}"


def _facts_table(facts: Sequence[Fact]) -> Table:
    rows = [*rows_of_facts(facts)]
    columns = [
        Column("fact", cells((row.fact for row in rows), "faint"), "left"),
        Column("value", cells(row.value for row in rows), "left", rank=1, max_width=_VALUE_WIDTH),
        Column("read from", cells((row.place or row.note for row in rows), "strong"), "left", max_width=_PLACE_WIDTH),
        Column("of the span", cells(row.span for row in rows), "left"),
    ]
    return Table(columns, last_width=_SPAN_WIDTH)


def _fact_rows(fact: Fact) -> Iterator[FactRow]:
    name, value = fact.name.replace("_", " "), _value_text(fact)
    if fact.how or not fact.sources:
        yield FactRow(name, value, note=f"({fact.how})" if fact.how else "")
        name = value = ""
    for source in fact.sources[:_SHOWN_SOURCES]:
        for place in source.places or ("(the span as a whole)",):
            yield FactRow(name, value, one_line(place), _span_text(source))
            name = value = ""
    if len(fact.sources) > _SHOWN_SOURCES:
        yield FactRow(note=f"… and {plural(len(fact.sources) - _SHOWN_SOURCES, 'more span')}")


def _span_text(source: Source | Unread | LeftOut) -> str:
    return one_line(f"{source.span_id} {source.span_name}")


def _value_text(fact: Fact) -> str:
    value = fact.value
    if isinstance(value, Usage):
        return usage_text(value)
    if isinstance(value, StepError):
        return shortened(str(value), _VALUE_WIDTH)
    if isinstance(value, tuple) and value and all(isinstance(item, Score) for item in value):
        return shortened(
            ", ".join(f"{score.name} {score.label if score.value is None else score.value}" for score in value),
            _VALUE_WIDTH,
        )
    for kind, noun in _COUNTED.items():
        if isinstance(value, tuple) and value and all(isinstance(item, kind) for item in value):
            return plural(len(value), noun)
    return shortened(value, _VALUE_WIDTH)
