"""What a view is made of: cells, rows, tables and branches of text, each with a tone that a renderer turns into looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from otel_agent_trace.model import RunStatus, StepKind

TONES = (
    *("faint", "strong", "id", "failed", "warning", "interrupted"),
    *(status.value for status in RunStatus),
    *(kind.value for kind in StepKind),
)
"""The words of which a tone consists; several are separated by a blank, none means ordinary text."""


class Cell(NamedTuple):
    """A text on one line and its tone."""

    text: str
    tone: str = ""


Line = tuple[Cell, ...]
"""Texts that follow each other on one line; what separates them is part of them."""


class Row(NamedTuple):
    """A label and the text behind it, which may have several lines; without a label it goes on with the row before."""

    label: str
    text: str
    tone: str = ""


class Column(NamedTuple):
    """A column of a table, with a cell or a line for each of its rows.

    Where room is scarce the columns of the highest `rank` are left out first, those of rank 0 never. A cell is cut to
    `max_width` characters.
    """

    title: str
    cells: Sequence[Cell | Line]
    align: Literal["left", "right"] = "right"
    rank: int = 0
    max_width: int = 40


class Table(NamedTuple):
    """Columns of equal length; `left_out` counts the rows that are not shown.

    With `last_width` the last column has at least so many characters and takes all that the others leave; without it
    the last column is as wide as its cells.
    """

    columns: Sequence[Column]
    title: str = ""
    last_width: int = 0
    left_out: int = 0


class Branch(NamedTuple):
    """A node of a tree: its title, its rows and what hangs under it; `left_out` counts what it stands for, if shown short."""

    title: Line
    rows: Sequence[Row]
    children: list[Branch]
    left_out: int = 0


def cells(texts: Iterable[str], tone: str = "") -> list[Cell]:
    """Return a cell of one tone for each text."""
    return [Cell(text, tone) for text in texts]
