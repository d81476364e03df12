"""Read spans of Haystack's own tracing.

Recognised by any ``haystack.*`` attribute: agents by ``haystack.agent.*``, their steps by ``haystack.agent.step.*``,
parts of a pipeline by ``haystack.component.*``, tools by ``haystack.tool.*``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, has_messages, question_in
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import Message, StepKind, Usage
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import Conversation, SpanFacts

NAME = "haystack"
_STEP = "haystack.agent.step."
_AGENTS = ("Agent.run", "Agent.run_async")
_OUTPUTS = ("output.value", "traceloop.entity.output")
_INPUTS = ("input.value", "traceloop.entity.input")
_VALUES = (*_OUTPUTS, *_INPUTS)
_COMPLETION = "gen_ai.completion."
_RESULT_KEYS = {"replies", "meta"}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Haystack by its ``haystack.*`` attributes; return None where there are none."""
    if span.scope.name.endswith(".instrumentation.haystack"):
        return _read_of_instrumentation(span)
    if not any(key.startswith("haystack.") for key in span.attributes):
        return None
    attributes = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME, label=attributes.text("haystack.component.name"))
    if "haystack.tool.name" in attributes.rest or span.name == "haystack.agent.step.tool":
        _read_tool_step(attributes, facts)
    elif span.name == "haystack.agent.step.llm":
        _read_generator(
            attributes, facts, attributes.parsed(f"{_STEP}llm.input"), attributes.parsed(f"{_STEP}llm.output")
        )
    elif attributes.rest.get("haystack.component.type") == "Agent":
        facts.kind, facts.name = StepKind.AGENT, facts.label
    elif span.name == "haystack.agent.run" or "haystack.agent.input" in attributes.rest:
        facts.kind = StepKind.AGENT
        facts.input = question_in(attributes.parsed("haystack.agent.input"))
        facts.output = answer_in(attributes.parsed("haystack.agent.output"))
    else:
        _read_component(attributes, facts)
    if facts.error is None:
        facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts


def _read_of_instrumentation(span: SpanRecord) -> SpanFacts | None:
    """Return what OpenInference and OpenLLMetry leave to us: which span is an agent, its name in a pipeline, its model calls."""
    attributes = Attributes(span)
    kind = StepKind.AGENT if span.name in _AGENTS else None
    facts = SpanFacts(kind=kind, dialect=NAME)
    if kind is None:
        values = (attributes.rest.get(key) for key in _VALUES if key in attributes.rest)
        names = (name for value in values if (name := _only_component(parsed(value))) is not None)
        facts.label = next(names, None)
    if kind is not None or facts.label is not None:
        facts.conversation = _conversation_of_agent(parsed(_first(attributes.rest, _OUTPUTS)))
    elif _has_keys_as_answer(span):
        facts.set_messages((), (Message(role="assistant", parts=()),))
    elif "pipeline" not in span.name.lower():
        return None
    else:
        facts.input = _question_in_data(parsed(_first(attributes.rest, _INPUTS)))
        facts.output = _answer_in_data(parsed(_first(attributes.rest, _OUTPUTS)))
        if facts.input is None and facts.output is None:
            return None
    facts.attributes = attributes.rest
    return facts


