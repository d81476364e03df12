"""Read the output of a program whose exporters print spans and log records, among whatever else the program prints."""

from __future__ import annotations

import re

from otel_agent_trace.formats import console_json
from otel_agent_trace.sources.file_formats.json_documents import DocumentSplitter, JsonDocuments
from otel_agent_trace.sources.file_formats.pieces import Found

# Java's OtlpJsonLoggingSpanExporter writes an object a line through the program's logger; a document may be among text.
_AMONG_TEXT = re.compile(
    rb'(?!\s*(?:\{|\[\s*[\[{"\]]))(?:.*\n)*?[^{"\n]*\{\s*"(?:resource|resource(?:Spans|Logs)|batches)"\s*:'
)
_RESOURCE_OBJECT = re.compile(rb"^\{\"resource\"\s*:\s*\{[^\n]*\"scope(?:Spans|Logs)\"", re.MULTILINE)
_CONTENT = re.compile(rb'"(?:scopeSpans|scopeLogs|resourceSpans|resourceLogs)"')


def is_console_output(head: bytes) -> bool:
    """Return whether a text that begins so is the output of an exporter for the console or a logger."""
    return console_json.is_printed(head) or bool(_AMONG_TEXT.match(head) or _RESOURCE_OBJECT.search(head))


class _Splitter(DocumentSplitter):
    beginning = re.compile(
        rb'[\[{]\s*(?:["\[{\]}]|$)'
        rb'|(?=\S)[^{"]*[^\w{"]\{(?:$|\s*"(?:resource|resource(?:Spans|Logs)|name|Name|body|Timestamp|ObservedTimestamp)"\s*:)'
    )
    """Documents may follow text on the same line: a prompt, or what a logger writes before a message."""


class ConsoleOutput(JsonDocuments):
    """Read JSON texts among other text; a `FileFormat`."""

    piece_name = "document or text"

    def __init__(self) -> None:
        super().__init__()
        self._has_noticed_text = False

    @staticmethod
    def splitter() -> DocumentSplitter:
        """Return the object that finds the beginnings of documents in one file."""
        return _Splitter()

    def fits(self, head: bytes) -> bool:
        """Return True, since the format is chosen only for a file with such documents."""
        return True

    def read_unusual(self, text: bytes, refusal: Exception | None) -> Found:
        """Return the content of a document; what is none is passed over, which is reported once."""
        document = text if DocumentSplitter.beginning.match(text) else text[text.find(b"{") :]
        if _CONTENT.search(document) or console_json.is_printed(document):
            return super().read_unusual(document, refusal)
        if self._has_noticed_text or not text.strip():
            return Found()
        self._has_noticed_text = True
        return Found(notice="this is neither a span nor a log record; it is passed over, as is other such text below")
