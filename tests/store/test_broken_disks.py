"""Disks that fill up, fail and vanish: the program goes on as without them, and what is lost is counted."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import logging
import os
import resource
import shutil
import signal
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_runs
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import store_settings
from tests.support.requirements import cannot_run, needs_fork
from tests.support.stores import make_socket
from tests.support.waiting import DEADLOCK_S, wait_until

pytestmark = [needs_fork, pytest.mark.slow]
LONGER_S = 5.0
"""A call may take so much longer than without a fault, of which most is for a busy machine."""
OF_A_RUN = 3
"""Spans of `use_agents`' runs: a run and two steps."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        cannot_run(f"needs the right to mount a disk: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def use_agents(tracer: AgentTracer, name: str, number: int = 10, size: int = 100) -> list[float]:
    """Call agents as a program does, check what it gets from them, and return the seconds that each took."""

    @tracer.tool
    def look(key: str) -> str:
        if key == "missing":
            raise KeyError(key)
        return key * size

    @tracer.agent
    def answer(question: str) -> str:
        with pytest.raises(KeyError):
            look("missing")
        return look("x")

    seconds = []
    for index in range(number):
        before = time.perf_counter()
        assert answer(f"{name} {index}") == "x" * size
        seconds.append(time.perf_counter() - before)
    return seconds


def check_counts(tracer: AgentTracer, ended: int) -> None:
    """What was kept and what failed is all that ended, and what the journal could not take is named so."""
    counts = {name.removeprefix("FileBackend: "): count for name, count in tracer.stats().items()}
    failed = {name: count for name, count in counts.items() if name.startswith("failed: ")}
    assert counts.get("kept", 0) + sum(failed.values()) == ended, counts
    others = counts.keys() - failed.keys() - {"kept", "runs", "steps"}
    assert all("journaled" in name or "compaction" in name for name in others), counts


def check_readable(path: Path, *, once: bool = True) -> set[str]:
    """Check that every file of the store is read by `json` and DuckDB, each ended span once; return their ids."""
    ended = Counter[str]()
    files = [file for file in StoreFiles(str(path)).files() if stat.S_ISREG(os.lstat(file).st_mode)]
    for file in files:
        lines = [json.loads(line) for line in Path(file).read_bytes().split(b"\n") if line.strip()]
        groups = [group for line in lines for group in line.get("resourceSpans", ())]
        spans = [span for group in groups for scope in group["scopeSpans"] for span in scope["spans"]]
        ended.update(span["spanId"] for span in spans if "endTimeUnixNano" in span)
    duckdb.sql(f"select count(*) from read_json({files}, format='newline_delimited')").fetchall()
    assert not once or max(ended.values(), default=1) == 1
    return {*ended}


# ── faults that begin and end ────────────────────────────────────────────────────────────────────────────────────────

Fault = Callable[[Path, pytest.MonkeyPatch], contextlib.AbstractContextManager[object]]


def calls_fail(code: int, *names: str) -> Fault:
    @contextlib.contextmanager
    def fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        def fail(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, fail)
            yield

    return fault


