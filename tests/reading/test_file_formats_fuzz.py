"""Any spans come back equal from every file_format; no bytes make the readers fail_on_problem, take long or hold much."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_agent_trace import open_source
from otel_agent_trace.errors import SourceError
from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord
from tests.support.file_formats import FILE_FORMATS, logs, traces, zstd
from tests.support.sample_runs import Problems, fail_on_problem
from tests.support.waiting import DEADLOCK_S

Write = Callable[..., Path]

# ── what is written comes back ───────────────────────────────────────────────────────────────────────────────────────

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_telling = st.sampled_from(
    ['"trace_id": "x"', "trace_id", '"kind":"SPAN_KIND_SERVER"', '{"resourceSpans":[', "\n}\n{\n", "\\"]
)
_scalars = st.one_of(_texts, _telling, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.binary(max_size=5))
_floats = st.floats(allow_nan=False, allow_subnormal=False)
_values = st.recursive(
    _scalars | _floats,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_attributes = st.dictionaries(_texts | _telling, _values, max_size=3)
_times = st.integers(1, 2**63)
_ids = st.integers(1, 2**64 - 1).map("{:016x}".format)
_trace_ids = st.integers(1, 4).map("{:032x}".format) | st.integers(1, 2**128 - 1).map("{:032x}".format)
_spans = st.builds(
    SpanRecord,
    trace_id=_trace_ids,
    span_id=_ids,
    parent_span_id=st.none() | _ids,
    name=_texts | _telling,
    start_ns=_times,
    end_ns=st.none() | _times,
    attributes=_attributes,
    kind=st.integers(0, 5),
    status_code=st.integers(0, 2),
    status_message=_texts,
    events=st.lists(st.builds(Event, _texts, _times, _attributes), max_size=2).map(tuple),
    links=st.lists(st.builds(Link, _trace_ids, _ids, _attributes), max_size=2).map(tuple),
    resource=st.builds(Resource, _attributes),
    scope=st.builds(Scope, _texts, _texts, _attributes),
    flags=st.integers(0, 2**10),
)


@pytest.mark.parametrize("file_format", FILE_FORMATS)
@settings(suppress_health_check=list(HealthCheck), max_examples=20)
@given(spans=st.lists(_spans, min_size=1, max_size=4, unique_by=lambda span: span.span_id), data=st.data())
def test_any_spans_come_back(write: Write, file_format: str, spans: list[SpanRecord], data: st.DataObject) -> None:
    """The same spans, by trace, however they are put into messages."""
    path = write("x", FILE_FORMATS[file_format](traces(spans, data.draw(st.integers(1, 3)))))
    found = [(group[0].trace_id, span) for group in open_source(path).traces(fail_on_problem) for span in group]
    assert sorted((span for _, span in found), key=lambda span: span.span_id) == sorted(spans, key=lambda s: s.span_id)
    assert {trace_id for trace_id, _ in found} == {span.trace_id for span in spans}


@pytest.mark.parametrize("file_format", FILE_FORMATS)
@pytest.mark.parametrize("name", ["traceID", "traceId", "resourceSpans", "trace_id", "resource_logs", "spanId"])
def test_names_that_are_keys_elsewhere(write: Write, file_format: str, name: str) -> None:
    """What a file is does not depend on the words in it."""
    span = SpanRecord("ab" * 16, f"{1:016x}", None, name, 1, 2, {name: name}, scope=Scope(name))
    path = write("x", FILE_FORMATS[file_format](traces([span], 1)))
    assert [found for group in open_source(path).traces(fail_on_problem) for found in group] == [span]


# ── what is damaged ──────────────────────────────────────────────────────────────────────────────────────────────────

SPANS = [
    SpanRecord("ab" * 16, f"{number:016x}", None, f"s{number}", 1, 2, {"a": [1, {"b": "c"}]}, events=(Event("e", 3),))
    for number in range(1, 5)
]
RECORDS = [("ab" * 16, f"{1:016x}", 4, "message", {"text": "x"})]
WRITTEN = {name: write_as([*traces(SPANS, 2)]) for name, write_as in FILE_FORMATS.items()}
WRITTEN |= {f"logs in {name}": write_as(logs(RECORDS)) for name, write_as in FILE_FORMATS.items()}


def spans_read(path: Path) -> list[SpanRecord]:
    """What is read of it, which may be nothing."""
    problems = Problems()
    try:
        return [span for spans in open_source(path).traces(problems) for span in spans]
    except SourceError:
        return []


@pytest.mark.parametrize("what", WRITTEN)
def test_cut_anywhere(write: Write, what: str) -> None:
    """What was whole before the cut is read, nothing else, and no exception is ours."""
    content = WRITTEN[what]
    step = max(1, len(content) // 300)
    count = 0
    for size in range(0, len(content), step):
        found = spans_read(write("x", content[:size]))
        assert all(span in SPANS for span in found)
        if "packed" not in what and "document" not in what and "Jaeger" not in what:
            assert len(found) >= count
            count = len(found)


@pytest.mark.parametrize("what", WRITTEN)
def test_flipped_bytes(write: Write, what: str) -> None:
    """Whatever a byte becomes, the file is read or refused."""
    content = WRITTEN[what]
    chance = random.Random(what)
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 4))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        for span in spans_read(write("x", bytes(changed))):
            assert len(span.trace_id) == 32
            assert len(span.span_id) == 16


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    beginning=st.sampled_from(
        [b"", b"{\n", b"[\n", b"\0\0\0\x20\n", b"\n\x20\n", b"\x20\n\x1e\n", b'{"data":[{"traceID":']
    ),
    rest=st.binary(max_size=200),
)
def test_any_bytes(write: Write, beginning: bytes, rest: bytes) -> None:
    """Nothing in a file is an exception of another kind than ours."""
    spans_read(write("x", beginning + rest))


# ── bombs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_CHILD = """
import resource, sys
from otel_agent_trace import open_source
from otel_agent_trace.errors import SourceError
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
problems = []
try:
    print(sum(len(spans) for spans in open_source(sys.argv[1]).traces(problems.append)))
