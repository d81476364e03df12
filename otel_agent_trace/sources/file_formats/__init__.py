"""Define the formats of files with spans, each a `FileFormat`, and choose one by the beginning of a file."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_agent_trace.sources.file_formats.console_output import ConsoleOutput, is_console_output
from otel_agent_trace.sources.file_formats.json_documents import JsonDocuments, is_document
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.file_formats.messages import Messages, detect_lengths
from otel_agent_trace.sources.file_formats.pieces import DamagedError, FileFormat, Found, Pieces

HEAD_BYTES = 64 << 10
"""Number of bytes of a file by which its format is chosen: what a program prints before its first span may be long."""
_FIRST_BYTES = 4096
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1f]")


def file_format_of(head: bytes) -> Callable[[], FileFormat]:
    """Return the format of a file by its beginning, JSON Lines if it is none of the others."""
    first = head[:_FIRST_BYTES]
    read_length = detect_lengths(first) if _BINARY.search(first) else None
    if read_length is not None:
        return lambda: Messages(read_length)
    if is_console_output(head[:HEAD_BYTES]):
        return ConsoleOutput
    return JsonDocuments if is_document(first) else JsonLines


__all__ = ["HEAD_BYTES", "DamagedError", "FileFormat", "Found", "Pieces", "file_format_of"]
