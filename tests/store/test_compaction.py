"""What a compaction does with a store: torn lines, compression, what was left by a kill, and what is not kept."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_agent_trace import AgentTracer, FileBackend, load_runs
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.sources import FilesSource
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.store import repair as repair_module
from otel_agent_trace.store import sharing
from otel_agent_trace.store.compaction import BUSY, NO_LOCKS, Compacted, compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.repair import repair
from otel_agent_trace.store.settings import StoreSettings
from tests.support.file_formats import zstd
from tests.support.processes import environment
from tests.support.requirements import needs_locks

pytestmark = needs_locks

BEGAN_NS = 1_795_475_000_000_000_000
COMPRESS = StoreSettings(compress="zst")
S_PER_DAY = 86400


def line(number: int, text: str = "x" * 100) -> bytes:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather", "text": text}
    span = SpanRecord(f"{number:032x}", f"{number:016x}", None, "invoke_agent", BEGAN_NS + number, BEGAN_NS + number + 9, agent)  # fmt: skip
    return otlp_json.encode([span]) + b"\n"


def log_line(number: int) -> bytes:
    attributes = {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": float(number)}
    log = LogRecord(f"{number:032x}", f"{number:016x}", "gen_ai.evaluation.result", BEGAN_NS, attributes=attributes)
    return otlp_json.encode_log(log) + b"\n"


class Store:
    """A store in a folder of its own, and what others read of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "traces.jsonl"
        self.files = StoreFiles(str(self.path))

    def segment(self, *lines: bytes, days_ago: float = 0.0) -> Path:
        """Close a segment with these lines."""
        path = Path(self.files.new_segment(time.time_ns() - int(days_ago * S_PER_DAY * 1e9)))
        path.write_bytes(b"".join(lines))
        return path

    def compact(self, settings: StoreSettings = StoreSettings(), *, repairs: bool = True) -> Compacted:
        return compact(self.files, settings, repairs=repairs)

    def numbers(self) -> list[int]:
        """The numbers of the runs that our reader finds, each as often as it does."""
        traces = FilesSource(self.files.files()).traces(lambda _: None)
        return sorted(int(span.trace_id, 16) for spans in traces for span in spans)

    def names(self) -> set[str]:
        return set(os.listdir(self.path.parent)) - {self.path.name + ".lock"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def plain_lines(path: Path) -> list[object]:
    """What any reader of JSON lines finds, once DuckDB has read it too."""
    found = [json.loads(each) for each in path.read_text().splitlines() if each.strip()]
    if found:
        query = (
            f"SELECT count(*) FROM read_json('{path}', format='newline_delimited', columns={{resourceSpans: 'JSON'}})"
        )
        assert duckdb.sql(query).fetchall() == [(len(found),)]
    return found


# ── torn lines ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "lines", "repaired"),
    [
        pytest.param(line(1)[:-80], 0, 1, id="torn"),
        pytest.param(line(1)[:-1], 1, 0, id="without a line feed"),
        pytest.param(line(1) + line(2)[:200], 1, 1, id="torn end"),
        pytest.param(line(1) + line(2)[:7] + b"\n" + line(3), 2, 1, id="a few bytes"),
        pytest.param(line(1)[:150] + line(2), 1, 1, id="glued"),
        pytest.param(line(1)[:150] + line(2)[:9] + line(3), 1, 1, id="glued twice"),
        pytest.param(line(1)[:-1] + line(2), 2, 1, id="glued, both whole"),
        pytest.param(line(1)[:-1] + line(2)[:99] + b"\n" + line(3), 2, 1, id="whole, and torn"),
        pytest.param(line(1)[:-4] + line(2), 2, 1, id="glued, with an intact span"),
        pytest.param(line(1) + bytes(4096) + line(2), 2, 1, id="zeros before a line"),
        pytest.param(line(1)[:-1] + bytes(512) + b"\n" + line(2), 2, 1, id="zeros after a line"),
        pytest.param(bytes(9000) + line(1), 1, 1, id="zeros first, as copytruncate leaves them"),
        pytest.param(line(1) + bytes(100) + b"\n" + line(2), 2, 1, id="zeros"),
        pytest.param(line(1) + line(2).replace(b"xxx", b"\0\0\0"), 2, 1, id="zeros in a line"),
        pytest.param(line(1) + line(2).replace(b"xxxx", b"\xff\xfe\xfd\xfc", 1), 2, 1, id="no UTF-8"),
        pytest.param(line(1) + os.urandom(300).replace(b"\n", b"") + b"\n" + line(2), 2, 1, id="noise"),
        pytest.param(line(1) + line(2)[150:] + line(3), 2, 1, id="the end of a line"),
        pytest.param(log_line(1)[:-1] + line(1), 2, 1, id="a log record, glued"),
        pytest.param(line(1) + log_line(1)[:90] + log_line(2), 2, 1, id="a torn log record, glued"),
    ],
)
@pytest.mark.parametrize("is_live", [True, False])
def test_what_is_torn_is_blanked(store: Store, content: bytes, lines: int, repaired: int, is_live: bool) -> None:
    path = store.path if is_live else store.segment()
    path.write_bytes(content)
    before, logs_before = store.numbers(), scores(store)
    assert store.compact().repaired == repaired
    assert len(plain_lines(path)) == lines
    assert store.numbers() == before
    assert scores(store) == logs_before
    assert path.stat().st_size >= len(content)
    after = path.read_bytes()
    assert store.compact() == Compacted()
    assert path.read_bytes() == after


