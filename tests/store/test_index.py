"""The index of a store: the same answers with and without it, whatever the files are like and whatever happens to them."""

from __future__ import annotations

import gzip
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_agent_trace import RunQuery, SpanRecord, explain_run, load_runs, semconv
from otel_agent_trace.cli.commands import main
from otel_agent_trace.errors import SourceError
from otel_agent_trace.forgetting import forget
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.model import Score
from otel_agent_trace.query import age
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.scores import event_of
from otel_agent_trace.sources import open_source
from otel_agent_trace.sources.index import build, choice, reading, schema
from otel_agent_trace.sources.index.source import IndexedSource, build_index
from otel_agent_trace.sources.search import search
from otel_agent_trace.span import LogRecord, Scope
from otel_agent_trace.store.frames import FrameWriter
from otel_agent_trace.store.liveness import header
from otel_agent_trace.store.names import StoreFiles
from tests.support.mixed_traces import QUERIES, SECOND_NS, conversations, foreign_traces, of_ours, own_traces
from tests.support.sample_runs import BEGAN_NS, append, lines_of, make_run

SCORED: dict[str, Any] = {semconv.EVALUATION_NAME: "good", semconv.EVALUATION_SCORE: 0.4}


@st.composite
def late_scores(draw: st.DrawFn, spans: list[SpanRecord]) -> bytes:
    """A line with a score of a run or a step: by its span, or by its run in the trace; or one that names no run there is."""
    span = draw(st.sampled_from(spans))
    run_id = str(draw(st.sampled_from([span.attributes.get("agent_trace.run.id"), span.trace_id, "order-1"])))
    known = draw(st.sampled_from([(span.trace_id, span.span_id), (span.trace_id, "e" * 16), (span.trace_id, ""), None]))
    return draw(score_of("order" if known is None else run_id, *(known or ("", ""))))


@st.composite
def score_of(draw: st.DrawFn, run_id: str, trace_id: str = "", span_id: str = "") -> bytes:
    at_ns = BEGAN_NS + draw(st.integers(0, 5)) * SECOND_NS
    event = event_of(Score(name="brevity", value=draw(st.sampled_from([True, 1, 0.5])), at_ns=at_ns))
    attributes = {**event.attributes, "agent_trace.run.id": run_id}
    return otlp_json.encode_log(LogRecord(trace_id, span_id, event.name, at_ns, attributes)) + b"\n"


@st.composite
def contents(draw: st.DrawFn) -> list[bytes]:
    """Lines of a store, in any order."""
    traces = draw(st.lists(st.one_of(own_traces(), own_traces(), foreign_traces(), conversations()), max_size=5))
    lines = []
    for spans in traces:
        if draw(st.booleans()):
            lines += lines_of(spans)
        elif spans:
            lines.append(otlp_json.encode(spans) + b"\n")
        if spans and draw(st.integers(0, 3)) == 0:
            name = draw(st.sampled_from(["note", semconv.EVALUATION_EVENT]))
            log = LogRecord(spans[0].trace_id, spans[-1].span_id, name, BEGAN_NS, SCORED, body="text")
            lines.append(otlp_json.encode_log(log) + b"\n")
        if spans and draw(st.integers(0, 2)) == 0:
            lines.append(draw(late_scores(spans)))
    for _ in range(draw(st.integers(0, 2)) if draw(st.integers(0, 2)) == 0 else 0):
        lines.append(draw(st.sampled_from([b"\n", b"   \n", b"no JSON\n", b'{"resourceSpans":[{"re\n'])))
        if lines[:-1]:
            line = bytearray(draw(st.sampled_from(lines)))
            line[draw(st.integers(0, max(0, len(line) - 2)))] = draw(st.sampled_from(b'"{}x0\xff'))
            lines.append(bytes(line))
    return draw(st.permutations(lines))


SEGMENT = "traces-20261128T10150{}.123456Z-9f3a1c2b.jsonl"


class Store:
    """A store in a folder, which is written as programs, compaction and logrotate do."""

    def __init__(self, folder: Path) -> None:
        self.live = folder / "traces.jsonl"
        self._folder = folder
        self._closed = 0

    def rotate(self) -> None:
        self._closed += 1
        self.live.rename(self._folder / SEGMENT.format(self._closed))
        self.live.touch()

    def compress(self, packing: str) -> None:
        for path in [*self._folder.glob("traces-*.jsonl")]:
            content = path.read_bytes()
            if packing == "zst":
                with open(f"{path}.zst", "wb") as file:
                    writer = FrameWriter(file.write)
                    writer.write(content)
                    writer.close()
            else:
                (self._folder / f"traces.jsonl.{self._closed}.gz").write_bytes(gzip.compress(content))
            path.unlink()

    def logrotate(self) -> None:
        self._closed += 1
        self.live.rename(f"{self.live}.{self._closed}")
        self.live.touch()

    def copytruncate(self) -> None:
        self._closed += 1
        (self._folder / f"traces.jsonl.{self._closed}").write_bytes(self.live.read_bytes())
        self.live.write_bytes(b"")

    def remove_oldest(self) -> None:
        for path in sorted(self._folder.glob("traces-*"))[:1]:
            path.unlink()

    def rewrite(self) -> None:
        lines = self.live.read_bytes().splitlines(keepends=True)
        self.live.write_bytes(b"".join(lines[::2]))

    def journal(self, lines: list[bytes]) -> None:
        folder = Path(f"{self.live}.open")
        folder.mkdir(exist_ok=True)
        (folder / "4711-0123abcd.jsonl").write_bytes(header("", has_locks=True) + b"".join(lines))


