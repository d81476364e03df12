"""The facts of a run as tables: what it is, what it says, and in which span it was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from otel_agent_trace.cli import styles
from otel_agent_trace.cli.columns import Column, print_columns
from otel_agent_trace.cli.escape import escaped_line
from otel_agent_trace.cli.figures import plural, usage_text
from otel_agent_trace.cli.run_text import run_title
from otel_agent_trace.cli.step_text import step_title
from otel_agent_trace.cli.values_text import shortened
from otel_agent_trace.model import Message, StepError, Usage
from otel_agent_trace.runs.explain import Fact, RunExplanation, Source, Unread

_VALUE_WIDTH = 24
_PLACE_WIDTH = 44
_SPAN_WIDTH = 20
_SHOWN_SOURCES = 4
_SHOWN_NAMES = 12
_INDENT = 2


class _Row(NamedTuple):
    fact: str
    value: str
    place: str
    span: str


def print_explanation(explanation: RunExplanation, console: Console) -> None:
    """The facts of a run, of its steps and those of its sub-agents, and what nobody understood."""
    for each in explanation.walk():
        run = each.run
        console.print(run_title(run))
        console.print(Text(f"run {escaped_line(run.run_id)}  read as {escaped_line(run.dialect or '?')}", styles.FAINT))
        _print_facts(each.facts, console)
        for step in each.steps:
            console.print()
            console.print(step_title(step.step, run.started_at_ns))
            _print_facts(step.facts, console)
        console.print()
    _print_unread(explanation.unread, console)


def _print_facts(facts: Sequence[Fact], console: Console) -> None:
    rows = [row for fact in facts for row in _rows(fact)]
    columns = [
        Column("fact", [Text(row.fact, styles.LABEL) for row in rows], right=False),
        Column("value", [Text(row.value) for row in rows], right=False, rank=1, max_width=_VALUE_WIDTH),
        Column("read from", [Text(row.place, styles.STRONG) for row in rows], right=False, max_width=_PLACE_WIDTH),
        Column("of the span", [Text(row.span) for row in rows], right=False),
    ]
    print_columns(columns, console, room=_SPAN_WIDTH, indent=_INDENT)


def _rows(fact: Fact) -> Iterator[_Row]:
    """One row for each place; how a fact was come by stands in one of its own."""
    name, value = fact.name.replace("_", " "), _value(fact)
    if fact.how or not fact.sources:
        yield _Row(name, value, f"({fact.how})" if fact.how else "", "")
        name = value = ""
    for source in fact.sources[:_SHOWN_SOURCES]:
        for place in source.places or ("(the span as a whole)",):
            yield _Row(name, value, escaped_line(place), _span(source))
            name = value = ""
    if len(fact.sources) > _SHOWN_SOURCES:
        yield _Row("", "", f"… and {plural(len(fact.sources) - _SHOWN_SOURCES, 'more span')}", "")


def _span(source: Source | Unread) -> str:
    return escaped_line(f"{source.span_id} {source.span_name}")


def _value(fact: Fact) -> str:
    value = fact.value
    if isinstance(value, Usage):
        return usage_text(value)
    if isinstance(value, StepError):
        return shortened(str(value), _VALUE_WIDTH)
    if isinstance(value, tuple) and value and all(isinstance(item, Message) for item in value):
        return plural(len(value), "message")
    return shortened(value, _VALUE_WIDTH)


def _print_unread(unread: Sequence[Unread], console: Console) -> None:
    """The spans of which attributes were not understood, with how many."""
    if not unread:
        return
    console.print(Text("not understood", styles.STRONG))
    for span in unread:
        what = "" if span.is_understood else "nothing: "
        line = Text(" " * _INDENT).append(_span(span), styles.LABEL)
        line.append(f"  {what}{plural(len(span.attributes), 'attribute')}: ")
        line.append(escaped_line(", ".join(span.attributes[:_SHOWN_NAMES])))
        line.append(", …" if len(span.attributes) > _SHOWN_NAMES else "")
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
