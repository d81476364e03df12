"""Read JSON documents of many lines, one or more in a file."""

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
_KNOWN_KEY = re.compile(
    rb'"(?:(?:resource|scope)_?(?:[sS]pans|[lL]ogs|[mM]etrics)|instrumentation_?[lL]ibrary_?(?:[sS]pans|[lL]ogs)|operationName)"\s*:'
)
_BEGINNING = re.compile(rb'[\[{]\s*(?:["\[{\]}]|$)')
_ENDINGS, _CONTINUATIONS, _UNFINISHED_ENDINGS = (b"}", b"]"), (b"}", b"]", b","), (b"[", b",", b":")


def is_document(head: bytes) -> bool:
    """Return whether a text that begins so is a document of several lines, rather than a line that was cut off."""
    return bool(_OPENING.match(head) or _UNFINISHED.match(head))


class JsonDocuments(JsonLines):
    """Read JSON texts of many lines; a `FileFormat`."""

    piece_name = "document"

    def __init__(self) -> None:
        super().__init__()
        self._decode, self.read = self.read, self._read_spans_only

    @staticmethod
    def splitter() -> DocumentSplitter:
        """Return the object that finds the beginnings of documents in one file."""
        return DocumentSplitter()

    def fits(self, head: bytes) -> bool:
        """Return whether the beginning has a key of traces, as the document may be longer, or a document that can be read."""
        if _KNOWN_KEY.search(head) is not None:
            return True
        pieces = type(self)().pieces(iter((head,)), len(head), len(head))
        return any(self._is_readable(document) for found in pieces for document in found.pieces if document)

    def pieces(self, blocks: Iterator[bytes], size: int, max_bytes: int) -> Iterator[Pieces]:
        """Yield the documents of the first `size` bytes.

        A document begins with a line that opens an object or list after a line that closes one: within a document there
        would be a comma between them. Text between two documents is a piece of its own.
        """
        current = _PartialDocument(1, max_bytes)
        splitter = self.splitter()
        for lines, numbers, position in super().pieces(blocks, size, max_bytes):
            first = numbers[0]
            begins = [*splitter.first_lines(lines), len(lines)]
            complete: list[_PartialDocument] = []
            current.add(lines[: begins[0]])
            for begin, end in pairwise(begins):
                if current.size:
                    complete.append(current)
                current = _PartialDocument(first + begin, max_bytes)
                current.add(lines[begin:end])
            if complete:
                texts, first_lines = [each.text() for each in complete], [each.number for each in complete]
                yield Pieces(texts, first_lines, position - current.size)
        if current.size:
            yield Pieces([current.text()], [current.number], position)

    def _read_spans_only(self, document: bytes) -> list[SpanRecord]:
        """Return the spans of a document, or none if it holds log records too, which `read_unusual` reads with them."""
        return [] if LOGS_KEY in document else self._decode(document)


class _PartialDocument:
    """Collect the lines of a document; `number` is the number of its first line, `size` its bytes so far."""

    def __init__(self, number: int, max_bytes: int) -> None:
        self.number = number
        self.size = 0
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []

    def add(self, lines: Sequence[bytes | None]) -> None:
        """Append lines; a line that is too long (None) makes the document too long."""
        self.size += sum(self._max_bytes + 2 if line is None else len(line) + 1 for line in lines)
        if self.size <= self._max_bytes + 1:
            self._parts.append(b"\n".join(line for line in lines if line is not None))

    def text(self) -> bytes | None:
        """Return the document, or None if it is too long."""
        return b"\n".join(self._parts) if self.size <= self._max_bytes + 1 else None


class DocumentSplitter:
    """Find the lines with which documents, and pieces of other text between them, begin."""

    beginning = _BEGINNING
    """Pattern of the first line of a document, from its first character on."""

    def __init__(self) -> None:
        self._last_line = b""
        self._is_in_document = self._is_indented = self._is_first_line = False

    def first_lines(self, lines: Sequence[bytes | None]) -> list[int]:
        """Return the indices of such lines among the next lines of a file."""
        begins = []
        for at, line in enumerate(lines):
            if line is None or not line.strip():
                continue
            if self._begins_piece(line):
                begins.append(at)
                self._is_first_line, self._is_indented = True, False
            elif self._is_first_line:
                self._is_first_line, self._is_indented = False, line[:1].isspace()
            self._last_line = line.rstrip()
        return begins

    def _begins_piece(self, line: bytes) -> bool:
        begins_document = self.beginning.match(line) is not None
        if not self._is_in_document:
            self._is_in_document = begins_document
            return begins_document
        if line.lstrip().startswith(_CONTINUATIONS):
            return False
        if self._last_line.endswith(_ENDINGS):
            self._is_in_document = begins_document
            return True
        # A program that was killed leaves a document without its end, to which the next one appends another.
        is_last_indented = self._is_indented and self._last_line[:1].isspace()
        return begins_document and (is_last_indented or not self._last_line.endswith(_UNFINISHED_ENDINGS))
