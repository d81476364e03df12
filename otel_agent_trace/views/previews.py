"""Show the input and the outcome of a step on one short line, for the rows of a tree."""

from __future__ import annotations

from otel_agent_trace.model import AgentStep, StepKind
from otel_agent_trace.runs.calls import place_of_answer
from otel_agent_trace.views.details import value_fields
from otel_agent_trace.views.items import Item
from otel_agent_trace.views.values_text import message_text, shortened

PREVIEW_CHARS = 200
_ARROW, _FAILURE = " → ", " ✕ "
_INPUT_CHARS = 110


def preview_of(item: Item) -> str:
    """Return the arguments and the result, or the error, of an item on one line, of at most 200 characters."""
    given, returned = _input_and_output(item)
    error = item.error
    mark = _ARROW if error is None else _FAILURE
    outcome = shortened(returned if error is None else str(error), PREVIEW_CHARS - len(mark))
    if not outcome:
        return shortened(given, PREVIEW_CHARS)
    room = max(PREVIEW_CHARS - len(mark) - len(outcome), _INPUT_CHARS)
    begin = shortened(given, room)
    return f"{begin}{mark}{shortened(outcome, PREVIEW_CHARS - len(begin) - len(mark))}".strip()


def _input_and_output(item: Item) -> tuple[object, object]:
    step = item.step
    if step is not None and step.kind is StepKind.MODEL and step.messages:
        return _last_texts(step)
    fields = value_fields(item)
    return fields["input"], fields["output"]


def _last_texts(step: AgentStep) -> tuple[str, str]:
    """Return the last message that a model was sent, and its answer."""
    place = place_of_answer(step.messages)
    sent, answered = step.messages[:place], step.messages[place:]
    answer = " ".join(message_text(message) for message in answered if message.parts)
    return message_text(sent[-1]) if sent else "", answer.removeprefix(_ARROW.lstrip())
