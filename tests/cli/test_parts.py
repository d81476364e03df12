"""The small parts: which source and run are meant, what is reported while reading."""

import pytest

from otel_agent_trace.cli.progress import ProgressReporter
from otel_agent_trace.cli.sources import Target, target_of
from otel_agent_trace.span import Problem

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


def test_problems_are_printed_once(capsys):
    """The same problem twice is printed once."""
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
