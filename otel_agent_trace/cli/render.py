"""Render the lines, rows, tables and trees of the views with rich, and escape their texts for the terminal, here only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text
from rich.tree import Tree

from otel_agent_trace.cli.streams import UNLIMITED
from otel_agent_trace.views.escape import escaped
from otel_agent_trace.views.rows import Branch, Cell, Column, Line, Row, Table
from otel_agent_trace.views.text import INDENT, escaped_rows, label_width

_LEAST_WIDTH = 16
_GAP = 2
_FAINT = "dim"
STYLES = {
    "faint": _FAINT,
    "strong": "bold",
    "id": "yellow",
    "failed": "red",
    "warning": "yellow",
    "success": "green",
    "error": "bold red",
    "timeout": "bold yellow",
    "running": "cyan",
    "paused": "yellow",
    "interrupted": "bold yellow",
    "tool": "cyan",
    "model": "magenta",
    "agent": "bold blue",
    "retrieval": "green",
    "other": "default",
}
"""Word of a tone (`views.rows.TONES`) → style of rich."""


def styled(line: Cell | Line) -> Text:
    """Return a cell or a line as an escaped text in its style."""
    if isinstance(line, Cell):
        return Text(escaped(line.text), style_of(line.tone))
    return Text().join(styled(cell) for cell in line)


def style_of(tone: str) -> str:
    """Return the style of rich for a tone, which is one or more words of `views.rows.TONES`."""
    return " ".join(STYLES[word] for word in tone.split())


class Wrapped:
    """Render a line wrapped behind a margin, without trailing blanks."""

    def __init__(self, line: Line, indent: int = 0) -> None:
        self._text, self._indent = styled(line), indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield line by line."""
        width = max(_LEAST_WIDTH, options.max_width - self._indent)
        for line in self._text.wrap(console, width, overflow="fold"):
            line.rstrip()
            yield Text(" " * self._indent).append_text(line)


class Rows:
    """Render rows as a column of labels and a column of wrapped texts, without trailing blanks.

    Args:
        rows: the rows to render.
        indent: the number of blanks before each line.
        least_label_width: the least width of the labels in characters.
    """

    def __init__(self, rows: Iterable[Row], *, indent: int = INDENT, least_label_width: int = 0) -> None:
        self._rows = escaped_rows(rows)
        self._indent = indent
        self._label_width = label_width(self._rows, least_label_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield line by line."""
        margin = self._indent + self._label_width + _GAP
        for row in self._rows:
            label, mark = row.label, row.mark
            width = max(_LEAST_WIDTH, options.max_width - margin - len(mark))
            for line in Text(row.text, style_of(row.tone)).wrap(console, width, overflow="fold"):
                shown = Text(" " * self._indent)
                shown.append(label.ljust(self._label_width), _FAINT).append(" " * _GAP)
                shown.append(mark, style_of(row.tone)).append_text(line)
                shown.rstrip()
                yield shown
                label, mark = "", " " * len(mark)


def print_table(table: Table, console: Console, *, indent: int = 0) -> None:
    """Print a table without rules, whole if the width is unlimited; else narrowed, and then with fewer columns, to fit."""
    columns, gap = [_Column(column) for column in table.columns], _GAP
    if console.width >= UNLIMITED:
        for column in columns:
            column.width = column.whole_width
    else:
        columns, gap = _fitting(columns, console.width - indent, table.last_width)
    for index in range(len(columns[-1].texts)):
        console.print(_table_line(columns, index, indent, gap), no_wrap=True, overflow="ellipsis", crop=True)


def rich_tree(branch: Branch) -> Tree:
    """Return a branch and all below it as a tree of rich."""
    root = Tree(styled(branch.title), guide_style=_FAINT)
    _add_children(root, branch)
    return root


class _Column:
    """Hold the escaped title and cells of a column, and its width: that of its widest text, up to its limit."""

    def __init__(self, column: Column) -> None:
        self.align, self.rank = column.align, column.rank
        self.texts = [styled(Cell(column.title, "faint")), *map(styled, column.cells)]
        self.whole_width = max(text.cell_len for text in self.texts)
        self.width = self._widest = min(column.max_width, self.whole_width)
        self._least = self._widest if column.least_width is None else min(self._widest, column.least_width)

    def reset(self) -> None:
        """Give the column its full width again."""
        self.width = self._widest

    def can_shrink(self) -> bool:
        """Return whether the column may be narrower."""
        return self.width > self._least


def _table_line(columns: Sequence[_Column], index: int, indent: int, gap: int) -> Text:
    line = Text(" " * indent)
    for column in columns:
        cell = column.texts[index]
        cell.truncate(column.width, overflow="ellipsis")
        cell.align(column.align, column.width)
        line.append_text(cell).append(" " * gap)
    line.rstrip()
    return line


def _fitting(columns: list[_Column], width: int, last_width: int) -> tuple[list[_Column], int]:
    """Return the columns that fit into `width` characters, narrowed as needed, and the gap between them.

    The last column gets `last_width` characters, if not 0, fewer where it may shrink, and all that are left over.
    """
    kept = list(columns)
    while True:
        gap = next((gap for gap in (_GAP, 1) if _narrowed(kept, width, gap, last_width)), _GAP)
        least = max(kept, key=lambda column: column.rank)
        if _room_left(kept, width, gap) >= 0 or least.rank == 0:
            break
        kept.remove(least)
    if last_width:
        kept[-1].width = max(1, kept[-1].width + _room_left(kept, width, gap))
    return kept, gap


def _narrowed(columns: Sequence[_Column], width: int, gap: int, last_width: int) -> bool:
    """Narrow columns, the widest first, and return whether they fit then."""
    for column in columns:
        column.reset()
    if last_width:
        columns[-1].width = last_width
    while _room_left(columns, width, gap) < 0:
        wide = [column for column in columns if column.can_shrink()]
        if not wide:
            return False
        max(wide, key=lambda column: column.width).width -= 1
    return True


def _room_left(columns: Sequence[_Column], width: int, gap: int) -> int:
    return width - sum(column.width for column in columns) - gap * (len(columns) - 1)


def _add_children(tree: Tree, branch: Branch) -> None:
    for child in branch.children:
        title = child.title
        if child.left_out:
            title = (*title, Cell(" (--full shows them)", "faint"))
        parts: list[Wrapped | Rows] = [Wrapped(title)]
        if child.rows:
            parts.append(Rows(child.rows))
        _add_children(tree.add(Group(*parts)), child)
