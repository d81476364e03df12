"""Files from which runs are removed while programs write to them: nothing of theirs is lost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_runs
from otel_agent_trace.cli import main
from otel_agent_trace.store import lines, replacing
from otel_agent_trace.store.lines import LineFile
from otel_agent_trace.store.sharing import mark_in_use
from tests.support.moments import act_after
from tests.support.processes import environment
from tests.support.requirements import needs_locks
from tests.support.waiting import wait_until

_WRITER = """
import sys, threading
from otel_agent_trace import AgentTracer, FileBackend

path, name = sys.argv[1:]
ending = threading.Event()
counts = {}

def work(thread):
    while not ending.is_set():
        number = counts.get(thread, 0)
        with tracer.run(user_id="bob", user_input=f"{name}/{thread}/{number}") as run:
            with run.step("search"):
                pass
        counts[thread] = number + 1
        ending.wait(0.002)

with AgentTracer(FileBackend(path)) as tracer:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ending.set()
    for thread in threads:
        thread.join()
for thread, number in counts.items():
    print(*(f"{name}/{thread}/{each}" for each in range(number)), sep="\\n")
"""


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc of Linux")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program that ends when its standard input does."""
    started: list[subprocess.Popen[str]] = []

    def call(code: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, **pipes, text=True, env=environment())  # type: ignore[call-overload]
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def record(path: Path, user: str) -> None:
    with AgentTracer(FileBackend(path)) as tracer, tracer.run(user_id=user, user_input=f"of {user}"):
        pass


@needs_locks
def test_nothing_that_programs_write_meanwhile_is_lost(path: Path, start: Start) -> None:
    """Two processes of two threads write runs of bob all the time, while those of four others are removed."""
    writers = [start(_WRITER, path, name) for name in ("a", "b")]
    for number in range(4):
        record(path, f"ann {number}")
        size = path.stat().st_size
        wait_until(lambda size=size: path.stat().st_size > size + 50_000, "the writers write")  # type: ignore[misc]
        inode = path.stat().st_ino
        assert main(["forget", str(path), "--user", f"ann {number}", "--apply"]) == 0
        assert path.stat().st_ino != inode
    written = [line for writer in writers for line in writer.communicate("")[0].splitlines()]
    assert len(written) > 100
    assert sorted(str(run.user_input) for run in load_runs(path, strict=True)) == sorted(written)
    assert os.listdir(path.parent) == [path.name]


@needs_locks
def test_two_who_remove_at_once_both_do(path: Path, start: Start) -> None:
    users = [f"user {number}" for number in range(4)]
    code = "import sys; from otel_agent_trace.cli import main; sys.stdin.readline(); sys.exit(main(sys.argv[1:]))"
    for user in (*users, "bob"):
        record(path, user)
    processes = [start(code, "forget", path, "--user", user, "--apply") for user in users]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait() for process in processes] == [0] * len(users)
    assert [run.user_input for run in load_runs(path)] == ["of bob"]


def test_a_backend_of_this_process_goes_on_in_the_new_file(path: Path) -> None:
    with AgentTracer(FileBackend(path)) as tracer:
        for user in ("ann", "bob"):
            with tracer.run(user_id=user, user_input=user):
                pass
        assert main(["forget", str(path), "--user", "ann", "--apply"]) == 0
        with tracer.run(user_id="cid", user_input="cid"):
            pass
    assert [run.user_input for run in load_runs(path)] == ["bob", "cid"]


def copy_lines(old: io.BufferedReader, write: Callable[[bytes], object], is_last: bool) -> None:
    """Copy whole lines."""
    position = old.tell()
    content = old.read()
    whole = content if is_last else content[: content.rfind(b"\n") + 1]
    old.seek(position + len(whole))
    if whole:
        write(whole)


