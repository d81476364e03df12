"""What is held of a source is bounded, and is what the source has."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import InMemoryBackend, run_to_spans
from otel_agent_trace.errors import ConfigurationError, RunNotFoundError
from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.query import RunQuery
from otel_agent_trace.semconv import EVALUATION_EVENT
from otel_agent_trace.sources import open_source
from otel_agent_trace.sources.run_events import Event
from otel_agent_trace.span import Capabilities, LogRecord
from otel_agent_trace.viewer import entries, results
from otel_agent_trace.viewer.cache import Cache
from otel_agent_trace.viewer.entries import Entries, Entry
from otel_agent_trace.viewer.facets import histogram, width_for
from otel_agent_trace.viewer.filters import query_of
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.live import Changes
from otel_agent_trace.viewer.results import Reading, ScannedResult
from otel_agent_trace.viewer.work import Stop, StoppedError
from tests.support.sample_runs import BEGAN_NS, lines_of, make_run


def write(path: Path, numbers: Iterator[int] | range) -> None:
    spans = [span for number in numbers for span in run_to_spans(make_run(number))]
    with path.open("ab") as file:
        file.writelines(lines_of(spans))


class Newest:
    """A source that yields the newest traces first, and counts those that are read."""

    capabilities = Capabilities(newest_first=True)

    def __init__(self, path: Path) -> None:
        self.path, self.read = path, 0

    def traces(self, on_problem: Any) -> Iterator[Any]:
        traces = sorted(
            open_source(str(self.path)).traces(on_problem), key=lambda spans: -max(s.start_ns for s in spans)
        )
        for spans in traces:
            self.read += 1
            yield spans


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_FIRST", 4)
    monkeypatch.setattr(results, "_GROWTH", 2)
    monkeypatch.setattr(results, "MOST_RUNS", 20)


def result_of(source: Any, held: Entries | None = None, **filters: Any) -> ScannedResult:
    return ScannedResult(Reading(lambda _: source, held or Entries()), RunQuery(**filters))


def ids(found: Any) -> list[int]:
    return [int(entry.run_id, 16) - 1 for entry in found]


@pytest.mark.usefixtures("small_steps")
def test_a_part_is_read_as_far_as_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write(path, range(10))
    source = Newest(path)
    result = result_of(source)
    assert ids(result.page(0, 3, Stop())) == [9, 8, 7]
    assert (result.total, result.at_least) == (None, 4)
    assert source.read < 10
    write(path, range(10, 13))  # arrives later, and moves nothing
    assert ids(result.page(2, 5, Stop())) == [7, 6, 5, 4, 3]
    assert ids(result.page(8, 5, Stop())) == [1, 0]
    assert (result.total, result.at_least) == (10, 10)


@pytest.mark.usefixtures("small_steps")
def test_a_result_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write(path, range(30))
    result = result_of(Newest(path))
    assert ids(result.page(15, 100, Stop())) == [14, 13, 12, 11, 10]
    assert (result.total, result.at_least) == (None, 20)
    assert result.facets(Stop())["is_exact"] is False


def test_what_is_not_held_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_MOST_ENTRIES", 3)
    path = tmp_path / "t.jsonl"
    write(path, range(6))
    held = Entries()
    result = result_of(open_source(str(path)), held)
    assert ids(result.page(0, 3, Stop())) == [5, 4, 3]
    assert ids(result.page(3, 3, Stop())) == [2, 1, 0]
    assert len(held.known(result._keys)) == 3


class Narrowed:
    """A source that notes the times between which runs began that are read."""

    capabilities = Capabilities(filters=frozenset({"since", "until"}))

    def __init__(self, path: Path) -> None:
        self._source = open_source(str(path))
        self.bounds: list[tuple[Any, Any]] = []

    def narrowed(self, query: RunQuery) -> Any:
        self.bounds.append((query.since_ns, query.until_ns))
        return self._source

    def traces(self, on_problem: Any) -> Iterator[Any]:
        return self._source.traces(on_problem)


def test_what_is_not_held_is_read_around_the_time_at_which_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_MOST_ENTRIES", 5)
    path = tmp_path / "t.jsonl"
    write(path, range(8))
    source = Narrowed(path)
    assert ids(result_of(source).page(4, 2, Stop())) == [3, 2]
    ((since_ns, until_ns),) = source.bounds
    assert 0 < BEGAN_NS - since_ns < 3600 * 10**9
    assert 0 < until_ns - BEGAN_NS < 3600 * 10**9


def test_a_run_that_is_gone_keeps_its_row(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write(path, range(3))
    held = Entries()
    result = result_of(open_source(str(path)), held)
    before = result.page(0, 3, Stop())
    path.write_bytes(b"")
    write(path, range(1))
    for entry in before:
        held.note_change(entry.run_id)
    assert ids(result.page(0, 3, Stop())) == [2, 1, 0]
    assert held.outdated(entry.key for entry in before) == set()


def test_reading_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write(path, range(3))
    stop = Stop()
    stop.set()
    with pytest.raises(StoppedError):
        result_of(open_source(str(path))).page(0, 3, stop)


def test_results_are_few_and_the_same_where_nothing_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write(path, range(3))
    library = Library(str(path))
    first = library.result(None, RunQuery(), Stop())
    assert library.result(None, RunQuery(), Stop()) is first
    assert library.result(first.result_id, RunQuery(agent="other"), Stop()) is first
    others = [library.result(None, RunQuery(agent=str(number)), Stop()) for number in range(16)]
    assert len({each.result_id for each in [first, *others]}) == 17
    assert library.result(others[-1].result_id, RunQuery(), Stop()) is others[-1]
    assert library.result(first.result_id, RunQuery(), Stop()) is not first
    write(path, range(3, 4))
    assert ids(library.result(None, RunQuery(), Stop()).result.page(0, 9, Stop())) == [3, 2, 1, 0]


def test_an_answer_is_read_once_while_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write(path, range(1))
    library, read = Library(str(path)), list[str]()

    def answer(request: str) -> str:
        def reading() -> str:
            read.append(request)
            return f"{request} {len(read)}"

        return library.answer(request, reading)

    def fails() -> str:
        raise StoppedError

    with pytest.raises(StoppedError):
        library.answer("a", fails)
    assert (answer("a"), answer("b")) == ("a 1", "b 2")
    write(path, range(1, 2))
    assert answer("a") == "a 3"
    library.touch("x")
    assert answer("a") == "a 4"


def test_a_backend_is_a_source() -> None:
    library = Library(InMemoryBackend())
    assert not library.is_live
    assert library.result(None, RunQuery(), Stop()).result.page(0, 9, Stop()) == []


def test_a_store_that_does_not_exist_yet(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    library = Library(str(path), is_new=True)
    assert library.result(None, RunQuery(), Stop()).result.page(0, 9, Stop()) == []
    with pytest.raises(RunNotFoundError):
        library.read("x", Stop())
    write(path, range(1))
    assert ids(library.result(None, RunQuery(), Stop()).result.page(0, 9, Stop())) == [0]


def test_runs_that_are_held_are_few() -> None:
    runs, read = Cache[str](3, 100), list[str]()

    def get(run_id: str, state: object = None, steps: int = 1) -> str:
        def reading() -> tuple[str, int]:
            read.append(run_id)
            return f"{run_id} at {state}", steps

        return runs.get(run_id, state, reading)

    assert [get("a", 1), get("a"), get("a", 1), get("a", 2)] == ["a at 1", "a at 1", "a at 1", "a at 2"]
    assert read == ["a", "a"]
    for run_id in "bcd":
        get(run_id)
    get("a")
    assert read == ["a", "a", "b", "c", "d", "a"]
    get("large", steps=1000)
    get("large")
    assert len(read) == 7
    get("d")
    assert len(read) == 8  # only the large one was held
    runs.forget("d")
    get("d")
    assert len(read) == 9


def test_a_run_is_read_by_one_thread() -> None:
    runs, began, ended, read = Cache[int](3, 100), threading.Event(), threading.Event(), list[int]()

    def reading() -> tuple[int, int]:
        began.set()
        ended.wait()
        read.append(1)
        return 1, 1

    threads = [threading.Thread(target=runs.get, args=("a", 1, reading)) for _ in range(4)]
    for thread in threads:
        thread.start()
    began.wait()
    ended.set()
    for thread in threads:
        thread.join()
    assert read == [1]


@pytest.mark.parametrize("seconds", [0, 1, 59, 60, 61, 3599, 86_400, 10**7, 10**9, 10**10])
def test_a_histogram_has_few_buckets_and_all_runs(seconds: int) -> None:
    starts = [(10**18 + second * 10**9, second % 2 == 0) for second in {0, seconds // 3, seconds}]
    buckets = histogram(starts)
    assert len(buckets) <= 62
    assert sum(bucket["runs"] for bucket in buckets) == len(starts)
    assert sum(bucket["errors"] for bucket in buckets) == sum(is_failed for _, is_failed in starts)
    width_ns = width_for(seconds * 10**9)
    assert [int(bucket["end_ns"]) - int(bucket["start_ns"]) for bucket in buckets] == [width_ns] * len(buckets)
    assert int(buckets[0]["start_ns"]) <= 10**18 < int(buckets[0]["end_ns"])


def test_runs_without_a_time_have_no_bucket() -> None:
    assert histogram([(0, True)]) == []


def event(kind: str, run_id: str, parent: str | None = None, status: str = "running", depth: int = 0) -> Event:
    return Event(kind, run_id, "s", parent, "agent", "n", status, 1, None, depth)


def test_changes_are_of_outermost_runs() -> None:
    changes = Changes()
    began = [event("run_started", "outer"), event("run_started", "inner", "outer", depth=1)]
    assert changes.note(began) == {"outer": "running"}
    began_at = changes.revision("outer")
    assert changes.note([event("step_ended", "inner", "outer", "success", 2)]) == {"outer": None}
    deep = [event("run_started", "deep", "inner", depth=2), event("step_started", "deep", "inner", depth=3)]
    assert changes.note(deep) == {"outer": None}
    assert changes.note([event("run_ended", "outer", status="error")]) == {"outer": "error"}
    assert changes.revision("outer") == changes.revision("inner") != began_at != changes.revision("another")
    assert changes.started == 1
    assert (changes.arrived_after(0), changes.arrived_after(1)) == (["outer"], [])


def test_changes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_agent_trace.viewer.live._MOST_KNOWN", 3)
    changes = Changes()
    for number in range(9):
        changes.note([event("run_started", str(number))])
    assert changes.started == 9
    assert changes.arrived_after(0) == ["6", "7", "8"]
    assert changes.revision("0") == changes.revision("unknown") != changes.revision("8")


def test_what_is_known_of_runs_that_were_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_agent_trace.viewer.live._MOST_KNOWN", 3)
    changes = Changes()
    for number in range(9):
        changes.know(AgentRun(run_id=str(number)))
        changes.touch(str(number))
    assert (len(changes._outermost), len(changes._revisions)) == (3, 3)
    assert changes.revision("0") == changes.revision("unknown") != changes.revision("8")


def test_a_log_record_is_a_change_of_the_run_that_it_is_about() -> None:
    changes = Changes()
    inner = AgentRun(run_id="inner", agent_name="helper")
    step = AgentStep(step_id=1, name="helper", kind=StepKind.AGENT, run=inner)
    changes.know(AgentRun(run_id="outer", trace_id="a" * 32, steps=(step,)))
    named = {"agent_trace.run.id": "inner"}

    assert changes.note([], [LogRecord("", "", EVALUATION_EVENT, 1, named)]) == {"outer": None}
    assert changes.note([], [LogRecord("a" * 32, "b" * 16, EVALUATION_EVENT, 1)]) == {"outer": None}
    assert changes.note([], [LogRecord("c" * 32, "b" * 16, EVALUATION_EVENT, 1)]) == {}
    assert changes.revision("outer") == changes.revision("inner") != changes.revision("another")


def test_no_two_servers_have_a_revision_in_common() -> None:
    assert Changes().revision("run") != Changes().revision("run")


def test_filters_of_an_address() -> None:
    query = query_of([("status", "error"), ("user", "u"), ("tag", "a"), ("tag", "b"), ("where", "x=1"), ("agent", "")])
    assert query.given() == {"status": "error", "user_id": "u", "tag": ["a", "b"], "where": {"x": 1}}
    with pytest.raises(ConfigurationError, match="no such filter"):
        query_of([("user_id", "u")])
    with pytest.raises(ConfigurationError, match="twice"):
        query_of([("user", "u"), ("user", "v")])


def test_entries_of_runs_are_small(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write(path, range(1))
    (entry,) = result_of(open_source(str(path))).page(0, 1, Stop())
    assert isinstance(entry, Entry)
    assert len(entry.row) < 2000
