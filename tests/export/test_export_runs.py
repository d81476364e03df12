"""Which traces go when a run is named, or only so many are asked for; of a run joined over several traces all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AmbiguousRunError,
    RunNotFoundError,
    RunQuery,
    SpanRecord,
    export_spans,
    load_run,
    load_runs,
    run_to_spans,
)
from otel_agent_trace.cli import main
from tests.support.backends import GivenRuns
from tests.support.export_command import BEGAN_NS, Exporter, ids, trace, write
from tests.support.fake_receivers import FakeReceiver

SECOND_NS = 1_000_000_000
QUESTION = {"role": "user", "parts": [{"type": "text", "content": "Rain in Lyon?"}]}
ASKS = {
    "role": "assistant",
    "parts": [{"type": "tool_call", "id": "c1", "name": "forecast", "arguments": {"city": "Lyon"}}],
}
HEARD = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"sky": "rain"}}]}
SAYS = {"role": "assistant", "parts": [{"type": "text", "content": "Yes."}]}


def chat(number: int, at_s: int, sent: list[Any], answer: Any) -> list[SpanRecord]:
    """A trace of one model call."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": json.dumps(sent),
        "gen_ai.output.messages": json.dumps([answer]),
    }
    start_ns = BEGAN_NS + at_s * SECOND_NS
    return [
        SpanRecord(f"{number:032x}", f"{number:016x}", None, "chat m", start_ns, start_ns + 1000, attributes, kind=3)
    ]


FIRST, SECOND = f"{0xA1:032x}", f"{0xB2:032x}"
JOINED = [chat(0xA1, 60, [QUESTION], ASKS), chat(0xB2, 62, [QUESTION, ASKS, HEARD], SAYS)]
SUB_AGENT = SpanRecord(
    f"{3:032x}", f"{0xC3:016x}", f"{3:08x}{1:08x}", "invoke_agent helper", BEGAN_NS + 3 * SECOND_NS + 1,
    BEGAN_NS + 3 * SECOND_NS + 2, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"},
)  # fmt: skip
WITH_SUB_AGENT = [*trace(3), SUB_AGENT]
OTHERS = [trace(1), trace(2), WITH_SUB_AGENT]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three traces, and two that are one run, the newest."""
    return write(tmp_path / "traces.jsonl", [*OTHERS, *JOINED])


def test_the_two_calls_are_one_run(path: Path) -> None:
    """So the names below mean something."""
    runs = load_runs(path)
    assert [run.trace_ids for run in runs[3:]] == [(FIRST, SECOND)]
    assert len(runs[3].steps) == 3


NAMES = [
    (FIRST, JOINED),
    (SECOND, JOINED),
    (SECOND[:31], JOINED),
    ("last", JOINED),
    (f"{2:032x}", [trace(2)]),
    (f"{3:032x}", [WITH_SUB_AGENT]),
    (f"{3:032x}-{0xC3:016x}", [WITH_SUB_AGENT]),
    (f"{3:032x}-", [WITH_SUB_AGENT]),
]


@pytest.mark.parametrize(("name", "traces"), NAMES, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("as_one_word", [False, True], ids=["SOURCE RUN", "SOURCE#RUN"])
def test_a_run_in_all_its_forms_is_sent_whole(
    http_receiver: FakeReceiver,
    export: Exporter,
    path: Path,
    name: str,
    traces: list[list[SpanRecord]],
    as_one_word: bool,
) -> None:
    """All spans of all its traces, and nothing else."""
    target = [f"{path}#{name}"] if as_one_word else [path, name]
    result = export(*target, "--to", http_receiver.endpoint)
    assert (result.code, result.err) == (0, "")
    assert http_receiver.ids() == ids(traces)
    assert result.out.startswith(f"1 runs, {len(ids(traces))} spans of {len(traces)} traces sent")


@pytest.mark.parametrize(("name", "traces"), NAMES, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("as_one_word", [False, True], ids=["SOURCE RUN", "SOURCE#RUN"])
def test_a_run_in_all_its_forms_is_written(
    export: Exporter, path: Path, name: str, traces: list[list[SpanRecord]], as_one_word: bool
) -> None:
    """To otlp-json the run itself: of a sub-agent's id that run, as `show` shows it."""
    target = [f"{path}#{name}"] if as_one_word else [path, name]
    written = path.parent / "written.jsonl"
    result = export(*target, "--to", "otlp-json", "--output", written)
    assert (result.code, result.err, result.out) == (0, "", f"1 run written to {written}\n")
    (run,) = load_runs(written)
    asked = load_run(path, name)
    assert (run.user_input, run.final_output) == (asked.user_input, asked.final_output)
    assert (run.agent_name, len(run.steps)) == (asked.agent_name, len(asked.steps))


