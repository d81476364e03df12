"""Damage that ``verify`` finds, where it says it is, and what is none."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_agent_trace import AgentTracer, FileBackend, TailSampling, load_runs
from otel_agent_trace.sources import damage
from otel_agent_trace.store.frames import FrameWriter
from tests.support.export_command import Result

RunCommand = Callable[..., Result]


@pytest.fixture
def lines(tmp_path: Path) -> list[bytes]:
    """The lines of six runs."""
    path = tmp_path / "made.jsonl"
    with AgentTracer(FileBackend(path)) as tracer:
        for number in range(6):
            with tracer.run(user_input=f"question {number}"):
                pass
    content = path.read_bytes()
    path.unlink()
    return content.splitlines(keepends=True)


def frames(*parts: bytes) -> list[bytes]:
    """Return each part as a compressed frame of its own, and at last the table of the frames."""
    written: list[bytes] = []
    for part in parts:
        writer = FrameWriter(written.append)
        writer.write(part)
        writer.close()
    return [*written[::2], written[-1]]


DAMAGE: dict[str, tuple[Callable[[list[bytes]], bytes], list[tuple[int, str]]]] = {
    "a torn line": (lambda it: b"".join(it[:2]) + it[2][:80] + b"\n" + it[3], [(3, "truncated")]),
    "a torn end": (lambda it: b"".join(it[:2]) + it[2][:80], [(3, "incomplete line")]),
    "a line glued to a torn one": (
        lambda it: it[0] + it[1][:200] + it[2] + it[3],
        [(2, "1 intact span of it was read")],
    ),
    "two whole lines glued": (lambda it: it[0] + it[1].rstrip() + it[2] + it[3], [(2, "more than one JSON text")]),
    "invalid UTF-8": (lambda it: it[0] + it[1].replace(b"question", b"q\xffestion"), [(2, "invalid UTF-8 at byte")]),
    "a cut character": (lambda it: it[0] + it[1].replace(b"question", b"\xe2\x82"), [(2, "invalid UTF-8")]),
    "a run of NULs": (lambda it: it[0] + b"\0" * 4096 + b"\n" + it[1], [(2, "4,096 NUL bytes")]),
    "NULs before a line": (lambda it: it[0] + b"\0" * 512 + it[1], [(2, "512 NUL bytes")]),
    "NULs at the end": (lambda it: it[0] + b"\0" * 512, [(2, "512 NUL bytes")]),
    "NULs at the beginning": (lambda it: b"\0" * 512 + it[0] + it[1], [(1, "512 NUL bytes")]),
    "a line of NULs at the beginning": (lambda it: b"\0" * 512 + b"\n" + it[0] + it[1], [(1, "512 NUL bytes")]),
    "text before the first line": (lambda it: b"started\n" + it[0] + it[1], [(1, "JSON")]),
    "a changed id": (lambda it: it[0] + it[1].replace(b'"traceId":"', b'"traceId":"x'), [(2, "hex")]),
    "no list of spans": (lambda it: it[0] + b'{"resourceSpans":5}\n', [(2, "array")]),
    "plain text": (lambda it: it[0] + b"Traceback (most recent call last):\n" + it[1], [(2, "JSON")]),
    "NaN, which is no JSON": (lambda it: it[0] + b'{"loss":NaN}\n', [(2, "JSON")]),
    "several": (lambda it: it[0][:50] + b"\n" + it[1] + it[2][:50] + b"\n", [(1, "truncated"), (3, "truncated")]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_by_path_and_line(
    tmp_path: Path, lines: list[bytes], run_command: RunCommand, name: str
) -> None:
    """Each damage is one line ``PATH:LINE: why``, the exit status is 1, and what is intact can be read."""
    make, expected = DAMAGE[name]
    path = tmp_path / "t.jsonl"
    path.write_bytes(make(lines))
    result = run_command("verify", path)
    assert (result.code, result.err) == (1, "")
    found = [line.removeprefix(f"{path}:").split(": ", 1) for line in result.out.splitlines()]
    assert [int(number) for number, _ in found] == [number for number, _ in expected]
    for (_, reason), (_, part) in zip(found, expected, strict=True):
        assert part in reason
    assert load_runs(path, on_problem=lambda problem: None)


SOUND: dict[str, Callable[[list[bytes]], bytes]] = {
    "our lines": b"".join,
    "an empty file": lambda it: b"",
    "JSON of others": lambda it: it[0] + b'{"level":"info"}\n5\n"text"\n[1,{"a":null}]\n' + it[1],
    "blank lines, and blanks where something was": lambda it: it[0] + b"\n\n" + b" " * 700 + b"\n\t\n" + it[1],
    "carriage returns": lambda it: b"".join(it).replace(b"\n", b"\r\n"),
    "no line feed at the end": lambda it: b"".join(it).rstrip(),
    "another shape of attributes": lambda it: it[0] + b'{"resourceSpans":[]}\n{"resourceMetrics":[{}]}\n{}\n',
    "deep JSON of others": lambda it: it[0] + b"[" * 50_000 + b"]" * 50_000 + b"\n",
    "a byte order mark": lambda it: b"\xef\xbb\xbf" + b"".join(it),
    "other scripts": lambda it: it[0].replace(b"question", "Łódź, 東京, 🌧".encode()) + it[1],
}


@pytest.mark.parametrize("name", SOUND)
def test_what_others_write_is_no_damage(tmp_path: Path, lines: list[bytes], run_command: RunCommand, name: str) -> None:
    """A sound file has exit status 0 and a summary."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(SOUND[name](lines))
    result = run_command("verify", path)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("no damage in 1 file, ")


