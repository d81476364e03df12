"""Recognise exceptions that are no failures: a stream that is closed early, an interruption until a person answers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.dialects.parsing.reprs import expression_in, literal_of
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
    an interrupted tool may have the status OK (OpenInference).
    """
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
