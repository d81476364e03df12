"""The first of several choices is the answer, chunks are one answer, and tokens include their parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_agent_trace import AgentRun, run_to_spans, runs_from_spans
from otel_agent_trace.span import Event
from tests.support.handwritten_spans import event, only_run, span

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
INVOKE = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}


def texts(*contents: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "parts": [{"type": "text", "content": content}]} for content in contents]


def spread(start: str, *contents: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, content in enumerate(contents):
        found[f"{start}.{number}{'.message' if start.startswith('llm') else ''}.role"] = "assistant"
        found[f"{start}.{number}{'.message' if start.startswith('llm') else ''}.content"] = content
    return found


def choice(index: int, content: str, **more: Any) -> Event:
    return Event("gen_ai.choice", 5, {"body": {"index": index, "message": {"content": content}, **more}})


OPENAI = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "One."}}, {"index": 1, "message": {"role": "assistant", "content": "Two."}}]}  # fmt: skip
CHOICES: dict[str, tuple[dict[str, Any], tuple[Event, ...]]] = {
    "messages": ({**CHAT, "gen_ai.output.messages": texts("One.", "Two.")}, ()),
    "events": (CHAT, (choice(0, "One."), choice(1, "Two."))),
    "events in another order": (CHAT, (choice(1, "Two."), choice(0, "One."))),
    "OpenInference": ({"openinference.span.kind": "LLM", **spread("llm.output_messages", "One.", "Two.")}, ()),
    "OpenLLMetry": ({"llm.request.type": "chat", "gen_ai.request.model": "m", **spread("gen_ai.completion", "One.", "Two.")}, ()),
    "MLflow": ({"mlflow.spanType": '"CHAT_MODEL"', "mlflow.spanOutputs": OPENAI}, ()),
    "Langfuse": ({"langfuse.observation.type": "generation", "langfuse.observation.output": OPENAI}, ()),
}  # fmt: skip


@pytest.mark.parametrize("form", CHOICES)
@pytest.mark.parametrize("has_agent", [False, True])
def test_the_first_choice_is_the_answer(form: str, has_agent: bool) -> None:
    attributes, events = CHOICES[form]
    call = span("2", "1" if has_agent else None, (1, 2), "chat m", attributes, events=events)
    run = only_run(*([span("1", None, (0, 9), "invoke_agent clerk", INVOKE)] if has_agent else []), call)
    assert run.final_output == "One."
    assert [message.text for message in run.model_steps[0].messages] == ["One.", "Two."]
    assert runs_from_spans(run_to_spans(run)) == [run]


def test_the_beginning_of_an_answer_that_was_sent_is_no_choice() -> None:
    sent = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "{"}]
    call = {**CHAT, "gen_ai.input.messages": sent, "gen_ai.output.messages": texts('"a": 1}')}
    assert only_run(span("2", None, (1, 2), "chat m", call)).final_output == '"a": 1}'


def delta(index: int, **what: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": index, "delta": what}]}


CHUNKS: dict[str, tuple[dict[str, Any], tuple[Event, ...]]] = {
    "events of one index": (CHAT, (choice(0, "It "), choice(0, "rains."))),
    "texts before 1.28": (
        CHAT,
        tuple(event("gen_ai.content.completion", gen_ai__completion=text) for text in ("It ", "rains.")),
    ),
    "chunk events": (CHAT, tuple(event("gen_ai.content.completion.chunk", delta=text) for text in ("It ", "rains."))),
    "deltas": (
        {"openinference.span.kind": "LLM", "output.value": json.dumps([delta(0, role="assistant", content="It "), delta(0, content="rains."), delta(0)])},
        (),
    ),
    "deltas of two choices": (
        {"openinference.span.kind": "LLM", "output.value": json.dumps([delta(1, content="No"), delta(0, content="It "), delta(1, content="."), delta(0, content="rains.")])},
        (),
    ),
    "texts": ({"openinference.span.kind": "LLM", "output.value": json.dumps(["It ", "rains", "."])}, ()),
    "texts in a standard attribute": ({**CHAT, "gen_ai.output.messages": json.dumps(["It", " rains", "."])}, ()),
}  # fmt: skip


@pytest.mark.parametrize("form", CHUNKS)
def test_the_chunks_of_a_stream_are_one_answer(form: str) -> None:
    attributes, events = CHUNKS[form]
    run = only_run(span("2", None, (1, 2), "chat m", attributes, events=events))
    assert run.final_output == "It rains."
    assert run.model_steps[0].messages[0].text == "It rains."


def test_the_chunks_that_a_chain_streamed_are_one_answer() -> None:
    chain = {"openinference.span.kind": "AGENT", "output.value": json.dumps(["It", " rains", "."])}
    assert only_run(span("2", None, (1, 2), "clerk", chain)).final_output == "It rains."


@pytest.mark.parametrize("texts", [["It rains.", "It pours."], [" Rain.", " Snow."], ["Rain, ", 5], ["Rain. "]])
def test_whole_texts_and_other_lists_are_not_joined(texts: list[Any]) -> None:
    chain = {"openinference.span.kind": "AGENT", "output.value": json.dumps(texts)}
    assert only_run(span("2", None, (1, 2), "clerk", chain)).final_output == texts


def test_the_choices_of_a_completion_are_not_joined() -> None:
    """A model for completions may begin or end each of them with a space."""
    call = {"openinference.span.kind": "LLM"}
    call |= {f"llm.choices.{index}.completion.text": text for index, text in enumerate(("Rain. ", "Snow."))}
    assert only_run(span("2", None, (1, 2), "m", call)).final_output == "Rain. "


def test_chunk_events_beside_the_whole_answer_are_not_counted_again() -> None:
    events = (event("gen_ai.content.completion.chunk", delta="It "), choice(0, "It rains."))
    run = only_run(span("2", None, (1, 2), "chat m", CHAT, events=events))
    assert [message.text for message in run.model_steps[0].messages] == ["It rains."]


def test_a_tool_call_in_chunks_is_one_call() -> None:
    chunks = [
        delta(0, tool_calls=[{"index": 0, "id": "c1", "function": {"name": "t", "arguments": '{"city"'}}]),
        delta(0, tool_calls=[{"index": 1, "id": "c2", "function": {"name": "u", "arguments": ""}}]),
        delta(0, tool_calls=[{"index": 0, "function": {"arguments": ': "Lyon"}'}}]),
        delta(0, tool_calls=[{"index": 1, "function": {"arguments": "{}"}}]),
    ]
    run = only_run(span("2", None, (1, 2), "x", {"openinference.span.kind": "LLM", "output.value": json.dumps(chunks)}))
    calls = run.model_steps[0].messages[-1].tool_calls
    assert [(call["name"], call["arguments"]) for call in calls] == [("t", {"city": "Lyon"}), ("u", {})]


def tokens(run: AgentRun) -> tuple[int | None, ...]:
    usage = run.model_steps[0].usage
    assert usage is not None
    return (usage.input_tokens, usage.output_tokens)


GENAI = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.total_tokens")  # fmt: skip
OPENINFERENCE = ("llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_write", "llm.token_count.completion_details.reasoning", "llm.token_count.total")  # fmt: skip
COUNTS = [
    ((5, 7, 1000, 200, None, None), (1205, 7)),  # Anthropic's input leaves out what was cached
    ((1205, 7, 1000, 200, None, None), (1205, 7)),
    ((300, 7, 200, None, None, 307), (300, 7)),
    ((300, 7, 200, None, None, 507), (500, 7)),  # only with the cached ones it is the total
    ((10, 20, None, None, 50, None), (10, 70)),  # Gemini's output leaves out its thoughts
    ((10, 70, None, None, 50, 80), (10, 70)),
    ((10, 60, None, None, 50, 120), (10, 110)),
    ((5, 20, 1000, 0, 50, None), (1005, 70)),
    ((10, 20, 0, 0, 0, 30), (10, 20)),
    ((10, 20, None, None, None, 99), (10, 20)),
]


@pytest.mark.parametrize(("counts", "expected"), COUNTS)
@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("scheme", ["genai", "openinference", "langfuse"])
def test_tokens_include_their_parts(
    counts: tuple[int | None, ...], expected: tuple[int, int], as_text: bool, scheme: str
) -> None:
    values = [str(count) if as_text and count is not None else count for count in counts]
    if scheme == "langfuse":
        names = ("input", "output", "cache_read_input_tokens", "cache_write_tokens", "reasoning_tokens", "total")
        given = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        attributes: dict[str, Any] = {
            "langfuse.observation.type": "generation",
            "langfuse.observation.usage_details": given,
        }
    else:
        start: dict[str, Any] = {"openinference.span.kind": "LLM"} if scheme == "openinference" else CHAT
        names = OPENINFERENCE if scheme == "openinference" else GENAI
        attributes = {**start, **{name: value for name, value in zip(names, values, strict=True) if value is not None}}
    run = only_run(span("2", None, (1, 2), "chat m", attributes))
    assert tokens(run) == expected
    assert runs_from_spans(run_to_spans(run)) == [run]


def test_counts_that_are_none() -> None:
    attributes = {**CHAT, "gen_ai.usage.input_tokens": -1, "gen_ai.usage.output_tokens": "many"}
    assert only_run(span("2", None, (1, 2), "chat m", attributes)).model_steps[0].usage is None
