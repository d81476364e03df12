"""Recognise exceptions that are no failures: a stream that is closed early, an interruption until a person answers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from otel_agent_trace.dialects.parsing.payloads import parsed, structured
from otel_agent_trace.dialects.parsing.reprs import expression_in, literal_of
from otel_agent_trace.model import StepKind
from otel_agent_trace.semconv import EXCEPTION_MESSAGE, EXCEPTION_TYPE
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts, exception_of, text_of

_ABANDONED = "GeneratorExit"
_CONTROL_FLOW = frozenset(
    {"ParentCommand", "StopAgentRun", "SkipModelRequest", "SkipToolExecution", "SkipToolValidation"}
)
"""LangGraph's command to the graph around this one, by which an agent hands over; what Agno and pydantic-ai leave out."""
_INTERRUPTIONS = frozenset(
    (
        *("GraphInterrupt", "NodeInterrupt", "GraphBubbleUp"),  # LangGraph
        *("CallDeferred", "ApprovalRequired"),  # pydantic-ai
        *("InterruptException", "HumanFeedbackPending"),  # Strands Agents, CrewAI
        *("WaitingForEvent", "BreakpointException"),  # LlamaIndex, Haystack
    )
)
_NAME = re.compile(r"(?:\w+\.)*(\w+)")


def read_signal(span: SpanRecord, facts: SpanFacts) -> None:
    """Replace an error that is a signal by what it stands for; instrumentations record one as any exception.

    Sets `abandoned`, or `interrupted_for` to the value that the signal carries, else to what it is called. The span of
    an interrupted tool may have the status OK (OpenInference). A graph of LangGraph may return its interrupts instead.
    """
    if facts.interrupted_for is None and facts.kind in (None, StepKind.AGENT):
        facts.interrupted_for = _returned_interruption(span)
    exception = exception_of(span) if span.events else {}
    if facts.error is None and not exception:
        return
    name, message = _signal_in(facts, exception)
    if name is None:
        return
    facts.error = None
    if name == _ABANDONED:
        facts.abandoned = True
    elif name in _INTERRUPTIONS and facts.interrupted_for is None:
        facts.interrupted_for = interruption_in(message) or name


def _returned_interruption(span: SpanRecord) -> Any:
    found = (
        _interruption_of_state(structured(value))
        for value in span.attributes.values()
        if type(value) is str and (_RETURNED in value or _SUSPENDED in value)
    )
    return next((interruption for interruption in found if interruption is not None), None)


def _interruption_of_state(state: Any) -> Any:
    """Return what the interrupts in a state ask for; of the updates of a stream, those in the last.

    Mastra's agents and workflows return what they were suspended for.
    """
    if isinstance(state, list):
        return _interruption_of_state(state[-1]) if state else None
    if not isinstance(state, dict):
        return None
    if state.get(_RETURNED):
        return interruption_in(state[_RETURNED])
    if state.get("status") == "suspended" and not _SUSPENSION.isdisjoint(state):
        return {key: value for key, value in state.items() if key in _SUSPENSION}
    return next((_interruption_of_state(structured(state[key])) for key in _RESULTS if key in state), None)


_RETURNED, _SUSPENDED = "__interrupt__", '"suspended"'
_SUSPENSION = frozenset({"reason", "toolName", "toolCallId", "suspended", "suspendPayload"})
_RESULTS = ("output", "outputs")


def _signal_in(facts: SpanFacts, exception: Any) -> tuple[str | None, str]:
    """Return the class of the signal that a span records, and its message."""
    found = [(text_of(exception.get(EXCEPTION_TYPE)), text_of(exception.get(EXCEPTION_MESSAGE)))]
    if facts.error is not None:
        found += [(facts.error.type, facts.error.message), (facts.error.message, facts.error.message)]
    for text, message in found:
        named = _NAME.match(text or "")
        if named is not None and named[1] in (_ABANDONED, *_CONTROL_FLOW, *_INTERRUPTIONS):
            return named[1], message or ""
    return None, ""


def resumes_another(span: SpanRecord) -> bool:
    """Return whether the input of a span is LangGraph's ``Command(resume=...)``, or its metadata name a resumed span.

    The command may be a `repr`, or in an envelope; LangGraph in JavaScript adds ``lg_name``, and leaves out what is not
    given. Mastra names the span in the metadata of all spans of a run that was resumed.
    """
    return any(
        key.endswith(_RESUMED_SPAN) or (type(value) is str and "resume" in value and _is_resumption(structured(value)))
        for key, value in span.attributes.items()
    )


def _is_resumption(value: Any) -> bool:
    if isinstance(value, str):
        return _REPR_OF_RESUMPTION.match(value) is not None
    if not isinstance(value, dict):
        return False
    is_command = value.get("resume") is not None and ("goto" in value or value.keys() <= _COMMAND)
    if is_command or _RESUMED_SPAN in value:
        return True
    return any(_is_resumption(structured(value[key])) for key in _ENVELOPES if key in value)


_RESUMED_SPAN = "resumedFromSpanId"
_COMMAND = {"resume", "update", "goto", "graph"}
"""Fields of a `Command`; LangGraph's platform sends only those that are given."""
_REPR_OF_RESUMPTION = re.compile(r"Command\([^()]*\bresume=")
_ENVELOPES = ("input", "inputs", "command")


def interruption_in(value: Any) -> Any:
    """Return what interrupts ask for, in objects or in a `repr` of them; of several a list. None without any.

    LangGraph's have it under ``value``; of Strands' the name, the reason and the id are returned.
    """
    value = parsed(value)
    if isinstance(value, str):
        asked = [*_values_in_repr(value)] if "Interrupt(" in value else [value.strip() or None]
        return asked[0] if len(asked) == 1 else asked or value
    if isinstance(value, dict):
        return value["value"] if "value" in value else {key: item for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        found = [interruption_in(item) for item in value]
        return found[0] if len(found) == 1 else found or None
    return value


def _values_in_repr(text: str) -> Iterator[Any]:
    """Yield the values in a `repr` such as ``(Interrupt(value={'ask': 'Send?'}, id='1'),)``."""
    expression = expression_in(text)
    for node in ast.walk(expression) if expression is not None else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Interrupt":
            for keyword in node.keywords:
                if keyword.arg == "value":
                    yield literal_of(keyword.value)
