"""Render the lines of two sides in two columns, with a mark between them and rows below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import Console
from rich.text import Text

from otel_agent_trace.cli.render import Rows, styled
from otel_agent_trace.views.diff import SideBySide
from otel_agent_trace.views.rows import Line
from otel_agent_trace.views.text import INDENT, LABEL_WIDTH

_GAP = 1
_MARK_WIDTH = 1 + 2 * _GAP
_MOST_OF_A_SIDE = 3
"""Indents take at most one part in so many of a side."""


class Halves:
    """Print pairs of lines in two columns that fit the console: the left one as wide as its widest line, up to a half.

    Args:
        pairs: all pairs that will be printed.
        console: where they are printed.
    """

    def __init__(self, pairs: Sequence[SideBySide], console: Console) -> None:
        self._console = console
        half = (console.width - _MARK_WIDTH) // 2
        self._most_indent = half // _MOST_OF_A_SIDE
        widths = (self._indent(pair) + styled(pair.left).cell_len for pair in pairs)
        self._left_width = min(half, max(widths, default=0))
        self._right_width = console.width - _MARK_WIDTH - self._left_width

    def print(self, pair: SideBySide) -> None:
        """Print a pair, wrapped, and its rows across both columns."""
        indent = self._indent(pair)
        sides = (
            self._wrapped(pair.left, self._left_width - indent),
            self._wrapped(pair.right, self._right_width - indent),
        )
        mark = styled(pair.mark)
        for left, right in zip_longest(*sides, fillvalue=Text()):
            left.pad_left(indent)
            left.pad_right(self._left_width - left.cell_len)
            line = Text().join((left, Text(" " * _GAP), mark, Text(" " * (_GAP + indent)), right))
            line.rstrip()
            self._console.print(line, no_wrap=True, overflow="ignore", crop=False)
            mark = Text(" " * mark.cell_len)
        if pair.rows:
            self._console.print(Rows(pair.rows, indent=indent + INDENT, least_label_width=LABEL_WIDTH))

    def _indent(self, pair: SideBySide) -> int:
        return min(INDENT * pair.depth, self._most_indent)

    def _wrapped(self, line: Line, width: int) -> Iterator[Text]:
        for part in styled(line).wrap(self._console, max(width, 1), overflow="fold"):
            part.rstrip()
            yield part[len(part.plain) - len(part.plain.lstrip(" ")) :]
