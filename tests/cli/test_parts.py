"""The small parts: which source and run are meant, figures, values, the talk while reading."""

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_agent_trace.cli.progress import ProgressReporter
from otel_agent_trace.cli.sources import Target, target_of
from otel_agent_trace.span import Problem
from otel_agent_trace.values import Opaque, Truncated
from otel_agent_trace.views.figures import count_text, duration_text, share_text, time_text, when_text
from otel_agent_trace.views.values_text import SHORT, WHOLE, shortened, value_text

DEFAULT = "traces.jsonl"


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ((None, None), (DEFAULT, "last")),
        (("x.jsonl", "abc"), ("x.jsonl", "abc")),
        (("x.jsonl", None), ("x.jsonl", "last")),
        (("x#y.jsonl", "abc"), ("x#y.jsonl", "abc")),
        (("last", None), (DEFAULT, "last")),
        (("4bf92f35", None), (DEFAULT, "4bf92f35", "4bf92f35")),
        (("x.jsonl#abc", None), ("x.jsonl", "abc")),
        (("#abc", None), (DEFAULT, "abc")),
        (("#order#7", None), (DEFAULT, "order#7")),
        (("x.jsonl#", None), ("x.jsonl", "last")),
        (("runs/today", None), ("runs/today", "last")),
        (("*.jsonl", None), ("*.jsonl", "last")),
        (("http://localhost:16686/#x", None), ("http://localhost:16686/", "x")),
        (("folder", None), ("folder", "last")),
        (("odd#name", None), ("odd#name", "last")),
        (("odd#name#abc", None), ("odd#name", "abc")),
        (("odd#name#order#7/b.json", None), ("odd#name", "order#7/b.json")),
        (("x#y.jsonl#abc", None), ("x#y.jsonl", "abc")),
        (("order-1.5", None), (DEFAULT, "order-1.5", "order-1.5")),
        (("2026-11-25T10:00:00.123", None), (DEFAULT, "2026-11-25T10:00:00.123", "2026-11-25T10:00:00.123")),
        (("x.jsonl.zst", None), ("x.jsonl.zst", "last")),
    ],
)
def test_what_words_mean(tmp_path, words, target):
    """A lone word is a source where there is one of that name, else by its looks."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "odd#name").touch()
    assert target_of(*words) == Target(*target)


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


def test_problems_are_told_once(capsys):
    """The same problem twice is told once."""
    talk = ProgressReporter(watched=False)
    for line in (1, 1, 2):
        talk.on_problem(Problem("a.jsonl", line, "broken"))
    talk.close()
    assert capsys.readouterr().err == "warning: a.jsonl:1: broken\nwarning: a.jsonl:2: broken\n"


def test_progress_shows_after_a_while(capsys, monkeypatch):
    """A bar appears once a reading takes long, and only where somebody looks."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    now = 0.0
    for watched, shown in ((True, True), (False, False)):
        now = 0.0
        talk = ProgressReporter(watched=watched, clock=lambda: now)
        talk.on_progress(1, 100)
        assert capsys.readouterr().err == ""
        now = 1.0
        talk.on_progress(50, 100)
        talk.close()
        assert ("reading" in capsys.readouterr().err) is shown
