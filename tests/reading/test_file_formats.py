"""Files of every file_format read as the same spans, whatever lies beside them, and however they end."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import iter_runs, load_runs, open_source, run_to_spans
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.sources.file_contents import BLOCK_BYTES
from otel_agent_trace.span import SpanRecord
from tests.support.file_formats import COMPRESSIONS, FILE_FORMATS, jaeger, traces
from tests.support.reading_limits import set_block_bytes, set_longest_line
from tests.support.sample_runs import Problems, fail_on_problem, lines_of, make_run

Write = Callable[..., Path]
COUNT = 12
RUNS = [make_run(number) for number in range(COUNT)]
SPANS = [span for run in RUNS for span in run_to_spans(run)]
PER_RUN = len(SPANS) // COUNT


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks smaller than a line, so that everything lies on the edge of one."""
    set_block_bytes(monkeypatch, 512)


def by_id(traces: Iterable[Iterable[SpanRecord]]) -> list[list[SpanRecord]]:
    """Traces and their spans in the order of their ids."""
    ordered = [sorted(spans, key=lambda span: span.span_id) for spans in traces]
    return sorted(ordered, key=lambda spans: spans[0].trace_id)


def spans_in(path: object) -> list[list[SpanRecord]]:
    """The spans of each trace; nothing is reported."""
    return by_id(open_source(path).traces(fail_on_problem))


def expected() -> list[list[SpanRecord]]:
    """The same of what was written."""
    return by_id(SPANS[first : first + PER_RUN] for first in range(0, len(SPANS), PER_RUN))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("file_format", FILE_FORMATS)
def test_every_carrier(write: Write, file_format: str, compression: str) -> None:
    """The spans that the official classes wrote are those that come, by trace; the name of the file says nothing."""
    path = write("any name", COMPRESSIONS[compression](FILE_FORMATS[file_format](traces(SPANS))))
    assert spans_in(path) == expected()
    assert load_runs(path, strict=True) == RUNS


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("file_format", FILE_FORMATS)
def test_one_trace_in_files_of_two_carriers(write: Write, file_format: str) -> None:
    """A trace whose spans lie in two file_formats is whole and comes once, in either order of the files."""
    messages = traces(SPANS, size=1)
    first = write("a", FILE_FORMATS["lines"](messages[::2]))
    second = write("b", FILE_FORMATS[file_format](messages[1::2]))
    for paths in ([first, second], [second, first]):
        assert spans_in(paths) == expected()
        assert list(iter_runs(paths, newest_first=True)) == RUNS[::-1]


def test_all_file_formats_of_one_folder(tmp_path: Path) -> None:
    """A folder is read whole: a span in each file_format, and all of them make one run."""
    spans = [*run_to_spans(RUNS[0]), *run_to_spans(RUNS[1])]
    names = ("a.jsonl", "b.json", "c.pb", "d.proto.zst", "e.binpb.gz", "f.ndjson", "g.json.gz", "h.pb.zst")
    kinds: tuple[str, ...] = (
        "lines",
        "a document",
        "messages",
        "a message",
        "messages behind varints",
        "lines in snake_case",
    )
    kinds = (*kinds, "documents of protobuf's JSON in snake_case", "packed messages")
    for name, kind, span in zip(names, kinds, spans, strict=False):
        compression = COMPRESSIONS[Path(name).suffix] if Path(name).suffix in COMPRESSIONS else COMPRESSIONS[""]
        (tmp_path / name).write_bytes(compression(FILE_FORMATS[kind](traces([span]))))
    (tmp_path / "rest.jsonl").write_bytes(b"".join(lines_of(spans[len(names) :])))
    assert load_runs(tmp_path, strict=True) == RUNS[:2]