def scores(store: Store) -> list[object]:
    """The scores that our reader finds, of spans and of others."""
    left: list[LogRecord] = []
    traces = [*FilesSource(store.files.files()).traces_and_logs(lambda _: None, left.append)]
    of_spans = [event.attributes for spans in traces for span in spans for event in span.events]
    return sorted(found["gen_ai.evaluation.score.value"] for found in (*of_spans, *(log.attributes for log in left)))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(json.loads(line(1)), indent=2).replace("{\n  ", "{", 1).encode(),
        b"starting up\n" + line(1) + b"stopping\n",
        line(1) + b"hello {world}\n" + line(2),
        line(1) + b'{"level": "info", "value": NaN}\n' + line(2),
        line(1) + b'{"half": "\\ud83d"}\n',
        line(1) + b"caf\xc3\xa9 [1, 2\n",
        "\ufeff".encode() + line(1) + line(2)[:100],
        (line(1) + line(2)[:100]).decode().encode("utf-16"),
        line(1) + b'{"a": ' + b"[" * 100_000 + b"\n",
    ],
)
def test_what_is_of_others_stays(store: Store, content: bytes) -> None:
    store.path.write_bytes(content)
    assert store.compact().repaired == 0
    assert store.path.read_bytes() == content


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 400), st.booleans()), min_size=1, max_size=12))
def test_any_mixture_of_torn_lines_reads_the_same_afterwards(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int, bool]]
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    lines = [line(number)[: len(line(number)) - cut] + b"\n" * ends for number, cut, ends in pieces]
    store.path.write_bytes(line(99) + b"".join(lines))
    before = store.numbers()
    store.compact()
    assert sorted(set(store.numbers())) == sorted(set(before))
    plain_lines(store.path)


def test_a_file_that_a_writer_has_open_stays(store: Store) -> None:
    torn = line(1) + line(2)[:100]
    segment = store.segment(torn)
    store.path.write_bytes(torn)
    with open(segment, "ab") as of_segment, open(store.path, "ab") as live:
        sharing.mark_in_use(of_segment.fileno())
        sharing.mark_in_use(live.fileno())
        assert store.compact(COMPRESS) == Compacted(in_use=3)
    assert (segment.read_bytes(), store.path.read_bytes()) == (torn, torn)
    assert store.compact(COMPRESS) == Compacted(repaired=2, compressed=1)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc of Linux")
def test_a_program_without_locks_that_has_it_open_keeps_it(store: Store) -> None:
    store.path.write_bytes(line(1) + line(2)[:100])
    with open(store.path, "ab") as file, subprocess.Popen(["sleep", "100"], stdout=file) as process:
        assert store.compact().in_use == 1
        process.kill()
    assert store.compact().repaired == 1


def test_a_line_that_has_gone_on_since_the_first_look_is_none_that_is_torn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.path.write_bytes(line(1) + line(2)[:100])
    look = repair_module._places

    def look_and_write(descriptor: int) -> list[int]:
        places = look(descriptor)
        with open(store.path, "ab") as file:
            file.write(line(2)[100:])
        return places

    monkeypatch.setattr(repair_module, "_places", look_and_write)
    assert repair(str(store.path)) == 0
    assert store.path.read_bytes() == line(1) + line(2)


