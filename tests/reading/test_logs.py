"""Log records become events of their spans, wherever they lie, in whatever order and file_format."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import load_runs, open_source
from otel_agent_trace.sources import SeveralSources
from otel_agent_trace.span import Event, Problem, SpanRecord
from tests.support.file_formats import COMPRESSIONS, FILE_FORMATS, Messages, logs, traces
from tests.support.reading_limits import set_block_bytes
from tests.support.sample_runs import BEGAN_NS, Problems, fail_on_problem

Write = Callable[..., Path]
TRACES, SPANS_EACH = 6, 2
SPANS = [
    SpanRecord(f"{trace:032x}", f"{trace:08x}{part:08x}", f"{trace:08x}{1:08x}" if part > 1 else None, "s", 5, 9)
    for trace in range(1, TRACES + 1)
    for part in range(1, SPANS_EACH + 1)
]
EVENTS = {
    span.span_id: tuple(Event(f"message {at}", 6 + at, {"text": f"{span.span_id} {at}"}) for at in range(2))
    for span in SPANS
}
LOGS = [
    (span.trace_id, span.span_id, event.time_ns, event.name, dict(event.attributes))
    for span in SPANS
    for event in EVENTS[span.span_id]
]
NOWHERE: list[Any] = [
    ("f" * 32, "e" * 16, 7, "of a trace that is nowhere", {}),
    (SPANS[0].trace_id, "e" * 16, 7, "of no span", {}),
]


def events_in(source: object) -> dict[str, tuple[Event, ...]]:
    """The events of each span, of which each comes once."""
    spans = [span for trace in open_source(source).traces(fail_on_problem) for span in trace]
    assert len(spans) == len({span.span_id for span in spans})
    return {span.span_id: span.events for span in spans}


@pytest.fixture(params=[128 << 10, 300], ids=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that hold all, and such that hold not even a line."""
    set_block_bytes(monkeypatch, request.param)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("file_format", FILE_FORMATS)
def test_logs_of_every_carrier(write: Write, file_format: str) -> None:
    """In files of their own, before and after those of the spans."""
    spans = write("spans", FILE_FORMATS["lines"](traces(SPANS)))
    records = write("logs", FILE_FORMATS[file_format](logs([*LOGS, *NOWHERE])))
    assert events_in([spans, records]) == EVENTS
    assert events_in([records, spans]) == EVENTS


def _interleaved(first: Messages, second: Messages) -> list[bytes]:
    pairs = itertools.zip_longest(first, second)
    return [FILE_FORMATS["lines"]([message]) for pair in pairs for message in pair if message is not None]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("how", ["as written", "the other way round", "doubled"])
def test_logs_and_spans_in_one_file(write: Write, how: str) -> None:
    """Lines of both come in any order, and more than once."""
    lines = _interleaved(traces(SPANS, 1), logs([*NOWHERE, *LOGS]))
    arranged = {"as written": lines, "the other way round": lines[::-1], "doubled": lines * 2}[how]
    found = events_in_doubled(write("both.jsonl", arranged))
    assert found == EVENTS


def events_in_doubled(path: Path) -> dict[str, tuple[Event, ...]]:
    """The events of each span, which may come twice."""
    return {span.span_id: span.events for trace in open_source(path).traces(fail_on_problem) for span in trace}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_same_logs_in_two_carriers(write: Write, compression: str) -> None:
    """Each is one event."""
    spans = write("spans", COMPRESSIONS[compression](FILE_FORMATS["messages"](traces(SPANS))))
    records = [
        write(name, COMPRESSIONS[compression](FILE_FORMATS[name](logs(LOGS))))
        for name in ("messages", "lines in snake_case", "documents")
    ]
    assert events_in([*records, spans]) == EVENTS


def test_spans_and_logs_in_one_document(write: Write) -> None:
    """A document may hold both."""
    both = {
        "resourceSpans": FILE_FORMATS["a document"](traces(SPANS)),
        "resourceLogs": FILE_FORMATS["a document"](logs(LOGS)),
    }
    parts = [b'"%b": %b' % (key.encode(), _inner(document)) for key, document in both.items()]
    assert events_in(write("both.json", b"{\n%b\n}\n" % b",\n".join(parts))) == EVENTS


def _inner(document: bytes) -> bytes:
    return document[document.index(b"[") : document.rindex(b"]") + 1]


def test_logs_without_spans_are_no_runs(write: Write) -> None:
    """A file of logs alone holds none, and is none that is refused."""
    for file_format in FILE_FORMATS:
        assert load_runs(write("logs", FILE_FORMATS[file_format](logs(LOGS))), strict=True) == []


