"""Show runs, steps, sessions, reports and differences as HTML for notebooks.

JupyterLab 4.6 removes styles, scripts, SVG and frames from a notebook that is not trusted, and every value of an inline
style that is not plain. So this HTML consists of details, tables and positioned bars, with inline styles, in the colours of
the notebook, and is bounded, since a notebook keeps what it shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.views.diff import SideBySide
from otel_agent_trace.views.escape import escaped
from otel_agent_trace.views.figures import plural
from otel_agent_trace.views.items import RunItems
from otel_agent_trace.views.parts import Part, part_lines, parts_of
from otel_agent_trace.views.rows import Cell, Line, Row, Section, Table
from otel_agent_trace.views.runs import ending_rows, fact_rows, question_rows, run_title
from otel_agent_trace.views.steps import step_rows, step_title
from otel_agent_trace.views.text import run_sections
from otel_agent_trace.views.values_text import Bounds, bounded

_MOST_STEPS, _MOST_ROWS, _MOST_TEXT_STEPS = 100, 30, 40
_MOST_BYTES = 199_000
_MOST_TEXT_CHARS = 2_000
_PLAIN_TEXT = Bounds(lines=250, chars=10_000)
_LEFT_OUT = '<div style="opacity:0.7">… more is left out here</div>'
_MARKS = {StepKind.AGENT: "◆", StepKind.MODEL: "●", StepKind.TOOL: "■", StepKind.RETRIEVAL: "▤"}
_COLOURS = {
    StepKind.AGENT: "#9964f5",
    StepKind.MODEL: "#2f5cab",
    StepKind.TOOL: "#05a29b",
    StepKind.RETRIEVAL: "#c08813",
}
_OTHER_MARK, _OTHER_COLOUR = "·", "#808890"
_BOX = "font-family:system-ui,sans-serif;font-size:13px;line-height:18px;text-align:left"
_PRE = "margin:0;padding:0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;line-height:17px;background:transparent"
_CELL = "text-align:left;vertical-align:top;padding:0 8px 0 0;border:0;background:transparent"
_TONES = {"failed": "color:#c8461a", "error": "color:#c8461a", "faint": "opacity:0.7", "strong": "font-weight:600"}


def text_of(item: Any) -> str:
    """Return a thing as lines of text, as commands show it: at most 250 lines, and 10,000 characters, of each section."""
    if isinstance(item, AgentRun):
        return "\n\n".join(bounded(text, _PLAIN_TEXT) for text in run_sections(item, most_steps=_MOST_TEXT_STEPS))
    return bounded("\n".join(part_lines(parts_of(item))), _PLAIN_TEXT)


def html_of(item: Any) -> str:
    """Return the HTML of a run, step, session, report, comparison or difference: at most 200,000 bytes."""
    parts = _run_parts(item) if isinstance(item, AgentRun) else _parts(item)
    title, *others = _within(parts, _MOST_BYTES)
    return f'<div style="{_BOX}"><details open><summary>{title}</summary>{"".join(others)}</details></div>'


def _within(parts: Iterable[str], most_bytes: int) -> Iterator[str]:
    """Yield parts as long as there is room for them, and then a note that there are more."""
    for part in parts:
        most_bytes -= len(part.encode())
        if most_bytes < 0:
            yield _LEFT_OUT
            return
        yield part


def _run_parts(run: AgentRun) -> Iterator[str]:
    yield _line(run_title(run))
    yield _rows([*fact_rows(run, full=False), *question_rows(run, full=False), *ending_rows(run, full=False)])
    items = RunItems(run)
    steps = [(item.step, item.depth - 1) for item in items if item.step is not None]
    for step, depth in steps[:_MOST_STEPS]:
        yield _step(step, depth, items)
    if len(steps) > _MOST_STEPS:
        yield f'<div style="opacity:0.7">… {plural(len(steps) - _MOST_STEPS, "more step")}</div>'


def _parts(item: Any) -> Iterator[str]:
    for number, part in enumerate(parts_of(item)):
        if number or not isinstance(part, Section):
            yield _part(part)
        else:
            yield from (_line(part.title), _rows(part.rows))


def _part(part: Part) -> str:
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, SideBySide):
        return _pair(part)
    if part.title and part.rows:
        return _folded(_line(part.title), _rows(part.rows), is_open=part.is_open)
    return f"<div>{_line(part.title)}</div>" if part.title else _rows(part.rows)


def _step(step: AgentStep, depth: int, items: RunItems) -> str:
    run = items.run
    colour, mark = _COLOURS.get(step.kind, _OTHER_COLOUR), _MARKS.get(step.kind, _OTHER_MARK)
    line = _line(step_title(step, run.started_at_ns, items.names.of(step)))
    title = f'<span style="color:{colour}">{mark}</span> {line}{_bar(step, run, colour)}'
    body = _rows(step_rows(step, full=False))
    return f'<div style="margin-left:{14 * (min(depth, 10) + 1)}px">{_folded(title, body, is_open=False)}</div>'


def _bar(step: AgentStep, run: AgentRun, colour: str) -> str:
    """Return a bar that lies where the step lies in the run; nothing where either has not ended."""
    whole = (run.ended_at_ns or 0) - run.started_at_ns
    if step.ended_at_ns is None or whole <= 0:
        return ""
    left = min(max((step.started_at_ns - run.started_at_ns) / whole, 0), 1)
    width = min(max((step.ended_at_ns - step.started_at_ns) / whole, 0.005), 1 - left)
    place = f"position:absolute;height:3px;left:{100 * left:.2f}%;width:{100 * width:.2f}%;background:{colour}"
    return f'<div style="position:relative;height:3px"><div style="{place}"></div></div>'


def _folded(title: str, body: str, *, is_open: bool) -> str:
    return f"<details{' open' if is_open else ''}><summary>{title}</summary>{body}</details>"


def _pair(pair: SideBySide) -> str:
    sides = f'<td style="{_CELL}">{_line(pair.left)}</td><td style="{_CELL}">{_line((pair.mark,))}</td><td style="{_CELL}">{_line(pair.right)}</td>'
    return (
        f'<table style="border:0;margin-left:{14 * min(pair.depth, 10)}px"><tr>{sides}</tr></table>{_rows(pair.rows)}'
    )


def _table(table: Table) -> str:
    head = "".join(
        f'<th style="{_CELL};opacity:0.7;font-weight:400">{_text(column.title)}</th>' for column in table.columns
    )
    lines = zip(*(column.cells for column in table.columns), strict=True)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in line)}</tr>" for line in lines)
    note = f'<div style="opacity:0.7">… {table.left_out:,} more</div>' if table.left_out else ""
    title = f'<div style="font-weight:600;margin-top:8px">{_text(table.title)}</div>' if table.title else ""
    return f'{title}<table style="border:0"><tr>{head}</tr>{body}</table>{note}'


def _cell(cell: Cell | Line) -> str:
    return f'<td style="{_CELL}">{_line((cell,) if isinstance(cell, Cell) else cell)}</td>'


def _rows(rows: Iterable[Row]) -> str:
    """Return the first labelled texts, each as it is, with its line breaks."""
    found = [*itertools.islice(rows, _MOST_ROWS + 1)]
    lines = [
        f'<tr><td style="{_CELL};opacity:0.7">{_text(row.label)}</td>'
        f'<td style="{_CELL}"><pre style="{_PRE};{_style(row.tone)}">{_text(row.mark + row.text)}</pre></td></tr>'
        for row in found[:_MOST_ROWS]
    ]
    table = f'<table style="border:0">{"".join(lines)}</table>' if lines else ""
    return table + (_LEFT_OUT if len(found) > _MOST_ROWS else "")


def _line(line: Sequence[Cell]) -> str:
    return "".join(map(_span, line))


def _span(cell: Cell) -> str:
    style = _style(cell.tone)
    return f'<span style="{style}">{_text(cell.text)}</span>' if style else _text(cell.text)


def _style(tone: str) -> str:
    return ";".join(style for word in tone.split() if (style := _TONES.get(word)) is not None)


def _text(text: str) -> str:
    """Return a text for HTML: what controls its display escaped, and the end of a long one left out."""
    cut = (
        text
        if len(text) <= _MOST_TEXT_CHARS
        else f"{text[:_MOST_TEXT_CHARS]} … ({len(text) - _MOST_TEXT_CHARS:,} more characters)"
    )
    return escape(escaped(cut))
