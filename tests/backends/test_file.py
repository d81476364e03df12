"""`FileBackend`: a private file of OTLP JSON Lines that neither hangs nor hurts the host."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace import StatusCode

from otel_agent_trace import (
    AgentTracer,
    ConfigurationError,
    FileBackend,
    InMemoryBackend,
    Problem,
    iter_runs,
    load_runs,
)
from otel_agent_trace.pipeline import PipelineSpan
from otel_agent_trace.span import Notice
from otel_agent_trace.store import lines
from tests.support.processes import RunPython
from tests.support.waiting import DEADLOCK_S


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all calls of os.write."""
    sizes: list[int] = []
    write = os.write

    def counted(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", counted)
    return sizes


def trace_one(backend: Any, name: str = "r", **fields: Any) -> AgentTracer:
    """One run with one step."""
    tracer = AgentTracer(backend=backend)
    with tracer.run(run_id=name, **fields) as run, run.step("s"):
        pass
    return tracer


def ended_spans(count: int, size: int = 0) -> list[ReadableSpan]:
    """Spans of the SDK that have ended."""
    spans: list[ReadableSpan] = []

    class Keep(InMemoryBackend):
        def on_end(self, span: PipelineSpan) -> None:
            spans.append(span.readable)

    tracer = AgentTracer(backend=Keep())
    for number in range(count):
        with tracer.run(run_id=str(number), user_input="x" * size):
            pass
    return spans


def problems_of(path: Path) -> list[Problem]:
    problems: list[Problem] = []
    list(iter_runs(path, on_problem=problems.append))
    return problems


def test_the_file_is_private(tmp_path: Path) -> None:
    """The file has mode 0600 and its folders 0700, whatever the umask; nothing is made before the first span."""
    path = tmp_path / "a" / "b" / "t.jsonl"
    before = os.umask(0)
    try:
        backend = FileBackend(path)
        assert not path.parent.exists()
        assert backend.runs() == []
        trace_one(backend)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [run.run_id for run in backend.runs()] == ["r"]


def test_where_the_file_is_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path it is what the environment says, else traces.jsonl where the program was started."""
    monkeypatch.chdir(tmp_path)
    assert FileBackend().path == str(tmp_path / "traces.jsonl")
    monkeypatch.setenv("OTEL_AGENT_TRACE_FILE", "sub/t.jsonl")
    backend = FileBackend()
    monkeypatch.chdir("/")
    trace_one(backend)
    assert len(load_runs(tmp_path / "sub" / "t.jsonl")) == 1


def test_one_write_a_span(tmp_path: Path, writes: list[int]) -> None:
    """A span that ends is written with one call, the file is appended to, and each line is JSON."""
    path = tmp_path / "t.jsonl"
    trace_one(FileBackend(path))
    trace_one(FileBackend(path))
    assert len(writes) == 4
    lines = path.read_bytes().splitlines()
    assert len(lines) == 4
    assert all(json.loads(line)["resourceSpans"] for line in lines)


def test_one_write_an_export(tmp_path: Path, writes: list[int]) -> None:
    """A batch is written with one call, in lines of at most 64 spans and about 256 KiB."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    assert backend.export(ended_spans(200)) is SpanExportResult.SUCCESS
    assert len(writes) == 1
    counts = [
        len(json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]) for line in path.read_bytes().splitlines()
    ]
    assert counts == [64, 64, 64, 8]
    assert backend.export(ended_spans(20, size=50_000)) is SpanExportResult.SUCCESS
    assert backend.export(ended_spans(2, size=600_000)) is SpanExportResult.SUCCESS
    assert len(writes) == 3
    lines = path.read_bytes().splitlines()
    assert all(len(line) < (256 << 10) + 2_000 for line in lines[:-2])
    assert all(600_000 < len(line) < 700_000 for line in lines[-2:])
    assert backend.export([]) is SpanExportResult.SUCCESS
    assert len(writes) == 3
    assert len(load_runs(path)) == 222