def test_a_run_alone_is_of_the_default_source(
    http_receiver: FakeReceiver, export: Exporter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_AGENT_TRACE_FILE", str(path))
    assert export(SECOND, "--to", http_receiver.endpoint).code == 0
    assert http_receiver.ids() == ids(JOINED)


@pytest.mark.parametrize(
    ("limit", "traces"), [(1, JOINED), (2, [*JOINED, WITH_SUB_AGENT]), (9, [*JOINED, *OTHERS])], ids=str
)
def test_of_so_many_runs_all_traces_go(
    http_receiver: FakeReceiver, export: Exporter, path: Path, limit: int, traces: list[list[SpanRecord]]
) -> None:
    """The newest, each with every trace that it was joined from."""
    assert export(path, "--to", http_receiver.endpoint, "--limit", limit).code == 0
    assert http_receiver.ids() == ids(traces)


@pytest.mark.parametrize(
    ("words", "traces"),
    [
        (["--model", "m"], JOINED),
        (["--text", "LYON"], JOINED),
        (["--where", "gen_ai.none=1"], []),
        (["--sort", "steps", "--limit", "1"], JOINED),
        (["--agent", "a", "--limit", "1"], [WITH_SUB_AGENT]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_filters_and_order(
    http_receiver: FakeReceiver, export: Exporter, path: Path, words: list[str], traces: list[list[SpanRecord]]
) -> None:
    assert export(path, "--to", http_receiver.endpoint, *words).code == 0
    assert http_receiver.ids() == ids(traces)


@pytest.mark.parametrize(
    ("words", "expected_message"),
    [
        (["nonesuch"], "no run 'nonesuch'"),
        (["0" * 20], "matches 4 runs"),
        (["last", "--agent", "a"], "other than --service"),
        (["last", "--limit", "1"], "other than --service"),
    ],
)
@pytest.mark.parametrize("to", ["otlp-json", "address"])
def test_what_names_no_single_run(
    http_receiver: FakeReceiver, export: Exporter, path: Path, words: list[str], expected_message: str, to: str
) -> None:
    """One error, and nothing is sent."""
    result = export(path, *words, "--to", http_receiver.endpoint if to == "address" else to)
    assert (result.code, result.out) == (2, "")
    assert expected_message in result.err
    assert http_receiver.ids() == []


def test_the_function_takes_queries_and_keywords(http_receiver: FakeReceiver, path: Path) -> None:
    summary = export_spans(path, http_receiver.endpoint, RunQuery(model="m"), limit=1)
    assert (summary.runs, summary.traces, summary.spans) == (1, 2, 2)
    with pytest.raises(RunNotFoundError, match="nonesuch"):
        export_spans(path, http_receiver.endpoint, run_id="nonesuch")
    with pytest.raises(AmbiguousRunError, match="matches 4 runs"):
        export_spans(path, http_receiver.endpoint, run_id="0")
    assert http_receiver.ids() == ids(JOINED)


@pytest.mark.parametrize("keywords", [{}, {"agent": "a"}, {"limit": 2}, {"run_id": f"{2:032x}"}], ids=str)
def test_runs_of_a_backend_are_sent_as_spans(http_receiver: FakeReceiver, path: Path, keywords: dict[str, Any]) -> None:
    """Those that `run_to_spans` makes of the runs that fit."""
    kept = GivenRuns(*load_runs(path))
    fitting = load_runs(kept, **({"newest_first": True} | keywords))
    export_spans(kept, http_receiver.endpoint, **keywords)
    assert http_receiver.ids() == ids([run_to_spans(run) for run in fitting])


# ── the same run for all ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [FIRST, SECOND, SECOND[:31], "last"])
@pytest.mark.parametrize("command", ["show", "explain", "replay"])
def test_every_command_knows_the_joined_run(
    capsys: pytest.CaptureFixture[str], path: Path, command: str, name: str
) -> None:
    """By any of its trace ids, with the steps that `list` counts."""
    assert main([command, str(path), name, "--json"]) == 0
    shown = capsys.readouterr().out
    steps: dict[str, Callable[[], int]] = {
        "show": lambda: len(json.loads(shown)["steps"]),
        "explain": lambda: len(json.loads(shown)["steps"]),
        "replay": lambda: len(shown.splitlines()),
    }
    assert steps[command]() == 3
    assert main(["list", str(path), "--json", "--limit", "1"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["run_id"] == FIRST
    assert main(["metrics", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 4
