"""The live file is closed as a segment when it is large or old enough, and whoever reads the path reads all of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from otel_agent_trace import AgentTracer, ConfigurationError, FileBackend, configure, load_runs
from otel_agent_trace.store import rotation, sharing
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import StoreSettings, store_settings
from tests.support.processes import environment
from tests.support.requirements import needs_locks
from tests.support.waiting import wait_until

SEGMENT = re.compile(r"t-\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}\.jsonl(\.zst)?")


def trace(backend: Any, count: int, prefix: str = "r") -> AgentTracer:
    tracer = AgentTracer(backend=backend)
    for number in range(count):
        with tracer.run(run_id=f"{prefix}{number}", user_input="x" * 300) as run, run.step("s"):
            pass
    return tracer


def ids(path: Path) -> list[str]:
    return sorted(run.run_id for run in load_runs(path))


def names(path: Path, count: int, prefix: str = "r") -> list[str]:
    return sorted(f"{prefix}{number}" for number in range(count))


@needs_locks
def test_by_size(tmp_path: Path) -> None:
    """No segment is larger; all are read by the path of the live file, and by its folder, each alone by its own."""
    path = tmp_path / "t.jsonl"
    trace(FileBackend(path, rotate_bytes=10_000), 40).close()
    segments = StoreFiles(str(path)).segments()
    assert len(segments) > 3
    assert all(SEGMENT.fullmatch(os.path.basename(segment)) for segment in segments)
    assert all(os.path.getsize(segment) <= 10_000 for segment in segments)
    assert ids(path) == ids(tmp_path) == names(path, 40)
    alone = [run for segment in segments for run in load_runs(segment)]
    assert 0 < len(alone) < 45
    path.unlink()
    assert set(ids(path)) == {run.run_id for run in alone}
    for segment in segments:
        assert os.stat(segment).st_mode & 0o777 == 0o600


@needs_locks
def test_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The age counts from the first span of the file, also for a writer that opens it later."""
    path = tmp_path / "t.jsonl"
    trace(FileBackend(path), 1, "a").close()
    files = StoreFiles(str(path))
    backend = FileBackend(path, rotate_every="1h")
    trace(backend, 1, "b")
    assert files.segments() == []
    now = time.time()
    monkeypatch.setattr(rotation.time, "time", lambda: now + 3601)
    trace(backend, 1, "c")
    assert len(files.segments()) == 1
    trace(backend, 1, "d")
    assert len(files.segments()) == 1
    assert ids(path) == ["a0", "b0", "c0", "d0"]


@needs_locks
def test_by_several_writers(tmp_path: Path) -> None:
    """Of processes that write to one store, each line is in one segment, and none is lost."""
    code = """
    import sys
    from otel_agent_trace import *
    tracer = AgentTracer(backend=FileBackend("t.jsonl", rotate_bytes=20_000))
    for number in range(60):
        with tracer.run(run_id=f"{sys.argv[1]}-{number}", user_input="x" * 300) as run, run.step("s"):
            pass
    print(tracer.stats()["FileBackend: kept"])
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "\n".join(line[4:] for line in code.splitlines()), str(number)],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    assert [process.communicate()[0] for process in processes] == ["120\n"] * 3
    path = tmp_path / "t.jsonl"
    assert ids(path) == sorted(f"{writer}-{number}" for writer in range(3) for number in range(60))
    assert len(StoreFiles(str(path)).segments()) > 5


@needs_locks
def test_segments_are_compressed_beside_the_program(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path, rotate_bytes=10_000, compress="zst")
    trace(backend, 40)
    files = StoreFiles(str(path))
    wait_until(lambda: any(name.endswith(".zst") for name in files.segments()), "a segment is compressed")
    wait_until(lambda: not compact(files, backend.settings).reason, "the thread has ended")
    assert all(name.endswith(".zst") for name in files.segments())
    assert ids(path) == names(path, 40)
    for name in (*files.segments(), str(path)):
        assert duckdb.sql(f"SELECT count(*) FROM read_json('{name}', format='newline_delimited')").fetchall()[0] > (0,)


@needs_locks
def test_what_is_not_kept(tmp_path: Path) -> None:
    """When it rotates, a writer removes the oldest segments beyond the bytes that the store may take."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path, rotate_bytes=10_000, keep_bytes=60_000)
    trace(backend, 200)
    files = StoreFiles(str(path))
    wait_until(lambda: not compact(files, backend.settings).reason, "the thread has ended")
    assert sum(os.stat(name).st_blocks * 512 for name in files.files()) <= 60_000
    assert "r199" in ids(path)
    assert "r0" not in ids(path)


