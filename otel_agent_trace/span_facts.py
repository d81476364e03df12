"""What one span means, as a dialect says it: the facts about a run or a step, and where none is known, nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.model import Message, RunFacts, RunStatus, StepKind
from otel_agent_trace.span import SpanRecord


class SpanFacts(RunFacts, kw_only=True, gc=False):
    """The facts that one span holds; None, or empty, where it does not say.

    `kind` is None for a span that is no step by itself: a frame around steps (a workflow, a turn, a chain), whose facts
    are those of the run that it turns out to be around. `is_frame` says so against what other dialects take it for.
    For an agent `input` and `output` are what the run was asked and what it answered, and `name` is the agent's;
    for a step they are arguments and return value. `agent_name` on a step is the agent that it belongs to.
    """

    kind: StepKind | None
    dialect: str
    is_frame: bool = False
    is_function: bool = False
    """A traced function of which nothing says whether it is an agent, a tool or neither."""
    name: str | None = None
    label: str | None = None
    """What to call it where no name is known: the name of its span, or of its class."""
    call_id: str | None = None
    """The provider's id of the tool call that this is."""
    response_id: str | None = None
    """The provider's id of the model's answer."""
    input: Any = None
    output: Any = None
    status: RunStatus | None = None
    messages: tuple[Message, ...] = ()
    agent_name: str | None = None
    run_id: str | None = None
    step_id: int | str | None = None
    index: int | None = None
    is_inferred: bool = False
    """Its span was made up, for something that was only told of."""


def integer_of(value: Any) -> int | None:
    """Return the whole number that a number or a text holds, else None."""
    if type(value) is int or value is None:
        return value
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return None


def text_of(value: Any) -> str | None:
    """Return the value as a text; None stays None."""
    return value if value is None or type(value) is str else str(value)


def exception_of(span: SpanRecord) -> Mapping[str, Any]:
    """Return the attributes of the last exception event of a span; empty where it has none."""
    return next((e.attributes for e in reversed(span.events) if e.name == semconv.EXCEPTION_EVENT), {})