except SourceError as error:
    print("refused", error)
print(len(problems), *sorted({problem.reason for problem in problems})[:3])
"""
_MIB = 1 << 20
BOMBS: dict[str, Callable[[], bytes]] = {
    "a message that unpacks to 4 GiB": lambda: _framed(_packed(4096 * _MIB)),
    "many messages that unpack to 60 MiB": lambda: _framed(_packed(60 * _MIB)) * 8,
    "a document of line feeds": lambda: gzip.compress(b"{\n" + b"\n" * (4 * _MIB)),
    "a line of quotes": lambda: b"'" * _MIB,
    "lines of tabs": lambda: b"\t\n" * _MIB,
    "a document of brackets": lambda: b"{\n" + b"[" * (60 * _MIB),
    "a list of nothing": lambda: b"[\n" + b"{}," * (20 * _MIB) + b"{}]",
    "a list of lists": lambda: b"[\n" + b"[]," * (20 * _MIB) + b"[]]",
    "a length of 4 GiB": lambda: b"\0\0\0\x06\n\x04\x12\x02\x12\0" + b"\xff\xff\xff\xff" + b"\n\x04\x12\x02" * _MIB,
    "keys in snake_case": lambda: b'{"resource_spans":[' + b'{"a_b":1,"c":null},' * (_MIB // 4) + b"{}]}",
}


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def _packed(size: int) -> bytes:
    packer = zstd.ZstdCompressor()
    parts = [packer.compress(bytes(_MIB)) for _ in range(size // _MIB)]
    return b"".join([*parts, packer.flush()])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is one of Linux")
@pytest.mark.parametrize("what", BOMBS)
def test_bombs(write: Write, what: str) -> None:
    """They are refused or reported in bounded memory and time."""
    path = write("x", BOMBS[what]())
    command = [sys.executable, "-c", _CHILD, os.fspath(path), str(1600 * _MIB)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLOCK_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(("0\n", "refused"))