@contextlib.contextmanager
def short_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The disk takes half of what it is given."""
    write, pwrite = os.write, os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
        patch.setattr(
            os,
            "pwrite",
            lambda number, data, at: pwrite(number, data if data.isspace() else data[: len(data) // 2], at),
        )
        yield


def limit(kind: int, most: Callable[[Path], int], *, reopened: bool = False) -> Fault:
    @contextlib.contextmanager
    def fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        before = resource.getrlimit(kind)
        if reopened:
            os.unlink(path)
        resource.setrlimit(kind, (most(path), before[1]))
        yield
        resource.setrlimit(kind, before)

    return fault


def renamed(name: Callable[[Path], Path]) -> Fault:
    @contextlib.contextmanager
    def fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        name(path).rename(name(path).with_name("elsewhere"))
        yield

    return fault


@contextlib.contextmanager
def vanished(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shutil.rmtree(path.parent)
    yield


def in_the_way(make: Callable[[Path], object]) -> Fault:
    """Something else is at the path for a while."""

    @contextlib.contextmanager
    def fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        path.rename(path.with_suffix(".jsonl.1"))
        make(path)
        yield
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    return fault


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 7))  # /dev/full
    except PermissionError:
        cannot_run("needs the right to make a device")


FAULTS = {
    "no room": calls_fail(errno.ENOSPC, "write", "pwrite"),
    "input/output error": calls_fail(errno.EIO, "write", "pwrite"),
    "interrupted": calls_fail(errno.EINTR, "write", "pwrite"),
    "would block": calls_fail(errno.EAGAIN, "write"),
    "quota": calls_fail(errno.EDQUOT, "write", "pwrite", "ftruncate"),
    "stale handle": calls_fail(errno.ESTALE, "write", "pwrite", "lstat", "fstat", "open"),
    "status fails": calls_fail(errno.EIO, "lstat", "fstat"),
    "short writes": short_writes,
    "file size": limit(resource.RLIMIT_FSIZE, lambda path: path.stat().st_size + 1000),
    "descriptors": limit(resource.RLIMIT_NOFILE, lambda path: 4, reopened=True),
    "folder vanished": vanished,
    "folder renamed": renamed(lambda path: path.parent),
    "file renamed": renamed(lambda path: path),
    "journals vanished": lambda path, _: contextlib.nullcontext(shutil.rmtree(f"{path}.open")),
    "FIFO": in_the_way(os.mkfifo),
    "directory": in_the_way(os.mkdir),
    "dangling link": in_the_way(lambda path: path.symlink_to("nowhere")),
    "link to another file": in_the_way(lambda path: path.symlink_to("/etc/passwd")),
    "device": in_the_way(make_device),
    "socket": in_the_way(make_socket),
}
LEAVES_THE_FIRST = FAULTS.keys() - {"descriptors", "folder vanished", "folder renamed", "file renamed"}


def is_open_run_in(path: Path) -> bool:
    return "open all the time" in {run.user_input for run in load_runs(path)}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("rotation", [{}, {"rotate_bytes": 4000, "durability": "span"}], ids=["plain", "rotating"])
def test_a_fault_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, rotation: Any
) -> None:
    """The program notices nothing, each loss is counted, one cause is logged once, and all is kept again after it."""
    path = tmp_path / "store" / "t.jsonl"
    tracer = AgentTracer(backend=FileBackend(path, **rotation))
    use_agents(tracer, "before")
    open_run = tracer.start_run(user_input="open all the time")
    caplog.clear()
    with FAULTS[name](path, monkeypatch):
        seconds = use_agents(tracer, "meanwhile")
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == len(set(warnings)) <= 3
    assert sorted(seconds)[-3] < LONGER_S  # the others are for a busy machine
    tries = kept = 0
    deadline = time.monotonic() + DEADLOCK_S
    while not (kept and is_open_run_in(path)) and time.monotonic() < deadline:  # a full disk is tried every second
        before = tracer.stats().get("FileBackend: kept", 0)
        use_agents(tracer, "again", 1)
        kept = tracer.stats().get("FileBackend: kept", 0) == before + OF_A_RUN
        tries += 1
    assert kept, tracer.stats()
    use_agents(tracer, "after")
    assert is_open_run_in(path)
    tracer.end_run(open_run)
    check_counts(tracer, 30 * OF_A_RUN + tries * OF_A_RUN + 1)
    check_readable(path)
    questions = {run.user_input for run in load_runs(path)}
    assert questions >= {f"after {index}" for index in range(10)} | {"open all the time"}
    if name in LEAVES_THE_FIRST and not (rotation and name == "file renamed"):
        assert questions >= {f"before {index}" for index in range(10)}
    tracer.close()
    assert not StoreFiles(str(path)).journals()


# ── each call fails once ─────────────────────────────────────────────────────────────────────────────────────────────

CALLS = ("open", "write", "pwrite", "fstat", "rename", "makedirs", "fdatasync")
CODES = (errno.EIO, errno.ENOSPC, errno.EINTR)


def in_a_child(call: Callable[[], object]) -> Any:
    """Call in a forked child, which is killed right after it; return the result."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer: Any = None
        try:
            answer = call()
        except BaseException as error:
            answer = repr(error)
        finally:
            with os.fdopen(writer, "w") as pipe:
                json.dump(answer, pipe)
                pipe.flush()
                os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    return answer


