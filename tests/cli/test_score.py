"""``otel-agent-trace score``."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_run
from otel_agent_trace.cli import main


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of two runs, `first` and `second`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    tracer = AgentTracer(backend=FileBackend("traces.jsonl"))
    for name in ("first", "second"):
        with tracer.run(run_id=name) as run, run.step("search", {"q": name}):
            pass
    tracer.close()
    return tmp_path / "traces.jsonl"


@pytest.mark.parametrize(
    ("words", "run_id", "found"),
    [
        (("traces.jsonl", "first", "helpful=1"), "first", ("helpful", 1, None)),
        (("traces.jsonl#first", "helpful=0.5"), "first", ("helpful", 0.5, None)),
        (("traces.jsonl", "last", "correct=true"), "second", ("correct", True, None)),
        (("traces.jsonl", "sec", "correct=False"), "second", ("correct", False, None)),
        (("helpful=1e3",), "second", ("helpful", 1000.0, None)),
        (("first", "verdict=pass"), "first", ("verdict", None, "pass")),
        ((".", "first", "verdict", "--label", "fail"), "first", ("verdict", None, "fail")),
        (("traces.jsonl", "first", "a=b=c"), "first", ("a", None, "b=c")),
        (("traces.jsonl", "first", "-o=1"), "first", ("-o", 1, None)),
    ],
)
def test_what_is_written(words: tuple[str, ...], run_id: str, found: Any) -> None:
    assert main(["score", *(["--"] if words[-1].startswith("-") else []), *words]) == 0
    (score,) = load_run("traces.jsonl", run_id).scores
    assert repr((score.name, score.value, score.label)) == repr(found)


def test_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "relevant=0.25",
        "--step",
        "1",
        "--explanation",
        "off topic",
        "--source",
        "HUMAN",
        "--label",
        "no",
        "--json",
    ]
    assert main(["score", "traces.jsonl", "first", *words]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "run_id": "first",
        "step_id": "1",
        "name": "relevant",
        "value": 0.25,
        "label": "no",
        "explanation": "off topic",
        "source": "HUMAN",
    }
    (score,) = load_run("traces.jsonl", "first").steps[0].scores
    assert (score.value, score.label, score.explanation, score.source) == (0.25, "no", "off topic", "HUMAN")
    assert main(["show", "traces.jsonl", "first"]) == 0
    assert "relevant 0.25 no (HUMAN): off topic" in capsys.readouterr().out


def test_a_step_of_a_sub_agent_is_named_as_other_commands_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    tracer = AgentTracer(backend=FileBackend("nested.jsonl"))
    with tracer.run(run_id="outer"), tracer.run(run_id="inner") as inner, inner.step("look"):
        pass
    tracer.close()
    for command in ("show", "explain", "replay"):
        assert main([command, "nested.jsonl", "outer"]) == 0
        assert "1/1 tool look" in capsys.readouterr().out
    (look,) = load_run("nested.jsonl", "inner").steps
    for name in ("1/1", look.span_id or ""):
        assert main(["score", "nested.jsonl", "outer", f"of-{name}=1", "--step", name]) == 0
        assert main(["replay", "nested.jsonl", "outer", "--plan", "--until", name]) == 0
    (look,) = load_run("nested.jsonl", "inner").steps
    assert [score.name for score in look.scores] == ["of-1/1", f"of-{look.span_id}"]
    assert main(["score", "nested.jsonl", "outer", "good=1", "--step", "2"]) == 2
    assert "its steps: 1, 1/1" in capsys.readouterr().err


def test_secrets_are_masked() -> None:
    secret = "sk-" + "abcdefghijklmnop0123456789ABCDEFGH"
    assert main(["score", "traces.jsonl", "first", "x=1", "--explanation", secret]) == 0
    assert secret not in Path("traces.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("traces.jsonl", "third", "x=1"), "no run 'third' in traces.jsonl"),
        (("traces.jsonl", "first", "x=1", "--step", "7"), "no such step; its steps: 1"),
        (("traces.jsonl", "first", "x"), "give a value"),
        (("traces.jsonl", "first", "=1"), "needs a name"),
        (("traces.jsonl", "first", "x=pass", "--label", "y"), "a value beside --label must be a number"),
        (("traces.jsonl", "first", "x=1", "y=2"), "at most SOURCE, RUN and NAME=VALUE"),
        (("http://localhost:16686", "first", "x=1"), "a server; this command reads files"),
        (("missing.jsonl", "first", "x=1"), "missing.jsonl: No such file"),
        (("document.json", "first", "x=1"), "not a file to which a score can be appended"),
        (("packed.jsonl.gz", "first", "x=1"), "not a file to which a score can be appended"),
        ((), "Missing argument"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str], store: Path) -> None:
    """With one line, and exit status 2; no file changes."""
    lines = store.read_text().splitlines()
    Path("document.json").write_text(json.dumps(json.loads(lines[0]), indent=1))
    Path("packed.jsonl.gz").write_bytes(gzip.compress(store.read_bytes()))
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert main(["score", *words]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
