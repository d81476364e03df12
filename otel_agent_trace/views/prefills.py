"""Find where the own answer of a model begins, which goes on from an answer whose beginning was sent."""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.messages import FINISH_REASON_KEY
from otel_agent_trace.model import AgentStep, Message
from otel_agent_trace.runs.calls import place_of_answer
from otel_agent_trace.views.histories import Exchange

_CHOICES = "gen_ai.request.choice.count"


def exchange_of(step: AgentStep) -> Exchange:
    """Return the messages of a model call, and at which place the answer begins: behind its beginning, if that was sent.

    Messages of the assistant at the end are the answer. If all of them hold only text, it is the last ones, one for each
    choice, and those before are the prefilled beginning; a text before a call of a tool is part of the answer.
    """
    messages = step.messages
    first, last = place_of_answer(messages), len(messages)
    if not all(map(_is_text, messages[first:])):
        return Exchange(messages, first)
    return Exchange(messages, max(last - _choices(step, messages[first:]), first))


def _choices(step: AgentStep, answers: tuple[Message, ...]) -> int:
    """Return how many messages a model answered, as far as is recorded; 1 where it is not."""
    reasons, count = step.attributes.get(semconv.FINISH_REASONS), step.attributes.get(_CHOICES)
    return max(
        1,
        sum(FINISH_REASON_KEY in message.extra for message in answers),
        len(reasons) if isinstance(reasons, list | tuple) else 0,
        count if type(count) is int else 0,
    )


def _is_text(message: Message) -> bool:
    return bool(message.parts) and all(part.get("type") == "text" for part in message.parts)
