"""Set the limits of readings of files, which are too large for tests, in all modules that use them."""

from __future__ import annotations

import pytest

from otel_agent_trace.sources import (
    file_contents,
    file_pieces,
    format_checks,
    located_lines,
    open_files,
    open_traces,
    scanned_files,
)


def set_block_bytes(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Read files in blocks of a size, so that a small one has many."""
    for module in (file_contents, format_checks, open_files, scanned_files):
        monkeypatch.setattr(module, "BLOCK_BYTES", size)


def set_longest_line(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Read no lines, documents or messages of more bytes than a size."""
    for module in (file_pieces, format_checks, located_lines, open_traces, scanned_files):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", size)