@needs_locks
def test_a_line_that_is_appended_to_the_old_file_is_carried_over(path: Path) -> None:
    """By a writer that looked at the path just before, also one whose line is incomplete at first."""
    late = [b"late\n", b"in", b"complete\n", b""]
    writer = LineFile(str(path))
    writer.append(b"first\n")

    def copy(old: io.BufferedReader, write: Callable[[bytes], object], is_last: bool) -> None:
        if path.stat().st_ino != os.fstat(old.fileno()).st_ino and late:
            os.write(descriptor, late.pop(0))
            if not late:
                writer.close()
        copy_lines(old, write, is_last)

    with closing(writer):
        descriptor = writer._descriptor or 0
        replacing.replace(str(path), copy)
    assert path.read_bytes() == b"first\nlate\nincomplete\n"


@needs_locks
def test_a_writer_that_opened_the_file_before_it_was_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at the path again once it has marked the file, since nobody knew of it before."""
    path.write_bytes(b"old\n")
    mark = lines.mark_in_use

    def replaced_meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(lines, "mark_in_use", mark)
        replacing.replace(str(path), copy_lines)
        mark(descriptor)

    monkeypatch.setattr(lines, "mark_in_use", replaced_meanwhile)
    monkeypatch.setattr(replacing, "writers_of", lambda status: [])  # as where there is no /proc
    with closing(LineFile(str(path))) as writer:
        writer.append(b"line\n")
    assert path.read_bytes() == b"old\nline\n"


def test_a_file_that_is_rotated_meanwhile_is_left_alone(path: Path) -> None:
    path.write_bytes(b"old\n")
    rotated = path.with_name("traces.jsonl.1")

    def copy(old: io.BufferedReader, write: Callable[[bytes], object], is_last: bool) -> None:
        if not rotated.exists():
            path.rename(rotated)
            path.write_bytes(b"new\n")
        copy_lines(old, write, is_last)

    with pytest.raises(replacing.SourceError, match="renamed or replaced meanwhile"):
        replacing.replace(str(path), copy)
    assert (path.read_bytes(), rotated.read_bytes()) == (b"new\n", b"old\n")
    assert sorted(os.listdir(path.parent)) == [path.name, rotated.name]


def test_a_copy_that_fails_leaves_nothing_behind(path: Path) -> None:
    path.write_bytes(b"old\n")

    def copy(old: io.BufferedReader, write: Callable[[bytes], object], is_last: bool) -> None:
        write(b"a part")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replacing.replace(str(path), copy)
    assert (path.read_bytes(), os.listdir(path.parent)) == (b"old\n", [path.name])


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(path: Path) -> None:
    path.write_bytes(b"old\n")
    left = path.with_name(f".{path.name}.a_b1c2d3.replacing")
    others = [path.with_name(f".{path.name}.swp"), path.with_name(".other.jsonl.a_b1c2d3.replacing")]
    for each in (left, *others):
        each.write_bytes(b"of somebody")
    replacing.replace(str(path), copy_lines)
    assert sorted(os.listdir(path.parent)) == sorted([path.name, *(other.name for other in others)])


@needs_locks
@needs_proc
def test_a_program_that_would_not_notice_the_new_file_is_named(
    path: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a Collector, whose file exporter keeps its file open; a program that only reads is none."""
    record(path, "ann")
    before = path.read_bytes()
    earlier = path.with_name("earlier.jsonl")
    earlier.write_bytes(before)
    code = "import sys; file = open(sys.argv[1], sys.argv[2]); print('open', flush=True); sys.stdin.read()"
    reader, writer = start(code, path, "rb"), start(code, path, "ab")
    for process in (reader, writer):
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    assert main(["forget", str(path), "--user", "ann"]) == 0
    assert main(["forget", str(path.parent), "--user", "ann", "--apply"]) == 2
    assert f"process {writer.pid} has it open" in capsys.readouterr().err
    assert (path.read_bytes(), earlier.read_bytes()) == (before, before)
    writer.communicate("")
    capsys.readouterr()
    assert main(["forget", str(path), "--user", "ann", "--apply", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 1


@needs_proc
@needs_locks
def test_a_program_that_has_just_opened_the_file_is_none_of_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It marks the file as in use a moment later."""
    path.write_bytes(b"{}\n")
    with open(path, "r+b") as opened:
        act_after(monkeypatch, replacing, "writers_of", lambda: mark_in_use(opened.fileno()))
        replacing.check_writers(str(path))
