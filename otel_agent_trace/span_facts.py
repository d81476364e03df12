"""Define `SpanFacts`, which a dialect returns: what is known of a run or a step from one span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.model import Message, RunFacts, RunStatus, StepKind, Usage
from otel_agent_trace.span import SpanRecord


class Conversation(NamedTuple):
    """Represent the messages of all model calls of an agent, and model and tokens by the place of the answer in them."""

    messages: tuple[Message, ...]
    models: Mapping[int, str]
    usages: Mapping[int, Usage]


class SpanFacts(RunFacts, kw_only=True, gc=False):
    """Hold the facts that one span records; None, or empty, where it does not record one.

    `kind` is None for a span that is no step by itself: a frame around steps (a workflow, a turn, a chain), whose facts
    are those of the run that it turns out to be around. `is_frame` makes it one even if other dialects read a kind. For
    an agent, `name` is the agent's, `input` the question and `output` the answer; for a step they are name, arguments
    and return value. `agent_name` on a step is the agent that it belongs to.
    """

    kind: StepKind | None
    dialect: str
    is_frame: bool = False
    is_function: bool = False
    """True for a traced function whose span records neither that it is an agent nor that it is a tool."""
    has_inferred_kind: bool = False
    """True for a model call whose span has a model and tokens, but does not record that it is one."""
    name: str | None = None
    label: str | None = None
    """Name for display where none is known: that of the span, or of a class."""
    call_id: str | None = None
    """Id that the provider gave the tool call."""
    response_id: str | None = None
    """Id that the provider gave the model's response."""
    requested_model: str | None = None
    """Model that was requested, where the span records it beside the one that answered, which is `model` then."""
    input: Any = None
    output: Any = None
    input_after: Any = None
    chunks: Any = None
    returned_as: tuple[str, ...] = ()
    not_recorded: tuple[str, ...] = ()
    status: RunStatus | None = None
    messages: tuple[Message, ...] = ()
    choices: int = 0
    """Number of messages at the end that a model answered: more than one where it was asked for several choices."""
    conversation: Conversation | None = None
    """Model calls as an agent's span records them, whose own spans may record nothing, or be missing."""
    agent_name: str | None = None
    run_id: str | None = None
    step_id: int | str | None = None
    index: int | None = None
    is_inferred: bool = False
    """True where the step has no span of its own, but was inferred from the messages of models."""

    def set_messages(self, sent: tuple[Message, ...], answered: tuple[Message, ...]) -> None:
        """Set the messages of a model call: those sent, and the answer, which has a message for each choice."""
        self.messages, self.choices = sent + answered, len(answered)

    @property
    def answers(self) -> tuple[Message, ...]:
        """Return the messages that a model answered, one for each choice."""
        answered = self.messages[-max(self.choices, 1) :]
        return tuple([message for message in answered if message.role == "assistant"])


def integer_of(value: Any) -> int | None:
    """Return the whole number in a number or a text; None where there is none."""
    if type(value) is int or value is None:
        return value
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return None


def text_of(value: Any) -> str | None:
    """Return the value as text; None stays None."""
    return value if value is None or type(value) is str else str(value)


def exception_of(span: SpanRecord) -> Mapping[str, Any]:
    """Return the attributes of the last exception event of a span; empty where it has none."""
    for event in reversed(span.events):
        if event.name == semconv.EXCEPTION_EVENT:
            return event.attributes
    return {}
