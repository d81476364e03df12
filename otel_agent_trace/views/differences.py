"""Describe how two values differ: the lines of their texts, or of their JSON, as a unified diff."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from otel_agent_trace.model import AgentRun, Message, StepError, Usage
from otel_agent_trace.replay.alignment import in_order
from otel_agent_trace.replay.comparison import Difference, as_data
from otel_agent_trace.values import encode
from otel_agent_trace.views.figures import usage_text
from otel_agent_trace.views.rows import Row
from otel_agent_trace.views.values_text import compact, message_text, one_line, shared_length

LABELS = {
    "user_input": "question",
    "final_output": "answer",
    "input": "in",
    "output": "out",
    "input_after": "in after",
    "usage": "tokens",
    "interrupted_for": "paused for",
    "prompt_name": "prompt",
    "prompt_version": "version",
    "agent_name": "agent",
    "run": "sub-agent",
}
"""Field of a difference → what views call it, where that is another word."""
_CONTEXT_LINES = 2
_SHOWN_LINES = 30
_ONE_LINE_CHARS = 60
_LINE_CHARS, _AROUND_CHARS = 160, 30
_TONES = {"-": "failed", "+": "success", " ": "faint"}
_ELLIPSIS = "…"


class _Edit(NamedTuple):
    """Hold a line that only the first text has (``-``), only the second (``+``), or both (blank)."""

    sign: str
    text: str


def difference_rows(difference: Difference, *, full: bool) -> Iterator[Row]:
    """Yield rows of a unified diff of two values; without `full` long lines are cut around what differs, and many lines."""
    a, b = _differing_lines(difference.a, difference.b)
    edits = list(_edits(a, b))
    rows = _rows(edits if full else _focused(_near_changes(edits)))
    yield from _labelled(LABELS.get(difference.field, difference.field), rows, full=full)


def value_rows(label: str, value: Any, sign: str, tone: str, *, full: bool) -> Iterator[Row]:
    """Yield rows of a value that only one of two runs has; `sign` stands before each line."""
    lines = _readable_lines(value)
    shown = lines if full else [_beginning(line) for line in lines]
    yield from _labelled(label, [Row("", line, tone, f"{sign} ") for line in shown], full=full)


def _labelled(label: str, rows: Sequence[Row], *, full: bool) -> Iterator[Row]:
    shown = rows if full else rows[:_SHOWN_LINES]
    for number, row in enumerate(shown):
        yield row if number else row._replace(label=label)
    if len(shown) < len(rows):
        yield Row("", f"{_ELLIPSIS} ({len(rows) - len(shown):,} more lines; --full shows them)", "faint")


def _rows(edits: Sequence[_Edit]) -> list[Row]:
    return [Row("", edit.text, _TONES[edit.sign], f"{edit.sign} ") for edit in edits]


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _differing_lines(a: Any, b: Any) -> tuple[list[str], list[str]]:
    """Return the lines of two values: as people read them, or if these do not differ, as JSON, or with their types."""
    a_lines, b_lines = _readable_lines(a), _readable_lines(b)
    if a_lines == b_lines:
        a_lines, b_lines = _json_lines(a), _json_lines(b)
    if a_lines == b_lines:
        a_lines, b_lines = [_type_text(a), *a_lines], [_type_text(b), *b_lines]
    return a_lines, b_lines


def _readable_lines(value: Any) -> list[str]:
    """Return the lines of a text, of messages, an error or tokens, and of anything else the lines of its JSON."""
    if value is None:
        return []
    if isinstance(value, str):
        return value.replace("\r\n", "\n").split("\n")
    if isinstance(value, Usage):
        return [usage_text(value)]
    if isinstance(value, StepError):
        return str(value).split("\n")
    if isinstance(value, AgentRun):
        return [f"a run with {len(value.steps):,} steps"]
    if isinstance(value, tuple) and value and all(isinstance(item, Message) for item in value):
        return [line for message in value for line in _message_lines(message)]
    return _indented(compact(value))


def _message_lines(message: Message) -> list[str]:
    first, *others = message_text(message).split("\n")
    return [f"{one_line(message.role)}: {first}", *(f"  {line}" for line in others)]


def _json_lines(value: Any) -> list[str]:
    return _indented(json.dumps(encode(as_data(value)).data, ensure_ascii=False))


def _indented(text: str) -> list[str]:
    """Return a JSON text as one line if it is short, else one item a line."""
    if len(text) <= _ONE_LINE_CHARS:
        return [text]
    return json.dumps(json.loads(text), ensure_ascii=False, indent=2).split("\n")


def _type_text(value: Any) -> str:
    tag = encode(as_data(value)).tag
    return (
        f"({type(value).__name__})" if tag is None else f"({type(value).__name__}: {json.dumps(tag, sort_keys=True)})"
    )


# ── edits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _edits(a: Sequence[str], b: Sequence[str]) -> Iterator[_Edit]:
    """Yield the lines of both texts in order, those that only the first has before those that only the second has."""
    i = j = 0
    for next_i, next_j in (*in_order(a, b), (len(a), len(b))):
        yield from (_Edit("-", line) for line in a[i:next_i])
        yield from (_Edit("+", line) for line in b[j:next_j])
        yield from (_Edit(" ", line) for line in a[next_i : next_i + 1])
        i, j = next_i + 1, next_j + 1


def _near_changes(edits: Sequence[_Edit]) -> list[_Edit]:
    """Return the changes with two lines around each, and an ellipsis in place of each part that is left out."""
    changed = [index for index, edit in enumerate(edits) if edit.sign != " "]
    near = {index + step for index in changed for step in range(-_CONTEXT_LINES, _CONTEXT_LINES + 1)}
    kept: list[_Edit] = []
    for index, edit in enumerate(edits):
        if index in near:
            kept.append(edit)
        elif not kept or kept[-1].text != _ELLIPSIS:
            kept.append(_Edit(" ", _ELLIPSIS))
    return kept


def _focused(edits: Sequence[_Edit]) -> list[_Edit]:
    """Return edits with long lines cut: as many lines as replace others around what differs, any other at its end."""
    groups = [list(group) for _, group in groupby(edits, key=lambda edit: edit.sign)]
    for old, new in pairwise(groups):
        if (old[0].sign, new[0].sign, len(old)) == ("-", "+", len(new)):
            texts = [_around_change(one.text, other.text) for one, other in zip(old, new, strict=True)]
            old[:] = [_Edit("-", text) for text, _ in texts]
            new[:] = [_Edit("+", text) for _, text in texts]
    return [_Edit(edit.sign, _beginning(edit.text)) for group in groups for edit in group]


def _around_change(old: str, new: str) -> tuple[str, str]:
    """Return two lines without most of what both begin and end with, if one of them is long."""
    if max(len(old), len(new)) <= _LINE_CHARS:
        return old, new
    start = shared_length(old, new)
    end = shared_length(old[start:][::-1], new[start:][::-1])
    first, last = max(0, start - _AROUND_CHARS), max(0, end - _AROUND_CHARS)
    return _part(old, first, last), _part(new, first, last)


def _part(line: str, first: int, last: int) -> str:
    kept = line[first : len(line) - last]
    return f"{_ELLIPSIS if first else ''}{kept}{_ELLIPSIS if last else ''}"


def _beginning(line: str) -> str:
    return line if len(line) <= _LINE_CHARS else f"{line[: _LINE_CHARS - 1]}{_ELLIPSIS}"