def fail_once(name: str, nth: int, code: int) -> Callable[[], bool]:
    """Let the n-th call fail; return a function that returns whether it did."""
    call, numbers = getattr(os, name), itertools.count(1)
    failed = []

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(numbers) == nth:
            failed.append(nth)
            raise OSError(code, os.strerror(code))
        return call(*arguments, **options)

    setattr(os, name, counted)
    return lambda: bool(failed)


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", CALLS)
def test_each_call_fails_once(tmp_path: Path, name: str, code: int) -> None:
    """Whatever fails, and when: what counts as kept is read once, and what was in flight at the kill is interrupted."""

    def program(path: Path, nth: int) -> Any:
        logging.disable()
        tracer = AgentTracer(backend=FileBackend(path, rotate_bytes=20_000, durability="run"))
        has_failed = fail_once(name, nth, code)
        for size in (10, 70_000, 10):  # the journal is emptied after the second
            use_agents(tracer, "ended", 1, size)
        check_counts(tracer, 3 * OF_A_RUN)
        tracer.start_run(user_input="in flight")
        return [has_failed(), tracer.stats()]

    use_agents(AgentTracer(backend=FileBackend(tmp_path / "t.jsonl")), "imports what is needed once", 1)
    # Each call fails with one of the codes, the first one with all.
    for nth in itertools.chain([1], itertools.count(2 + CODES.index(code), len(CODES))):
        path = tmp_path / str(nth) / "t.jsonl"
        answer = in_a_child(functools.partial(program, path, nth))
        assert isinstance(answer, list), (nth, answer)
        has_failed, counts = answer
        if not has_failed:
            assert nth > 1
            return
        ended = check_readable(path, once=name != "fdatasync")  # of which nobody knows what the disk has
        assert len(ended) == counts.get("FileBackend: kept"), (nth, counts)
        in_flight = [run.interrupted for run in load_runs(path) if run.user_input == "in flight"]
        excused = any("started" in what for what in counts)
        assert in_flight == [True] or (excused and not in_flight), (nth, counts, in_flight)


# ── disks that are really full ───────────────────────────────────────────────────────────────────────────────────────


def test_a_disk_that_is_full_now_and_then(disk: Path) -> None:
    """Three processes write to a disk of 1 MB while room comes and goes: what counts as kept is read by everybody."""
    path = disk / "t.jsonl"

    def program(number: int) -> Any:
        logging.disable()
        tracer = AgentTracer(backend=FileBackend(path))
        seconds = use_agents(tracer, str(number), 3, 700)
        (disk.parent / f"began {number}").touch()
        while (disk / "go on").exists():
            seconds += use_agents(tracer, str(number), 1, 700)
            time.sleep(0.002)
        return [len(seconds), sorted(seconds)[-max(3, len(seconds) // 100)], tracer.stats()]

    (disk / "go on").touch()
    readers = []
    for number in range(3):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, json.dumps(in_a_child(functools.partial(program, number))).encode())
            os._exit(0)
        os.close(writer)
        readers.append(reader)
    wait_until(lambda: len([*disk.parent.glob("began *")]) == 3, "three writers")
    for number in range(30):
        (disk / "ballast").write_bytes(b"")
        time.sleep(0.05)
        with contextlib.suppress(OSError), open(disk / "ballast", "ab") as ballast:
            while True:
                ballast.write(bytes(4096))
                ballast.flush()
        time.sleep(0.02)
        if number == 15:
            path.unlink(missing_ok=True)  # its room is needed for the rest
    (disk / "ballast").unlink()
    wait_until(path.exists, "a writer after the disk was full")
    (disk / "go on").unlink()
    answers = [json.loads(os.read(reader, 1 << 20)) for reader in readers]
    for _ in readers:
        os.wait()
    ended = check_readable(path)
    assert ended, answers
    for runs, longest, counts in answers:
        kept, failed = counts["FileBackend: kept"], counts.get("FileBackend: failed: No space left on device", 0)
        assert kept + failed == runs * OF_A_RUN
        assert failed
        assert longest < LONGER_S


def test_a_line_that_is_glued_to_one_of_a_killed_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer is killed in a line between another one's look at the file and its write: repaired once nobody writes."""
    path, write = tmp_path / "t.jsonl", os.write
    tracer = AgentTracer(backend=FileBackend(path))
    use_agents(tracer, "before", 1)
    torn = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"\xc3'

    def write_after_another(descriptor: int, data: bytes) -> int:
        with open(path, "ab") as other:
            other.write(torn)
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_after_another)
        use_agents(tracer, "glued", 1)
    use_agents(tracer, "after", 1)
    questions = {"before 0", "glued 0", "after 0"}
    assert {run.user_input for run in load_runs(path)} == questions
    tracer.close()
    compact(StoreFiles(str(path)), store_settings({}))
    assert len(check_readable(path)) == 3 * OF_A_RUN
    assert {run.user_input for run in load_runs(path)} == questions
