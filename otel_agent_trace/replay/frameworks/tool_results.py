"""Ask the recording for the result of a framework's tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_agent_trace.model import AgentStep, StepKind
from otel_agent_trace.replay.exceptions import exception_from
from otel_agent_trace.replay.frameworks.conversations import alike
from otel_agent_trace.replay.session import ReplaySession
from otel_agent_trace.values import encode
from otel_agent_trace.values.rebuilding import NotRebuiltError, rebuilt

NO_PARAMETERS: Mapping[str, Any] = {}


class Result(NamedTuple):
    """Hold the result of a tool, a fresh copy of what was recorded."""

    value: Any


def recorded_result(
    session: ReplaySession, name: str, arguments: Mapping[str, Any], parameters: Mapping[str, Any] = NO_PARAMETERS
) -> Result | None:
    """Return the recorded result of a tool's call, None if the tool is to be executed.

    `parameters` are the JSON schemas of the tool's parameters, whose defaults need not be recorded.

    Raises:
        ReplayDivergence: No such call was recorded, or its result cannot be given back.
        BaseException: The exception that the recorded call raised.
    """
    given = encode(dict(arguments)).data
    defaults = {name: schema["default"] for name, schema in parameters.items() if "default" in schema}
    step = session.answering_step(
        StepKind.TOOL, name, given, matches=lambda step: step.name == name and _has_arguments(step, given, defaults)
    )
    if step is None:
        return None
    if step.error is not None:
        raise exception_from(step.error)
    try:
        return Result(rebuilt(step.output, {}))
    except NotRebuiltError as error:
        session.refuse_step(StepKind.TOOL, name, f"cannot be answered: output{error.path}: {error.what}")


def _has_arguments(step: AgentStep, given: Any, defaults: Mapping[str, Any]) -> bool:
    """Return whether a call was recorded with these arguments; of one argument, some tracers record the value only."""
    recorded = {} if step.input is None else step.input
    if isinstance(recorded, Mapping):
        return alike({**defaults, **recorded}, {**defaults, **given})
    return len(given) == 1 and alike(recorded, next(iter(given.values())))
