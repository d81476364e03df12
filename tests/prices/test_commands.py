"""The commands show what runs cost; without prices they do without, or name what to install."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace.cli import main
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import Prices
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.sources.index import choice
from tests.support.model_calls import AT_NOON_NS, model_call, run_of, tool_call
from tests.support.processes import run_code

SECOND_NS = 10**9
COSTS = (0.0025, 0.01, None, 0.0075)
"""What the runs cost by `PRICES`, in order of their start."""
PRICES: dict[str, Any] = {"openai/house": {"input": 2.5, "output": 10}}


def _runs() -> list[AgentRun]:
    house = [model_call("house", input_tokens=1000), model_call("house", output_tokens=1000)]
    unknown = model_call("unheard-of", input_tokens=5, number=2)
    steps = [
        (house[0],),
        (tool_call("ask", 2), house[1]),
        (unknown,),
        (model_call("house", input_tokens=3000), unknown),
    ]
    return [
        run_of(
            *each,
            run_id=f"{number + 1:032x}",
            span_id=f"{number + 1:016x}",
            started_at_ns=AT_NOON_NS + number * SECOND_NS,
            ended_at_ns=AT_NOON_NS + (number + 1) * SECOND_NS,
            session_id=f"s-{number // 2}",
            agent_name="weather",
        )
        for number, each in enumerate(steps)
    ]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The live file of a store in the current folder, with a file of prices beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("NO_COLOR", "1")
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"".join(otlp_json.encode(run_to_spans(run)) + b"\n" for run in _runs()))
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    return path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a command with ``--json``, and return its data; without it, its text."""

    def call(*words: str, code: int = 0) -> Any:
        assert main([*words]) == code
        out, err = capsys.readouterr()
        assert code or not err
        return (json.loads(out) if "--json" in words else out) if code < 2 else err

    return call


