"""Go on with the journals of receivers that have ended: the root spans of their traces may come to the next one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.store.dropped_counts import counted_traces
from otel_agent_trace.store.folding import left_open, logs_in
from otel_agent_trace.store.journal_lines import MAX_JOURNAL_BYTES, as_otlp
from otel_agent_trace.store.liveness import RECEIVED, is_owner_alive, owner_of, position_in
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import held, open_regular, take

GoOn = Callable[[Iterable[int], list[SpanRecord], list[LogRecord]], None]


def adopt(files: StoreFiles, go_on: GoOn, write: Callable[[], None]) -> None:
    """Pass on what the journals of dead receivers hold, and remove each of them once that is written.

    Args:
        files: the names of the store.
        go_on: called with the traces that were counted as dropped lately, and with spans and log records.
        write: writes them; OSError if that fails, after which the journal stays.
    """
    go_on([int(trace_id, 16) for trace_id in counted_traces(files)], [], [])
    for path in files.journals():
        with suppress(OSError):
            _adopt(files, path, go_on, write)


def _adopt(files: StoreFiles, path: str, go_on: GoOn, write: Callable[[], None]) -> None:
    with held(open_regular(path, os.O_RDWR)) as descriptor:
        if not take(descriptor) or is_owner_alive(descriptor, lock_is_free=True) is not False:
            return
        if os.fstat(descriptor).st_size > MAX_JOURNAL_BYTES:
            return
        with open(descriptor, "rb", closefd=False) as journal:
            text = journal.read()
        head = text[: text.find(b"\n") + 1]
        if RECEIVED not in owner_of(head):
            return
        content = as_otlp(text)
        logs = [log for line in logs_in(content) for log in otlp_json.decode_logs(line)]
        go_on((), left_open(files, content, position_in(head)), logs)
        write()
        os.unlink(path)