@pytest.mark.parametrize("indent", [None, 0, 4])
def test_what_the_page_of_jaeger_saves(write: Write, indent: int | None) -> None:
    """Runs come with times in microseconds, also where another file holds a part of the trace."""
    run = make_run(0)
    spans = [
        SpanRecord(span.trace_id, span.span_id, span.parent_span_id, span.name, 5_000_000, 9_000_000, span.attributes)
        for span in run_to_spans(run)
    ]
    saved = write("saved.json", json.dumps(jaeger(spans), indent=indent).encode())
    [read] = load_runs(saved, strict=True)
    assert (read.run_id, read.agent_name, read.user_input) == (run.run_id, run.agent_name, run.user_input)
    assert (read.final_output, read.service_name, read.started_at_ns) == (run.final_output, "weather", 5_000_000)
    assert [step.name for step in read.steps] == [step.name for step in run.steps]
    parts = [write("a.json", json.dumps(jaeger(spans[:2])).encode()), write("b.jsonl", lines_of(spans[2:]))]
    [both] = load_runs(parts, strict=True)
    assert [step.name for step in both.steps] == [step.name for step in run.steps]


def test_nothing_in_a_text_is_taken_for_a_key(write: Write) -> None:
    """What looks like another spelling within a text stays as it is."""
    text = 'say "trace_id": null, {"kind":"SPAN_KIND_SERVER","trace_id" : "AAAAAAAAAAAAAAAAAAAAAA=="}, start_time'
    span = SpanRecord("1" * 32, "2" * 16, None, 'a "trace_id":null', 1, 2, {"trace_id": text, text: "trace_id"})
    for file_format in ("lines of protobuf's JSON in snake_case", "documents of protobuf's JSON in snake_case"):
        assert spans_in(write("x", FILE_FORMATS[file_format](traces([span])))) == [[span]]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (b'"kind":"SPAN_KIND_CLIENT","status":{"code":"STATUS_CODE_ERROR"}', (3, 2)),
        (b'"kind" : "SPAN_KIND_INTERNAL" , "status" : { "code" : "STATUS_CODE_OK" }', (1, 1)),
        (b'"kind":"SPAN_KIND_OF_TOMORROW","status":null', (0, 0)),
        (b'"kind":4,"status":{"code":"STATUS_CODE_UNSET"},"events":null,"links":null,"parentSpanId":null', (4, 0)),
    ],
)
def test_enums_by_name_and_null(write: Write, given: bytes, read: tuple[int, int]) -> None:
    """Names of enums are their numbers; what is null is not there."""
    line = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%b","spanId":"%b",%b}]}]}]}'
    [[span]] = spans_in(write("x.jsonl", line % (b"1" * 32, b"2" * 16, given)))
    assert (span.kind, span.status_code) == read


BARE: dict[str, Callable[[list[Any]], str]] = {
    "a line each": lambda spans: "".join(f"{json.dumps(span)}\n" for span in spans),
    "a document each": lambda spans: "\n".join(json.dumps(span, indent=2) for span in spans),
    "one directly after another": lambda spans: "".join(map(json.dumps, spans)),
    "in a list": json.dumps,
    "in a list of several lines": lambda spans: json.dumps(spans, indent=2),
    "in an object": lambda spans: json.dumps({"traceId": spans[0]["traceId"], "spans": spans}),
    "with their scope": lambda spans: "".join(
        f"{json.dumps({'scope': {'name': 'x'}, 'spans': [span]})}\n" for span in spans
    ),
    "in an answer of Phoenix": lambda spans: json.dumps({"data": spans, "next_cursor": None}),
    "as JSON strings": lambda spans: "".join(f"{json.dumps(json.dumps(span))}\n" for span in spans),
}


@pytest.mark.parametrize("arrangement", BARE)
def test_spans_without_the_objects_around_them(write: Write, arrangement: str) -> None:
    """Exporters of one's own write the spans of OTLP alone."""
    spans = [*map(json.loads, map(otlp_json.encode_span, run_to_spans(make_run(0))))]
    [run] = load_runs(write("spans.json", BARE[arrangement](spans).encode()), strict=True)
    assert (run.run_id, run.final_output, len(run.steps)) == (
        make_run(0).run_id,
        make_run(0).final_output,
        len(make_run(0).steps),
    )


