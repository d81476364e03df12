"""Compare what a model is asked with what a recorded call of a model was sent.

Each tracer records a request in its own way. Compared is what all of them keep: texts by role, tool calls by name and
arguments, results of tools. Ids, names of speakers and reasoning are not; of media only their number is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.payloads import result_of
from otel_agent_trace.dialects.parsing.texts import value_in
from otel_agent_trace.model import AgentStep, Message
from otel_agent_trace.replay.matching import Bindings, Match

ANSWERING = ("assistant", "model")
"""Roles of a model's answers."""
_SYSTEM = ("system", "developer")
_REQUEST_MODEL = "gen_ai.request.model"


class _Piece(NamedTuple):
    """Hold a text, tool call, result or medium, who it is from, and the position of its message."""

    kind: str
    role: str
    value: Any
    position: int


def request_messages(request: Mapping[Any, Any]) -> tuple[Message, ...]:
    """Return the messages of a request to an API of OpenAI or Anthropic, with its instructions as the system's."""
    given = request["messages"] if "messages" in request else request.get("input")
    return (*_system_of(request), *conversation(given))


def recorded_messages(step: AgentStep) -> tuple[Message, ...]:
    """Return what a recorded call was sent and its answer; also what stands in its arguments only."""
    given: Mapping[Any, Any] = step.input if isinstance(step.input, Mapping) else {}
    messages = step.messages
    if "input" in given and all(message.role in ANSWERING for message in messages):
        messages = (*conversation(given["input"]), *messages)
    return messages if any(message.role in _SYSTEM for message in messages) else (*_system_of(given), *messages)


def _system_of(request: Mapping[Any, Any]) -> tuple[Message, ...]:
    system = request.get("instructions") or request.get("system")
    return conversation([{"role": "system", "content": system}]) if system else ()


def answer_in(step: AgentStep, asked: Sequence[Message]) -> tuple[Message, ...] | None:
    """Return the messages with which a recorded call answered what is asked; None if it was sent something else.

    A call that failed has no answer: the tuple is empty. Where nothing is recorded of what such a call was sent, it
    stands for any.
    """
    if step.error is not None and not step.messages:
        return ()
    messages = recorded_messages(step)
    if not _has_same_system(step, messages, asked):
        return None
    recorded, wanted = _pieces(messages), _pieces(asked)
    if len(recorded) < len(wanted) or not all(map(_is_same, recorded, wanted)):
        return None
    end = recorded[len(wanted) - 1].position + 1 if wanted else 0
    answer = messages[end:]
    if any(message.role not in ANSWERING for message in answer):
        return None
    if any(piece.position < end for piece in recorded[len(wanted) :]):
        return None
    return answer if answer or step.error is not None else None


def has_model(step: AgentStep, model: str) -> bool:
    """Return whether a recorded call asked a model; true where the requested model is not recorded."""
    requested = step.attributes.get(_REQUEST_MODEL)
    return requested is None or requested == model


def alike(recorded: Any, given: Any) -> bool:
    """Return whether a recorded value may be the given one: as JSON, with its masks, as far as limits have kept it."""
    return Match(Bindings(), is_lossless=False).fits(recorded, given)


def _is_same(recorded: _Piece, asked: _Piece) -> bool:
    return recorded[:2] == asked[:2] and alike(recorded.value, asked.value)


def _has_same_system(step: AgentStep, messages: Sequence[Message], asked: Sequence[Message]) -> bool:
    """Return whether the system's texts are the same; some tracers of others record none."""
    recorded = _system_text(messages)
    return (not recorded and step.input is None) or alike(recorded, _system_text(asked))


def _system_text(messages: Iterable[Message]) -> str:
    return "\n".join(message.text.strip() for message in messages if message.role in _SYSTEM)


def _pieces(messages: Iterable[Message]) -> list[_Piece]:
    """Return what is compared of messages, without those of the system."""
    pieces = []
    for position, message in enumerate(messages):
        if message.role not in _SYSTEM:
            pieces += _pieces_of(message, position)
    return pieces


def _pieces_of(message: Message, position: int) -> list[_Piece]:
    role = "assistant" if message.role in ANSWERING else message.role
    texts = [_Piece("text", role, text, position)] if (text := _text_of(message)) else []
    others = []
    for part in message.parts:
        kind = part.get("type")
        if kind == "tool_call":
            value: Any = [part.get("name"), _arguments(part.get("arguments"))]
            others.append(_Piece("call", "assistant", value, position))
        elif kind == "tool_call_response":
            others.append(_Piece("result", "tool", _result(part.get("response")), position))
        elif kind != "text" and role != "assistant":
            others.append(_Piece("medium", role, None, position))
    return texts + others


def _text_of(message: Message) -> Any:
    contents = [part.get("content") for part in message.parts if part.get("type") == "text"]
    return contents[0] if len(contents) == 1 else message.text


def _arguments(value: Any) -> Any:
    parsed = value_in(value) if isinstance(value, str) else value
    return {} if parsed in (None, "") else parsed


def _result(value: Any) -> Any:
    unwrapped = result_of(value)
    return value_in(unwrapped) if isinstance(unwrapped, str) else unwrapped
