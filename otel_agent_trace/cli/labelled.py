"""Texts behind their labels, each wrapped beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from otel_agent_trace.cli import styles

_LEAST_WIDTH = 16
_WIDEST_LABEL = 14


class Row(NamedTuple):
    """A label and the text behind it, escaped both."""

    label: str
    text: str
    style: str = ""


class Wrapped:
    """A text wrapped behind a margin; a rich renderable that leaves no blanks at the ends of lines."""

    def __init__(self, text: Text, indent: int = 0) -> None:
        self._text, self._indent = text, indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Line by line."""
        width = max(_LEAST_WIDTH, options.max_width - self._indent)
        for line in self._text.wrap(console, width, overflow="fold"):
            line.rstrip()
            yield Text(" " * self._indent).append_text(line)


class Rows:
    """Rows with their texts in one column; a rich renderable that leaves no blanks at the ends of lines.

    Args:
        rows: what to show.
        indent: blanks before each line.
        label_width: of the labels, at least.
    """

    def __init__(self, rows: Iterable[Row], *, indent: int = 0, label_width: int = 0) -> None:
        self.rows = list(rows)
        self._indent = indent
        self._label_width = min(_WIDEST_LABEL, max([label_width, *(len(row.label) for row in self.rows)]))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Line by line."""
        margin = self._indent + self._label_width + 2
        width = max(_LEAST_WIDTH, options.max_width - margin)
        for row in self.rows:
            label = row.label if len(row.label) <= _WIDEST_LABEL else row.label[: _WIDEST_LABEL - 1] + "…"
            for line in Text(row.text, row.style).wrap(console, width, overflow="fold"):
                shown = Text(" " * self._indent)
                shown.append(label.ljust(self._label_width), styles.LABEL).append("  ").append_text(line)
                shown.rstrip()
                yield shown
                label = ""