def test_where_files_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One writer rotates nevertheless, with one warning; nothing is compressed."""
    monkeypatch.setattr(sharing, "fcntl", None)
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path, rotate_bytes=10_000, compress="zst")
    trace(backend, 40)
    segments = StoreFiles(str(path)).segments()
    assert len(segments) > 3
    assert not any(name.endswith(".zst") for name in segments)
    assert ids(path) == names(path, 40)
    assert [record.message for record in caplog.records] == [f"{path}: {rotation.NO_LOCKS}"]


@needs_locks
def test_a_folder_in_which_nothing_can_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file goes on growing, with one warning."""

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    backend = FileBackend(tmp_path / "t.jsonl", rotate_bytes=5_000)
    trace(backend, 1, "before")
    monkeypatch.setattr(rotation.os, "rename", refused)
    tracer = trace(backend, 20)
    monkeypatch.undo()
    assert len(ids(tmp_path)) == 21
    assert tracer.stats()["FileBackend: kept"] == 42
    assert len(caplog.records) == 1


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "given", "field", "read"),
    [
        ("rotate_bytes", "64MB", "rotate_bytes", 64 << 20),
        ("rotate_bytes", 5000, "rotate_bytes", 5000),
        ("rotate_every", "1d", "rotate_every_s", 86400),
        ("rotate_every", 90, "rotate_every_s", 90),
        ("compress", "zst", "compress", "zst"),
        ("keep_days", "30", "keep_days", 30),
        ("keep_days", 0.5, "keep_days", 0.5),
        ("keep_bytes", "10GiB", "keep_bytes", 10 << 30),
        ("durability", "run", "durability", "run"),
    ],
)
def test_settings(name: str, given: Any, field: str, read: Any) -> None:
    """Each is an argument, and a variable of the environment, over which the argument has precedence."""
    assert getattr(store_settings({name: given}, {}), field) == read
    variable = f"OTEL_AGENT_TRACE_{name.upper()}"
    assert getattr(store_settings({}, {variable: str(given)}), field) == read
    assert getattr(store_settings({name: given}, {variable: "nonsense"}), field) == read
    assert store_settings({name: None}, {variable: " "}) == StoreSettings()


WRONG: list[tuple[str, Any]] = [
    *(("rotate_bytes", given) for given in (0, -1, "many", True, 1.5, "1.5MB", 10**30)),
    *(("rotate_every", given) for given in (0, -5, "soon", "1y", True, float("nan"), float("inf"))),
    *(("keep_days", given) for given in (0, -1, "a month", float("nan"))),
    *(("keep_bytes", given) for given in (0, "all")),
    *(("compress", given) for given in ("gzip", True, "zstd")),
    ("compress", []),
    *(("durability", given) for given in ("always", True)),
]


@pytest.mark.parametrize(("name", "given"), WRONG)
def test_what_cannot_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: Any) -> None:
    """The error names the argument or the variable, and what was given."""
    with pytest.raises(ConfigurationError, match=f"^{name}="):
        FileBackend(tmp_path / "t.jsonl", **{name: given})
    with pytest.raises(ConfigurationError, match=f"^{name}="):
        configure(file=tmp_path / "t.jsonl", **{name: given})
    monkeypatch.setenv(f"OTEL_AGENT_TRACE_{name.upper()}", str(given))
    if str(given) != "1.5":
        with pytest.raises(ConfigurationError, match=f"^OTEL_AGENT_TRACE_{name.upper()}="):
            FileBackend(tmp_path / "t.jsonl")
    assert os.listdir(tmp_path) == []


def test_configure_passes_them_on(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    provider = configure(file=path, rotate_bytes=10_000)
    trace_through = AgentTracer(tracer_provider=provider)
    for number in range(40):
        with trace_through.run(run_id=f"r{number}", user_input="x" * 300):
            pass
    provider.shutdown()
    assert len(StoreFiles(str(path)).segments()) > 1
    with pytest.raises(ConfigurationError, match="rotate_bytes: there is no file"):
        configure(rotate_bytes=10_000)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROTATE_BYTES", "ROTATE_EVERY", "COMPRESS", "KEEP_DAYS", "KEEP_BYTES", "DURABILITY"):
        monkeypatch.delenv(f"OTEL_AGENT_TRACE_{name}", raising=False)


# ── durability ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("durability", "synced"), [("none", 0), ("run", 3), ("span", 6)])
def test_durability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, synced: int) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    trace(FileBackend(tmp_path / "t.jsonl", durability=durability), 3)
    assert len(calls) == synced


@pytest.mark.parametrize("durability", ["run", "span"])
def test_a_sync_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, durability: Any
) -> None:
    """A new file has the lines since the last sync, each once; what is in the old one stays; it is one warning."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path, durability=durability)
    fdatasync, fails = os.fdatasync, [False, True, False, True]

    def failing(descriptor: int) -> None:
        if fails and fails.pop(0):
            raise OSError(5, "Input/output error")
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", failing)
    tracer = trace(backend, 6)
    assert ids(path) == names(path, 6)
    assert tracer.stats()["FileBackend: kept"] == 12
    assert len(caplog.records) == 1
    files = [*StoreFiles(str(path)).segments(), str(path)]
    assert len(files) == 3
    rows = duckdb.sql(f"SELECT count(*) FROM read_json({files}, format='newline_delimited')").fetchall()
    assert rows == [(12,)]
