"""Durations, counts, shares, times and values as people read them."""

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_agent_trace.model import Message
from otel_agent_trace.values import Opaque, Truncated
from otel_agent_trace.views.figures import count_text, duration_text, share_text, time_text, when_text
from otel_agent_trace.views.values_text import SHORT, WHOLE, message_text, shortened, value_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0ms"),
        (0.0004, "0.4ms"),
        (0.00996, "10ms"),
        (0.4206, "421ms"),
        (0.9996, "1.00s"),
        (5.3, "5.30s"),
        (12.34, "12.3s"),
        (59.96, "1m00s"),
        (3599.6, "1h00m"),
        (5000, "1h23m"),
        (200_000, "2d07h"),
        (-0.5, "-500ms"),
    ],
)
def test_durations(seconds, text):
    """A duration has the precision that somebody cares for."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0"),
        (9999, "9999"),
        (12_345, "12.3k"),
        (999_999, "1000k"),
        (1_200_000, "1.2M"),
        (10**13, "10000G"),
    ],
)
def test_counts(count, text):
    """A count keeps what fits."""
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0, "0%"), (1, "100%"), (0.9999, ">99.9%"), (0.0001, "<0.1%"), (1 / 3, "33.3%")]
)
def test_shares(share, text):
    """Only all is 100 %, and only nothing is 0 %."""
    assert share_text(share) == text


def test_times():
    """Today has its hour, this year its day, another year its date; what is unknown or absurd does no harm."""
    now = datetime(2026, 11, 23, 23, 50, tzinfo=timezone.utc)
    began = 1_795_475_000
    assert when_text(began * 10**9, now) == "23:03:20"
    assert when_text((began - 86_400) * 10**9, now) == "Nov 22 23:03"
    assert when_text((began - 400 * 86_400) * 10**9, now) == "2025-10-19"
    assert when_text(0, now) == "-"
    assert [time_text(ns)[:4] for ns in (2**80, -(2**80))] == ["9999", "0001"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", "a\nb"),
        ({"a": 1}, '{"a": 1}'),
        ({"a": 1, "b": "x" * 80}, f"a: 1\nb: {'x' * 80}"),
        ({"a": 1, "b": "line one\n" + "x" * 80}, f"a: 1\nb:\n  line one\n  {'x' * 80}"),
        (["x" * 50, "y" * 50], f"- {'x' * 50}\n- {'y' * 50}"),
        ((1, 2), "[1, 2]"),
        (None, "null"),
        (float("nan"), '"NaN"'),
        (Truncated("begin", 900, "bytes"), "begin"),
        (Opaque("app.City", {"name": "Lyon"}), '<app.City>\n{"name": "Lyon"}'),
    ],
)
def test_values(value, text):
    """A value is laid out as people read it."""
    assert value_text(value, WHOLE) == text


def test_values_are_bounded():
    """A long value says how much of it is missing."""
    assert value_text("x\n" * 40, SHORT).endswith("x\n… (30 more lines)")
    assert value_text("x" * 1000, SHORT).endswith("x… (200 more characters)")


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_has_a_text(value):
    """No value is too strange to be shown, and none takes more than its bounds."""
    text = value_text(value, SHORT)
    assert text.count("\n") <= SHORT.lines
    assert len(text) <= SHORT.chars + 60
    assert len(shortened(value, 20)) <= 20


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "text", "content": "Rain?"}, "Rain?"),
        ({"type": "tool_call", "name": "forecast", "arguments": {"city": "Lyon"}}, '→ forecast({"city": "Lyon"})'),
        ({"type": "tool_call_response", "response": "sunny"}, "← sunny"),
        ({"type": "new", "a": 1}, '[{"type": "new", "a": 1}]'),
        ({"type": ["no", "text"]}, '[{"type": ["no", "text"]}]'),
    ],
)
def test_messages(part, text):
    """A part of a message has a text of its kind, and one of no kind that is known is shown as it is."""
    assert message_text(Message(role="user", parts=(part,))) == text
