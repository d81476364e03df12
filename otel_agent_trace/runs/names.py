"""Name models, tools and agents as reports count them: none is longer than others can be kept apart by."""

from __future__ import annotations

from otel_agent_trace.model import AgentStep
from otel_agent_trace.prices import UNKNOWN, model_called

NAME_CHARACTERS = 200
"""Most characters of a name that tables keep."""

__all__ = ["NAME_CHARACTERS", "UNKNOWN", "model_name", "name_or_unknown", "shortened"]


def model_name(step: AgentStep) -> str:
    """Return the model that was requested where it is known, else the one that answered.

    A call that failed has the requested model only, so that "gpt-4o" and "gpt-4o-2024-08-06" are one name.
    """
    return shortened(model_called(step))


def name_or_unknown(name: str | None) -> str:
    """Return as much of a name as tables keep, ``unknown`` where there is none."""
    return shortened(name) if name else UNKNOWN


def shortened(name: str) -> str:
    """Return as much of a name as tables keep."""
    return name[:NAME_CHARACTERS]
