"""Compare the content of runs and steps: what they were asked, called, answered and used; not ids, nor times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.replay.keys import key_of
from otel_agent_trace.values import encode, same

RUN_FIELDS = (
    *("agent_name", "user_input", "model", "config", "prompt_name", "prompt_version", "status", "final_output"),
    *("error", "interrupted_for", "abandoned", "usage"),
)
"""Fields of a run that are compared, in the order in which their differences are listed."""
STEP_FIELDS = (
    *("name", "model", "prompt_name", "prompt_version", "input", "messages", "output", "chunks", "input_after"),
    *("error", "interrupted_for", "abandoned", "usage"),
)
"""Fields of a step that are compared, in the order in which their differences are listed."""
_HELD_BY_RUNS = {"input": "user_input", "output": "final_output"}


class Difference(msgspec.Struct, frozen=True):
    """Represent a field of which two runs, or two steps, have different values: `a` that of the first, `b` of the second."""

    field: str
    a: Any
    b: Any

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON-serializable data; ``types`` are the type tags of values that JSON alone lacks."""
        encoded = {"a": encode(as_data(self.a)), "b": encode(as_data(self.b))}
        types = {side: value.tag for side, value in encoded.items() if value.tag is not None}
        data = {"field": self.field} | {side: value.data for side, value in encoded.items()}
        return data | ({"types": types} if types else {})


def run_differences(a: AgentRun, b: AgentRun) -> tuple[Difference, ...]:
    """Return how the facts of two runs differ, their steps aside."""
    return tuple(_differences(a, b, RUN_FIELDS))


def step_differences(a: AgentStep, b: AgentStep) -> tuple[Difference, ...]:
    """Return how two steps differ; what the runs of two sub-agents hold as well is left to the difference of these."""
    found = list(
        _differences(a, b, [name for name in STEP_FIELDS if not (_is_in_run(a, name) and _is_in_run(b, name))])
    )
    if (a.run is None) is not (b.run is None):
        found.append(Difference("run", a.run, b.run))
    return tuple(found)


def arguments_text(step: AgentStep) -> str:
    """Return a text that is equal for steps of equal arguments: the messages sent, a sub-agent's question, or the input."""
    if step.messages:
        is_answered = step.messages[-1].role == "assistant"
        return key_of(_content(step.messages[:-1] if is_answered else step.messages))
    return key_of(_value(step, "input"))


def as_data(value: Any) -> Any:
    """Return the fields of errors, tokens, messages and runs as dictionaries, and any other value as it is."""
    if isinstance(value, Message | StepError | Usage):
        return {name: item for name in value.__struct_fields__ if (item := getattr(value, name)) not in (None, {})}
    if isinstance(value, tuple) and value and all(isinstance(item, Message) for item in value):
        return [as_data(item) for item in value]
    if isinstance(value, AgentRun):
        return value.to_dict()
    return value.value if isinstance(value, RunStatus) else value


def _differences(a: AgentRun | AgentStep, b: AgentRun | AgentStep, fields: Sequence[str]) -> Iterator[Difference]:
    for name in fields:
        one, other = _value(a, name), _value(b, name)
        if not _is_same(_content(one), _content(other)):
            yield Difference(name, one, other)


def _value(item: AgentRun | AgentStep, field: str) -> Any:
    """Return the value of a field; of a call of a model its name as the model, and of a sub-agent what its run has."""
    value = getattr(item, field)
    if not isinstance(item, AgentStep):
        return value
    if item.kind is StepKind.MODEL and field in ("name", "model"):
        model = item.model or item.name or None
        return model if field == "model" else None if value == model else value
    return _run_value(item.run, field) if value is None and item.run is not None else value


def _run_value(run: AgentRun, field: str) -> Any:
    """Return the value that the run of a sub-agent has for a field of its step; None if it has no such field."""
    name = _HELD_BY_RUNS.get(field, field)
    return getattr(run, name) if name in RUN_FIELDS else None


def _is_in_run(step: AgentStep, field: str) -> bool:
    """Return whether a step is a sub-agent whose run has the value of a field too."""
    return step.run is not None and same(_value(step, field), _run_value(step.run, field))


def _is_same(one: Any, other: Any) -> bool:
    return same(one, other) or key_of(one) == key_of(other)


def _content(value: Any) -> Any:
    """Return what is compared of a value: not ids of calls, stack traces, or what providers report beside tokens."""
    if isinstance(value, StepError):
        return value.type, value.message, value.category
    if isinstance(value, Usage):
        counts = tuple(getattr(value, name) for name in TOKEN_FIELDS)
        return None if counts == (None,) * len(counts) else counts
    if isinstance(value, tuple) and value and all(isinstance(item, Message) for item in value):
        return [(item.role, list(map(_part_content, item.parts)), item.name, item.extra) for item in value]
    return value


def _part_content(part: dict[Any, Any]) -> dict[Any, Any]:
    is_of_a_call = part.get("type") in ("tool_call", "tool_call_response")
    return {key: item for key, item in part.items() if key != "id"} if is_of_a_call else part
