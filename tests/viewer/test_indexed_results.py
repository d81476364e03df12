"""Results by the index of a store: the same as those of a search, whatever the store is like, and frozen while runs arrive."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from otel_agent_trace.errors import SourceError
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import open_source
from otel_agent_trace.sources.index import choice, listing
from otel_agent_trace.sources.index.query import is_exact
from otel_agent_trace.sources.index.segments import StaleError
from otel_agent_trace.sources.index.source import IndexedSource
from otel_agent_trace.viewer import library, places
from otel_agent_trace.viewer.entries import Entries, Entry
from otel_agent_trace.viewer.indexed import IndexedResult, result_of
from otel_agent_trace.viewer.lasting import LastingResult
from otel_agent_trace.viewer.results import Reading, ScannedResult
from otel_agent_trace.viewer.work import Stop
from tests.store.test_index import Store, contents
from tests.support.mixed_traces import QUERIES
from tests.support.sample_runs import BEGAN_NS, append, failed_run, lines_of, make_run

PRICES = {"m": {"input": 3, "output": 5}}
EXACT = [
    query
    for facts in ({}, *QUERIES)
    if is_exact(query := RunQuery(**{name: value for name, value in facts.items() if name != "limit"}))
]
IN_INDEX = {
    "run_id",
    "agent_name",
    "status",
    "started_at",
    "started_at_ns",
    "duration_s",
    "duration_text",
    "steps",
    "errors",
} | {*("tokens_text", "cost_text", "cost_usd", "error", "user_input", "user_id", "tags")}
"""What each row has; of others a row by the index may have nothing."""
STEPS = ("rotate", "logrotate", "copytruncate", "remove_oldest", "rewrite")
THREAD = "otel-agent-trace-list"
FAILURES = (StaleError(), sqlite3.OperationalError("database is locked"), SourceError("gone"), OSError("any other"))


@pytest.fixture(autouse=True)
def for_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also small stores have an index here."""
    monkeypatch.setattr(choice, "LEAST_BYTES", 0)


def reading_of(path: Path) -> Reading:
    """What reads a store."""
    return Reading(lambda stop: open_source(str(path), on_progress=stop.on_progress), Entries())


def result_by_index(path: Path, query: RunQuery) -> IndexedResult:
    """The result, which has to be by the index."""
    result = result_of(reading_of(path), query, Stop())
    assert isinstance(result, IndexedResult)
    return result


def all_of(result: Any, step: int = 3) -> list[Entry]:
    """The entries of all pages."""
    found: list[Entry] = []
    while page := result.page(len(found), step, Stop()):
        found += page
    return found


def facts_of(entry: Entry) -> dict[str, Any]:
    """What of an entry the index has to have as well."""
    row = {name: value for name, value in json.loads(entry.row).items() if name in IN_INDEX}
    row["tokens_text"] = row["tokens_text"].replace("-", "0")  # which of them it is, the index does not know
    return {
        **dict(sorted(row.items())),
        "of_entry": (
            entry.run_id,
            entry.started_at_ns,
            entry.status,
            entry.agent,
            sorted(set(entry.tools)),
            sorted(entry.models),
        ),
    }


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, list[bytes]]]:
    """What happens to a store, one after the other: lines are written, then something is done with the files."""
    names = st.sampled_from(("none", "none", *STEPS, "journal"))
    return [(draw(names), draw(contents())) for _ in range(draw(st.integers(1, 3)))]


