"""The ways in which spans lie in files: a `FileFormat` each, chosen by how a file begins."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_agent_trace.sources.file_formats.json_documents import JsonDocuments, is_document
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.file_formats.messages import Messages, lengths_in
from otel_agent_trace.sources.file_formats.pieces import DamagedError, FileFormat, Found, Pieces

HEAD_BYTES = 4096
"""What is looked at."""
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1f]")


def file_format_of(head: bytes) -> Callable[[], FileFormat]:
    """What reads a file that begins so; JSON Lines where nothing else is known of it."""
    head = head[:HEAD_BYTES]
    if not _NO_TEXT.search(head):
        return JsonDocuments if is_document(head) else JsonLines
    read_length = lengths_in(head)
    return JsonLines if read_length is None else lambda: Messages(read_length)


__all__ = ["HEAD_BYTES", "DamagedError", "FileFormat", "Found", "Pieces", "file_format_of"]
