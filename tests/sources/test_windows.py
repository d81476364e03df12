"""Windows of time: whatever lies in a store, and however little it gives at once, none is missed and none comes twice."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.windows import MAX_TRACES, Found, TooMuchError, Windows
from otel_agent_trace.span import SpanRecord

YEAR_NS = 365 * 86400 * 10**9
END_NS = 57 * YEAR_NS


def span(trace: int, start_ns: int) -> SpanRecord:
    return SpanRecord(f"{trace + 1:032x}", f"{start_ns:016x}", None, "s", start_ns, start_ns + 1)


class Store:
    """Traces by the starts of their spans, of which it gives the newest, at most `cap`."""

    def __init__(self, traces: list[list[int]], *, cap: int | None = None, honours_depth: bool = True) -> None:
        self.traces = [[span(number, start) for start in starts] for number, starts in enumerate(traces)]
        self.cap, self.honours_depth = cap, honours_depth
        self.asked: list[tuple[int, int, int]] = []

    def ask(self, begin: int, end: int, depth: int) -> Found:
        assert begin < end
        self.asked.append((begin, end, depth))
        found = [spans for spans in self.traces if any(begin <= each.start_ns <= end for each in spans)]
        found.sort(key=lambda spans: -spans[0].start_ns)
        if self.honours_depth:
            found = found[:depth]
        found = found[: self.cap]
        return Found({spans[0].trace_id: spans for spans in found}, len(found))

    def read(self, depth: int, end_ns: int = END_NS, **windows: Any) -> tuple[set[str], list[tuple[int, int]]]:
        cut: list[tuple[int, int]] = []
        walk = Windows(self.ask, depth, windows.pop("smallest_ns", 1), lambda *window: cut.append(window))
        return {trace_id for traces in walk.back(0, end_ns, **windows) for trace_id in traces}, cut

    @property
    def ids(self) -> set[str]:
        return {spans[0].trace_id for spans in self.traces}


moments = st.one_of(
    st.integers(0, END_NS),
    st.integers(0, 40),
    st.integers(END_NS - 3_000, END_NS),
    st.builds(lambda day, more: 56 * YEAR_NS + day * 86400 * 10**9 + more, st.integers(0, 300), st.integers(0, 5_000)),
)
some_traces = st.lists(st.lists(moments, min_size=1, max_size=4), max_size=60)


@given(some_traces, st.integers(1, 30))
@example([[5]] * 50, 7)
@example([[END_NS]] * 3, 1)
@example([[0], [END_NS]], 1)
def test_everything_is_found(traces: list[list[int]], depth: int) -> None:
    """Any traces at any times, whatever number is given at once."""
    store = Store(traces)
    found, cut = store.read(depth)
    assert found == store.ids
    assert cut == []


@given(some_traces, st.integers(20, 25))
def test_a_store_that_gives_fewer_than_it_is_asked_for(traces: list[list[int]], cap: int) -> None:
    """It never says that it left some out."""
    store = Store(traces, cap=cap)
    found, cut = store.read(100)
    at_once = max(Counter(start for starts in traces for start in set(starts)).values(), default=0)
    assert found == store.ids or at_once >= cap
    assert not cut


@given(some_traces)
def test_a_store_that_gives_more_than_it_is_asked_for(traces: list[list[int]]) -> None:
    """What does not look at the number gives everything."""
    store = Store(traces, honours_depth=False)
    assert store.read(5) == (store.ids, [])


@given(some_traces, st.integers(1, 30))
def test_smallest_windows(traces: list[list[int]], depth: int) -> None:
    """No window is narrower than the store can tell apart, but at the edges of what is asked for."""
    store = Store(traces)
    found, _ = store.read(depth, smallest_ns=1000)
    assert found == store.ids
    assert all(end - begin >= 1000 or begin == 0 for begin, end, _ in store.asked)


@given(some_traces, st.integers(1, 30))
def test_newest_windows_come_first(traces: list[list[int]], depth: int) -> None:
    """What comes later is in no window that was read before."""
    store = Store(traces)
    latest = {spans[0].trace_id: max(each.start_ns for each in spans) for spans in store.traces}
    seen: set[str] = set()
    order = []
    for found in Windows(store.ask, depth, 1, lambda *_: None).back(0, END_NS):
        new = sorted((latest[trace_id] for trace_id in found if trace_id not in seen), reverse=True)
        seen |= set(found)
        order += new
    assert order == sorted(order, reverse=True)


def test_more_than_can_be_had_at_one_moment_is_reported() -> None:
    """Neither a narrower window nor a larger number helps: it is reported, and the others are found."""
    store = Store([[1_000]] * 130 + [[2_000]], cap=100)
    found, cut = store.read(100, end_ns=5_000)
    assert len(found) == 101
    assert cut
    assert all(begin <= 1_000 <= end for begin, end in cut)


def test_a_moment_with_more_than_is_asked_for_is_asked_for_again() -> None:
    """A larger number helps where a narrower window cannot."""
    store = Store([[1_000]] * 500)
    assert store.read(100, end_ns=5_000) == (store.ids, [])
    assert MAX_TRACES in {depth for _, _, depth in store.asked}


def test_few_questions_where_there_is_nothing() -> None:
    """Back to 1970 in a few steps."""
    store = Store([])
    store.read(100)
    assert len(store.asked) < 10


def test_few_questions_where_there_is_much() -> None:
    """Most answers are nearly full, whatever the first window was."""
    store = Store([[56 * YEAR_NS + number * 7_000_000] for number in range(5_000)])
    assert store.read(100) == (store.ids, [])
    assert len(store.asked) < 5_000 / 100 * 2.5


def test_answers_that_are_too_large_are_asked_for_in_parts() -> None:
    """What is refused as too much is had from narrower windows; what is too large by itself is reported."""
    store = Store([[number * 1_000_000 + 1] for number in range(64)])
    huge = 40 * 1_000_000 + 1

    def ask(begin: int, end: int, depth: int) -> Found:
        found = store.ask(begin, end, depth)
        if len(found.traces) > 3 or any(spans[0].start_ns == huge for spans in found.traces.values()):
            raise TooMuchError
        return found._replace(share=len(found.traces) / 4)

    cut: list[tuple[int, int]] = []
    walk = Windows(ask, 100, 1, lambda *window: cut.append(window)).back(0, 10**9)
    assert {trace_id for found in walk for trace_id in found} == store.ids - {f"{41:032x}"}
    assert all(begin <= huge <= end for begin, end in cut)
    assert 1 <= len(cut) <= 2


def test_a_store_that_does_not_look_at_times_is_refused() -> None:
    """It would give the same for ever; what it gives cannot be all."""
    given = {f"{number:032x}": [span(number, 5)] for number in range(MAX_TRACES)}

    def ask(begin: int, end: int, depth: int) -> Found:
        return Found(dict(islice(given.items(), depth)), depth)

    with pytest.raises(SourceError, match="other times"):
        list(Windows(ask, 30, 1, lambda *_: None).back(10**15, 10**18))
