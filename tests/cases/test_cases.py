"""Cases out of runs: what is in a line, that it comes back, and what happens to lines that other people edited."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    BadRecordError,
    Case,
    ConfigurationError,
    Score,
    SourceError,
    StepKind,
    Truncated,
    load_cases,
)
from otel_agent_trace.cases import ToolCall, case_of, write_cases
from otel_agent_trace.pytest_plugin.agent_trace import AgentTrace
from otel_agent_trace.values import Opaque
from tests.support.run_strategies import agent_runs
from tests.support.sample_runs import make_run
from tests.support.strategies import metadatas, texts, values

KEYS = ["id", "input", "output", "expected", "tools", "scores", "metadata"]
MANY = 1_000
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def line_of(run: AgentRun, **options: Any) -> bytes:
    lines: list[bytes] = []
    assert write_cases([run], lines.append, **options) == 1
    (line,) = lines
    assert line.count(b"\n") == 1
    return line


def through_a_file(folder: Path, *lines: bytes) -> list[Case]:
    path = folder / "cases.jsonl"
    path.write_bytes(b"".join(lines))
    return load_cases(path)


# ── what is in a case ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_is_plain_json() -> None:
    scores = (Score(name="helpful", value=1, source="HUMAN", at_ns=5), Score(name="verdict", label="pass"))
    line = json.loads(line_of(make_run(1, scores=scores, metadata={"release": 7}), expected="helpful>=1"))
    assert list(line) == KEYS
    assert line == {
        "id": f"{2:032x}",
        "input": "question 1",
        "output": "answer 1",
        "expected": "answer 1",
        "tools": [{"name": "search", "input": {"query": "\U0001f600"}}, {"name": "inner-tool", "input": None}],
        "scores": [
            {"name": "helpful", "value": 1, "label": None, "explanation": None, "source": "HUMAN"},
            {"name": "verdict", "value": None, "label": "pass", "explanation": None, "source": None},
        ],
        "metadata": {"agent_name": "weather", "session_id": "session-1", "release": 7},
    }


def test_only_what_json_cannot_say_has_types() -> None:
    line = json.loads(line_of(make_run(1, user_input=("Lyon", b"\xff"), metadata={})))
    assert list(line) == [*KEYS, "types"]
    assert (line["input"], list(line["types"])) == (["Lyon", "/w=="], ["input"])


def test_a_run_that_knows_little() -> None:
    assert case_of(AgentRun(run_id="r")) == Case(id="r", input=None)


def test_the_runs_own_metadata_comes_first() -> None:
    run = make_run(1, metadata={"agent_name": 5, "k": "v"})
    assert case_of(run).metadata == {"agent_name": 5, "session_id": "session-1", "k": "v"}


def test_the_user_stays_in_the_traces() -> None:
    assert b"user-1" not in line_of(make_run(1))


def test_scores_are_those_that_count() -> None:
    given = tuple(Score(name="helpful", value=value, source=source) for value, source in ((0, "a"), (1, "b"), (2, "a")))
    assert [(score.value, score.source) for score in case_of(make_run(1, scores=given)).scores] == [(1, "b"), (2, "a")]


def test_tools_are_in_the_order_of_their_start_whoever_called_them() -> None:
    def tool(name: str, began: int) -> AgentStep:
        return AgentStep(name=name, input=(began,), started_at_ns=began)

    inner = AgentRun(run_id="inner", steps=(tool("second", 2), tool("fourth", 4)))
    agent = AgentStep(kind=StepKind.AGENT, name="helper", started_at_ns=1, run=inner)
    run = AgentRun(run_id="r", steps=(tool("first", 0), agent, tool("third", 3)))
    tools = case_of(run).tools
    assert tools == (("first", (0,)), ("second", (2,)), ("third", (3,)), ("fourth", (4,)))
    assert tools[0] == ToolCall(name="first", input=(0,))
    trace = AgentTrace(lambda: [run])
    trace.assert_tools(tools)
    with pytest.raises(AssertionError, match="tools called"):
        trace.assert_tools((*tools[:3], ToolCall("fourth", 5)))


GOOD = (Score(name="helpful", value=1), Score(name="verdict", label="pass"))


@pytest.mark.parametrize(
    ("expected", "is_expected"),
    [
        ("helpful>=1", True),
        ("helpful>1", False),
        (["helpful", "verdict=pass"], True),
        (["helpful", "verdict=fail"], False),
        (["helpful=0", "verdict=pass"], False),
        ("unknown", False),
        ([], False),
        ((), False),
    ],
)
def test_the_answer_of_good_runs_is_expected(expected: Any, is_expected: bool) -> None:
    run = make_run(1, scores=GOOD)
    case = case_of(run, expected)
    assert (case.output, case.expected) == ("answer 1", "answer 1" if is_expected else None)
    assert json.loads(line_of(run, expected=expected))["expected"] == case.expected


def test_a_condition_that_is_none_is_refused_before_anything_is_read() -> None:
    def runs() -> Iterator[AgentRun]:
        pytest.fail("it was read")
        yield make_run(1)

    with pytest.raises(ConfigurationError, match="score must be like"):
        write_cases(runs(), lambda _: pytest.fail("it was written"), ["helpful", "verdict>pass"])
    with pytest.raises(ConfigurationError, match="score must be like"):
        case_of(make_run(1), ">=1")


def test_a_case_is_shown_by_its_id() -> None:
    case = Case(id="r1", input="Rain?")
    assert str(case) == "r1"
    assert repr(case).startswith("Case(id='r1', input='Rain?'")


def test_cases_are_equal_by_type_and_value() -> None:
    case = Case(id="r", input=(1, math.nan), metadata={"a": {1}})
    same = Case(id="r", input=(1, math.nan), metadata={"a": {1}})
    assert (case, hash(case)) == (same, hash(same))
    assert case != Case(id="r", input=[1, math.nan], metadata={"a": {1}})
    assert case != Case(id="r", input=(True, math.nan), metadata={"a": {1}})
    assert case != "r"


# ── there and back ───────────────────────────────────────────────────────────────────────────────────────────────────


def scores() -> st.SearchStrategy[Score]:
    maybe_text = st.none() | texts()
    numbers = st.none() | st.booleans() | st.integers() | st.floats()
    return st.builds(Score, name=texts(), value=numbers, label=maybe_text, explanation=maybe_text, source=maybe_text)


@st.composite
def runs_with_anything(draw: st.DrawFn) -> AgentRun:
    facts = {"run_id": texts(), "user_input": values(5), "metadata": metadatas(), "session_id": st.none() | texts()}
    drawn = {name: draw(strategy) for name, strategy in facts.items()}
    return msgspec.structs.replace(draw(agent_runs()), scores=tuple(draw(st.lists(scores(), max_size=3))), **drawn)


@in_one_folder
@given(runs=st.lists(runs_with_anything(), max_size=3))
@example(runs=[make_run(1, user_input=Opaque("a.B", {"x": (1,)}), final_output=Truncated("ab", 5, "bytes"))])
@example(runs=[make_run(1, user_input="\u2028\x85\ud800\0\r\n", metadata={1: "a", "1": "b", None: {b"x"}})])
def test_what_is_written_comes_back(tmp_path: Path, runs: list[AgentRun]) -> None:
    """Every value that a trace gives back, a file of cases gives back; other readers of JSON take it as well."""
    lines: list[bytes] = []
    assert write_cases(runs, lines.append, "a>=0") == len(runs)
    assert through_a_file(tmp_path, *lines) == [case_of(run, "a>=0") for run in runs]
    assert all(list(json.loads(line))[: len(KEYS)] == KEYS for line in lines)


# ── files that others edited ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_id_and_an_input_are_enough(tmp_path: Path) -> None:
    text = (
        b'\xef\xbb\xbf\r\n{"input": {"city": "Lyon"}, "id": "by hand", "difficulty": 3}\r\n   \n{"id":"b","input":null}'
    )
    assert through_a_file(tmp_path, text) == [Case(id="by hand", input={"city": "Lyon"}), Case(id="b", input=None)]
    assert load_cases(str(tmp_path / "cases.jsonl"))[1].id == "b"
    assert through_a_file(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "truncated"),
        (b"id,input", "malformed"),
        (b"[1]", "Expected `object`, got `array`"),
        (b'{"id": "a"}', "missing required field `input`"),
        (b'{"input": "a"}', "missing required field `id`"),
        (b'{"id": 1, "input": "a"}', "$.id"),
        (b'{"id": "a", "input": "a", "tools": ["search"]}', "$.tools[0]"),
        (
            b'{"id": "a", "input": "a", "tools": [{"name": "search"}]}',
            "missing required field `input` - at `$.tools[0]`",
        ),
        (b'{"id": "a", "input": "a", "scores": [{"name": "a", "value": "high"}]}', "$.scores[0].value"),
        (b'{"id": "a", "input": "a", "metadata": []}', "$.metadata"),
        (b'{"id": "a", "input": NaN}', "malformed"),
        (b'{"id": "a", "input": "\xff"}', "UTF-8"),
        (b'{"id": "a", "input": ' + b"[" * 100_000, "recursion"),
        (b'{"resourceSpans": []}', "missing required field `id`"),
    ],
)
def test_a_line_that_is_no_case(tmp_path: Path, line: bytes, reason: str) -> None:
    with pytest.raises(BadRecordError) as caught:
        through_a_file(tmp_path, b'{"id": "a", "input": 1}\n\n', line, b"\n")
    path = str(tmp_path / "cases.jsonl")
    assert (caught.value.path, caught.value.line) == (path, 3)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert reason in str(caught.value)
    assert "export SOURCE --to cases" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing.jsonl", "No such file"), (".", "not a regular file"), ("a\0b", "null byte")]
)
def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=f"{reason}.*export SOURCE --to cases --output FILE") as caught:
        load_cases(name)
    assert str(caught.value).startswith(f"{name}: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(("tuple", "bytes", "class", "cut", "x", "0")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("t", "c", "x", "k", "0", "name", *KEYS)), inner, max_size=3)
    ),
    max_leaves=8,
)


@in_one_folder
@given(line=st.fixed_dictionaries({}, optional=dict.fromkeys((*KEYS, "types"), JSON)))
@example(line={"id": "a", "input": [1], "tools": [{"name": "a", "input": 1}], "types": {"tools": "set", "id": "bytes"}})
@example(line={"id": "a", "input": [1], "types": "tuple"})
def test_whatever_was_edited_is_a_case_or_one_error(tmp_path: Path, line: dict[str, Any]) -> None:
    try:
        (case,) = through_a_file(tmp_path, json.dumps(line).encode())
    except BadRecordError as error:
        assert error.line == 1
    else:
        assert all(len(call) == 2 and isinstance(call, ToolCall) for call in case.tools)
        assert isinstance(case.id, str)


# ── many ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_runs_are_written_in_bounded_memory() -> None:
    runs = (make_run(number, final_output="x" * 10_000) for number in range(MANY))
    size = 0

    def count(line: bytes) -> None:
        nonlocal size
        size += len(line)

    tracemalloc.start()
    try:
        assert write_cases(runs, count, "helpful>=1") == MANY
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 < size
    finally:
        tracemalloc.stop()
