"""Find the calls within one run that repeat others: loops and retries.

Inputs are compared as texts: the JSON of the arguments of a tool, or of the messages that a model was sent, in the
order in which they were recorded; a text as it is. A call whose input is None, or was not recorded, repeats nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b

from otel_agent_trace.model import AgentStep, StepKind
from otel_agent_trace.runs.calls import place_of_answer
from otel_agent_trace.values import encode_text

LOOP = 3
"""Number of calls of a tool with the same input, in one run, that make a loop."""


def has_loop(calls: Sequence[AgentStep]) -> bool:
    """Return whether `LOOP` or more of the calls of one tool in a run have the same input."""
    if len(calls) < LOOP:
        return False
    inputs = Counter(map(_input_of, calls))
    return any(count >= LOOP for key, count in inputs.items() if key is not None)


def retries_among(calls: Sequence[AgentStep], has_failed: Callable[[AgentStep], bool]) -> list[AgentStep]:
    """Return the calls among those of one tool or model in a run that are retries.

    A call is a retry if the latest of those with the same input that began before it had failed by then.
    """
    if len(calls) < 2 or not any(map(has_failed, calls)):
        return []
    retries: list[AgentStep] = []
    latest: dict[bytes, AgentStep] = {}
    for call in sorted(calls, key=lambda call: (call.started_at_ns, _end_of(call), has_failed(call))):
        key = _input_of(call)
        if key is not None:
            earlier = latest.get(key)
            if earlier is not None and has_failed(earlier) and _end_of(earlier) <= call.started_at_ns:
                retries.append(call)
            latest[key] = call
    return retries


def _end_of(call: AgentStep) -> float:
    return math.inf if call.ended_at_ns is None else call.ended_at_ns


def _input_of(call: AgentStep) -> bytes | None:
    """Return a hash of the input of a call; None where it has none."""
    given = call.input
    if call.kind is StepKind.MODEL and call.messages:
        given = call.messages[: place_of_answer(call.messages)] or None
    if given is None:
        return None
    text = given if isinstance(given, str) else encode_text(given).text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