def test_batches_of_the_sdk(tmp_path: Path, writes: list[int]) -> None:
    """Under a BatchSpanProcessor one export is one write, and everything arrives."""
    path = tmp_path / "t.jsonl"
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(FileBackend(path), schedule_delay_millis=60_000))
    tracer = AgentTracer(tracer_provider=provider)
    for number in range(100):
        with tracer.run(run_id=str(number)) as run, run.step("s"):
            pass
    assert tracer.flush()
    assert len(writes) == 1
    provider.shutdown()
    assert sorted(int(run.run_id) for run in load_runs(path)) == list(range(100))


def test_the_sdks_simple_processor(tmp_path: Path) -> None:
    """Under a SimpleSpanProcessor the file is the same as under ours."""
    path = tmp_path / "t.jsonl"
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(FileBackend(path)))
    with AgentTracer(tracer_provider=provider).run(user_input="q") as run, run.step("s", {"a": (1,)}):
        pass
    (read,) = load_runs(path)
    assert (read.user_input, read.steps[0].input) == ("q", {"a": (1,)})


# ── what can be no such file ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_can_never_be_a_file(tmp_path: Path) -> None:
    """A folder, a pipe, a device, something below a file, and a path with a NUL are refused at once, with the path."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "file").write_text("")
    for path in (tmp_path, fifo, "/dev/full", "/dev/null", tmp_path / "file" / "t.jsonl", "a\0b"):
        with pytest.raises(ConfigurationError, match=str(path)[-5:].replace("\0", ".")):
            FileBackend(path)


def test_a_link_is_resolved_once(tmp_path: Path) -> None:
    """A symbolic link is resolved by the constructor; where it points to later does not matter, nor does one in its place."""
    target, link, other = tmp_path / "target.jsonl", tmp_path / "t.jsonl", tmp_path / "other"
    other.write_text("precious")
    link.symlink_to(target)
    backend = FileBackend(link)
    trace_one(backend, "a")
    link.unlink()
    link.symlink_to(other)
    trace_one(backend, "b")
    assert [run.run_id for run in load_runs(target)] == ["a", "b"]
    target.unlink()
    target.symlink_to(other)
    trace_one(backend, "c")
    assert other.read_text() == "precious"
    assert backend.stats()["failed: Too many levels of symbolic links"] == 2


WHY = {
    "fifo": "not a regular file",
    "directory": "Is a directory",
    "socket": "No such device or address",
    "link to a device": "Too many levels of symbolic links",
}
"""The messages about each."""


@pytest.mark.parametrize("kind", WHY)
def test_what_comes_in_the_way_later(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Something else that takes the file's place before the first span costs the spans, and never hangs."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    else:
        path.symlink_to("/dev/full")
    worker = threading.Thread(target=trace_one, args=(backend,), daemon=True)
    worker.start()
    worker.join(DEADLOCK_S)
    assert not worker.is_alive()
    (reason,) = backend.stats()
    assert reason == f"failed: {WHY[kind]}"
    assert backend.stats() == {reason: 2}
    assert len(caplog.records) == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    """Where no file can be made nothing is raised into the host; it is counted, and reported once."""
    tracer = trace_one(FileBackend("/proc/none/t.jsonl"))
    assert tracer.stats()["FileBackend: failed: No such file or directory"] == 2
    assert len(caplog.records) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_read_only_folder(tmp_path: Path, run_python: RunPython) -> None:
    """A user without the right to write has a program that runs as before."""
    import tempfile

    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    try:
        result = run_python(
            """
            import os
            from otel_agent_trace import *
            tracer = AgentTracer(backend=FileBackend("t.jsonl"))
            os.setuid(65534)
            @tracer.agent
            def answer(q): return q * 2
            print(answer(21), tracer.stats()["FileBackend: failed: Permission denied"])
            """,
            cwd=folder,
        )
        assert result.stdout.strip() == "42 1", result.stderr
        assert "Permission denied" in result.stderr
        assert os.listdir(folder) == []
    finally:
        shutil.rmtree(folder)


# ── a disk that fails ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EBADF, errno.EINTR])
def test_a_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A write that fails costs its span, which is counted; result and exception of the host stay what they are."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    tracer = AgentTracer(backend=backend)
    write, fails = os.write, [False, True, False, False]

    def failing(descriptor: int, data: bytes) -> int:
        if fails.pop(0):
            raise OSError(code, os.strerror(code))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", failing)
    tool = tracer.tool(lambda q: {"a": q})
    with tracer.run(run_id="r"):
        assert [tool(1), tool(2), tool(3)] == [{"a": 1}, {"a": 2}, {"a": 3}]
    (run,) = load_runs(path)
    assert [step.input["q"] for step in run.steps] == [1, 3]
    reason = f"failed: {os.strerror(code)}"
    assert backend.stats() == {"kept": 3, reason: 1}
    assert tracer.stats() == {"runs": 1, "steps": 3, "FileBackend: kept": 3, f"FileBackend: {reason}": 1}


@pytest.mark.parametrize("taken", [0, 1, 50])
def test_a_short_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """A write that takes only a part is made good at once, and the torn line is blanked: every reader reads each line."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    write, shorts = os.write, [True]

    def short(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:taken]) if shorts and shorts.pop() else write(descriptor, data)

    monkeypatch.setattr(os, "write", short)
    trace_one(backend, "a")
    trace_one(backend, "b")
    assert [(run.run_id, len(run.steps)) for run in load_runs(path, on_problem=lambda problem: None)] == [
        ("a", 1),
        ("b", 1),
    ]
    assert problems_of(path) == []
    assert len([json.loads(line) for line in path.read_text().splitlines() if line.strip()]) == 4
    assert backend.stats() == {"kept": 4}