STEPS: dict[str, Callable[[Store], None]] = {
    "rotate": Store.rotate,
    "zst": lambda store: store.compress("zst"),
    "gz": lambda store: store.compress("gz"),
    "logrotate": Store.logrotate,
    "copytruncate": Store.copytruncate,
    "remove": Store.remove_oldest,
    "rewrite": Store.rewrite,
}


@pytest.fixture(autouse=True)
def for_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also small stores have an index here."""
    monkeypatch.setattr(choice, "LEAST_BYTES", 0)


def answer(source: Any, query: dict[str, Any], problems: list[str]) -> list[Any] | str:
    """The runs, and with prices what they cost, as commands read it, or the error of a source that cannot be read."""
    given = RunQuery(**query)

    def kept(found: Assembled) -> Any:
        return (found.run, given.costs.of(found.run)) if given.prices is not None else found.run

    try:
        found = [*search(source, given, lambda problem: problems.append(str(problem)), kept)]
        return found if given.order is not None else sorted(found, key=age)
    except SourceError as error:
        return str(error)


def without_index(path: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(choice.VARIABLE, "off")
        return open_source(path)


def assert_same_answers(path: Path, queries: Any = QUERIES) -> None:
    for query in queries:
        indexed, plain = open_source(path), without_index(path)
        assert isinstance(indexed, IndexedSource)
        assert not isinstance(plain, IndexedSource)
        there, everywhere = list[str](), list[str]()
        expected = answer(plain, query, everywhere)
        assert answer(indexed, query, there) == expected, query
        if "prices" in query:
            assert answer(indexed, query, []) == expected, query  # what was kept of the costs
        assert {text for text in there if ".jsonl" in text} - {*everywhere} == set(), (query, there, everywhere)


@settings(deadline=None)
@given(data=st.data())
def test_answers_are_the_same_with_and_without_the_index(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "LEAST_BYTES", 0)
        store = Store(Path(folder))
        store.live.touch()
        for _ in range(data.draw(st.integers(1, 3))):
            lines = data.draw(contents())
            append(store.live, b"".join(lines))
            if data.draw(st.integers(0, 3)) == 0:
                append(store.live, data.draw(st.sampled_from([b'{"resourceSp', b"\n", b"x"])))
            if data.draw(st.integers(0, 3)) == 0:
                begun = of_ours(make_run(data.draw(st.integers(10, 12)), user_id="user-1"))
                store.journal([*map(_started_line, lines_of(begun))])
                append(store.live, b"".join(lines_of(begun[data.draw(st.integers(1, 6)) :])))
            step = data.draw(st.sampled_from(["", "", *STEPS]))
            if step:
                STEPS[step](store)
            queries = data.draw(st.lists(st.sampled_from(QUERIES), min_size=3, max_size=6))
            assert_same_answers(store.live, queries)


@settings(deadline=None)
@given(data=st.data())
def test_scores_that_name_only_a_run(data: st.DataObject) -> None:
    """In any file, also of runs that share their id, and of sub-agents."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "LEAST_BYTES", 0)
        store = Store(Path(folder))
        ids = {
            number: data.draw(st.sampled_from(["order-1", f"{number + 1:032x}"]))
            for number in data.draw(st.sets(st.integers(0, 5), min_size=1))
        }
        named = st.sampled_from(
            [*ids.values(), *(f"{number + 1:032x}-{number:08x}00000003" for number in ids), "order"]
        )
        lines = [line for number, run_id in ids.items() for line in lines_of(of_ours(make_run(number, run_id=run_id)))]
        lines += data.draw(st.lists(named.flatmap(score_of), min_size=1, max_size=4))
        for line in data.draw(st.permutations(lines)):
            append(store.live, line)
            step = data.draw(st.sampled_from([*[""] * 9, "rotate", "zst", "gz"]))
            if step:
                STEPS[step](store)
        assert_same_answers(store.live, data.draw(st.lists(st.sampled_from(QUERIES), min_size=2, max_size=4)))


