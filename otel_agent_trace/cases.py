"""Make cases for evaluations out of runs, and read them from files: JSON lines, which other tools read as well."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.errors import BadRecordError, SourceError
from otel_agent_trace.model import AgentRun, AgentStep, Score
from otel_agent_trace.scores import ScoreCondition, current_scores, score_condition
from otel_agent_trace.sources.file_contents import open_regular
from otel_agent_trace.values import encode, restore, same

Expected = str | Sequence[str]
"""Type of one condition about scores, or of several, such as ``helpful>=1``."""

_COMMAND = "otel-agent-trace export SOURCE --to cases"
_SHAPE = f"a case is a JSON object with a text `id` and an `input`, as '{_COMMAND}' writes it"
_TYPES_KEY = "types"
_SCORE_FIELDS = ("name", "value", "label", "explanation", "source")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ToolCall(NamedTuple):
    """Represent the call of a tool by its name and arguments: a pair, as `assert_tools` of the fixture `agent_trace` takes it."""

    name: str
    input: Any


class Case(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Represent a run as test data: what an agent was asked, what it answered, and what it should answer.

    `id` is the id of the run, `input` the question, `output` the answer, and `expected` the answer if its scores were
    good, else None. `tools` are the calls of tools in the order of their start, those of sub-agents included, `scores`
    the scores of the run that count, without times. `metadata` is that of the run, with `agent_name` and `session_id`.
    The text of a case is its id. Two are equal if they are so by type and value.
    """

    id: str
    input: Any
    output: Any = None
    expected: Any = None
    tools: tuple[ToolCall, ...] = ()
    scores: tuple[Score, ...] = ()
    metadata: dict[Any, Any] = {}

    def __str__(self) -> str:
        return self.id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Case):
            return NotImplemented
        return same(msgspec.structs.astuple(self), msgspec.structs.astuple(other))

    def __hash__(self) -> int:
        return hash(self.id)


def tool_steps(runs: Iterable[AgentRun]) -> list[AgentStep]:
    """Return the calls of tools in some runs, those of sub-agents included, in the order of their start."""
    steps = (step for run in runs for part in run.walk() for step in part.tool_steps)
    return sorted(steps, key=lambda step: step.started_at_ns)


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def case_of(run: AgentRun, expected: Expected = ()) -> Case:
    """Return a run as a case.

    Args:
        run: the run.
        expected: a condition about scores, such as ``helpful>=1``, or several. If all hold for the run, its answer is
            what is expected; without any, nothing is.

    Raises:
        ConfigurationError: a condition is invalid.
    """
    return _case_of(run, _conditions(expected))


def write_cases(runs: Iterable[AgentRun], write: Callable[[bytes], object], expected: Expected = ()) -> int:
    """Write each run as the line of a case, one at a time.

    Args:
        runs: the runs to write.
        write: a function that is called with each line.
        expected: as for `case_of`.

    Returns:
        The number of runs.

    Raises:
        ConfigurationError: a condition is invalid; nothing was read or written.
    """
    conditions = _conditions(expected)
    number = 0
    for run in runs:
        write(_line(_case_of(run, conditions)))
        number += 1
    return number


def _conditions(expected: Expected) -> list[ScoreCondition]:
    return [score_condition(text) for text in ([expected] if isinstance(expected, str) else expected)]


def _case_of(run: AgentRun, conditions: Sequence[ScoreCondition]) -> Case:
    is_good = bool(conditions) and all(condition.holds(run) for condition in conditions)
    about = {"agent_name": run.agent_name, "session_id": run.session_id}
    return Case(
        id=run.run_id,
        input=run.user_input,
        output=run.final_output,
        expected=run.final_output if is_good else None,
        tools=tuple(ToolCall(step.name, step.input) for step in tool_steps([run])),
        scores=tuple(msgspec.structs.replace(score, at_ns=0) for score in current_scores(run.scores)),
        metadata={name: value for name, value in about.items() if value is not None} | run.metadata,
    )


def _line(case: Case) -> bytes:
    """Return a case as a line: plain JSON for all readers, and beside it the types that JSON does not have."""
    fields = {name: getattr(case, name) for name in Case.__struct_fields__}
    fields["tools"] = [call._asdict() for call in case.tools]
    fields["scores"] = [{name: getattr(score, name) for name in _SCORE_FIELDS} for score in case.scores]
    encoded = {name: encode(value) for name, value in fields.items()}
    data: dict[str, Any] = {name: value.data for name, value in encoded.items()}
    tags = {name: value.tag for name, value in encoded.items() if value.tag is not None}
    return msgspec.json.encode(data | {_TYPES_KEY: tags} if tags else data) + b"\n"


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def load_cases(path: str | os.PathLike[str]) -> list[Case]:
    """Return the cases of a file, in its order: one that ``otel-agent-trace export --to cases`` wrote, or made by hand.

    Only `id` and `input` are required; keys that a `Case` does not have are ignored, as are empty lines.

    Raises:
        SourceError: the file cannot be read.
        BadRecordError: a line is no case; the message names the line and what is wrong.
    """
    return list(_cases_in(os.fspath(path)))


def _cases_in(path: str) -> Iterator[Case]:
    try:
        file = open_regular(path)
    except SourceError as error:
        raise SourceError(f"{error}; cases are read from a file that '{_COMMAND} --output FILE' writes") from error
    with file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(_BYTE_ORDER_MARK).strip()
            if text:
                yield _case_in(text, path, number)


class _Calls(msgspec.Struct):
    """Check the calls of tools in a line, which are objects there and pairs in a `Case`."""

    tools: list[_Call] = []


class _Call(msgspec.Struct):
    """Check one call of a tool."""

    name: str
    input: Any


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def _case_in(text: bytes, path: str, number: int) -> Case:
    try:
        data = _decode(text)
        fields = restore(data, {"c": data.pop(_TYPES_KEY, None)})
        calls = msgspec.convert(fields, _Calls).tools
        return msgspec.convert({**fields, "tools": [(call.name, call.input) for call in calls]}, Case)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRecordError(path, number, f"{error}; {_SHAPE}") from error