def test_a_disk_that_is_full(run_python: RunPython, tmp_path: Path) -> None:
    """With a real limit on the size of the file the host goes on, losses are counted, and whole lines are readable."""
    result = run_python(
        """
        import resource, signal
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        from otel_agent_trace import *
        tracer = AgentTracer(backend=FileBackend("t.jsonl"))
        answer = tracer.agent(lambda q: q * 2)
        print(sum(answer(i) for i in range(100)))
        print(tracer.stats()["FileBackend: failed: File too large"])
        print(tracer.stats()["FileBackend: kept"])
        tracer.close()
        """
    )
    assert result.returncode == 0, result.stderr
    total, lost, written = map(int, result.stdout.split())
    assert (total, lost + written) == (9900, 100)
    assert result.stderr.count("File too large") == 1
    path = tmp_path / "t.jsonl"
    assert path.stat().st_size <= 20_000
    kept = load_runs(path, on_problem=lambda problem: None)
    assert len(kept) + lost == 100
    assert [run.user_input for run in kept] == list(range(len(kept)))
    assert len(problems_of(path)) <= 1


@pytest.mark.parametrize("torn", [b'{"resourceSpans":[{"scope', b"\xff\xfe", b"x"])
def test_a_torn_last_line(tmp_path: Path, torn: bytes) -> None:
    """What a killed process left at the end of the file costs that line, not the one written after it."""
    path = tmp_path / "t.jsonl"
    trace_one(FileBackend(path), "before")
    with path.open("ab") as file:
        file.write(torn)
    trace_one(FileBackend(path), "after")
    assert [run.run_id for run in load_runs(path, on_problem=lambda problem: None)] == ["before", "after"]
    assert len(problems_of(path)) <= 1  # none if nobody else had the file open, so that it was blanked


