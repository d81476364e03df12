"""Put content that stands in the media folder of a store back into the spans that are read from it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable

from otel_agent_trace import semconv
from otel_agent_trace.span import Notice, Problem, SpanRecord
from otel_agent_trace.store.media import MediaFolder
from otel_agent_trace.store.media_parts import Inside
from otel_agent_trace.store.names import store_of

MEDIA_MARK = semconv.MEDIA.encode()
"""Bytes without which no span has content in a folder."""


class StoredMedia:
    """Remember which files the spans with such content come from, by trace, until the trace is complete."""

    def __init__(self, on_problem: Callable[[Problem], None]) -> None:
        self._on_problem = on_problem
        self._files: defaultdict[str, set[str]] = defaultdict(set)
        self._reported: set[str] = set()

    def note(self, spans: Iterable[SpanRecord], file: str) -> None:
        """Note the file that some spans come from."""
        for span in spans:
            self._files[span.trace_id].add(file)

    def inside(self, trace_id: str, spans: list[SpanRecord]) -> list[SpanRecord]:
        """Return the spans of a trace with their content; a part without its content is named as missing, and reported."""
        files = self._files.pop(trace_id, None)
        if files is None:
            return spans
        folders = {
            store_of(os.path.realpath(file)).media_folder: MediaFolder(store_of(os.path.realpath(file)))
            for file in sorted(files)
        }

        def on_missing(name: str, reason: str, is_damaged: bool) -> None:
            first = next(iter(folders))
            if is_damaged:
                self._report(Problem(os.path.join(first, name), 0, f"{reason}; its part is named as damaged"))
            else:
                self._report(Notice(first, 0, f"content of spans is {reason}; its parts are named as missing"))

        return Inside(folders.values(), on_missing).records(spans)

    def _report(self, problem: Problem) -> None:
        """Report a problem once."""
        if str(problem) not in self._reported:
            self._reported.add(str(problem))
            self._on_problem(problem)
