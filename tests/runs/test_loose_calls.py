"""Calls of one trace without spans above them: those that continue each other are one run, others are runs alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from otel_agent_trace import SpanRecord, runs_from_spans
from tests.support.handwritten_spans import TRACE, span


def text(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def request(x: int, call_id: str | None = "call_0") -> dict[str, Any]:
    return {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": call_id, "name": "find", "arguments": {"x": x}}],
    }


def result(x: int, call_id: str | None = "call_0") -> dict[str, Any]:
    return {"role": "tool", "parts": [{"type": "tool_call_response", "id": call_id, "response": f"r{x}"}]}


def chat(
    number: str, times: tuple[int, int], sent: Sequence[Any], answer: Any, parent: str | None = None
) -> SpanRecord:
    messages = {"gen_ai.input.messages": [*sent], "gen_ai.output.messages": [answer]}
    return span(number, parent, times, "chat m", {"gen_ai.operation.name": "chat", **messages})


def tool(
    number: str, times: tuple[int, int], x: int, call_id: str | None = "call_0", parent: str | None = None
) -> SpanRecord:
    facts = {"gen_ai.tool.name": "find", "gen_ai.tool.call.arguments": {"x": x}, "gen_ai.tool.call.result": f"r{x}"}
    named = {} if call_id is None else {"gen_ai.tool.call.id": call_id}
    return span(number, parent, times, "execute_tool find", {"gen_ai.operation.name": "execute_tool", **facts, **named})


def outlines(*spans: SpanRecord) -> list[tuple[Any, Any, list[Any]]]:
    runs = runs_from_spans(spans)
    assert len({run.run_id for run in runs}) == len(runs)
    return [(run.user_input, run.final_output, [step.input or step.kind.value for step in run.steps]) for run in runs]


A = text("user", "A?")
B = text("user", "B?")
ONE_RUN = [("A?", "1.", ["model", {"x": 1}, "model"])]


@pytest.mark.parametrize("parents", [(None, None, None), ("a1", "a2", "a3")])
@pytest.mark.parametrize("call_id", ["call_0", None])
@pytest.mark.parametrize("has_tool_span", [True, False])
def test_calls_that_continue_each_other_are_one_run(
    parents: Sequence[str | None], call_id: str | None, has_tool_span: bool
) -> None:
    spans = [
        chat("2", (1, 5), [A], request(1, call_id), parents[0]),
        *([tool("3", (6, 7), 1, call_id, parents[1])] if has_tool_span else []),
        chat("4", (8, 9), [A, request(1, call_id), result(1, call_id)], text("assistant", "1."), parents[2]),
    ]
    assert outlines(*spans) == ONE_RUN
    assert [run.run_id for run in runs_from_spans(spans)] == [TRACE]


def test_a_provider_that_holds_the_history_is_sent_the_results_alone() -> None:
    later = chat("4", (8, 9), [result(1, "c1")], text("assistant", "1."))
    assert outlines(chat("2", (1, 5), [A], request(1, "c1")), tool("3", (6, 7), 1, "c1"), later) == ONE_RUN


def test_two_runs_at_once_whose_call_ids_are_the_same() -> None:
    spans = [
        chat("2", (1, 5), [A], request(1)),
        chat("3", (2, 5), [B], request(2)),
        tool("4", (6, 7), 2),
        tool("5", (6, 7), 1),
        chat("6", (8, 9), [A, request(1), result(1)], text("assistant", "1.")),
        chat("7", (8, 9), [B, request(2), result(2)], text("assistant", "2.")),
    ]
    assert outlines(*spans) == [*ONE_RUN, ("B?", "2.", ["model", {"x": 2}, "model"])]


def test_calls_that_all_began_at_once() -> None:
    last = chat("3", (1, 1), [A, request(1), result(1)], text("assistant", "1."))
    assert outlines(tool("2", (1, 1), 1), last, chat("4", (1, 1), [A], request(1))) == ONE_RUN


def test_calls_that_only_share_the_trace_are_runs_of_their_own() -> None:
    first = chat("2", (1, 2), [A], text("assistant", "1."))
    assert outlines(first, chat("3", (3, 4), [B], text("assistant", "2.")), tool("4", (5, 6), 3)) == [
        ("A?", "1.", ["model"]),
        ("B?", "2.", ["model"]),
        (None, None, [{"x": 3}]),
    ]


def test_two_turns_of_a_conversation_are_two_runs() -> None:
    first = chat("2", (1, 2), [A], text("assistant", "1."))
    second = chat("3", (3, 4), [A, text("assistant", "1."), B], text("assistant", "2."))
    assert outlines(first, second) == [("A?", "1.", ["model"]), ("B?", "2.", ["model"])]
