"""Following a store from its end on."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from otel_agent_trace import run_to_spans
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.sources import followed_files
from otel_agent_trace.sources.tail import Tail
from tests.support.sample_runs import lines_of, make_run


def lines(*numbers: int) -> bytes:
    return b"".join(line for number in numbers for line in lines_of(run_to_spans(make_run(number))))


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def ended(tail: Tail) -> list[int]:
    """The outermost runs that have ended, by their numbers."""
    events = [event for event in tail.look(is_last=False) if event.event == "run_ended" and event.depth == 0]
    return [int(event.run_id, 16) - 1 for event in events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.jsonl"


def test_what_is_there_is_left_out(path: Path) -> None:
    append(path, lines(0, 1))
    tail = Tail(str(path), only_new=True)
    assert ended(tail) == []
    append(path, lines(2))
    assert ended(tail) == [2]
    append(path, lines(3, 4))
    assert ended(tail) == [3, 4]
    tail.close()


def test_a_file_that_is_new(path: Path) -> None:
    tail = Tail(str(path), only_new=True)
    assert ended(tail) == []
    append(path, lines(0))
    assert ended(tail) == [0]
    tail.close()


def test_an_empty_file(path: Path) -> None:
    path.touch()
    tail = Tail(str(path), only_new=True)
    assert ended(tail) == []
    append(path, lines(0))
    assert ended(tail) == [0]
    tail.close()


def test_a_line_that_is_being_written_is_new(path: Path) -> None:
    line = otlp_json.encode(run_to_spans(make_run(5))) + b"\n"
    content = lines(0) + line
    cut = len(content) - len(line) // 2
    append(path, content[:cut])
    tail = Tail(str(path), only_new=True)
    assert ended(tail) == []
    append(path, content[cut:])
    assert ended(tail) == [5]
    tail.close()


def test_only_the_end_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_files, "_SKIPPED_BYTES", 500)
    append(path, lines(*range(20)))
    tail = Tail(str(path), only_new=True)
    assert ended(tail) == []
    append(path, lines(20))
    assert ended(tail) == [20]
    tail.close()


def test_a_copy_of_what_was_there_is_not_new(path: Path) -> None:
    """As after rotation that copies and compresses."""
    append(path, lines(0, 1))
    tail = Tail(str(path.parent), only_new=True)
    assert ended(tail) == []
    with gzip.open(path.with_name("t.1.jsonl.gz"), "wb") as packed:
        packed.write(path.read_bytes())
    os.truncate(path, 0)
    append(path, lines(2))
    assert ended(tail) == [2]
    tail.close()


def test_other_formats_and_packed_files(path: Path) -> None:
    append(path, lines(0))
    with gzip.open(path.with_name("old.jsonl.gz"), "wb") as packed:
        packed.write(lines(1))
    document = path.with_name("document.json")
    document.write_bytes(lines(2).splitlines()[-1].replace(b'{"resource', b'{\n"resource'))
    tail = Tail(str(path.parent), only_new=True)
    assert ended(tail) == []
    shutil.copy(path, path.with_name("copy.jsonl"))
    append(path, lines(3))
    assert ended(tail) == [3]
    tail.close()
