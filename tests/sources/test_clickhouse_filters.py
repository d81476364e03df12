"""Filters that the server applies: the same runs as when everything is read, with fewer traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from otel_agent_trace import RunQuery, load_runs, pseudonymize_user_id, run_to_spans
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.model import RunStatus
from otel_agent_trace.sources.clickhouse import ClickHouseSource
from otel_agent_trace.sources.clickhouse.connection import Connection
from otel_agent_trace.span import Problem, SpanRecord
from tests.support.mixed_traces import QUERIES, conversations, foreign_traces, of_ours, own_traces
from tests.support.sample_runs import BEGAN_NS, fail_on_problem, failed_run, make_run, of_service, write_runs_to

SECOND_NS = 10**9
own_or_others = st.one_of(own_traces(), own_traces(), foreign_traces(), conversations())


class Connected(ClickHouseSource):
    """A source that keeps one connection, since each test asks for much."""

    def __init__(self, url: str, connection: Connection) -> None:
        super().__init__(url)
        self.connection = connection

    def connected(self) -> AbstractContextManager[Connection]:
        return nullcontext(self.connection)


class Given:
    """A source of given traces that applies no filters."""

    def __init__(self, traces: list[list[SpanRecord]]) -> None:
        self._traces = traces

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        return (list(spans) for spans in self._traces)


@settings(
    max_examples=3, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_filters_leave_out_no_run(clickhouse, data):
    clickhouse.run("TRUNCATE TABLE otel_traces")
    clickhouse.run("TRUNCATE TABLE otel_traces_trace_id_ts")
    traces = data.draw(st.lists(own_or_others, min_size=1, max_size=12))
    clickhouse.insert(otlp_json.decode(otlp_json.encode([span for spans in traces for span in spans])))
    with ClickHouseSource(clickhouse.url).connected() as connection:
        source = Connected(clickhouse.url, connection)
        read = list(source.traces(fail_on_problem))
        for query in data.draw(st.lists(st.sampled_from(QUERIES), min_size=4, max_size=10)):
            expected = load_runs(Given(read), **query)
            assert load_runs(source, **query) == expected, query


def _runs():
    inner = make_run(3, tags=("red", "urgent"), session_id="s-3")
    slow = make_run(4, ended_at_ns=BEGAN_NS + 9 * SECOND_NS)
    other = make_run(5, agent_name="planner", user_id=pseudonymize_user_id("bob"), status=RunStatus.TIMEOUT)
    return [make_run(1), failed_run(2), inner, slow, other]


NARROWED: dict[str, tuple[dict[str, Any], list[int]]] = {
    "agent": ({"agent": "planner"}, [5]),
    "status": ({"status": "error"}, [2, 5]),
    "timeout": ({"status": "timeout"}, [2, 5]),
    "tool": ({"tool": "search"}, [1, 2, 3, 4, 5]),
    "model": ({"model": "no-such-model"}, []),
    "a user": ({"user_id": "user-3"}, [3]),
    "a pseudonym": ({"user_id": "bob"}, [5]),
    "session": ({"session_id": "s-3"}, [3]),
    "tag": ({"tag": ["red", "urgent"]}, [3]),
    "duration": ({"min_duration": "2s"}, [4]),
    "run id": ({"run_id": f"{3 + 1:032x}"}, [3]),
    "beginning of an id": ({"run_id": "0" * 31 + "4"}, [3]),
    "service": ({"service": "other"}, [1]),
    "since": ({"since": (BEGAN_NS + 5 * SECOND_NS) / SECOND_NS}, [5]),
    "until": ({"until": (BEGAN_NS + 2 * SECOND_NS) / SECOND_NS}, [1]),
}


@pytest.mark.parametrize("name", NARROWED)
def test_a_filter_reads_only_what_it_selects(clickhouse, tmp_path, name):
    query, numbers = NARROWED[name]
    runs = _runs()
    spans = [span for run in runs for span in of_ours(run)]
    first = {span.trace_id for span in run_to_spans(runs[0])}
    clickhouse.insert(of_service(span, "other") if span.trace_id in first else span for span in spans)
    source = ClickHouseSource(clickhouse.url)
    narrowed = source.narrowed(RunQuery(**query))
    read = {spans[0].trace_id for spans in narrowed.traces(fail_on_problem)}
    assert read == {f"{number + 1:032x}" for number in numbers}
    path = write_runs_to(tmp_path / "runs.jsonl", runs)
    if name != "service":
        assert [run.run_id for run in load_runs(source, **query)] == [run.run_id for run in load_runs(path, **query)]


def test_a_service_of_the_address(clickhouse):
    clickhouse.insert(span for run in (make_run(1), make_run(2)) for span in of_ours(run, f"shop-{run.started_at_ns}"))
    [run] = load_runs(f"{clickhouse.url}?service=shop-{make_run(2).started_at_ns}")
    assert run.run_id == make_run(2).run_id
    assert load_runs(f"{clickhouse.url}?service=none") == []


HOSTILE = ["'; DROP TABLE otel_traces; --", "\\' OR 1=1", "{x:String}", "%", "a\x00b\n", "\ud83d", "💥", "`"]


FIELDS = ("agent", "tool", "model", "user_id", "session_id", "service", "tag", "run_id")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_asked_for_is_no_sql(clickhouse, text):
    clickhouse.insert(run_to_spans(make_run(1)))
    for field in FIELDS:
        assert load_runs(clickhouse.url, **{field: text}) == [], field
    assert len(load_runs(clickhouse.url)) == 1


def test_runs_of_users_under_other_keys_are_counted(clickhouse, monkeypatch):
    clickhouse.insert(run_to_spans(make_run(1, user_id=pseudonymize_user_id("bob", key="another"))))
    clickhouse.insert(run_to_spans(make_run(2, user_id=pseudonymize_user_id("bob"))))
    problems: list[str] = []
    [run] = load_runs(clickhouse.url, user_id="bob", on_problem=lambda problem: problems.append(str(problem)))
    assert run.run_id == make_run(2).run_id
    assert "1 under the key" in problems[0]
