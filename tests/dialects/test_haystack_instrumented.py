"""Haystack as OpenInference and OpenLLMetry write it: the agent is a chain, its messages stand as their `repr`."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace import AgentRun, RunStatus, SpanRecord, StepKind
from otel_agent_trace.runs.write import run_to_spans
from tests.support.handwritten_spans import only_run, span

OPENINFERENCE, OPENLLMETRY = "openinference.instrumentation.haystack", "opentelemetry.instrumentation.haystack"
ASKED = "ChatMessage(_role=<ChatRole.USER: 'user'>, _content=[TextContent(text='Rain?')], _name=None, _meta={})"
CALLED = (
    "ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[ToolCall(tool_name='look', arguments={}, id='1')])"
)
ANSWERED = "ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[TextContent(text=\"It's dry.\")], _meta={})"
STATE = {"messages": [ASKED, CALLED, ANSWERED], "step_count": 2}


def chain(given: Any, gave: Any = None) -> dict[str, Any]:
    values = {"input.value": given, **({} if gave is None else {"output.value": gave})}
    return {"openinference.span.kind": "CHAIN", "session.id": "s", **values}


def pipeline(given: Any, gave: Any, **more: Any) -> SpanRecord:
    return span("1", None, (0, 90), "Pipeline.run", chain({"data": given}, gave), scope=OPENINFERENCE, **more)


def agent(given: Any, gave: Any, **more: Any) -> SpanRecord:
    return span("2", "1", (1, 80), "Agent.run", chain(given, gave), scope=OPENINFERENCE, **more)


def test_an_agent_of_a_pipeline_is_a_run_without_steps() -> None:
    given = {"messages": [ASKED]}
    run = only_run(pipeline({"clerk": given}, {"clerk": STATE}), agent({**given, "tools": None}, STATE))
    assert (run.agent_name, run.user_input, run.final_output) == ("clerk", "Rain?", "It's dry.")
    assert (run.session_id, run.steps) == ("s", ())


def test_an_agent_of_a_pipeline_that_failed() -> None:
    given = {"messages": [ASKED]}
    run = only_run(pipeline({"clerk": given}, None, error="Error: too many"), agent(given, None, error="too many"))
    assert (run.status, run.user_input, run.final_output) == (RunStatus.ERROR, "Rain?", None)


@pytest.mark.parametrize("given", [{"a": {"messages": [ASKED]}, "b": {"messages": []}}, {"builder": {"question": "x"}}])
def test_a_pipeline_of_anything_else_names_no_agent(given: Any) -> None:
    run = only_run(pipeline(given, None), agent({"messages": [ASKED]}, STATE))
    assert (run.agent_name, run.user_input) == (None, "Rain?")


def message(role: str, *content: Any, tokens: int | None = None) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens, "completion_tokens": 1}
    meta = {} if tokens is None else {"model": "m", "usage": usage}
    return {"_role": role, "_content": list(content), "_name": None, "_meta": meta}


def call_of(city: str) -> dict[str, Any]:
    return {"tool_name": "look", "arguments": {"city": city}, "id": city, "extra": None}


def result_of(city: str, result: str, *, error: bool = False) -> dict[str, Any]:
    return message("tool", {"result": result, "origin": call_of(city), "error": error})


QUESTION, ANSWER = message("user", {"text": "Rain?"}), message("assistant", {"text": "No."}, tokens=20)
TURN = [QUESTION, message("assistant", call_of("Oslo"), tokens=10), result_of("Oslo", "dry"), ANSWER]
EMPTY = {
    "gen_ai.system": "OpenAI",
    "llm.request.type": "chat",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "replies",
}
"""Attributes of OpenLLMetry's spans: the answer is a key of the generator's result."""


def workflow(messages: list[Any], *calls: SpanRecord, given: list[Any] | None = None) -> list[SpanRecord]:
    state = {"clerk": {"messages": messages, "last_message": messages[-1]}}
    entity = {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.name": "haystack_pipeline",
        "traceloop.entity.input": {"args": [], "kwargs": {"clerk": {"messages": given or [QUESTION]}}},
        "traceloop.entity.output": state,
    }
    return [span("1", None, (0, 90), "haystack_pipeline.workflow", entity, scope=OPENLLMETRY), *calls]


def empty_call(span_id: str, start: int, end: int, **more: Any) -> SpanRecord:
    return span(span_id, "1", (start, end), "haystack.openai.chat", EMPTY, scope=OPENLLMETRY, **more)


def models_of(run: AgentRun) -> list[Any]:
    """Return of each model call: model, input tokens, the number of messages sent and the answer's text."""
    return [
        (step.model, step.usage and step.usage.input_tokens, len(step.messages) - 1, step.messages[-1].text)
        for step in run.steps
        if step.kind is StepKind.MODEL
    ]