@pytest.mark.parametrize("index", ["on", "off"])
def test_lists(store: Path, command: Callable[..., Any], index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without an index, the first time and again."""
    monkeypatch.setattr(choice, "LEAST_BYTES", 0)
    monkeypatch.setenv(choice.VARIABLE, index)
    for _ in range(2):
        rows = command("list", "--prices", "prices.json", "--json")
        assert [row["cost_usd"] for row in rows] == list(reversed(COSTS))
        assert [row["unpriced_calls"] for row in rows] == [1, 1, 0, 0]
        rows = command("list", "--prices", "prices.json", "--sort", "cost", "--limit", "2", "--json")
        assert [row["cost_usd"] for row in rows] == [0.01, 0.0075]
        rows = command("list", "--prices", "prices.json", "--sort", "cost", "--json")
        assert [row["cost_usd"] for row in rows] == [0.01, 0.0075, 0.0025, None]
        text = command("list", "--prices", "prices.json")
        assert ("≥$0.0075" in text, "$0.0100" in text) == (True, True)
    Path("prices.json").write_text(json.dumps({"house": {"input": 5, "output": 5}}))
    rows = command("list", "--prices", "prices.json", "--sort", "cost", "--json")
    assert [row["cost_usd"] for row in rows] == [0.015, 0.005, 0.005, None]


def test_the_other_commands(store: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_AGENT_TRACE_PRICES", "prices.json")
    assert command("show", "--json")["cost_usd"] == 0.0075
    assert "≥$0.0075, without calls of unheard-of (1), whose price is not known" in command("show")
    sessions = command("sessions", "--json", "--sort", "cost")
    assert [(each["cost_usd"], each["unpriced_calls"]) for each in sessions] == [(0.0125, 0), (0.0075, 2)]
    assert [turn["cost_usd"] for turn in sessions[0]["runs"]] == [0.0025, 0.01]
    assert "$0.0125" in command("sessions")
    assert "cost        $0.0125" in command("show", "--session", "s-0")
    session = command("show", "--session", "s-0", "--json")
    assert (session["cost_usd"], [run["cost_usd"] for run in session["runs"]]) == (0.0125, [0.0025, 0.01])
    assert command("metrics", "--json")["cost"]["total_usd"] == 0.02
    assert "≥$0.0200, without calls of unheard-of (2), whose price is not known" in command("metrics")
    sides = [f"traces.jsonl#{number:032x}" for number in (1, 2)]
    difference = command("diff", *sides, "--json", code=1)
    assert [difference[side]["cost_usd"] for side in "ab"] == [0.0025, 0.01]
    assert "cost $0.0100 (+$0.0075)" in command("diff", *sides, code=1)


def test_the_calls_of_sub_agents_are_part_of_everything_around_them(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    helper = run_of(model_call("house", input_tokens=4000), run_id="b" * 32, agent_name="helper", span_id="3" * 16)
    steps = model_call("house", input_tokens=1000), tool_call("ask", 2), tool_call("helper", 3, within=2, run=helper)
    version = {"service.version": "1.2"}
    run = run_of(*steps, session_id="s-0", user_id="ann", tags=("eu",), span_id="1" * 16, resource=version)
    Path("traces.jsonl").write_bytes(otlp_json.encode(run_to_spans(run)) + b"\n")
    Path("prices.json").write_text(json.dumps(PRICES))
    monkeypatch.setenv("OTEL_AGENT_TRACE_PRICES", "prices.json")
    keys = ("agent", "model", "provider", "tool", "user", "session", "service", "version", "status", "tag")
    by = [word for key in keys for word in ("--by", key)]
    report = command("metrics", "--json", "--bucket", "1h", *by)
    assert report["cost"]["total_usd"] == 0.0125
    assert {name: each["cost_usd"] for name, each in report["agents"].items()} == {"weather": 0.0125, "helper": 0.01}
    assert {name: each["cost_usd"] for name, each in report["tools"].items()} == {"ask": 0.01}
    assert {name: each["cost_usd"] for name, each in report["models"].items()} == {"house": 0.0125}
    assert [bucket["cost_usd"] for bucket in report["series"]] == [0.0125]
    assert {key: [group["cost_usd"] for group in report["by"][key].values()] for key in keys} == dict.fromkeys(
        keys, [0.0125]
    )
    assert [row["cost_usd"] for row in command("list", "--json")] == [0.0125]
    assert command("show", "--json")["cost_usd"] == 0.0125
    assert [session["cost_usd"] for session in command("sessions", "--json")] == [0.0125]
    difference = command("diff", "traces.jsonl", "traces.jsonl", "--json")
    assert [difference[side]["cost_usd"] for side in "ab"] == [0.0125, 0.0125]
    compared = command("metrics", "--compare", "version=1.2,1.3", "--json")["differences"]["cost_usd_per_run"]
    assert compared == {"before": 0.0125, "after": None, "difference": None, "interval": None}


def test_without_any_price_there_are_no_columns(store: Path, command: Callable[..., Any]) -> None:
    for words in (["list"], ["sessions"], ["show"], ["metrics"]):
        assert "cost" not in command(*words)
    assert {row["cost_usd"] for row in command("list", "--json")} == {None}


@pytest.mark.parametrize("name", ["list", "show", "sessions", "metrics"])
def test_files_that_cannot_be_read_are_one_line(store: Path, command: Callable[..., Any], name: str) -> None:
    message = command(name, "--prices", "none.json", code=2)
    assert message.startswith("error: prices: none.json: No such file or directory; name a JSON file like {")
    assert message.count("\n") == 1


WITHOUT_THE_PACKAGE = """
import sys
sys.modules["genai_prices"] = None
from otel_agent_trace.cli import main
sys.exit(main(sys.argv[1:] or WORDS))
"""


def without_the_package(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_code(WITHOUT_THE_PACKAGE.replace("WORDS", repr([*words])), folder)


def test_without_the_package(store: Path, tmp_path: Path) -> None:
    refused = without_the_package(tmp_path, "list", "--sort", "cost")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(
        "error: no prices: pip install 'otel-agent-trace[cost]', or give prices of your own"
    )
    listed = without_the_package(tmp_path, "list", "--json")
    assert {row["cost_usd"] for row in json.loads(listed.stdout)} == {None}
    metrics = json.loads(without_the_package(tmp_path, "metrics", "--json").stdout)
    assert (metrics["cost"]["total_usd"], len(metrics["cost"]["unpriced"])) == (None, 2)
    own = without_the_package(tmp_path, "list", "--sort", "cost", "--prices", "prices.json", "--json")
    assert [row["cost_usd"] for row in json.loads(own.stdout)] == [0.01, 0.0075, 0.0025, None]


def test_conditions_about_cost_need_prices(store: Path, tmp_path: Path) -> None:
    """Before anything is read, one error names what to install; other conditions need none."""
    for words in ([], ["--compare", "7d"]):
        refused = without_the_package(tmp_path, "metrics", "none.jsonl", *words, "--fail-if", "cost>1")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith(
            "error: no prices: pip install 'otel-agent-trace[cost]', or give prices of your"
        )
        assert "--prices FILE" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert without_the_package(tmp_path, "metrics", "--fail-if", "p95>9").returncode == 0
    own = without_the_package(tmp_path, "metrics", "--prices", "prices.json", "--fail-if", "cost>0.01")
    assert own.returncode == 1


@pytest.mark.parametrize(
    ("agent", "condition", "code", "message"),
    [
        ("weather", "cost>0.01", 1, "failed: cost>0.01: it is 0.02; no price is known of unheard-of"),
        ("weather", "cost<0.1", 1, "failed: cost<0.1: it is 0.02; no price is known of unheard-of"),
        ("weather", "cost>1", 0, "passed: cost>1: it is 0.02 or more; no price is known of unheard-of"),
        ("weather", "p95>10", 0, None),
        ("nobody", "cost>1", 1, "failed: cost>1: nothing to measure"),
    ],
)
def test_calls_without_a_price_are_named_by_conditions(
    store: Path, capsys: pytest.CaptureFixture[str], agent: str, condition: str, code: int, message: str | None
) -> None:
    words = ["metrics", "--json", "--agent", agent, "--prices", "prices.json", "--fail-if", condition]
    assert (main(words), capsys.readouterr().err.strip() or None) == (code, message)


def test_what_has_no_price_at_all_passes_no_condition_about_cost(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no cost of 0."""
    Path("prices.json").write_text(json.dumps({"other": {"input": 1, "output": 1}}))
    for condition in ("cost>1", "cost<1"):
        assert main(["metrics", "--json", "--prices", "prices.json", "--fail-if", condition]) == 1
        expected = f"failed: {condition}: nothing to measure; no price is known of house, unheard-of"
        assert capsys.readouterr().err.strip() == expected


IMPORTED = """
import sys
from otel_agent_trace.sources.index import choice
choice.LEAST_BYTES = 0
from otel_agent_trace.cli import main
code = main(WORDS)
print(sorted({"genai_prices", "pydantic"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def test_a_warm_list_imports_no_prices(tmp_path: Path) -> None:
    """The first time they are imported; again when the prices of one's own have changed."""
    calls = [model_call("gpt-4o", input_tokens=1000 * number, output_tokens=10) for number in range(1, 30)]
    runs = [
        run_of(each, run_id=f"{number:032x}", span_id=f"{number:016x}", started_at_ns=AT_NOON_NS + number)
        for number, each in enumerate(calls, 1)
    ]
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"".join(otlp_json.encode(run_to_spans(run)) + b"\n" for run in runs))
    expected = [(Prices().call_cost(call) or 0) / 10**12 for call in reversed(calls)]

    def listed(*words: str) -> tuple[list[float], str]:
        done = run_code(IMPORTED.replace("WORDS", repr(["list", "--json", *words])), tmp_path)
        assert done.returncode == 0, done.stderr
        return [row["cost_usd"] for row in json.loads(done.stdout)], done.stderr.strip()

    both, none = "['genai_prices', 'pydantic']", "[]"
    assert listed("--limit", "5") == (expected[:5], both)
    assert listed("--limit", "5") == (expected[:5], none)
    assert listed("--sort", "cost", "--limit", "3") == (expected[:3], both)
    assert listed("--sort", "cost", "--limit", "3") == (expected[:3], none)
    assert listed("--limit", "29") == (expected, none)
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"other": {"input": 1, "output": 1}}))
    assert listed("--prices", str(own), "--limit", "2") == (expected[:2], both)
    assert listed("--prices", str(own), "--limit", "2") == (expected[:2], none)


def test_metrics_without_tokens_import_no_prices(tmp_path: Path) -> None:
    code = """
        import sys
        from otel_agent_trace import compute_metrics
        from tests.support.model_calls import model_call, run_of, tool_call
        compute_metrics([run_of(model_call(), tool_call("t", 2))]).to_dict()
        assert "genai_prices" not in sys.modules
    """
    assert run_code(code, tmp_path).returncode == 0
