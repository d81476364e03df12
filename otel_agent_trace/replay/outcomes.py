"""Take the outcome of a recorded step, as far as it can be given back: fresh values, of their classes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

from otel_agent_trace.model import AgentStep, StepError
from otel_agent_trace.replay.answers import Guide, Outcome
from otel_agent_trace.replay.divergences import Raises
from otel_agent_trace.replay.exceptions import exception_from
from otel_agent_trace.replay.forms import can_be_made, gives_items
from otel_agent_trace.replay.functions import facts_about
from otel_agent_trace.replay.questions import Question
from otel_agent_trace.values.rebuilding import NotRebuiltError, rebuilt

_CANCELLATIONS = ("CancelledError", "Cancelled")


class UnanswerableError(Exception):
    """Indicate that a recorded call cannot be answered; its text is the reason, with the path of a value."""


def outcome_of(step: AgentStep, question: Question, guide: Guide) -> Outcome:
    """Return the outcome of a recorded step, for a call of today.

    Raises:
        UnanswerableError: the outcome was not recorded, or cannot be given back as it was.
    """
    _check(step)
    facts = facts_about(question.function)
    classes = facts.classes
    chunks = step.chunks
    if chunks is None and (facts.gives_items or any(map(gives_items, step.returned_as))):
        chunks = step.output
    return Outcome(
        guide,
        None if chunks is step.output else _given(step.output, classes, "output"),
        error=None if step.error is None else _exception(step.error, classes),
        chunks=_items(_given(chunks, classes, "chunks")),
        is_abandoned=bool(step.abandoned),
        is_cancelled=_is_cancellation(step.error),
        ended_at_ns=step.ended_at_ns or 0,
        forms=step.returned_as,
        changes=_changes(step, question, classes),
    )


def patched(value: Any, guide: Guide) -> Outcome:
    """Return the outcome that a patch gives a call: a value, the items of a stream, or an exception."""
    if isinstance(value, Raises):
        error = value.exception
        return Outcome(guide, error=error() if isinstance(error, type) else error)
    copied = copy.deepcopy(value)
    return Outcome(guide, copied, chunks=list(copied) if isinstance(copied, list | tuple) else None)


def _changes(step: AgentStep, question: Question, classes: Mapping[str, type]) -> list[tuple[Any, Any]]:
    """Return the arguments that the call changed in place, each with what it held afterwards."""
    after = step.input_after
    given = question.arguments
    if not isinstance(after, dict) or not isinstance(given, dict):
        return []
    held = [(given[name], _given(after[name], classes, f"input.{name}")) for name in after if name in given]
    return [(argument, value) for argument, value in held if type(argument) is type(value)]


def _check(step: AgentStep) -> None:
    if step.ended_at_ns is None:
        raise UnanswerableError("its end was not recorded: the program was interrupted, or is still running")
    if not step.name:
        raise UnanswerableError("it was recorded without a name")
    if step.interrupted_for is not None:
        raise UnanswerableError("it ended with a signal of the framework, which cannot be given back")
    unknown = next((form for form in step.returned_as if not can_be_made(form)), None)
    if unknown is not None:
        raise UnanswerableError(f"it returned an object of {unknown}, which cannot be made")
    if step.error is None and "output" in step.not_recorded:
        raise UnanswerableError("its output was not captured")


def _given(value: Any, classes: Mapping[str, type], where: str) -> Any:
    try:
        return rebuilt(value, classes)
    except NotRebuiltError as error:
        raise UnanswerableError(f"{where}{error.path}: {error.what}") from None


def _exception(error: StepError, classes: Mapping[str, type]) -> BaseException:
    """Return the exception that was raised; attributes that cannot be given back stay as they were read."""
    recorded = error.exception
    for number, argument in enumerate(() if recorded is None else recorded.args):
        _given(argument, classes, f"error.args[{number}]")
    return exception_from(error, partial(_as_far_as_possible, classes=classes))


def _as_far_as_possible(value: Any, classes: Mapping[str, type]) -> Any:
    try:
        return rebuilt(value, classes)
    except NotRebuiltError:  # as a client or a session, which the handler of an error hardly uses
        return copy.deepcopy(value)


def _items(chunks: Any) -> list[Any] | None:
    return chunks if isinstance(chunks, list) else None


def _is_cancellation(error: StepError | None) -> bool:
    return error is not None and error.type.rpartition(".")[2] in _CANCELLATIONS