def test_spans_beside_their_resource(write: Write) -> None:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    span = json.loads(otlp_json.encode_span(run_to_spans(make_run(0))[0]))
    for alone in ({**span, "resource": resource, "scope": {"name": "x"}}, {"resource": resource, "spans": [span]}):
        [[read]] = spans_in(write("spans.jsonl", json.dumps(alone).encode()))
        assert read.resource.attributes == {"service.name": "shop"}


def test_links_of_a_bad_span_are_no_spans(write: Write, problems: Problems) -> None:
    """They have the ids of a span."""
    link = {"context": {"trace_id": "0x1", "span_id": "0x2"}, "attributes": {}}
    good = {"name": "a", "context": {"trace_id": "0x5", "span_id": "0x6"}}
    bad = {"name": "b", "context": {"trace_id": "0x0", "span_id": "0x2"}, "links": [link]}
    [[read]] = open_source(write("spans.json", json.dumps([good, bad]).encode())).traces(problems)
    assert (read.name, len(problems)) == ("a", 1)


def test_older_names(write: Write) -> None:
    """What was called an instrumentation library is a scope."""
    line = otlp_json.encode(SPANS)
    old = line.replace(b'"scopeSpans"', b'"instrumentationLibrarySpans"').replace(
        b'"scope"', b'"instrumentationLibrary"'
    )
    assert old != line
    assert spans_in(write("x.jsonl", old)) == expected()


def test_text_that_is_torn_below_its_first_line_is_no_document(write: Write, problems: Problems) -> None:
    """A crash may end the first line within a list; what comes after it are lines."""
    [line] = [otlp_json.encode(run_to_spans(RUNS[0]))]
    torn = line[: line.index(b'"attributes":[', 200) + len(b'"attributes":[')]
    path = write("x.jsonl", torn + b"\n" + b"".join(lines_of(run_to_spans(RUNS[1]))))
    assert load_runs(path, on_problem=problems) == [RUNS[1]]
    assert problems.places == [("x.jsonl", 1)]


# ── what is damaged ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file_format", ["messages", "messages behind varints"])
def test_damaged_message_costs_itself(write: Write, problems: Problems, file_format: str) -> None:
    """The others are read, and the spans that are whole in it."""
    messages = traces(SPANS, size=PER_RUN)
    parts = [FILE_FORMATS[file_format]([message]) for message in messages]
    bad = bytearray(parts[3])
    bad[bad.rindex(bytes.fromhex(SPANS[4 * PER_RUN - 1].span_id)) - 1] = 7  # the id of its last span is shorter
    path = write("x.pb", b"".join([*parts[:3], bytes(bad), *parts[4:]]))
    found = {span.span_id for spans in open_source(path).traces(problems) for span in spans}
    assert found == {span.span_id for span in SPANS} - {SPANS[4 * PER_RUN - 1].span_id}
    assert problems.places == [("x.pb", 4)]
    assert f"{PER_RUN - 1} intact spans of it were read" in problems[0].reason


def test_message_that_ends_early(write: Write, problems: Problems) -> None:
    """A Collector that was killed: what is whole is read, and the rest reported once."""
    content = FILE_FORMATS["messages"](traces(SPANS, size=PER_RUN))
    path = write("x.pb", content[:-20])
    found = [span.span_id for spans in open_source(path).traces(problems) for span in spans]
    assert len(found) == len(SPANS) - 1
    assert problems.places == [("x.pb", COUNT)]


def test_message_of_no_length(write: Write, problems: Problems) -> None:
    """Where no message begins, nothing is guessed."""
    path = write("x.pb", FILE_FORMATS["messages"](traces(SPANS)) + b"\0" * 100)
    assert load_runs(path, on_problem=problems) == RUNS
    [problem] = problems
    assert problem.reason.startswith("no message begins at byte ")