@pytest.mark.parametrize("torn", [b'{"resourceSpans":[{"scope', b"x"])
def test_a_line_that_another_writer_left_torn(tmp_path: Path, torn: bytes) -> None:
    """A writer that is killed in a line costs that line, not the next one of a writer which has the file open."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    trace_one(backend, "before")
    with path.open("ab") as file:
        file.write(torn)
    trace_one(backend, "after")
    for line in path.read_bytes().splitlines():
        assert line == torn or json.loads(line)["resourceSpans"]
    assert [run.run_id for run in load_runs(path, on_problem=lambda problem: None)] == ["before", "after"]


def test_spans_that_poison(tmp_path: Path) -> None:
    """One span with values and names that no format bears costs none of its neighbours."""
    path = tmp_path / "t.jsonl"
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(FileBackend(path)))
    other = provider.get_tracer("other")
    tracer = AgentTracer(tracer_provider=provider)
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    for number in range(20):
        with tracer.run(run_id=str(number)):
            span = other.start_span(f"\udcff{number}")
            span.set_attributes({"\udcff": "\udcff", "big": 2**70, "nan": float("nan"), "bytes": b"\xff", "deep": deep})
            span.add_event("\udcff", {"\udcff": "\udcff"})
            span.set_status(StatusCode.ERROR, "\udcff")
            span.end()
    provider.shutdown()
    assert sorted(int(run.run_id) for run in load_runs(path)) == list(range(20))
    assert problems_of(path) == []


@pytest.mark.parametrize("time_ns", [-1, -1.5, 2**64, 2**70])
def test_times_that_otlp_cannot_say(tmp_path: Path, time_ns: Any) -> None:
    """A span from before 1970 or after 2554 is kept, at the nearest time that there is, and so are its neighbours."""
    path = tmp_path / "t.jsonl"
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(FileBackend(path)))
    with AgentTracer(tracer_provider=provider).run():
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"}
        span = provider.get_tracer("other").start_span("x", start_time=time_ns, attributes=attributes)
        span.add_event("e", timestamp=time_ns)
        span.end(time_ns)
    provider.shutdown()
    assert [type(problem) for problem in problems_of(path)] == [Notice]
    (run,) = load_runs(path)
    (step,) = run.steps
    is_near_1970 = time_ns < 0  # then the end is 1, since 0 would say that there is none, and stands for the start
    assert step.started_at_ns == (1 if is_near_1970 else run.started_at_ns)
    spans = [
        span
        for line in path.read_bytes().splitlines()
        for group in json.loads(line)["resourceSpans"]
        for part in group["scopeSpans"]
        for span in part["spans"]
    ]
    times = [int(span[key]) for span in spans for key in ("startTimeUnixNano", "endTimeUnixNano")]
    times += [int(event["timeUnixNano"]) for span in spans for event in span.get("events", ())]
    assert all(0 <= time < 2**64 for time in times)


def test_a_span_that_cannot_be_written(tmp_path: Path) -> None:
    """In a batch it costs itself, is counted, and takes no other span along."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    spans = ended_spans(3)
    spans[1] = ReadableSpan("no ids at all", context=None)
    assert backend.export(spans) is SpanExportResult.SUCCESS
    assert [run.run_id for run in load_runs(path)] == ["0", "2"]
    assert backend.stats() == {"kept": 2, "failed: span that cannot be written": 1}


def test_closing_and_going_on(tmp_path: Path) -> None:
    """After close the file is opened again by the next span; close may be called twice."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    tracer = trace_one(backend, "a")
    tracer.close()
    tracer.close()
    trace_one(backend, "b")
    backend.shutdown()
    assert [run.run_id for run in load_runs(path)] == ["a", "b"]


def beside(call: Callable[[], Any]) -> threading.Thread:
    """Start a call in another thread, and let it come as far as it can."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(0.1)
    return thread


def test_one_opens_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that come first at the same moment share one descriptor, and both write."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    opened: list[str] = []
    others: list[threading.Thread] = []
    really = os.open

    def opening(name: Any, *args: Any) -> int:
        opened.append(os.path.basename(name))
        if len(opened) == 1:
            others.append(beside(lambda: trace_one(backend, "other")))
        return really(name, *args)

    monkeypatch.setattr(os, "open", opening)
    trace_one(backend)
    others[0].join()
    monkeypatch.undo()
    assert opened.count(path.name) == 1
    assert sorted((run.run_id, len(run.steps)) for run in load_runs(path)) == [("other", 1), ("r", 1)]