def tools_of(run: AgentRun) -> list[Any]:
    return [(step.name, step.tool_input, step.tool_output) for step in run.steps if step.kind is StepKind.TOOL]


def test_empty_model_calls_get_theirs_from_the_agents_conversation() -> None:
    run = only_run(*workflow(TURN, empty_call("2", 1, 10), empty_call("3", 20, 30)))
    assert models_of(run) == [("m", 10, 1, ""), ("m", 20, 3, "No.")]
    assert tools_of(run) == [("look", {"city": "Oslo"}, "dry")]
    assert [step.kind for step in run.steps] == [StepKind.MODEL, StepKind.TOOL, StepKind.MODEL]
    assert run.usage is not None
    assert (run.usage.input_tokens, run.final_output) == (30, "No.")


def test_answers_of_earlier_turns_belong_to_no_model_call_of_the_run() -> None:
    earlier = [message("user", {"text": "Snow?"}), message("assistant", call_of("Bonn"), tokens=1)]
    earlier += [result_of("Bonn", "none"), message("assistant", {"text": "None."}, tokens=2)]
    calls = empty_call("2", 1, 10), empty_call("3", 20, 30)
    run = only_run(*workflow(earlier + TURN, *calls, given=[*earlier, QUESTION]))
    assert models_of(run) == [("m", 10, 5, ""), ("m", 20, 7, "No.")]
    assert tools_of(run) == [("look", {"city": "Oslo"}, "dry")]


def test_answers_without_metadata_have_neither_model_nor_tokens() -> None:
    run = only_run(*workflow([QUESTION, message("assistant", {"text": "No."})], empty_call("2", 1, 10)))
    assert models_of(run) == [(None, None, 1, "No.")]


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([empty_call("2", 1, 5)], id="one is lost"),
        pytest.param([empty_call("2", 1, 8), empty_call("3", 6, 9)], id="overlapping"),
        pytest.param([empty_call("2", 1, 5, error="busy"), empty_call("3", 6, 9)], id="one failed"),
    ],
)
def test_model_calls_that_do_not_fit_the_conversation_get_nothing_of_it(calls: list[SpanRecord]) -> None:
    run = only_run(*workflow(TURN, *calls))
    assert models_of(run) == [(None, None, 0, "")] * len(calls)
    assert tools_of(run) == [("look", {"city": "Oslo"}, "dry")]


def test_the_first_and_the_last_of_more_model_calls_than_answers_are_the_agents_own() -> None:
    """Those between are of a sub-agent; without their tokens a sum would be too small."""
    run = only_run(*workflow(TURN, empty_call("2", 1, 5), empty_call("3", 6, 9), empty_call("4", 10, 15)))
    assert models_of(run) == [("m", None, 1, ""), (None, None, 0, ""), ("m", None, 3, "No.")]
    assert (run.usage, run.final_output) == (None, "No.")


@pytest.mark.parametrize("turn", [TURN[:3], [QUESTION, message("assistant", {"text": "Wait."}), ANSWER]])
def test_of_more_model_calls_than_answers_nothing_is_known_without_a_call_and_an_answer(turn: list[Any]) -> None:
    run = only_run(*workflow(turn, empty_call("2", 1, 5), empty_call("3", 6, 9), empty_call("4", 10, 15)))
    assert models_of(run) == [(None, None, 0, "")] * 3


def test_a_model_call_with_content_of_its_own_keeps_it() -> None:
    own = {**EMPTY, "gen_ai.completion.0.content": "Never."}
    call = span("2", "1", (1, 10), "haystack.openai.chat", own, scope=OPENLLMETRY)
    run = only_run(*workflow([QUESTION, ANSWER], call))
    assert models_of(run) == [(None, None, 0, "Never.")]


def test_a_failed_tool_in_the_conversation_is_an_error() -> None:
    turn = [QUESTION, TURN[1], result_of("Oslo", "no such city", error=True), ANSWER]
    run = only_run(*workflow(turn, empty_call("2", 1, 10), empty_call("3", 20, 30)))
    (tool,) = [step for step in run.steps if step.kind is StepKind.TOOL]
    assert tool.error is not None
    assert (tool.output, tool.error.message) == (None, "no such city")


def test_calls_without_an_answer_in_the_conversation_are_no_steps() -> None:
    run = only_run(*workflow([QUESTION, TURN[1]], empty_call("2", 1, 5), empty_call("3", 6, 9)))
    assert tools_of(run) == []


def test_the_result_with_which_a_run_ended_is_that_of_its_last_call() -> None:
    run = only_run(*workflow(TURN[:3], empty_call("2", 1, 10)))
    assert tools_of(run) == [("look", {"city": "Oslo"}, "dry")]


