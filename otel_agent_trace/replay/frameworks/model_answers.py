"""Ask the recording for the answer of a model, and give it in a form from which any provider's can be built."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.messages import message_data, messages_from
from otel_agent_trace.model import AgentStep, Message, StepKind, Usage
from otel_agent_trace.replay.frameworks.conversations import ANSWERING, answer_in, has_model, recorded_messages
from otel_agent_trace.replay.session import ReplaySession
from otel_agent_trace.semconv import FINISH_REASONS

_BUILT_FROM = ("text", "tool_call", "reasoning", "thinking")
_LENGTH, _FILTERED = ("length", "max_tokens"), ("content_filter", "refusal")


class Call(NamedTuple):
    """Hold a tool call of a model: `arguments` are a JSON text."""

    id: str
    name: str
    arguments: str


class ModelAnswer(NamedTuple):
    """Hold an answer of a model; `reason` why it ended: ``stop``, ``length``, ``tool_calls`` or ``content_filter``."""

    model: str
    text: str
    reasoning: str
    calls: tuple[Call, ...]
    reason: str
    usage: Usage


class RecordedCall(NamedTuple):
    """Hold a recorded call of a model, and the messages that are its answer: none where it failed."""

    step: AgentStep
    model: str
    messages: tuple[Message, ...]

    def answers(self) -> list[ModelAnswer]:
        """Return an answer for each message: several of a model that was asked for more than one choice."""
        return [self._of([message]) for message in self.messages]

    def answer(self) -> ModelAnswer:
        """Return the one answer, which some tracers record in several messages."""
        return self._of(self.messages)

    def _of(self, messages: Sequence[Message]) -> ModelAnswer:
        parts = [part for message in messages for part in message.parts]
        calls = tuple(_call(part, number) for number, part in enumerate(_of_type(parts, "tool_call")))
        return ModelAnswer(
            model=self.step.model or self.model,
            text="".join(message.text for message in messages),
            reasoning="".join(
                str(part.get("content") or part.get("thinking") or "")
                for part in _of_type(parts, "reasoning", "thinking")
            ),
            calls=calls,
            reason="tool_calls" if calls else _reason(self.step),
            usage=self.step.usage or Usage(),
        )


def recorded_call(session: ReplaySession, model: str, asked: Sequence[Message]) -> RecordedCall | None:
    """Return the recorded call that answers what a model is asked, None if the model is to be asked itself.

    Raises:
        ReplayDivergence: No recorded call was sent these messages, or its answer cannot be given back.
    """
    arguments = {"model": model, "messages": [message_data(message) for message in asked]}
    step = session.answering_step(
        StepKind.MODEL,
        model,
        arguments,
        matches=lambda step: has_model(step, model) and answer_in(step, asked) is not None,
    )
    if step is None:
        return None
    answer = _readable(answer_in(step, asked) or _answer_of(step))
    if step.error is None and not answer:
        session.refuse_step(
            StepKind.MODEL, model, "cannot be answered: its answer was recorded in a form that is not known"
        )
    return RecordedCall(step, model, answer)


def _readable(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return messages with parts that an answer can be built from; OpenInference records a whole response as one part."""
    parts = [part for message in messages for part in message.parts]
    if not parts or _of_type(parts, *_BUILT_FROM):
        return messages
    return tuple(message for part in parts if part.get("output") for message in conversation(part["output"]))


def _answer_of(step: AgentStep) -> tuple[Message, ...]:
    """Return the answer of a call that was sent other messages: the nearest one, or one that is patched."""
    if step.output is not None and step.error is None:
        text = isinstance(step.output, str)
        return messages_from({"role": "assistant", "content": step.output} if text else step.output)
    messages = recorded_messages(step)
    sent = max((place for place, message in enumerate(messages, 1) if message.role not in ANSWERING), default=0)
    return messages[sent:]


def _of_type(parts: Iterable[dict[Any, Any]], *types: str) -> list[dict[Any, Any]]:
    return [part for part in parts if part.get("type") in types]


def _call(part: dict[Any, Any], number: int) -> Call:
    arguments = part.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return Call(str(part.get("id") or f"call_{number}"), str(part.get("name")), text)


def _reason(step: AgentStep) -> str:
    reasons = step.attributes.get(FINISH_REASONS) or ["stop"]
    reason = str(reasons[0] if isinstance(reasons, list | tuple) else reasons)
    return "length" if reason in _LENGTH else "content_filter" if reason in _FILTERED else "stop"
