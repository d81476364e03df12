"""JSON of which a limit kept the beginning: what is readable is read, nothing is made up, and it shows that it was cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, Message, Truncated, run_to_spans, runs_from_spans
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.texts import beginning_of
from otel_agent_trace.views.text import run_text
from tests.support.handwritten_spans import event, only_run, span

ASKED, ANSWERED = "Will it rain in Lyon tomorrow?", "It may rain in the evening."
INVOKE = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
SENT = [
    {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
    {"role": "user", "parts": [{"type": "text", "content": ASKED}]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "forecast", "arguments": {"city": "Lyon"}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain at 19 h"}]},
]  # fmt: skip
TEXT = json.dumps(SENT)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9999, 9999) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
CONTAINERS = st.lists(VALUES, max_size=4) | st.dictionaries(st.text(), VALUES, max_size=4)


def is_beginning(kept: Any, whole: Any, *, at_end: bool = True) -> bool:
    """Whether a value is the beginning of another: only its last text may be cut, and is marked then."""
    if isinstance(kept, Truncated):
        return at_end and isinstance(whole, str) and whole.startswith(kept.kept)
    if isinstance(kept, list) and isinstance(whole, list):
        pairs = [(item, whole[index], index == len(kept) - 1) for index, item in enumerate(kept[: len(whole)])]
        return len(kept) <= len(whole) and all(is_beginning(a, b, at_end=at_end and last) for a, b, last in pairs)
    if isinstance(kept, dict) and isinstance(whole, dict):
        keys = list(kept)
        in_order = keys == list(whole)[: len(keys)]
        return in_order and all(is_beginning(kept[k], whole[k], at_end=at_end and k == keys[-1]) for k in keys)
    return type(kept) is type(whole) and kept == whole


@given(CONTAINERS, st.booleans(), st.data())
def test_the_beginning_of_json_is_the_beginning_of_its_value(value: Any, ascii_only: bool, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    cut = beginning_of(text[: data.draw(st.integers(1, len(text) - 1))])
    assert cut is not None
    assert is_beginning(cut.kept, value)


@given(CONTAINERS, st.data())
def test_the_beginning_of_a_python_literal_is_too(value: Any, data: st.DataObject) -> None:
    text = repr(value)
    cut = beginning_of(text[: data.draw(st.integers(1, len(text) - 1))])
    assert cut is not None
    assert is_beginning(cut.kept, value)


@given(CONTAINERS)
def test_what_is_whole_is_not_cut(value: Any) -> None:
    assert beginning_of(json.dumps(value)) is None
    assert beginning_of(json.dumps(json.dumps(value))) is None


@pytest.mark.parametrize(
    "text", ["[2024-01-01] started", "[see below]", "{name} asks", '"Yes," she said', "It is {", "[1] [2", ""]
)
def test_a_text_that_begins_like_json_is_a_text(text: str) -> None:
    assert beginning_of(text) is None


@pytest.mark.parametrize(
    "end",
    [
        "...",
        "…",
        "...[truncated]",
        " [TRUNCATED - Content exceeds 60KB limit]",
        "... (truncated)",
        "[1234 chars truncated]",
        "\n...[truncated 12582 bytes] ...",
        "<truncated>",
    ],
)
def test_the_mark_of_a_framework_is_no_part_of_the_text(end: str) -> None:
    cut = beginning_of(f'{{"city": "Lyon", "note": "no{end}')
    assert cut is not None
    assert cut.kept == {"city": "Lyon", "note": Truncated("no", None, "bytes")}


def test_messages_cut_anywhere_are_the_whole_ones_and_a_part_of_the_next() -> None:
    whole = conversation(TEXT)
    for size in range(1, len(TEXT)):
        found = conversation(TEXT[:size])
        count = len(found)
        assert count <= len(whole)
        for message, true in zip(found, whole, strict=False):
            if message != true:
                assert message is found[-1]
                assert_is_part(message, true)
        ended = TEXT[:size].count("]}")  # one for each message here
        assert list(found[:ended]) == list(whole[:ended])


def assert_is_part(message: Message, true: Message) -> None:
    assert message.role == true.role
    (part,), (whole,) = message.parts, true.parts
    assert part.get("type") == whole["type"]
    for key, item in part.items():
        kept = item.kept if isinstance(item, Truncated) else item
        if kept is not None and key != "arguments":
            assert str(whole[key]).startswith(str(kept)), (key, item)


def lone_chat(**attributes: str) -> AgentRun:
    values = {key.replace("__", "."): value for key, value in attributes.items()}
    return only_run(span("1", None, (0, 9), "chat m", {**CHAT, **values}))


def test_a_question_that_was_cut_is_its_beginning() -> None:
    text = json.dumps([{"role": "user", "content": ASKED}])
    run = lone_chat(gen_ai__input__messages=text[:-20])
    assert ASKED.startswith(run.user_input)
    assert len(run.user_input) > 10
    assert run.truncated == ("user_input",)
    assert run.steps[0].truncated == ("attributes.gen_ai.input.messages", "messages[0].parts[0].content")
    assert "cut" in run_text(run)
    assert runs_from_spans(run_to_spans(run)) == [run]


def test_an_answer_that_was_cut_is_its_beginning() -> None:
    text = json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": ANSWERED}], "finish_reason": "stop"}]
    )
    agent = {**INVOKE, "gen_ai.input.messages": SENT[1:2], "gen_ai.output.messages": text[: text.index("evening")]}
    run = only_run(span("1", None, (0, 9), "invoke_agent clerk", agent))
    assert (run.user_input, run.final_output) == (ASKED, "It may rain in the ")
    assert run.truncated == ("attributes.gen_ai.output.messages", "final_output")
    assert runs_from_spans(run_to_spans(run)) == [run]


def test_a_whole_question_in_messages_that_were_cut_later_is_whole() -> None:
    run = lone_chat(gen_ai__input__messages=TEXT[: TEXT.index("tool_call_response")])
    assert (run.user_input, run.truncated) == (ASKED, ())
    assert [message.role for message in run.model_steps[0].messages] == ["system", "user", "assistant"]


def test_the_question_is_taken_from_a_call_that_has_all_of_it() -> None:
    whole = json.dumps(SENT[:2])
    agent = {**INVOKE, "gen_ai.input.messages": json.dumps(SENT[1:2])[:80]}
    run = only_run(
        span("1", None, (0, 9), "invoke_agent clerk", agent),
        span("2", "1", (1, 2), "chat m", {**CHAT, "gen_ai.input.messages": whole}),
    )
    assert run.user_input == ASKED


def test_the_answer_of_a_state_that_was_cut_is_that_of_the_last_call() -> None:
    """LangGraph's output is all messages, of which a limit keeps the first."""
    state = {"messages": [{"type": "human", "data": {"content": ASKED}}, {"type": "ai", "data": {"content": "Let me see."}}, {"type": "ai", "data": {"content": ANSWERED}}]}  # fmt: skip
    text = json.dumps(state)
    root = {
        "openinference.span.kind": "AGENT",
        "output.value": text[: text.index("It may")],
        "output.mime_type": "application/json",
    }
    call = {
        "openinference.span.kind": "LLM",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWERED,
    }
    run = only_run(span("1", None, (0, 9), "clerk", root), span("2", "1", (1, 2), "ChatOpenAI", call))
    assert run.final_output == ANSWERED