def _started_line(line: bytes) -> bytes:
    return line.replace(b'"endTimeUnixNano"', b'"was"')


# ── safety ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The live file of a store with ten runs and their index."""
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"".join(line for number in range(10) for line in lines_of(of_ours(make_run(number)))))
    build_index(str(path))
    return path


def newest(path: Path) -> list[str]:
    return [run.run_id for run in load_runs(path, newest_first=True, limit=3)]


PRICED: dict[str, Any] = {"sort": "cost", "prices": {"m": {"input": 1, "output": 0}}, "limit": 3}
IDS = [f"{number:032x}" for number in (10, 9, 8)]


def index_of(path: Path) -> Path:
    return Path(StoreFiles(str(path)).index)


def change_index(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(index_of(path))) as connection:
        connection.executescript(";".join(statements))
        connection.commit()


def not_sqlite(path: Path) -> None:
    index_of(path).write_bytes(b"no database " * 1000)


def damaged(path: Path) -> None:
    change_index(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(index_of(path).read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    index_of(path).write_bytes(content)


def folder(path: Path) -> None:
    index_of(path).unlink()
    index_of(path).mkdir()


def fifo(path: Path) -> None:
    index_of(path).unlink()
    os.mkfifo(index_of(path))


def symbolic_link(path: Path) -> None:
    index_of(path).rename(path.parent / "elsewhere")
    index_of(path).symlink_to(path.parent / "elsewhere")


HOSTILE: dict[str, Callable[[Path], None]] = {
    "no database": not_sqlite,
    "damaged pages": damaged,
    "an empty file": lambda path: os.truncate(index_of(path), 0),
    "another version": lambda path: change_index(path, "PRAGMA user_version=99"),
    "a trigger": lambda path: change_index(path, "CREATE TRIGGER t AFTER INSERT ON name BEGIN DELETE FROM run; END"),
    "another table": lambda path: change_index(path, "DROP TABLE place", "CREATE TABLE place(trace)"),
    "wrong places": lambda path: change_index(path, "UPDATE place SET begin=begin+7"),
    "places beyond the end": lambda path: change_index(path, "UPDATE place SET begin=1000000000"),
    "negative places": lambda path: change_index(path, "UPDATE OR IGNORE place SET begin=-begin-1"),
    "huge sizes": lambda path: change_index(path, "UPDATE place SET size=9223372036854775807"),
    "texts for numbers": lambda path: change_index(path, "UPDATE place SET size='x'"),
    "blobs": lambda path: change_index(path, "UPDATE run SET start_ns=zeroblob(500000)"),
    "places of others": lambda path: change_index(path, "UPDATE OR IGNORE place SET trace=11-trace"),
    "no segment": lambda path: change_index(path, "UPDATE place SET segment=77"),
    "a path out of the store": lambda path: change_index(path, "UPDATE segment SET name='../../../../etc/passwd'"),
    "a negative size": lambda path: change_index(path, "UPDATE segment SET indexed=-5"),
    "a text as a size": lambda path: change_index(path, "UPDATE segment SET indexed='x'"),
    "texts for costs": lambda path: change_index(path, "UPDATE run SET cost='x'"),
    "lists for costs": lambda path: change_index(path, "UPDATE run SET unpriced='[1]'"),
    "runs of no trace": lambda path: change_index(path, "UPDATE run SET trace=trace+50"),
    "a folder": folder,
    "a FIFO": fifo,
    "a symbolic link": symbolic_link,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_index_that_is_not_ours_is_thrown_away(
    path: Path, case: str, tmp_path_factory: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    costs: Any = answer(open_source(path), PRICED, [])
    assert [cost.usd for _, cost in costs] == [9e-6, 8e-6, 7e-6]
    HOSTILE[case](path)
    assert answer(open_source(path), PRICED, []) == costs
    assert newest(path) == IDS
    assert newest(path) == IDS
    append(path, b"".join(lines_of(of_ours(make_run(10)))))
    assert newest(path) == [f"{11:032x}", *IDS[:2]]


def test_the_index_is_private_and_may_be_deleted(path: Path) -> None:
    assert index_of(path).stat().st_mode & 0o777 == 0o600
    for name in path.parent.glob("*.index*"):
        name.unlink()
    assert newest(path) == IDS
    assert index_of(path).exists()


def test_no_index_is_made_of_a_small_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "LEAST_BYTES", 8 << 20)
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"".join(lines_of(of_ours(make_run(1)))))
    assert newest(path)
    assert [each.name for each in tmp_path.iterdir()] == ["traces.jsonl"]


def test_the_environment_does_without_an_index(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "off")
    change_index(path, "DELETE FROM run")
    assert newest(path) == IDS


def test_a_filter_reads_only_the_lines_that_it_needs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    original = reading.traces_in_lines

    def noting(lines: Any, *given: Any, **more: Any) -> Any:
        found = [*lines]
        read.extend(line.data for line in found)
        return original(found, *given, **more)

    monkeypatch.setattr(reading, "traces_in_lines", noting)
    assert [run.run_id for run in load_runs(path, user_id="user-4")] == [f"{5:032x}"]
    assert {line for line in read if b"user-4" not in line} < {*lines_of(of_ours(make_run(4)))} | {
        line for line in read if b"%032x" % 5 in line
    }


def test_a_store_in_a_folder_that_cannot_be_written_is_indexed_elsewhere(
    path: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    beside = index_of(path)
    beside.unlink()
    opened = schema._opened

    def refusing(name: str) -> Any:
        if name == str(beside):
            raise PermissionError(name)
        return opened(name)

    monkeypatch.setattr(schema, "_opened", refusing)
    assert newest(path) == IDS
    assert not beside.exists()
    (made,) = cache.rglob("*.index")
    assert made.stat().st_mode & 0o777 == 0o600


BUILDER = """
import sys
from otel_agent_trace.sources.index import segments
segments.CHUNK_BYTES = 4096
from otel_agent_trace.sources.index.source import build_index
build_index(sys.argv[1])
"""


def contents_of_index(path: Path) -> tuple[list[Any], list[Any]]:
    with closing(sqlite3.connect(index_of(path))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        runs = connection.execute(
            "SELECT hex(trace_id), link, start_ns, steps, tokens, question FROM run JOIN trace ON trace.id=run.trace"
        )
        places = connection.execute("SELECT sum(size), hex(trace_id) FROM place JOIN trace ON id=trace GROUP BY trace")
        return sorted(runs), sorted(places)


def test_two_builders_that_are_killed_make_the_same_index_as_one_undisturbed(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    lines = [line for number in range(300) for line in lines_of(of_ours(make_run(number)))]
    random.Random(7).shuffle(lines)
    path.write_bytes(b"".join(lines))
    build_index(str(path))
    expected = contents_of_index(path)
    index_of(path).unlink()
    chance = random.Random(3)
    for _ in range(6):
        builders = [subprocess.Popen([sys.executable, "-c", BUILDER, str(path)]) for _ in range(2)]
        for builder in builders:
            try:
                builder.wait(chance.uniform(0.2, 0.7))
            except subprocess.TimeoutExpired:
                builder.kill()
            builder.wait()
    build_index(str(path))
    assert contents_of_index(path) == expected
    assert_same_answers(path, QUERIES[:8])


def test_a_file_that_was_changed_in_place_is_indexed_anew(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    assert_same_answers(path)
    path.write_bytes(path.read_bytes().replace(b"weather", b"climate"))
    assert_same_answers(path, [{"agent": "climate"}, {"agent": "weather"}])


def test_building_throws_a_wrong_index_away(path: Path) -> None:
    change_index(path, "UPDATE segment SET indexed=-5")
    assert build_index(str(path)).runs == 10
    assert newest(path) == IDS


def test_a_file_may_grow_while_it_is_indexed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added after its size was noted is indexed as well, once."""
    index_of(path).unlink()
    packing = build.packing_of

    def grown(name: str) -> str:
        monkeypatch.undo()
        append(path, b"".join(lines_of(of_ours(make_run(10)))))
        return packing(name)

    monkeypatch.setattr(build, "packing_of", grown)
    assert build_index(str(path)).runs == 11
    assert newest(path) == [f"{11:032x}", *IDS[:2]]


def test_nothing_of_forgotten_runs_is_left_in_the_index(path: Path) -> None:
    assert b"question 4" in index_of(path).read_bytes()
    forget(path, user_id="user-4", apply=True, on_problem=lambda problem: pytest.fail(str(problem)))
    assert [run.run_id for run in load_runs(path, user_id="user-4")] == []
    left = b"".join(name.read_bytes() for name in path.parent.glob("*.index*"))
    assert b"question 4" not in left
    assert b"question 3" in left


def test_the_command_counts_what_is_indexed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["runs"], found["files"], found["unusual"]) == (10, 1, [])
    assert found["bytes"] == path.stat().st_size
    assert main(["index", str(path)]) == 0
    assert "10 runs in 1 file" in capsys.readouterr().out


def test_explaining_a_run_counts_what_is_outside_any_run_in_the_whole_store(path: Path) -> None:
    other = SpanRecord(
        "e" * 32, "e" * 16, None, "GET /", BEGAN_NS, BEGAN_NS + 1, {"http.route": "/"}, scope=Scope("web")
    )
    append(path, b"".join(lines_of([other])))
    indexed = explain_run(path, IDS[0])
    assert [each.scope for each in indexed.outside] == ["web"]
    assert indexed == explain_run(without_index(path), IDS[0])