# ── compression ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_closed_segments_are_compressed_and_read_as_before(store: Store) -> None:
    segments = [store.segment(*map(line, range(first, first + 9))) for first in (1, 10)]
    rotated = Path(f"{store.path}.1")
    rotated.write_bytes(line(20))
    own = store.path.with_name("traces-old.jsonl")
    own.write_bytes(line(30))
    store.path.write_bytes(line(19))
    os.utime(segments[0], (1, 1))
    assert store.compact(COMPRESS) == Compacted(compressed=2)
    assert store.names() == {store.path.name, rotated.name, own.name, *(f"{path.name}.zst" for path in segments)}
    packed = Path(f"{segments[0]}.zst")
    assert zstd.decompress(packed.read_bytes()) == b"".join(map(line, range(1, 10)))
    assert (packed.stat().st_mode & 0o777, packed.stat().st_mtime) == (0o600, 1)
    assert store.numbers() == [*range(1, 21)]
    assert store.compact(COMPRESS) == Compacted()


def test_a_segment_is_repaired_before_it_is_compressed(store: Store) -> None:
    segment = store.segment(line(1)[:100] + line(2) + line(3)[:100])
    assert store.compact(COMPRESS, repairs=False) == Compacted(repaired=2, compressed=1)
    content = zstd.decompress(Path(f"{segment}.zst").read_bytes())
    assert [json.loads(each) for each in content.splitlines() if each.strip()] == [json.loads(line(2))]


def test_whoever_closes_segments_has_compacted_them_when_it_is_closed(store: Store) -> None:
    """Also those that it closed while an earlier compaction was at work."""
    settings: dict[str, Any] = {"rotate_bytes": 5000, "compress": "zst", "keep_bytes": 60_000}
    with AgentTracer(FileBackend(store.path, **settings)) as tracer:
        for number in range(100):
            with tracer.run(user_input=number):
                pass
    closed = store.files.segments()
    assert {path.endswith(".zst") for path in closed} == {True}
    assert 5 < len(closed) < 16
    assert sum(file.stat().st_blocks * 512 for file in store.path.parent.iterdir()) <= 60_000
    assert load_runs(store.path)[-1].user_input == 99


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc of Linux")
def test_a_segment_that_a_program_without_locks_writes_stays(store: Store) -> None:
    segment, other = store.segment(line(1)), store.segment(line(2))
    with open(segment, "ab") as file, subprocess.Popen(["sleep", "100"], stdout=file) as process:
        assert store.compact(COMPRESS) == Compacted(compressed=1, in_use=1)
        process.kill()
    assert store.names() == {segment.name, f"{other.name}.zst"}


def test_what_a_killed_compaction_left_is_removed(store: Store) -> None:
    done, begun, damaged = (store.segment(line(number)) for number in (1, 2, 3))
    store.compact(COMPRESS)
    done.write_bytes(line(1))
    begun.write_bytes(line(2))
    Path(f"{begun}.zst").unlink()
    damaged.write_bytes(line(3))
    packed = Path(f"{damaged}.zst")
    packed.write_bytes(packed.read_bytes()[:50])
    names = (f".{begun.name}.zst.abcd1234.replacing", f".{store.path.name}.abcd_234.replacing")
    for name in (*names, ".other.jsonl.abcd1234.replacing"):
        (store.path.parent / name).write_bytes(b"x")
    assert store.compact() == Compacted(leftovers=3)
    assert store.names() == {f"{done.name}.zst", begun.name, damaged.name, ".other.jsonl.abcd1234.replacing"}
    assert store.numbers() == [1, 2, 3]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/etc/passwd", path), os.mkdir])
def test_what_is_no_regular_file_is_left(store: Store, make: Callable[[str], None]) -> None:
    make(str(store.segment()) + "x")
    path = store.files.new_segment(time.time_ns())
    make(path)
    assert store.compact(StoreSettings(compress="zst", keep_bytes=1)).failed >= 1
    assert os.path.lexists(path)


def test_one_who_is_busy_is_not_disturbed(store: Store) -> None:
    segment = store.segment(line(1))
    with sharing.alone_in(str(store.path.parent)):
        assert store.compact(COMPRESS) == Compacted(reason=BUSY)
    assert store.names() == {segment.name}


def test_without_locks_nothing_is_repaired_or_compressed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = store.segment(line(1), line(2)[:100])
    old = store.segment(line(3), days_ago=3)
    monkeypatch.setattr(sharing, "fcntl", None)
    assert store.compact(StoreSettings(compress="zst", keep_days=1)) == Compacted(removed=1, reason=NO_LOCKS)
    assert segment.read_bytes() == line(1) + line(2)[:100]
    assert not old.exists()


# ── retention ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_segments_that_were_closed_long_ago_are_removed(store: Store) -> None:
    old, older = store.segment(line(1), days_ago=31), store.segment(line(2), days_ago=400)
    young = store.segment(line(3), days_ago=29)
    rotated = Path(f"{store.path}-20200101")
    rotated.write_bytes(line(4))
    store.path.write_bytes(line(5))
    os.utime(store.path, (1, 1))
    assert store.compact(StoreSettings(keep_days=30)) == Compacted(removed=2)
    assert store.names() == {young.name, rotated.name, store.path.name}
    assert not {old, older} & {*store.path.parent.iterdir()}