STATE = json.dumps({"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]})
"""The output of a graph, all messages, in which the answer comes last."""
UNTIL_QUESTION, UNTIL_ANSWER = STATE[: STATE.index("Lyon")], STATE[: STATE.index("evening")]


@pytest.mark.parametrize("kind", ["AGENT", "CHAIN"])
def test_a_state_that_was_cut_in_its_last_text_has_its_beginning(kind: str) -> None:
    chain = {"openinference.span.kind": kind, "input.value": UNTIL_QUESTION, "output.value": UNTIL_ANSWER}
    run = only_run(span("1", None, (0, 9), "clerk", chain), span("2", "1", (1, 2), "chat m", CHAT))
    assert (run.user_input, run.final_output) == ("Will it rain in ", "It may rain in the ")
    assert {"user_input", "final_output"} <= set(run.truncated)


@pytest.mark.parametrize("answers", [(ANSWERED,), (ANSWERED, "It will."), ("Let me see.", ANSWERED)])
def test_the_answer_of_a_state_that_was_cut_is_what_its_last_call_answered(answers: tuple[str, ...]) -> None:
    """What was cut may be the answer, or a text before it."""
    calls = [
        span(str(number), "1", (number, number + 1), "chat m", {**CHAT, "gen_ai.output.messages": [{"role": "assistant", "content": text}]})
        for number, text in enumerate(answers, start=2)
    ]  # fmt: skip
    chain = {"openinference.span.kind": "AGENT", "output.value": UNTIL_ANSWER}
    run = only_run(span("1", None, (0, 9), "clerk", chain), *calls)
    assert (run.final_output, run.truncated) == (answers[-1], ("attributes.output.value",))


def test_another_answer_that_was_cut_is_not_that_of_a_call() -> None:
    chain = {"openinference.span.kind": "AGENT", "output.value": UNTIL_ANSWER}
    call = {**CHAT, "gen_ai.output.messages": [{"role": "assistant", "content": "A summary of it."}]}
    run = only_run(span("1", None, (0, 9), "clerk", chain), span("2", "1", (1, 2), "chat m", call))
    assert run.final_output == "It may rain in the "


def test_of_two_questions_that_were_cut_the_longer_one_is_it() -> None:
    chain = {"openinference.span.kind": "AGENT", "input.value": UNTIL_QUESTION}
    call = {**CHAT, "gen_ai.input.messages": json.dumps([{"role": "user", "content": ASKED}])[:40]}
    run = only_run(span("1", None, (0, 9), "clerk", chain), span("2", "1", (1, 2), "chat m", call))
    assert run.user_input == "Will it rain in "


def test_messages_that_were_cut_before_their_content_are_no_question() -> None:
    state = '{"messages": [{"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"con'
    chain = {"openinference.span.kind": "AGENT", "input.value": state, "output.value": state}
    run = only_run(span("1", None, (0, 9), "clerk", chain), span("2", "1", (1, 2), "chat m", CHAT))
    assert (run.user_input, run.final_output) == (None, None)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result")),
        ({"openinference.span.kind": "TOOL", "tool.name": "t"}, ("input.value", "output.value")),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "t"}, ("traceloop.entity.input", "traceloop.entity.output")),
        ({"langfuse.observation.type": "tool"}, ("langfuse.observation.input", "langfuse.observation.output")),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "t"}, ("ai.toolCall.args", "ai.toolCall.result")),
        ({"mlflow.spanType": '"TOOL"'}, ("mlflow.spanInputs", "mlflow.spanOutputs")),
    ],
)  # fmt: skip
def test_arguments_and_a_result_that_were_cut(kind: dict[str, Any], names: tuple[str, str]) -> None:
    values = dict(zip(names, ('{"city": "Ly', '{"temp_c": 19, "sky": "cle'), strict=True))
    run = only_run(
        span("1", None, (0, 9), "invoke_agent clerk", INVOKE), span("2", "1", (1, 2), "t", {**kind, **values})
    )
    (step,) = run.tool_steps
    assert step.input == Truncated({"city": "Ly"}, None, "bytes")
    assert step.output == Truncated({"temp_c": 19, "sky": "cle"}, None, "bytes")
    assert {"input", "output"} <= set(step.truncated)
    assert "cut" in run_text(run)
    assert runs_from_spans(run_to_spans(run)) == [run]


