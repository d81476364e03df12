"""Format a run as plain text, for logs and the reports of failed tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from otel_agent_trace.model import AgentRun
from otel_agent_trace.views.escape import escaped
from otel_agent_trace.views.rows import Branch, Cell, Line, Row, Table
from otel_agent_trace.views.runs import ending_rows, fact_rows, question_rows, run_title
from otel_agent_trace.views.tree import SHOWN_STEPS, steps_tree

LABEL_WIDTH = 8
INDENT = 2
_WIDEST_LABEL = 14


def run_text(run: AgentRun, *, full: bool = False) -> str:
    """Return a run as text: see `run_sections`."""
    return "\n\n".join(run_sections(run, full=full))


def run_sections(run: AgentRun, *, full: bool = False, most_steps: int = SHOWN_STEPS) -> list[str]:
    """Return the facts of a run, its question, its steps as a tree, and its answer or error, as far as there are any.

    The text is that of the command ``show``, without colours and not wrapped; control characters are escaped.

    Args:
        run: the run to show.
        full: whether to show every step and every value whole; otherwise long ones end with how much is left out.
        most_steps: the number of steps that are shown without `full`, the first and the last of all.
    """
    sections = (
        [line_text(run_title(run)), *row_lines(fact_rows(run, full=full), LABEL_WIDTH)],
        row_lines(question_rows(run, full=full), LABEL_WIDTH),
        _branch_lines(steps_tree(run, full=full, most_steps=most_steps)),
        row_lines(ending_rows(run, full=full), LABEL_WIDTH),
    )
    texts = ("\n".join(line.rstrip() for line in lines) for lines in sections)
    return [text for text in texts if text]


def line_text(line: Line) -> str:
    """Return the texts of a line joined, with their control characters escaped."""
    return _shown("".join(cell.text for cell in line))


def _shown(text: str) -> str:
    """Return a text escaped, with blanks in place of tabs, whose width differs from one viewer to another."""
    return escaped(text).expandtabs()


def escaped_rows(rows: Iterable[Row]) -> list[Row]:
    """Return rows with their control characters escaped, and with long labels cut."""
    return [row._replace(label=_shortened_label(_shown(row.label)), text=_shown(row.text)) for row in rows]


def label_width(rows: Iterable[Row], least: int = 0) -> int:
    """Return the number of characters of the longest label, and at least `least`."""
    return max([least, *(len(row.label) for row in rows)])


def _shortened_label(label: str) -> str:
    return label if len(label) <= _WIDEST_LABEL else f"{label[: _WIDEST_LABEL - 1]}…"


def table_lines(table: Table) -> Iterator[str]:
    """Yield a table as lines: its titles, and each row, with two blanks between the columns."""
    texts = [[column.title, *(_cell_text(cell) for cell in column.cells)] for column in table.columns]
    widths = [max(map(len, column)) for column in texts]
    for line in zip(*texts, strict=True):
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
    if table.left_out:
        yield f"… {table.left_out:,} more"


def _cell_text(cell: Cell | Line) -> str:
    return line_text((cell,) if isinstance(cell, Cell) else cell)


def row_lines(rows: Iterable[Row], least_label_width: int = 0) -> list[str]:
    """Return rows as lines: a column of labels, and a column of texts, which may have several lines each."""
    shown = escaped_rows(rows)
    width = label_width(shown, least_label_width)
    lines = []
    for row in shown:
        first, *others = row.text.split("\n")
        lines.append(f"{' ' * INDENT}{row.label:{width}}  {row.mark}{first}")
        lines += [f"{' ' * (INDENT + width + 2 + len(row.mark))}{other}" for other in others]
    return lines


def _branch_lines(branch: Branch) -> Iterator[str]:
    yield from line_text(branch.title).split("\n")
    yield from _child_lines(branch.children)


def _child_lines(children: Sequence[Branch]) -> Iterator[str]:
    for child in children:
        is_last = child is children[-1]
        first, rest = ("└── ", "    ") if is_last else ("├── ", "│   ")
        lines = [*line_text(child.title).split("\n"), *row_lines(child.rows)]
        yield first + lines[0]
        yield from (rest + line for line in lines[1:])
        yield from (rest + line for line in _child_lines(child.children))
