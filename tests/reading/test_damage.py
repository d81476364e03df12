"""What cannot be read costs its line, is reported with file and number, and hurts nobody."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from otel_agent_trace import AgentRun, compute_metrics, iter_runs, load_runs, open_source, run_to_spans, runs_from_spans
from otel_agent_trace.errors import BadRecordError, SourceError
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.runs.passes.shape import DEEPEST
from otel_agent_trace.sources import file_contents
from otel_agent_trace.span import Notice, SpanRecord
from tests.support.file_formats import jaeger
from tests.support.reading_limits import set_block_bytes, set_longest_line
from tests.support.sample_runs import BEGAN_NS, Problems, lines_of, make_run, raw_line

Write = Callable[..., Path]


def value_line(value: Any) -> bytes:
    """A line of one span with that attribute value."""
    return raw_line(attributes=[{"key": "k", "value": value}])


def nested(depth: int) -> bytes:
    """A line with a value as deep as that."""
    return value_line("@").replace(b'"@"', b'{"arrayValue":{"values":[' * depth + b'{"intValue":"1"}' + b"]}}" * depth)


BAD_LINES = {
    "torn": raw_line()[:-20] + b"\n",
    "not JSON": b"Traceback (most recent call last):\n",
    "other JSON": b'{"level":"info"}\n',
    "JSON array": b"[1]\n",
    "JSON number": b"7\n",
    "NULs": b"\0" * 100 + b"\n",
    "spans of a wrong type": b'{"resourceSpans":{"scopeSpans":[]}}\n',
    "span of a wrong type": b'{"resourceSpans":[{"scopeSpans":[{"spans":["x"]}]}]}\n',
    "no trace id": raw_line(traceId=""),
    "trace id of zeros": raw_line(traceId="0" * 32),
    "span id of zeros": raw_line(spanId="0" * 16),
    "short trace id": raw_line(traceId="0af7651916cd43dd"),
    "trace id of other characters": raw_line(traceId="z" * 32),
    "trace id of blanks": raw_line(traceId=" " * 32),
    "long span id": raw_line(spanId="b7ad6b7169203331" * 2),
    "span id of other characters": raw_line(spanId='"b7ad6b71692033'),
    "missing span id": raw_line().replace(b'"spanId"', b'"spanIdentity"'),
    "100,000 deep": nested(100_000),
    "100,000 brackets": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("what", BAD_LINES)
def test_bad_line(write: Write, lines: list[bytes], runs: list[AgentRun], problems: Problems, what: str) -> None:
    """A bad line is reported once, with its file and number; all others are read."""
    path = write("runs.jsonl", [*lines[:7], BAD_LINES[what], *lines[7:]])
    assert load_runs(path, on_problem=problems) == runs
    assert problems.places == [("runs.jsonl", 8)]
    assert problems[0].path == str(path)
    assert len(problems[0].reason) < 300


@pytest.mark.parametrize("what", BAD_LINES)
def test_bad_line_when_strict(write: Write, lines: list[bytes], what: str) -> None:
    """Read strictly, a bad line ends the reading, and the error knows the place."""
    path = write("runs.jsonl.gz", gzip.compress(b"".join([*lines[:7], BAD_LINES[what], *lines[7:]])))
    with pytest.raises(BadRecordError) as raised:
        load_runs(path, strict=True)
    error = raised.value
    assert (error.path, error.line) == (str(path), 8)
    assert str(error) == f"{path}:8: {error.reason}"


BAD_VALUES = {
    "attributes of a wrong type": raw_line(attributes={"a": 1}),
    "name of a wrong type": raw_line(name=["a"]),
    "resource of a wrong type": raw_line().replace(b'{"scopeSpans"', b'{"resource":[1],"scopeSpans"'),
    "scope of a wrong type": raw_line().replace(b'{"spans"', b'{"scope":{"name":[]},"spans"'),
    "parent of a wrong length": raw_line(parentSpanId='q","x":"'),
    "time of a wrong type": raw_line(startTimeUnixNano="soon"),
    "an event's name of a wrong type": raw_line(events=[{"name": 5}, {"name": "e"}]),
    "integer of 64 bits and one": value_line({"intValue": str(2**63)}),
    "integer of 100,000 digits": value_line({"intValue": "9" * 100_000}),
    "integer beyond doubles": value_line({"doubleValue": "1e999x"}),
    "bytes that are no base64": value_line({"bytesValue": "a"}),
    "value of a wrong type": value_line({"boolValue": "perhaps"}),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_bad_value(write: Write, problems: Problems, what: str) -> None:
    """A value of a wrong type costs itself: its span and those beside it are read, and the value is reported."""
    good = json.loads(raw_line(spanId="c" * 16))["resourceSpans"]
    bad = json.loads(BAD_VALUES[what])["resourceSpans"]
    path = write("runs.jsonl", [raw_line(spanId="d" * 16), json.dumps({"resourceSpans": bad + good}).encode()])
    [spans] = open_source(path).traces(problems)
    assert {span.span_id for span in spans} == {"b7ad6b7169203331", "c" * 16, "d" * 16}
    assert problems.places == [("runs.jsonl", 2)]
    assert problems[0].reason.endswith("; 2 intact spans of it were read")
    with pytest.raises(BadRecordError):
        load_runs(path, strict=True)


BAD_TEXTS = {
    "half an emoji": (b"\\ud83d", "\ufffd", "a lone surrogate (half a character)"),
    "the other half": (b"\\uDE00", "\ufffd", "a lone surrogate (half a character)"),
    "half an emoji behind a backslash": (rb"\\\ud83d", "\\\ufffd", "a lone surrogate (half a character)"),
    "bytes that are not UTF-8": (b"\xff\xfe", "\ufffd\ufffd", "bytes that are not UTF-8"),
    "half an emoji in UTF-8": (b"\xed\xa0\xbd", "\ufffd\ufffd\ufffd", "bytes that are not UTF-8"),
    "raw control characters": (b"\x01\t", "\x01\t", "a raw control character"),
}


@pytest.mark.parametrize("layout", ["a line", "a document", "snake_case", "a list", "Tempo", "Jaeger", "printed"])
@pytest.mark.parametrize("what", BAD_TEXTS)
def test_bad_text(write: Write, what: str, layout: str) -> None:
    """A text that is none costs the characters that are none, whatever the file is, and that is reported as a notice."""
    bad, repaired, reason = BAD_TEXTS[what]
    text = LAYOUTS[layout]([named_span(1, "before@after"), named_span(2, 'NaN, ,} "')]).replace(b"@", bad)
    found = Problems()
    path = write("traces.json", text)
    [spans] = open_source(path).traces(found)
    assert sorted(span.name for span in spans) == ['NaN, ,} "', f"before{repaired}after"]
    [notice] = found
    assert isinstance(notice, Notice)
    assert notice.reason.startswith(f"repaired: {reason} at byte ")
    load_runs(path, strict=True)


@pytest.mark.parametrize(
    ("given", "read"), [(b"NaN", "nan"), (b"Infinity", "inf"), (b"-Infinity", "-inf"), (b"1.5,", "1.5")]
)
def test_numbers_that_json_does_not_have(write: Write, given: bytes, read: str) -> None:
    """Words that Python writes for numbers are these numbers, and a comma too many is none."""
    found = Problems()
    line = value_line({"doubleValue": "@"}).replace(b'"@"', given)
    [[span]] = open_source(write("traces.jsonl", line)).traces(found)
    assert str(span.attributes["k"]) == read
    assert [type(problem) for problem in found] == [Notice]


def named_span(number: int, name: str) -> SpanRecord:
    return SpanRecord("ab" * 16, f"{number:016x}", None, name, BEGAN_NS, BEGAN_NS + 1)


def printed(spans: Sequence[SpanRecord]) -> bytes:
    """Spans as Python prints them."""
    return b"\n".join(
        json.dumps(
            {
                "name": span.name,
                "context": {"trace_id": f"0x{span.trace_id}", "span_id": f"0x{span.span_id}"},
                "start_time": "2026-11-23T23:03:20.000000Z",
                "end_time": "2026-11-23T23:03:20.000001Z",
            },
            indent=4,
        ).encode()
        for span in spans
    )


LAYOUTS: dict[str, Callable[[Sequence[SpanRecord]], bytes]] = {
    "a line": otlp_json.encode,
    "a document": lambda spans: json.dumps(json.loads(otlp_json.encode(spans)), indent=2).encode(),
    "snake_case": lambda spans: otlp_json.encode(spans).replace(b'"spanId"', b'"span_id"'),
    "a list": lambda spans: b"[%b]" % otlp_json.encode(spans),
    "Tempo": lambda spans: otlp_json.encode(spans).replace(b"resourceSpans", b"batches"),
    "Jaeger": lambda spans: json.dumps(jaeger(spans)).encode(),
    "printed": printed,
}


@pytest.mark.parametrize("depth", [1, 63, 64, 65, 300])
def test_deep_values(write: Write, problems: Problems, depth: int) -> None:
    """Values nested more deeply than anybody means are read as far as that, or not at all, and their line is no harm."""
    [run] = load_runs(write("runs.jsonl", [raw_line(), nested(depth)]), on_problem=problems)
    assert [step.name for step in run.steps] == ["t"]
    assert problems == []


def test_line_numbers_over_many_blocks(write: Write, problems: Problems, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are counted rightly also where they lie over the edges of blocks, blank ones among them."""
    set_block_bytes(monkeypatch, 100)
    bad = {3, 40, 41, 99}
    content = [b"bad\n" if n in bad else b"\n" if n % 7 == 0 else raw_line(spanId=f"{n:016x}") for n in range(1, 100)]
    load_runs(write("runs.jsonl", content), on_problem=problems)
    assert [line for _, line in problems.places] == sorted(bad)


