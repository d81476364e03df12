"""Thresholds, random bits and probabilities in trace states, as OpenTelemetry's specification has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.sampling import (
    NEVER,
    probability_in,
    probability_of,
    randomness_of,
    threshold_in,
    threshold_of,
    with_threshold,
    without_threshold,
)


@pytest.mark.parametrize(
    ("probability", "written"), [(1.0, "0"), (0.5, "8"), (0.25, "c"), (0.1, "e6666666666666"), (0.01, "fd70a3d70a3d71")]
)
def test_a_probability_is_written_as_the_specification_writes_it(probability: float, written: str) -> None:
    state = with_threshold("", threshold_of(probability))
    assert state == f"ot=th:{written}"
    threshold = threshold_in(state)
    assert threshold is not None
    assert probability_of(threshold) == pytest.approx(probability)


@pytest.mark.parametrize(
    ("state", "threshold"),
    [
        ("ot=th:8", NEVER // 2),
        ("vendor=1,ot=rv:00000000000001;th:c", NEVER // 4 * 3),
        ("vendor=1, ot=th:0 ,other=2", 0),
        ("", None),
        ("bot=th:8", None),
        ("ot=th:", None),
        ("ot=th:G", None),
        ("ot=th:000000000000001", None),
        ("ot=rv:8", None),
    ],
)
def test_a_threshold_is_read_where_it_is_valid(state: str, threshold: int | None) -> None:
    assert threshold_in(state) == threshold


def test_the_random_bits_are_those_of_the_trace_state_else_the_last_ones_of_the_id() -> None:
    trace_id = 0x0123456789ABCDEF0123456789ABCDEF
    assert randomness_of(trace_id) == 0x23456789ABCDEF
    assert randomness_of(trace_id, "ot=th:8;rv:ffffffffffffff,v=1") == NEVER - 1
    assert randomness_of(trace_id, "ot=rv:ff") == 0x23456789ABCDEF


@given(st.integers(0, NEVER - 1), st.sampled_from(["", "v=1", "v=1,w=2", "ot=rv:00000000000001", "ot=th:8,v=1"]))
def test_a_written_threshold_is_read_back_and_everything_else_stays(threshold: int, before: str) -> None:
    state = with_threshold(before, threshold)
    assert threshold_in(state) == threshold
    assert randomness_of(7, state) == randomness_of(7, before)
    assert [part for part in before.split(",") if part and not part.startswith("ot=")] == state.split(",")[1:]
    assert with_threshold(state, threshold) == state


@pytest.mark.parametrize(
    ("state", "rest"),
    [
        ("", ""),
        ("ot=th:0", ""),
        ("ot=th:8,v=1", "v=1"),
        ("v=1, ot=th:8;rv:00000000000001;x:2 ,w=2", "ot=rv:00000000000001;x:2,v=1,w=2"),
        ("v=1,w=2", "v=1,w=2"),
        ("bot=th:8", "bot=th:8"),
    ],
)
def test_a_threshold_is_taken_out(state: str, rest: str) -> None:
    assert without_threshold(state) == rest


@given(st.floats(2**-56, 1, exclude_min=True))
def test_a_probability_and_its_threshold_are_the_same(probability: float) -> None:
    state = with_threshold("", threshold_of(probability))
    assert probability_in(state, probability) == probability
    found = probability_in(state, None)
    assert found is None if state == "ot=th:0" else found == pytest.approx(probability, abs=2**-57)


@given(st.text(), st.one_of(st.none(), st.floats(), st.integers()))
def test_a_probability_is_looked_for_in_anything(state: str, written: float | None) -> None:
    for each in (state, f"ot=th:{state}", f"ot={state}"):
        found = probability_in(each, written)
        assert found is None or (found is written and found <= 1) or 0 < found < 1
