"""Compressed segments: frames that end at line ends, readable by everybody, and damage that costs one frame."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import SpanRecord, load_runs
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import Problem
from otel_agent_trace.store import frames as frames_module
from otel_agent_trace.store.frames import Frame, FrameError, FrameWriter, content_of, contents, frames
from tests.support.file_formats import zstd

BEGAN_NS = 1_795_475_000_000_000_000


def compressed(content: bytes, pieces: int = 1) -> bytes:
    out = io.BytesIO()
    writer = FrameWriter(out.write)
    size = len(content) // pieces + 1
    for begin in range(0, len(content), size):
        writer.write(content[begin : begin + size])
    writer.close()
    return out.getvalue()


def lines_of(number: int, text_bytes: int = 500) -> list[bytes]:
    """Lines of one run each, with random texts so that compression makes them little smaller."""
    made = random.Random(number)
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    spans = [
        SpanRecord(f"{n + 1:032x}", f"{n + 1:016x}", None, made.randbytes(text_bytes).hex(), BEGAN_NS + n, BEGAN_NS + n + 9, agent)
        for n in range(number)
    ]  # fmt: skip
    return [otlp_json.encode([span]) + b"\n" for span in spans]


def frames_in(data: bytes) -> list[Frame]:
    return [*frames(io.BytesIO(data))]


def lines_before(content: bytes, data: bytes, number: int) -> int:
    """The number of lines in the frames before one."""
    return content[: sum(frame.size_bytes or 0 for frame in frames_in(data)[:number])].count(b"\n")


def no_damage(error: FrameError) -> None:
    pytest.fail(str(error))


@pytest.fixture
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "FRAME_BYTES", 4096)


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_frames_of_one_mebibyte_end_at_line_ends() -> None:
    content = b"".join(lines_of(4000))
    data = compressed(content, pieces=7)
    found = frames_in(data)
    assert len(found) == len(content) // (1 << 20) + 1
    position = 0
    for frame in found:
        assert frame.size_bytes is not None
        assert frame.size_bytes <= 1 << 20
        assert frame.has_checksum
        assert frame.is_whole
        position += frame.size_bytes
        assert content[:position].endswith(b"\n")
    assert b"".join(block for frame in found for block in content_of(io.BytesIO(data), frame)) == content


def test_a_longer_line_has_a_longer_frame() -> None:
    lines = [b"a" * 9 + b"\n", os.urandom(3 << 20).hex().encode() + b"\n", b"b\n"]
    found = frames_in(compressed(b"".join(lines), pieces=50))
    assert [frame.size_bytes for frame in found] == [10, len(lines[1]), 2]


def test_a_line_without_end_is_held_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "_MOST_FRAME_BYTES", 2 << 20)
    found = frames_in(compressed(b"x" * (5 << 20), pieces=100))
    assert max(frame.size_bytes or 0 for frame in found) < 3 << 20


@pytest.mark.usefixtures("small_frames")
def test_the_table_at_the_end_has_each_frame() -> None:
    data = compressed(b"".join(lines_of(40)))
    number, flags, magic = struct.unpack("<IBI", data[-9:])
    assert (flags, magic) == (0, 0x8F92EAB1)
    begin = len(data) - 9 - 8 * number
    assert data[begin - 8 : begin] == struct.pack("<II", 0x184D2A5E, 8 * number + 9)
    rows = [struct.unpack_from("<II", data, begin + 8 * row) for row in range(number)]
    assert rows == [(frame.compressed_bytes, frame.size_bytes) for frame in frames_in(data)]
    assert number > 5


@pytest.mark.usefixtures("small_frames")
def test_other_tools_read_it(tmp_path: Path) -> None:
    lines = lines_of(40)
    content = b"".join(lines)
    path = tmp_path / "segment.jsonl.zst"
    path.write_bytes(compressed(content))
    assert zstd.decompress(path.read_bytes()) == content
    with zstd.open(path) as file:
        assert file.read() == content
    if shutil.which("zstd"):
        assert subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout == content
        subprocess.run(["zstd", "-tq", path], check=True)


@pytest.mark.usefixtures("small_frames")
def test_duckdb_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "segment.jsonl.zst"
    path.write_bytes(compressed(b"".join(lines_of(40))))
    query = f"SELECT count(*) FROM read_json('{path}', format='newline_delimited')"
    assert duckdb.sql(query).fetchall() == [(40,)]


@pytest.mark.usefixtures("small_frames")
def test_python_zstandard_reads_it() -> None:
    content = b"".join(lines_of(40))
    reader = zstandard.ZstdDecompressor().stream_reader(compressed(content), read_across_frames=True)
    assert reader.read() == content


@given(st.lists(st.binary(max_size=300), max_size=40), st.integers(1, 50), st.integers(1, 400))
def test_any_content_comes_back(lines: list[bytes], pieces: int, frame_bytes: int) -> None:
    content = b"\n".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames_module, "FRAME_BYTES", frame_bytes)
        data = compressed(content, pieces)
    assert b"".join(contents(io.BytesIO(data), no_damage)) == content
    assert sum(frame.compressed_bytes for frame in frames_in(data)) < len(data)


# ── reading what others wrote, and what is damaged ───────────────────────────────────────────────────────────────────


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=8), st.sampled_from([1, 3, 19]), st.booleans())
def test_frames_of_others_are_listed(parts: list[bytes], level: int, streamed: bool) -> None:
    def pack(part: bytes) -> bytes:
        if not streamed:
            return zstd.compress(part, level)
        packer = zstd.ZstdCompressor(level)
        return packer.compress(part) + packer.flush()

    packed = [pack(part) for part in parts]
    data = b"".join(packed)
    found = frames_in(data)
    assert [frame.compressed_bytes for frame in found] == [*map(len, packed)]
    assert [b"".join(content_of(io.BytesIO(data), frame)) for frame in found] == parts


@given(st.data())
def test_a_change_costs_one_frame(data: st.DataObject) -> None:
    lines = [
        b'{"line": "%d %b"}\n' % (number, random.Random(number).randbytes(60).hex().encode()) for number in range(60)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames_module, "FRAME_BYTES", 1000)
        good = compressed(b"".join(lines))
    found = frames_in(good)
    hit = data.draw(st.integers(0, len(found) - 1))
    at = found[hit].offset + data.draw(st.integers(0, found[hit].compressed_bytes - 1))
    changed = bytearray(good)
    changed[at] ^= data.draw(st.integers(1, 255))
    of_hit = {*b"".join(content_of(io.BytesIO(good), found[hit])).splitlines(keepends=True)}
    damages: list[FrameError] = []
    read: list[bytes] = []
    try:
        for block in contents(io.BytesIO(bytes(changed)), damages.append):
            read += block.splitlines(keepends=True)
    except FrameError as error:
        damages.append(error)
    assert [line for line in read if line not in of_hit and line != b"\n"] == [
        line for line in lines if line not in of_hit
    ]
    assert len(damages) == 1 or set(read) >= of_hit  # some bits of a header mean nothing


@given(st.binary(max_size=3000), st.lists(st.sampled_from([0, 5, 14, 40]), max_size=20))
def test_a_hostile_file_ends(filler: bytes, positions: Sequence[int]) -> None:
    data = bytearray(compressed(b"{}\n" * 20)[:40] + filler)
    for position in positions:
        data[position:position] = frames_module.MAGIC
    try:
        blocks = [*contents(io.BytesIO(bytes(data)), lambda _: None)]
    except FrameError:
        return
    assert sum(map(len, blocks)) <= 1 << 26


def test_many_marks_of_frames_cost_little() -> None:
    data = compressed(b"{}\n") + frames_module.MAGIC * 500_000
    assert len(frames_in(data)) <= 103


def test_a_table_is_not_trusted() -> None:
    content = b"".join(lines_of(3))
    (frame,) = frames_in(compressed(content))
    data = compressed(content)[: frame.compressed_bytes]
    table = struct.pack("<II", 1, 0xFFFFFFFF) * 3 + struct.pack("<IBI", 0xFFFFFFFF, 0x7C, 0x8F92EAB1)
    hostile = data + struct.pack("<II", 0x184D2A5E, len(table)) + table + data
    assert b"".join(contents(io.BytesIO(hostile), no_damage)) == content * 2


def test_a_header_that_states_a_smaller_content_is_damage() -> None:
    data = bytearray(zstd.compress(bytes(100_000), options={zstd.CompressionParameter.checksum_flag: 1}))
    assert data[4] & 0xE0 == 0xA0  # a content size of four bytes, without a window
    data[5:9] = (1000).to_bytes(4, "little")
    with pytest.raises(FrameError):
        [*contents(io.BytesIO(bytes(data)), no_damage)]


@pytest.mark.usefixtures("small_frames")
@pytest.mark.parametrize("number", [0, 3, -1])
def test_readers_go_on_after_a_damaged_frame(tmp_path: Path, number: int) -> None:
    lines = lines_of(40)
    content = b"".join(lines)
    data = bytearray(compressed(content))
    found = frames_in(bytes(data))
    number %= len(found)
    data[found[number].offset + found[number].compressed_bytes // 2] ^= 0x10
    path = tmp_path / "traces.jsonl.zst"
    path.write_bytes(data)
    first = lines_before(content, bytes(data), number)
    lost = {*lines[first : lines_before(content, bytes(data), number + 1)]}
    problems: list[Problem] = []
    runs = load_runs(path, on_problem=problems.append)
    assert [run.trace_id for run in runs] == [trace_of(line) for line in lines if line not in lost]
    assert [(problem.path, problem.line) for problem in problems] == [(str(path), first + 1)]
    assert problems[0].reason.startswith("damaged data (")
    assert problems[0].reason.endswith(
        "; what follows it was read" if number + 1 < len(found) else "before it was read"
    )


def trace_of(line: bytes) -> str:
    found: str = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"]
    return found
