"""Keep the spans of a replay in memory, those of all its processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from otel_agent_trace.backends import InMemoryBackend
from otel_agent_trace.formats import otlp_json_encoding
from otel_agent_trace.pipeline import PipelineSpan
from otel_agent_trace.replay.notes import append
from otel_agent_trace.span import LogRecord, SpanRecord

if TYPE_CHECKING:
    from otel_agent_trace.replay.folders import ReplayFolder


class ReplaySpans(InMemoryBackend):
    """Keep spans in memory in the process that has begun a replay; others write theirs into its folder, for that.

    Args:
        folder: the folder of the replay, None for a replay of one process.
    """

    def __init__(self, folder: ReplayFolder | None = None) -> None:
        super().__init__()
        self._folder = folder
        self._received: list[SpanRecord] = []

    def on_end(self, span: PipelineSpan) -> None:
        """Keep a span that has ended, or write it into the folder."""
        if self._folder is None or self._folder.is_owner:
            super().on_end(span)
            return
        self.on_discard(span)
        record = span.record
        head, tail = otlp_json_encoding.frame(record.resource, record.scope)
        line = b"%b%b%b\n" % (head, otlp_json_encoding.encode_span(record), tail)
        append(self._folder.spans_file, line)

    def on_log(self, log: LogRecord) -> None:
        """Keep a log record, or write it into the folder."""
        if self._folder is None or self._folder.is_owner:
            super().on_log(log)
        else:
            append(self._folder.spans_file, otlp_json_encoding.encode_log(log) + b"\n")

    def receive(self) -> None:
        """Read what other processes have written into the folder, which is removed at the end of the replay."""
        if self._folder is not None and self._folder.is_owner and self._folder.exists():
            self._received = self._folder.spans()

    def _by_trace(self) -> Iterable[list[SpanRecord]]:
        self.receive()
        yield from super()._by_trace()
        yield self._received