def test_nobody_closes_under_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for the write that is going on: its descriptor might be another file's by then."""
    backend = FileBackend(tmp_path / "t.jsonl")
    trace_one(backend, "before")
    happened: list[str] = []
    others: list[threading.Thread] = []
    write, close = os.write, os.close

    def writing(descriptor: int, data: bytes) -> int:
        others.append(beside(backend.shutdown))
        happened.append(f"{descriptor} written")
        return write(descriptor, data)

    def closing(descriptor: int) -> None:
        happened.append(f"{descriptor} closed")
        close(descriptor)

    monkeypatch.setattr(os, "write", writing)
    monkeypatch.setattr(os, "close", closing)
    backend.export(ended_spans(1))
    others[0].join()
    written = next(each for each in happened if each.endswith("written"))
    assert happened.index(written) < happened.index(written.replace("written", "closed"))
    assert backend.stats() == {"kept": 3}


@pytest.mark.parametrize("gone", ["file", "folder"])
def test_a_file_that_is_deleted(tmp_path: Path, gone: str) -> None:
    """When somebody deletes the file, or its folder, what is traced from then on is in a new one."""
    path = tmp_path / "logs" / "t.jsonl"
    backend = FileBackend(path)
    trace_one(backend, "before")
    shutil.rmtree(path.parent) if gone == "folder" else path.unlink()
    trace_one(backend, "after")
    assert [(run.run_id, len(run.steps)) for run in backend.runs()] == [("after", 1)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("created", [True, False])
def test_a_file_that_is_rotated(tmp_path: Path, created: bool) -> None:
    """What is traced after the file was renamed is in a new one, whether or not logrotate made it; nothing is lost."""
    path, old = tmp_path / "t.jsonl", tmp_path / "old.jsonl"
    backend = FileBackend(path)
    trace_one(backend, "before")
    path.rename(old)
    if created:
        path.touch()
    trace_one(backend, "after")
    assert [(run.run_id, len(run.steps)) for run in load_runs(old)] == [("before", 1)]
    assert [(run.run_id, len(run.steps)) for run in load_runs(path)] == [("after", 1)]


def test_the_path_is_looked_at_before_each_line(tmp_path: Path) -> None:
    """The first line after the file was renamed, or removed, is in a new one."""
    path, old = tmp_path / "t.jsonl", tmp_path / "old.jsonl"
    file = lines.LineFile(str(path))
    file.append(b"1\n")
    path.rename(old)
    file.append(b"2\n")
    assert (old.read_bytes(), path.read_bytes()) == (b"1\n", b"2\n")
    path.unlink()
    file.append(b"3\n")
    assert path.read_bytes() == b"3\n"


def test_a_folder_that_may_no_longer_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was opened before the program gave up its rights goes on being written."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    trace_one(backend, "before")
    with monkeypatch.context() as context:
        context.setattr(os, "lstat", fails(errno.EACCES))
        trace_one(backend, "after")
    assert [run.run_id for run in load_runs(path)] == ["before", "after"]


def fails(code: int) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


# ── several writers ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_threads_on_one_file(tmp_path: Path) -> None:
    """Threads that write short and long spans at once leave whole lines, and lose nothing."""
    path = tmp_path / "t.jsonl"
    tracer = AgentTracer(backend=FileBackend(path))

    def work(number: int) -> None:
        for i in range(20):
            with tracer.run(run_id=f"{number}-{i}", user_input="x" * (number * 5_000)) as run, run.step("s"):
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    runs = load_runs(path)
    assert {run.run_id for run in runs} == {f"{number}-{i}" for number in range(8) for i in range(20)}
    assert all(len(run.steps) == 1 for run in runs)
    assert problems_of(path) == []


def test_two_processes_on_one_file(run_python: RunPython, tmp_path: Path) -> None:
    """Two programs that write one file at once lose nothing."""
    code = """
        import sys
        from otel_agent_trace import *
        with AgentTracer(backend=FileBackend("t.jsonl")) as tracer:
            for i in range(200):
                with tracer.run(user_input="x" * 5000) as run, run.step("s"):
                    pass
        print(tracer.stats())
        """
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: run_python(code), range(2)))
    assert [result.stdout.strip() for result in results] == [
        "{'runs': 200, 'steps': 200, 'FileBackend: kept': 400}"
    ] * 2, results[0].stderr
    runs = load_runs(tmp_path / "t.jsonl")
    assert (len(runs), {len(run.steps) for run in runs}) == (400, {1})
    assert problems_of(tmp_path / "t.jsonl") == []
