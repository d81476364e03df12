"""Define the parts of a view: cells, rows, tables and branches of text, each with a tone that a renderer styles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from otel_agent_trace.model import RunStatus, StepKind

TONES = (
    *("faint", "strong", "id", "failed", "warning", "paused", "interrupted"),
    *(status.value for status in RunStatus),
    *(kind.value for kind in StepKind),
)
"""Words of which a tone consists; several are separated by a blank, and an empty tone is ordinary text."""


class Cell(NamedTuple):
    """Hold a text on one line and its tone."""

    text: str
    tone: str = ""


Line = tuple[Cell, ...]
"""Texts that follow each other on one line, with their separators among them."""


class Row(NamedTuple):
    """Hold a label and its text, which may have several lines; an empty label continues the row before.

    `mark` stands before the text, whose further lines are indented by its width.
    """

    label: str
    text: str
    tone: str = ""
    mark: str = ""


class Column(NamedTuple):
    """Hold a column of a table, with a cell or a line for each row.

    A cell is cut to `max_width` characters. Where room is scarce, columns are narrowed to `least_width` (None: not at
    all); if that is not enough, those of the highest `rank` are left out first, those of rank 0 never.
    """

    title: str
    cells: Sequence[Cell | Line]
    align: Literal["left", "right"] = "right"
    rank: int = 0
    max_width: int = 40
    least_width: int | None = None


class Table(NamedTuple):
    """Hold columns of equal length; `left_out` counts the rows that are not in them, and a `note` stands below them.

    With `last_width` the last column has at least so many characters and takes all that the others leave; without it
    the last column is as wide as its cells.
    """

    columns: Sequence[Column]
    title: str = ""
    last_width: int = 0
    left_out: int = 0
    note: str = ""

    def head(self, most_rows: int) -> Table:
        """Return the table with its first rows only, and the others counted as left out."""
        columns = [column._replace(cells=column.cells[:most_rows]) for column in self.columns]
        rows = max((len(column.cells) for column in self.columns), default=0)
        return self._replace(columns=columns, left_out=self.left_out + max(rows - most_rows, 0))


class Section(NamedTuple):
    """Hold a title, which may be empty, and the rows below it; one that is not `is_open` may show its title only."""

    title: Line
    rows: Sequence[Row] = ()
    is_open: bool = True


class Branch(NamedTuple):
    """Hold a node of a tree: its title, rows and children; `left_out` counts the steps that it replaces, if any."""

    title: Line
    rows: Sequence[Row]
    children: list[Branch]
    left_out: int = 0


def cells(texts: Iterable[str], tone: str = "") -> list[Cell]:
    """Return a cell of one tone for each text."""
    return [Cell(text, tone) for text in texts]