def test_problems_of_several_files(write: Write, lines: list[bytes], problems: Problems) -> None:
    """Each problem names its own file."""
    paths = [write("a.jsonl", [b"x\n", *lines[:3]]), write("b.jsonl", [lines[3], b"y\n", lines[4], b"z"])]
    load_runs(paths, on_problem=problems)
    assert problems.places == [("a.jsonl", 1), ("b.jsonl", 2), ("b.jsonl", 4)]


@pytest.mark.parametrize(
    "changes",
    [
        {"startTimeUnixNano": str(2**64 - 1), "endTimeUnixNano": "1"},
        {"startTimeUnixNano": "0", "endTimeUnixNano": str(2**64 - 1)},
        {"kind": 10**30, "status": {"code": 10**30}, "flags": 10**30},
        {"name": "\0" * 1000, "traceState": "\n"},
        {"parentSpanId": "b7ad6b7169203331"},
        {"attributes": [{"key": "gen_ai.operation.name", "value": {"arrayValue": {}}}]},
        {"attributes": [{"key": "gen_ai.operation.name", "value": {"kvlistValue": {}}}]},
        {"attributes": [{}, {"key": ""}, {"value": {}}] * 10},
        {"events": [{"timeUnixNano": str(2**64), "name": "exception"}] * 3, "status": {"code": 2}},
    ],
)
def test_spans_that_nobody_means(write: Write, changes: dict[str, Any]) -> None:
    """What is formally right but absurd is read, shown as data, and counted, without harm."""
    attributes = json.loads(raw_line())["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    both = [*changes.get("attributes", ()), *attributes]
    for line in (raw_line(**changes), raw_line(**{**changes, "attributes": both})):
        runs = load_runs(write("runs.jsonl", line), strict=True)
        assert [AgentRun.from_dict(run.to_dict()) for run in runs] == runs
        for run in runs:
            assert run.started_at.tzinfo is not None
            assert run.duration_s is None or run.duration_s < 1e11
        compute_metrics(runs).to_dict()


def agent_line(number: int, parent: int | None, run_id: str, parent_run_id: str) -> bytes:
    """A line of one run that names its parent, the span and the run."""
    attributes = {"gen_ai.operation.name": "invoke_agent", "agent_trace.run.id": run_id}
    attributes["agent_trace.run.parent_id"] = parent_run_id
    return raw_line(
        spanId=f"{number:016x}",
        parentSpanId="" if parent is None else f"{parent:016x}",
        startTimeUnixNano=str(BEGAN_NS - number),
        attributes=[{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    )


RINGS = {
    "itself": [agent_line(1, 1, "a", "a")],
    "spans of two": [agent_line(1, 2, "a", "b"), agent_line(2, 1, "b", "a")],
    "runs of one": [agent_line(1, None, "a", "a")],
    "runs of two": [agent_line(1, None, "a", "b"), agent_line(2, None, "b", "a")],
    "runs of three": [agent_line(1, 9, "a", "b"), agent_line(2, 9, "b", "c"), agent_line(3, 9, "c", "a")],
    "a span and a run": [agent_line(1, 2, "a", "b"), agent_line(2, None, "b", "a")],
}


@pytest.mark.parametrize("what", RINGS)
def test_rings(write: Write, problems: Problems, what: str) -> None:
    """Runs that claim one another as parents, by their spans or by their ids, are read nevertheless."""
    ring = RINGS[what]
    runs = load_runs(write("runs.jsonl", ring), on_problem=problems)
    assert sorted({part.run_id for run in runs for part in run.walk()}) == ["a", "b", "c"][: len(ring)]
    assert problems == []


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["invoke_agent", "execute_tool"])
def test_trace_as_deep_as_it_is_long(
    write: Write, lines: list[bytes], runs: list[AgentRun], problems: Problems, operation: str
) -> None:
    """Thousands of agents or tools within each other are one run of bounded depth, and cost nobody else anything."""
    kind = [{"key": "gen_ai.operation.name", "value": {"stringValue": operation}}]
    spans = [raw_line(spanId=f"{n + 2:016x}", parentSpanId=f"{n + 1:016x}", attributes=kind) for n in range(2000)]
    root = raw_line(spanId=f"{1:016x}", attributes=[{"key": kind[0]["key"], "value": {"stringValue": "invoke_agent"}}])
    read = load_runs(write("runs.jsonl", [root, *spans, *lines]), on_problem=problems)
    deep = next(run for run in read if run not in runs)
    assert len(read) == len(runs) + 1
    assert problems == []
    assert sum(len(part.steps) for part in deep.walk()) == 2000
    assert sum(1 for _ in deep.walk()) == (1 if operation == "execute_tool" else DEEPEST + 1)
    assert AgentRun.from_dict(json.loads(json.dumps(deep.to_dict(), indent=1))) == deep
    assert runs_from_spans(run_to_spans(deep)) != []
    assert compute_metrics([deep]).runs == 1


# ── torn files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def whole_lines(content: bytes) -> int:
    """How many lines of a cut file are whole."""
    return content.count(b"\n")


def test_cut_at_every_byte(write: Write) -> None:
    """Wherever a file was cut off, its whole lines are read, and nothing is raised."""
    small = [raw_line(traceId=f"{number:032x}") for number in range(1, 4)]
    content = b"".join(small)
    for size in range(len(content) + 1):
        problems = Problems()
        read = load_runs(write("runs.jsonl", content[:size]), on_problem=problems)
        torn = content[:size].rpartition(b"\n")[2]
        complete = torn + b"\n" in small
        whole_span = len(torn) >= len(small[0]) - len(b"]}]}]}\n")
        assert len(read) == whole_lines(content[:size]) + whole_span, size
        assert len(problems) == (bool(torn) and not complete), size


@pytest.mark.parametrize(("pack", "shortest"), [(gzip.compress, 2), (zstd.compress, 4)])
def test_packed_cut_at_every_byte(write: Write, pack: Callable[[bytes], bytes], shortest: int) -> None:
    """Wherever a packed file was cut off, that is reported once, and what came before was read."""
    members = [pack(raw_line(traceId=f"{number:032x}")) for number in range(1, 4)]
    content = b"".join(members)
    ends = [sum(map(len, members[:number])) for number in range(4)]
    for size in range(shortest, len(content) + 1):
        problems = Problems()
        read = load_runs(write("runs", content[:size]), on_problem=problems)
        whole = sum(size >= end for end in ends[1:])
        assert len(read) in (whole, whole + 1), size  # a line may be out of its packing before the checksum
        assert len(problems) == (size not in ends), size
        assert all(problem.reason.endswith("; everything before it was read") for problem in problems), size


def random_lines(number: int) -> list[bytes]:
    """Lines that packing makes little smaller, so that they lie in many blocks."""
    return [raw_line(traceId=f"{n + 1:032x}", name=os.urandom(500).hex()) for n in range(number)]


@pytest.mark.parametrize(("pack", "packing"), [(gzip.compress, "gzip"), (zstd.compress, "zstd")])
def test_truncated_packed_file(write: Write, pack: Callable[[bytes], bytes], packing: str, problems: Problems) -> None:
    """Of a long packed file that ends early nearly all that is there is read, and the place is reported."""
    content = random_lines(1000)
    packed = pack(b"".join(content))
    path = write("runs.jsonl.gz", packed[: len(packed) // 2])
    read = load_runs(path, on_problem=problems)
    assert 250 < len(read) < 500
    assert problems.places == [("runs.jsonl.gz", len(read) + 1)]
    assert problems[0].reason == f"a {packing} that ends early; everything before it was read"
    with pytest.raises(BadRecordError, match="ends early"):
        load_runs(path, strict=True)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_damaged_packed_file(write: Write, pack: Callable[[bytes], bytes], problems: Problems) -> None:
    """Of a packed file with a hole in it what comes before is read, and the rest is reported."""
    packed = bytearray(pack(b"".join(random_lines(1000))))
    packed[len(packed) // 2 : len(packed) // 2 + 1000] = bytes(1000)
    read = load_runs(write("runs.jsonl", bytes(packed)), on_problem=problems)
    assert len(read) > 250
    damage = [problem for problem in problems if not isinstance(problem, Notice)][-1]
    assert damage.reason.endswith("; everything before it was read")
    assert damage.reason.startswith("damaged data (")


def test_damaged_file_among_others(write: Write, lines: list[bytes], runs: list[AgentRun], problems: Problems) -> None:
    """One torn file keeps nobody from the others, also where a trace goes on there."""
    packed = gzip.compress(b"".join(lines[:20]))
    paths = [write("a.jsonl.gz", packed[:-4]), write("b.jsonl", lines[20:])]
    assert load_runs(paths, on_problem=problems) == runs
    assert problems.places == [("a.jsonl.gz", 21)]


def test_trace_that_goes_on_after_the_damage(write: Write, problems: Problems) -> None:
    """A trace comes once, although its last spans before a hole were seen in one pass only."""
    spans = run_to_spans(make_run(5000))
    filler = random_lines(600)
    packed = gzip.compress(b"".join([*lines_of(spans[:1]), *filler, *lines_of(spans[1:])]))
    source = open_source(write("runs.jsonl.gz", packed[:-6]))
    ids = [trace[0].trace_id for trace in source.traces(problems)]
    assert len(ids) == len(set(ids)) == 601


def test_bytes_changed_at_random(write: Write, lines: list[bytes], runs: list[AgentRun]) -> None:
    """Whatever byte of a file is changed, reading ends well, and the runs of other lines are there."""
    content = b"".join(lines)
    known = {run.run_id for run in runs}
    for at in range(0, len(content), 97):
        changed = content[:at] + bytes([content[at] ^ 0x15]) + content[at + 1 :]
        read = load_runs(write("runs.jsonl", changed), on_problem=Problems())
        assert len(known & {run.run_id for run in read}) >= len(known) - 2, at


# ── bombs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of more than a mebibyte are too long, for the tests' sake."""
    set_longest_line(monkeypatch, 1 << 20)


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize("filler", [b"x", b"{", b" "])
def test_line_without_end(write: Write, lines: list[bytes], runs: list[AgentRun], filler: bytes) -> None:
    """A line of 100 MB between others costs itself, little memory, and is reported as too long."""
    path = write("runs.jsonl", lines[:9])
    with open(path, "ab") as file:
        file.writelines(filler * 1_000_000 for _ in range(100))
        file.write(b"\n" + b"".join(lines[9:]))
    problems = Problems()
    with limited_memory(16 << 20):
        assert load_runs(path, on_problem=problems) == runs
    assert problems.places == [("runs.jsonl", 10)]
    assert problems[0].reason == "a line of more than 1 MiB"


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize("packed", [False, True])
def test_nothing_but_one_endless_line(tmp_path: Path, packed: bool) -> None:
    """A file that is one endless line is refused soon, however large it is."""
    path = tmp_path / "sparse.jsonl"
    if packed:
        path.write_bytes(gzip.compress(bytes(100_000_000), 1))
    else:
        with open(path, "wb") as file:
            file.truncate(50 << 30)
    with limited_memory(16 << 20), pytest.raises(SourceError, match="looks like binary data"):
        load_runs(path)


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_bomb(write: Write, lines: list[bytes], runs: list[AgentRun], kind: str, problems: Problems) -> None:
    """What unpacks to a hundred times its size is streamed: bounded memory, one problem, all runs."""
    bomb = b"".join(lines[:5]) + b"y" * 100_000_000 + b"\n" + b"".join(lines[5:])
    path = write(f"bomb.jsonl.{kind}", gzip.compress(bomb, 1) if kind == "gz" else zstd.compress(bomb))
    del bomb
    assert path.stat().st_size < 1_000_000
    with limited_memory(24 << 20):
        assert load_runs(path, on_problem=problems) == runs
    assert problems.places == [(path.name, 6)]


@pytest.mark.parametrize(("kind", "compression"), [("gz", "a gzip"), ("zst", "a zstd")])
def test_bomb_of_good_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, compression: str) -> None:
    """A small file that unpacks without end is read for a while and then no further, which is reported."""
    monkeypatch.setattr(file_contents, "MAX_RATIO", 100)
    monkeypatch.setattr(file_contents, "_RATIO_FROM_BYTES", 1 << 10)
    path = tmp_path / f"bomb.jsonl.{kind}"
    bomb = b"".join([*random_lines(3), b"{}\n" * 1_000_000])
    path.write_bytes(gzip.compress(bomb) if kind == "gz" else zstd.compress(bomb))
    problems = Problems()
    assert len(load_runs(path, on_problem=problems)) == 3
    assert [problem.reason for problem in problems] == [
        f"damaged data ({compression} that unpacks to more than 100 times its size); everything before it was read"
    ]


def test_zstd_with_a_huge_window(write: Write) -> None:
    """A file that asks for gigabytes to be unpacked is refused."""
    options: Any = {
        zstd.CompressionParameter.window_log: 30,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    out = io.BytesIO()
    with zstd.ZstdFile(out, "w", options=options) as file:
        file.write(raw_line())
        file.flush()
        file.write(raw_line())
    with pytest.raises(SourceError, match="damaged data"):
        load_runs(write("runs.jsonl.zst", out.getvalue()))


def limited_memory(size: int) -> Any:
    """Fails when Python holds more than that at one moment of the block."""
    import tracemalloc
    from contextlib import contextmanager

    @contextmanager
    def limited() -> Any:
        tracemalloc.start()
        try:
            yield
            assert tracemalloc.get_traced_memory()[1] < size
        finally:
            tracemalloc.stop()

    return limited()


def test_reading_broken_off(write: Write, lines: list[bytes]) -> None:
    """Whoever stops in the middle leaves no file open."""
    runs = iter_runs(write("runs.jsonl", lines))
    next(runs)
    open_files = len(os.listdir("/proc/self/fd"))
    del runs
    assert len(os.listdir("/proc/self/fd")) <= open_files
