"""The ways in which spans lie in files: a `Carrier` each, chosen by how a file begins."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_agent_trace.sources.carriers.json_documents import JsonDocuments, is_document
from otel_agent_trace.sources.carriers.json_lines import JsonLines
from otel_agent_trace.sources.carriers.messages import Messages, lengths_in
from otel_agent_trace.sources.carriers.pieces import Carrier, DamagedError, Found, Pieces

HEAD_BYTES = 4096
"""What is looked at."""
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1f]")


def carrier_of(head: bytes) -> Callable[[], Carrier]:
    """What reads a file that begins so; JSON Lines where nothing else is known of it."""
    head = head[:HEAD_BYTES]
    if not _NO_TEXT.search(head):
        return JsonDocuments if is_document(head) else JsonLines
    read_length = lengths_in(head)
    return JsonLines if read_length is None else lambda: Messages(read_length)


__all__ = ["HEAD_BYTES", "Carrier", "DamagedError", "Found", "Pieces", "carrier_of"]