@contextmanager
def stores(history: list[tuple[str, list[bytes]]]) -> Iterator[Store]:
    """A store with a history."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.live.touch()
        for name, lines in history:
            if name == "journal":
                store.journal(lines)
                continue
            append(store.live, b"".join(lines))
            if name != "none":
                getattr(store, name)()
        yield store


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(), st.lists(st.sampled_from(EXACT), min_size=1, max_size=3))
def test_results_are_those_of_a_search(history: list[tuple[str, list[bytes]]], queries: list[RunQuery]) -> None:
    with stores(history) as store:
        for query in queries:
            scanned = ScannedResult(reading_of(store.live), query)
            try:
                expected = all_of(scanned)
            except SourceError:
                reject()  # a file that begins as none does is not read either way
            found = result_of(reading_of(store.live), query, Stop())
            listed = all_of(found)
            assert [*map(facts_of, listed)] == [*map(facts_of, expected)]
            assert found.total == len(expected) == found.at_least
            assert comparable(found.facets(Stop())) == comparable(scanned.facets(Stop()))


def comparable(facets: dict[str, Any]) -> dict[str, Any]:
    """Facets but for the categories of errors, which the index does not have."""
    return {name: value for name, value in facets.items() if name not in ("error", "is_exact")}


def store_of(tmp_path: Path, count: int) -> Path:
    """A store of runs, of which every fourth failed."""
    path = tmp_path / "traces.jsonl"
    runs = [failed_run(number) if number % 4 == 3 else make_run(number) for number in range(count)]
    path.write_bytes(b"".join(b"".join(lines_of(_spans(run))) for run in runs))
    return path


def _spans(run: Any) -> Any:
    from tests.support.mixed_traces import of_ours

    return of_ours(run)


def test_a_result_is_frozen_while_runs_arrive(tmp_path: Path) -> None:
    path = store_of(tmp_path, 20)
    result = result_by_index(path, RunQuery())
    first = [entry.run_id for entry in result.page(0, 5, Stop())]
    append(path, b"".join(lines_of(_spans(make_run(30)))))
    assert [entry.run_id for entry in result.page(0, 5, Stop())] == first
    assert [entry.run_id for entry in all_of(result)] == [f"{number + 1:032x}" for number in reversed(range(20))]
    assert (result.total, result.at_least) == (20, 20)
    assert sum(result.facets(Stop())["status"].values()) == 20
    assert result_by_index(path, RunQuery()).total == 21


@pytest.mark.parametrize("line", [b"", b"no JSON\n" * 201])
def test_a_result_of_files_that_are_not_what_they_were_is_made_anew(tmp_path: Path, line: bytes) -> None:
    """Whether the index has them anew or cannot answer any more."""
    path = store_of(tmp_path, 6)
    result = LastingResult(reading_of(path), RunQuery(), Stop())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if f"{3:032x}".encode() not in line) + line)
    assert [entry.run_id for entry in result.page(0, 6, Stop())] == [f"{number + 1:032x}" for number in (5, 4, 3, 1, 0)]


def test_what_the_index_cannot_answer_any_more_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when programs change the files each time that they are looked at."""
    path = store_of(tmp_path, 20)
    result = LastingResult(reading_of(path), RunQuery(), Stop())
    first = result.page(0, 5, Stop())
    assert result.total == 20

    def changed(*_: object) -> None:
        raise StaleError

    monkeypatch.setattr(IndexedSource, "begun", changed)
    assert [entry.run_id for entry in result.page(0, 5, Stop())] == [entry.run_id for entry in first]
    assert result.at_least == 20
    assert sum(result.facets(Stop())["status"].values()) == 20


def test_runs_that_go_on_are_as_they_are_now(tmp_path: Path) -> None:
    store = Store(tmp_path)
    spans = [_spans(make_run(number)) for number in range(3)]
    store.live.write_bytes(b"".join(b"".join(lines_of(each)) for each in spans))
    reading = reading_of(store.live)
    result = result_of(reading, RunQuery(), Stop())
    before = [json.loads(entry.row)["steps"] for entry in all_of(result)]
    late = next(span for span in spans[1] if span.name == "execute_tool search")
    store.journal(lines_of([msgspec.structs.replace(late, span_id="f" * 16)]))
    reading.entries.note_change(late.trace_id)
    assert [json.loads(entry.row)["steps"] for entry in all_of(result)] == [before[0], before[1] + 1, before[2]]


def test_runs_that_began_at_once_are_in_order_of_their_ids(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    runs = [make_run(place, run_id=run_id, started_at_ns=BEGAN_NS, steps=()) for place, run_id in enumerate("bdace")]
    path.write_bytes(b"".join(b"".join(lines_of(_spans(run))) for run in runs))
    assert [entry.run_id for entry in all_of(result_by_index(path, RunQuery()))] == [*"edcba"]


def test_runs_with_one_id_have_rows_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"".join(b"".join(lines_of(_spans(make_run(number, run_id="order-1")))) for number in range(4)))
    expected = [f"question {number}" for number in reversed(range(4))]
    for result in (result_by_index(path, RunQuery()), ScannedResult(reading_of(path), RunQuery())):
        assert [json.loads(entry.row)["user_input"] for entry in all_of(result)] == expected


def test_questions_are_those_of_a_search(tmp_path: Path) -> None:
    questions: list[Any] = [{"city": "Lyon"}, ["a", "b"], 7, "", "a\0b", "\ud800", "a \n b", "b" * 96, '{"a": 1}']
    path = tmp_path / "traces.jsonl"
    runs = [make_run(number, user_input=question, steps=()) for number, question in enumerate([*questions, "b " * 60])]
    path.write_bytes(b"".join(b"".join(lines_of(_spans(run))) for run in runs))
    found = [json.loads(entry.row)["user_input"] for entry in all_of(result_by_index(path, RunQuery()))]
    expected = [json.loads(entry.row)["user_input"] for entry in all_of(ScannedResult(reading_of(path), RunQuery()))]
    assert found == ["b " * 47 + "b…", *expected[1:]]


def test_all_of_a_long_list_are_found_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_BLOCK", 5)
    result = result_by_index(store_of(tmp_path, 23), RunQuery(sort="steps"))
    assert len(result.page(20, 10, Stop())) == 3
    assert (result.total, result.at_least) == (23, 23)
    assert result.page(23, 10, Stop()) == []