def test_a_damaged_frame_is_named_by_a_line_of_it(tmp_path: Path, lines: list[bytes], run_command: RunCommand) -> None:
    """A changed bit in the second of three frames is found by its checksum; the others are read."""
    parts = [b"".join(lines[:2]), b"".join(lines[2:4]), b"".join(lines[4:])]
    first, second, *rest = frames(*parts)
    path = tmp_path / "t.jsonl.zst"
    path.write_bytes(b"".join([first, second, *rest]))
    assert run_command("verify", path).code == 0
    changed = bytearray(second)
    changed[len(second) // 2] ^= 0x40
    path.write_bytes(b"".join([first, changed, *rest]))
    result = run_command("verify", path)
    assert result.code == 1
    (line,) = result.out.splitlines()
    assert line.startswith((f"{path}:3: a damaged zstd frame", f"{path}:4: a damaged zstd frame"))


@pytest.mark.parametrize(
    ("name", "cut", "why"), [("gz", 90, "gzip that ends early"), ("zst", 60, "zstd frame that ends early")]
)
def test_a_truncated_file_is_damage(
    tmp_path: Path, lines: list[bytes], run_command: RunCommand, name: str, cut: int, why: str
) -> None:
    """A gzip or zstd file whose end is missing is damaged at the line that was reached."""
    content = b"".join(lines)
    packed = gzip.compress(content) if name == "gz" else frames(content)[0]
    path = tmp_path / f"t.jsonl.{name}"
    path.write_bytes(packed)
    assert run_command("verify", path).code == 0
    path.write_bytes(packed[:-cut])
    result = run_command("verify", path)
    assert result.code == 1
    assert why in result.out.splitlines()[-1]


def test_a_changed_gzip_is_found_by_its_checksum(tmp_path: Path, lines: list[bytes], run_command: RunCommand) -> None:
    """A changed letter in a value leaves JSON that can be read; the checksum of gzip finds it."""
    path = tmp_path / "t.jsonl.gz"
    stored = bytearray(gzip.compress(b"".join(lines), compresslevel=0))
    stored[stored.index(b"question 1")] ^= 1
    path.write_bytes(stored)
    result = run_command("verify", path)
    assert (result.code, result.out.count("CRC")) == (1, 1)


def test_a_line_that_is_too_long_is_damage(
    tmp_path: Path, lines: list[bytes], run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line beyond the limit, which no reader takes, is named without being held in memory."""
    monkeypatch.setattr(damage, "MAX_LINE_BYTES", 1 << 20)
    path = tmp_path / "t.jsonl"
    path.write_bytes(lines[0] + b'{"x":"' + b"a" * (1 << 20) + b'"}\n' + lines[1])
    result = run_command("verify", path)
    assert (result.code, result.out) == (1, f"{path}:2: a line of more than 1 MiB\n")


def test_journals_and_segments_are_verified_too(tmp_path: Path, lines: list[bytes], run_command: RunCommand) -> None:
    """A path of a live file means its store."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(lines[0])
    segment = tmp_path / "t-20261128T101500.123456Z-9f3a1c2b.jsonl"
    segment.write_bytes(lines[1] + lines[2][:40])
    (tmp_path / "t.jsonl.open").mkdir()
    journal = tmp_path / "t.jsonl.open" / "12-9f3a1c2b.jsonl"
    journal.write_bytes(lines[3][:40] + b"\n" + lines[4])
    result = run_command("verify", path)
    assert result.code == 1
    assert {line.split(":")[0] for line in result.out.splitlines()} == {str(segment), str(journal)}
    data = json.loads(run_command("verify", path, "--json").out)
    assert (data["files"], data["damage"]) == (3, 2)
    assert {(Path(found["path"]).name, found["line"]) for found in data["damaged"]} == {
        (segment.name, 2),
        (journal.name, 1),
    }


def test_a_line_that_is_being_written_is_no_damage(
    tmp_path: Path, lines: list[bytes], run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An incomplete last line of a live file is looked at again a moment later."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(lines[0] + lines[1][:100])

    def finish(_: float) -> None:
        with path.open("ab") as file:
            file.write(lines[1][100:])

    monkeypatch.setattr(damage.time, "sleep", finish)
    assert run_command("verify", path).code == 0


def test_what_cannot_be_read_at_all_is_an_error(tmp_path: Path, lines: list[bytes], run_command: RunCommand) -> None:
    """No file, a pipe, a folder without files: exit status 2 and one line; a pipe is never opened for reading."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "empty").mkdir()
    for name in ("missing.jsonl", "pipe.jsonl", "empty"):
        result = run_command("verify", tmp_path / name)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"error: {tmp_path / name}: ")
        assert result.err.count("\n") == 1
    result = run_command("verify", "http://localhost:16686")
    assert result.code == 2


def test_names_in_reports_cannot_control_the_terminal(
    tmp_path: Path, lines: list[bytes], run_command: RunCommand
) -> None:
    """Control characters of names are escaped."""
    path = tmp_path / "t\x1b[2J.jsonl"
    path.write_bytes(lines[0][:30])
    result = run_command("verify", path)
    assert result.code == 1
    assert "\x1b" not in result.out


def test_binary_parts_are_verified_too(tmp_path: Path, run_command: RunCommand) -> None:
    """A part beside the store whose content is not what its name says is damage."""
    path = tmp_path / "t.jsonl"
    with AgentTracer(FileBackend(path)) as tracer, tracer.run() as run, run.step("screenshot") as step:
        step.output = os.urandom(100_000)
    (part,) = (tmp_path / "t.jsonl.media").iterdir()
    assert run_command("verify", path).code == 0
    part.write_bytes(part.read_bytes()[:-1])
    result = run_command("verify", path)
    assert result.code == 1
    assert result.out.startswith(f"{part}:1: ")


def test_what_sampling_has_noted_is_verified_too(tmp_path: Path, run_command: RunCommand) -> None:
    path, folder = tmp_path / "t.jsonl", tmp_path / "t.jsonl.sampling"
    with AgentTracer(FileBackend(path), sampling=TailSampling(rest=0)) as tracer, tracer.run():
        pass
    (counts,) = folder.glob("*.counts")
    notes = [counts, folder / "decisions", folder / "counted", folder / "decisions.before"]
    whole = [*(each.read_bytes() for each in notes[:2]), b"0" * 32 + b'["a","success",0,1]\n', b"0" * 32 + b"k\n"]
    total = b'{"added":{},"counts":[["a","success",0,3]]}'
    for file, text in zip(notes, whole, strict=True):
        file.write_bytes(text + text[:9])  # the last line of a process that was killed
    (folder / "total.json").write_bytes(total)
    assert run_command("verify", path).code == 0
    for file, text in zip(notes, whole, strict=True):
        file.write_bytes(text + text[:9] + b"\n")
    (folder / "total.json").write_bytes(total[:-1])
    result = run_command("verify", path)
    found = [line.rpartition(".sampling/")[2].partition(": ")[0] for line in result.out.splitlines()]
    assert (result.code, found[0], sorted(found[1:])) == (1, "total.json:1", sorted(f"{each.name}:2" for each in notes))