def test_a_result_that_was_cut_within_a_message_is_the_result() -> None:
    message = json.dumps(
        {"type": "tool", "data": {"content": json.dumps({"lines": ["one", "two"]}), "tool_call_id": "c1"}}
    )
    values = {"openinference.span.kind": "TOOL", "tool.name": "t", "output.value": message[: message.index("wo")]}
    run = only_run(span("1", None, (0, 9), "invoke_agent clerk", INVOKE), span("2", "1", (1, 2), "t", values))
    assert run.tool_steps[0].output == Truncated({"lines": ["one", "t"]}, None, "bytes")


def test_a_text_of_json_that_was_cut_is_its_beginning() -> None:
    """MLflow writes texts as JSON."""
    answered = {"mlflow.spanType": '"AGENT"', "mlflow.spanOutputs": json.dumps(ANSWERED)[:-10]}
    run = only_run(span("1", None, (0, 9), "clerk", answered))
    assert ANSWERED.startswith(run.final_output)
    assert run.truncated == ("final_output",)


def test_content_of_an_event_that_was_cut() -> None:
    content = json.dumps([{"text": ASKED}])
    run = only_run(
        span("1", None, (0, 9), "chat m", CHAT, events=(event("gen_ai.user.message", content=content[:30]),))
    )
    assert ASKED.startswith(run.user_input)
    assert run.truncated == ("user_input",)
    assert "events" in run.steps[0].truncated


def test_cut_arguments_of_a_call_in_messages() -> None:
    text = json.dumps([SENT[1], SENT[2]])
    run = lone_chat(gen_ai__input__messages=text[: text.index('Lyon"}}]') + 2])
    (call,) = run.steps[0].messages[-1].tool_calls
    assert call["name"] == "forecast"
    assert "messages[1].parts[0].arguments" in run.steps[0].truncated or call["arguments"] == {
        "city": Truncated("Ly", None, "bytes")
    }


def test_a_long_text_is_read_in_time_that_grows_with_it() -> None:
    text = json.dumps([{"role": "user", "content": "a\n" * 50}] * 10_000)
    assert len(conversation(text[:-3])) == 10_000
    assert beginning_of("[" * 1_000_000) is None
    assert beginning_of('["' + "\\n" * 1_000_000) is not None
