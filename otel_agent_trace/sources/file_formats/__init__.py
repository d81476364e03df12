"""Define the formats of files with spans, each a `FileFormat`, and choose one by the beginning of a file."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_agent_trace.sources.file_formats.json_documents import JsonDocuments, is_document
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.file_formats.messages import Messages, detect_lengths
from otel_agent_trace.sources.file_formats.pieces import DamagedError, FileFormat, Found, Pieces

HEAD_BYTES = 4096
"""Number of bytes of a file by which its format is chosen."""
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1f]")


def file_format_of(head: bytes) -> Callable[[], FileFormat]:
    """Return the format of a file by its beginning, JSON Lines if it is none of the others."""
    head = head[:HEAD_BYTES]
    if not _BINARY.search(head):
        return JsonDocuments if is_document(head) else JsonLines
    read_length = detect_lengths(head)
    return JsonLines if read_length is None else lambda: Messages(read_length)


__all__ = ["HEAD_BYTES", "DamagedError", "FileFormat", "Found", "Pieces", "file_format_of"]
