"""Tables without lines that fit the terminal: where it is narrow, the columns that tell least are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from otel_agent_trace.cli import styles

_GAP = 2


class Column(NamedTuple):
    """A column and what stands in it, row by row; `rank` is when it is left out (the highest first, 0 never)."""

    title: str
    cells: Sequence[Text]
    right: bool = True
    rank: int = 0
    max_width: int = 40

    @property
    def width(self) -> int:
        """What the widest cell takes, within the limit."""
        return min(self.max_width, max(text.cell_len for text in (Text(self.title), *self.cells)))


def print_columns(columns: Sequence[Column], console: Console, *, room: int = 0, indent: int = 0) -> None:
    """The table; with `room` the last column gets so much of the width, or all that the others leave it."""
    width = console.width - indent
    kept = _fitting(columns, width, room)
    widths = [column.width for column in kept]
    if room:
        widths[-1] = max(1, width - sum(one + _GAP for one in widths[:-1]))
    lines = [[Text(column.title, styles.LABEL) for column in kept]]
    lines += [[column.cells[index] for column in kept] for index in range(len(kept[-1].cells))]
    for texts in lines:
        console.print(_line(kept, widths, texts, indent), no_wrap=True, overflow="ellipsis", crop=True)


def _line(columns: Sequence[Column], widths: Sequence[int], texts: Sequence[Text], indent: int) -> Text:
    line = Text(" " * indent)
    for column, width, text in zip(columns, widths, texts, strict=True):
        cell = text.copy()
        cell.truncate(width, overflow="ellipsis")
        cell.align("right" if column.right else "left", width)
        line.append_text(cell).append(" " * _GAP)
    line.rstrip()
    return line


def _fitting(columns: Sequence[Column], width: int, room: int) -> list[Column]:
    """The columns that fit, when the last is as wide as it is, or as `room` says."""
    kept = list(columns)
    while _total_width(kept, room) > width:
        least = max(kept, key=lambda column: column.rank)
        if least.rank == 0:
            break
        kept.remove(least)
    return kept


def _total_width(columns: Sequence[Column], room: int) -> int:
    *others, last = columns
    return sum(column.width + _GAP for column in others) + (room or last.width)