def test_tools_with_spans_are_not_inferred_from_the_conversation_once_more() -> None:
    tool = {"traceloop.span.kind": "tool", "traceloop.entity.name": "Look"}
    spans = workflow(TURN, empty_call("2", 1, 5), span("3", "1", (6, 7), "Look.tool", tool, scope="own"))
    assert [name for name, _, _ in tools_of(only_run(*spans))] == ["Look"]


def test_tool_calls_of_an_agent_whose_models_have_no_spans() -> None:
    state = {"messages": TURN}
    run = only_run(
        pipeline({"clerk": {"messages": [QUESTION]}}, {"clerk": state}), agent({"messages": [QUESTION]}, state)
    )
    assert tools_of(run) == [("look", {"city": "Oslo"}, "dry")]
    assert models_of(run) == []


def test_a_run_with_a_divided_conversation_reads_back_equal() -> None:
    run = only_run(*workflow(TURN, empty_call("2", 1, 10), empty_call("3", 20, 30)))
    again = only_run(*run_to_spans(run))
    assert (models_of(again), tools_of(again)) == (models_of(run), tools_of(run))


def test_the_constant_name_of_pipelines_is_no_agents() -> None:
    message: dict[str, Any] = {"_role": "user", "_content": [{"text": "Rain?"}], "_name": None, "_meta": {}}
    answer = {**message, "_role": "assistant", "_content": [{"text": "No."}]}
    workflow = {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.name": "haystack_pipeline",
        "traceloop.entity.input": {"args": [], "kwargs": {"clerk": {"messages": [message]}}},
        "traceloop.entity.output": {"clerk": {"messages": [message, answer]}},
    }
    call = {"gen_ai.system": "OpenAI", "llm.request.type": "chat"}
    run = only_run(
        span("1", None, (0, 90), "haystack_pipeline.workflow", workflow, scope=OPENLLMETRY),
        span("2", "1", (1, 80), "haystack.openai.chat", call, scope=OPENLLMETRY),
    )
    assert (run.agent_name, run.user_input, run.final_output) == ("clerk", "Rain?", "No.")


PROMPT = {"question": "Rain?"}
BUILT = "Answer: Rain?"


def rag(given: Any, gave: Any) -> AgentRun:
    """A pipeline of a retriever, a prompt builder, which OpenInference marks as a model call, and a generator."""
    built = {"openinference.span.kind": "LLM", "llm.prompt_template.template": "Answer: {{ question }}"}
    generated = {"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 3}
    sent = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": BUILT}
    answered = {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "No."}
    return only_run(
        pipeline(given, gave),
        span("2", "1", (1, 2), "PromptBuilder.run", {**built, "input.value": PROMPT, "output.value": BUILT}),
        span("3", "1", (3, 9), "OpenAIGenerator.run", {**generated, **sent, **answered}, scope=OPENINFERENCE),
    )


@pytest.mark.parametrize(
    ("given", "gave"),
    [
        ({"builder": PROMPT}, {"llm": {"replies": ["No."]}}),
        ({"builder": PROMPT, "retriever": {"query": "Rain?", "top_k": 3}}, {"llm": {"replies": ["No."], "meta": [{}]}}),
        ({"builder": {"template_variables": PROMPT}}, {"llm": {"replies": ["No."]}, "retriever": {"documents": []}}),
        (
            {"builder": PROMPT, "llm": {"generation_kwargs": {}}},
            {"out": {"answers": [{"data": "No.", "query": "Rain?"}]}},
        ),
        ({"builder": PROMPT}, {"draft": {"replies": ["Perhaps."]}, "out": {"answers": [{"data": "No."}]}}),
    ],
)
def test_question_and_answer_of_a_pipeline_are_those_of_its_components(given: Any, gave: Any) -> None:
    run = rag(given, gave)
    assert (run.user_input, run.final_output) == ("Rain?", "No.")
    assert models_of(run) == [("m", 3, 1, "No.")]


def test_a_pipeline_with_two_questions_has_neither() -> None:
    """What the model was sent is the question then."""
    given = {"builder": PROMPT, "retriever": {"query": "weather"}}
    assert rag(given, {"llm": {"replies": ["No."]}}).user_input == BUILT


def test_data_of_a_pipeline_of_haystacks_own_tracing() -> None:
    data = {"haystack.pipeline.input_data": {"builder": PROMPT, "retriever": {"query": "Rain?"}}}
    result = {"haystack.pipeline.output_data": {"llm": {"replies": ["No."]}, "retriever": {"documents": []}}}
    generated = {"replies": ["No."], "meta": [{"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 1}}]}
    run = only_run(
        span("1", None, (0, 90), "haystack.pipeline.run", {**data, **result}),
        span("2", "1", (1, 9), "haystack.component.run", {"haystack.component.output": generated}),
    )
    assert (run.user_input, run.final_output) == ("Rain?", "No.")
