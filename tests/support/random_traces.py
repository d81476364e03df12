"""Any traces: spans in several languages, made by Hypothesis; some of them are lost."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from otel_agent_trace import SpanRecord
from otel_agent_trace.span import Resource, Scope

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ERROR = 2


def span(number: int, above: int | None, name: str, attributes: dict[str, Any], **more: Any) -> SpanRecord:
    """A span with a number for an id; each begins a millisecond after the one before."""
    facts: dict[str, Any] = {
        "start_ns": 1_000_000 * number,
        "end_ns": 1_000_000_000 - 1_000_000 * number,
        "resource": Resource({"service.name": "shop"}),
        "scope": Scope("acme.instrumentation"),
        **more,
    }
    parent = None if above is None else f"{above:016x}"
    return SpanRecord(TRACE, f"{number:016x}", parent, name, attributes=attributes, **facts)


def chat(asked: str, answered: str = "", call: dict[str, Any] | None = None, result: Any = None) -> dict[str, Any]:
    """The attributes of a model call, in which a tool may be asked for, and its result be given."""
    sent: list[Any] = [{"role": "user", "parts": [{"type": "text", "content": asked}]}]
    if result is not None:
        sent += [
            {"role": "assistant", "parts": [{"type": "tool_call", **(call or {})}]},
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": (call or {}).get("id"), "response": result}],
            },
        ]
    part = (
        {"type": "text", "content": answered} if result is not None or call is None else {"type": "tool_call", **call}
    )
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m-1",
        "gen_ai.input.messages": json.dumps(sent),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [part]}]),
        "gen_ai.usage.input_tokens": 5,
    }


CALL = {"id": "c1", "name": "forecast", "arguments": {"city": "Lyon"}}
TEXTS = st.sampled_from(["", "Rain?", "No.", "é\ud800", "[1]", '{"a": 1}', "{'city': 'Lyon'}"])
NAMES = st.sampled_from(["a", "b", "forecast", ""])


def conventions(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    if kind == "model":
        call = st.sampled_from([None, CALL, {"id": None, "name": "b", "arguments": '{"x": 1}'}])
        return st.builds(chat, TEXTS, TEXTS, call, st.sampled_from([None, "sun", {"t": 1}, "Error: x"]))
    operation = {"agent": "invoke_agent", "tool": "execute_tool", "frame": "invoke_workflow"}[kind]
    return st.fixed_dictionaries(
        {"gen_ai.operation.name": st.just(operation)},
        optional={
            "gen_ai.agent.name": NAMES,
            "gen_ai.tool.name": NAMES,
            "gen_ai.tool.call.id": st.sampled_from(["c1", "c2"]),
            "gen_ai.tool.call.arguments": TEXTS,
            "gen_ai.tool.call.result": TEXTS,
            "gen_ai.conversation.id": NAMES,
            "gen_ai.usage.input_tokens": st.integers(0, 9),
        },
    )


def openinference(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    span_kind = {"agent": "AGENT", "tool": "TOOL", "frame": "CHAIN", "model": "LLM"}[kind]
    return st.fixed_dictionaries(
        {"openinference.span.kind": st.just(span_kind)},
        optional={
            "agent.name": NAMES,
            "tool.name": NAMES,
            "input.value": TEXTS,
            "output.value": TEXTS,
            "llm.model_name": NAMES,
            "llm.input_messages.0.message.role": st.just("user"),
            "llm.input_messages.0.message.content": TEXTS,
            "llm.token_count.prompt": st.integers(0, 9),
            "session.id": NAMES,
            "user.id": NAMES,
            "metadata": TEXTS,
        },
    )


def langfuse(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    span_kind = {"agent": "agent", "tool": "tool", "frame": "span", "model": "generation"}[kind]
    return st.fixed_dictionaries(
        {"langfuse.observation.type": st.just(span_kind)},
        optional={
            "langfuse.observation.input": TEXTS,
            "langfuse.observation.output": TEXTS,
            "langfuse.observation.level": st.just("ERROR"),
            "langfuse.observation.usage_details": st.just('{"prompt_tokens": 3}'),
            "user.id": NAMES,
        },
    )


def traceloop(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    span_kind = {"agent": "agent", "tool": "tool", "frame": "workflow", "model": "task"}[kind]
    return st.fixed_dictionaries(
        {"traceloop.span.kind": st.just(span_kind)},
        optional={
            "traceloop.entity.name": NAMES,
            "traceloop.entity.input": TEXTS,
            "traceloop.entity.output": TEXTS,
            "llm.request.type": st.just("chat"),
        },
    )


ODD = st.dictionaries(
    st.sampled_from(
        ["gen_ai.tool.type", "gen_ai.response.finish_reasons", "error.type", "x", "agent_trace.x", "user.id"]
    ),
    st.one_of(TEXTS, st.integers(0, 5), st.just(["stop"])),
    max_size=2,
)


@st.composite
def traces(draw: st.DrawFn) -> list[SpanRecord]:
    """Spans of one trace in several languages, some of them lost."""
    spans = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        speak = draw(st.sampled_from([conventions, openinference, langfuse, traceloop]))
        attributes = {**draw(speak(draw(st.sampled_from(["agent", "tool", "frame", "model"])))), **draw(ODD)}
        more = {
            "end_ns": draw(st.sampled_from([None, 50_000_000, 900_000_000])),
            "status_code": draw(st.sampled_from([0, 0, ERROR])),
            "status_message": draw(st.sampled_from(["", "boom"])),
            "scope": Scope(draw(st.sampled_from(["one", "two"]))),
        }
        above = (
            draw(st.one_of(st.none(), st.integers(1, number - 1))) if number > 1 else draw(st.sampled_from([None, 99]))
        )
        if draw(st.integers(0, 9)):
            spans.append(span(number, above, draw(st.sampled_from(["run", "chat m"])), attributes, **more))
    return spans


def ours(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """As our own tracer writes them."""
    operation = {"agent": "invoke_agent", "tool": "execute_tool", "frame": "execute_tool", "model": "chat"}[kind]
    return st.fixed_dictionaries(
        {"gen_ai.operation.name": st.just(operation), "agent_trace.run.id": st.sampled_from([TRACE, "r-1"])},
        optional={
            "gen_ai.agent.name": NAMES,
            "gen_ai.tool.name": NAMES,
            "gen_ai.usage.input_tokens": st.integers(0, 2),
            "agent_trace.run.parent_id": st.sampled_from([TRACE, "r-1"]),
        },
    )


def functions(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Functions under OpenLIT's decorator, of which nothing says what they are; model calls beside them."""
    if kind == "model":
        return conventions(kind)
    return st.fixed_dictionaries(
        {"function.args": st.just("('Lyon',)")}, optional={"gen_ai.output.messages": TEXTS, "function.kwargs": TEXTS}
    )


@st.composite
def tangled_traces(draw: st.DrawFn) -> list[SpanRecord]:
    """Spans of all languages, ours too, that begin and end anywhere, many of them about the same few calls."""
    spans = []
    for number in range(1, draw(st.integers(2, 9)) + 1):
        speak = draw(st.sampled_from([conventions, openinference, traceloop, functions, ours]))
        attributes = draw(speak(draw(st.sampled_from(["agent", "tool", "frame", "model", "model"]))))
        start = draw(st.integers(0, 9))
        more = {
            "start_ns": start,
            "end_ns": draw(st.one_of(st.none(), st.integers(start, 12), st.integers(start, 12))),
            "status_code": draw(st.sampled_from([0, 0, ERROR])),
            "status_message": draw(st.sampled_from(["", "boom", "Rain?"])),
            "scope": Scope("otel_agent_trace" if speak is ours else draw(st.sampled_from(["one", "two", "three"]))),
            "flags": draw(st.sampled_from([0, 0, 0x301])),
        }
        above = draw(st.one_of(st.none(), st.integers(1, 9), st.just(99)))
        spans.append(span(number, above, draw(st.sampled_from(["run", "chat m", "a"])), attributes, **more))
    return spans
