"""JSON documents over many lines, one or more in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.file_formats.json_texts import LOGS_KEY
from otel_agent_trace.sources.file_formats.pieces import Pieces
from otel_agent_trace.span import SpanRecord

_OPENING = re.compile(rb"\s*[\[{][\s\[{]*\n")
_UNFINISHED = re.compile(rb"\s*[\[{][^\n]*[\[{,][ \t\r]*\n[ \t]")
_KNOWN_KEY = re.compile(rb'"(?:resource_?(?:[sS]pans|[lL]ogs|[mM]etrics)|traceID)"\s*:')
_BEGINNINGS, _ENDINGS = (b"{", b"["), (b"}", b"]")


def is_document(head: bytes) -> bool:
    """Whether a text that begins so goes on below its first line, and is not only torn there."""
    return bool(_OPENING.match(head) or _UNFINISHED.match(head))


class JsonDocuments(JsonLines):
    """A `FileFormat` of JSON texts over many lines."""

    what = "document"

    def __init__(self) -> None:
        super().__init__()
        self._decode, self.read = self.read, self._spans_alone

    def fits(self, head: bytes) -> bool:
        """Whether there is a key in it that only traces have; a document may be longer than its beginning."""
        return _KNOWN_KEY.search(head) is not None or super().fits(head)

    def pieces(self, blocks: Iterator[bytes], size: int, max_bytes: int) -> Iterator[Pieces]:
        """The documents: one begins where a line does so after one that ended, between which else a comma would stand."""
        begun = _Begun(1, max_bytes)
        for lines, numbers, position in super().pieces(blocks, size, max_bytes):
            first = numbers[0]
            begins = [*_begins(lines, begun.last_line), len(lines)]
            ended: list[_Begun] = []
            begun.add(lines[: begins[0]])
            for begin, end in pairwise(begins):
                ended.append(begun)
                begun = _Begun(first + begin, max_bytes)
                begun.add(lines[begin:end])
            if ended:
                yield Pieces([each.text() for each in ended], [each.number for each in ended], position - begun.size)
        if begun.size:
            yield Pieces([begun.text()], [begun.number], position)

    def _spans_alone(self, document: bytes) -> list[SpanRecord]:
        """The spans of a document that holds nothing else."""
        return [] if LOGS_KEY in document else self._decode(document)


class _Begun:
    """A document as far as it has been read; `number` is its first line, `size` its bytes so far."""

    def __init__(self, number: int, max_bytes: int) -> None:
        self.number = number
        self.size = 0
        self.last_line = b""
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []

    def add(self, lines: Sequence[bytes | None]) -> None:
        """Put lines to its end; one that is too long makes it too long as well."""
        self.size += sum(self._max_bytes + 2 if line is None else len(line) + 1 for line in lines)
        known = [line for line in lines if line is not None]
        self.last_line = next((line for line in reversed(known) if line.strip()), self.last_line)
        if self.size <= self._max_bytes + 1:
            self._parts.append(b"\n".join(known))

    def text(self) -> bytes | None:
        """All of it, or None where it is too long."""
        return b"\n".join(self._parts) if self.size <= self._max_bytes + 1 else None


def _begins(lines: Sequence[bytes | None], last_line: bytes) -> list[int]:
    """Which of the lines begin a document; `last_line` is what came before them."""
    begins = []
    for at, line in enumerate(lines):
        if line is None or not line.strip():
            continue
        if line[:1] in _BEGINNINGS and last_line.rstrip()[-1:] in _ENDINGS:
            begins.append(at)
        last_line = line
    return begins