def test_logs_of_traces_that_never_come_are_not_held(write: Write) -> None:
    """What is held of them is what a block names."""
    line = FILE_FORMATS["lines"](logs([("0" * 31 + "1", "2" * 16, 5, "x" * 1000, {})]))
    path = write("logs.jsonl", [line.replace(b"0" * 31 + b"1", b"%032x" % number) for number in range(1, 4_000)])
    tracemalloc.start()
    try:
        assert list(open_source(path).traces(fail_on_problem)) == []
        assert tracemalloc.get_traced_memory()[1] < 3_000_000 < path.stat().st_size
    finally:
        tracemalloc.stop()


def test_many_logs_of_one_span(write: Write) -> None:
    """Time is in proportion to them."""
    records: list[Any] = [(SPANS[0].trace_id, SPANS[0].span_id, at, "x", {}) for at in range(20_000)]
    content = FILE_FORMATS["lines"]([*traces(SPANS[:1]), *logs(records)])
    path = write("both.jsonl", content)
    began = time.process_time()
    found = events_in(path)
    assert time.process_time() - began < 30
    assert len(found[SPANS[0].span_id]) == 20_000


HOSTILE = {
    "no ids": (b'{"body":{"stringValue":"x"}}', 0),
    "ids of other lengths": (b'{"traceId":"0","spanId":"1"}', 0),
    "ids of a wrong type": (b'{"traceId":["%b"],"spanId":{"a":"%b"}}', 1),
    "records of a wrong type": (b'"x"', 1),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_logs(write: Write, problems: Problems, what: str) -> None:
    """They cost themselves, and are reported."""
    record, count = HOSTILE[what]
    if b"%b" in record:
        record %= (SPANS[0].trace_id.encode(), SPANS[0].span_id.encode())
    line = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%b]}]}]}\n' % record
    path = write("x.jsonl", [FILE_FORMATS["lines"](traces(SPANS)), line])
    spans = [span for trace in open_source(path).traces(problems) for span in trace]
    assert sorted(spans, key=lambda span: span.span_id) == SPANS
    assert len(problems) == count


@pytest.mark.parametrize(
    "bad", [b'"eventName":[1]', b'"timeUnixNano":"%b"' % (b"9" * 5000), b'"body":{"bytesValue":"a"}', b'"attributes":5']
)
def test_a_bad_value_of_a_log_record_costs_itself(write: Write, problems: Problems, bad: bytes) -> None:
    record = b'{"traceId":"%b","spanId":"%b",%b}' % (SPANS[0].trace_id.encode(), SPANS[0].span_id.encode(), bad)
    line = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%b]}]}]}\n' % record
    path = write("x.jsonl", [FILE_FORMATS["lines"](traces(SPANS)), line])
    spans = {span.span_id: span for trace in open_source(path).traces(problems) for span in trace}
    assert len(spans[SPANS[0].span_id].events) == len(SPANS[0].events) + 1
    assert len(problems) <= 1


class Held:
    """A source of spans in memory."""

    def __init__(self, spans: Sequence[SpanRecord]) -> None:
        self._spans = spans

    def traces(self, on_problem: Callable[[Problem], None]) -> object:
        """Trace by trace."""
        groups: dict[str, list[SpanRecord]] = {}
        for span in self._spans:
            groups.setdefault(span.trace_id, []).append(span)
        return iter(groups.values())


@pytest.mark.parametrize("kept", [0, 1, 5, len(SPANS)])
def test_logs_in_files_of_spans_in_another_source(write: Write, kept: int) -> None:
    """Also where a file has some of the spans of the trace."""
    files = [write("logs", FILE_FORMATS["messages"](logs([*NOWHERE, *LOGS])))]
    if kept:
        files.append(write("spans", FILE_FORMATS["lines"](traces(SPANS[:kept]))))
    source = open_source([*files, Held(SPANS[kept:])])
    assert isinstance(source, SeveralSources)
    assert events_in(source) == EVENTS


def test_run_out_of_spans_and_logs(write: Write) -> None:
    """The content of a model call that stands in log records is read with its run."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    spans = [
        SpanRecord(
            "a" * 32,
            "1" * 16,
            None,
            "invoke_agent w",
            BEGAN_NS,
            BEGAN_NS + 9,
            {"gen_ai.operation.name": "invoke_agent"},
        ),
        SpanRecord("a" * 32, "2" * 16, "1" * 16, "chat m", BEGAN_NS + 1, BEGAN_NS + 8, attributes),
    ]
    records = [
        ("a" * 32, "2" * 16, BEGAN_NS + 2, "gen_ai.user.message", {"content": "Rain?"}),
        ("a" * 32, "2" * 16, BEGAN_NS + 3, "gen_ai.choice", {"message": '{"role":"assistant","content":"No."}'}),
    ]
    paths = [
        write("logs.pb", FILE_FORMATS["messages"](logs(records))),
        write("spans.jsonl", FILE_FORMATS["lines"](traces(spans))),
    ]
    [run] = load_runs(paths, strict=True)
    assert (run.user_input, run.final_output) == ("Rain?", "No.")
