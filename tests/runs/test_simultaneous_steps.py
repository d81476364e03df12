"""Steps that began at the same time, as clocks of whole milliseconds show them, are in the order of cause and effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from otel_agent_trace import AgentRun, SpanRecord
from tests.support.handwritten_spans import only_run, span

QUESTION = {"role": "user", "parts": [{"type": "text", "content": "Q?"}]}
ANSWER = {"role": "assistant", "parts": [{"type": "text", "content": "A."}]}


def request(number: int, call_id: str | None) -> dict[str, Any]:
    call = {"type": "tool_call", "id": call_id, "name": "find", "arguments": {"x": number}}
    return {"role": "assistant", "parts": [call]}


def result(number: int, call_id: str | None) -> dict[str, Any]:
    return {"role": "tool", "parts": [{"type": "tool_call_response", "id": call_id, "response": f"r{number}"}]}


def agent() -> SpanRecord:
    return span("1", None, (5, 9), "invoke_agent", {"gen_ai.operation.name": "invoke_agent"})


def chat(number: str, sent: Sequence[Any], answer: Any) -> SpanRecord:
    messages = {"gen_ai.input.messages": [*sent], "gen_ai.output.messages": [answer]}
    return span(number, "1", (5, 5), "chat", {"gen_ai.operation.name": "chat", **messages})


def tool(number: str, call_id: str | None, arguments: Any = None, parent: str = "1") -> SpanRecord:
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find"}
    given = {} if arguments is None else {"gen_ai.tool.call.arguments": arguments}
    named = {} if call_id is None else {"gen_ai.tool.call.id": call_id}
    return span(number, parent, (5, 5), "execute_tool find", {**attributes, **given, **named})


def order(run: AgentRun) -> list[Any]:
    return [step.messages[-1].text or "asks" if step.kind.value == "model" else step.input for step in run.steps]


@pytest.mark.parametrize("call_id", ["c", None])
@pytest.mark.parametrize("has_span", [True, False])
@pytest.mark.parametrize("has_history", [True, False])
def test_a_tool_is_between_the_model_calls_around_it(call_id: str | None, has_span: bool, has_history: bool) -> None:
    history = [QUESTION, request(1, call_id)] if has_history else []
    spans = [
        chat("3", [*history, result(1, call_id)], ANSWER),
        chat("4", [QUESTION], request(1, call_id)),
        *([tool("2", call_id, {"x": 1})] if has_span else []),
    ]
    assert order(only_run(agent(), *spans)) == ["asks", {"x": 1}, "A."]


@pytest.mark.parametrize("has_ids", [True, False])
def test_two_turns_at_once(has_ids: bool) -> None:
    ids = ("a", "b") if has_ids else (None, None)
    first = [QUESTION, request(1, ids[0]), result(1, ids[0])]
    spans = [
        tool("2", ids[1], {"x": 2}),
        tool("3", ids[0], {"x": 1}),
        chat("4", [*first, request(2, ids[1]), result(2, ids[1])], ANSWER),
        chat("5", first, request(2, ids[1])),
        chat("6", [QUESTION], request(1, ids[0])),
    ]
    assert order(only_run(agent(), *spans)) == ["asks", {"x": 1}, "asks", {"x": 2}, "A."]


def test_what_is_in_a_tool_is_after_it() -> None:
    inner = chat("2", [{"role": "user", "parts": [{"type": "text", "content": "In?"}]}], ANSWER)
    inner = span("2", "7", (5, 5), "chat", inner.attributes)
    spans = [tool("7", "c", {"x": 1}), inner, chat("8", [QUESTION], request(1, "c"))]
    assert order(only_run(agent(), *spans)) == ["asks", {"x": 1}, "A."]
