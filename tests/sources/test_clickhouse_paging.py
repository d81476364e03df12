"""Pages of traces: each trace once, the newest first, however long traces are and however many begin at once."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.sources.clickhouse.paging import FIRST_WIDTH_NS, Listed, Page, Times, TracePages

HOUR_NS = FIRST_WIDTH_NS


class Table:
    """Starts of the spans of each trace; more may be added while the table is read."""

    def __init__(self, starts: dict[str, list[int]]) -> None:
        self.starts = starts
        self.statements = 0

    def listed(self, begin_ns: int, end_ns: int, limit: int) -> Sequence[Listed]:
        self.statements += 1
        within = {key: [ns for ns in starts if begin_ns <= ns <= end_ns] for key, starts in self.starts.items()}
        found = [Listed(key, max(starts)) for key, starts in within.items() if starts]
        return sorted(found, key=lambda each: (-each.latest_ns, each.trace_id))[:limit]

    def times(self, trace_ids: Sequence[str]) -> Page:
        return {trace_id: Times(min(self.starts[trace_id]), max(self.starts[trace_id])) for trace_id in trace_ids}

    def pages(self, begin_ns: int, end_ns: int, most: int) -> TracePages:
        return TracePages(self.listed, self.times, begin_ns, end_ns, most)


starts = st.lists(st.integers(0, 40) | st.integers(0, 30 * HOUR_NS), min_size=1, max_size=4)
tables = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), starts, max_size=30)


@given(tables, st.integers(1, 5))
def test_each_trace_is_once_and_newer_ones_come_first(traces, most):
    table = Table(traces)
    everything = [ns for starts in traces.values() for ns in starts]
    first, last = (min(everything), max(everything)) if everything else (0, 0)
    found = [trace_id for page in table.pages(first, last, most) for trace_id in page]
    assert sorted(found) == sorted(traces)
    latest = [max(traces[trace_id]) for trace_id in found]
    assert latest == sorted(latest, reverse=True)


@given(tables, st.integers(0, 30 * HOUR_NS), st.integers(0, 30 * HOUR_NS))
def test_only_traces_with_a_span_in_the_time_are_found(traces, begin_ns, end_ns):
    found = {trace_id for page in Table(traces).pages(begin_ns, end_ns, 3) for trace_id in page}
    expected = {key for key, starts in traces.items() if any(begin_ns <= ns <= end_ns for ns in starts)}
    assert found == expected


def test_more_traces_begin_at_once_than_are_on_a_page():
    table = Table({f"{number}": [HOUR_NS] for number in range(100)})
    pages = [list(page) for page in table.pages(0, 2 * HOUR_NS, 7)]
    assert sorted(trace_id for page in pages for trace_id in page) == sorted(table.starts)
    assert max(map(len, pages)) <= 7


def test_a_trace_is_longer_than_many_windows():
    short = {f"{number}": [number * HOUR_NS] for number in range(200)}
    table = Table({"long": [0, 100 * HOUR_NS, 199 * HOUR_NS + 1], **short})
    found = [trace_id for page in table.pages(0, 200 * HOUR_NS, 10) for trace_id in page]
    assert found[0] == "long"
    assert len(found) == len(set(found)) == 201


def test_a_root_that_arrives_last_does_not_bring_its_trace_again():
    """Spans are sent when they end, so that the root, which began first, comes last."""
    table = Table({"open": [5 * HOUR_NS + 1], "old": [0]})
    found: list[str] = []
    for page in table.pages(0, 6 * HOUR_NS, 1):
        found += page
        table.starts["open"] = [5 * HOUR_NS - 1, 5 * HOUR_NS + 1]
    assert found == ["open", "old"]


def test_a_trace_that_goes_on_while_the_table_is_read_is_not_lost():
    table = Table({"new": [9 * HOUR_NS], "old": [HOUR_NS]})
    found: list[str] = []
    for page in table.pages(0, 9 * HOUR_NS, 1):
        found += page
        table.starts["old"] = [HOUR_NS, 9 * HOUR_NS + 1]
    assert found == ["new", "old"]


def test_empty_years_cost_few_statements():
    table = Table({"new": [100_000 * HOUR_NS], "old": [0]})
    assert [list(page) for page in table.pages(0, 100_000 * HOUR_NS, 10)] == [["new"], ["old"]]
    assert table.statements < 10


def test_traces_without_times_are_passed_once():
    table = Table({f"{number}": [HOUR_NS] for number in range(20)})
    pages = TracePages(table.listed, lambda _: {}, 0, HOUR_NS, 5)
    assert [page for page in pages if page] == []