def test_too_long(write: Write, problems: Problems, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document or message beyond the limit costs itself."""
    set_longest_line(monkeypatch, 20_000)
    big = SpanRecord("f" * 32, "1" * 16, None, "x" * 30_000, 1, 2)
    for file_format, what in (("documents", "document"), ("messages", "message")):
        problems.clear()
        path = write("x", FILE_FORMATS[file_format](traces([*SPANS[:PER_RUN], big, *SPANS[PER_RUN:]], size=1)))
        assert load_runs(path, on_problem=problems) == RUNS
        assert [problem.reason for problem in problems] == [f"a {what} of more than 0 MiB"]


def test_a_document_that_begins_with_a_block(write: Write) -> None:
    """A document over many lines whose first line is the first of a block of bytes is one of its own."""
    documents = [FILE_FORMATS["a document"](traces([span])) for span in SPANS[:2]]
    first = documents[0] + b"\n" * (-len(documents[0]) % BLOCK_BYTES)
    found = spans_in(write("a", first + documents[1]))
    assert sorted(span.span_id for spans in found for span in spans) == sorted(span.span_id for span in SPANS[:2])


TEMPO: dict[str, Callable[[Any], Any]] = {
    "v1": lambda whole: {"batches": whole["resourceSpans"]},
    "v2": lambda whole: {"trace": whole, "metrics": {}},
    "v2, another order": lambda whole: {"status": "COMPLETE", "trace": {"batches": whole["resourceSpans"]}},
    "a list": lambda whole: [whole, {"resourceSpans": []}],
    "a list of answers": lambda whole: [{"batches": whole["resourceSpans"]}],
    "the spans of a resource": lambda whole: whole["resourceSpans"][0],
}
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big-endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "lines that end as on Windows": lambda text: text.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("answer", TEMPO)
def test_answers_in_every_layout(write: Write, answer: str, indent: int | None, encoding: str) -> None:
    """Neither line breaks nor encoding nor the order of keys make another file of it."""
    text = "\n".join(
        json.dumps(TEMPO[answer](json.loads(otlp_json.encode(SPANS[first : first + PER_RUN]))), indent=indent)
        for first in range(0, len(SPANS), PER_RUN)
    )
    assert spans_in(write("x", ENCODINGS[encoding](text))) == expected()


@pytest.mark.parametrize("answer", ["v1", "v2", "a list", "the spans of a resource"])
@pytest.mark.parametrize("indent", [None, 2])
def test_answers_that_are_cut_off(write: Write, problems: Problems, answer: str, indent: int | None) -> None:
    """Their whole spans are read."""
    text = json.dumps(TEMPO[answer](json.loads(otlp_json.encode(SPANS[:PER_RUN]))), indent=indent)
    cut = text[: text.rindex("traceId")]
    [spans] = open_source(write("x", cut.encode())).traces(problems)
    assert spans == SPANS[: PER_RUN - 1]
    assert problems[0].reason.endswith(f"; {PER_RUN - 1} intact spans of it were read")


def test_a_document_of_jaeger_that_is_cut_off(write: Write, problems: Problems) -> None:
    text = json.dumps(jaeger(SPANS[:PER_RUN]))
    [spans] = open_source(write("x", text[: text.rindex("traceID") - 5].encode())).traces(problems)
    assert 0 < len(spans) < PER_RUN
    assert len(problems) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"errors": None, "offset": 0, "limit": 0, "total": 0, "data": []},
        {"data": None, "total": 0},
        {"resourceSpans": []},
        {"batches": []},
        {"trace": {}},
        {"trace": {"resourceSpans": []}, "status": "COMPLETE"},
        [],
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("number", [1, 2])
def test_answers_without_traces_are_empty_sources(write: Write, answer: Any, indent: int | None, number: int) -> None:
    text = "\n".join([json.dumps(answer, indent=indent)] * number)
    assert load_runs(write("x.json", text.encode()), strict=True) == []