def do_in_threads(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something first in the threads that find all runs of a list."""
    monkeypatch.setattr(places, "_BLOCK", 5)
    begun = IndexedSource.begun

    def after_action(source: IndexedSource, *arguments: Any) -> Any:
        if threading.current_thread().name == THREAD:
            action()
        return begun(source, *arguments)

    monkeypatch.setattr(IndexedSource, "begun", after_action)


def fail_once_in_a_thread(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the first thread that finds all runs of a list fail."""
    errors = [error]

    def fail() -> None:
        if errors:
            raise errors.pop()

    do_in_threads(monkeypatch, fail)


def wait_for_threads() -> None:
    """Wait until no thread finds runs."""
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_nobody_waits_for_runs_that_a_thread_failed_to_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail_once_in_a_thread(monkeypatch, error)
    result = result_by_index(store_of(tmp_path, 23), RunQuery(sort="steps"))
    wait_for_threads()
    stop = Stop()
    stop.set()  # whoever waits is stopped
    with pytest.raises(StaleError):
        result.page(20, 10, stop)
    assert (result.total, result.at_least) == (None, 5)


def test_a_list_of_which_not_all_were_found_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once_in_a_thread(monkeypatch, StaleError())
    result = LastingResult(reading_of(store_of(tmp_path, 23)), RunQuery(sort="steps"), Stop())
    assert len(result.page(0, 60, Stop())) == 23
    assert (result.total, result.at_least) == (23, 23)


def test_a_list_that_is_not_held_any_more_is_not_found_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_find = threading.Event()
    do_in_threads(monkeypatch, may_find.wait)
    monkeypatch.setattr(library, "_MOST_RESULTS", 1)
    held = library.Library(str(store_of(tmp_path, 23)))
    first, second = (held.result(None, RunQuery(sort=sort), Stop()).result for sort in ("steps", "tokens"))
    may_find.set()
    wait_for_threads()
    assert (first.total, first.at_least) == (None, 5)
    assert (second.total, second.at_least) == (23, 23)


@pytest.mark.parametrize("sort", ["time", "duration", "steps", "tokens"])
@pytest.mark.parametrize("facts", [{}, {"status": "error"}, {"tool": "search"}, {"since": (BEGAN_NS + 5e9) / 1e9}])
def test_blocks_of_a_list_are_those_of_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sort: str, facts: dict[str, Any]
) -> None:
    monkeypatch.setattr(places, "_BLOCK", 3)
    monkeypatch.setattr(listing, "_MANY", 1)  # also few runs are found in their order
    path, query = store_of(tmp_path, 23), RunQuery(sort=sort, **facts)
    expected = [entry.run_id for entry in all_of(ScannedResult(reading_of(path), query))]
    result = result_by_index(path, query)
    assert [entry.run_id for entry in result.page(7, 9, Stop())] == expected[7:16]
    assert [entry.run_id for entry in all_of(result)] == expected


def test_the_tally_is_kept_while_runs_come_change_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_BLOCK", 5)
    path = store_of(tmp_path, 0)
    days = [_spans(make_run(number, started_at_ns=BEGAN_NS + number * 10**14)) for number in range(20)]
    append(path, b"".join(line for spans in days[:15] for line in lines_of(spans)))
    before = result_by_index(path, RunQuery())
    append(path, b"".join(line for spans in days[15:] for line in lines_of(spans)))
    after = result_by_index(path, RunQuery())
    assert (tallied(before), tallied(after)) == (15, 20)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if f"{3:032x}".encode() not in line))
    assert tallied(result_by_index(path, RunQuery(status="success"))) == 19


def tallied(result: IndexedResult) -> int:
    """How many runs are counted, which has to be the same in all facets."""
    facets = result.facets(Stop())
    (count,) = {sum(facets[name].values()) for name in ("status", "agent", "model")}
    assert count == facets["tool"]["search"] == sum(bucket["runs"] for bucket in facets["histogram"])
    return int(count)


def test_filters_and_buckets_are_counted(tmp_path: Path) -> None:
    path = store_of(tmp_path, 20)
    failed = result_by_index(path, RunQuery(status="error"))
    assert failed.total == 5
    facets = failed.facets(Stop())
    assert facets["status"] == {"error": 5}
    assert facets["agent"] == {"weather": 5}
    assert facets["tool"] == {"search": 5, "inner-tool": 5}
    assert sum(bucket["runs"] for bucket in facets["histogram"]) == 5
    assert sum(bucket["errors"] for bucket in facets["histogram"]) == 5
    assert facets["histogram"][0]["start_ns"] == str(BEGAN_NS + 3 * 10**9)
    assert facets["is_exact"] is True


def test_failed_runs_have_their_errors_and_costs_are_by_the_prices_given(tmp_path: Path) -> None:
    path = store_of(tmp_path, 8)
    rows = [json.loads(entry.row) for entry in result_by_index(path, RunQuery(prices=PRICES)).page(0, 8, Stop())]
    numbers = [*reversed(range(8))]
    assert [row["error"] is not None for row in rows] == [number % 4 == 3 for number in numbers]
    assert [float(row["cost_usd"]) for row in rows] == pytest.approx([3 * number / 1e6 for number in numbers])