def test_the_oldest_segments_go_until_the_store_fits(store: Store) -> None:
    segments = [store.segment(os.urandom(10_000), days_ago=number) for number in (3, 2, 1)]
    store.path.write_bytes(os.urandom(20_000))
    on_disk = sum(path.stat().st_blocks * 512 for path in store.path.parent.iterdir())
    assert store.compact(StoreSettings(keep_bytes=on_disk)) == Compacted()
    assert store.compact(StoreSettings(keep_bytes=on_disk - 1)) == Compacted(removed=1)
    assert store.names() == {segments[1].name, segments[2].name, store.path.name}
    assert store.compact(StoreSettings(keep_bytes=1)) == Compacted(removed=2)
    assert store.names() == {store.path.name}


def test_a_segment_in_use_is_kept_for_the_moment(store: Store) -> None:
    held, free = store.segment(line(1), days_ago=9), store.segment(line(2), days_ago=8)
    with open(held, "rb") as file:
        sharing.mark_in_use(file.fileno())
        assert store.compact(StoreSettings(keep_bytes=1)) == Compacted(removed=1)
    assert store.names() == {held.name}
    assert not free.exists()


def test_a_compressed_segment_goes_with_the_plain_one_beside_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = store.segment(line(1), days_ago=9)
    store.compact(COMPRESS)
    segment.write_bytes(line(1))
    monkeypatch.setattr(sharing, "fcntl", None)  # so that what is left over stays
    assert store.compact(StoreSettings(keep_days=1)).removed == 1
    assert store.names() == set()


def test_binary_parts_go_with_the_last_segment_that_names_them(store: Store) -> None:
    pictures = [b"\x89PNG\r\n\x1a\n" + bytes([number]) * 40_000 for number in range(3)]
    media = Path(f"{store.path}.media")
    for shown, days_ago in (([0, 1], 9), ([1, 2], 0)):
        with AgentTracer(FileBackend(store.path)) as tracer, tracer.run() as run:
            for number in shown:
                with run.step("look") as step:
                    step.output = pictures[number]
        store.path.rename(store.files.new_segment(time.time_ns() - int(days_ago * S_PER_DAY * 1e9)))
    assert len(os.listdir(media)) == 3
    time.sleep(0.02)  # the clock of the file system is coarse
    assert store.compact(StoreSettings(keep_days=1)).removed == 1
    (run_left,) = load_runs(store.files.files())
    assert [step.output for step in run_left.steps] == pictures[1:]
    assert len(os.listdir(media)) == 2
    assert store.compact(StoreSettings(keep_bytes=1)).removed == 1
    assert not media.exists() or not os.listdir(media)


# ── kills ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_COMPACT = """
import sys
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import StoreSettings

print("ready", flush=True)
sys.stdin.readline()
compact(StoreFiles(sys.argv[1]), StoreSettings(compress="zst"))
print("done", flush=True)
"""
KILLS = int(os.environ.get("OTEL_AGENT_TRACE_TEST_KILLS", "6"))


def test_a_compaction_that_is_killed_loses_and_doubles_nothing(store: Store) -> None:
    made = random.Random(0)
    expected: list[int] = []
    number = killed = 0
    took_s = 0.05
    for _ in range(KILLS):
        for _ in range(3):
            lines = [line(number := number + 1, made.randbytes(400).hex()) for _ in range(1500)]
            expected += range(number - len(lines) + 1, number + 1)
            store.segment(*lines[:700], line(number + 10**6)[: made.randrange(1, 200)] + lines[700], *lines[701:])
        store.path.write_bytes(line(1)[:99] if made.random() < 0.5 else b"")
        command = [sys.executable, "-c", _COMPACT, str(store.path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, **pipes, text=True, env=environment()) as process:  # type: ignore[call-overload]
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
            time.sleep(made.random() * took_s * 1.2)
            process.kill()
            is_done = "done" in process.stdout.read()
            killed += not is_done
            took_s = took_s * 0.9 if is_done else took_s * 1.1
        assert store.numbers() == expected
        if made.random() < 0.2:
            store.compact(COMPRESS)
            for path in store.files.segments():
                os.unlink(path)
            expected.clear()
    assert killed > KILLS // 4
    store.compact(COMPRESS)
    assert store.numbers() == expected
    assert {name for name in store.names() if not name.endswith(".zst")} <= {store.path.name}