def _first(attributes: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((attributes[key] for key in keys if key in attributes), None)


def _has_keys_as_answer(span: SpanRecord) -> bool:
    """Return whether OpenLLMetry wrote the keys of a generator's result in place of its answers, and no prompt."""
    messages = {key: value for key, value in span.attributes.items() if key.startswith(("gen_ai.prompt.", _COMPLETION))}
    contents = [value for key, value in messages.items() if not key.endswith(".role")]
    return bool(contents) and all(key.startswith(_COMPLETION) for key in messages) and set(contents) <= _RESULT_KEYS


def _conversation_of_agent(state: Any) -> Conversation | None:
    """Return the messages in an agent's state, or in a pipeline's result with that of its only agent."""
    if isinstance(state, dict) and len(state) == 1 and "messages" not in state:
        (state,) = state.values()
    recorded = state.get("messages") if isinstance(state, dict) else None
    if not isinstance(recorded, list):
        return None
    converted = [conversation({"messages": [message]}) for message in recorded]
    if not recorded or any(len(messages) != 1 for messages in converted):
        return None
    models: dict[int, str] = {}
    usages: dict[int, Usage] = {}
    for place, message in enumerate(recorded):
        meta = message.get("_meta") or message.get("meta") if isinstance(message, dict) else None
        if isinstance(meta, dict):
            if isinstance(meta.get("model"), str):
                models[place] = meta["model"]
            usage = usage_from(meta["usage"]) if isinstance(meta.get("usage"), dict) else None
            if usage:
                usages[place] = usage
    return Conversation(tuple(messages[0] for messages in converted), models, usages)


def _data_in(value: Any) -> dict[str, Any]:
    """Return what a pipeline was given or gave, by the names of its components, without the arguments around it."""
    for key in ("kwargs", "data"):
        value = value.get(key, value) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _question_in_data(value: Any) -> str | None:
    """Return the question in the data of a pipeline, if all of its components that were given one were given the same."""
    given = [data for data in _data_in(value).values() if isinstance(data, dict)]
    variables = [data["template_variables"] for data in given if isinstance(data.get("template_variables"), dict)]
    return _only_text(data.get(key) for data in (*given, *variables) for key in _QUESTION_KEYS)


def _answer_in_data(value: Any) -> str | None:
    """Return the answer in the result of a pipeline, if its components gave only one: of a generator or answer builder."""
    gave = [data for data in _data_in(value).values() if isinstance(data, dict)]
    answers = [item.get("data") for data in gave for item in _list_under(data, "answers") if isinstance(item, dict)]
    return _only_text(answers or [reply for data in gave for reply in _list_under(data, "replies")[:1]])


_QUESTION_KEYS = ("question", "query")


def _list_under(data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    return value if isinstance(value, list) else []


def _only_text(values: Iterable[Any]) -> str | None:
    texts = {value for value in values if isinstance(value, str) and value}
    return texts.pop() if len(texts) == 1 else None


def _only_component(value: Any) -> str | None:
    """Return the name of the only component in the data of a pipeline, if that takes or gives messages, as agents do."""
    value = _data_in(value)
    if len(value) != 1:
        return None
    ((name, data),) = value.items()
    return str(name) if isinstance(data, dict) and "messages" in data else None


def _read_tool_step(attributes: Attributes, facts: SpanFacts) -> None:
    facts.kind, facts.name = StepKind.TOOL, attributes.text("haystack.tool.name")
    facts.input = attributes.parsed(f"{_STEP}tool.input", "haystack.tool.input")
    recorded_output = attributes.parsed(f"{_STEP}tool.output", "haystack.tool.output")
    failed = attributes.take("haystack.tool.error") in (True, "true")
    if failed:
        message = (
            recorded_output.get("error", recorded_output) if isinstance(recorded_output, dict) else recorded_output
        )
        facts.error = attributes.error(failed=True, message=None if message is None else str(message))
    else:
        facts.output = recorded_output


def _read_generator(attributes: Attributes, facts: SpanFacts, recorded_input: Any, recorded_output: Any) -> None:
    facts.kind = StepKind.MODEL
    facts.messages = (conversation(recorded_input) if has_messages(recorded_input) else ()) + conversation(
        recorded_output, "assistant"
    )
    meta = _generator_metadata(recorded_output)
    facts.model = None if meta.get("model") is None else str(meta["model"])
    facts.label = facts.model or facts.label
    usage = meta.get("usage")
    facts.usage = usage_from(usage) if isinstance(usage, dict) and usage else None


def _read_component(attributes: Attributes, facts: SpanFacts) -> None:
    recorded_input, recorded_output = (
        attributes.parsed("haystack.component.input"),
        attributes.parsed("haystack.component.output"),
    )
    if _generator_metadata(recorded_output).get("usage"):
        _read_generator(attributes, facts, recorded_input, recorded_output)
        return
    recorded_input = attributes.parsed("haystack.pipeline.input_data") if recorded_input is None else recorded_input
    recorded_output = attributes.parsed("haystack.pipeline.output_data") if recorded_output is None else recorded_output
    question, answer = _question_in_data(recorded_input), _answer_in_data(recorded_output)
    facts.input = question_in(recorded_input) if question is None else question
    facts.output = answer_in(recorded_output) if answer is None else answer


def _generator_metadata(recorded_output: Any) -> dict[str, Any]:
    """Return the metadata that a generator gives with its answer: model, usage and finish reason."""
    replies = recorded_output.get("replies") if isinstance(recorded_output, dict) else None
    first = replies[0] if isinstance(replies, list) and replies else None
    for message in (first, first.get("message") if isinstance(first, dict) else None):
        meta = (message.get("meta") or message.get("_meta")) if isinstance(message, dict) else None
        if isinstance(meta, dict):
            return meta
    meta = recorded_output.get("meta") if isinstance(recorded_output, dict) else None
    return meta[0] if isinstance(meta, list) and meta and isinstance(meta[0], dict) else {}
